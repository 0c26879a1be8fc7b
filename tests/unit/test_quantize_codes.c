/* Whole models in ternary codes and codebooks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "quantize_fixture.h"

/* Layers whose error was measured, and those that err less than rounding to the nearest. */
typedef struct reports {
    size_t n_measured, n_better;
} reports;

static void count_report(void *ctx, const kf_layer_report *report)
{
    reports *r = ctx;
    if (!isnan(report->nearest_error)) {
        r->n_measured++;
        r->n_better += report->output_error < report->nearest_error;
    }
}

/* Every linear layer in the format; the tables have codebooks of their own in any case. */
static reports quantize_codes(quantize_fixture *f, const char *format, const char *name)
{
    char assignment[64];
    kf_error err = {0};
    reports r = {0};
    (void)snprintf(assignment, sizeof assignment, "weights=%s", format);
    quantize_fixture_set(f, assignment);
    quantize_fixture_set(f, "embedding=cb16g64");
    quantize_fixture_set(f, "head=cb8g64");
    f->options.layer = count_report;
    f->options.ctx = &r;
    quantize_fixture_run(f, name, NULL);
    CHECK_OK(kf_verify(quantize_fixture_path(f, name), NULL, &err), &err);
    return r;
}

static void gptq_beats_rounding_to_the_nearest_in_every_kind_of_code(void **state)
{
    (void)state;
    static const char *const formats[] = {"ternaryg64", "ternaryg64r", "nf4g64",
                                          "fp4e2m1g32", "fp6e3m2row",  "cb4g32"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 2);
        const reports r = quantize_codes(f, formats[i], "out");
        assert_int_equal(r.n_measured, f->tiny->config.n_layers * 7);
        assert_true(r.n_better > r.n_measured / 2);
        quantize_fixture_free(f);
    }
}

static void the_same_codebooks_are_learned_by_any_number_of_threads(void **state)
{
    (void)state;
    quantize_fixture *one = quantize_fixture_new("qwen2", "gptq-w4", 1);
    quantize_fixture *three = quantize_fixture_new("qwen2", "gptq-w4", 3);
    (void)quantize_codes(one, "cb16g64", "out");
    (void)quantize_codes(three, "cb16g64", "out");
    assert_same_directories(quantize_fixture_path(one, "out"), quantize_fixture_path(three, "out"));
    quantize_fixture_free(one);
    quantize_fixture_free(three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_beats_rounding_to_the_nearest_in_every_kind_of_code),
        cmocka_unit_test(the_same_codebooks_are_learned_by_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
