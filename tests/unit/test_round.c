/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "fixtures.h"
#include "quantize/method.h"

/* A layer with correlated inputs and room for its result. */
typedef struct layer {
    size_t rows, cols;
    kf_format format;
    float *weights;
    kfi_statistics statistics;
    uint8_t *codes;
    kfi_grid *grids;
    int8_t table[KFI_TABLE_ENTRIES]; /* that was learned for the codes */
    double knobs[KFI_KNOBS_MAX];
} layer;

static void layer_init(layer *l, size_t rows, size_t cols, const char *format, uint64_t seed)
{
    kf_error err = {0};
    *l = (layer){.rows = rows, .cols = cols};
    CHECK_OK(kf_format_parse(&l->format, format, &err), &err);
    l->weights = calloc(rows * cols, sizeof *l->weights);
    l->codes = calloc(rows * cols, 1);
    l->grids = calloc(rows * cols, sizeof *l->grids);
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < rows * cols; i++) {
        l->weights[i] = kfi_rng_normal(&rng) * 0.05f;
    }
    const kfi_statistics_request request = {.needs = KFI_NEED_GRAM, .first_token_weight = 1.0};
    CHECK_OK(kfi_statistics_init(&l->statistics, cols, &request, NULL, &err), &err);
}

static void layer_deinit(layer *l)
{
    free(l->weights);
    free(l->codes);
    free(l->grids);
    kfi_statistics_deinit(&l->statistics);
}

/* Tokens whose columns have different sizes and share a few common directions. */
static void add_tokens(layer *l, size_t n, uint64_t seed)
{
    enum {
        DIRECTIONS = 8
    };
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    float *mix = calloc(l->cols * DIRECTIONS, sizeof *mix);
    float *x = calloc(n * l->cols, sizeof *x);
    for (size_t i = 0; i < l->cols * DIRECTIONS; i++) {
        mix[i] = kfi_rng_normal(&rng);
    }
    for (size_t t = 0; t < n; t++) {
        float common[DIRECTIONS];
        for (size_t d = 0; d < DIRECTIONS; d++) {
            common[d] = kfi_rng_normal(&rng);
        }
        for (size_t c = 0; c < l->cols; c++) {
            float value = kfi_rng_normal(&rng) * 0.5f;
            for (size_t d = 0; d < DIRECTIONS; d++) {
                value += common[d] * mix[c * DIRECTIONS + d];
            }
            x[t * l->cols + c] = value * (c % 7 == 0 ? 4.0f : 1.0f);
        }
    }
    kfi_statistics_add(&l->statistics, NULL, x, n);
    kfi_statistics_finish(&l->statistics, NULL);
    free(mix);
    free(x);
}

static void diagonal_gram(layer *l)
{
    for (size_t c = 0; c < l->cols; c++) {
        l->statistics.gram[c * l->cols + c] = 1.0f + (float)(c * 7 % 11);
    }
    l->statistics.weight = 100.0;
}

static void set(layer *l, const kfi_method *method, const char *name, const char *value)
{
    kf_error err = {0};
    const size_t i = kfi_knob_find(method, name, strlen(name));
    assert_true(i < method->about.n_knobs);
    CHECK_OK(kfi_knob_parse(&l->knobs[i], method, i, value, &err), &err);
}

static const kfi_method *method_named(const char *name)
{
    const kfi_method *method = kfi_method_find(name, strlen(name));
    assert_non_null(method);
    return method;
}

static kfi_round_job job_of(layer *l, kf_pool *pool)
{
    return (kfi_round_job){.weights = l->weights,
                           .rows = l->rows,
                           .cols = l->cols,
                           .format = l->format,
                           .statistics = &l->statistics,
                           .knobs = l->knobs,
                           .pool = pool,
                           .codes = l->codes,
                           .grids = l->grids};
}

/* Rounds by a method with the knobs as they are; returns its loss. */
static double round_with(layer *l, const kfi_method *method, kf_pool *pool)
{
    kf_error err = {0};
    void *shared = NULL;
    kfi_round_job job = job_of(l, pool);
    if (method->prepare != NULL) {
        CHECK_OK(method->prepare(&shared, &l->statistics, l->knobs, NULL, &err), &err);
    }
    CHECK_OK(method->round(&job, shared, &err), &err);
    memcpy(l->table, job.table, sizeof l->table);
    if (method->release != NULL) {
        method->release(shared, NULL);
    }
    return job.loss;
}

