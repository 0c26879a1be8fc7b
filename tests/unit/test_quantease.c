/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fixtures.h"
#include "round_fixture.h"

static const char *const formats[] = {"int3g64a",  "int4g64", "int2g32a",   "int4g32o", "mxint4g32",
                                      "int3g64ar", "nf4g64",  "ternaryg64", "cb8row",   "int4row"};
#define N_FORMATS (sizeof formats / sizeof formats[0])

static const kfi_method *quantease_at(round_layer *l, const char *start, unsigned n_sweeps,
                                      const char *relax_period)
{
    const kfi_method *quantease = round_method_named("quantease");
    char text[16];
    (void)snprintf(text, sizeof text, "%u", n_sweeps);
    kfi_knobs_default(l->knobs, quantease);
    round_layer_set(l, quantease, "start", start);
    round_layer_set(l, quantease, "sweeps", text);
    round_layer_set(l, quantease, "relax_period", relax_period);
    return quantease;
}

/* n sweeps are the first n of n + 1: the loss after each of them. */
static void no_sweep_raises_the_loss_once_all_weights_are_on_the_grid(void **state)
{
    (void)state;
    static const char *const starts[] = {"weights", "rtn", "gptq"};
    for (size_t i = 0; i < 3 * N_FORMATS; i++) {
        round_layer l;
        round_layer_init(&l, 37, 232, formats[i % N_FORMATS], i); /* ragged everywhere */
        round_layer_add_tokens(&l, 1000, i);
        double last = (double)INFINITY;
        for (unsigned n = 1; n <= 6; n++) {
            (void)round_layer_round(&l, quantease_at(&l, starts[i / N_FORMATS], n, "0"), NULL);
            const double loss = round_layer_direct_loss(&l, 0.01);
            assert_true(loss > 0.0 && loss <= last * (1.0 + 1e-6));
            last = loss;
        }
        round_layer_deinit(&l);
    }
}

static void descent_leaves_no_more_than_what_it_started_from(void **state)
{
    (void)state;
    static const char *const starts[] = {"rtn", "gptq"};
    for (size_t i = 0; i < 2 * N_FORMATS; i++) {
        const char *start = starts[i / N_FORMATS];
        const kfi_method *first = round_method_named(start);
        round_layer l;
        round_layer_init(&l, 40, 256, formats[i % N_FORMATS], 50 + i);
        round_layer_add_tokens(&l, 2000, i);
        kfi_knobs_default(l.knobs, first);
        round_layer_set(&l, first, "fit", "mse");
        (void)round_layer_round(&l, first, NULL);
        const double before = round_layer_direct_loss(&l, 0.01);
        (void)round_layer_round(&l, quantease_at(&l, start, 1, "0"), NULL);
        assert_true(round_layer_direct_loss(&l, 0.01) < before);
        round_layer_deinit(&l);
    }
}

/* The minimum of every single column is reached: no other code of any weight would lower the loss.
 */
static void in_the_end_no_single_code_can_be_changed_for_the_better(void **state)
{
    (void)state;
    round_layer l;
    round_layer_init(&l, 5, 96, "int3g32a", 70);
    round_layer_add_tokens(&l, 500, 7);
    (void)round_layer_round(&l, quantease_at(&l, "weights", 200, "0"), NULL);
    const double loss = round_layer_direct_loss(&l, 0.01);
    for (size_t i = 0; i < l.rows * l.cols; i++) {
        const uint8_t code = l.codes[i];
        for (int other = code - 1; other <= code + 1; other += 2) {
            if (other >= 0 && other <= 7) {
                l.codes[i] = (uint8_t)other;
                assert_true(round_layer_direct_loss(&l, 0.01) >= loss * (1.0 - 1e-6));
            }
        }
        l.codes[i] = code;
    }
    round_layer_deinit(&l);
}

