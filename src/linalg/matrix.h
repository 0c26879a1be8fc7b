/* matrix.h - float matrix products over OpenBLAS, split over our pool.
 *
 * OpenBLAS itself runs single-threaded. Splits are fixed by the shapes alone, so that the thread
 * count changes no bit. OpenBLAS 0.3.21's sbgemm is wrong on recent Xeons and never called.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_LINALG_MATRIX_H
#define KFI_LINALG_MATRIX_H

#include <stddef.h>

#include "base/threads.h"
#include "kerf/error.h"
#include "linalg/gemm.h"

/* One product, in tiles over the pool. */
void kfi_matrix_multiply(kf_pool *pool, const kfi_gemm *gemm);
/* gram[n][n] += x^T x of m rows x[m][n], both triangles. Rows are taken in fixed chunks, each
 * product added in float to a float sum. */
void kfi_matrix_gram_add(kf_pool *pool, float *gram, const float *x, size_t ld_x, size_t m,
                         size_t n);

/* U, upper (zeros below), with inverse(a) = U^T U of a symmetric positive definite a[n][n], full
 * storage, of which only the lower triangle is read: the factor that GPTQ uses, by a Cholesky of
 * the index-reversed matrix and one triangular inverse (methods of Frantar et al. 2022, without
 * forming the inverse). a and u may be the same. KF_RANGE when a is not positive definite
 * (err->offset = index of the pivot). */
KF_NODISCARD kf_status kfi_matrix_inverse_cholesky_upper(double *u, const double *a, size_t n,
                                                         kf_error *err);

#endif /* KFI_LINALG_MATRIX_H */
