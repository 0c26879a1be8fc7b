/* Activations into codes and small floats by what is in use (KERF_ISA), against plain C, bit for
 * bit, and against the definition in the words of libm.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "kernels/kernels_list.h"
#include "random_packed.h"
#include "vectors.h"

static const size_t groups[] = {32, 64, 128, 4864};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Every range of codes that a format has, and clips. */
static const struct {
    kfi_quantize_kind kind;
    int bits_most;
    float clip;
} ways[] = {
    {KFI_QUANTIZE_SYMMETRIC, 8, 1.0f},  {KFI_QUANTIZE_SYMMETRIC, 8, 0.9f},
    {KFI_QUANTIZE_SYMMETRIC, 8, 0.5f},  {KFI_QUANTIZE_ASYMMETRIC, 7, 1.0f},
    {KFI_QUANTIZE_ASYMMETRIC, 7, 0.9f}, {KFI_QUANTIZE_POWER_OF_TWO, 8, 1.0f},
};

static kfi_quantizer quantizer_of(size_t i_way, unsigned bits, size_t group)
{
    const bool is_asymmetric = ways[i_way].kind == KFI_QUANTIZE_ASYMMETRIC;
    return (kfi_quantizer){ways[i_way].kind, group,
                           (int32_t)(1u << (is_asymmetric ? bits : bits - 1)) - 1,
                           ways[i_way].clip};
}

/* Every third group has one sign only. */
static void fill(float *x, size_t n, kfi_rng *rng)
{
    vector_fill(x, n, rng);
    for (size_t i = 0; i < n; i++) {
        x[i] = i / 64 % 3 == 1 ? fabsf(x[i]) : i / 64 % 3 == 2 ? -fabsf(x[i]) : x[i];
    }
}

/* ---- the definition, group by group ---- */

typedef struct definition {
    float scale, inverse, least, greatest;
} definition;

static definition define(const float *x, size_t n, const kfi_quantizer *how)
{
    const float most = (float)how->most;
    float below = 0.0f;
    float above = 0.0f;
    for (size_t i = 0; i < n; i++) {
        below = fmaxf(below, -x[i]);
        above = fmaxf(above, x[i]);
    }
    const float largest = fmaxf(below, above);
    if (largest == 0.0f) { /* exact: a group of zeros */
        return (definition){0.0f, 0.0f, 0.0f, 0.0f};
    }
    if (how->kind == KFI_QUANTIZE_ASYMMETRIC) {
        const float scale = below * how->clip / most + above * how->clip / most;
        const float zero = rintf(below * how->clip * (1.0f / scale));
        assert_true(zero >= 0.0f && zero <= most);
        return (definition){scale, 1.0f / scale, -zero, most - zero};
    }
    if (how->kind == KFI_QUANTIZE_POWER_OF_TWO) {
        int exponent = 0;
        (void)frexpf(largest, &exponent); /* of 2^exponent > largest */
        const float scale = ldexpf(1.0f, exponent - 1) / ((most + 1.0f) / 2.0f);
        return (definition){scale, 1.0f / scale, -most, most};
    }
    return (definition){largest * how->clip / most, most / (largest * how->clip), -most, most};
}

static void check_group(const float *x, const int8_t *codes, float scale, size_t n,
                        const kfi_quantizer *how)
{
    const definition d = define(x, n, how);
    vector_assert_same(&d.scale, &scale, 1);
    for (size_t i = 0; i < n; i++) {
        const float code = fminf(fmaxf(rintf(x[i] * d.inverse), d.least), d.greatest);
        if ((float)codes[i] != code) { /* exact: small integers */
            fail_msg("kind %d, most %d: %a is code %d, expected %g", (int)how->kind, how->most,
                     (double)x[i], codes[i], (double)code);
        }
        if (how->clip == 1.0f && how->kind != KFI_QUANTIZE_POWER_OF_TWO) { /* exact: as set */
            /* Nothing is cut but for the rounding of a zero point, which moves both ends. */
            const double step = how->kind == KFI_QUANTIZE_ASYMMETRIC ? 1.0 : 0.5;
            const double e = fabs((double)x[i] - (double)scale * codes[i]);
            assert_true(e <= (double)scale * (step + (double)how->most * 6.0 * 0x1p-24));
        }
    }
}

