/* e3m2.h - floats of 6 bits: a sign, 3 bits of exponent (bias 3), 2 of fraction; no infinity, no
 * NaN.
 *
 * Counted in sixteenths, the least step of theirs, all are whole numbers, their levels:
 *
 *     exponent e, fraction m      magnitude of the level      0 … 3            e = 0, subnormal
 *                                                             (4 + m) 2^(e-1)  e = 1 … 7; 448 at
 * most code (bits 5 … 0)           e2 s e1 e0 m1 m0            s: the sign
 *
 * No byte holds a level; but those with e2 = 0 are -28 … 28, those with e2 = 1 are 8 times -56 …
 * 56, and for either of them the low four bits of the code, a plane of its own, are the place in a
 * table of 16 bytes. So vector kernels take two products of bytes, and the sum is the exact
 * integer:
 *
 *     level + 480 = 8 high + low      high = 56 + (e2 ? level / 8 : 0),  low = 32 + (e2 ? 0 :
 * level)
 *
 * Source: H. Xia, Z. Zheng, X. Wu et al., "Quant-LLM (FP6-LLM)", USENIX ATC 2024, arXiv:2401.14112,
 * and X. Wu, H. Xia, S. Youn et al., "ZeroQuant(4+2)", 2023, arXiv:2312.08583: E3M2, its bits in a
 * plane of 4 and one of 2. Theirs become fp16 by shifts and a multiplication; here the products
 * stay those of integers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_E3M2_H
#define KFI_KERNELS_E3M2_H

#include <stdint.h>

#include "base/half.h"
#include "base/round.h"

#define KFI_E3M2_BITS      6u
#define KFI_E3M2_MOST      448 /* the greatest level */
#define KFI_E3M2_HIGH_ZERO 56
#define KFI_E3M2_LOW_ZERO  32
#define KFI_E3M2_ZERO      (8 * KFI_E3M2_HIGH_ZERO + KFI_E3M2_LOW_ZERO)

/* Magnitudes of a code's two parts by its low four bits. */
static const uint8_t kfi_e3m2_low[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28};
static const uint8_t kfi_e3m2_high[16] = {4,  5,  6,  7,  8,  10, 12, 14,
                                          16, 20, 24, 28, 32, 40, 48, 56};

/* The level of a code, -448 … 448; of its two zeros none is preferred. */
static inline int32_t kfi_e3m2_level(unsigned code)
{
    const int32_t magnitude =
        (code & 0x20u) != 0 ? 8 * kfi_e3m2_high[code & 15u] : kfi_e3m2_low[code & 15u];
    return (code & 0x10u) != 0 ? -magnitude : magnitude;
}

/* For kfi_round_fraction(). */
#define KFI_E3M2_LEAST_NORMAL 4.0f
#define KFI_E3M2_MAGIC        KFI_FRACTION_MAGIC(2)

/* The level nearest to v, of two equally near ones the one of even fraction; v may be infinite. */
static inline float kfi_e3m2_round(float v)
{
    const float raised = v > -(float)KFI_E3M2_MOST ? v : -(float)KFI_E3M2_MOST;
    const float cut = raised < (float)KFI_E3M2_MOST ? raised : (float)KFI_E3M2_MOST;
    return kfi_round_fraction(cut, KFI_E3M2_LEAST_NORMAL, KFI_E3M2_MAGIC);
}

/* The code of a level. Bits 21 and up of a float of at least 4 are its exponent (biased by 127) and
 * two bits of fraction. Zero is the positive one. */
static inline uint8_t kfi_e3m2_code(float level)
{
    const float magnitude = level < 0.0f ? -level : level;
    const uint32_t bits = magnitude < KFI_E3M2_LEAST_NORMAL
                              ? (uint32_t)magnitude
                              : (kfi_float_bits(magnitude) >> 21) - (128u << 2);
    return (uint8_t)((bits & 15u) | (bits & 16u) << 1 | (level < 0.0f ? 16u : 0u));
}

#endif /* KFI_KERNELS_E3M2_H */
