/* Scales of two levels: a number a row, a multiplier a group.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/rng.h"
#include "fit_fixture.h"
#include "format/format.h"

enum {
    ROW_COLS = 64 * 9 - 20, /* nine groups, the last one shorter */
    ROW_GROUPS = 9
};

static kf_format two_level_format(unsigned bits, const char *suffix)
{
    char name[KF_FORMAT_NAME_BYTES];
    (void)snprintf(name, sizeof name, "int%ug64%s", bits, suffix);
    return fit_format(name);
}

/* Groups of different size, as rows of real matrices have. */
static void row_of_weights(float *w, kfi_rng *rng)
{
    for (size_t g = 0; g < ROW_GROUPS; g++) {
        const size_t n = g + 1 < ROW_GROUPS ? 64 : ROW_COLS - 64 * (ROW_GROUPS - 1);
        fit_weights(w + 64 * g, n, rng, 0.02f * (0.3f + kfi_rng_uniform(rng)), 0.0f);
    }
}

static double row_squared_error(const kfi_grid *grids, kf_format format, const float *w)
{
    double sum = 0.0;
    for (size_t k = 0; k < ROW_COLS; k++) {
        sum += fit_squared_error(&grids[k / 64], format, w + k, 1);
    }
    return sum;
}

/* Runs check on rows of every width, with and without zero points, for both kinds of fit. */
static void for_each_row(void (*check)(kf_format format, const float *w, const kfi_grid *grids,
                                       const kfi_fit *fit),
                         size_t n_rows)
{
    kfi_rng rng;
    kfi_rng_init(&rng, 11);
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t i = 0; i < 4 * n_rows; i++) {
            const kf_format format = two_level_format(bits, i % 2 == 0 ? "r" : "ar");
            const kfi_fit *fit = i / 2 % 2 == 0 ? &fit_min_max : &fit_mse;
            kfi_grid grids[ROW_GROUPS] = {{0}};
            float w[ROW_COLS];
            row_of_weights(w, &rng);
            kfi_format_fit_row(grids, format, w, NULL, ROW_COLS, fit);
            check(format, w, grids, fit);
        }
    }
}

static void check_two_levels(kf_format format, const float *w, const kfi_grid *grids,
                             const kfi_fit *fit)
{
    (void)w;
    (void)fit;
    const int q_max = (1 << format.bits) - 1;
    for (size_t g = 0; g < ROW_GROUPS; g++) {
        uint32_t bits = 0;
        memcpy(&bits, &grids[g].row_scale, sizeof bits);
        assert_int_equal(bits & 0xFF, 0);
        assert_true(grids[g].row_scale == grids[0].row_scale);
        assert_in_range(abs(grids[g].multiplier) * q_max, 0, 255);
        assert_in_range(grids[g].zero, 0, q_max);
        for (int q = 0; q <= q_max; q++) { /* exact, as integers are in double */
            const double exact =
                (double)grids[g].row_scale * grids[g].multiplier * (double)(q - grids[g].zero);
            assert_true((double)kfi_grid_decode(&grids[g], kfi_format_levels(format, NULL),
                                                (uint8_t)q) == exact);
        }
    }
}

static void two_level_weights_are_exact_products(void **state)
{
    (void)state;
    for_each_row(check_two_levels, 20);
}

/* Encoding and decoding errs by half a step, or by what lies outside of the grid's range. */
static void check_row_half_step(kf_format format, const float *w, const kfi_grid *grids,
                                const kfi_fit *fit)
{
    (void)fit;
    for (size_t k = 0; k < ROW_COLS; k++) {
        const kfi_grid *grid = &grids[k / 64];
        const double a = (double)kfi_grid_decode(grid, kfi_format_levels(format, NULL), 0);
        const double b = (double)kfi_grid_decode(grid, kfi_format_levels(format, NULL),
                                                 (uint8_t)((1 << format.bits) - 1));
        const double x = (double)w[k];
        const double outside = fmax(0.0, fmax(fmin(a, b) - x, x - fmax(a, b)));
        const double error = fabs(x - (double)fit_round_trip(grid, format, w[k]));
        assert_true(error <= 0.5 * fabs((double)grid->scale) + outside + 0x1p-22 * fabs(x));
    }
}

static void two_levels_err_by_half_a_step_at_most(void **state)
{
    (void)state;
    for_each_row(check_row_half_step, 20);
}

/* What one would do without a search: the largest scale gets the greatest multiplier, the others
 * the nearest. */
