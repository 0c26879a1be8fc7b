/* eigen.h - the largest eigenvalues of symmetric positive semidefinite matrices.
 *
 * Two ways. A matrix of up to KFI_EIGEN_DIRECT rows is reduced to a tridiagonal one by LAPACK; of a
 * larger one, or one that is only known by what it makes of vectors, a subspace is iterated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_LINALG_EIGEN_H
#define KFI_LINALG_EIGEN_H

#include <stddef.h>

#include "base/alloc.h"
#include "base/threads.h"
#include "kerf/error.h"

/* Rows up to which the direct way is taken: the spectrum of a rounding error is flat, so that an
 * iteration needs many passes, and here it is slower than the whole reduction. */
#define KFI_EIGEN_DIRECT 1024u

/* The n_top largest eigenvalues of a symmetric a[n][n], falling, and their orthonormal vectors as
 * rows: values[n_top], vectors[n_top][n]. Only the lower triangle of a is read, and a is destroyed.
 * 1 <= n_top <= n. By LAPACK (dsyevr) on one thread: equal bits on one machine only. KF_RANGE where
 * a is not finite, KF_NOMEM.
 * Cost: 4/3 n^3 operations, and n^2 n_top. */
KF_NODISCARD kf_status kfi_eigen_top(double *values, double *vectors, double *a, size_t n,
                                     size_t n_top, const kf_allocator *alloc, kf_error *err);

/* A factor f[n][*n_factor] of a symmetric positive semidefinite a[n][n], f f^T = a, by a Cholesky
 * with pivots that ends where nothing but noise is left: *n_factor <= n is the rank of a. Of a only
 * the lower triangle is read; f holds n x n floats. KF_RANGE where a is not finite, KF_NOMEM. By
 * LAPACK (dpstrf), as above. */
KF_NODISCARD kf_status kfi_matrix_semidefinite_factor(float *f, size_t *n_factor, const float *a,
                                                      size_t n, const kf_allocator *alloc,
                                                      kf_error *err);

/* dst[n_vectors][n] = the matrix times each row of src[n_vectors][n]. */
typedef void kfi_operator_fn(void *ctx, float *dst, const float *src, size_t n_vectors);

/* How an iteration goes. */
typedef struct kfi_subspace {
    kfi_operator_fn *apply;
    void *ctx;
    size_t n;          /* rows of the matrix */
    size_t n_top;      /* vectors that are wanted, <= n */
    size_t n_more;     /* carried along beside them, so that the wanted ones converge sooner */
    double tolerance;  /* ends where a pass changes the sum of the values by less, relatively */
    size_t passes_max; /* and after so many in any case */
    kf_pool *pool;
    const kf_allocator *alloc;
} kfi_subspace;

/* Block subspace iteration with Rayleigh-Ritz: approximations of the n_top largest eigenvalues from
 * below, and orthonormal vectors[n_top][n]; where the matrix has a lower rank, those past it are
 * any. *n_passes counts products with the matrix. KF_NOMEM.
 * Numerics: products in float, what is small in double. Equal bits on one machine, for any number
 * of threads. */
KF_NODISCARD kf_status kfi_eigen_subspace(double *values, float *vectors, size_t *n_passes,
                                          const kfi_subspace *problem, kf_error *err);

/* Makes rows of x[m][n] orthonormal from the first to the last, in double; a row that depends on
 * those before it becomes 0. scratch: n doubles. */
void kfi_matrix_orthonormalize(float *x, size_t m, size_t n, double *scratch);

#endif /* KFI_LINALG_EIGEN_H */
