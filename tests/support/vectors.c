/* vectors.c - random vectors for loops over one vector.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "vectors.h"

#include "check.h"

const size_t vector_sizes[VECTOR_SIZES] = {1,  2,  8,  15,  16,  17,  31,   32,         33,
                                           63, 64, 96, 100, 576, 896, 1536, VECTOR_MOST};

void vector_fill(float *x, size_t n, kfi_rng *rng)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = kfi_rng_normal(rng) * (kfi_rng_below(rng, 50) == 0 ? 1000.0f : 1.0f);
    }
}

void vector_assert_same(const float *expected, const float *actual, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&expected[i], &actual[i], sizeof *expected) != 0) {
            fail_msg("element %zu of %zu is %a, plain C has %a", i, n, (double)actual[i],
                     (double)expected[i]);
        }
    }
}