static void check_quantize(const float *x, size_t n, const kfi_quantizer *how)
{
    static int8_t codes[2][VECTOR_MOST + 32];
    static float scales[2][VECTOR_MOST / 32 + 1];
    static int32_t sums[2][VECTOR_MOST / 32 + 1];
    const size_t padded = (n + 31) / 32 * 32;
    memset(codes, 0x55, sizeof codes);
    kfi_quantize_generic(codes[0], scales[0], sums[0], x, n, how);
    kfi_kernels_get()->quantize(codes[1], scales[1], sums[1], x, n, how);
    assert_memory_equal(codes[0], codes[1], sizeof codes[0]); /* nothing behind either */
    vector_assert_same(scales[0], scales[1], (n + how->group - 1) / how->group);
    assert_memory_equal(sums[0], sums[1], padded / 32 * sizeof sums[0][0]);
    for (size_t begin = 0; begin < n; begin += how->group) {
        const size_t rest = n - begin < how->group ? n - begin : how->group;
        check_group(x + begin, codes[1] + begin, scales[1][begin / how->group], rest, how);
    }
    for (size_t i = n; i < padded; i++) {
        assert_int_equal(codes[1][i], 0);
    }
    for (size_t c = 0; c < padded / 32; c++) {
        int32_t sum = 0;
        for (size_t i = 0; i < 32; i++) {
            sum += codes[1][32 * c + i];
        }
        assert_int_equal(sums[1][c], sum);
    }
}

static void quantizes_as_plain_c_does(void **state)
{
    (void)state;
    static float x[VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        for (size_t g = 0; g < COUNT(groups); g++) {
            fill(x, vector_sizes[s], &rng);
            for (size_t w = 0; w < COUNT(ways); w++) {
                for (int bits = 3; bits <= ways[w].bits_most; bits++) {
                    const kfi_quantizer how = quantizer_of(w, (unsigned)bits, groups[g]);
                    check_quantize(x, vector_sizes[s], &how);
                }
            }
        }
    }
}

/* What is below 2^-100 counts as nothing, the greatest floats overflow nowhere. */
static void quantizes_zero_tiny_and_huge_groups(void **state)
{
    (void)state;
    static const float magnitudes[] = {0.0f, FLT_TRUE_MIN, 1e-38f, 1e-30f, 1e30f, FLT_MAX};
    for (size_t i = 0; i < COUNT(ways) * COUNT(magnitudes); i++) {
        const float magnitude = magnitudes[i % COUNT(magnitudes)];
        const size_t i_way = i / COUNT(magnitudes);
        const bool is_asymmetric = ways[i_way].kind == KFI_QUANTIZE_ASYMMETRIC;
        const kfi_quantizer how = quantizer_of(i_way, 7, 64);
        float x[64];
        int8_t codes[2][64];
        float scale[2];
        int32_t sums[2][2];
        for (size_t k = 0; k < 64; k++) {
            x[k] = k % 3 == 0 ? magnitude : -magnitude;
        }
        kfi_quantize_generic(codes[0], &scale[0], sums[0], x, 64, &how);
        kfi_kernels_get()->quantize(codes[1], &scale[1], sums[1], x, 64, &how);
        assert_memory_equal(codes[0], codes[1], 64);
        vector_assert_same(&scale[0], &scale[1], 1);
        assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
        assert_true(isfinite(scale[1]));
        const bool vanishes = magnitude < 1e-30f;
        assert_true(vanishes == (scale[1] == 0.0f)); /* exact: written as 0 */
        if (vanishes) {
            assert_int_equal(codes[1][0], 0);
            assert_int_equal(codes[1][1], 0);
        } else if (is_asymmetric) { /* z is half of 127: rounded, one end may lose half a step */
            assert_in_range(codes[1][0] - codes[1][1], 126, 127);
        } else if (ways[i_way].kind == KFI_QUANTIZE_SYMMETRIC) {
            assert_int_equal(codes[1][0], how.most);
            assert_int_equal(codes[1][1], -how.most);
        }
    }
}

