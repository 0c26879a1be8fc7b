/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/file.h"
#include "base/rng.h"
#include "fixtures.h"
#include "quantize/pipeline.h"
#include "quantize_fixture.h"
#include "session_fixture.h"

#define N_IDS 60u

/* Every layer kept in float. */
#define KEEP                                                                                       \
    "\"weights\": \"keep\", \"embedding\": \"keep\", \"head\": \"keep\","                          \
    "\"calib\": {\"samples\": 6, \"length\": 40},"

/* ---- equivalence ---- */

static void check_logits(const char *architecture, const char *method)
{
    char json[512];
    kf_error err = {0};
    kf_model *made = NULL;
    (void)snprintf(json, sizeof json,
                   "{" KEEP "\"prefix\": \"none\", \"methods\": [\"%s\", \"rtn\"]}", method);
    quantize_fixture *f = quantize_fixture_of(architecture, json, 1);
    quantize_fixture_run(f, "out", NULL);
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "out"), NULL, &err), &err);
    static float expected[N_IDS * TINY_VOCABULARY];
    static float logits[N_IDS * TINY_VOCABULARY];
    model_logits(expected, f->model, f->calibration, N_IDS);
    model_logits(logits, made, f->calibration, N_IDS);
    const double d = relative_difference(logits, expected, N_IDS * TINY_VOCABULARY);
    /* 0: nothing was transformed. AWQ and QLLM have nothing to gain where nothing is rounded. */
    const bool changes = strcmp(method, "awq") != 0 && strcmp(method, "qllm") != 0;
    if (!(d <= 1e-4 && (d > 0.0) == changes)) {
        fail_msg("%s of %s: logits differ by %g", method, architecture, d);
    }
    kf_model_close(made);
    quantize_fixture_free(f);
}

/* Nats a token of held-back windows, by the pipeline itself. */
static double loss_of(quantize_fixture *f)
{
    kf_error err = {0};
    kfi_pipeline pipeline;
    double loss = 0.0;
    static const size_t offsets[] = {0, 100, 200, 300};
    const kfi_pipeline_options options = {.model = f->model,
                                          .recipe = f->recipe,
                                          .worker = {.pool = f->pool, .is_trial = true},
                                          .windows = {f->calibration, offsets, 4, 40},
                                          .n_held_back = 2,
                                          .prefix = f->prefix,
                                          .n_prefix = 1,
                                          .seed = 3};
    CHECK_OK(kfi_pipeline_init(&pipeline, &options, &err), &err);
    for (size_t i = 0; i < pipeline.config->n_layers; i++) {
        kfi_block_result result;
        CHECK_OK(kfi_pipeline_quantize(&pipeline, &result, i, &err), &err);
        kfi_block_result_deinit(&result);
    }
    CHECK_OK(kfi_pipeline_loss(&pipeline, &loss, &err), &err);
    kfi_pipeline_deinit(&pipeline);
    return loss;
}

static void transforms_leave_the_loss_as_it_is(void **state)
{
    (void)state;
    static const char *const methods[] = {"smoothquant", "quarot", "atom"};
    for (size_t i = 0; i < 2 * sizeof methods / sizeof methods[0]; i++) {
        char json[512];
        (void)snprintf(json, sizeof json, "{" KEEP "\"methods\": [\"%s\", \"rtn\"]}",
                       methods[i / 2]);
        quantize_fixture *f = quantize_fixture_of(i % 2 == 0 ? "llama" : "qwen2", json, 2);
        const double loss = loss_of(f);
        quantize_fixture_use(f, "{" KEEP "\"methods\": [\"rtn\"]}");
        const double expected = loss_of(f);
        if (!(loss < expected || loss > expected) || fabs(loss - expected) > 1e-5) {
            fail_msg("%s: loss %.9g, expected %.9g", methods[i / 2], loss, expected);
        }
        quantize_fixture_free(f);
    }
}

static void transforms_leave_the_logits_as_they_are(void **state)
{
    (void)state;
    size_t n = 0;
    for (size_t i = 0; kfi_method_get(i) != NULL; i++) {
        if (kfi_method_get(i)->stage == KFI_STAGE_TRANSFORM) {
            check_logits("llama", kfi_method_get(i)->about.name);
            check_logits("qwen2", kfi_method_get(i)->about.name);
            n++;
        }
    }
    assert_true(n >= 2);
}

