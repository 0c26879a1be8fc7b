/* lanes_avx2.h - 16 floats or integers in two registers: the vocabulary of lanes/.
 *
 * lanes_avx512.h has the same names and says what they do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_X86_LANES_AVX2_H
#define KFI_KERNELS_X86_LANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/lanes/unroll.h"

#define INLINE static inline __attribute__((always_inline, unused))

/* 6 tokens x 1 panel are 12 of the 16 registers. */
#define TILE_PANELS 1
#define WIDE        1
/* 6 rows x 1 panel, likewise. */
#define GEMM_ROWS        6
#define FOR_GEMM_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6)

typedef struct lanes {
    __m256 a, b; /* lanes 0 … 7 and 8 … 15 */
} lanes;
typedef struct ilanes {
    __m256i a, b;
} ilanes;

/* All bits set in the lanes first … first + 7 that are below n. */
INLINE __m256i lanes_below(size_t n, int first)
{
    const __m256i index =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 16 ? (int)n : 16), index);
}

INLINE lanes lanes_zero(void)
{
    return (lanes){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

INLINE lanes lanes_set1(float x)
{
    return (lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

INLINE lanes lanes_load(const float *p)
{
    return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

INLINE lanes lanes_load_n(const float *p, size_t n)
{
    return (lanes){_mm256_maskload_ps(p, lanes_below(n, 0)),
                   _mm256_maskload_ps(p + 8, lanes_below(n, 8))};
}

INLINE void lanes_store(float *p, lanes x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

INLINE void lanes_store_n(float *p, lanes x, size_t n)
{
    _mm256_maskstore_ps(p, lanes_below(n, 0), x.a);
    _mm256_maskstore_ps(p + 8, lanes_below(n, 8), x.b);
}

INLINE lanes lanes_first(lanes x, lanes y, size_t n)
{
    return (lanes){_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(lanes_below(n, 0))),
                   _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(lanes_below(n, 8)))};
}

INLINE void transpose_8(__m256 x[8])
{
    __m256 t[8];
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        const __m256 low_01 = _mm256_unpacklo_ps(x[i], x[i + 1]);
        const __m256 high_01 = _mm256_unpackhi_ps(x[i], x[i + 1]);
        const __m256 low_23 = _mm256_unpacklo_ps(x[i + 2], x[i + 3]);
        const __m256 high_23 = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
        t[i] = _mm256_shuffle_ps(low_01, low_23, 0x44);
        t[i + 1] = _mm256_shuffle_ps(low_01, low_23, 0xEE);
        t[i + 2] = _mm256_shuffle_ps(high_01, high_23, 0x44);
        t[i + 3] = _mm256_shuffle_ps(high_01, high_23, 0xEE);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

INLINE void lanes_transpose(lanes x[16])
{
    __m256 t[4][8]; /* upper left, upper right, lower left, lower right */
    UNROLL
    for (int i = 0; i < 8; i++) {
        t[0][i] = x[i].a;
        t[1][i] = x[i].b;
        t[2][i] = x[i + 8].a;
        t[3][i] = x[i + 8].b;
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        transpose_8(t[i]);
    }
    UNROLL
    for (int i = 0; i < 8; i++) {
        x[i] = (lanes){t[0][i], t[2][i]};
        x[i + 8] = (lanes){t[1][i], t[3][i]};
    }
}

INLINE __m256 swap_8(__m256 x, const int stride)
{
    return stride == 1   ? _mm256_permute_ps(x, 0xB1)
           : stride == 2 ? _mm256_permute_ps(x, 0x4E)
                         : _mm256_permute2f128_ps(x, x, 1);
}

INLINE lanes lanes_swap(lanes x, const int stride)
{
    return stride == 8 ? (lanes){x.b, x.a} : (lanes){swap_8(x.a, stride), swap_8(x.b, stride)};
}

INLINE lanes lanes_add(lanes x, lanes y)
{
    return (lanes){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}

INLINE lanes lanes_sub(lanes x, lanes y)
{
    return (lanes){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}

INLINE lanes lanes_mul(lanes x, lanes y)
{
    return (lanes){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}

INLINE lanes lanes_div(lanes x, lanes y)
{
    return (lanes){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}

INLINE lanes lanes_fma(lanes x, lanes y, lanes z)
{
    return (lanes){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

INLINE lanes lanes_max(lanes x, lanes y)
{
    return (lanes){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}

INLINE lanes lanes_min(lanes x, lanes y)
{
    return (lanes){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}

INLINE lanes lanes_negate(lanes x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (lanes){_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign)};
}

INLINE lanes lanes_abs(lanes x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (lanes){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}

INLINE float lanes_sum(lanes x)
{
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float lanes_greatest(lanes x)
{
    const __m256 eight = _mm256_max_ps(x.a, x.b);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

INLINE unsigned lanes_equal(lanes x, lanes y)
{
    const unsigned low = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ));
    const unsigned high = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ));
    return low | high << 8;
}

INLINE lanes lanes_zero_where_less(lanes x, lanes y, lanes z)
{
    return (lanes){_mm256_and_ps(_mm256_cmp_ps(y.a, z.a, _CMP_NLT_UQ), x.a),
                   _mm256_and_ps(_mm256_cmp_ps(y.b, z.b, _CMP_NLT_UQ), x.b)};
}

INLINE void add_four(double *sums, __m128 x)
{
    _mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums), _mm256_cvtps_pd(x)));
}

INLINE void lanes_add_double(double sums[16], lanes x)
{
    add_four(sums, _mm256_castps256_ps128(x.a));
    add_four(sums + 4, _mm256_extractf128_ps(x.a, 1));
    add_four(sums + 8, _mm256_castps256_ps128(x.b));
    add_four(sums + 12, _mm256_extractf128_ps(x.b, 1));
}

INLINE ilanes ilanes_set1(int32_t x)
{
    return (ilanes){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}

INLINE ilanes ilanes_load(const void *p)
{
    const __m256i *const halves = p;
    return (ilanes){_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}

INLINE ilanes ilanes_add(ilanes x, ilanes y)
{
    return (ilanes){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}

INLINE ilanes ilanes_sub(ilanes x, ilanes y)
{
    return (ilanes){_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}

INLINE ilanes ilanes_mul(ilanes x, ilanes y)
{
    return (ilanes){_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}

INLINE ilanes ilanes_and(ilanes x, ilanes y)
{
    return (ilanes){_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}

INLINE ilanes ilanes_or(ilanes x, ilanes y)
{
    return (ilanes){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}

INLINE ilanes ilanes_max(ilanes x, ilanes y)
{
    return (ilanes){_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}

INLINE ilanes ilanes_shift_left(ilanes x, unsigned n)
{
    const __m128i count = _mm_cvtsi32_si128((int)n);
    return (ilanes){_mm256_sll_epi32(x.a, count), _mm256_sll_epi32(x.b, count)};
}

INLINE ilanes ilanes_shift_right_signed(ilanes x, unsigned n)
{
    const __m128i count = _mm_cvtsi32_si128((int)n);
    return (ilanes){_mm256_sra_epi32(x.a, count), _mm256_sra_epi32(x.b, count)};
}

INLINE lanes lanes_of_int(ilanes x)
{
    return (lanes){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}

INLINE lanes lanes_of_bits(ilanes x)
{
    return (lanes){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}

INLINE ilanes lanes_bits(lanes x)
{
    return (ilanes){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}

INLINE lanes lanes_of_halves(const uint16_t *p)
{
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}

INLINE ilanes ilanes_of_bytes(const uint8_t *p)
{
    return (ilanes){_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)),
                    _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + 8)))};
}

INLINE ilanes ilanes_of_signed_bytes(const int8_t *p)
{
    return (ilanes){_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)),
                    _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p + 8)))};
}

INLINE ilanes ilanes_mul_words(ilanes x, ilanes y)
{
    return (ilanes){_mm256_madd_epi16(x.a, y.a), _mm256_madd_epi16(x.b, y.b)};
}

/* The low bytes of eight lanes, in the low half of the result. */
INLINE __m128i low_bytes(__m256i x)
{
    const __m256i pick =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i picked = _mm256_shuffle_epi8(x, pick);
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(picked), _mm256_extracti128_si256(picked, 1));
}

INLINE void ilanes_store_bytes(int8_t *p, ilanes x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm_unpacklo_epi64(low_bytes(x.a), low_bytes(x.b)));
}

/* The low 16 bits of eight lanes; of every four the middle two change places. */
INLINE __m128i low_pairs(__m256i x)
{
    const __m256i pick = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 8, 9, 4, 5, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1));
    const __m256i picked = _mm256_shuffle_epi8(x, pick);
    return _mm_unpacklo_epi64(_mm256_castsi256_si128(picked), _mm256_extracti128_si256(picked, 1));
}

INLINE void ilanes_store_pairs(int16_t *p, ilanes x)
{
    _mm_storeu_si128((__m128i *)(void *)p, low_pairs(x.a));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), low_pairs(x.b));
}

INLINE int32_t ilanes_sum(ilanes x)
{
    const __m256i eight = _mm256_add_epi32(x.a, x.b);
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

/* ---- half a line of codes: 32 bytes, 8 rows x 4 columns ---- */

#define LINE_PARTS 2
typedef __m256i bytes;
typedef uint16_t words __attribute__((vector_size(32)));

INLINE bytes bytes_load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

INLINE void bytes_store(void *p, bytes x)
{
    _mm256_storeu_si256((__m256i *)p, x);
}

INLINE bytes bytes_set1_int(int32_t x)
{
    return _mm256_set1_epi32(x);
}

INLINE bytes bytes_set1(unsigned x)
{
    return _mm256_set1_epi8((char)x);
}

INLINE bytes bytes_and(bytes a, bytes b)
{
    return _mm256_and_si256(a, b);
}

INLINE bytes bytes_or(bytes a, bytes b)
{
    return _mm256_or_si256(a, b);
}

INLINE bytes bytes_xor(bytes a, bytes b)
{
    return _mm256_xor_si256(a, b);
}

/* 16 bytes, repeated. */
INLINE bytes bytes_repeat(const uint8_t *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* The bytes of a repeated table at places 0 … 15. */
INLINE bytes bytes_lookup(bytes table, bytes places)
{
    return _mm256_shuffle_epi8(table, places);
}

INLINE bytes bytes_lookup_below(bytes table, bytes places)
{
    return _mm256_shuffle_epi8(table, places);
}

INLINE bytes bytes_add(bytes a, bytes b)
{
    return _mm256_add_epi8(a, b);
}

/* vpsignb makes 0 where the sign is 0: it never is. */
INLINE bytes bytes_negate(bytes x, bytes where)
{
    return _mm256_sign_epi8(x, _mm256_or_si256(where, _mm256_set1_epi8(1)));
}

INLINE ilanes line_column(const bytes line[LINE_PARTS], unsigned c)
{
    const __m128i count = _mm_cvtsi32_si128((int)(8 * c));
    const __m256i mask = _mm256_set1_epi32(0xFF);
    return (ilanes){_mm256_and_si256(_mm256_srl_epi32(line[0], count), mask),
                    _mm256_and_si256(_mm256_srl_epi32(line[1], count), mask)};
}

#endif /* KFI_KERNELS_X86_LANES_AVX2_H */
