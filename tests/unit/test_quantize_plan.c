/* What a dry run foretells of size, memory and time, and that it holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "base/file.h"
#include "fixtures.h"
#include "quantize_fixture.h"

static void a_dry_run_foretells_the_size_and_writes_nothing(void **state)
{
    (void)state;
    static const char *const recipes[] = {"gptq-w3", "gptq-w3", "qera-gptq-w3-r32",
                                          "loftq-nf4-r32"};
    for (size_t a = 0; a < 4; a++) {
        quantize_fixture *f = quantize_fixture_new(a % 2 == 0 ? "llama" : "qwen2", recipes[a], 1);
        kf_quantize_result plan;
        kf_quantize_result result;
        quantize_fixture_set(f, "prefix=start");
        f->options.dry_run = true;
        quantize_fixture_run(f, "out", &plan);
        assert_false(kfi_file_exists(quantize_fixture_path(f, "out")));
        assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
        f->options.dry_run = false;
        quantize_fixture_run(f, "out", &result);
        assert_int_equal(plan.bytes, result.bytes);
        assert_int_equal(plan.parameters, result.parameters);
        assert_true(fabs(plan.bits_per_weight_linear - result.bits_per_weight_linear) < 1e-12);
        assert_true(plan.memory_bytes >= result.memory_bytes);
        assert_true(plan.seconds > 0.0);
        quantize_fixture_free(f);
    }
}

/* The trial of a start token moves more tokens than a recipe of few windows, or of none. */
static void a_dry_run_foretells_the_memory_of_a_trial(void **state)
{
    (void)state;
    static const char *const recipes[] = {"gptq-w3", "rtn-w4"};
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", recipes[i], 1);
        kf_quantize_result plan;
        kf_quantize_result without;
        kf_quantize_result result;
        quantize_fixture_set(f, "calib.samples=1");
        quantize_fixture_set(f, "calib.length=250");
        quantize_fixture_set(f, "prefix=auto");
        f->options.dry_run = true;
        quantize_fixture_run(f, "out", &plan);
        quantize_fixture_set(f, "prefix=none");
        quantize_fixture_run(f, "out", &without);
        f->options.dry_run = false;
        quantize_fixture_set(f, "prefix=auto");
        quantize_fixture_run(f, "out", &result);
        assert_true(plan.memory_bytes >= result.memory_bytes);
        assert_true(plan.memory_bytes > without.memory_bytes);
        assert_true(plan.seconds > 0.0);
        quantize_fixture_free(f);
    }
}

/* A knob that makes a method do its work many times over. */
static void check_that_it_takes_time(const char *recipe, const char *once, const char *often)
{
    quantize_fixture *f = quantize_fixture_new("llama", recipe, 1);
    kf_quantize_result one;
    kf_quantize_result many;
    quantize_fixture_set(f, once);
    quantize_fixture_plan(f, &one);
    quantize_fixture_set(f, often);
    quantize_fixture_plan(f, &many);
    assert_true(many.seconds > 3.0 * one.seconds);
    quantize_fixture_free(f);
}

static void a_dry_run_foretells_that_searches_take_time(void **state)
{
    (void)state;
    /* A sweep more is a product with the Gram matrix more, a candidate more a fit and two. */
    check_that_it_takes_time("quantease-w3", "quantease.sweeps=1", "quantease.sweeps=1000");
    check_that_it_takes_time("awq-w4", "awq.grid=1", "awq.grid=100");
}

/* What the source has in memory while layers are reported. */
typedef struct watched {
    fixture_allocator allocator;
    size_t most;
} watched;

static void watch(void *ctx, const kf_layer_report *report)
{
    watched *w = ctx;
    (void)report;
    const size_t now = atomic_load(&w->allocator.n_bytes);
    w->most = now > w->most ? now : w->most;
}

static void one_block_of_the_source_is_in_memory_at_a_time(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"prefix=none", "prefix=auto"};
    for (size_t i = 0; i < 2; i++) {
        kf_error err = {0};
        watched w = {.most = 0};
        kf_quantize_result result;
        kf_model_options options = KF_MODEL_OPTIONS_INIT;
        quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
        quantize_fixture_set(f, prefixes[i]);
        kf_model_close(f->model);
        fixture_allocator_init(&w.allocator, 0);
        options.alloc = &w.allocator.allocator;
        options.pool = f->pool;
        CHECK_OK(kf_model_open(&f->model, f->tiny->path, &options, &err), &err);
        const size_t before = atomic_load(&w.allocator.n_bytes);
        f->options.dry_run = true;
        quantize_fixture_run(f, "out", NULL);
        assert_int_equal(atomic_load(&w.allocator.n_bytes), before);
        f->options.dry_run = false;
        f->options.layer = watch;
        f->options.ctx = &w;
        CHECK_OK(kf_quantize(&result, f->model, quantize_fixture_path(f, "out"), f->recipe,
                             &f->options, &err),
                 &err);
        assert_true(w.most > before);
        assert_true(w.most - before <= kfi_model_block_bytes(f->model));
        assert_int_equal(atomic_load(&w.allocator.n_bytes), before);
        assert_true(result.memory_bytes > kfi_model_block_bytes(f->model));
        quantize_fixture_free(f);
        assert_true(fixture_allocator_is_clean(&w.allocator));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dry_run_foretells_the_size_and_writes_nothing),
        cmocka_unit_test(a_dry_run_foretells_the_memory_of_a_trial),
        cmocka_unit_test(a_dry_run_foretells_that_searches_take_time),
        cmocka_unit_test(one_block_of_the_source_is_in_memory_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