static kfi_round_error measured(layer *l)
{
    kf_error err = {0};
    kfi_round_error error = {0};
    kfi_round_job job = job_of(l, NULL);
    memcpy(job.table, l->table, sizeof job.table);
    CHECK_OK(kfi_round_measure(&error, &job, &err), &err);
    return error;
}

static void keep_result(layer *l, uint8_t **codes, kfi_grid **grids)
{
    *codes = calloc(l->rows * l->cols, 1);
    *grids = calloc(l->rows * l->cols, sizeof **grids);
    memcpy(*codes, l->codes, l->rows * l->cols);
    memcpy(*grids, l->grids, l->rows * kfi_format_groups(l->format, l->cols) * sizeof **grids);
}

static void assert_same_result(const layer *l, uint8_t *codes, kfi_grid *grids)
{
    const size_t n_grids = l->rows * kfi_format_groups(l->format, l->cols);
    assert_memory_equal(l->codes, codes, l->rows * l->cols);
    for (size_t i = 0; i < n_grids; i++) {
        assert_true(l->grids[i].scale == grids[i].scale && l->grids[i].zero == grids[i].zero &&
                    l->grids[i].offset == grids[i].offset &&
                    l->grids[i].row_scale == grids[i].row_scale &&
                    l->grids[i].multiplier == grids[i].multiplier);
    }
    free(codes);
    free(grids);
}

static const char *const formats[] = {"int4g64",    "int4g64a",    "int3g32a",  "int2g64a",
                                      "int8row",    "int4g32o",    "mxint4g32", "int4g64r",
                                      "int3g32ar",  "int2g64ar",   "nf4g64",    "fp4e2m1g32",
                                      "ternaryg64", "ternaryg32r", "cb16g64",   "cb8row"};
#define N_FORMATS (sizeof formats / sizeof formats[0])

static void gptq_with_a_diagonal_gram_is_rtn_bit_for_bit(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"false", "false"}, {"false", "true"}, {"true", "true"}};
    const kfi_method *rtn = method_named("rtn");
    const kfi_method *gptq = method_named("gptq");
    for (size_t i = 0; i < N_FORMATS * 3 * 2; i++) {
        layer l;
        uint8_t *codes = NULL;
        kfi_grid *grids = NULL;
        const char *fit = i / (N_FORMATS * 3) == 0 ? "minmax" : "mse";
        layer_init(&l, 37, 232, formats[i % N_FORMATS], i); /* ragged rows, last group shorter */
        diagonal_gram(&l);
        kfi_knobs_default(l.knobs, rtn);
        set(&l, rtn, "fit", fit);
        (void)round_with(&l, rtn, NULL);
        keep_result(&l, &codes, &grids);
        kfi_knobs_default(l.knobs, gptq);
        set(&l, gptq, "fit", fit);
        set(&l, gptq, "act_order", settings[i / N_FORMATS % 3][0]);
        set(&l, gptq, "static_groups", settings[i / N_FORMATS % 3][1]);
        set(&l, gptq, "block", i % 2 == 0 ? "128" : "48");
        (void)round_with(&l, gptq, NULL);
        assert_same_result(&l, codes, grids);
        layer_deinit(&l);
    }
}

/* tr(E H E^T) with H = Gram matrix + damping, in double, column by column. */
static double direct_loss(const layer *l, double damping)
{
    const size_t n = l->cols;
    const size_t group = kfi_format_group(l->format, n);
    const size_t n_groups = kfi_format_groups(l->format, n);
    double mean = 0.0;
    for (size_t c = 0; c < n; c++) {
        mean += (double)l->statistics.gram[c * n + c] / (double)n;
    }
    double *e = calloc(n, sizeof *e);
    double sum = 0.0;
    for (size_t r = 0; r < l->rows; r++) {
        for (size_t c = 0; c < n; c++) {
            const kfi_grid *grid = &l->grids[r * n_groups + c / group];
            e[c] = (double)l->weights[r * n + c] -
                   (double)kfi_grid_decode(grid, kfi_format_levels(l->format, l->table),
                                           l->codes[r * n + c]);
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                const double h = (double)l->statistics.gram[i * n + j];
                sum += e[i] * (h + (i == j ? damping * mean : 0.0)) * e[j];
            }
        }
    }
    free(e);
    return sum;
}

