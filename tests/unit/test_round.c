/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "fixtures.h"
#include "round_fixture.h"

static const char *const formats[] = {
    "int4g64",    "int4g64a",    "int3g32a",  "int2g64a",  "int8row",    "int4g32o",
    "mxint4g32",  "int4g64r",    "int3g32ar", "int2g64ar", "nf4g64",     "fp4e2m1g32",
    "ternaryg64", "ternaryg32r", "cb16g64",   "cb8row",    "fp6e3m2g64", "fp6e3m2row"};
#define N_FORMATS (sizeof formats / sizeof formats[0])

static void gptq_with_a_diagonal_gram_is_rtn_bit_for_bit(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"false", "false"}, {"false", "true"}, {"true", "true"}};
    const kfi_method *rtn = round_method_named("rtn");
    const kfi_method *gptq = round_method_named("gptq");
    for (size_t i = 0; i < N_FORMATS * 3 * 2; i++) {
        round_layer l;
        uint8_t *codes = NULL;
        kfi_grid *grids = NULL;
        const char *fit = i / (N_FORMATS * 3) == 0 ? "minmax" : "mse";
        round_layer_init(&l, 37, 232, formats[i % N_FORMATS],
                         i); /* ragged rows, last group shorter */
        round_layer_diagonal_gram(&l);
        kfi_knobs_default(l.knobs, rtn);
        round_layer_set(&l, rtn, "fit", fit);
        (void)round_layer_round(&l, rtn, NULL);
        round_layer_keep(&l, &codes, &grids);
        kfi_knobs_default(l.knobs, gptq);
        round_layer_set(&l, gptq, "fit", fit);
        round_layer_set(&l, gptq, "act_order", settings[i / N_FORMATS % 3][0]);
        round_layer_set(&l, gptq, "static_groups", settings[i / N_FORMATS % 3][1]);
        round_layer_set(&l, gptq, "block", i % 2 == 0 ? "128" : "48");
        (void)round_layer_round(&l, gptq, NULL);
        round_layer_assert_same(&l, codes, grids);
        round_layer_deinit(&l);
    }
}

static void the_loss_of_gptq_is_the_trace_measured_directly(void **state)
{
    (void)state;
    const kfi_method *gptq = round_method_named("gptq");
    for (size_t i = 0; i < N_FORMATS * 2; i++) {
        round_layer l;
        round_layer_init(&l, 21, 200, formats[i % N_FORMATS], 100 + i);
        round_layer_add_tokens(&l, 1000, i);
        kfi_knobs_default(l.knobs, gptq);
        round_layer_set(&l, gptq, "damping", "0.02");
        round_layer_set(&l, gptq, "act_order", i < N_FORMATS ? "true" : "false");
        round_layer_set(&l, gptq, "static_groups", "false");
        const double loss = round_layer_round(&l, gptq, NULL);
        const double direct = round_layer_direct_loss(&l, 0.02);
        /* float32 in the loop: errors pass through some hundred updates */
        assert_true(direct > 0.0 && fabs(loss - direct) <= 2e-3 * direct);
        round_layer_deinit(&l);
    }
}

static void gptq_leaves_less_output_error_than_rtn(void **state)
{
    (void)state;
    const kfi_method *rtn = round_method_named("rtn");
    const kfi_method *gptq = round_method_named("gptq");
    static const char *const orders[] = {"true", "false"};
    for (size_t i = 0; i < 2 * N_FORMATS; i++) {
        round_layer l;
        round_layer_init(&l, 40, 256, formats[i % N_FORMATS], 200 + i);
        round_layer_add_tokens(&l, 2000, i);
        kfi_knobs_default(l.knobs, rtn);
        round_layer_set(&l, rtn, "fit", "mse");
        (void)round_layer_round(&l, rtn, NULL);
        const kfi_round_error nearest = round_layer_measure(&l);
        kfi_knobs_default(l.knobs, gptq);
        round_layer_set(&l, gptq, "act_order", orders[i / N_FORMATS]);
        (void)round_layer_round(&l, gptq, NULL);
        const kfi_round_error error = round_layer_measure(&l);
        assert_true(nearest.output > 0.0);
        assert_true(error.output < 0.8 * nearest.output);
        assert_true(error.weight >= nearest.weight);
        round_layer_deinit(&l);
    }
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    static const char *const names[] = {"rtn", "gptq", "quantease"};
    for (size_t i = 0; i < 3; i++) {
        const kfi_method *method = round_method_named(names[i]);
        round_layer l;
        uint8_t *codes = NULL;
        kfi_grid *grids = NULL;
        round_layer_init(&l, 201, 320, "int3g64a", 300);
        round_layer_add_tokens(&l, 1000, 1);
        kfi_knobs_default(l.knobs, method);
        const double loss = round_layer_round(&l, method, NULL);
        round_layer_keep(&l, &codes, &grids);
        const double loss_again = round_layer_round(&l, method, pool);
        assert_true(isnan(loss) == isnan(loss_again));
        assert_true(!(loss < loss_again) && !(loss > loss_again));
        round_layer_assert_same(&l, codes, grids);
        round_layer_deinit(&l);
    }
    kf_pool_free(pool);
}

