/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/half.h"
#include "base/rng.h"
#include "fit_fixture.h"
#include "format/format.h"

static const struct {
    const char *element, *zero;
} kinds[] = {{"int", ""}, {"int", "a"}, {"int", "o"}, {"mxint", ""}};

static bool is_half(float x)
{
    return kfi_half_to_float(kfi_half_from_float(x)) == x;
}

/* Visits every bit width of every kind of format with random groups. */
static void for_each_group(void (*check)(kf_format, const float *, size_t, const kfi_grid *),
                           const kfi_fit *fit)
{
    static const size_t sizes[] = {1, 2, 31, 64, 128};
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t k = 0; k < 4; k++) {
            for (size_t i = 0; i < 200; i++) {
                char name[KF_FORMAT_NAME_BYTES];
                float w[FIT_GROUP_MAX];
                kfi_grid grid = {0};
                const size_t n = sizes[i % 5];
                const float scale = ldexpf(1.0f, (int)(i % 19) - 12);
                (void)snprintf(name, sizeof name, "%s%ug64%s", kinds[k].element, bits,
                               kinds[k].zero);
                fit_weights(w, n, &rng, scale, i % 3 == 0 ? 2.0f * scale : 0.0f);
                kfi_format_fit(&grid, fit_format(name), w, NULL, n, fit);
                check(fit_format(name), w, n, &grid);
            }
        }
    }
}

static void check_storable(kf_format format, const float *w, size_t n, const kfi_grid *grid)
{
    (void)w;
    (void)n;
    if (format.scale == KF_SCALE_FP16) {
        assert_true(is_half(grid->scale));
    } else {
        assert_true(ldexpf(1.0f, ilogbf(grid->scale)) == grid->scale);
    }
    assert_true(is_half(grid->offset));
    assert_in_range(grid->zero, 0, 255);
    if (format.zero == KF_ZERO_NONE) {
        assert_int_equal(grid->zero, 1 << (format.bits - 1));
    }
}

static void gives_grids_that_the_file_holds_exactly(void **state)
{
    (void)state;
    for_each_group(check_storable, &fit_min_max);
    for_each_group(check_storable, &fit_mse);
}

/* A weight between the first and last point is off by half a step at most (and float rounding). By
 * the range a weight lies outside by half a step (the zero's rounding; a whole step opposite the
 * extreme where the grid is symmetric) and by the rounding of the scale, 2^-11 of it but 2^-25 at
 * least, times the steps. */
static void check_half_step(kf_format format, const float *w, size_t n, const kfi_grid *grid)
{
    const double steps = (double)((1 << format.bits) - 1);
    const double a = (double)kfi_grid_decode(grid, kfi_format_levels(format, NULL), 0);
    const double b = (double)kfi_grid_decode(grid, kfi_format_levels(format, NULL), (uint8_t)steps);
    const double scale = fabs((double)grid->scale);
    for (size_t i = 0; i < n; i++) {
        const double x = (double)w[i];
        const double error = fabs(x - (double)fit_round_trip(grid, format, w[i]));
        const double rounding = 4.0 * 0x1p-24 * (fabs(x) + fabs((double)grid->offset));
        const double outside = fmax(0.0, fmax(fmin(a, b) - x, x - fmax(a, b)));
        assert_true(error <= 0.5 * scale + outside + rounding);
        if (format.element == KF_ELEMENT_INT) {
            const double reach = format.zero == KF_ZERO_NONE ? 1.0 : 0.5;
            assert_true(outside <= reach * scale + steps * fmax(scale * 0x1p-11, 0x1p-25));
        }
    }
}

static void errs_by_half_a_step_at_most(void **state)
{
    (void)state;
    for_each_group(check_half_step, &fit_min_max);
}

