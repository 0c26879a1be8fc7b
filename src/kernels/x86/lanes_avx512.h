/* lanes_avx512.h - 16 floats or integers in one register: the vocabulary of lanes/.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_X86_LANES_AVX512_H
#define KFI_KERNELS_X86_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/lanes/unroll.h"

#define INLINE static inline __attribute__((always_inline, unused))

/* Panels of 16 rows that a tile of tokens takes at once: 6 tokens x 2 panels are 12 accumulators,
 * 12 more for the current segment, and 8 registers for operands. */
#define TILE_PANELS 2
/* Registers of 16 values that the attention tile takes at once: 6 rows x 4. */
#define WIDE 4
/* Rows that the tile of a float product takes at once: 14 rows x 2 panels are 28 accumulators, and
 * 4 registers are left for operands. F(n) for each height a tile may have. */
#define GEMM_ROWS        14
#define FOR_GEMM_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14)

typedef __m512 lanes;
typedef __m512i ilanes;

INLINE __mmask16 first_lanes(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1u);
}

INLINE lanes lanes_zero(void)
{
    return _mm512_setzero_ps();
}

INLINE lanes lanes_set1(float x)
{
    return _mm512_set1_ps(x);
}

INLINE lanes lanes_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

/* The first n of 16; the others are 0 and their memory is not touched. */
INLINE lanes lanes_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

INLINE void lanes_store(float *p, lanes x)
{
    _mm512_storeu_ps(p, x);
}

INLINE void lanes_store_n(float *p, lanes x, size_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), x);
}

/* x in the first n lanes, y in the others. */
INLINE lanes lanes_first(lanes x, lanes y, size_t n)
{
    return _mm512_mask_blend_ps(first_lanes(n), y, x);
}

/* Rows and columns of a square change places: squares of 4 x 4 in the 128-bit parts, then the
 * parts. */
INLINE void lanes_transpose(lanes x[16])
{
    lanes t[16];
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        const lanes low_01 = _mm512_unpacklo_ps(x[i], x[i + 1]);
        const lanes high_01 = _mm512_unpackhi_ps(x[i], x[i + 1]);
        const lanes low_23 = _mm512_unpacklo_ps(x[i + 2], x[i + 3]);
        const lanes high_23 = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
        t[i] = _mm512_shuffle_ps(low_01, low_23, 0x44);
        t[i + 1] = _mm512_shuffle_ps(low_01, low_23, 0xEE);
        t[i + 2] = _mm512_shuffle_ps(high_01, high_23, 0x44);
        t[i + 3] = _mm512_shuffle_ps(high_01, high_23, 0xEE);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        const lanes even_low = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        const lanes odd_low = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xDD);
        const lanes even_high = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        const lanes odd_high = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xDD);
        x[i] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        x[i + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        x[i + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
        x[i + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
    }
}

/* Every lane i gets lane i ^ stride; stride is a constant: 1, 2, 4 or 8. */
INLINE lanes lanes_swap(lanes x, const int stride)
{
    return stride == 1   ? _mm512_permute_ps(x, 0xB1)
           : stride == 2 ? _mm512_permute_ps(x, 0x4E)
           : stride == 4 ? _mm512_shuffle_f32x4(x, x, 0xB1)
                         : _mm512_shuffle_f32x4(x, x, 0x4E);
}

INLINE lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}

INLINE lanes lanes_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}

INLINE lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}

INLINE lanes lanes_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}

INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* a > b ? a : b and a < b ? a : b, as the instructions have it: b where one is NaN. */
INLINE lanes lanes_max(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
}

INLINE lanes lanes_min(lanes a, lanes b)
{
    return _mm512_min_ps(a, b);
}

INLINE lanes lanes_negate(lanes x)
{
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}

INLINE lanes lanes_abs(lanes x)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x);
}

/* The sum by the tree of lanes_inline.h: halves of 16, 8, 4 and 2 lanes are added. */
INLINE float lanes_sum(lanes x)
{
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* The greatest of 16 lanes, none of which is NaN. */
INLINE float lanes_greatest(lanes x)
{
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* Bit i: lane i equals x. */
INLINE unsigned lanes_equal(lanes a, lanes b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/* 0 where a < b, x elsewhere. */
INLINE lanes lanes_zero_where_less(lanes x, lanes a, lanes b)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), x);
}

/* Lanes 0 … 7 and 8 … 15 added to eight doubles each. */
INLINE void lanes_add_double(double sums[16], lanes x)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    _mm512_storeu_pd(sums, _mm512_add_pd(_mm512_loadu_pd(sums), low));
    _mm512_storeu_pd(sums + 8, _mm512_add_pd(_mm512_loadu_pd(sums + 8), high));
}

