/* Whole models quantized: what the checkpoint holds, and what decides it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "fixtures.h"
#include "quantize_fixture.h"

/* Layers as they are reported. */
typedef struct reports {
    size_t n, n_better, n_measured, n_exact, n_kept;
} reports;

static void count_report(void *ctx, const kf_layer_report *report)
{
    reports *r = ctx;
    r->n++;
    r->n_exact += report->exact;
    r->n_kept += strcmp(report->method, "keep") == 0;
    if (!isnan(report->nearest_error)) {
        r->n_measured++;
        r->n_better += report->output_error < report->nearest_error;
    }
}

static void gptq_beats_rounding_to_the_nearest_in_almost_every_layer(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w3", 2);
    reports r = {0};
    f->options.layer = count_report;
    f->options.ctx = &r;
    quantize_fixture_set(f, "prefix=none");
    quantize_fixture_run(f, "out", NULL);
    assert_true(r.n_measured == 14 && r.n_better == 14);
    quantize_fixture_free(f);
}

static void quantizing_twice_gives_the_same_bytes(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("qwen2", "gptq-w4", 1);
    quantize_fixture_run(f, "first", NULL);
    quantize_fixture_run(f, "second", NULL);
    assert_same_directories(quantize_fixture_path(f, "first"), quantize_fixture_path(f, "second"));
    quantize_fixture_free(f);
}

static void threads_change_no_byte(void **state)
{
    (void)state;
    static const char *const recipes[] = {"gptq-w4", "rtn-w2", "qera-gptq-w3-r32", "loftq-nf4-r32"};
    for (size_t i = 0; i < 4; i++) {
        quantize_fixture *one = quantize_fixture_new("llama", recipes[i], 1);
        quantize_fixture *two = quantize_fixture_new("llama", recipes[i], 2);
        quantize_fixture_run(one, "out", NULL);
        quantize_fixture_run(two, "out", NULL);
        assert_same_directories(quantize_fixture_path(one, "out"),
                                quantize_fixture_path(two, "out"));
        quantize_fixture_free(one);
        quantize_fixture_free(two);
    }
}

/* Repaired layers as they are reported. */
typedef struct repairs {
    size_t n, n_better;
    double bits; /* of all of them, times weights */
    double weights;
} repairs;

static void count_repair(void *ctx, const kf_layer_report *report)
{
    repairs *r = ctx;
    const double weights = (double)report->rows * (double)report->cols;
    if (strstr(report->tensor, "_proj") == NULL) {
        assert_null(report->repair);
        return;
    }
    assert_string_equal(report->repair, "qera-exact");
    assert_int_equal(report->rank, 8);
    r->n++;
    r->n_better += report->output_error < report->unrepaired_error;
    r->bits += report->bits_per_weight * weights;
    r->weights += weights;
}

static void a_repair_lowers_every_layers_error_and_counts_in_its_bits(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "qera-mxint3-r32", 2);
    repairs r = {0};
    kf_quantize_result result;
    f->options.layer = count_repair;
    f->options.ctx = &r;
    quantize_fixture_set(f, "qera-exact.rank=8");
    quantize_fixture_run(f, "out", &result);
    assert_true(r.n == 14 && r.n_better == 14);
    assert_true(fabs(r.bits / r.weights - result.bits_per_weight_linear) < 1e-9);

    kf_error err = {0};
    kfi_buf config;
    kfi_buf_init(&config, NULL, 1u << 20);
    CHECK_OK(kfi_file_read(&config, quantize_fixture_path(f, "out/config.json"), &err), &err);
    assert_non_null(strstr(config.data, "\"format_version\": 2"));
    kfi_buf_deinit(&config);
    quantize_fixture_free(f);
}

