/* round.h - whole numbers out of floats by an addition, which every instruction set has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_ROUND_H
#define KFI_BASE_ROUND_H

/* A sum with it, for |x| < 2^22, has no fraction bits left: x is rounded half to even, and stands
 * in the low bits of the sum. */
#define KFI_ROUND_MAGIC 0x1.8p23f

/* Rounds to the nearest whole number, half to even, for |x| < 2^22. */
static inline float kfi_round_half_even(float x)
{
    return (x + KFI_ROUND_MAGIC) - KFI_ROUND_MAGIC;
}

#endif /* KFI_BASE_ROUND_H */