static void naive_grids(kfi_grid *grids, kf_format format, const float *w, const kfi_fit *fit)
{
    const kf_format one_level = two_level_format(format.bits, format.zero ? "a" : "");
    const double q_max = (double)((1 << format.bits) - 1);
    double most = 0.0;
    kfi_format_fit_row(grids, one_level, w, NULL, ROW_COLS, fit);
    for (size_t g = 0; g < ROW_GROUPS; g++) {
        most = fmax(most, fabs((double)grids[g].scale));
    }
    for (size_t g = 0; g < ROW_GROUPS; g++) {
        const double step = most / floor(255.0 / q_max);
        const double scale = step * nearbyint((double)grids[g].scale / step);
        const double low = (double)grids[g].scale * grids[g].zero;
        grids[g].scale = (float)scale;
        if (format.zero != KF_ZERO_NONE && scale > 0.0) {
            grids[g].zero = (int32_t)fmin(nearbyint(low / scale), q_max);
        }
    }
}

static void choosing_two_levels_beats_rounding_the_scales(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 12);
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t i = 0; i < 4; i++) {
            const kf_format format = two_level_format(bits, i % 2 == 0 ? "r" : "ar");
            const kfi_fit *fit = i < 2 ? &fit_min_max : &fit_mse;
            double sum = 0.0;
            double naive_sum = 0.0;
            for (size_t row = 0; row < 30; row++) {
                kfi_grid grids[ROW_GROUPS] = {{0}};
                kfi_grid naive[ROW_GROUPS] = {{0}};
                float w[ROW_COLS];
                row_of_weights(w, &rng);
                kfi_format_fit_row(grids, format, w, NULL, ROW_COLS, fit);
                naive_grids(naive, format, w, fit);
                const double error = row_squared_error(grids, format, w);
                const double naive_error = row_squared_error(naive, format, w);
                /* A zero point is rounded by chance: rows are compared only without one. */
                assert_true(format.zero != KF_ZERO_NONE || error <= naive_error * 1.0001);
                sum += error;
                naive_sum += naive_error;
            }
            assert_true(sum < naive_sum);
        }
    }
}

static void check_group_is_that_of_the_row(kf_format format, const float *w, const kfi_grid *grids,
                                           const kfi_fit *fit)
{
    for (size_t g = 0; g < ROW_GROUPS; g++) {
        const size_t n = g + 1 < ROW_GROUPS ? 64 : ROW_COLS - 64 * (ROW_GROUPS - 1);
        kfi_grid grid = {.row_scale = grids[g].row_scale};
        kfi_format_fit(&grid, format, w + 64 * g, NULL, n, fit);
        assert_memory_equal(&grid, &grids[g], sizeof grid);
    }
}

static void a_group_with_its_rows_scale_gets_the_same_grid(void **state)
{
    (void)state;
    for_each_row(check_group_is_that_of_the_row, 5);
}

static void two_levels_keep_zeros(void **state)
{
    (void)state;
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t i = 0; i < 2; i++) {
            const kf_format format = two_level_format(bits, i == 0 ? "r" : "ar");
            kfi_grid grids[ROW_GROUPS] = {{0}};
            float w[ROW_COLS] = {0};
            kfi_format_fit_row(grids, format, w, NULL, ROW_COLS, &fit_mse);
            assert_true(row_squared_error(grids, format, w) == 0.0);
            kfi_rng rng;
            kfi_rng_init(&rng, bits);
            fit_weights(w, 64, &rng, 0.02f, 0.0f); /* the other groups stay zero */
            kfi_format_fit_row(grids, format, w, NULL, ROW_COLS, &fit_mse);
            for (size_t k = 64; k < ROW_COLS; k++) {
                assert_true(fit_round_trip(&grids[k / 64], format, w[k]) == 0.0f);
            }
        }
    }
}

static void two_levels_survive_tiny_and_huge_weights(void **state)
{
    (void)state;
    static const float scales[] = {1e-45f, 1e-20f, 1e-6f, 1e6f, 1e20f, 1e38f};
    kfi_rng rng;
    kfi_rng_init(&rng, 13);
    for (size_t i = 0; i < 7 * 6; i++) {
        const kf_format format = two_level_format(2 + (unsigned)i % 7, i % 2 == 0 ? "r" : "ar");
        kfi_grid grids[ROW_GROUPS] = {{0}};
        float w[ROW_COLS];
        row_of_weights(w, &rng);
        for (size_t k = 0; k < 64; k++) {
            w[k] = scales[i % 6] * (2.0f * kfi_rng_uniform(&rng) - 1.0f);
        }
        kfi_format_fit_row(grids, format, w, NULL, ROW_COLS, &fit_mse);
        for (size_t k = 0; k < ROW_COLS; k++) {
            assert_true(isfinite(fit_round_trip(&grids[k / 64], format, w[k])));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_level_weights_are_exact_products),
        cmocka_unit_test(two_levels_err_by_half_a_step_at_most),
        cmocka_unit_test(choosing_two_levels_beats_rounding_the_scales),
        cmocka_unit_test(a_group_with_its_rows_scale_gets_the_same_grid),
        cmocka_unit_test(two_levels_keep_zeros),
        cmocka_unit_test(two_levels_survive_tiny_and_huge_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
