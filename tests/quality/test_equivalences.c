/* Transforms of real models: with nothing rounded behind them they leave the logits as they are.
 * Those that look for what rounds best, AWQ and QLLM, find nothing to do then; that they keep the
 * function where they do is in test_transform.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "kerf/quantize.h"

#define N_IDS       64u /* that the logits are compared on */
#define CALIBRATION 512u
#define TOLERANCE   1e-4

/* What the transforms look at, and what is compared, are random tokens: an equivalence holds for
 * any text. */
static void random_ids(uint32_t *ids, size_t n, size_t vocabulary, uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (uint32_t)kfi_rng_below(&rng, vocabulary);
    }
}

/* Of N_IDS tokens, n_logits of them together; freed by the caller. */
static float *logits_of(kf_model *model, size_t *n_logits)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    kf_model_info info;
    uint32_t ids[N_IDS];
    size_t n = 0;
    kf_model_get_info(model, &info);
    random_ids(ids, N_IDS, info.vocabulary, 1);
    options.context = N_IDS;
    *n_logits = N_IDS * info.vocabulary;
    float *logits = malloc(*n_logits * sizeof *logits);
    assert_non_null(logits);
    CHECK_OK(kf_session_new(&session, model, &options, &err), &err);
    CHECK_OK(kf_session_eval(session, ids, N_IDS, &err), &err);
    const float *hidden = kf_session_hidden(session, &n);
    assert_int_equal(n, N_IDS);
    CHECK_OK(kf_session_head(session, logits, hidden, n, &err), &err);
    kf_session_free(session);
    return logits;
}

/* ||a - b|| / ||b|| */
static double difference(const float *a, const float *b, size_t n)
{
    double error = 0.0;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        sum += (double)b[i] * (double)b[i];
    }
    return sqrt(error / sum);
}

/* Makes directory/out, a checkpoint of the model with all weights in float, transformed. */
static void transform_to(const char *directory, kf_model *model, const char *method)
{
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    kf_quantize_options options = KF_QUANTIZE_OPTIONS_INIT;
    kf_model_info info;
    char path[4096];
    char out[4096];
    static uint32_t ids[CALIBRATION];
    (void)snprintf(path, sizeof path, "%s/keep.json", directory);
    (void)snprintf(out, sizeof out, "%s/out", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fprintf(file,
                  "{\"weights\": \"keep\", \"embedding\": \"keep\", \"head\": \"keep\","
                  " \"activations\": \"float\", \"kv\": \"f32\", \"prefix\": \"none\","
                  " \"calib\": {\"samples\": 2, \"length\": 128},"
                  " \"methods\": [\"%s\", \"rtn\"]}\n",
                  method);
    assert_int_equal(fclose(file), 0);
    CHECK_OK(kf_recipe_open(&recipe, path, NULL, &err), &err);
    kf_model_get_info(model, &info);
    random_ids(ids, CALIBRATION, info.vocabulary, 2);
    options.calibration = ids;
    options.n_calibration = CALIBRATION;
    CHECK_OK(kf_quantize(NULL, model, out, recipe, &options, &err), &err);
    kf_recipe_free(recipe);
}

static void check_transform(kf_model *source, const float *expected, size_t n_logits,
                            const char *method, const kf_model_options *options)
{
    kf_error err = {0};
    kf_model *made = NULL;
    char *directory = fixture_directory_new();
    char out[4096];
    size_t n = 0;
    (void)snprintf(out, sizeof out, "%s/out", directory);
    transform_to(directory, source, method);
    CHECK_OK(kf_model_open(&made, out, options, &err), &err);
    float *logits = logits_of(made, &n);
    assert_int_equal(n, n_logits);
    const double d = difference(logits, expected, n);
    print_message("%s: %.2g\n", method, d);
    assert_true(d <= TOLERANCE);
    free(logits);
    kf_model_close(made);
    fixture_directory_free(directory);
}

static void check_model(const char *path)
{
    kf_error err = {0};
    kf_pool *pool = NULL;
    kf_model *model = NULL;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    size_t n_logits = 0;
    CHECK_OK(kf_pool_new(&pool, 0, NULL, &err), &err);
    options.pool = pool;
    CHECK_OK(kf_model_open(&model, path, &options, &err), &err);
    float *expected = logits_of(model, &n_logits);
    for (size_t i = 0; kf_method_at(i) != NULL; i++) {
        if (strcmp(kf_method_at(i)->stage, "transform") == 0) {
            check_transform(model, expected, n_logits, kf_method_at(i)->name, &options);
        }
    }
    free(expected);
    kf_model_close(model);
    kf_pool_free(pool);
}

static void transforms_leave_the_logits_of_smollm2(void **state)
{
    (void)state;
    const char *path = fixture_model();
    SKIP_WITHOUT(path, "the default model ($KERF_TEST_MODEL)");
    check_model(path);
}

static void transforms_leave_the_logits_of_qwen2(void **state)
{
    (void)state;
    const char *path = fixture_qwen();
    SKIP_WITHOUT(path, "Qwen2.5-Coder-0.5B (tools/fetch_qwen.sh)");
    SKIP_WITHOUT(getenv("KERF_LONG"), "$KERF_LONG, as this takes a minute");
    check_model(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transforms_leave_the_logits_of_smollm2),
        cmocka_unit_test(transforms_leave_the_logits_of_qwen2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
