/* attention_packed_avxvnni.c - attention over packed keys and values with the vpdpwssd of AVX-VNNI.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx2.h"

INLINE bytes dot_pairs(bytes sum, bytes codes, bytes x)
{
    return _mm256_dpwssd_avx_epi32(sum, codes, x);
}

/* 16 registers. */
INLINE int units_of(const int rows)
{
    return rows <= 2 ? 4 : rows <= 4 ? 2 : 1;
}

#define VARIANT avxvnni
#include "kernels/lanes/attention_packed.h"
