/* kernels_list.h - prototypes of every kernel of kernels.def.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_KERNELS_LIST_H
#define KFI_KERNELS_KERNELS_LIST_H

#include "kernels/kernels.h"

#define KFI_KERNEL(family, variant, needs) kfi_##family##_fn kfi_##family##_##variant;
#include "kernels/kernels.def"
#undef KFI_KERNEL

/* KFI_FAMILIES(F) calls F(family) for each member of kfi_kernels, in its order. */
#define KFI_FAMILIES(F)                                                                            \
    F(matmul_int8)                                                                                 \
    F(matmul_float)                                                                                \
    F(matmul_sparse)                                                                               \
    F(gemm)                                                                                        \
    F(quantize)                                                                                    \
    F(round_fp8)                                                                                   \
    F(rms_norm)                                                                                    \
    F(silu_mul)                                                                                    \
    F(add)                                                                                         \
    F(rope)                                                                                        \
    F(hadamard)                                                                                    \
    F(rotate)                                                                                      \
    F(log_sum_exp)                                                                                 \
    F(attention)                                                                                   \
    F(attention_packed)                                                                            \
    F(attention_merge)                                                                             \
    F(grid_error)                                                                                  \
    F(sum_lines)

#endif /* KFI_KERNELS_KERNELS_LIST_H */
