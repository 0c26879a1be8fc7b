/* Whole models that are transformed before they are quantized.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "base/file.h"
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
            assert_true(plan.bytes >= result.bytes);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
