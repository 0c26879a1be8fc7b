/* matrix.h - products of float matrices, split over our pool, and a Cholesky factor.
 *
 * The products are our own (the gemm kernels, whose order of steps is in kernels/kernels.h): an
 * element depends on its row and its column only. So neither the instruction set, nor the number of
 * threads, nor the other rows of the batch change a bit of it. The sums over k are cut in blocks of
 * KFI_GEMM_DEPTH.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_LINALG_MATRIX_H
#define KFI_LINALG_MATRIX_H

#include <stddef.h>

#include "base/threads.h"
#include "kerf/error.h"
#include "kernels/kernels.h"

/* One product, in tiles over the pool. k >= 1. */
void kfi_matrix_multiply(kf_pool *pool, const kfi_gemm *gemm);
/* gram[n][n] += x^T x of m rows x[m][n], in the lower triangle; the upper one is neither read nor
 * written. Rows are taken in blocks of KFI_GEMM_DEPTH from the first on; each block's sum is added
 * in float to a float sum. */
void kfi_matrix_gram_add(kf_pool *pool, float *gram, const float *x, size_t ld_x, size_t m,
                         size_t n);
/* Copies the lower triangle of a[n][n] to the upper one. */
void kfi_matrix_mirror(kf_pool *pool, float *a, size_t n);

/* U, upper (zeros below), with inverse(a) = U^T U of a symmetric positive definite a[n][n], full
 * storage, of which only the lower triangle is read: the factor that GPTQ uses, by a Cholesky of
 * the index-reversed matrix and one triangular inverse (methods of Frantar et al. 2022, without
 * forming the inverse). a and u may be the same. KF_RANGE when a is not positive definite
 * (err->offset = index of the pivot). By LAPACK on one thread: equal bits on one machine only. */
KF_NODISCARD kf_status kfi_matrix_inverse_cholesky_upper(double *u, const double *a, size_t n,
                                                         kf_error *err);

#endif /* KFI_LINALG_MATRIX_H */
