/* Single weights that methods keep beside a matrix.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/rng.h"
#include "fixtures.h"
#include "quantize/round/sparse.h"
#include "round_fixture.h"

/* Each method, a format and a part of the weights that it keeps. */
static const struct keeper {
    const char *method, *format, *outliers;
    double fraction;
} keepers[] = {
    {"easyquant", "int4g64a", "0.01", 0.01},
    {"easyquant", "int3row", "0.02", 0.02},
    {"squeezellm", "cb8g64", "0.0045", 0.0045},
    {"gwq", "int4g64", "0.01", 0.01},
    {"gwq", "nf4g64", "0.02", 0.02},
    {"quantease", "int3g64a", "0.01", 0.01},
    {"pbllm", "cb4g64", "0.1", 0.1},
    {"pbllm", "int3g32a", "0.02", 0.02},
};
#define N_KEEPERS (sizeof keepers / sizeof keepers[0])

/* Normal weights, of which about one in 60 is some twenty times larger. */
static void init(round_layer *l, const struct keeper *k, uint64_t seed)
{
    kfi_rng rng;
    round_layer_init(l, 70, 232, k->format, seed);
    kfi_rng_init(&rng, seed + 1);
    for (size_t i = 0; i < l->rows * l->cols; i++) {
        l->weights[i] *= kfi_rng_below(&rng, 60) == 0 ? 20.0f * kfi_rng_uniform(&rng) : 1.0f;
    }
    round_layer_add_tokens(l, 1000, seed);
    kfi_knobs_default(l->knobs, round_method_named(k->method));
    round_layer_set(l, round_method_named(k->method), "outliers", k->outliers);
}

static kfi_round_job round_sparse(round_layer *l, const char *name, kf_pool *pool)
{
    kf_error err = {0};
    void *shared = NULL;
    const kfi_method *method = round_method_named(name);
    kfi_round_job job = round_layer_job(l, pool);
    job.takes_sparse = true;
    if (method->prepare != NULL) {
        CHECK_OK(method->prepare(&shared, &l->statistics, l->knobs, NULL, &err), &err);
    }
    CHECK_OK(method->round(&job, shared, &err), &err);
    if (method->release != NULL) {
        method->release(shared, NULL);
    }
    assert_ptr_equal(job.weights, l->weights);
    assert_null(job.sparse.marks);
    assert_null(job.sparse.rest);
    return job;
}

static double decode(const kfi_round_job *job, size_t row, size_t col)
{
    const size_t n_groups = kfi_format_groups(job->format, job->cols);
    const kfi_grid *grid =
        &job->grids[row * n_groups + col / kfi_format_group(job->format, job->cols)];
    return (double)kfi_grid_decode(grid, kfi_round_levels(job), job->codes[row * job->cols + col]);
}

/* W - W~ - S, [rows][cols]; free(). */
static double *errors_of(const kfi_round_job *job)
{
    double *e = calloc(job->rows * job->cols, sizeof *e);
    for (size_t r = 0; r < job->rows; r++) {
        for (size_t c = 0; c < job->cols; c++) {
            e[r * job->cols + c] = (double)job->weights[r * job->cols + c] - decode(job, r, c);
        }
        for (size_t i = job->sparse.n == 0 ? 0 : job->sparse.starts[r];
             job->sparse.n > 0 && i < job->sparse.starts[r + 1]; i++) {
            e[r * job->cols + job->sparse.columns[i]] -=
                (double)kfi_half_to_float(job->sparse.values[i]);
        }
    }
    return e;
}

/* tr(E H E^T), H with a part of the mean of its diagonal on it. */
static double loss_of(const kfi_round_job *job, double damping)
{
    const size_t n = job->cols;
    const float *gram = job->statistics->gram;
    double *errors = errors_of(job);
    double sum = 0.0;
    double mean = 0.0;
    for (size_t c = 0; c < n; c++) {
        mean += (double)gram[c * n + c] / (double)n;
    }
    for (size_t r = 0; r < job->rows; r++) {
        const double *e = errors + r * n;
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                sum += e[i] * ((double)gram[i * n + j] + (i == j ? damping * mean : 0.0)) * e[j];
            }
        }
    }
    free(errors);
    return sum;
}

