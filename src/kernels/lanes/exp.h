/* exp.h - kernels/exp.h, 16 at a time: the same steps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_EXP_H
#define KFI_KERNELS_LANES_EXP_H

#include "kernels/exp.h"

INLINE lanes exp_power(ilanes n)
{
    return lanes_of_bits(ilanes_shift_left(ilanes_add(n, ilanes_set1(127)), 23));
}

INLINE lanes lanes_exp(lanes x)
{
    const lanes magic = lanes_set1(KFI_ROUND_MAGIC);
    const lanes one = lanes_set1(1.0f);
    x = lanes_min(lanes_set1(KFI_EXP_HIGHEST), x); /* a NaN comes through */
    x = lanes_max(lanes_set1(KFI_EXP_LOWEST), x);
    const lanes t = lanes_fma(x, lanes_set1(KFI_EXP_LOG2E), magic);
    const lanes n = lanes_sub(t, magic);
    lanes r = lanes_fma(n, lanes_set1(-KFI_EXP_LN2_HI), x);
    r = lanes_fma(n, lanes_set1(-KFI_EXP_LN2_LO), r);
    lanes p = lanes_fma(lanes_set1(KFI_EXP_C6), r, lanes_set1(KFI_EXP_C5));
    p = lanes_fma(p, r, lanes_set1(KFI_EXP_C4));
    p = lanes_fma(p, r, lanes_set1(KFI_EXP_C3));
    p = lanes_fma(p, r, lanes_set1(KFI_EXP_C2));
    p = lanes_fma(p, r, one);
    p = lanes_fma(p, r, one);
    const ilanes i = ilanes_sub(lanes_bits(t), lanes_bits(magic));
    const ilanes half = ilanes_shift_right_signed(i, 1);
    return lanes_mul(lanes_mul(p, exp_power(half)), exp_power(ilanes_sub(i, half)));
}

#endif /* KFI_KERNELS_LANES_EXP_H */