/* ---- determinism ---- */

/* With kept layers, which are then floats of the finished blocks, and a prefix in the statistics.
 */
#define MIXED(method)                                                                              \
    "{\"weights\": \"int4g32\", \"activations\": \"int8tg32\", \"prefix\": \"start\","             \
    "\"calib\": {\"samples\": 6, \"length\": 40},"                                                 \
    "\"tensors\": {\"*v_proj\": \"keep\", \"*down_proj\": \"keep\"},"                              \
    "\"methods\": [\"" method "\", \"gptq\"]}"

static const char *const mixed[] = {MIXED("smoothquant"), MIXED("awq"), MIXED("quarot"),
                                    MIXED("atom"), MIXED("qllm")};

static void a_cancelled_run_resumes_to_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mixed / sizeof mixed[0]; i++) {
        quantize_fixture *f = quantize_fixture_of("qwen2", mixed[i], 1);
        size_t n_runs = 1;
        quantize_fixture_run(f, "whole", NULL);
        f->options.resume = true;
        for (size_t at = 3; !quantize_fixture_cancel(f, "pieces", at); at += 19) {
            n_runs++;
        }
        assert_true(n_runs > 3);
        assert_same_directories(quantize_fixture_path(f, "whole"),
                                quantize_fixture_path(f, "pieces"));
        quantize_fixture_free(f);
    }
}

static void threads_change_no_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mixed / sizeof mixed[0]; i++) {
        quantize_fixture *one = quantize_fixture_of("llama", mixed[i], 1);
        quantize_fixture *two = quantize_fixture_of("llama", mixed[i], 2);
        quantize_fixture_run(one, "out", NULL);
        quantize_fixture_run(two, "out", NULL);
        assert_same_directories(quantize_fixture_path(one, "out"),
                                quantize_fixture_path(two, "out"));
        quantize_fixture_free(one);
        quantize_fixture_free(two);
    }
}

static void a_dry_run_foretells_size_and_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mixed / sizeof mixed[0]; i++) {
        kf_quantize_result plan;
        kf_quantize_result result;
        quantize_fixture *f = quantize_fixture_of("llama", mixed[i], 1);
        quantize_fixture_plan(f, &plan);
        quantize_fixture_run(f, "out", &result);
        if (strstr(mixed[i], "qllm") != NULL) { /* its maps depend on the text */
            assert_true(plan.bytes <= result.bytes);
        } else {
            assert_int_equal(plan.bytes, result.bytes);
        }
        if (plan.memory_bytes < result.memory_bytes) {
            fail_msg("%s: %zu bytes planned, %zu taken", mixed[i], (size_t)plan.memory_bytes,
                     (size_t)result.memory_bytes);
        }
        quantize_fixture_free(f);
    }
}

/* ---- refusals ---- */

static void refuses(const char *json, const char *message)
{
    kf_error err = {0};
    kfi_json *root = NULL;
    kf_recipe *recipe = NULL;
    CHECK_OK(kfi_json_parse(&root, json, strlen(json), &err), &err);
    assert_int_equal(kfi_recipe_from_json(&recipe, root, "test", 4, NULL, &err), KF_RANGE);
    assert_null(recipe);
    if (strstr(err.msg, message) == NULL) {
        fail_msg("'%s' says nothing of %s", err.msg, message);
    }
    kfi_json_free(root);
}

static void a_transform_stands_in_the_recipes_own_list(void **state)
{
    (void)state;
    refuses("{\"tensors\": {\"*q_proj\": {\"methods\": [\"awq\", \"rtn\"]}}}", "whole blocks");
    refuses("{\"methods\": [\"rtn\", \"awq\"]}", "stands behind");
    refuses("{\"methods\": [\"awq\"]}", "expected one");
}

