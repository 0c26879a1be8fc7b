/* lanes_neon.h - 16 floats or integers in four registers: the vocabulary of lanes/.
 *
 * x86/lanes_avx512.h has the same names and says what they do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_ARM_LANES_NEON_H
#define KFI_KERNELS_ARM_LANES_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/lanes/unroll.h"

#define INLINE static inline __attribute__((always_inline, unused))

/* 6 tokens x 1 panel are 24 of the 32 registers; so are 6 rows x 16 values of attention. */
#define TILE_PANELS 1
#define WIDE        1
/* 6 rows x 1 panel, likewise. */
#define GEMM_ROWS        6
#define FOR_GEMM_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6)

typedef float32x4x4_t lanes; /* .val[i]: lanes 4 i … 4 i + 3 */
typedef int32x4x4_t ilanes;

/* A result of four parts, each by an expression in i. */
#define LANES_OF(expression)                                                                       \
    __extension__({                                                                                \
        lanes result_;                                                                             \
        UNROLL                                                                                     \
        for (int i = 0; i < 4; i++) {                                                              \
            result_.val[i] = (expression);                                                         \
        }                                                                                          \
        result_;                                                                                   \
    })
#define ILANES_OF(expression)                                                                      \
    __extension__({                                                                                \
        ilanes result_;                                                                            \
        UNROLL                                                                                     \
        for (int i = 0; i < 4; i++) {                                                              \
            result_.val[i] = (expression);                                                         \
        }                                                                                          \
        result_;                                                                                   \
    })

/* All bits set in the lanes 4 part … 4 part + 3 that are below n. */
INLINE uint32x4_t lanes_below(size_t n, int part)
{
    static const uint32_t first[4] = {0, 1, 2, 3};
    const uint32x4_t index = vaddq_u32(vld1q_u32(first), vdupq_n_u32(4 * (uint32_t)part));
    return vcltq_u32(index, vdupq_n_u32(n < 16 ? (uint32_t)n : 16));
}

INLINE lanes lanes_zero(void)
{
    return LANES_OF(vdupq_n_f32(0.0f));
}

INLINE lanes lanes_set1(float x)
{
    return LANES_OF(vdupq_n_f32(x));
}

INLINE lanes lanes_load(const float *p)
{
    return LANES_OF(vld1q_f32(p + 4 * i));
}

INLINE lanes lanes_load_n(const float *p, size_t n)
{
    if (n >= 16) {
        return lanes_load(p);
    }
    float values[16] = {0};
    memcpy(values, p, n * sizeof *p);
    return lanes_load(values);
}

INLINE void lanes_store(float *p, lanes x)
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        vst1q_f32(p + 4 * i, x.val[i]);
    }
}

INLINE void lanes_store_n(float *p, lanes x, size_t n)
{
    if (n >= 16) {
        lanes_store(p, x);
        return;
    }
    float values[16];
    lanes_store(values, x);
    memcpy(p, values, n * sizeof *p);
}

INLINE lanes lanes_first(lanes x, lanes y, size_t n)
{
    return LANES_OF(vbslq_f32(lanes_below(n, i), x.val[i], y.val[i]));
}

/* Rows and columns of a square of 4 x 4 change places. */
INLINE void transpose_4(float32x4_t x[4])
{
    const float32x4_t even_01 = vtrn1q_f32(x[0], x[1]);
    const float32x4_t odd_01 = vtrn2q_f32(x[0], x[1]);
    const float32x4_t even_23 = vtrn1q_f32(x[2], x[3]);
    const float32x4_t odd_23 = vtrn2q_f32(x[2], x[3]);
    x[0] = vcombine_f32(vget_low_f32(even_01), vget_low_f32(even_23));
    x[1] = vcombine_f32(vget_low_f32(odd_01), vget_low_f32(odd_23));
    x[2] = vcombine_f32(vget_high_f32(even_01), vget_high_f32(even_23));
    x[3] = vcombine_f32(vget_high_f32(odd_01), vget_high_f32(odd_23));
}

INLINE void lanes_transpose(lanes x[16])
{
    float32x4_t squares[4][4][4]; /* [row of squares][column of squares][row] */
    UNROLL
    for (int i = 0; i < 16; i++) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            squares[i / 4][j][i % 4] = x[i].val[j];
        }
    }
    UNROLL
    for (int i = 0; i < 16; i++) {
        transpose_4(squares[i / 4][i % 4]);
    }
    UNROLL
    for (int i = 0; i < 16; i++) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            x[i].val[j] = squares[j][i / 4][i % 4];
        }
    }
}

INLINE lanes lanes_swap(lanes x, const int stride)
{
    switch (stride) {
    case 1:
        return LANES_OF(vrev64q_f32(x.val[i]));
    case 2:
        return LANES_OF(vextq_f32(x.val[i], x.val[i], 2));
    default:
        return LANES_OF(x.val[i ^ stride / 4]);
    }
}