INLINE ilanes ilanes_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}

/* 64 bytes, at any address. */
INLINE ilanes ilanes_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE ilanes ilanes_add(ilanes a, ilanes b)
{
    return _mm512_add_epi32(a, b);
}

INLINE ilanes ilanes_sub(ilanes a, ilanes b)
{
    return _mm512_sub_epi32(a, b);
}

INLINE ilanes ilanes_mul(ilanes a, ilanes b)
{
    return _mm512_mullo_epi32(a, b);
}

INLINE ilanes ilanes_and(ilanes a, ilanes b)
{
    return _mm512_and_si512(a, b);
}

INLINE ilanes ilanes_or(ilanes a, ilanes b)
{
    return _mm512_or_si512(a, b);
}

INLINE ilanes ilanes_max(ilanes a, ilanes b)
{
    return _mm512_max_epi32(a, b);
}

INLINE ilanes ilanes_shift_left(ilanes x, unsigned n)
{
    return _mm512_sll_epi32(x, _mm_cvtsi32_si128((int)n));
}

INLINE ilanes ilanes_shift_right_signed(ilanes x, unsigned n)
{
    return _mm512_sra_epi32(x, _mm_cvtsi32_si128((int)n));
}

INLINE lanes lanes_of_int(ilanes x)
{
    return _mm512_cvtepi32_ps(x);
}

INLINE lanes lanes_of_bits(ilanes x)
{
    return _mm512_castsi512_ps(x);
}

INLINE ilanes lanes_bits(lanes x)
{
    return _mm512_castps_si512(x);
}

INLINE lanes lanes_of_halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

INLINE ilanes ilanes_of_bytes(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE ilanes ilanes_of_signed_bytes(const int8_t *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* The product of the low 16 bits of each lane, where the high ones of a are 0. */
INLINE ilanes ilanes_mul_words(ilanes a, ilanes b)
{
    return _mm512_madd_epi16(a, b);
}

/* Stores the low bytes. */
INLINE void ilanes_store_bytes(int8_t *p, ilanes x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(x));
}

/* Stores the low 16 bits; of every four the middle two change places. */
INLINE void ilanes_store_pairs(int16_t *p, ilanes x)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(x), order));
}

/* Wraps around; _mm512_reduce_add_epi32 adds the last two as C does, where that is undefined. */
INLINE int32_t ilanes_sum(ilanes x)
{
    const __m256i eight =
        _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

/* ---- a line of codes: 64 bytes, 16 rows x 4 columns ---- */

#define LINE_PARTS 1 /* registers a line */
typedef __m512i bytes;
typedef uint16_t words __attribute__((vector_size(64)));

INLINE bytes bytes_load(const uint8_t *p)
{
    return _mm512_loadu_si512(p);
}

INLINE void bytes_store(void *p, bytes x)
{
    _mm512_storeu_si512(p, x);
}

INLINE bytes bytes_set1_int(int32_t x)
{
    return _mm512_set1_epi32(x);
}

INLINE bytes bytes_set1(unsigned x)
{
    return _mm512_set1_epi8((char)x);
}

INLINE bytes bytes_and(bytes a, bytes b)
{
    return _mm512_and_si512(a, b);
}

INLINE bytes bytes_xor(bytes a, bytes b)
{
    return _mm512_xor_si512(a, b);
}

INLINE bytes bytes_or(bytes a, bytes b)
{
    return _mm512_or_si512(a, b);
}

/* 16 bytes, repeated. */
INLINE bytes bytes_repeat(const uint8_t *p)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* The bytes of a repeated table at places 0 … 15. */
INLINE bytes bytes_lookup(bytes table, bytes places)
{
    return _mm512_shuffle_epi8(table, places);
}

/* The same by the low four bits of a place, and 0 where its bit 7 is set. */
INLINE bytes bytes_lookup_below(bytes table, bytes places)
{
    return _mm512_shuffle_epi8(table, places);
}

INLINE bytes bytes_add(bytes a, bytes b)
{
    return _mm512_add_epi8(a, b);
}

/* -x where bit 7 of `where` is set, else x. */
INLINE bytes bytes_negate(bytes x, bytes where)
{
    return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(where), _mm512_setzero_si512(), x);
}

/* Column c of the line, one row a lane. */
INLINE ilanes line_column(const bytes line[LINE_PARTS], unsigned c)
{
    const ilanes moved = _mm512_srl_epi32(line[0], _mm_cvtsi32_si128((int)(8 * c)));
    return _mm512_and_si512(moved, _mm512_set1_epi32(0xFF));
}

#endif /* KFI_KERNELS_X86_LANES_AVX512_H */