static void rounds_half_to_even(void **state)
{
    (void)state;
    const float x[8] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 3.49f}; /* scale is 1 */
    const int8_t expected[8] = {127, 0, 2, 2, 0, -2, -2, 3};
    const kfi_quantizer how = {KFI_QUANTIZE_SYMMETRIC, 32, 127, 1.0f};
    int8_t codes[32];
    float scale = 0.0f;
    int32_t sum = 0;
    kfi_kernels_get()->quantize(codes, &scale, &sum, x, 8, &how);
    assert_true(scale == 1.0f); /* exact: 127 / 127 */
    assert_memory_equal(codes, expected, 8);
    assert_int_equal(sum, 130);
}

/* By hand: 4 bits over -1 … 2 are steps of 0.2 with 5 of them below 0; one sign only puts the zero
 * point at an end, and both then reach 15 steps. */
static void asymmetric_codes_leave_out_their_zero_point(void **state)
{
    (void)state;
    static const float x[3][4] = {
        {-1.0f, 2.0f, 0.31f, -0.69f}, {0.0f, 3.0f, 0.75f, 1.5f}, {-3.0f, -0.75f, -1.5f, 0.0f}};
    static const int8_t expected[3][4] = {{-5, 10, 2, -3}, {0, 15, 4, 8}, {-15, -4, -8, 0}};
    const kfi_quantizer how = {KFI_QUANTIZE_ASYMMETRIC, 32, 15, 1.0f};
    for (size_t i = 0; i < 3; i++) {
        int8_t codes[32];
        float scale = 0.0f;
        int32_t sum = 0;
        kfi_kernels_get()->quantize(codes, &scale, &sum, x[i], 4, &how);
        assert_true(fabsf(scale - 0.2f) < 1e-6f);
        assert_memory_equal(codes, expected[i], 4);
        assert_int_equal(sum, expected[i][0] + expected[i][1] + expected[i][2] + expected[i][3]);
    }
}

/* A clip of 0.5 takes 8 for 16: what lies outside gets the code at the end. */
static void clips_to_a_part_of_the_range(void **state)
{
    (void)state;
    const float x[4] = {14.0f, -14.0f, 3.0f, -8.0f};
    const int8_t expected[4] = {7, -7, 3, -7};
    const kfi_quantizer how = {KFI_QUANTIZE_SYMMETRIC, 32, 7, 0.5f};
    int8_t codes[32];
    float scale = 0.0f;
    int32_t sum = 0;
    kfi_kernels_get()->quantize(codes, &scale, &sum, x, 4, &how);
    assert_true(scale == 1.0f); /* exact: 14 / 2 / 7 */
    assert_memory_equal(codes, expected, 4);
}

/* MXINT8 of the OCP: a block whose largest value is 5 has the scale 4 / 64, and the code of a value
 * near 8 is cut at 127. */
static void power_of_two_scales_are_those_of_the_largest_value(void **state)
{
    (void)state;
    const float x[4] = {5.0f, -4.0f, 0.09375f, 0.0f};
    const float near_8[4] = {7.99f, -7.99f, 1.0f, 0.0f};
    const int8_t expected[4] = {80, -64, 2, 0}; /* 1.5 to even */
    const int8_t expected_near_8[4] = {127, -127, 16, 0};
    const kfi_quantizer how = {KFI_QUANTIZE_POWER_OF_TWO, 32, 127, 1.0f};
    int8_t codes[32];
    float scale = 0.0f;
    int32_t sum = 0;
    kfi_kernels_get()->quantize(codes, &scale, &sum, x, 4, &how);
    assert_true(scale == 0.0625f); /* exact: a power of two */
    assert_memory_equal(codes, expected, 4);
    kfi_kernels_get()->quantize(codes, &scale, &sum, near_8, 4, &how);
    assert_memory_equal(codes, expected_near_8, 4);
}

/* ---- small floats ---- */

/* The value of an E4M3 code without a sign; 127 is no number. */
static double value_of_fp8(unsigned code)
{
    const unsigned exponent = code >> 3;
    const double fraction = code & 7;
    return exponent == 0 ? ldexp(fraction, -9) : ldexp(8.0 + fraction, (int)exponent - 10);
}

