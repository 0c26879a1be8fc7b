/* Fits of ternary codes and codebooks: against published values, brute force, and integers.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/rng.h"
#include "format/format.h"

enum {
    GROUP = 64,
    N_GROUPS = 400
};

static const kfi_fit min_max = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f};
static const kfi_fit mse = {.kind = KFI_FIT_MSE, .exponent = 2.0f, .steps = 28, .shrink = 0.45f};

static kf_format format_of(const char *name)
{
    kf_format format = {0};
    assert_int_equal(kf_format_parse(&format, name, NULL), KF_OK);
    return format;
}

static float normal(kfi_rng *rng)
{
    return kfi_rng_normal(rng);
}

static float laplace(kfi_rng *rng)
{
    const float x = -logf(1.0f - kfi_rng_uniform(rng));
    return kfi_rng_below(rng, 2) == 0 ? x : -x;
}

static void draw(float *w, size_t n, float (*one)(kfi_rng *rng), uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        w[i] = one(&rng);
    }
}

/* Sum of importance |w - w~|^2 of one group. */
static double error_of(const kfi_grid *grid, kfi_levels levels, const float *w,
                       const float *importance, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t code = kfi_grid_encode(grid, levels, w[i]);
        assert_true(code <= levels.q_max);
        const double e = (double)w[i] - (double)kfi_grid_decode(grid, levels, code);
        sum += e * e * (importance != NULL ? (double)importance[i] : 1.0);
    }
    return sum;
}

/* Root mean square error of all groups over that of the weights. */
static double relative_error(const char *name, const int8_t *table, const float *w, size_t n,
                             kfi_fit fit)
{
    const kf_format format = format_of(name);
    const kfi_levels levels = kfi_format_levels(format, table);
    double error = 0.0;
    double weight = 0.0;
    fit.table = table;
    for (size_t i = 0; i < n; i += GROUP) {
        kfi_grid grid = {0};
        kfi_format_fit(&grid, format, w + i, NULL, GROUP, &fit);
        error += error_of(&grid, levels, w + i, NULL, GROUP);
        for (size_t k = 0; k < GROUP; k++) {
            weight += (double)w[i + k] * (double)w[i + k];
        }
    }
    return sqrt(error / weight);
}

static void has_the_published_table_of_normal_float(void **state)
{
    (void)state;
    /* QLoRA, appendix E. */
    static const double published[16] = {
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    };
    const int8_t *table = kfi_format_table(format_of("nf4g64"));
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(table[i], lround(127.0 * published[i]));
    }
}

/* P(x <= t) of the normal distribution at the entries, whose extremes are those of the table: codes
 * between them are equally far in probability on each side of the zero. */
static void has_quantiles_for_every_width(void **state)
{
    (void)state;
    static const char *const names[] = {"nf2g64", "nf3g64", "nf4g64"};
    for (int bits = 2; bits <= 4; bits++) {
        const int8_t *table = kfi_format_table(format_of(names[bits - 2]));
        const int half = 1 << (bits - 1);
        const double steps = (double)(2 << bits);
        const double last = 1.0 - 0.5 * (1.0 / steps + 1.0 / (steps - 2.0));
        double extreme = 1.0; /* quantile of `last`, by bisection */
        for (double step = 1.0; step > 1e-9; step *= 0.5) {
            extreme += 0.5 * erfc(-extreme / sqrt(2.0)) < last ? step : -step;
        }
        for (int i = 1; i <= half; i++) {
            const double x = extreme * table[half - 1 + i] / 127.0;
            const double expected = 0.5 + (last - 0.5) * i / half;
            assert_true(fabs(0.5 * erfc(-x / sqrt(2.0)) - expected) < 0.004);
        }
        for (int i = 1; i < half; i++) {
            const double x = extreme * table[half - 1 - i] / 127.0;
            const double expected = 0.5 - (last - 0.5) * i / (half - 1);
            assert_true(fabs(0.5 * erfc(-x / sqrt(2.0)) - expected) < 0.004);
        }
        assert_int_equal(table[half - 1], 0);
    }
}

static void takes_the_nearest_entry(void **state)
{
    (void)state;
    static const char *const names[] = {"nf2g64", "nf3g64", "nf4g64", "fp4e2m1g64"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        const kfi_levels levels = kfi_format_levels(format_of(names[k]), NULL);
        for (float v = -140.0f; v < 140.0f; v += 0.25f) {
            const int taken = levels.table[kfi_table_nearest(levels, v)];
            for (int32_t q = 0; q <= levels.q_max; q++) {
                assert_true(fabsf(v - (float)taken) <= fabsf(v - (float)levels.table[q]));
            }
        }
    }
}

