/* lanes_inline.h - sums over 16 virtual lanes, so that every instruction set adds in one order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_INLINE_H
#define KFI_KERNELS_LANES_INLINE_H

#include <stddef.h>

#define KFI_LANES 16u

/* Joins the lanes by the tree (0+8, 1+9, …), (0+4, …), (0+2, 1+3), (0+1). */
static inline float kfi_lanes_sum(const float values[KFI_LANES])
{
    float sums[KFI_LANES / 2];
    for (size_t i = 0; i < KFI_LANES / 2; i++) {
        sums[i] = values[i] + values[i + KFI_LANES / 2];
    }
    for (size_t n = KFI_LANES / 4; n > 0; n /= 2) {
        for (size_t i = 0; i < n; i++) {
            sums[i] += sums[i + n];
        }
    }
    return sums[0];
}

static inline double kfi_lanes_sum_double(const double values[KFI_LANES])
{
    double sums[KFI_LANES / 2];
    for (size_t i = 0; i < KFI_LANES / 2; i++) {
        sums[i] = values[i] + values[i + KFI_LANES / 2];
    }
    for (size_t n = KFI_LANES / 4; n > 0; n /= 2) {
        for (size_t i = 0; i < n; i++) {
            sums[i] += sums[i + n];
        }
    }
    return sums[0];
}

#endif /* KFI_KERNELS_LANES_INLINE_H */