INLINE lanes lanes_add(lanes x, lanes y)
{
    return LANES_OF(vaddq_f32(x.val[i], y.val[i]));
}

INLINE lanes lanes_sub(lanes x, lanes y)
{
    return LANES_OF(vsubq_f32(x.val[i], y.val[i]));
}

INLINE lanes lanes_mul(lanes x, lanes y)
{
    return LANES_OF(vmulq_f32(x.val[i], y.val[i]));
}

INLINE lanes lanes_div(lanes x, lanes y)
{
    return LANES_OF(vdivq_f32(x.val[i], y.val[i]));
}

INLINE lanes lanes_fma(lanes x, lanes y, lanes z)
{
    return LANES_OF(vfmaq_f32(z.val[i], x.val[i], y.val[i]));
}

/* Not vmaxq and vminq, which give NaN where y is a number and x is not. */
INLINE lanes lanes_max(lanes x, lanes y)
{
    return LANES_OF(vbslq_f32(vcgtq_f32(x.val[i], y.val[i]), x.val[i], y.val[i]));
}

INLINE lanes lanes_min(lanes x, lanes y)
{
    return LANES_OF(vbslq_f32(vcltq_f32(x.val[i], y.val[i]), x.val[i], y.val[i]));
}

INLINE lanes lanes_negate(lanes x)
{
    return LANES_OF(vnegq_f32(x.val[i]));
}

INLINE lanes lanes_abs(lanes x)
{
    return LANES_OF(vabsq_f32(x.val[i]));
}

INLINE float lanes_sum(lanes x)
{
    const float32x4_t low = vaddq_f32(x.val[0], x.val[2]);
    const float32x4_t high = vaddq_f32(x.val[1], x.val[3]);
    const float32x4_t four = vaddq_f32(low, high);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

INLINE float lanes_greatest(lanes x)
{
    const float32x4_t low = vmaxq_f32(x.val[0], x.val[2]);
    const float32x4_t high = vmaxq_f32(x.val[1], x.val[3]);
    return vmaxvq_f32(vmaxq_f32(low, high));
}

INLINE unsigned lanes_equal(lanes x, lanes y)
{
    static const uint32_t weights[4] = {1, 2, 4, 8};
    unsigned bits = 0;
    UNROLL
    for (int i = 0; i < 4; i++) {
        const uint32x4_t equal = vceqq_f32(x.val[i], y.val[i]);
        bits |= vaddvq_u32(vandq_u32(equal, vld1q_u32(weights))) << (4 * i);
    }
    return bits;
}

INLINE lanes lanes_zero_where_less(lanes x, lanes y, lanes z)
{
    return LANES_OF(vreinterpretq_f32_u32(
        vbicq_u32(vreinterpretq_u32_f32(x.val[i]), vcltq_f32(y.val[i], z.val[i]))));
}

INLINE void lanes_add_double(double sums[16], lanes x)
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        double *const low = sums + 4 * i;
        vst1q_f64(low, vaddq_f64(vld1q_f64(low), vcvt_f64_f32(vget_low_f32(x.val[i]))));
        vst1q_f64(low + 2, vaddq_f64(vld1q_f64(low + 2), vcvt_high_f64_f32(x.val[i])));
    }
}

INLINE ilanes ilanes_set1(int32_t x)
{
    return ILANES_OF(vdupq_n_s32(x));
}

INLINE ilanes ilanes_load(const void *p)
{
    return ILANES_OF(vld1q_s32((const int32_t *)p + 4 * i));
}

INLINE ilanes ilanes_add(ilanes x, ilanes y)
{
    return ILANES_OF(vaddq_s32(x.val[i], y.val[i]));
}

INLINE ilanes ilanes_sub(ilanes x, ilanes y)
{
    return ILANES_OF(vsubq_s32(x.val[i], y.val[i]));
}

INLINE ilanes ilanes_mul(ilanes x, ilanes y)
{
    return ILANES_OF(vmulq_s32(x.val[i], y.val[i]));
}

INLINE ilanes ilanes_and(ilanes x, ilanes y)
{
    return ILANES_OF(vandq_s32(x.val[i], y.val[i]));
}

INLINE ilanes ilanes_or(ilanes x, ilanes y)
{
    return ILANES_OF(vorrq_s32(x.val[i], y.val[i]));
}

INLINE ilanes ilanes_max(ilanes x, ilanes y)
{
    return ILANES_OF(vmaxq_s32(x.val[i], y.val[i]));
}

INLINE ilanes ilanes_shift_left(ilanes x, unsigned n)
{
    return ILANES_OF(vshlq_s32(x.val[i], vdupq_n_s32((int32_t)n)));
}

INLINE ilanes ilanes_shift_right_signed(ilanes x, unsigned n)
{
    return ILANES_OF(vshlq_s32(x.val[i], vdupq_n_s32(-(int32_t)n)));
}

