/* A model whose low-rank pairs share a budget of bits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "fixtures.h"
#include "quantize_fixture.h"

enum {
    LAYERS = 14
};

/* The linear layers of the blocks as they are reported. */
typedef struct reports {
    size_t n, n_paired;
    double errors; /* of outputs, summed; NaN where none are measured */
    size_t ranks[LAYERS];
} reports;

static void take_report(void *ctx, const kf_layer_report *report)
{
    reports *r = ctx;
    if (strstr(report->tensor, "_proj") == NULL) {
        return;
    }
    assert_true(r->n < LAYERS);
    assert_int_equal(report->rank > 0, report->repair != NULL);
    r->ranks[r->n++] = report->rank;
    r->n_paired += report->rank > 0;
    r->errors += report->output_error;
}

static reports quantize(quantize_fixture *f, const char *name, kf_quantize_result *result)
{
    reports r = {0};
    kf_error err = {0};
    f->options.layer = take_report;
    f->options.force = true;
    f->options.ctx = &r;
    quantize_fixture_run(f, name, result);
    CHECK_OK(kf_verify(quantize_fixture_path(f, name), NULL, &err), &err);
    assert_int_equal(r.n, LAYERS);
    return r;
}

static void set_budget(quantize_fixture *f, const char *method, double bits)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%s.budget=%.6f", method, bits);
    quantize_fixture_set(f, text);
}

/* Bits a weight that pairs of this rank take. */
static double bits_of_rank(quantize_fixture *f, const char *setting, reports *r)
{
    kf_quantize_result with;
    kf_quantize_result without;
    quantize_fixture_set(f, setting);
    *r = quantize(f, "uniform", &with);
    set_budget(f, strncmp(setting, "lorc", 4) == 0 ? "lorc" : "qera-exact", 1e-5);
    const reports none = quantize(f, "none", &without);
    assert_int_equal(none.n_paired, 0);
    return with.bits_per_weight_linear - without.bits_per_weight_linear;
}

/* Layers of a made-up model are much alike: some get codes that lose next to nothing. */
static void make_unlike(quantize_fixture *f)
{
    quantize_fixture_set(f, "tensors.*gate_proj=mxint7g32");
    quantize_fixture_set(f, "tensors.*up_proj=mxint7g32");
    quantize_fixture_set(f, "tensors.*q_proj=mxint7g32");
}

static void a_budget_is_held_and_beats_one_rank_for_all(void **state)
{
    (void)state;
    static const char *const architectures[] = {"llama", "qwen2"};
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_new(architectures[i], "qera-mxint3-r32", 2);
        reports uniform;
        kf_quantize_result result;
        kf_quantize_result none;
        make_unlike(f);
        const double bits = bits_of_rank(f, "qera-exact.rank=16", &uniform);
        (void)quantize(f, "none", &none);
        quantize_fixture_set(f, "qera-exact.rank=64");
        set_budget(f, "qera-exact", bits);
        const reports r = quantize(f, "out", &result);
        const double spent = result.bits_per_weight_linear - none.bits_per_weight_linear;
        print_message("# %s: %.3f of %.3f bits, errors %.4f, of one rank %.4f\n", architectures[i],
                      spent, bits, r.errors, uniform.errors);
        assert_true(spent <= bits + 1e-6 && spent > 0.8 * bits);
        assert_true(r.errors < 0.9 * uniform.errors);
        assert_true(r.ranks[6] > r.ranks[4]); /* down, gate */
        kf_quantize_result plan;
        quantize_fixture_plan(f, &plan);
        assert_true(plan.bytes >= result.bytes);
        assert_true(plan.bits_per_weight_linear - none.bits_per_weight_linear <= bits + 1e-6);
        quantize_fixture_free(f);
    }
}

/* What one block leaves over goes to the next: half a step a block is one in the second. */
static void what_is_left_over_goes_to_the_next_block(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "qera-mxint3-r32", 1);
    kf_quantize_result result;
    reports uniform;
    const double bits = bits_of_rank(f, "qera-exact.rank=16", &uniform);
    /* The cheapest pair is that of k or v. */
    quantize_fixture_set(f, "qera-exact.rank=16");
    set_budget(f, "qera-exact", bits / 14.0);
    const reports r = quantize(f, "out", &result);
    size_t first = 0;
    size_t second = 0;
    for (size_t i = 0; i < LAYERS; i++) {
        *(i < LAYERS / 2 ? &first : &second) += r.ranks[i] > 0;
    }
    assert_true(second > first);
    quantize_fixture_free(f);
}

/* Without calibration: lorc's pairs by what they take off the error of weights. */
static void a_repair_without_statistics_has_a_budget_too(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "lorc-mxint3-r32", 1);
    kf_quantize_result result;
    reports uniform;
    const double bits = bits_of_rank(f, "lorc.rank=16", &uniform);
    quantize_fixture_set(f, "lorc.rank=64");
    set_budget(f, "lorc", bits);
    const reports r = quantize(f, "out", &result);
    assert_true(r.n_paired > 0);
    quantize_fixture_free(f);
}

/* A layer of its own budget shares it with the others of the block; one with none keeps its rank.
 */
static void layers_without_a_budget_keep_their_rank(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "qera-gptq-w3-r32", 3);
    quantize_fixture *g = quantize_fixture_new("llama", "qera-gptq-w3-r32", 1);
    quantize_fixture *const both[] = {f, g};
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture_set(both[i], "qera-exact.rank=24");
        quantize_fixture_set(both[i], "qera-exact.budget=1");
        quantize_fixture_set(both[i], "tensors.*v_proj=keep");
        quantize_fixture_set(both[i], "prefix=start");
        const reports r = quantize(both[i], "out", NULL);
        assert_int_equal(r.ranks[2], 0);
        for (size_t k = 0; k < LAYERS; k++) {
            assert_in_range(r.ranks[k], 0, 24);
        }
    }
    assert_same_directories(quantize_fixture_path(f, "out"), quantize_fixture_path(g, "out"));
    quantize_fixture_free(f);
    quantize_fixture_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_held_and_beats_one_rank_for_all),
        cmocka_unit_test(what_is_left_over_goes_to_the_next_block),
        cmocka_unit_test(a_repair_without_statistics_has_a_budget_too),
        cmocka_unit_test(layers_without_a_budget_keep_their_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
