/* matmul_int8_avx2.c - packed weights times int8 activations with vpmaddubsw.
 *
 * Two products are added to 16 bits, which saturate at 32 767 = 258 * 127: so codes of up to 7 bits
 * cannot saturate, and for fewer bits several quads of columns are added before they are widened:
 *
 *     bits            2 to 4      5       6       7       8
 *     most of a quad    3810   7874   16002   32258   64770
 *     quads a sum          8      4       2       1       1, in two parts: q & 0x7F and q & 0x80
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdbool.h>

#include "kernels/x86/lanes_avx2.h"

INLINE int quads_a_sum(const int bits)
{
    return bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
}

/* A quad of 8-bit codes: no 16 bits hold it. */
INLINE bool is_direct(const int bits)
{
    return bits == 8;
}

/* sum + what pairs of 16-bit sums are together. */
INLINE __m256i widen(__m256i sum, __m256i pairs)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* The highest bit of the codes goes alone. */
INLINE __m256i dot_direct(__m256i sum, bytes q, __m256i x)
{
    const bytes low = bytes_and(q, bytes_set1(0x7F));
    const bytes high = bytes_and(q, bytes_set1(0x80));
    return widen(widen(sum, _mm256_maddubs_epi16(low, x)), _mm256_maddubs_epi16(high, x));
}

#define VARIANT avx2
#include "kernels/x86/matmul_int8_ymm.h"
