/* Low-rank pairs of a real model, layer by layer on the same R and E: what a pair of floats leaves
 * of the output error is the tail of the spectrum (QERA's theorem 1), no other method leaves less,
 * and it falls with the rank. The first blocks only; with $KERF_LONG all of them. $KERF_TEST_TEXT
 * may name another text to calibrate on than docs/FORMAT.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "fixtures.h"
#include "kerf/tokenizer.h"
#include "linalg/matrix.h"
#include "quantize/block_work.h"
#include "quantize/method.h"

enum {
    WINDOWS = 8,
    LENGTH = 512,
    BLOCKS = 1, /* unless it is long */
    MOST = 32,
    METHODS = 4,
    RANKS = 3
};

static const char *const methods[METHODS] = {"qera-exact", "qera-approx", "lqer", "lorc"};
static const size_t ranks[RANKS] = {8, 16, MOST};

/* Layers for which each holds. */
typedef struct counts {
    size_t n, tail, best[METHODS], falls;
    double deviation;          /* the greatest from the tail, over it */
    double log_error[METHODS]; /* at the greatest rank, over that without a pair; summed */
} counts;

/* A layer that is rounded, and a pair for it. */
typedef struct layer_pair {
    kfi_round_job round;
    kfi_repair_job repair;
} layer_pair;

static float *floats(size_t n)
{
    float *x = calloc(n, sizeof *x);
    assert_non_null(x);
    return x;
}

/* tr((E - B A) R (E - B A)^T) of the first k columns of B: products in float, the sum in double. */
static double error_left(const layer_pair *l, size_t k)
{
    const size_t rows = l->round.rows;
    const size_t cols = l->round.cols;
    float *p = floats(rows * cols);
    float *weighted = floats(rows * cols);
    double sum = 0.0;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            double value = (double)l->repair.error[r * cols + c];
            for (size_t i = 0; i < k; i++) {
                value -= (double)l->repair.b[r * MOST + i] * (double)l->repair.a[i * cols + c];
            }
            p[r * cols + c] = (float)value;
        }
    }
    const kfi_gemm g = {.kind = KFI_GEMM_NN,
                        .m = rows,
                        .n = cols,
                        .k = cols,
                        .a = p,
                        .ld_a = cols,
                        .b = l->round.statistics->gram,
                        .ld_b = cols,
                        .c = weighted,
                        .ld_c = cols};
    kfi_matrix_multiply(l->round.pool, &g);
    for (size_t i = 0; i < rows * cols; i++) {
        sum += (double)p[i] * (double)weighted[i];
    }
    free(p);
    free(weighted);
    return sum;
}

static void repair_by(layer_pair *l, const char *name)
{
    kf_error err = {0};
    double knobs[KFI_KNOBS_MAX];
    const kfi_method *method = kfi_method_find(name, strlen(name));
    assert_non_null(method);
    kfi_knobs_default(knobs, method);
    l->repair.knobs = knobs;
    CHECK_OK(method->repair(&l->repair, &err), &err);
}

static void count_layer(counts *c, layer_pair *l)
{
    double left[METHODS][RANKS];
    bool is_tail = true;
    bool falls = true;
    for (size_t m = 0; m < METHODS; m++) {
        repair_by(l, methods[m]);
        double tail = l->repair.whole;
        for (size_t k = 0, i = 0; k < RANKS; k++) {
            left[m][k] = error_left(l, ranks[k]);
            for (; i < ranks[k]; i++) {
                tail -= l->repair.energy[i];
            }
            if (m == 0) {
                const double deviation = fabs(left[0][k] - tail) / tail;
                c->deviation = fmax(c->deviation, deviation);
                is_tail = is_tail && deviation <= 1e-5;
                falls = falls && (k == 0 || left[0][k] < left[0][k - 1]);
            }
        }
    }
    const double none = error_left(l, 0);
    for (size_t m = 0; m < METHODS; m++) {
        bool is_best = true;
        for (size_t k = 0; k < RANKS; k++) { /* but for what floats round */
            is_best = is_best && left[0][k] <= left[m][k] * (1.0 + 1e-6);
        }
        c->best[m] += is_best;
        c->log_error[m] += log(left[m][RANKS - 1] / none);
    }
    c->n++;
    c->tail += is_tail;
    c->falls += falls;
}

/* mxint3, rounded to the nearest. */
static void check_layer(counts *c, const kfi_linear *linear, const kfi_statistics *statistics,
                        kf_pool *pool)
{
    static const kf_format format = {KF_ELEMENT_MXINT, 3, KF_SCALE_POWER_OF_TWO, KF_ZERO_NONE, 32};
    kf_error err = {0};
    double knobs[KFI_KNOBS_MAX];
    const size_t n = linear->rows * linear->cols;
    const kfi_method *rtn = kfi_method_find("rtn", 3);
    kfi_knobs_default(knobs, rtn);
    layer_pair l = {.round = {.weights = linear->weights,
                              .rows = linear->rows,
                              .cols = linear->cols,
                              .format = format,
                              .statistics = statistics,
                              .knobs = knobs,
                              .pool = pool}};
    CHECK_OK(kfi_round_job_init(&l.round, &err), &err);
    CHECK_OK(rtn->round(&l.round, NULL, &err), &err);
    double energy[MOST];
    l.repair = (kfi_repair_job){.round = &l.round,
                                .method = rtn,
                                .error = floats(n),
                                .rank = MOST,
                                .a = floats(MOST * linear->cols),
                                .b = floats(MOST * linear->rows),
                                .energy = energy};
    kfi_round_error_rows(l.repair.error, &l.round, 0, linear->rows);
    count_layer(c, &l);
    free(l.repair.error);
    free(l.repair.a);
    free(l.repair.b);
    kfi_round_job_deinit(&l.round);
}