static void errs_less_with_more_bits(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    float w[64 * 100];
    fit_weights(w, 64 * 100, &rng, 0.02f, 0.0f);
    for (size_t k = 0; k < 4; k++) {
        for (int f = 0; f < 2; f++) {
            double last = INFINITY;
            for (unsigned bits = 2; bits <= 8; bits++) {
                char name[KF_FORMAT_NAME_BYTES];
                (void)snprintf(name, sizeof name, "%s%ug64%s", kinds[k].element, bits,
                               kinds[k].zero);
                double sum = 0.0;
                for (size_t i = 0; i < 100; i++) {
                    kfi_grid grid = {0};
                    kfi_format_fit(&grid, fit_format(name), w + 64 * i, NULL, 64,
                                   f ? &fit_mse : &fit_min_max);
                    sum += fit_squared_error(&grid, fit_format(name), w + 64 * i, 64);
                }
                assert_true(sum < last);
                last = sum;
            }
        }
    }
}

static void searching_never_errs_more_than_the_range(void **state)
{
    (void)state;
    static const char *const names[] = {"int2g64",  "int3g64a", "int4g64",
                                        "int4g64o", "int8g64",  "mxint4g64"};
    static const float exponents[] = {2.0f, 2.4f, 3.0f, 4.0f};
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    for (size_t i = 0; i < 600; i++) {
        const kf_format format = fit_format(names[i % 6]);
        kfi_fit fit = fit_mse;
        fit.exponent = exponents[i % 4];
        float w[64];
        kfi_grid a = {0};
        kfi_grid b = {0};
        fit_weights(w, 64, &rng, 0.05f, 0.0f);
        kfi_format_fit(&a, format, w, NULL, 64, &fit_min_max);
        kfi_format_fit(&b, format, w, NULL, 64, &fit);
        double sum_a = 0.0;
        double sum_b = 0.0;
        for (size_t k = 0; k < 64; k++) { /* the oracle's power is libm's */
            sum_a += pow(fabs((double)w[k] - (double)fit_round_trip(&a, format, w[k])),
                         (double)fit.exponent);
            sum_b += pow(fabs((double)w[k] - (double)fit_round_trip(&b, format, w[k])),
                         (double)fit.exponent);
        }
        assert_true(sum_b <= sum_a * (1.0 + 1e-3));
    }
}

static void heeds_importance(void **state)
{
    (void)state;
    const kf_format format = fit_format("int2g64");
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    for (size_t i = 0; i < 50; i++) {
        float w[64];
        float importance[64] = {0};
        kfi_grid plain = {0};
        kfi_grid weighted = {0};
        fit_weights(w, 64, &rng, 1.0f, 0.0f);
        importance[i] = 1.0f; /* one weight alone counts */
        kfi_format_fit(&plain, format, w, NULL, 64, &fit_mse);
        kfi_format_fit(&weighted, format, w, importance, 64, &fit_mse);
        const float e_plain = fabsf(w[i] - fit_round_trip(&plain, format, w[i]));
        const float e_weighted = fabsf(w[i] - fit_round_trip(&weighted, format, w[i]));
        assert_true(e_weighted <= e_plain);
    }
}

static void scales_with_its_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"int3g64", "int4g64a", "int4g64o", "mxint4g64"};
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (size_t i = 0; i < 100; i++) {
        const kf_format format = fit_format(names[i % 4]);
        float w[64];
        float larger[64];
        kfi_grid a = {0};
        kfi_grid b = {0};
        fit_weights(w, 64, &rng, 0.1f, 0.0f);
        for (size_t k = 0; k < 64; k++) {
            larger[k] = 16.0f * w[k]; /* exact, as is the product of every step with 16 */
        }
        kfi_format_fit(&a, format, w, NULL, 64, &fit_mse);
        kfi_format_fit(&b, format, larger, NULL, 64, &fit_mse);
        for (size_t k = 0; k < 64; k++) {
            assert_int_equal(kfi_grid_encode(&a, kfi_format_levels(format, NULL), w[k]),
                             kfi_grid_encode(&b, kfi_format_levels(format, NULL), larger[k]));
        }
    }
}