/* QLoRA, section 3: the quantiles suit normal weights better than equal steps. */
static void normal_float_errs_less_than_integers_on_normal_weights(void **state)
{
    (void)state;
    static float w[N_GROUPS * GROUP];
    draw(w, N_GROUPS * GROUP, normal, 1);
    const double nf = relative_error("nf4g64", NULL, w, N_GROUPS * GROUP, min_max);
    const double nf_mse = relative_error("nf4g64", NULL, w, N_GROUPS * GROUP, mse);
    const double fp_mse = relative_error("fp4e2m1g64", NULL, w, N_GROUPS * GROUP, mse);
    const double integer = relative_error("int4g64", NULL, w, N_GROUPS * GROUP, min_max);
    const double integer_mse = relative_error("int4g64", NULL, w, N_GROUPS * GROUP, mse);
    print_message("# normal, g64: nf4 %.4f / %.4f, int4 %.4f / %.4f, fp4e2m1 mse %.4f; nf3 mse "
                  "%.4f, int3 %.4f; nf2 %.4f, int2 %.4f\n",
                  nf, nf_mse, integer, integer_mse, fp_mse,
                  relative_error("nf3g64", NULL, w, N_GROUPS * GROUP, mse),
                  relative_error("int3g64", NULL, w, N_GROUPS * GROUP, mse),
                  relative_error("nf2g64", NULL, w, N_GROUPS * GROUP, mse),
                  relative_error("int2g64", NULL, w, N_GROUPS * GROUP, mse));
    assert_true(nf < integer);
    assert_true(nf_mse < integer_mse);
    assert_true(nf_mse <= nf);
}

static int by_magnitude(const void *a, const void *b)
{
    const float x = fabsf(*(const float *)a);
    const float y = fabsf(*(const float *)b);
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The least squared error that any scale leaves: the k largest at their mean, for the best k. */
static double best_ternary(const float *w)
{
    float sorted[GROUP];
    double sum = 0.0;
    double squares = 0.0;
    double best = 0.0;
    memcpy(sorted, w, sizeof sorted);
    qsort(sorted, GROUP, sizeof sorted[0], by_magnitude);
    for (size_t k = 0; k < GROUP; k++) {
        sum += fabs((double)sorted[k]);
        squares += (double)sorted[k] * (double)sorted[k];
        best = fmax(best, sum * sum / (double)(k + 1));
    }
    return squares - best;
}

static void ternary_search_is_near_the_best_and_far_from_the_range(void **state)
{
    (void)state;
    static float w[N_GROUPS * GROUP];
    for (int i_kind = 0; i_kind < 2; i_kind++) {
        draw(w, N_GROUPS * GROUP, i_kind == 0 ? normal : laplace, 2);
        const kf_format format = format_of("ternaryg64");
        const kfi_levels levels = kfi_format_levels(format, NULL);
        double sums[3] = {0.0};
        for (size_t i = 0; i < N_GROUPS * GROUP; i += GROUP) {
            kfi_grid searched = {0};
            kfi_grid range = {0};
            kfi_format_fit(&searched, format, w + i, NULL, GROUP, &mse);
            kfi_format_fit(&range, format, w + i, NULL, GROUP, &min_max);
            sums[0] += error_of(&searched, levels, w + i, NULL, GROUP);
            sums[1] += best_ternary(w + i);
            sums[2] += error_of(&range, levels, w + i, NULL, GROUP);
        }
        double weight = 0.0;
        for (size_t i = 0; i < N_GROUPS * GROUP; i++) {
            weight += (double)w[i] * (double)w[i];
        }
        print_message("# ternary, root mean square error: search %.4f, best %.4f, range %.4f\n",
                      sqrt(sums[0] / weight), sqrt(sums[1] / weight), sqrt(sums[2] / weight));
        assert_true(sums[0] < 1.001 * sums[1]);
        assert_true(sums[0] < 0.6 * sums[2]);
    }
}

/* Weights that stand in the file of another program with these very values. */
static void weights_on_a_grid_come_back(void **state)
{
    (void)state;
    static const char *const names[] = {"ternaryg64", "nf2g64",     "nf3g64",
                                        "nf4g64",     "fp4e2m1g64", "fp6e3m2g64"};
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        const kf_format format = format_of(names[k]);
        const kfi_levels levels = kfi_format_levels(format, NULL);
        for (int i = 0; i < 200; i++) {
            float w[GROUP];
            const float scale = kfi_half_to_float(kfi_half_from_float(kfi_rng_normal(&rng)));
            const kfi_grid source = {.scale = format.element == KF_ELEMENT_TERNARY ? fabsf(scale)
                                                                                   : scale,
                                     .zero = format.element == KF_ELEMENT_TERNARY};
            const uint64_t n_codes = i % 3 == 0 ? 2 : (uint64_t)levels.q_max + 1;
            for (size_t c = 0; c < GROUP; c++) {
                w[c] = kfi_grid_decode(&source, levels, (uint8_t)kfi_rng_below(&rng, n_codes));
            }
            kfi_grid grid = {0};
            kfi_format_fit(&grid, format, w, NULL, GROUP, i % 2 == 0 ? &mse : &min_max);
            assert_true(error_of(&grid, levels, w, NULL, GROUP) == 0.0);
        }
    }
}

