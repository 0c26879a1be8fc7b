/* Floats of 6 bits: their levels, the nearest one, the two operands of kernels, and the fit.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/half.h"
#include "base/rng.h"
#include "format/format.h"

enum {
    COLS = 576,
    ROWS = 32
};

static const kfi_fit min_max = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f};
static const kfi_fit mse = {.kind = KFI_FIT_MSE, .exponent = 2.0f, .steps = 28, .shrink = 0.45f};

static kf_format format_of(const char *name)
{
    kf_format format = {0};
    assert_int_equal(kf_format_parse(&format, name, NULL), KF_OK);
    return format;
}

/* The float of a code by its definition: sign, exponent with a bias of 3, two bits of fraction. */
static double value_of(unsigned code)
{
    const int exponent = (int)((code >> 5 & 1) << 2 | (code >> 2 & 3));
    const double fraction = (double)(code & 3) / 4.0;
    const double magnitude =
        exponent == 0 ? ldexp(fraction, 1 - 3) : ldexp(1.0 + fraction, exponent - 3);
    return (code >> 4 & 1) != 0 ? -magnitude : magnitude;
}

static void levels_are_sixteenths_of_the_floats(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 64; code++) {
        assert_true((double)kfi_e3m2_level(code) == 16.0 * value_of(code)); /* exact */
    }
    assert_int_equal(kfi_e3m2_level(47), 448); /* 28, the greatest */
    assert_int_equal(kfi_e3m2_level(1), 1);    /* 1/16, the least */
}

static void codes_come_back(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 64; code++) {
        const unsigned expected = code == 16 ? 0 : code; /* of two zeros the positive one */
        assert_int_equal(kfi_e3m2_code((float)kfi_e3m2_level(code)), expected);
    }
}

/* Halfway between two levels the one whose last bit of fraction is 0. */
static void takes_the_nearest_level(void **state)
{
    (void)state;
    for (float v = -600.0f; v <= 600.0f; v += 0.125f) {
        const uint8_t taken = kfi_e3m2_code(kfi_e3m2_round(v));
        const float distance = fabsf(v - (float)kfi_e3m2_level(taken));
        for (unsigned code = 0; code < 64; code++) {
            const float other = fabsf(v - (float)kfi_e3m2_level(code));
            assert_true(distance <= other);
            if (distance == other && kfi_e3m2_level(code) != kfi_e3m2_level(taken)) { /* a tie */
                assert_int_equal(taken & 1, 0);
            }
        }
    }
    assert_true(kfi_e3m2_round(INFINITY) == 448.0f && kfi_e3m2_round(-INFINITY) == -448.0f);
    assert_int_equal(kfi_e3m2_code(kfi_e3m2_round(-0.25f)), 0);
}

/* As the kernels multiply them: unsigned bytes of 7 and of 6 bits. */
static void two_bytes_are_a_level(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 64; code++) {
        const int sign = (code & 16) != 0 ? -1 : 1;
        const bool is_high = (code & 32) != 0;
        const int high = KFI_E3M2_HIGH_ZERO + (is_high ? sign * kfi_e3m2_high[code & 15] : 0);
        const int low = KFI_E3M2_LOW_ZERO + (is_high ? 0 : sign * kfi_e3m2_low[code & 15]);
        assert_in_range(high, 0, 127);
        assert_in_range(low, 0, 63);
        assert_int_equal(8 * high + low - KFI_E3M2_ZERO, kfi_e3m2_level(code));
    }
    assert_int_equal(kfi_format_zero(format_of("fp6e3m2row")), KFI_E3M2_ZERO);
}

/* Rows of normal weights; every sixteenth column is `heavy` times as large. */
static void draw(float *w, float heavy)
{
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        w[i] = kfi_rng_normal(&rng) * (i % 16 == 0 ? heavy : 1.0f);
    }
}

/* Root mean square error over that of the weights. */
static double relative_error(const char *name, const float *w, const kfi_fit *fit)
{
    const kf_format format = format_of(name);
    const kfi_levels levels = kfi_format_levels(format, NULL);
    const size_t group = kfi_format_group(format, COLS);
    double error = 0.0;
    double weight = 0.0;
    for (size_t i = 0; i < (size_t)ROWS * COLS; i += group) {
        kfi_grid grid = {0};
        kfi_format_fit(&grid, format, w + i, NULL, group, fit);
        assert_true(!levels.is_e3m2 || grid.scale > 0.0f);
        for (size_t k = i; k < i + group; k++) {
            const uint8_t code = kfi_grid_encode(&grid, levels, w[k]);
            const double e = (double)w[k] - (double)kfi_grid_decode(&grid, levels, code);
            error += e * e;
            weight += (double)w[k] * (double)w[k];
        }
    }
    return sqrt(error / weight);
}

/* Steps grow with the weight: heavy columns cost the others nothing, where those of integers get
 * the coarser steps. Weights of one size lie better on the even steps of integers. */
static void heavy_columns_cost_the_others_nothing(void **state)
{
    (void)state;
    static float w[ROWS * COLS];
    double row[2];
    double integers[2];
    for (int i = 0; i < 2; i++) {
        const float heavy = i == 0 ? 1.0f : 8.0f;
        draw(w, heavy);
        row[i] = relative_error("fp6e3m2row", w, &min_max);
        integers[i] = relative_error("int6row", w, &mse);
        const double row_mse = relative_error("fp6e3m2row", w, &mse);
        const double group = relative_error("fp6e3m2g64", w, &min_max);
        const double group_mse = relative_error("fp6e3m2g64", w, &mse);
        print_message("# heavy x %g: fp6e3m2row %.4f / %.4f, g64 %.4f / %.4f; int6row mse %.4f, "
                      "int6g64 %.4f\n",
                      (double)heavy, row[i], row_mse, group, group_mse, integers[i],
                      relative_error("int6g64", w, &mse));
        assert_true(row_mse <= row[i] && group_mse <= group && group <= row[i]);
    }
    assert_true(row[1] < 1.02 * row[0]);
    assert_true(integers[1] > 2.0 * integers[0]);
    assert_true(row[1] < integers[1] && row[0] > integers[0]);
}

static void the_extreme_is_reached(void **state)
{
    (void)state;
    const kf_format format = format_of("fp6e3m2row");
    const kfi_levels levels = kfi_format_levels(format, NULL);
    const float w[5] = {0.3f, -7.0f, 0.01f, 2.2f, 0.0f};
    kfi_grid grid = {0};
    kfi_format_fit(&grid, format, w, NULL, 5, &min_max);
    assert_true(grid.scale == kfi_half_to_float(kfi_half_from_float(7.0f / 448.0f))); /* exact */
    assert_int_equal(kfi_grid_encode(&grid, levels, w[1]), 63);
    assert_int_equal(kfi_grid_encode(&grid, levels, w[4]), 0);
    const float none[3] = {0.0f, 0.0f, 0.0f};
    kfi_format_fit(&grid, format, none, NULL, 3, &mse);
    assert_true(grid.scale == 0.0f);
    assert_int_equal(kfi_grid_encode(&grid, levels, 1.0f), 0); /* any weight under no scale */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_sixteenths_of_the_floats),
        cmocka_unit_test(codes_come_back),
        cmocka_unit_test(takes_the_nearest_level),
        cmocka_unit_test(two_bytes_are_a_level),
        cmocka_unit_test(heavy_columns_cost_the_others_nothing),
        cmocka_unit_test(the_extreme_is_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
