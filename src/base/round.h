/* round.h - whole numbers out of floats by an addition, which every instruction set has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_ROUND_H
#define KFI_BASE_ROUND_H

#include "base/half.h"

/* A sum with it, for |x| < 2^22, has no fraction bits left: x is rounded half to even, and stands
 * in the low bits of the sum. */
#define KFI_ROUND_MAGIC 0x1.8p23f

/* Rounds to the nearest whole number, half to even, for |x| < 2^22. */
static inline float kfi_round_half_even(float x)
{
    return (x + KFI_ROUND_MAGIC) - KFI_ROUND_MAGIC;
}

#define KFI_EXPONENT_MASK 0x7F800000

/* For 2^e <= |x| < 2^(e + 1), 2^e times this, added and taken off again, leaves n bits of fraction,
 * rounded half to even: KFI_ROUND_MAGIC in units of 2^(e - n). */
#define KFI_FRACTION_MAGIC(n) (KFI_ROUND_MAGIC / (float)(1 << (n)))

/* Rounds to a float of few bits of fraction, whose least normal number is given: below it the step
 * stays that of there. */
static inline float kfi_round_fraction(float x, float least_normal, float magic)
{
    const uint32_t exponent = kfi_float_bits(x) & KFI_EXPONENT_MASK;
    const uint32_t least = kfi_float_bits(least_normal);
    const float moved = kfi_bits_float(exponent > least ? exponent : least) * magic;
    return (x + moved) - moved;
}

#endif /* KFI_BASE_ROUND_H */