/* The nearest of all values, of two the one with an even code. */
static double nearest_fp8(double x)
{
    unsigned best = 0;
    for (unsigned code = 1; code < 127; code++) {
        const double d = fabs(value_of_fp8(code) - fabs(x));
        const double least = fabs(value_of_fp8(best) - fabs(x));
        best = d < least || (d == least && code % 2 == 0) ? code : best; /* exact: a tie */
    }
    return copysign(value_of_fp8(best), x);
}

static void check_fp8(const float *x, size_t n, size_t group)
{
    static float y[2][VECTOR_MOST + 1];
    y[0][n] = y[1][n] = 7.0f;
    kfi_round_fp8_generic(y[0], x, n, group);
    kfi_kernels_get()->round_fp8(y[1], x, n, group);
    vector_assert_same(y[0], y[1], n + 1); /* nothing behind either */
    for (size_t begin = 0; begin < n; begin += group) {
        float largest = 0.0f;
        const size_t end = begin + group < n ? begin + group : n;
        for (size_t i = begin; i < end; i++) {
            largest = fmaxf(largest, fabsf(x[i]));
        }
        for (size_t i = begin; i < end && largest > 0.0f; i++) {
            const float value = (float)nearest_fp8((double)(x[i] * (448.0f / largest)));
            const float expected = value * (largest / 448.0f);
            assert_true(y[1][i] == expected); /* exact: the same steps */
        }
    }
    memcpy(y[0], x, n * sizeof *x); /* in place */
    kfi_kernels_get()->round_fp8(y[0], y[0], n, group);
    vector_assert_same(y[1], y[0], n);
}

static void rounds_to_the_nearest_small_float(void **state)
{
    (void)state;
    static float x[VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        for (size_t g = 0; g < COUNT(groups); g++) {
            fill(x, vector_sizes[s], &rng);
            check_fp8(x, vector_sizes[s], groups[g]);
        }
    }
}

/* Every value under a scale of 1, and the middle of every two. */
static void small_floats_stay_and_ties_go_to_even(void **state)
{
    (void)state;
    float x[256];
    float y[256];
    for (unsigned code = 0; code < 127; code++) {
        const double next = code == 126 ? 448.0 : value_of_fp8(code + 1);
        x[2 * code] = (float)value_of_fp8(code);
        x[2 * code + 1] = (float)-((value_of_fp8(code) + next) / 2.0);
    }
    kfi_kernels_get()->round_fp8(y, x, 254, 256);
    for (unsigned code = 0; code < 127; code++) {
        const unsigned even = code + (code % 2 == 1 && code < 126 ? 1 : 0);
        assert_true(y[2 * code] == x[2 * code]);                    /* exact: on the grid */
        assert_true(y[2 * code + 1] == (float)-value_of_fp8(even)); /* exact: on the grid */
    }
}

static void rounds_zero_tiny_and_huge_groups(void **state)
{
    (void)state;
    static const float magnitudes[] = {0.0f, FLT_TRUE_MIN, 1e-38f, 1e-30f, 1e30f, FLT_MAX};
    for (size_t m = 0; m < COUNT(magnitudes); m++) {
        float x[40];
        float y[2][40];
        for (size_t i = 0; i < 40; i++) {
            x[i] = i % 3 == 0 ? magnitudes[m] : -magnitudes[m];
        }
        kfi_round_fp8_generic(y[0], x, 40, 32);
        kfi_kernels_get()->round_fp8(y[1], x, 40, 32);
        vector_assert_same(y[0], y[1], 40);
        assert_true(isfinite(y[1][0]));
        assert_true((magnitudes[m] < 1e-30f) == (y[1][1] == 0.0f)); /* exact: written as 0 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantizes_as_plain_c_does),
        cmocka_unit_test(quantizes_zero_tiny_and_huge_groups),
        cmocka_unit_test(rounds_half_to_even),
        cmocka_unit_test(asymmetric_codes_leave_out_their_zero_point),
        cmocka_unit_test(clips_to_a_part_of_the_range),
        cmocka_unit_test(power_of_two_scales_are_those_of_the_largest_value),
        cmocka_unit_test(rounds_to_the_nearest_small_float),
        cmocka_unit_test(small_floats_stay_and_ties_go_to_even),
        cmocka_unit_test(rounds_zero_tiny_and_huge_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