/* As many as were asked for, each back to what fp16 can hold of what its code lacks; those of
 * QuantEase and PB-LLM take up the errors of others, too. */
static void kept_weights_come_back(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KEEPERS; k++) {
        round_layer l;
        init(&l, &keepers[k], 10 + k);
        kfi_round_job job = round_sparse(&l, keepers[k].method, NULL);
        const kfi_sparse_part *s = &job.sparse;
        const size_t n = (size_t)(keepers[k].fraction * 70.0 * 232.0);
        /* Two rules round down twice; EasyQuant has a least distance, too. */
        assert_true(s->n <= n && (k < 2 ? s->n > n / 5 : s->n + 1 >= n));
        assert_int_equal(s->starts[0], 0);
        assert_int_equal(s->starts[l.rows], s->n);
        double *e = errors_of(&job);
        for (size_t r = 0; r < l.rows && k < 5; r++) {
            for (size_t i = s->starts[r]; i < s->starts[r + 1]; i++) {
                const double value = (double)kfi_half_to_float(s->values[i]);
                assert_true(i == s->starts[r] || s->columns[i] > s->columns[i - 1]);
                assert_true(fabs(e[r * l.cols + s->columns[i]]) <= fabs(value) * 0x1p-11 + 0x1p-25);
            }
        }
        free(e);
        kfi_sparse_clear(&job);
        round_layer_deinit(&l);
    }
}

/* And the library's own measure of what is left knows them. */
static void fewer_errors_are_left_where_tails_are_kept(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KEEPERS; k++) {
        kfi_round_error error = {0};
        kf_error err = {0};
        round_layer l;
        init(&l, &keepers[k], 20 + k);
        kfi_round_job job = round_sparse(&l, keepers[k].method, NULL);
        const double with = loss_of(&job, 0.0);
        CHECK_OK(kfi_round_measure(&error, &job, &err), &err);
        assert_true(fabs(error.output * job.output - with) < 1e-3 * with);
        kfi_sparse_clear(&job);
        const kfi_method *method = round_method_named(keepers[k].method);
        round_layer_set(&l, method, "outliers", "0");
        if (strcmp(keepers[k].method, "squeezellm") == 0) {
            round_layer_set(&l, method, "sensitive", "0");
        }
        job = round_sparse(&l, keepers[k].method, NULL);
        assert_int_equal(job.sparse.n, 0);
        if (!(with < 0.8 * loss_of(&job, 0.0))) {
            fail_msg("%s %s: %g with, %g without", keepers[k].method, keepers[k].format, with,
                     loss_of(&job, 0.0));
        }
        round_layer_deinit(&l);
    }
}

static void layers_without_room_keep_none(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KEEPERS; k++) {
        kf_error err = {0};
        round_layer l;
        init(&l, &keepers[k], 30 + k);
        (void)round_layer_round(&l, round_method_named(keepers[k].method), NULL);
        kfi_round_job job = round_layer_job(&l, NULL);
        const kfi_sparse_rule rule = {.fraction = 0.5, .score = kfi_sparse_magnitude};
        CHECK_OK(kfi_sparse_begin(&job, &rule, 1, &err), &err);
        assert_int_equal(job.sparse.n, 0);
        assert_ptr_equal(job.weights, l.weights);
        kfi_sparse_end(&job);
        round_layer_deinit(&l);
    }
}

