/* unroll.h - a loop with constant bounds, of at most 16 steps, becomes straight code.
 *
 * What it indexes can then stay in registers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_UNROLL_H
#define KFI_KERNELS_LANES_UNROLL_H

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif /* KFI_KERNELS_LANES_UNROLL_H */
