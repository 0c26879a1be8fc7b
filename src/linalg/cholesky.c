/* cholesky.c - a Cholesky factor in double over LAPACK.
 *
 * LAPACK counts columns first: what it calls the upper triangle is our lower one, so that no matrix
 * has to be transposed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "linalg/lapack.h"
#include "linalg/matrix.h"

/* Factors the index-reversed matrix in place. */
static kf_status factor_reversed(double *a, size_t n, kf_error *err)
{
    kfi_lapack_begin();
    const lapack_int info =
        LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)n, a, (lapack_int)n);
    size_t pivot = n;
    if (info > 0) {
        pivot = (size_t)info - 1;
    } else {
        /* A NaN is neither positive nor negative: some kernels let it pass. */
        for (size_t i = 0; i < n && pivot == n; i++) {
            pivot = isfinite(a[i * n + i]) ? n : i;
        }
    }
    if (info == 0 && pivot == n) {
        return KF_OK;
    }
    if (info < 0) {
        return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET, "dpotrf refused argument %d", (int)-info);
    }
    pivot = n - 1 - pivot;
    return kfi_fail(err, KF_RANGE, pivot,
                    "a matrix of %zu rows is not positive definite at row %zu", n, pivot);
}

static void swap(double *a, double *b)
{
    const double t = *a;
    *a = *b;
    *b = t;
}

/* Lower triangle of the matrix with rows and columns in reverse order, from the lower triangle of
 * the matrix itself: element (i, j) comes from (n-1-j, n-1-i), and the other way round. */
static void reverse_lower(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            const size_t i_other = n - 1 - j;
            const size_t j_other = n - 1 - i;
            if (i * n + j < i_other * n + j_other) {
                swap(&a[i * n + j], &a[i_other * n + j_other]);
            }
        }
    }
}

/* With J the reversal, J a J = L L^T gives a = R R^T where R = J L J is upper; so inverse(a) =
 * R^-T R^-1, and U = R^-1 = J L^-1 J. Reversing the memory of L^-1 end to end is that last step. */
kf_status kfi_matrix_inverse_cholesky_upper(double *u, const double *a, size_t n, kf_error *err)
{
    if (n == 0) {
        return KF_OK;
    }
    if (u != a) {
        memcpy(u, a, n * n * sizeof(double));
    }
    reverse_lower(u, n);
    KFI_TRY(factor_reversed(u, n, err));
    const lapack_int info =
        LAPACKE_dtrtri_work(LAPACK_COL_MAJOR, 'U', 'N', (lapack_int)n, u, (lapack_int)n);
    if (info != 0) {
        return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET, "dtrtri returned %d", (int)info);
    }
    for (size_t i = 0, j = n * n - 1; i < j; i++, j--) {
        swap(&u[i], &u[j]);
    }
    for (size_t i = 1; i < n; i++) {
        memset(u + i * n, 0, i * sizeof(double));
    }
    return KF_OK;
}