static int by_falling_size(const void *a, const void *b)
{
    const float x = fabsf(*(const float *)a);
    const float y = fabsf(*(const float *)b);
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Against sorting. Many weights have the same size, so that the border lies among equals. */
static void the_largest_are_chosen_and_of_equals_the_first(void **state)
{
    (void)state;
    static const double fractions[] = {0.001, 0.01, 0.1, 0.5, 0.99};
    for (size_t f = 0; f < sizeof fractions / sizeof fractions[0]; f++) {
        kf_error err = {0};
        round_layer l;
        round_layer_init(&l, 33, 70, "int4g64", f);
        const size_t n = l.rows * l.cols;
        float *sorted = calloc(n, sizeof *sorted);
        for (size_t i = 0; i < n; i++) {
            l.weights[i] = f % 2 == 0 ? roundf(l.weights[i] * 100.0f) / 64.0f : l.weights[i];
            sorted[i] = l.weights[i];
        }
        qsort(sorted, n, sizeof *sorted, by_falling_size);
        kfi_round_job job = round_layer_job(&l, NULL);
        job.takes_sparse = true;
        const kfi_sparse_rule rule = {.fraction = fractions[f], .score = kfi_sparse_magnitude};
        CHECK_OK(kfi_sparse_begin(&job, &rule, 1, &err), &err);
        size_t k = (size_t)(fractions[f] * (double)n);
        while (k > 0 && sorted[k - 1] == 0.0f) { /* zeros are never worth it */
            k--;
        }
        assert_int_equal(job.sparse.n, k);
        const float border = fabsf(sorted[k - 1]);
        bool passed_over = false;
        for (size_t i = 0; i < n; i++) {
            const float size = fabsf(l.weights[i]);
            const bool is_kept = job.sparse.marks[i] != 0;
            assert_true(size > border    ? is_kept
                        : size == border ? !(is_kept && passed_over)
                                         : !is_kept);
            passed_over = passed_over || (size == border && !is_kept);
            assert_true(job.weights[i] == (is_kept ? 0.0f : l.weights[i]));
        }
        kfi_sparse_clear(&job);
        assert_ptr_equal(job.weights, l.weights);
        free(sorted);
        round_layer_deinit(&l);
    }
}

/* The second rule has what the first left, and a least score keeps both small. */
static void rules_take_turns_and_stop_at_their_least(void **state)
{
    (void)state;
    kf_error err = {0};
    round_layer l;
    float importance[50];
    round_layer_init(&l, 40, 50, "int4g64", 4);
    for (size_t c = 0; c < 50; c++) {
        importance[c] = c == 7 ? 1e6f : 1.0f;
    }
    l.weights[3 * 50 + 7] = 10.0f;
    kfi_round_job job = round_layer_job(&l, NULL);
    job.takes_sparse = true;
    const kfi_sparse_rule rules[] = {
        {.fraction = 0.01, .score = kfi_sparse_magnitude},
        {.fraction = 0.0055, .score = kfi_sparse_sensitivity, .ctx = importance}};
    CHECK_OK(kfi_sparse_begin(&job, rules, 2, &err), &err);
    assert_int_equal(job.sparse.n, 20 + 11);
    size_t n_in_column = 0;
    for (size_t r = 0; r < l.rows; r++) {
        n_in_column += job.sparse.marks[r * 50 + 7];
    }
    assert_true(n_in_column >= 1 + 11);
    const kfi_sparse_rule least = {.fraction = 0.5, .least = 9.0f, .score = kfi_sparse_magnitude};
    CHECK_OK(kfi_sparse_begin(&job, &least, 1, &err), &err);
    assert_int_equal(job.sparse.n, 1);
    assert_int_equal(job.sparse.columns[0], 7);
    const kfi_sparse_rule none = {.fraction = 0.5, .least = 11.0f, .score = kfi_sparse_magnitude};
    CHECK_OK(kfi_sparse_begin(&job, &none, 1, &err), &err);
    assert_int_equal(job.sparse.n, 0);
    assert_ptr_equal(job.weights, l.weights);
    round_layer_deinit(&l);
}

static void refuses_more_columns_than_16_bits_count(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_round_job job = {.rows = 1, .cols = 65537, .takes_sparse = true};
    const kfi_sparse_rule rule = {.fraction = 0.5, .score = kfi_sparse_magnitude};
    assert_int_equal(kfi_sparse_begin(&job, &rule, 1, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "65537 columns, at most 65536"));
}

/* What a weight of fp16 cannot hold is cut, not infinite. */
static void values_stay_finite(void **state)
{
    (void)state;
    assert_true(kfi_half_to_float(kfi_sparse_half(1e30f)) == 65504.0f);
    assert_true(kfi_half_to_float(kfi_sparse_half(-1e30f)) == -65504.0f);
    assert_true(kfi_half_to_float(kfi_sparse_half(0.25f)) == 0.25f);
}

/* n sweeps are the first n of n + 1: the loss after each of them, exchanges among them. */
static void no_sweep_of_quantease_raises_the_loss(void **state)
{
    (void)state;
    static const char *const starts[] = {"rtn", "gptq"};
    static const struct keeper k = {"quantease", "int3g64a", "0.01", 0.01};
    const kfi_method *quantease = round_method_named("quantease");
    for (size_t i = 0; i < 4; i++) {
        round_layer l;
        init(&l, &k, 40 + i);
        round_layer_set(&l, quantease, "start", starts[i % 2]);
        round_layer_set(&l, quantease, "relax_period", "0");
        double last = (double)INFINITY;
        double first = 0.0;
        for (int n = 1; n <= 8; n++) {
            char text[16];
            (void)snprintf(text, sizeof text, "%d", n);
            round_layer_set(&l, quantease, "sweeps", text);
            kfi_round_job job = round_sparse(&l, "quantease", NULL);
            const double loss = loss_of(&job, 0.01);
            if (!(loss > 0.0 && loss <= last * (1.0 + 1e-6))) {
                fail_msg("start %s, sweep %d: %.9g, before %.9g", starts[i % 2], n, loss, last);
            }
            first = n == 1 ? loss : first;
            last = loss;
            kfi_sparse_clear(&job);
        }
        assert_true(last < 0.999 * first);
        round_layer_deinit(&l);
    }
}

/* Inputs of which some are twenty times the others: weights there are worth more than their size
 * tells. */
static void quantease_exchanges_weights(void **state)
{
    (void)state;
    static const struct keeper k = {"quantease", "int2g64", "0.02", 0.02};
    const kfi_method *quantease = round_method_named("quantease");
    round_layer l;
    init(&l, &k, 50);
    memset(l.statistics.gram, 0, l.cols * l.cols * sizeof(float));
    for (size_t c = 0; c < l.cols; c++) {
        l.statistics.gram[c * l.cols + c] = c % 20 == 0 ? 400.0f : 1.0f;
    }
    round_layer_set(&l, quantease, "start", "rtn");
    kfi_round_job job = round_sparse(&l, "quantease", NULL);
    kfi_round_job by_size = round_layer_job(&l, NULL);
    const kfi_sparse_rule rule = {.fraction = 0.02, .score = kfi_sparse_magnitude};
    by_size.takes_sparse = true;
    assert_int_equal(kfi_sparse_begin(&by_size, &rule, 1, NULL), KF_OK);
    assert_int_equal(by_size.sparse.n, job.sparse.n);
    assert_memory_equal(by_size.sparse.starts, job.sparse.starts, (l.rows + 1) * sizeof(uint32_t));
    assert_memory_not_equal(by_size.sparse.columns, job.sparse.columns,
                            job.sparse.n * sizeof(uint16_t));
    size_t n[2] = {0};
    for (size_t i = 0; i < job.sparse.n; i++) {
        n[0] += by_size.sparse.columns[i] % 20 == 0;
        n[1] += job.sparse.columns[i] % 20 == 0;
    }
    assert_true(n[1] > n[0]);
    kfi_sparse_clear(&job);
    kfi_sparse_clear(&by_size);
    round_layer_deinit(&l);
}

/* GPTQ's own formula, with the errors that single weights take up; and signs under one scale. */
static void pbllm_knows_its_loss(void **state)
{
    (void)state;
    static const struct keeper cases[] = {{"pbllm", "cb4g64", "0.1", 0.1},
                                          {"pbllm", "cb4row", "0", 0.0},
                                          {"pbllm", "int3g32a", "0.05", 0.05}};
    for (size_t k = 0; k < 3; k++) {
        round_layer l;
        init(&l, &cases[k], 80 + k);
        kfi_round_job job = round_sparse(&l, "pbllm", NULL);
        const double loss = loss_of(&job, 0.01);
        assert_true(job.loss > 0.0 && fabs(job.loss - loss) < 1e-3 * loss);
        for (size_t i = 1; k < 2 && i < l.rows * l.cols; i++) {
            const size_t c = i % l.cols;
            const bool is_first = c % kfi_format_group(l.format, l.cols) == 0;
            assert_true(is_first ||
                        fabs(decode(&job, i / l.cols, c)) == fabs(decode(&job, i / l.cols, c - 1)));
        }
        kfi_sparse_clear(&job);
        round_layer_deinit(&l);
    }
}

/* The scale of signs is the mean size of what they stand for, to a step of the search. */
static void pbllm_takes_the_mean_as_its_scale(void **state)
{
    (void)state;
    static const struct keeper k = {"pbllm", "cb4row", "0.05", 0.05};
    round_layer l;
    init(&l, &k, 90);
    for (size_t i = 0; i < l.rows * l.cols; i++) { /* the search goes down to a tenth */
        l.weights[i] = fabsf(l.weights[i]) > 0.2f ? 0.05f : l.weights[i];
    }
    memset(l.statistics.gram, 0, l.cols * l.cols * sizeof(float));
    round_layer_diagonal_gram(&l); /* nothing is passed on */
    kfi_round_job job = round_sparse(&l, "pbllm", NULL);
    for (size_t r = 0; r < l.rows; r++) {
        double sum = 0.0;
        double n = 0.0;
        double most = 0.0;
        for (size_t c = 0, i = job.sparse.starts[r]; c < l.cols; c++) {
            const bool stands_beside = i < job.sparse.starts[r + 1] && job.sparse.columns[i] == c;
            i += stands_beside;
            const double size = stands_beside ? 0.0 : fabs((double)l.weights[r * l.cols + c]);
            sum += size;
            n += !stands_beside;
            most = fmax(most, size);
        }
        assert_true(fabs(fabs(decode(&job, r, 0)) - sum / n) <= 0.0125 * most);
    }
    kfi_sparse_clear(&job);
    round_layer_deinit(&l);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    for (size_t k = 0; k < N_KEEPERS; k++) {
        round_layer l;
        uint8_t *codes = NULL;
        kfi_grid *grids = NULL;
        init(&l, &keepers[k], 60);
        kfi_round_job one = round_sparse(&l, keepers[k].method, NULL);
        round_layer_keep(&l, &codes, &grids);
        kfi_round_job three = round_sparse(&l, keepers[k].method, pool);
        round_layer_assert_same(&l, codes, grids);
        assert_int_equal(one.sparse.n, three.sparse.n);
        assert_memory_equal(one.sparse.columns, three.sparse.columns, one.sparse.n * 2);
        assert_memory_equal(one.sparse.values, three.sparse.values, one.sparse.n * 2);
        kfi_sparse_clear(&one);
        kfi_sparse_clear(&three);
        round_layer_deinit(&l);
    }
    kf_pool_free(pool);
}

static void without_memory_nothing_leaks(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KEEPERS; k++) {
        const kfi_method *method = round_method_named(keepers[k].method);
        round_layer l;
        void *shared = NULL;
        init(&l, &keepers[k], 70);
        if (method->prepare != NULL) {
            assert_int_equal(method->prepare(&shared, &l.statistics, l.knobs, NULL, NULL), KF_OK);
        }
        kf_status st = KF_NOMEM;
        size_t fail_at = 1;
        for (; st != KF_OK; fail_at++) {
            fixture_allocator a;
            kf_error err = {0};
            fixture_allocator_init(&a, fail_at);
            kfi_round_job job = round_layer_job(&l, NULL);
            job.alloc = &a.allocator;
            job.takes_sparse = true;
            st = method->round(&job, shared, &err);
            assert_true(st == KF_OK || st == KF_NOMEM);
            kfi_sparse_clear(&job);
            assert_ptr_equal(job.weights, l.weights);
            assert_true(fixture_allocator_is_clean(&a));
        }
        assert_true(fail_at > 7);
        if (method->release != NULL) {
            method->release(shared, NULL);
        }
        round_layer_deinit(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_weights_come_back),
        cmocka_unit_test(fewer_errors_are_left_where_tails_are_kept),
        cmocka_unit_test(layers_without_room_keep_none),
        cmocka_unit_test(the_largest_are_chosen_and_of_equals_the_first),
        cmocka_unit_test(rules_take_turns_and_stop_at_their_least),
        cmocka_unit_test(refuses_more_columns_than_16_bits_count),
        cmocka_unit_test(values_stay_finite),
        cmocka_unit_test(no_sweep_of_quantease_raises_the_loss),
        cmocka_unit_test(quantease_exchanges_weights),
        cmocka_unit_test(pbllm_knows_its_loss),
        cmocka_unit_test(pbllm_takes_the_mean_as_its_scale),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(without_memory_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