static void a_repair_of_embedding_or_head_is_refused(void **state)
{
    (void)state;
    static const char recipe[] =
        "{\"tensors\": {\"*\": {\"methods\": [\"rtn\", \"lorc\"]}}, \"prefix\": \"none\"}";
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    const char *path = quantize_fixture_path(f, "own.json");
    CHECK_OK(kfi_file_write(path, recipe, sizeof recipe - 1, &err), &err);
    kf_recipe_free(f->recipe);
    CHECK_OK(kf_recipe_open(&f->recipe, path, NULL, &err), &err);
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "lorc"));
    quantize_fixture_free(f);
}

static void rank_and_width_of_the_factors_take_bits(void **state)
{
    (void)state;
    static const char *const ranks[] = {"qera-exact.rank=1", "qera-exact.rank=40"};
    static const char *const factors[] = {"qera-exact.factors=int4", "qera-exact.factors=int8"};
    double bits[4];
    for (size_t i = 0; i < 4; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "qera-mxint3-r32", 1);
        kf_quantize_result result;
        quantize_fixture_set(f, ranks[i / 2]);
        quantize_fixture_set(f, factors[i % 2]);
        quantize_fixture_run(f, "out", &result);
        bits[i] = result.bits_per_weight_linear;
        quantize_fixture_free(f);
    }
    assert_true(bits[0] < bits[1] && bits[2] < bits[3]);
    assert_true(bits[0] < bits[2] && bits[1] < bits[3]);
}

static void a_spilled_stream_changes_no_byte(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    quantize_fixture_run(f, "memory", NULL);
    f->options.spill = f->directory;
    quantize_fixture_run(f, "spilled", NULL);
    assert_same_directories(quantize_fixture_path(f, "memory"),
                            quantize_fixture_path(f, "spilled"));
    kf_error err = {0};
    f->options.spill = quantize_fixture_path(f, "no/such/directory");
    assert_int_equal(quantize_fixture_try(f, "third", NULL, &err), KF_IO);
    quantize_fixture_free(f);
}

static void seed_and_recipe_change_the_bytes(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_file_map a;
    kfi_file_map b;
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w2", 1);
    quantize_fixture_set(f, "prefix=none");
    quantize_fixture_run(f, "a", NULL);
    f->options.seed = 8;
    quantize_fixture_run(f, "b", NULL);
    CHECK_OK(
        kfi_file_map_open(&a, quantize_fixture_path(f, "a/model-00001-of-00003.safetensors"), &err),
        &err);
    CHECK_OK(
        kfi_file_map_open(&b, quantize_fixture_path(f, "b/model-00001-of-00003.safetensors"), &err),
        &err);
    assert_true(a.size != b.size || memcmp(a.data, b.data, a.size) != 0);
    kfi_file_map_close(&a);
    kfi_file_map_close(&b);
    quantize_fixture_free(f);
}

static void kept_tensors_stay_as_they_are(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("qwen2", "rtn-w4", 1);
    reports r = {0};
    f->options.layer = count_report;
    f->options.ctx = &r;
    quantize_fixture_set(f, "tensors.blk.1.*=keep");
    quantize_fixture_set(f, "embedding=keep");
    quantize_fixture_run(f, "out", NULL);
    assert_int_equal(r.n_kept, 8);
    assert_int_equal(r.n_exact, 0); /* kept is not: on the grid already */
    kf_model *made = NULL;
    CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "out"), NULL, &err), &err);
    static const char *const names[] = {"model.layers.1.mlp.up_proj.weight",
                                        "model.embed_tokens.weight"};
    for (size_t i = 0; i < 2; i++) {
        const tiny_tensor *tensor = tiny_model_find(f->tiny, names[i]);
        float *rows = calloc(tensor->rows * tensor->cols, sizeof *rows);
        CHECK_OK(kfi_model_read_rows(made, names[i], 0, tensor->rows, rows, &err), &err);
        assert_memory_equal(rows, tensor->data, tensor->rows * tensor->cols * sizeof *rows);
        free(rows);
    }
    kf_model_close(made);
    quantize_fixture_free(f);
}