/* A kept layer with a NaN is fine, but not when it is to be transformed. */
static void what_is_transformed_must_be_finite(void **state)
{
    (void)state;
    kf_error err = {0};
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_of("llama",
                                                  i == 0 ? "{" KEEP "\"prefix\": \"none\"}"
                                                         : "{" KEEP "\"prefix\": \"none\", "
                                                           "\"methods\": [\"awq\", \"rtn\"]}",
                                                  1);
        const kfi_block *block = NULL;
        CHECK_OK(kfi_model_block(f->model, 0, &block, &err), &err); /* decoded, and kept so */
        *(float *)(uintptr_t)&block->linears[KFI_LINEAR_O].weights[5] = NAN;
        const kf_status st = quantize_fixture_try(f, "out", NULL, &err);
        assert_int_equal(st, i == 0 ? KF_OK : KF_FORMAT);
        quantize_fixture_free(f);
    }
    assert_non_null(strstr(err.msg, "o_proj.weight': element 5 is NaN"));
}

/* ---- the scales ---- */

#define HIDDEN  8u
#define FORWARD 6u

/* Rows of the layers of a small block. */
static const size_t rows_of[KFI_LINEAR_COUNT] = {8, 4, 4, 8, FORWARD, FORWARD, 8};

typedef struct small_block {
    kfi_block block;
    float weights[KFI_LINEAR_COUNT][HIDDEN * HIDDEN];
    float norms[2][HIDDEN];
    kfi_float_block floats;
} small_block;

static void small_block_init(small_block *b, uint64_t seed)
{
    kfi_rng rng;
    kf_error err = {0};
    kfi_rng_init(&rng, seed);
    *b = (small_block){.block = {.attention_norm = b->norms[0], .mlp_norm = b->norms[1]}};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        kfi_linear *linear = &b->block.linears[role];
        linear->rows = rows_of[role];
        linear->cols = role == KFI_LINEAR_DOWN ? FORWARD : HIDDEN;
        linear->weights = b->weights[role];
        for (size_t i = 0; i < linear->rows * linear->cols; i++) {
            b->weights[role][i] = kfi_rng_normal(&rng);
        }
    }
    for (size_t i = 0; i < HIDDEN; i++) {
        b->norms[0][i] = b->norms[1][i] = 1.0f;
    }
    CHECK_OK(kfi_float_block_init(&b->floats, &b->block, HIDDEN, NULL, &err), &err);
}

/* Up to the rounding of floats. */
static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-5 * fabs(expected))) {
        fail_msg("%.9g, expected %.9g", value, expected);
    }
}

/* Every layer of the copy, gains in front and the scales between up and down undone, is what it was
 * (the gains were 1). */
static void assert_same_function(const small_block *b)
{
    const kfi_linear *up = &b->floats.block.linears[KFI_LINEAR_UP];
    const float *gains[KFI_STEP_COUNT] = {b->floats.attention_norm, NULL, b->floats.mlp_norm, NULL};
    double scales[FORWARD]; /* of up's rows, read off their first weights */
    for (size_t r = 0; r < FORWARD; r++) {
        scales[r] = (double)up->weights[r * HIDDEN] * (double)gains[KFI_STEP_GATE_UP][0] /
                    (double)b->weights[KFI_LINEAR_UP][r * HIDDEN];
    }
    for (size_t i_step = 0; i_step < KFI_STEP_COUNT; i_step++) {
        for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
            const kfi_linear *linear = &b->floats.block.linears[role];
            for (size_t i = 0; i < linear->rows * linear->cols; i++) {
                const size_t c = i % linear->cols;
                double w = (double)linear->weights[i];
                w *= gains[i_step] != NULL ? (double)gains[i_step][c] : 1.0;
                w *= i_step == KFI_STEP_DOWN ? scales[c] : 1.0;
                w /= role == KFI_LINEAR_UP ? scales[i / linear->cols] : 1.0;
                assert_near(w, (double)b->weights[role][i]);
            }
        }
    }
}

static double largest_in_column(const small_block *b, size_t i_step, size_t c)
{
    double most = 0.0;
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        const kfi_linear *linear = &b->floats.block.linears[role];
        for (size_t r = 0; r < linear->rows; r++) {
            most = fmax(most, fabs((double)linear->weights[r * linear->cols + c]));
        }
    }
    return most;
}

/* With alpha the largest weight of a column becomes max|x|^alpha max|w|^alpha, and the largest
 * input max|x|^(1 - alpha) max|w|^(1 - alpha). */