static void the_loss_of_gptq_is_the_trace_measured_directly(void **state)
{
    (void)state;
    const kfi_method *gptq = method_named("gptq");
    for (size_t i = 0; i < N_FORMATS * 2; i++) {
        layer l;
        layer_init(&l, 21, 200, formats[i % N_FORMATS], 100 + i);
        add_tokens(&l, 1000, i);
        kfi_knobs_default(l.knobs, gptq);
        set(&l, gptq, "damping", "0.02");
        set(&l, gptq, "act_order", i < N_FORMATS ? "true" : "false");
        set(&l, gptq, "static_groups", "false");
        const double loss = round_with(&l, gptq, NULL);
        const double direct = direct_loss(&l, 0.02);
        /* float32 in the loop: errors pass through some hundred updates */
        assert_true(direct > 0.0 && fabs(loss - direct) <= 2e-3 * direct);
        layer_deinit(&l);
    }
}

static void gptq_leaves_less_output_error_than_rtn(void **state)
{
    (void)state;
    const kfi_method *rtn = method_named("rtn");
    const kfi_method *gptq = method_named("gptq");
    static const char *const orders[] = {"true", "false"};
    for (size_t i = 0; i < 2 * N_FORMATS; i++) {
        layer l;
        layer_init(&l, 40, 256, formats[i % N_FORMATS], 200 + i);
        add_tokens(&l, 2000, i);
        kfi_knobs_default(l.knobs, rtn);
        set(&l, rtn, "fit", "mse");
        (void)round_with(&l, rtn, NULL);
        const kfi_round_error nearest = measured(&l);
        kfi_knobs_default(l.knobs, gptq);
        set(&l, gptq, "act_order", orders[i / N_FORMATS]);
        (void)round_with(&l, gptq, NULL);
        const kfi_round_error error = measured(&l);
        assert_true(nearest.output > 0.0);
        assert_true(error.output < 0.8 * nearest.output);
        assert_true(error.weight >= nearest.weight);
        layer_deinit(&l);
    }
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    static const char *const names[] = {"rtn", "gptq"};
    for (size_t i = 0; i < 2; i++) {
        const kfi_method *method = method_named(names[i]);
        layer l;
        uint8_t *codes = NULL;
        kfi_grid *grids = NULL;
        layer_init(&l, 201, 320, "int3g64a", 300);
        add_tokens(&l, 1000, 1);
        kfi_knobs_default(l.knobs, method);
        const double loss = round_with(&l, method, NULL);
        keep_result(&l, &codes, &grids);
        const double loss_again = round_with(&l, method, pool);
        assert_true(i == 0 || loss == loss_again);
        assert_same_result(&l, codes, grids);
        layer_deinit(&l);
    }
    kf_pool_free(pool);
}

static void dead_inputs_get_the_code_of_zero(void **state)
{
    (void)state;
    const kfi_method *gptq = method_named("gptq");
    layer l;
    layer_init(&l, 16, 128, "int4g64a", 400);
    add_tokens(&l, 500, 4);
    for (size_t c = 0; c < l.cols; c++) {
        l.statistics.gram[5 * l.cols + c] = 0.0f;
        l.statistics.gram[c * l.cols + 5] = 0.0f;
    }
    kfi_knobs_default(l.knobs, gptq);
    (void)round_with(&l, gptq, NULL);
    const size_t n_groups = kfi_format_groups(l.format, l.cols);
    for (size_t r = 0; r < l.rows; r++) {
        assert_true(kfi_grid_decode(&l.grids[r * n_groups], kfi_format_levels(l.format, NULL),
                                    l.codes[r * l.cols + 5]) == 0.0f);
    }
    layer_deinit(&l);
}

static void inputs_that_are_always_zero_make_everything_dead(void **state)
{
    (void)state;
    const kfi_method *gptq = method_named("gptq");
    layer l;
    layer_init(&l, 16, 64, "int4g64", 401);
    kfi_knobs_default(l.knobs, gptq);
    assert_true(round_with(&l, gptq, NULL) == 0.0);
    layer_deinit(&l);
}