static void dead_inputs_get_the_code_of_zero(void **state)
{
    (void)state;
    const kfi_method *gptq = round_method_named("gptq");
    round_layer l;
    round_layer_init(&l, 16, 128, "int4g64a", 400);
    round_layer_add_tokens(&l, 500, 4);
    round_layer_mute(&l, 5);
    kfi_knobs_default(l.knobs, gptq);
    (void)round_layer_round(&l, gptq, NULL);
    round_layer_assert_zero(&l, 5);
    round_layer_deinit(&l);
}

static void inputs_that_are_always_zero_make_everything_dead(void **state)
{
    (void)state;
    const kfi_method *gptq = round_method_named("gptq");
    round_layer l;
    round_layer_init(&l, 16, 64, "int4g64", 401);
    kfi_knobs_default(l.knobs, gptq);
    assert_true(round_layer_round(&l, gptq, NULL) == 0.0);
    round_layer_deinit(&l);
}

/* Two equal columns and no damping: the Cholesky fails, and more damping mends it. */
static void a_singular_gram_is_damped_until_it_works(void **state)
{
    (void)state;
    const kfi_method *gptq = round_method_named("gptq");
    round_layer l;
    round_layer_init(&l, 16, 64, "int4g64", 402);
    for (size_t i = 0; i < 64 * 64; i++) {
        l.statistics.gram[i] = 1.0f;
    }
    kfi_knobs_default(l.knobs, gptq);
    round_layer_set(&l, gptq, "damping", "0");
    assert_true(isfinite(round_layer_round(&l, gptq, NULL)));
    round_layer_deinit(&l);
}

static void inputs_that_are_not_finite_are_reported(void **state)
{
    (void)state;
    kf_error err = {0};
    void *shared = NULL;
    const kfi_method *gptq = round_method_named("gptq");
    round_layer l;
    round_layer_init(&l, 16, 64, "int4g64", 403);
    round_layer_diagonal_gram(&l);
    l.statistics.gram[0] = INFINITY;
    kfi_knobs_default(l.knobs, gptq);
    assert_int_equal(gptq->prepare(&shared, &l.statistics, l.knobs, NULL, &err), KF_RANGE);
    assert_null(shared);
    round_layer_deinit(&l);
}

static void importance_moves_the_clip_search(void **state)
{
    (void)state;
    const kfi_method *rtn = round_method_named("rtn");
    round_layer l;
    round_layer_init(&l, 8, 128, "int3g64", 404);
    round_layer_diagonal_gram(&l);
    for (size_t c = 0; c < l.cols; c++) {
        l.statistics.gram[c * l.cols + c] = c % 8 == 0 ? 1000.0f : 1.0f;
    }
    kfi_knobs_default(l.knobs, rtn);
    round_layer_set(&l, rtn, "fit", "mse");
    round_layer_set(&l, rtn, "exponent", "2");
    (void)round_layer_round(&l, rtn, NULL);
    const kfi_round_error plain = round_layer_measure(&l);
    round_layer_set(&l, rtn, "importance", "mean_square");
    (void)round_layer_round(&l, rtn, NULL);
    const kfi_round_error weighted = round_layer_measure(&l);
    assert_true(weighted.output < plain.output);
    assert_true(weighted.weight > plain.weight);
    round_layer_deinit(&l);
}

static void without_memory_nothing_leaks(void **state)
{
    (void)state;
    static const char *const names[] = {"rtn", "gptq", "quantease"};
    for (size_t i = 0; i < 3; i++) {
        const kfi_method *method = round_method_named(names[i]);
        round_layer l;
        round_layer_init(&l, 40, 64, "int4g64a", 500);
        round_layer_add_tokens(&l, 300, 5);
        kfi_knobs_default(l.knobs, method);
        round_layer_set(&l, method, "fit", "mse");
        round_layer_set(&l, method, "importance", "mean_square");
        kf_status st = KF_NOMEM;
        for (size_t fail_at = 1; st != KF_OK; fail_at++) {
            fixture_allocator a;
            kf_error err = {0};
            void *shared = NULL;
            fixture_allocator_init(&a, fail_at);
            kfi_round_job job = round_layer_job(&l, NULL);
            job.alloc = &a.allocator;
            st = method->prepare == NULL
                     ? KF_OK
                     : method->prepare(&shared, &l.statistics, l.knobs, &a.allocator, &err);
            if (st == KF_OK) {
                st = method->round(&job, shared, &err);
            }
            if (method->release != NULL) {
                method->release(shared, &a.allocator);
            }
            assert_true(st == KF_OK || st == KF_NOMEM);
            assert_true(fixture_allocator_is_clean(&a));
        }
        round_layer_deinit(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_with_a_diagonal_gram_is_rtn_bit_for_bit),
        cmocka_unit_test(the_loss_of_gptq_is_the_trace_measured_directly),
        cmocka_unit_test(gptq_leaves_less_output_error_than_rtn),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(dead_inputs_get_the_code_of_zero),
        cmocka_unit_test(inputs_that_are_always_zero_make_everything_dead),
        cmocka_unit_test(a_singular_gram_is_damped_until_it_works),
        cmocka_unit_test(inputs_that_are_not_finite_are_reported),
        cmocka_unit_test(importance_moves_the_clip_search),
        cmocka_unit_test(without_memory_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
