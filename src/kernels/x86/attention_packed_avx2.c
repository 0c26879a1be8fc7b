/* attention_packed_avx2.c - attention over packed keys and values with vpmaddwd.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx2.h"

INLINE bytes dot_pairs(bytes sum, bytes codes, bytes x)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(codes, x));
}

/* 16 registers. */
INLINE int units_of(const int rows)
{
    return rows <= 2 ? 4 : rows <= 4 ? 2 : 1;
}

#define VARIANT avx2
#include "kernels/lanes/attention_packed.h"
