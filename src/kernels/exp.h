/* exp.h - our own exponential, step by step, so that every instruction set gives the same bits.
 *
 *     n = round(x / ln 2)            by adding 1.5 * 2^23, which leaves n in the low bits
 *     r = x - n ln 2                 ln 2 as the sum of two floats, two fused steps; |r| <= 0.347
 *     e^r = 1 + r + r^2 p(r)         p of degree 4, least squares of the relative error: 2^-28
 *     e^x = (e^r 2^(n / 2)) 2^(n - n / 2)   two powers, so that subnormals and infinity come out
 *
 * Within 1 ulp of the exact value for every float (tests/kernels/test_exp.c); NaN stays NaN. The
 * vector version (lanes/exp.h) is these same steps, one intrinsic each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_EXP_H
#define KFI_KERNELS_EXP_H

#include <math.h>

#include "base/half.h"
#include "base/round.h"

#define KFI_EXP_LOWEST  -104.0f /* below it e^x rounds to 0 */
#define KFI_EXP_HIGHEST 89.0f   /* above it e^x is infinite */
#define KFI_EXP_LOG2E   0x1.715476p+0f
#define KFI_EXP_LN2_HI  0x1.62e43p-1f
#define KFI_EXP_LN2_LO  -0x1.05c61p-29f
#define KFI_EXP_C2      0x1.fffff8p-2f
#define KFI_EXP_C3      0x1.55548ep-3f
#define KFI_EXP_C4      0x1.555b58p-5f
#define KFI_EXP_C5      0x1.123b9ep-7f
#define KFI_EXP_C6      0x1.687bf6p-10f

/* 2^n as a float, -126 <= n <= 127. */
static inline float kfi_exp_power(int32_t n)
{
    return kfi_bits_float((uint32_t)(n + 127) << 23);
}

static inline float kfi_expf(float x)
{
    x = x > KFI_EXP_HIGHEST ? KFI_EXP_HIGHEST : x;
    x = x < KFI_EXP_LOWEST ? KFI_EXP_LOWEST : x;
    const float t = fmaf(x, KFI_EXP_LOG2E, KFI_ROUND_MAGIC);
    const float n = t - KFI_ROUND_MAGIC;
    float r = fmaf(n, -KFI_EXP_LN2_HI, x);
    r = fmaf(n, -KFI_EXP_LN2_LO, r);
    float p = fmaf(KFI_EXP_C6, r, KFI_EXP_C5);
    p = fmaf(p, r, KFI_EXP_C4);
    p = fmaf(p, r, KFI_EXP_C3);
    p = fmaf(p, r, KFI_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* A NaN gives any n here, and NaN times anything is still NaN. */
    const int32_t i = (int32_t)(kfi_float_bits(t) - kfi_float_bits(KFI_ROUND_MAGIC));
    const int32_t half = i >> 1;
    return p * kfi_exp_power(half) * kfi_exp_power(i - half);
}

#endif /* KFI_KERNELS_EXP_H */
