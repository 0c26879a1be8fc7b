/* Ranks under a budget: against an exhaustive search, and what must hold for any spectra.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/rng.h"
#include "quantize/repair/budget.h"

enum {
    MOST = 96
};

static const kf_format int8 = {KF_ELEMENT_INT, 8, KF_SCALE_FP16, KF_ZERO_NONE, 64};

/* A spectrum that falls by a factor a rank. */
static void fill(double gains[MOST], double first, double factor)
{
    for (size_t i = 0; i < MOST; i++) {
        gains[i] = first;
        first *= factor;
    }
}

static kfi_budget_layer layer_of(const double *gains, size_t rows, size_t cols)
{
    return (kfi_budget_layer){
        .gains = gains, .most = MOST, .rows = rows, .cols = cols, .factors = int8};
}

static uint64_t bytes_of(const kfi_budget_layer *layer, size_t rank)
{
    uint64_t a = 0;
    uint64_t b = 0;
    if (rank > 0) {
        assert_int_equal(kf_format_bytes(&a, layer->factors, rank, layer->cols, NULL), KF_OK);
        assert_int_equal(kf_format_bytes(&b, layer->factors, layer->rows, rank, NULL), KF_OK);
    }
    return a + b;
}

static uint64_t bytes_of_all(const kfi_budget_layer *layers, size_t n)
{
    uint64_t sum = 0;
    for (size_t l = 0; l < n; l++) {
        sum += bytes_of(&layers[l], layers[l].rank);
    }
    return sum;
}

static double gain_of(const kfi_budget_layer *layer, size_t rank)
{
    double sum = 0.0;
    for (size_t i = 0; i < rank; i++) {
        sum += layer->gains[i];
    }
    return sum;
}

static uint64_t spend(kfi_budget_layer *layers, size_t n, uint64_t budget)
{
    uint64_t spent = 0;
    kf_error err = {0};
    CHECK_OK(kfi_budget_spend(&spent, layers, n, budget, &err), &err);
    assert_int_equal(spent, bytes_of_all(layers, n));
    assert_true(spent <= budget);
    return spent;
}

static void equal_spectra_get_equal_ranks(void **state)
{
    (void)state;
    double gains[MOST];
    fill(gains, 1.0, 0.97);
    kfi_budget_layer layers[4];
    for (size_t l = 0; l < 4; l++) {
        layers[l] = layer_of(gains, 192, 576);
    }
    const uint64_t step = bytes_of(&layers[0], 32);
    for (uint64_t n = 1; n <= 3; n++) {
        (void)spend(layers, 4, 4 * bytes_of(&layers[0], 32 * n));
        for (size_t l = 0; l < 4; l++) {
            assert_int_equal(layers[l].rank, 32 * n);
        }
    }
    (void)spend(layers, 4, 3 * step); /* one is left without */
    assert_int_equal(layers[0].rank + layers[1].rank + layers[2].rank + layers[3].rank, 96);
}

static void a_heavy_layer_gets_more(void **state)
{
    (void)state;
    double light[MOST];
    double heavy[MOST];
    fill(light, 1.0, 0.97);
    fill(heavy, 20.0, 0.97);
    kfi_budget_layer layers[3] = {layer_of(light, 192, 576), layer_of(heavy, 192, 576),
                                  layer_of(light, 192, 576)};
    (void)spend(layers, 3, 3 * bytes_of(&layers[0], 32));
    assert_int_equal(layers[1].rank, 96);
    assert_int_equal(layers[0].rank, 0);
}

/* A pair of a large matrix costs more. */
static void a_dear_layer_gets_less(void **state)
{
    (void)state;
    double gains[MOST];
    fill(gains, 1.0, 0.99);
    kfi_budget_layer layers[2] = {layer_of(gains, 1536, 576), layer_of(gains, 192, 576)};
    (void)spend(layers, 2, bytes_of(&layers[0], 32) + bytes_of(&layers[1], 64));
    assert_true(layers[1].rank > layers[0].rank);
}

static void spends_nothing_where_nothing_is_gained(void **state)
{
    (void)state;
    static const double none[MOST];
    kfi_budget_layer layer = layer_of(none, 64, 64);
    assert_int_equal(spend(&layer, 1, 1 << 20), 0);
    assert_int_equal(spend(&layer, 0, 1 << 20), 0);
    double gains[MOST];
    fill(gains, 1.0, 0.9);
    layer.gains = gains;
    assert_int_equal(spend(&layer, 1, 100), 0); /* not even one step */
    layer.most = 24;                            /* of a small matrix: 16, and the rest */
    (void)spend(&layer, 1, 1 << 20);
    assert_int_equal(layer.rank, 24);
    layer.rows = 0;
    uint64_t spent = 0;
    kf_error err = {0};
    assert_int_equal(kfi_budget_spend(&spent, &layer, 1, 1 << 20, &err), KF_RANGE);
}

/* Every combination of multiples of 16 of three layers. */
static double best_gain(const kfi_budget_layer *layers, uint64_t budget)
{
    double best = 0.0;
    for (size_t a = 0; a <= MOST; a += 16) {
        for (size_t b = 0; b <= MOST; b += 16) {
            for (size_t c = 0; c <= MOST; c += 16) {
                const uint64_t bytes =
                    bytes_of(&layers[0], a) + bytes_of(&layers[1], b) + bytes_of(&layers[2], c);
                const double gain =
                    gain_of(&layers[0], a) + gain_of(&layers[1], b) + gain_of(&layers[2], c);
                best = bytes <= budget && gain > best ? gain : best;
            }
        }
    }
    return best;
}

/* Random spectra and budgets: near the best there is, and not below one rank for all at the same
 * bytes. */
static void is_near_the_best_and_beats_one_rank(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{192, 576}, {576, 576}, {1536, 576}, {576, 1536}};
    double gains[3][MOST];
    double found = 0.0;
    double best = 0.0;
    double uniform = 0.0;
    double worst = 1.0;
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    for (int i = 0; i < 200; i++) {
        kfi_budget_layer layers[3];
        uint64_t budget = 0;
        double one_rank = 0.0;
        const size_t rank = 32 * (1 + (size_t)kfi_rng_below(&rng, 2));
        for (size_t l = 0; l < 3; l++) {
            const size_t *shape = shapes[kfi_rng_below(&rng, 4)];
            fill(gains[l], expf(kfi_rng_normal(&rng)), 0.9 + 0.1 * (double)kfi_rng_uniform(&rng));
            layers[l] = layer_of(gains[l], shape[0], shape[1]);
            budget += bytes_of(&layers[l], rank);
            one_rank += gain_of(&layers[l], rank);
        }
        (void)spend(layers, 3, budget);
        double gain = 0.0;
        for (size_t l = 0; l < 3; l++) {
            gain += gain_of(&layers[l], layers[l].rank);
        }
        const double most = best_gain(layers, budget);
        assert_true(gain <= most * (1.0 + 1e-12));
        worst = fmin(worst, gain / most);
        found += gain;
        best += most;
        uniform += one_rank;
    }
    print_message("# gain over the best there is: %.4f, %.4f at worst; one rank for all %.4f\n",
                  found / best, worst, uniform / best);
    assert_true(found > 0.99 * best);
    assert_true(worst > 0.85);
    assert_true(found > uniform);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_spectra_get_equal_ranks),
        cmocka_unit_test(a_heavy_layer_gets_more),
        cmocka_unit_test(a_dear_layer_gets_less),
        cmocka_unit_test(spends_nothing_where_nothing_is_gained),
        cmocka_unit_test(is_near_the_best_and_beats_one_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