/* Two equal columns and no damping: the Cholesky fails, and more damping mends it. */
static void a_singular_gram_is_damped_until_it_works(void **state)
{
    (void)state;
    const kfi_method *gptq = method_named("gptq");
    layer l;
    layer_init(&l, 16, 64, "int4g64", 402);
    for (size_t i = 0; i < 64 * 64; i++) {
        l.statistics.gram[i] = 1.0f;
    }
    kfi_knobs_default(l.knobs, gptq);
    set(&l, gptq, "damping", "0");
    assert_true(isfinite(round_with(&l, gptq, NULL)));
    layer_deinit(&l);
}

static void inputs_that_are_not_finite_are_reported(void **state)
{
    (void)state;
    kf_error err = {0};
    void *shared = NULL;
    const kfi_method *gptq = method_named("gptq");
    layer l;
    layer_init(&l, 16, 64, "int4g64", 403);
    diagonal_gram(&l);
    l.statistics.gram[0] = INFINITY;
    kfi_knobs_default(l.knobs, gptq);
    assert_int_equal(gptq->prepare(&shared, &l.statistics, l.knobs, NULL, &err), KF_RANGE);
    assert_null(shared);
    layer_deinit(&l);
}

static void importance_moves_the_clip_search(void **state)
{
    (void)state;
    const kfi_method *rtn = method_named("rtn");
    layer l;
    layer_init(&l, 8, 128, "int3g64", 404);
    diagonal_gram(&l);
    for (size_t c = 0; c < l.cols; c++) {
        l.statistics.gram[c * l.cols + c] = c % 8 == 0 ? 1000.0f : 1.0f;
    }
    kfi_knobs_default(l.knobs, rtn);
    set(&l, rtn, "fit", "mse");
    set(&l, rtn, "exponent", "2");
    (void)round_with(&l, rtn, NULL);
    const kfi_round_error plain = measured(&l);
    set(&l, rtn, "importance", "mean_square");
    (void)round_with(&l, rtn, NULL);
    const kfi_round_error weighted = measured(&l);
    assert_true(weighted.output < plain.output);
    assert_true(weighted.weight > plain.weight);
    layer_deinit(&l);
}

static void without_memory_nothing_leaks(void **state)
{
    (void)state;
    static const char *const names[] = {"rtn", "gptq"};
    for (size_t i = 0; i < 2; i++) {
        const kfi_method *method = method_named(names[i]);
        layer l;
        layer_init(&l, 40, 64, "int4g64a", 500);
        add_tokens(&l, 300, 5);
        kfi_knobs_default(l.knobs, method);
        set(&l, method, "fit", "mse");
        set(&l, method, "importance", "mean_square");
        kf_status st = KF_NOMEM;
        for (size_t fail_at = 1; st != KF_OK; fail_at++) {
            fixture_allocator a;
            kf_error err = {0};
            void *shared = NULL;
            fixture_allocator_init(&a, fail_at);
            kfi_round_job job = job_of(&l, NULL);
            job.alloc = &a.allocator;
            st = method->prepare == NULL
                     ? KF_OK
                     : method->prepare(&shared, &l.statistics, l.knobs, &a.allocator, &err);
            if (st == KF_OK) {
                st = method->round(&job, shared, &err);
            }
            if (method->release != NULL) {
                method->release(shared, &a.allocator);
            }
            assert_true(st == KF_OK || st == KF_NOMEM);
            assert_true(fixture_allocator_is_clean(&a));
        }
        layer_deinit(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_with_a_diagonal_gram_is_rtn_bit_for_bit),
        cmocka_unit_test(the_loss_of_gptq_is_the_trace_measured_directly),
        cmocka_unit_test(gptq_leaves_less_output_error_than_rtn),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(dead_inputs_get_the_code_of_zero),
        cmocka_unit_test(inputs_that_are_always_zero_make_everything_dead),
        cmocka_unit_test(a_singular_gram_is_damped_until_it_works),
        cmocka_unit_test(inputs_that_are_not_finite_are_reported),
        cmocka_unit_test(importance_moves_the_clip_search),
        cmocka_unit_test(without_memory_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
