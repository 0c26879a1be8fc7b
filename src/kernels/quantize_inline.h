/* quantize_inline.h - the grid of a group of activations, for all variants of quantize() and
 * round_fp8().
 *
 * With below = max(-x, 0), above = max(x, 0) of a group's values and m the larger of both, c the
 * part of the range that is kept and L the greatest code:
 *
 *   symmetric     scale = c m / L                        code = round(x (L / (c m)))
 *   asymmetric    scale = c below / L + c above / L      code = round(x (1 / scale)) in -z … L - z
 *                 z = round(c below (1 / scale))
 *   power of two  scale = 2^e / ((L + 1) / 2)            code = round(x ((L + 1) / 2 / 2^e))
 *                 2^e <= m < 2^(e + 1)
 *   fp8           scale = m / 448                        x (448 / m) to 4 significant bits
 *
 * round is half to even, and codes are cut to -L … L or what stands there. An asymmetric code is
 * stored without its zero point: q - z with q = 0 … L, which a signed byte holds for L <= 127, so
 * that x = scale * code everywhere. A power-of-two scale is smaller than m / L for up to half the
 * groups: those cut their largest values, by less than a step and a half.
 *
 * Source: asymmetric, QuaRot, arXiv:2404.00456, and Atom, arXiv:2310.19102 (the clip of a range is
 * theirs too); power of two, OCP Microscaling Formats (MX) 1.0, section 6.3; E4M3, Micikevicius et
 * al., arXiv:2209.05433.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_QUANTIZE_INLINE_H
#define KFI_KERNELS_QUANTIZE_INLINE_H

#include "base/half.h"
#include "base/round.h"
#include "kernels/kernels.h"

/* How far a group reaches to both sides of 0. */
typedef struct kfi_extent {
    float below, above;
} kfi_extent;

/* code = round(x * inverse) in least … greatest, x = scale * code. */
typedef struct kfi_code_grid {
    float scale, inverse, least, greatest;
} kfi_code_grid;

static inline float kfi_extent_most(kfi_extent extent)
{
    return extent.below > extent.above ? extent.below : extent.above;
}

static inline kfi_code_grid kfi_asymmetric_grid(kfi_extent extent, const kfi_quantizer *how)
{
    const float most = (float)how->most;
    const float below = extent.below * how->clip;
    /* Not (below + above) / most, which may overflow. */
    const float scale = below / most + extent.above * how->clip / most;
    const float inverse = 1.0f / scale;
    const float zero = kfi_round_half_even(below * inverse);
    return (kfi_code_grid){scale, inverse, -zero, most - zero};
}

static inline kfi_code_grid kfi_power_of_two_grid(float largest, const kfi_quantizer *how)
{
    const float most = (float)how->most;
    const float half = (most + 1.0f) * 0.5f;
    const float power = kfi_bits_float(kfi_float_bits(largest) & 0x7F800000u);
    return (kfi_code_grid){power / half, half / power, -most, most};
}

static inline kfi_code_grid kfi_code_grid_of(kfi_extent extent, const kfi_quantizer *how)
{
    const float most = (float)how->most;
    const float largest = kfi_extent_most(extent);
    if (largest < KFI_QUANTIZE_LEAST) {
        return (kfi_code_grid){0.0f, 0.0f, 0.0f, 0.0f};
    }
    if (how->kind == KFI_QUANTIZE_ASYMMETRIC) {
        return kfi_asymmetric_grid(extent, how);
    }
    if (how->kind == KFI_QUANTIZE_POWER_OF_TWO) {
        return kfi_power_of_two_grid(largest, how);
    }
    const float kept = largest * how->clip;
    return (kfi_code_grid){kept / most, most / kept, -most, most};
}

/* ---- E4M3: a sign, 4 bits of exponent, 3 of fraction; no infinity ---- */

#define KFI_FP8_MOST         448.0f
#define KFI_FP8_LEAST_NORMAL 0x1p-6f
#define KFI_FP8_MAGIC        KFI_FRACTION_MAGIC(3)

static inline kfi_code_grid kfi_fp8_grid_of(kfi_extent extent)
{
    const float largest = kfi_extent_most(extent);
    return largest < KFI_QUANTIZE_LEAST
               ? (kfi_code_grid){0.0f, 0.0f, 0.0f, 0.0f}
               : (kfi_code_grid){largest / KFI_FP8_MOST, KFI_FP8_MOST / largest, -KFI_FP8_MOST,
                                 KFI_FP8_MOST};
}

#endif /* KFI_KERNELS_QUANTIZE_INLINE_H */