/* The inputs of all layers of a float block, and then the block itself. */
static void check_block(counts *c, kfi_pipeline *p, size_t i_layer)
{
    static const kfi_statistics_request request = {.needs = KFI_NEED_GRAM | KFI_NEED_MEAN_ABS,
                                                   .first_token_weight = 1.0};
    kf_error err = {0};
    kfi_block_result result = {0};
    kfi_block_work work = {.pipeline = p, .i_layer = i_layer, .result = &result};
    CHECK_OK(kfi_model_block(p->options.model, i_layer, &work.source, &err), &err);
    work.floats = work.source;
    result.block = *work.source;
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        CHECK_OK(kfi_block_gather_begin(&work, i, &request, 1, &err), &err);
    }
    CHECK_OK(kfi_block_pass_float(&work, &err), &err);
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        kfi_gathering *g = &work.gatherings[i];
        kfi_gathering_finish(g, p->options.worker.pool);
        for (size_t role = kfi_step_first(i); role <= kfi_step_last(i); role++) {
            check_layer(c, &work.source->linears[role], kfi_gathering_find(g, &request),
                        p->options.worker.pool);
        }
    }
    kfi_block_gather_end(&work);
    CHECK_OK(kfi_block_pass_whole(&work, &err), &err);
    kfi_model_release_block(p->options.model, i_layer);
}

/* Returned owned: free(). */
static uint32_t *read_ids(size_t *n, const char *model)
{
    kf_error err = {0};
    kf_tokenizer *tokenizer = NULL;
    kfi_file_map text;
    char path[4096];
    const char *other = getenv("KERF_TEST_TEXT");
    (void)snprintf(path, sizeof path, "%s/docs/FORMAT.md", getenv("KERF_SOURCE_ROOT"));
    CHECK_OK(kfi_file_map_open(&text, other != NULL ? other : path, &err), &err);
    CHECK_OK(kf_tokenizer_open(&tokenizer, model, NULL, &err), &err);
    const size_t size = text.size < 200000 ? text.size : 200000;
    uint32_t *ids = calloc(size, sizeof *ids);
    assert_non_null(ids);
    CHECK_OK(kf_tokenizer_encode(ids, size, n, tokenizer, (const char *)text.data, size, 0, &err),
             &err);
    assert_true(*n >= LENGTH);
    kf_tokenizer_free(tokenizer);
    kfi_file_map_close(&text);
    return ids;
}

static void print_counts(const counts *c)
{
    print_message(
        "# %zu layers, ranks 8, 16, 32: %zu leave the tail of the spectrum (within %.1e), "
        "%zu less with every rank\n",
        c->n, c->tail, c->deviation, c->falls);
    for (size_t m = 0; m < METHODS; m++) {
        print_message(
            "# %-11s leaves %.4f of the output error at rank 32 (geometric mean), no less "
            "than qera-exact in %zu\n",
            methods[m], exp(c->log_error[m] / (double)c->n), c->best[m]);
    }
}

static void pairs_of_a_model_are_as_the_theorem_says(void **state)
{
    (void)state;
    const char *path = fixture_model();
    SKIP_WITHOUT(path, "the default model ($KERF_TEST_MODEL)");
    kf_error err = {0};
    kf_pool *pool = NULL;
    kf_model *model = NULL;
    kf_recipe *recipe = NULL;
    kfi_pipeline pipeline;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    size_t offsets[WINDOWS];
    size_t n_ids = 0;
    counts c = {0};
    uint32_t *ids = read_ids(&n_ids, path);
    kfi_windows_draw(offsets, WINDOWS, 0, n_ids, LENGTH, 1);
    CHECK_OK(kf_pool_new(&pool, 0, NULL, &err), &err);
    options.pool = pool;
    CHECK_OK(kf_model_open(&model, path, &options, &err), &err);
    CHECK_OK(kf_recipe_open(&recipe, "mxint3", NULL, &err), &err);
    const kfi_pipeline_options how = {
        .model = model,
        .recipe = recipe,
        .worker = {.pool = pool},
        .windows = {.ids = ids, .offsets = offsets, .n = WINDOWS, .length = LENGTH}};
    CHECK_OK(kfi_pipeline_init(&pipeline, &how, &err), &err);
    const size_t n_blocks = getenv("KERF_LONG") != NULL ? pipeline.config->n_layers : BLOCKS;
    for (size_t i = 0; i < n_blocks; i++) {
        check_block(&c, &pipeline, i);
    }
    print_counts(&c);
    assert_int_equal(c.n, n_blocks * KFI_LINEAR_COUNT);
    assert_int_equal(c.tail, c.n);
    assert_int_equal(c.falls, c.n);
    for (size_t m = 0; m < METHODS; m++) {
        assert_int_equal(c.best[m], c.n);
    }
    kfi_pipeline_deinit(&pipeline);
    kf_recipe_free(recipe);
    kf_model_close(model);
    kf_pool_free(pool);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_of_a_model_are_as_the_theorem_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