static void smoothquant_evens_out_inputs_and_weights(void **state)
{
    (void)state;
    static const double alphas[] = {0.0, 0.5, 1.0};
    const kfi_method *method = kfi_method_find("smoothquant", 11);
    float max_abs[HIDDEN] = {1.0f, 100.0f, 0.01f, 5.0f, 0.0f, 1.0f, 2.0f, 3.0f};
    const kfi_statistics statistics = {.n = HIDDEN, .max_abs = max_abs};
    for (size_t i = 0; i < 3; i++) {
        kf_error err = {0};
        small_block b;
        double before[KFI_STEP_COUNT][HIDDEN];
        kfi_transform_job job = {.floats = &b.floats,
                                 .statistics = {&statistics, NULL, &statistics, NULL},
                                 .knobs = &alphas[i]};
        small_block_init(&b, 1);
        for (size_t c = 0; c < HIDDEN; c++) {
            before[0][c] = largest_in_column(&b, KFI_STEP_QKV, c);
            before[2][c] = largest_in_column(&b, KFI_STEP_GATE_UP, c);
        }
        CHECK_OK(method->transform(&job, &err), &err);
        for (size_t i_step = 0; i_step < 3; i_step += 2) {
            const float *gains = kfi_float_block_gains(&b.floats, i_step);
            for (size_t c = 0; c < HIDDEN; c++) {
                const double x = (double)max_abs[c];
                const double w = before[i_step][c];
                const double expected = c == 4 ? w : pow(x * w, alphas[i]); /* 4: never seen */
                assert_near(largest_in_column(&b, i_step, c), expected);
                if (c != 4) {
                    assert_near((double)gains[c] * x, pow(x * w, 1.0 - alphas[i]));
                }
            }
        }
        assert_memory_equal(b.floats.weights[KFI_LINEAR_O], b.weights[KFI_LINEAR_O],
                            sizeof b.weights[0]);
        kfi_float_block_deinit(&b.floats);
    }
}

static void smoothquant_stays_within_its_clamp(void **state)
{
    (void)state;
    kf_error err = {0};
    const double alpha = 1.0;
    const kfi_method *method = kfi_method_find("smoothquant", 11);
    float max_abs[HIDDEN] = {1e-9f, 1e9f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
    const kfi_statistics statistics = {.n = HIDDEN, .max_abs = max_abs};
    small_block b;
    kfi_transform_job job = {
        .floats = &b.floats, .statistics = {&statistics, NULL, &statistics, NULL}, .knobs = &alpha};
    small_block_init(&b, 2);
    CHECK_OK(method->transform(&job, &err), &err);
    assert_same_function(&b);
    assert_near((double)b.floats.attention_norm[0], 1e5);
    assert_near((double)b.floats.attention_norm[1], 1e-4);
    kfi_float_block_deinit(&b.floats);
}

/* Statistics of random inputs, whose channels differ in size. */
static void random_statistics(kfi_statistics *s, size_t n, uint64_t seed)
{
    kf_error err = {0};
    kfi_rng rng;
    const kfi_statistics_request request = {.needs = KFI_NEED_GRAM | KFI_NEED_MEAN_ABS |
                                                     KFI_NEED_MAX_ABS};
    kfi_rng_init(&rng, seed);
    CHECK_OK(kfi_statistics_init(s, n, &request, NULL, &err), &err);
    for (size_t t = 0; t < 100; t++) {
        float x[HIDDEN] = {0};
        for (size_t c = 0; c < n; c++) {
            x[c] = kfi_rng_normal(&rng) * (c == 3 ? 30.0f : 1.0f);
        }
        kfi_statistics_add(s, NULL, x, 1);
    }
    kfi_statistics_finish(s, NULL);
}

/* tr(E H E^T) of a step of the source, rounded to the nearest behind the scales: those of a block
 * are read off its gains. */
static double step_error(const small_block *b, size_t i_step, const kfi_statistics *s,
                         const kfi_treatment *treatment)
{
    double sum = 0.0;
    const float *gains = kfi_float_block_gains((kfi_float_block *)(uintptr_t)&b->floats, i_step);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        kf_error err = {0};
        const kfi_linear *linear = &b->floats.block.linears[role];
        kfi_round_grid grid;
        kfi_round_job job = {.weights = linear->weights,
                             .rows = linear->rows,
                             .cols = linear->cols,
                             .format = treatment->weights,
                             .knobs = treatment->methods[0].knobs};
        treatment->methods[0].method->grid(&grid, job.knobs);
        CHECK_OK(kfi_round_job_init(&job, &err), &err);
        CHECK_OK(kfi_round_fit(&job, &grid, NULL, &err), &err);
        kfi_round_nearest(&job);
        for (size_t r = 0; r < linear->rows; r++) {
            double e[HIDDEN];
            for (size_t c = 0; c < linear->cols; c++) {
                const size_t i = r * linear->cols + c;
                const float q =
                    kfi_grid_decode(&job.grids[r], kfi_round_levels(&job), job.codes[i]);
                e[c] = (double)(linear->weights[i] - q) * (gains == NULL ? 1.0 : (double)gains[c]);
            }
            for (size_t c = 0; c < linear->cols * linear->cols; c++) {
                sum += e[c / linear->cols] * e[c % linear->cols] * (double)s->gram[c];
            }
        }
        kfi_round_job_deinit(&job);
    }
    return sum;
}