static void zeros_stay_zeros(void **state)
{
    (void)state;
    static const char *const names[] = {"ternaryg64", "nf3g64", "fp4e2m1g64", "fp6e3m2g64",
                                        "ternaryg64r"};
    static const float zeros[GROUP];
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        const kf_format format = format_of(names[k]);
        kfi_grid grid = {.scale = 1.0f};
        kfi_format_fit_row(&grid, format, zeros, NULL, GROUP, &mse);
        assert_true(error_of(&grid, kfi_format_levels(format, NULL), zeros, NULL, GROUP) == 0.0);
    }
}

static void heavy_weights_are_met_more_exactly(void **state)
{
    (void)state;
    static const char *const names[] = {"ternaryg64", "nf4g64", "nf2g64"};
    float importance[GROUP];
    for (size_t c = 0; c < GROUP; c++) {
        importance[c] = c % 4 == 0 ? 20.0f : 1.0f;
    }
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        const kf_format format = format_of(names[k]);
        const kfi_levels levels = kfi_format_levels(format, NULL);
        double plain_sum = 0.0;
        double weighted_sum = 0.0;
        for (uint64_t i = 0; i < 100; i++) {
            float w[GROUP];
            kfi_grid plain = {0};
            kfi_grid weighted = {0};
            draw(w, GROUP, laplace, 100 + i);
            kfi_format_fit(&plain, format, w, NULL, GROUP, &mse);
            kfi_format_fit(&weighted, format, w, importance, GROUP, &mse);
            plain_sum += error_of(&plain, levels, w, importance, GROUP);
            weighted_sum += error_of(&weighted, levels, w, importance, GROUP);
        }
        assert_true(weighted_sum < 0.99 * plain_sum);
    }
}

/* The same value as float and as code: two-level scales of ternary codes are S m exactly. */
static void two_level_scales_of_ternary_codes_cost_little(void **state)
{
    (void)state;
    enum {
        COLS = 16 * GROUP
    };
    static float w[COLS];
    kfi_grid one[16];
    kfi_grid two[16];
    double sums[2] = {0.0};
    const kf_format plain = format_of("ternaryg64");
    const kf_format two_level = format_of("ternaryg64r");
    for (uint64_t seed = 0; seed < 20; seed++) {
        draw(w, COLS, normal, 50 + seed);
        kfi_format_fit_row(one, plain, w, NULL, COLS, &mse);
        kfi_format_fit_row(two, two_level, w, NULL, COLS, &mse);
        for (size_t g = 0; g < 16; g++) {
            assert_int_equal(two[g].zero, 1);
            assert_in_range(two[g].multiplier, 0, 85);
            assert_true(two[g].scale == two[g].row_scale * (float)two[g].multiplier); /* exact */
            const kfi_levels levels = kfi_format_levels(plain, NULL);
            sums[0] += error_of(&one[g], levels, w + g * GROUP, NULL, GROUP);
            sums[1] += error_of(&two[g], levels, w + g * GROUP, NULL, GROUP);
        }
    }
    assert_true(sums[1] < 1.005 * sums[0]);
}

