/* power.h - |e|^exponent for ranking grids, step by step, so that every instruction set gives the
 * same bits (libm's last bits differ between its versions, and could change a file).
 *
 *     |e|^p = e^(p / 2 ln 2 log2(e^2))
 *
 * log2 of x = 2^n m, 1 <= m < 2, is n + f P(f) with f = m - 1; P, of degree 4, makes it exact at
 * both ends and off by 2e-5 at most. The vector version (lanes/power.h) takes the same steps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_POWER_H
#define KFI_KERNELS_POWER_H

#include "kernels/exp.h"

#define KFI_POWER_LEAST 0x1p-100f /* squares below it, far below any weight's error, count as 0 */
#define KFI_LOG2_C1     1.44194935f
#define KFI_LOG2_C2     -0.70910029f
#define KFI_LOG2_C3     0.41502293f
#define KFI_LOG2_C4     -0.19240058f
#define KFI_LOG2_C5     0.04452859f
#define KFI_HALF_LN2    0x1.62e43p-2f

/* x is a normal float above 0. */
static inline float kfi_fast_log2(float x)
{
    const int32_t bits = (int32_t)kfi_float_bits(x);
    const float f = kfi_bits_float(((uint32_t)bits & 0x007FFFFFu) | 0x3F800000u) - 1.0f;
    float p = fmaf(KFI_LOG2_C5, f, KFI_LOG2_C4);
    p = fmaf(p, f, KFI_LOG2_C3);
    p = fmaf(p, f, KFI_LOG2_C2);
    p = fmaf(p, f, KFI_LOG2_C1);
    return fmaf(p, f, (float)((bits >> 23) - 127));
}

/* |e|^exponent from e^2, exponent > 0. */
static inline float kfi_error_power(float square, float exponent)
{
    if (exponent == 2.0f) { /* exact: the common setting */
        return square;
    }
    const float x = square < KFI_POWER_LEAST ? KFI_POWER_LEAST : square;
    const float power = kfi_expf(exponent * KFI_HALF_LN2 * kfi_fast_log2(x));
    return square < KFI_POWER_LEAST ? 0.0f : power;
}

#endif /* KFI_KERNELS_POWER_H */
