/* What every recipe that comes with Kerf must do, on a tiny model of each architecture in turns.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "base/file.h"
#include "quantize_fixture.h"

/* Layers as they are reported. */
typedef struct reports {
    size_t n, n_measured, n_finish_calls;
    double linear_bits, linear_weights;
} reports;

static void count_report(void *ctx, const kf_layer_report *report)
{
    reports *r = ctx;
    r->n++;
    r->n_measured += !isnan(report->nearest_error);
    if (strstr(report->tensor, "_proj.weight") != NULL) {
        const double n = (double)report->rows * (double)report->cols;
        r->linear_bits += report->bits_per_weight * n;
        r->linear_weights += n;
    }
}

static kf_status write_extra(void *ctx, const char *directory, kf_error *err)
{
    char path[4096];
    ((reports *)ctx)->n_finish_calls++;
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", directory);
    return kfi_file_write(path, "{}", 2, err);
}

static void check_checkpoint(quantize_fixture *f, const kf_quantize_result *result)
{
    kf_error err = {0};
    kf_model *made = NULL;
    kf_model_info info;
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "out"), NULL, &err), &err);
    kf_model_get_info(made, &info);
    assert_true(info.is_kerf);
    /* A clip that is searched for stands in the format's name, layer by layer. */
    if (strstr(kf_recipe_json(f->recipe), "\"search\"") == NULL) {
        assert_non_null(strstr(kf_recipe_json(f->recipe), info.activations));
    }
    assert_int_equal(info.bytes, result->bytes);
    assert_int_equal(info.parameters, result->parameters);
    assert_true(fabs(info.bits_per_weight - result->bits_per_weight) < 1e-12);
    assert_true(fabs(info.bits_per_weight_linear - result->bits_per_weight_linear) < 1e-12);
    assert_int_equal(info.n_prefix, result->n_prefix);
    kf_model_close(made);
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
}

static void check_recipe(const char *architecture, const char *name)
{
    quantize_fixture *f = quantize_fixture_new(architecture, name, 2);
    reports r = {0};
    kf_quantize_result plan;
    kf_quantize_result result;
    f->options.layer = count_report;
    f->options.finish = write_extra;
    f->options.ctx = &r;
    quantize_fixture_plan(f, &plan);
    quantize_fixture_run(f, "out", &result);
    const size_t n_linears = f->tiny->config.n_layers * 7;
    assert_int_equal(r.n, n_linears + (f->tiny->config.tied ? 1 : 2));
    assert_int_equal(r.n_finish_calls, 1);
    /* What is said of the layers one by one adds up to what is said of all. */
    assert_true(fabs(r.linear_bits / r.linear_weights - result.bits_per_weight_linear) < 1e-9);
    if (strncmp(name, "gptq", 4) == 0) {
        assert_int_equal(r.n_measured, n_linears);
        assert_false(isnan(result.prefix_loss[0]) || isnan(result.prefix_loss[1]));
    }
    /* How many single weights and columns there are is known when the inputs were seen. */
    if (plan.bytes < result.bytes) {
        fail_msg("%s: %llu bytes foretold, %llu written", name, (unsigned long long)plan.bytes,
                 (unsigned long long)result.bytes);
    }
    if (plan.memory_bytes < result.memory_bytes) {
        fail_msg("%s: %llu bytes foretold, %llu used", name, (unsigned long long)plan.memory_bytes,
                 (unsigned long long)result.memory_bytes);
    }
    check_checkpoint(f, &result);
    quantize_fixture_free(f);
}

static void every_recipe_makes_the_checkpoint_that_its_dry_run_foretells(void **state)
{
    (void)state;
    const char *name = NULL;
    const char *description = NULL;
    for (size_t i = 0; kf_recipe_at(i, &name, &description); i++) {
        check_recipe(i % 2 == 0 ? "llama" : "qwen2", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recipe_makes_the_checkpoint_that_its_dry_run_foretells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
