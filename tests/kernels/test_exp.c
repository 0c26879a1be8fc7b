/* The exponential over the whole range of floats, and through the vector kernels (silu).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <float.h>
#include <math.h>

#include "kernels/exp.h"
#include "kernels/kernels_list.h"

static double ulps(float actual, double exact)
{
    int exponent = 0;
    (void)frexp(exact, &exponent);
    const double ulp = ldexp(1.0, exponent - 24 < -149 ? -149 : exponent - 24);
    return fabs((double)actual - exact) / ulp;
}

/* Every 97th float: about 23 million of those between -104 and 89. */
static void errs_by_an_ulp_at_most(void **state)
{
    (void)state;
    double worst = 0.0;
    for (uint32_t bits = 0; bits < 0x42D00000u; bits += 97) {
        for (uint32_t sign = 0; sign < 2; sign++) {
            const float x = kfi_bits_float(bits | sign << 31);
            if (x < 88.72283f) {
                worst = fmax(worst, ulps(kfi_expf(x), exp((double)x)));
            }
        }
    }
    print_message("worst error: %.3f ulp\n", worst);
    assert_true(worst <= 1.0);
}

static void keeps_the_ends(void **state)
{
    (void)state;
    assert_true(kfi_expf(0.0f) == 1.0f);
    assert_true(kfi_expf(-INFINITY) == 0.0f);
    assert_true(kfi_expf(-104.0f) == 0.0f);
    assert_true(kfi_expf(-1e30f) == 0.0f);
    assert_true(kfi_expf(88.73f) == INFINITY);
    assert_true(kfi_expf(INFINITY) == INFINITY);
    assert_true(kfi_expf(-103.0f) > 0.0f);
    assert_true(isnan(kfi_expf(NAN)));
}

/* The vector versions take the same steps: silu of floats of all sizes, 1 000 at a time. */
static void is_the_same_in_vectors(void **state)
{
    (void)state;
    static float x[1000], one[1000], y[2][1000];
    uint32_t bits = 0;
    for (size_t i = 0; i < 1000; i++) {
        one[i] = 1.0f;
    }
    for (size_t round = 0; round < 500; round++) {
        for (size_t i = 0; i < 1000; i++, bits += 8589) {
            x[i] = kfi_bits_float(bits);
            x[i] = isnan(x[i]) ? 0.0f : x[i];
        }
        kfi_silu_mul_generic(y[0], x, one, 1000);
        kfi_kernels_get()->silu_mul(y[1], x, one, 1000);
        for (size_t i = 0; i < 1000; i++) {
            const bool both_nan = isnan(y[0][i]) && isnan(y[1][i]); /* of -inf: any NaN will do */
            assert_true(both_nan || memcmp(&y[0][i], &y[1][i], sizeof(float)) == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errs_by_an_ulp_at_most),
        cmocka_unit_test(keeps_the_ends),
        cmocka_unit_test(is_the_same_in_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
