/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/half.h"

/* The value of an fp16 by its definition, in double. */
static double half_by_definition(uint16_t half)
{
    const int exponent = half >> 10 & 31;
    const int mantissa = half & 1023;
    const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == 31) {
        return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
    }
    return exponent == 0 ? sign * ldexp(mantissa, -24)
                         : sign * ldexp(1024 + mantissa, exponent - 25);
}

static void every_half_reads_as_defined(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const double expected = half_by_definition((uint16_t)h);
        const double value = (double)kfi_half_to_float((uint16_t)h);
        if (isnan(expected)) {
            assert_true(isnan(value));
        } else {
            assert_true(value == expected); /* exact by contract */
            assert_int_equal(signbit(value) != 0, signbit(expected) != 0);
        }
    }
}

static void every_half_survives_a_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float value = kfi_half_to_float((uint16_t)h);
        const uint16_t back = kfi_half_from_float(value);
        if (isnan(value)) {
            assert_true(isnan(kfi_half_to_float(back)));
        } else {
            assert_int_equal(back, h);
        }
    }
}

/* Between two neighbours lie the midpoint, which goes to the even one, and a float on each side. */
static void rounds_to_nearest_even_everywhere(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        const float low = kfi_half_to_float((uint16_t)h);
        const float high = kfi_half_to_float((uint16_t)(h + 1));
        const float middle = low + (high - low) / 2;
        assert_int_equal(kfi_half_from_float(middle), h + (h & 1));
        assert_int_equal(kfi_half_from_float(nextafterf(middle, 0.0f)), h);
        assert_int_equal(kfi_half_from_float(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(kfi_half_from_float(-middle), 0x8000 | (h + (h & 1)));
    }
}

static void overflows_to_infinity(void **state)
{
    (void)state;
    assert_int_equal(kfi_half_from_float(65519.996f), 0x7BFF);
    assert_int_equal(kfi_half_from_float(65520.0f), 0x7C00);
    assert_int_equal(kfi_half_from_float(-1e30f), 0xFC00);
    assert_int_equal(kfi_half_from_float(INFINITY), 0x7C00);
}

static void every_bfloat_survives_a_round_trip(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 65536; b++) {
        const float value = kfi_bfloat_to_float((uint16_t)b);
        const uint16_t back = kfi_bfloat_from_float(value);
        if (isnan(value)) {
            assert_true(isnan(kfi_bfloat_to_float(back)));
        } else {
            assert_int_equal(back, b);
        }
    }
}

static void bfloat_rounds_to_nearest_even(void **state)
{
    (void)state;
    assert_int_equal(kfi_bfloat_from_float(kfi_bits_float(0x3F808000u)), 0x3F80);
    assert_int_equal(kfi_bfloat_from_float(kfi_bits_float(0x3F808001u)), 0x3F81);
    assert_int_equal(kfi_bfloat_from_float(kfi_bits_float(0x3F818000u)), 0x3F82);
    assert_int_equal(kfi_bfloat_from_float(kfi_bits_float(0x7F7FFFFFu)), 0x7F80);
    /* A NaN whose payload lies in the cut bits must not become infinity. */
    assert_true(isnan(kfi_bfloat_to_float(kfi_bfloat_from_float(kfi_bits_float(0x7F800001u)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_reads_as_defined),
        cmocka_unit_test(every_half_survives_a_round_trip),
        cmocka_unit_test(rounds_to_nearest_even_everywhere),
        cmocka_unit_test(overflows_to_infinity),
        cmocka_unit_test(every_bfloat_survives_a_round_trip),
        cmocka_unit_test(bfloat_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
