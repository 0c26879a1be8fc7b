/* matmul_int8_avxvnni.c - packed weights times int8 activations with the vpdpbusd of AVX-VNNI.
 *
 * For processors that have no AVX-512; the products of a quad go to 32 bits at once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdbool.h>

#include "kernels/x86/lanes_avx2.h"

INLINE bool is_direct(const int bits)
{
    (void)bits;
    return true;
}

/* Sums of 16 bits are not used. */
INLINE int quads_a_sum(const int bits)
{
    (void)bits;
    return 1;
}

INLINE __m256i widen(__m256i sum, __m256i pairs)
{
    (void)pairs;
    return sum;
}

INLINE __m256i dot_direct(__m256i sum, bytes q, __m256i x)
{
    return _mm256_dpbusd_avx_epi32(sum, q, x);
}

#define VARIANT avxvnni
#include "kernels/x86/matmul_int8_ymm.h"
