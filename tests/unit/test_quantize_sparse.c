/* Checkpoints whose layers keep single weights, from the recipe to the logits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "base/half.h"
#include "format/format.h"
#include "kerf/model.h"
#include "model/forward.h"
#include "quantize/recipe.h"
#include "quantize_fixture.h"

static void use_methods(quantize_fixture *f, const char *methods)
{
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"weights\": \"int3g32a\", \"embedding\": \"keep\", \"head\": \"keep\","
                   "\"prefix\": \"none\", \"calib\": {\"samples\": 6, \"length\": 40},"
                   "\"methods\": [%s]}",
                   methods);
    quantize_fixture_use(f, text);
}

typedef struct sums {
    double weight, output, unrepaired, bits;
    size_t n;
} sums;

static void add_report(void *ctx, const kf_layer_report *report)
{
    sums *s = ctx;
    if (strcmp(report->method, "keep") != 0) {
        s->weight += report->weight_error;
        s->output += report->output_error;
        s->unrepaired += report->unrepaired_error;
        s->bits += report->bits_per_weight * (double)report->rows * (double)report->cols;
        s->n++;
    }
}

/* Quantizes to a name, checks the checkpoint and what the dry run said of it. */
static sums quantize(quantize_fixture *f, const char *methods, const char *name)
{
    kf_error err = {0};
    sums s = {0};
    kf_quantize_result plan;
    kf_quantize_result result;
    kf_model *made = NULL;
    kf_model_info info;
    const char *out = quantize_fixture_path(f, name);
    use_methods(f, methods);
    quantize_fixture_plan(f, &plan);
    f->options.layer = add_report;
    f->options.ctx = &s;
    quantize_fixture_run(f, name, &result);
    f->options.layer = NULL;
    assert_true(plan.bytes >= result.bytes);
    assert_true(plan.memory_bytes >= result.memory_bytes);
    CHECK_OK(kf_verify(out, NULL, &err), &err);
    CHECK_OK(kf_model_open(&made, out, NULL, &err), &err);
    kf_model_get_info(made, &info);
    assert_int_equal(info.bytes, result.bytes);
    kf_model_close(made);
    return s;
}

/* A layer's report has the bits of all that it keeps. */
static void single_weights_cost_bits_and_take_errors(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 2);
    const sums without = quantize(f, "{\"name\": \"gwq\", \"outliers\": 0}", "without");
    const sums with = quantize(f, "{\"name\": \"gwq\", \"outliers\": 0.05}", "with");
    assert_int_equal(with.n, without.n);
    assert_true(with.weight < 0.99 * without.weight);
    /* 5 % of two layers' weights at 32 bits, and the starts of their rows. */
    const double n = 2.0 * (64 * 64 * 2 + 32 * 64 * 2 + 96 * 64 * 3);
    const double rows = 2.0 * (64 * 2 + 32 * 2 + 96 * 2 + 64 + 7);
    const double most = 32.0 * (0.05 * n + rows);
    assert_true(with.bits - without.bits <= most && with.bits - without.bits > 0.98 * most);
    quantize_fixture_free(f);
}

/* Repair works on what matrix and single weights leave together. */
static void a_pair_may_stand_beside_them(void **state)
{
    (void)state;
    static const char *const pairs[] = {"{\"name\": \"lqer\", \"rank\": 8}",
                                        "{\"name\": \"qera-exact\", \"rank\": 8}",
                                        "{\"name\": \"loftq\", \"rank\": 8, \"iterations\": 3}"};
    static const char *const names[] = {"lqer", "qera", "loftq"};
    quantize_fixture *f = quantize_fixture_new("qwen2", "rtn-w4", 1);
    const sums alone = quantize(f, "{\"name\": \"quantease\", \"outliers\": 0.02}", "alone");
    for (size_t i = 0; i < 3; i++) {
        char methods[256];
        (void)snprintf(methods, sizeof methods, "{\"name\": \"quantease\", \"outliers\": 0.02}, %s",
                       pairs[i]);
        const sums both = quantize(f, methods, names[i]);
        assert_int_equal(both.n, alone.n);
        assert_true(both.weight < alone.weight);
        assert_true(i > 1 || both.output < 0.9 * both.unrepaired);
    }
    quantize_fixture_free(f);
}

/* What the pipeline ran is what a session runs: the next block's inputs come from it. */
static void the_checkpoint_computes_what_it_decodes_to(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_model *made = NULL;
    const kfi_block *block = NULL;
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    (void)quantize(f, "{\"name\": \"easyquant\", \"sigma\": 1.5, \"outliers\": 0.1}", "out");
    CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "out"), NULL, &err), &err);
    CHECK_OK(kfi_model_block(made, 1, &block, &err), &err);
    const kfi_block *source = NULL;
    CHECK_OK(kfi_model_block(f->model, 1, &source, &err), &err);
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_linear *linear = &block->linears[role];
        const kfi_sparse *s = &linear->side.sparse;
        const float *weights = source->linears[role].weights;
        assert_non_null(s->starts);
        double sum = 0.0;
        for (size_t i = 0; i < linear->rows * linear->cols; i++) {
            sum += (double)weights[i] * (double)weights[i];
        }
        const double sigma = sqrt(sum / (double)(linear->rows * linear->cols));
        for (size_t r = 0; r < s->rows; r++) {
            for (size_t i = s->starts[r]; i < s->starts[r + 1]; i++) {
                float value = 0.0f;
                kfi_packed_decode_row(&value, &linear->packed, r, s->columns[i], 1);
                value += kfi_half_to_float(s->values[i]);
                const float w = weights[r * s->cols + s->columns[i]];
                assert_true(fabsf(value - w) <= 0x1p-10f * fabsf(w));
                assert_true(fabs((double)w) > 1.3 * sigma); /* the mean is near 0 */
            }
        }
    }
    kf_model_close(made);
    quantize_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_weights_cost_bits_and_take_errors),
        cmocka_unit_test(a_pair_may_stand_beside_them),
        cmocka_unit_test(the_checkpoint_computes_what_it_decodes_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
