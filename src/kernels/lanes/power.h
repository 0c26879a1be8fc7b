/* power.h - kernels/power.h, 16 at a time: the same steps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_POWER_H
#define KFI_KERNELS_LANES_POWER_H

#include "kernels/lanes/exp.h"
#include "kernels/power.h"

INLINE lanes lanes_fast_log2(lanes x)
{
    const ilanes bits = lanes_bits(x);
    const ilanes mantissa =
        ilanes_or(ilanes_and(bits, ilanes_set1(0x007FFFFF)), ilanes_set1(0x3F800000));
    const ilanes n = ilanes_sub(ilanes_shift_right_signed(bits, 23), ilanes_set1(127));
    const lanes f = lanes_sub(lanes_of_bits(mantissa), lanes_set1(1.0f));
    lanes p = lanes_fma(lanes_set1(KFI_LOG2_C5), f, lanes_set1(KFI_LOG2_C4));
    p = lanes_fma(p, f, lanes_set1(KFI_LOG2_C3));
    p = lanes_fma(p, f, lanes_set1(KFI_LOG2_C2));
    p = lanes_fma(p, f, lanes_set1(KFI_LOG2_C1));
    return lanes_fma(p, f, lanes_of_int(n));
}

INLINE lanes lanes_error_power(lanes square, float exponent)
{
    if (exponent == 2.0f) { /* exact */
        return square;
    }
    const lanes least = lanes_set1(KFI_POWER_LEAST);
    const lanes log = lanes_fast_log2(lanes_max(least, square));
    const lanes power = lanes_exp(lanes_mul(lanes_set1(exponent * KFI_HALF_LN2), log));
    return lanes_zero_where_less(power, square, least);
}

#endif /* KFI_KERNELS_LANES_POWER_H */