static void a_stored_prefix_is_used(void **state)
{
    (void)state;
    kf_error err = {0};
    static const char *const prefixes[] = {"prefix=start", "prefix=Be kind."};
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
        kf_quantize_result result;
        kf_model *made = NULL;
        quantize_fixture_set(f, prefixes[i]);
        quantize_fixture_set(f, "gptq.prefix_in_gram=true");
        quantize_fixture_run(f, "out", &result);
        assert_string_equal(result.prefix, i == 0 ? "start" : "text");
        CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "out"), NULL, &err), &err);
        kf_model_info info;
        kf_model_get_info(made, &info);
        assert_int_equal(info.n_prefix, i == 0 ? 1 : FIXTURE_PREFIX);
        assert_memory_equal(kf_model_prefix(made), f->prefix, info.n_prefix * sizeof(uint32_t));
        kf_model_close(made);
        quantize_fixture_free(f);
    }
}

/* A recipe without statistics may name windows longer than that. */
static void the_trial_of_the_prefix_stays_within_the_context(void **state)
{
    (void)state;
    static const char *const lengths[] = {"calib.length=255", "calib.length=300"};
    kf_quantize_result results[2];
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
        assert_int_equal(f->tiny->config.context, 256);
        quantize_fixture_set(f, "prefix=auto");
        quantize_fixture_set(f, lengths[i]);
        quantize_fixture_run(f, "out", &results[i]);
        quantize_fixture_free(f);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(results[0].prefix_loss[i] > 0.0);
        assert_true(results[0].prefix_loss[i] == results[1].prefix_loss[i]); /* the same windows */
    }
}

static void every_knob_of_gptq_is_heard(void **state)
{
    (void)state;
    static const char *const knobs[] = {
        "gptq.true_sequential=false",
        "gptq.act_order=false",
        "gptq.first_token_weight=16",
        "gptq.damping=0.2",
        "gptq.fit=minmax",
        "gptq.importance=mean_square",
        "gptq.exponent=4",
        "gptq.prefix_in_gram=false",
    };
    kf_error err = {0};
    for (size_t i = 0; i < sizeof knobs / sizeof knobs[0]; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "gptq-w3", 1);
        quantize_fixture_set(f, i == 7 ? "prefix=start" : "prefix=none");
        quantize_fixture_run(f, "a", NULL);
        quantize_fixture_set(f, knobs[i]);
        quantize_fixture_run(f, "b", NULL);
        kfi_file_map a;
        kfi_file_map b;
        CHECK_OK(kfi_file_map_open(
                     &a, quantize_fixture_path(f, "a/model-00002-of-00003.safetensors"), &err),
                 &err);
        CHECK_OK(kfi_file_map_open(
                     &b, quantize_fixture_path(f, "b/model-00002-of-00003.safetensors"), &err),
                 &err);
        if (a.size == b.size && memcmp(a.data, b.data, a.size) == 0) {
            fail_msg("%s changes nothing", knobs[i]);
        }
        kfi_file_map_close(&a);
        kfi_file_map_close(&b);
        quantize_fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_beats_rounding_to_the_nearest_in_almost_every_layer),
        cmocka_unit_test(quantizing_twice_gives_the_same_bytes),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(a_repair_lowers_every_layers_error_and_counts_in_its_bits),
        cmocka_unit_test(a_repair_of_embedding_or_head_is_refused),
        cmocka_unit_test(rank_and_width_of_the_factors_take_bits),
        cmocka_unit_test(a_spilled_stream_changes_no_byte),
        cmocka_unit_test(seed_and_recipe_change_the_bytes),
        cmocka_unit_test(kept_tensors_stay_as_they_are),
        cmocka_unit_test(a_stored_prefix_is_used),
        cmocka_unit_test(the_trial_of_the_prefix_stays_within_the_context),
        cmocka_unit_test(every_knob_of_gptq_is_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