static void learns_what_suits_the_tensor(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"cb4g64", "nf2g64"}, {"cb8g64", "nf3g64"}, {"cb16g64", "nf4g64"}};
    static float w[N_GROUPS * GROUP];
    for (int i_kind = 0; i_kind < 2; i_kind++) {
        draw(w, N_GROUPS * GROUP, i_kind == 0 ? normal : laplace, 4);
        for (size_t k = 0; k < 3; k++) {
            const kf_format format = format_of(names[k][0]);
            const int n = 1 << format.bits;
            int8_t table[KFI_TABLE_ENTRIES];
            int most = 0;
            kfi_format_learn(table, format, w, NULL, N_GROUPS / 4, (size_t)4 * GROUP);
            for (int i = 0; i < (int)KFI_TABLE_ENTRIES; i++) {
                assert_true(i >= n ? table[i] == 0 : i == 0 || table[i] >= table[i - 1]);
                most = abs(table[i]) > most ? abs(table[i]) : most;
            }
            assert_int_equal(most, 127);
            const double own = relative_error(names[k][0], table, w, N_GROUPS * GROUP, mse);
            const double nf = relative_error(names[k][1], NULL, w, N_GROUPS * GROUP, mse);
            print_message("# %s, mse: %s %.4f, %s %.4f\n", i_kind == 0 ? "normal" : "Laplace",
                          names[k][0], own, names[k][1], nf);
            assert_true(own < nf);
        }
    }
}

static void learns_from_columns_by_their_importance(void **state)
{
    (void)state;
    static float w[N_GROUPS * GROUP];
    float importance[GROUP];
    int8_t plain[KFI_TABLE_ENTRIES];
    int8_t weighted[KFI_TABLE_ENTRIES];
    const kf_format format = format_of("cb4g64");
    draw(w, N_GROUPS * GROUP, laplace, 5);
    for (size_t i = 0; i < N_GROUPS * GROUP; i++) { /* every eighth column: two values */
        w[i] = i % 8 == 0 ? (w[i] < 0.0f ? -3.0f : 3.0f) : w[i];
    }
    for (size_t c = 0; c < GROUP; c++) {
        importance[c] = c % 8 == 0 ? 1.0f : 1e-6f;
    }
    kfi_format_learn(plain, format, w, NULL, N_GROUPS, GROUP);
    kfi_format_learn(weighted, format, w, importance, N_GROUPS, GROUP);
    kfi_fit fit = mse;
    double sums[2] = {0.0};
    for (size_t i = 0; i < N_GROUPS * GROUP; i += GROUP) {
        kfi_grid grid = {0};
        fit.table = plain;
        kfi_format_fit(&grid, format, w + i, importance, GROUP, &fit);
        sums[0] += error_of(&grid, kfi_format_levels(format, plain), w + i, importance, GROUP);
        fit.table = weighted;
        kfi_format_fit(&grid, format, w + i, importance, GROUP, &fit);
        sums[1] += error_of(&grid, kfi_format_levels(format, weighted), w + i, importance, GROUP);
    }
    assert_true(sums[1] < sums[0]);
}

/* Entries on the side where no weight is stay where they began. */
static void weights_of_one_sign_are_met_by_either_sign_of_the_scale(void **state)
{
    (void)state;
    static float w[N_GROUPS * GROUP];
    int8_t table[KFI_TABLE_ENTRIES];
    draw(w, N_GROUPS * GROUP, normal, 6);
    for (size_t i = 0; i < N_GROUPS * GROUP; i++) {
        w[i] = 1.0f + fabsf(w[i]);
    }
    kfi_format_learn(table, format_of("cb16g64"), w, NULL, N_GROUPS, GROUP);
    for (int i_sign = 0; i_sign < 2; i_sign++) {
        assert_true(relative_error("cb16g64", table, w, N_GROUPS * GROUP, min_max) < 0.1);
        assert_true(relative_error("cb16g64", table, w, N_GROUPS * GROUP, mse) < 0.1);
        for (size_t i = 0; i < N_GROUPS * GROUP; i++) {
            w[i] = -w[i];
        }
    }
}

static void learns_a_table_from_nothing(void **state)
{
    (void)state;
    static const float zeros[GROUP];
    int8_t table[KFI_TABLE_ENTRIES];
    kfi_format_learn(table, format_of("cb16g64"), zeros, NULL, 1, GROUP);
    assert_memory_equal(table, kfi_format_table(format_of("nf4g64")), sizeof table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_published_table_of_normal_float),
        cmocka_unit_test(has_quantiles_for_every_width),
        cmocka_unit_test(takes_the_nearest_entry),
        cmocka_unit_test(normal_float_errs_less_than_integers_on_normal_weights),
        cmocka_unit_test(ternary_search_is_near_the_best_and_far_from_the_range),
        cmocka_unit_test(weights_on_a_grid_come_back),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(heavy_weights_are_met_more_exactly),
        cmocka_unit_test(two_level_scales_of_ternary_codes_cost_little),
        cmocka_unit_test(learns_what_suits_the_tensor),
        cmocka_unit_test(learns_from_columns_by_their_importance),
        cmocka_unit_test(weights_of_one_sign_are_met_by_either_sign_of_the_scale),
        cmocka_unit_test(learns_a_table_from_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