INLINE lanes lanes_of_int(ilanes x)
{
    return LANES_OF(vcvtq_f32_s32(x.val[i]));
}

INLINE lanes lanes_of_bits(ilanes x)
{
    return LANES_OF(vreinterpretq_f32_s32(x.val[i]));
}

INLINE ilanes lanes_bits(lanes x)
{
    return ILANES_OF(vreinterpretq_s32_f32(x.val[i]));
}

INLINE lanes lanes_of_halves(const uint16_t *p)
{
    return LANES_OF(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}

INLINE ilanes ilanes_of_bytes(const uint8_t *p)
{
    const uint8x16_t x = vld1q_u8(p);
    const uint16x8_t low = vmovl_u8(vget_low_u8(x));
    const uint16x8_t high = vmovl_high_u8(x);
    const uint32x4_t parts[4] = {vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low),
                                 vmovl_u16(vget_low_u16(high)), vmovl_high_u16(high)};
    return ILANES_OF(vreinterpretq_s32_u32(parts[i]));
}

INLINE ilanes ilanes_of_signed_bytes(const int8_t *p)
{
    const int8x16_t x = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(x));
    const int16x8_t high = vmovl_high_s8(x);
    const int32x4_t parts[4] = {vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                                vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)};
    return ILANES_OF(parts[i]);
}

INLINE ilanes ilanes_mul_words(ilanes x, ilanes y)
{
    return ilanes_mul(x, y);
}

INLINE void ilanes_store_bytes(int8_t *p, ilanes x)
{
    const int16x8_t low = vcombine_s16(vmovn_s32(x.val[0]), vmovn_s32(x.val[1]));
    const int16x8_t high = vcombine_s16(vmovn_s32(x.val[2]), vmovn_s32(x.val[3]));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

/* The low 16 bits; of every four the middle two change places. */
INLINE void ilanes_store_pairs(int16_t *p, ilanes x)
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        const int16x4_t narrow = vmovn_s32(x.val[i]);
        const int16x4_t even_odd = vuzp1_s16(narrow, vext_s16(narrow, narrow, 1));
        vst1_s16(p + 4 * i, even_odd);
    }
}

INLINE int32_t ilanes_sum(ilanes x)
{
    const int32x4_t low = vaddq_s32(x.val[0], x.val[1]);
    const int32x4_t high = vaddq_s32(x.val[2], x.val[3]);
    return vaddvq_s32(vaddq_s32(low, high));
}

/* ---- a quarter of a line of codes: 16 bytes, 4 rows x 4 columns ---- */

#define LINE_PARTS 4
typedef uint8x16_t bytes;
typedef uint16_t words __attribute__((vector_size(16)));

INLINE bytes bytes_load(const uint8_t *p)
{
    return vld1q_u8(p);
}

INLINE void bytes_store(void *p, bytes x)
{
    vst1q_u8((uint8_t *)p, x);
}

INLINE bytes bytes_set1_int(int32_t x)
{
    return vreinterpretq_u8_s32(vdupq_n_s32(x));
}

INLINE bytes bytes_set1(unsigned x)
{
    return vdupq_n_u8((uint8_t)x);
}

INLINE bytes bytes_and(bytes a, bytes b)
{
    return vandq_u8(a, b);
}

INLINE bytes bytes_xor(bytes a, bytes b)
{
    return veorq_u8(a, b);
}

/* 16 bytes: a register. */
INLINE bytes bytes_repeat(const uint8_t *p)
{
    return vld1q_u8(p);
}

/* The bytes of a table at places 0 … 15. */
INLINE bytes bytes_lookup(bytes table, bytes places)
{
    return vqtbl1q_u8(table, places);
}

/* Places above 15 give 0. */
INLINE bytes bytes_lookup_below(bytes table, bytes places)
{
    return vqtbl1q_u8(table, vandq_u8(places, vdupq_n_u8(0x8F)));
}

INLINE bytes bytes_add(bytes a, bytes b)
{
    return vaddq_u8(a, b);
}

INLINE bytes bytes_negate(bytes x, bytes where)
{
    const uint8x16_t all = vcltzq_s8(vreinterpretq_s8_u8(where));
    return vsubq_u8(veorq_u8(x, all), all);
}

INLINE bytes bytes_or(bytes a, bytes b)
{
    return vorrq_u8(a, b);
}

INLINE ilanes line_column(const bytes line[LINE_PARTS], unsigned c)
{
    const int32x4_t count = vdupq_n_s32(-8 * (int32_t)c);
    const uint32x4_t mask = vdupq_n_u32(0xFF);
    return ILANES_OF(
        vreinterpretq_s32_u32(vandq_u32(vshlq_u32(vreinterpretq_u32_u8(line[i]), count), mask)));
}

#endif /* KFI_KERNELS_ARM_LANES_NEON_H */
