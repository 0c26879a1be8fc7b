/* gptq_factor.h - what GPTQ makes of a Gram matrix, shared by the layers with that input: the order
 * in which columns are rounded, and U.
 *
 * H = G + lambda I with lambda a part of G's mean diagonal, and inverse(H) = U^T U, U upper
 * triangular. U comes from one reversed Cholesky and a triangular inverse, in double, without H^-1.
 * A dead column (G_ii = 0) gets the mean diagonal; when the Cholesky fails, lambda is multiplied by
 * ten and it is tried again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_GPTQ_FACTOR_H
#define KFI_QUANTIZE_GPTQ_FACTOR_H

#include "quantize/statistics.h"

typedef struct kfi_gptq_factor {
    size_t n;
    uint32_t *order; /* column that is rounded i-th */
    uint8_t *dead;   /* [n] by column: 1 where the input was always 0 */
    float *u;        /* [n][n] in rounding order; below the diagonal 0 */
} kfi_gptq_factor;

/* Of statistics with a Gram matrix; kfi_gptq_factor_free(). act_order: columns of large G_ii
 * first, those of outliers behind all others in any case. KF_RANGE: inputs that are not finite, or
 * too far from any positive definite H.
 *
 * Cost: some n^3 operations and 8 n^2 bytes while it is made. */
KF_NODISCARD kf_status kfi_gptq_factor_new(kfi_gptq_factor **factor,
                                           const kfi_statistics *statistics, bool act_order,
                                           double damping, const kf_allocator *alloc,
                                           kf_error *err);
/* dst [n] by column: the diagonal of inverse(H). */
void kfi_gptq_factor_inverse(float *dst, const kfi_gptq_factor *factor);
/* NULL is fine. */
void kfi_gptq_factor_free(kfi_gptq_factor *factor, const kf_allocator *alloc);

#endif /* KFI_QUANTIZE_GPTQ_FACTOR_H */