/* Values that were on a grid once come back to the bit: encoding again changes nothing. */
static void check_idempotent(kf_format format, const float *w, size_t n, const kfi_grid *grid)
{
    float once[FIT_GROUP_MAX] = {0};
    kfi_grid again = {0};
    for (size_t i = 0; i < n; i++) {
        once[i] = fit_round_trip(grid, format, w[i]);
    }
    kfi_format_fit(&again, format, once, NULL, n, &fit_mse);
    for (size_t i = 0; i < n; i++) {
        assert_true(fit_round_trip(&again, format, once[i]) == once[i]);
    }
}

static void encodes_its_own_values_without_loss(void **state)
{
    (void)state;
    for_each_group(check_idempotent, &fit_min_max);
}

static float random_half(kfi_rng *rng, float scale)
{
    return kfi_half_to_float(kfi_half_from_float(scale * kfi_rng_normal(rng)));
}

/* Blocks as Q4_1 and Q5_1 have them: w = d q + m, both fp16, any codes. */
static void recovers_grids_with_offset(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 6);
    for (unsigned bits = 4; bits <= 5; bits++) {
        const kf_format format = fit_format(bits == 4 ? "int4g32o" : "int5g32o");
        for (size_t i = 0; i < 20000; i++) {
            const float d = fabsf(random_half(&rng, 0.01f)) + 0x1p-14f;
            const float scale = kfi_half_to_float(kfi_half_from_float(d));
            const float m = random_half(&rng, 0.1f);
            /* Some blocks use a part of the codes only, in the middle of the range. */
            const unsigned n_codes = 1u + (unsigned)kfi_rng_below(&rng, 1u << bits);
            const unsigned first = (unsigned)kfi_rng_below(&rng, (1u << bits) - n_codes + 1u);
            float w[32];
            kfi_grid grid = {0};
            for (size_t k = 0; k < 32; k++) {
                w[k] = scale * (float)(first + kfi_rng_below(&rng, n_codes)) + m;
            }
            kfi_format_fit(&grid, format, w, NULL, 32, &fit_min_max);
            for (size_t k = 0; k < 32; k++) {
                if (fit_round_trip(&grid, format, w[k]) != w[k]) {
                    fail_msg("block %zu, weight %zu: %a read back as %a (d %a, m %a)", i, k,
                             (double)w[k], (double)fit_round_trip(&grid, format, w[k]),
                             (double)scale, (double)m);
                }
            }
        }
    }
}

/* Q4_0 (an extreme on code 0, scale of either sign) and Q8_0 (codes -127 … 127). */
static void recovers_symmetric_grids(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 7);
    for (size_t i = 0; i < 20000; i++) {
        const bool q8 = i % 2 == 0;
        const kf_format format = fit_format(q8 ? "int8g32" : "int4g32");
        const float d = random_half(&rng, 0.01f);
        float w[32];
        kfi_grid grid = {0};
        for (size_t k = 0; k < 32; k++) {
            w[k] = d * (q8 ? (float)kfi_rng_below(&rng, 255) - 127.0f
                           : (float)kfi_rng_below(&rng, 16) - 8.0f);
        }
        kfi_format_fit(&grid, format, w, NULL, 32, &fit_min_max);
        for (size_t k = 0; k < 32; k++) {
            assert_true(fit_round_trip(&grid, format, w[k]) == w[k]);
        }
    }
}

static void keeps_zeros(void **state)
{
    (void)state;
    static const char *const names[] = {"int2g64", "int4g64a", "int4g64o", "int8g64", "mxint4g64"};
    const float w[64] = {0};
    for (size_t i = 0; i < 5; i++) {
        const kf_format format = fit_format(names[i]);
        kfi_grid grid = {0};
        kfi_format_fit(&grid, format, w, NULL, 64, &fit_mse);
        assert_true(fit_round_trip(&grid, format, 0.0f) == 0.0f);
        assert_true(isfinite(grid.scale) && isfinite(grid.offset));
    }
}