static void awq_lowers_the_error_of_rounding_where_channels_differ(void **state)
{
    (void)state;
    kf_error err = {0};
    const double grid = 20.0;
    const kfi_method *method = kfi_method_find("awq", 3);
    kfi_treatment treatment = {.weights = {KF_ELEMENT_INT, 3, KF_SCALE_FP16, KF_ZERO_NONE, 32},
                               .n_methods = 1};
    kfi_statistics wide;
    kfi_statistics narrow;
    small_block b;
    treatment.methods[0].method = kfi_method_find("rtn", 3);
    kfi_knobs_default(treatment.methods[0].knobs, treatment.methods[0].method);
    random_statistics(&wide, HIDDEN, 4);
    random_statistics(&narrow, FORWARD, 5);
    small_block_init(&b, 3);
    kfi_transform_job job = {
        .floats = &b.floats, .statistics = {&wide, NULL, &wide, &narrow}, .knobs = &grid};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        job.treatments[role] = &treatment;
    }
    const double before = step_error(&b, KFI_STEP_QKV, &wide, &treatment);
    CHECK_OK(method->transform(&job, &err), &err);
    assert_same_function(&b);
    /* The large channel's weights grow, its input shrinks. */
    assert_true(b.floats.attention_norm[3] < 0.9f * b.floats.attention_norm[0]);
    assert_true(step_error(&b, KFI_STEP_QKV, &wide, &treatment) < 0.9 * before);
    assert_true(b.floats.mlp_norm[3] < 0.9f * b.floats.mlp_norm[0]);
    assert_memory_equal(b.floats.weights[KFI_LINEAR_O], b.weights[KFI_LINEAR_O],
                        sizeof b.weights[0]);
    kfi_statistics_deinit(&wide);
    kfi_statistics_deinit(&narrow);
    kfi_float_block_deinit(&b.floats);
}

/* ---- QLLM ---- */

static void set_up_qllm(kfi_transform_job *job, small_block *b, kfi_statistics *wide,
                        kfi_statistics *narrow, const kfi_treatment *treatment)
{
    small_block_init(b, 6);
    *job = (kfi_transform_job){.floats = &b->floats, .statistics = {wide, NULL, wide, narrow}};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        job->treatments[role] = treatment;
    }
}

/* What a layer of a step gives for x behind its norm's gains and its map. */
static void layer_of_copy(double *y, const small_block *b, size_t i_step, size_t role,
                          const double *x)
{
    const kfi_linear *linear = &b->floats.block.linears[role];
    const float *gains = i_step == KFI_STEP_QKV ? b->floats.attention_norm : b->floats.mlp_norm;
    for (size_t r = 0; r < linear->rows; r++) {
        y[r] = 0.0;
        for (size_t c = 0; c < linear->cols; c++) {
            const size_t i = linear->online.n_inputs > 0 ? linear->online.columns[c] : c;
            y[r] += (double)linear->weights[r * linear->cols + c] * x[i] * (double)gains[i];
        }
    }
}