/* Of GPTQ (start ""), or of the descent. */
static double mean_loss(const char *start, const char *relax_period)
{
    double sum = 0.0;
    for (size_t i = 0; i < 8; i++) {
        round_layer l;
        round_layer_init(&l, 32, 256, "int3g64a", 80 + i);
        round_layer_add_tokens(&l, 2000, i);
        const kfi_method *m = round_method_named("gptq");
        if (*start == '\0') {
            kfi_knobs_default(l.knobs, m);
        } else {
            m = quantease_at(&l, start, 25, relax_period);
        }
        (void)round_layer_round(&l, m, NULL);
        sum += round_layer_direct_loss(&l, 0.01);
        round_layer_deinit(&l);
    }
    return sum;
}

/* Inputs with eight directions in common are a hard case: the descent alone ends far above GPTQ. */
static void it_leaves_less_than_gptq_if_it_starts_there(void **state)
{
    (void)state;
    const double gptq = mean_loss("", "");
    assert_true(mean_loss("gptq", "0") < 0.99 * gptq);
    assert_true(mean_loss("gptq", "3") < mean_loss("gptq", "0"));
    assert_true(mean_loss("weights", "3") < mean_loss("weights", "0"));
    assert_true(mean_loss("weights", "3") > 1.5 * gptq);
}

static void with_a_diagonal_gram_it_rounds_to_the_nearest(void **state)
{
    (void)state;
    const kfi_method *rtn = round_method_named("rtn");
    for (size_t i = 0; i < N_FORMATS; i++) {
        round_layer l;
        uint8_t *codes = NULL;
        kfi_grid *grids = NULL;
        round_layer_init(&l, 37, 232, formats[i], 90 + i);
        round_layer_diagonal_gram(&l);
        kfi_knobs_default(l.knobs, rtn);
        round_layer_set(&l, rtn, "fit", "mse");
        (void)round_layer_round(&l, rtn, NULL);
        round_layer_keep(&l, &codes, &grids);
        (void)round_layer_round(&l, quantease_at(&l, "weights", 25, "0"), NULL);
        round_layer_assert_same(&l, codes, grids);
        round_layer_deinit(&l);
    }
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    round_layer l;
    uint8_t *codes = NULL;
    kfi_grid *grids = NULL;
    round_layer_init(&l, 201, 320, "int3g64a", 300);
    round_layer_add_tokens(&l, 1000, 1);
    const kfi_method *quantease = quantease_at(&l, "weights", 8, "3");
    (void)round_layer_round(&l, quantease, NULL);
    round_layer_keep(&l, &codes, &grids);
    (void)round_layer_round(&l, quantease, pool);
    round_layer_assert_same(&l, codes, grids);
    round_layer_deinit(&l);
    kf_pool_free(pool);
}

static void dead_inputs_get_the_code_of_zero(void **state)
{
    (void)state;
    static const char *const starts[] = {"weights", "rtn", "gptq"};
    for (size_t i = 0; i < 3; i++) {
        round_layer l;
        round_layer_init(&l, 16, 128, "int4g64a", 400);
        round_layer_add_tokens(&l, 500, 4);
        round_layer_mute(&l, 5);
        (void)round_layer_round(&l, quantease_at(&l, starts[i], 5, "3"), NULL);
        round_layer_assert_zero(&l, 5);
        round_layer_deinit(&l);
    }
}

static void inputs_that_are_not_finite_are_reported(void **state)
{
    (void)state;
    kf_error err = {0};
    round_layer l;
    round_layer_init(&l, 16, 64, "int4g64", 403);
    round_layer_diagonal_gram(&l);
    l.statistics.gram[0] = INFINITY;
    const kfi_method *quantease = quantease_at(&l, "weights", 5, "3");
    kfi_round_job job = round_layer_job(&l, NULL);
    assert_int_equal(quantease->round(&job, NULL, &err), KF_RANGE);
    round_layer_deinit(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_sweep_raises_the_loss_once_all_weights_are_on_the_grid),
        cmocka_unit_test(descent_leaves_no_more_than_what_it_started_from),
        cmocka_unit_test(in_the_end_no_single_code_can_be_changed_for_the_better),
        cmocka_unit_test(it_leaves_less_than_gptq_if_it_starts_there),
        cmocka_unit_test(with_a_diagonal_gram_it_rounds_to_the_nearest),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(dead_inputs_get_the_code_of_zero),
        cmocka_unit_test(inputs_that_are_not_finite_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