static void keeps_equal_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"int2g64", "int4g64a", "int4g64o", "int8g64"};
    static const float values[] = {1.0f, -1.0f, 0.1f, -0.1f, 3e-5f, -60000.0f, 60000.0f, 1e5f};
    for (size_t i = 0; i < 4; i++) {
        for (size_t v = 0; v < 8; v++) {
            float w[64];
            kfi_grid grid = {0};
            const kf_format format = fit_format(names[i]);
            for (size_t k = 0; k < 64; k++) {
                w[k] = values[v];
            }
            kfi_format_fit(&grid, format, w, NULL, 64, &fit_min_max);
            const float error = fabsf(fit_round_trip(&grid, format, w[0]) - w[0]);
            assert_true(error <= fabsf(w[0]) * 0x1p-9f);
        }
    }
}

static void survives_tiny_and_huge_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"int2g64", "int4g64a",  "int4g64o",
                                        "int8g64", "mxint4g64", "mxint8g64"};
    static const float scales[] = {1e-45f, 1e-38f, 1e-20f, 1e-8f, 1e-6f, 1e6f, 1e20f, 1e38f};
    kfi_rng rng;
    kfi_rng_init(&rng, 8);
    for (size_t i = 0; i < 6; i++) {
        for (size_t s = 0; s < 8; s++) {
            const kf_format format = fit_format(names[i]);
            float w[64];
            kfi_grid grid = {0};
            for (size_t k = 0; k < 64; k++) {
                w[k] = scales[s] * (2.0f * kfi_rng_uniform(&rng) - 1.0f);
            }
            kfi_format_fit(&grid, format, w, NULL, 64, &fit_mse);
            assert_true(isfinite(grid.scale) && isfinite(grid.offset));
            for (size_t k = 0; k < 64; k++) {
                const float back = fit_round_trip(&grid, format, w[k]);
                assert_true(isfinite(back));
                assert_true(fabsf(back - w[k]) <= fabsf(w[k]) + scales[s]);
            }
        }
    }
}

static void keeps_small_weights_on_the_least_scale(void **state)
{
    (void)state;
    const kf_format format = fit_format("int8g64");
    float w[64];
    kfi_grid grid = {0};
    for (int k = 0; k < 64; k++) {
        w[k] = (float)(k - 32) * 0x1p-26f; /* the scale of the range would round to zero */
    }
    kfi_format_fit(&grid, format, w, NULL, 64, &fit_min_max);
    assert_true(fabsf(grid.scale) == 0x1p-24f);
    assert_true(fabsf(fit_round_trip(&grid, format, w[0]) - w[0]) <= 0x1p-25f);
}

static void reaches_one_sided_ranges_with_its_zero(void **state)
{
    (void)state;
    const kf_format format = fit_format("int4g64a");
    kfi_rng rng;
    kfi_rng_init(&rng, 9);
    for (size_t i = 0; i < 200; i++) {
        const float middle = (i % 2 == 0 ? 1.0f : -1.0f) * (float)(i + 1);
        float w[64];
        kfi_grid grid = {0};
        for (size_t k = 0; k < 64; k++) {
            w[k] = middle + kfi_rng_uniform(&rng);
        }
        kfi_format_fit(&grid, format, w, NULL, 64, &fit_min_max);
        for (size_t k = 0; k < 64; k++) {
            assert_true(fabsf(fit_round_trip(&grid, format, w[k]) - w[k]) <=
                        0.5001f * grid.scale + fabsf(middle) * 0x1p-10f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_grids_that_the_file_holds_exactly),
        cmocka_unit_test(errs_by_half_a_step_at_most),
        cmocka_unit_test(errs_less_with_more_bits),
        cmocka_unit_test(searching_never_errs_more_than_the_range),
        cmocka_unit_test(heeds_importance),
        cmocka_unit_test(scales_with_its_weights),
        cmocka_unit_test(encodes_its_own_values_without_loss),
        cmocka_unit_test(recovers_grids_with_offset),
        cmocka_unit_test(recovers_symmetric_grids),
        cmocka_unit_test(keeps_zeros),
        cmocka_unit_test(keeps_equal_weights),
        cmocka_unit_test(survives_tiny_and_huge_weights),
        cmocka_unit_test(keeps_small_weights_on_the_least_scale),
        cmocka_unit_test(reaches_one_sided_ranges_with_its_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