static void disassembly_leaves_the_layers_as_they_are(void **state)
{
    (void)state;
    kf_error err = {0};
    const double knobs[] = {0.25, 12.0, 0.0}; /* most, grid, no assembly */
    const kfi_treatment treatment = {.activations = {.bits = 4, .group = KF_GROUP_ROW}};
    kfi_statistics wide;
    kfi_statistics narrow;
    small_block b;
    kfi_transform_job job;
    random_statistics(&wide, HIDDEN, 4);
    random_statistics(&narrow, FORWARD, 5);
    set_up_qllm(&job, &b, &wide, &narrow, &treatment);
    job.knobs = knobs;
    CHECK_OK(kfi_method_find("qllm", 4)->transform(&job, &err), &err);
    assert_int_equal(b.floats.block.linears[KFI_LINEAR_Q].cols, HIDDEN + 2); /* a quarter */
    assert_int_equal(b.floats.block.linears[KFI_LINEAR_DOWN].cols, FORWARD + 1);
    static const double x[HIDDEN] = {1.0, -2.0, 0.5, 60.0, 3.0, -1.0, 0.25, 2.0};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        double y[HIDDEN];
        const size_t i_step = role <= KFI_LINEAR_V ? KFI_STEP_QKV : KFI_STEP_GATE_UP;
        if (role == KFI_LINEAR_O || role >= KFI_LINEAR_UP) {
            continue;
        }
        layer_of_copy(y, &b, i_step, role, x);
        for (size_t r = 0; r < rows_of[role]; r++) {
            double expected = 0.0;
            for (size_t c = 0; c < HIDDEN; c++) {
                expected += (double)b.weights[role][r * HIDDEN + c] * x[c];
            }
            assert_near(y[r], expected);
        }
    }
    kfi_statistics_deinit(&wide);
    kfi_statistics_deinit(&narrow);
    kfi_float_block_deinit(&b.floats);
}

/* Two channels that are alike, in inputs and weights, become one at no loss. */
static void assembly_merges_the_channels_that_are_alike(void **state)
{
    (void)state;
    kf_error err = {0};
    const double knobs[] = {0.125, 12.0, 1.0};
    const kfi_treatment treatment = {.activations = {.bits = 4, .group = KF_GROUP_ROW}};
    kfi_statistics wide;
    kfi_statistics narrow;
    small_block b;
    kfi_transform_job job;
    random_statistics(&wide, HIDDEN, 4);
    random_statistics(&narrow, FORWARD, 5);
    set_up_qllm(&job, &b, &wide, &narrow, &treatment);
    job.knobs = knobs;
    for (size_t i = 0; i < HIDDEN; i++) { /* channel 5 is a copy of channel 2 */
        wide.gram[5 * HIDDEN + i] = wide.gram[2 * HIDDEN + i];
    }
    for (size_t i = 0; i < HIDDEN; i++) {
        wide.gram[i * HIDDEN + 5] = wide.gram[i * HIDDEN + 2];
    }
    CHECK_OK(kfi_method_find("qllm", 4)->transform(&job, &err), &err);
    const kfi_linear *q = &b.floats.block.linears[KFI_LINEAR_Q];
    assert_int_equal(q->cols, HIDDEN);
    assert_int_equal(q->online.second[2], 5);
    assert_int_equal(q->online.columns[3], 3); /* the large one, and its copy where 5 was */
    assert_int_equal(q->online.columns[5], 3);
    assert_near((double)b.floats.attention_norm[3], 0.5);
    for (size_t r = 0; r < q->rows; r++) {
        const float *row = b.weights[KFI_LINEAR_Q] + r * HIDDEN;
        assert_near((double)q->weights[r * HIDDEN + 2], 0.5 * ((double)row[2] + (double)row[5]));
        assert_near((double)q->weights[r * HIDDEN + 5], (double)row[3]);
    }
    kfi_statistics_deinit(&wide);
    kfi_statistics_deinit(&narrow);
    kfi_float_block_deinit(&b.floats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transforms_leave_the_loss_as_it_is),
        cmocka_unit_test(transforms_leave_the_logits_as_they_are),
        cmocka_unit_test(a_cancelled_run_resumes_to_the_same_bytes),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(a_dry_run_foretells_size_and_memory),
        cmocka_unit_test(a_transform_stands_in_the_recipes_own_list),
        cmocka_unit_test(what_is_transformed_must_be_finite),
        cmocka_unit_test(smoothquant_evens_out_inputs_and_weights),
        cmocka_unit_test(smoothquant_stays_within_its_clamp),
        cmocka_unit_test(disassembly_leaves_the_layers_as_they_are),
        cmocka_unit_test(assembly_merges_the_channels_that_are_alike),
        cmocka_unit_test(awq_lowers_the_error_of_rounding_where_channels_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
