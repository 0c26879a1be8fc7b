/* eigen.c - eigenvalues and a factor of symmetric matrices over LAPACK.
 *
 * LAPACK counts columns first: what it calls the upper triangle is our lower one, and its column
 * vectors are our rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/eigen.h"

#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "linalg/lapack.h"

static kf_status refuse(kf_error *err, const char *routine, lapack_int info)
{
    return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET, "%s returned %d", routine, (int)info);
}

/* A NaN makes the routines loop or return anything. */
static kf_status check_lower(const double *a, size_t n, kf_error *err)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            if (!isfinite(a[i * n + j])) {
                return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                                "a matrix of %zu rows is not finite in row %zu", n, i);
            }
        }
    }
    return KF_OK;
}

/* Memory of one call: lengths are asked of LAPACK first. */
typedef struct eigen_work {
    double *work;
    lapack_int *integers;
    lapack_int n_work, n_integers;
    lapack_int *support; /* [2 n_top] */
} eigen_work;

/* work NULL: only asks for the lengths. Eigenvalues rise. */
static lapack_int run_dsyevr(eigen_work *w, double *values, double *vectors, double *a, size_t n,
                             size_t n_top)
{
    double length = 0.0;
    lapack_int n_integers = 0;
    lapack_int n_found = 0;
    const bool asks = w->work == NULL;
    const lapack_int info = LAPACKE_dsyevr_work(
        LAPACK_COL_MAJOR, 'V', 'I', 'U', (lapack_int)n, a, (lapack_int)n, 0.0, 0.0,
        (lapack_int)(n - n_top + 1), (lapack_int)n, 0.0, &n_found, values, vectors, (lapack_int)n,
        w->support, asks ? &length : w->work, asks ? -1 : w->n_work,
        asks ? &n_integers : w->integers, asks ? -1 : w->n_integers);
    if (asks) {
        w->n_work = (lapack_int)length;
        w->n_integers = n_integers;
    } else if (info == 0 && (size_t)n_found != n_top) {
        return 1;
    }
    return info;
}

static void reverse(double *values, double *vectors, size_t n_top, size_t n)
{
    for (size_t i = 0, j = n_top - 1; i < j; i++, j--) {
        const double value = values[i];
        values[i] = values[j];
        values[j] = value;
        for (size_t c = 0; c < n; c++) {
            const double x = vectors[i * n + c];
            vectors[i * n + c] = vectors[j * n + c];
            vectors[j * n + c] = x;
        }
    }
}

kf_status kfi_eigen_top(double *values, double *vectors, double *a, size_t n, size_t n_top,
                        const kf_allocator *alloc, kf_error *err)
{
    eigen_work w = {.work = NULL};
    double *all = NULL; /* dsyevr wants room for all values */
    kf_status st = check_lower(a, n, err);
    if (st != KF_OK) {
        return st;
    }
    kfi_lapack_begin();
    w.support = kfi_alloc(alloc, 2 * n * sizeof *w.support);
    all = kfi_alloc(alloc, n * sizeof *all);
    if (w.support == NULL || all == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "eigenvalues of %zu rows", n);
        goto done;
    }
    lapack_int info = run_dsyevr(&w, all, vectors, a, n, n_top);
    if (info == 0) {
        w.work = kfi_alloc(alloc, (size_t)w.n_work * sizeof *w.work);
        w.integers = kfi_alloc(alloc, (size_t)w.n_integers * sizeof *w.integers);
        if (w.work == NULL || w.integers == NULL) {
            st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "eigenvalues of %zu rows", n);
            goto done;
        }
        info = run_dsyevr(&w, all, vectors, a, n, n_top);
    }
    if (info != 0) {
        st = refuse(err, "dsyevr", info);
        goto done;
    }
    memcpy(values, all, n_top * sizeof *values);
    reverse(values, vectors, n_top, n);
done:
    kfi_free(alloc, w.integers, (size_t)w.n_integers * sizeof *w.integers);
    kfi_free(alloc, w.work, (size_t)w.n_work * sizeof *w.work);
    kfi_free(alloc, all, n * sizeof *all);
    kfi_free(alloc, w.support, 2 * n * sizeof *w.support);
    return st;
}

/* ---- a factor ---- */

/* f from the lower triangle that dpstrf left: its row i belongs to row pivots[i] - 1. */
static void unpivot(float *f, size_t n_factor, const double *a, const lapack_int *pivots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float *row = f + ((size_t)pivots[i] - 1) * n_factor;
        for (size_t j = 0; j < n_factor; j++) {
            row[j] = j <= i ? (float)a[i * n + j] : 0.0f;
        }
    }
}

kf_status kfi_matrix_semidefinite_factor(float *f, size_t *n_factor, const float *a, size_t n,
                                         const kf_allocator *alloc, kf_error *err)
{
    const size_t bytes = n * n * sizeof(double);
    double *full = kfi_alloc(alloc, bytes);
    double *work = kfi_alloc(alloc, 2 * n * sizeof *work);
    lapack_int *pivots = kfi_alloc(alloc, n * sizeof *pivots);
    kf_status st = KF_OK;
    *n_factor = 0;
    if (full == NULL || work == NULL || pivots == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "factor of a matrix of %zu rows", n);
        goto done;
    }
    for (size_t i = 0; i < n * n; i++) {
        full[i] = (double)a[i];
    }
    st = check_lower(full, n, err);
    if (st != KF_OK) {
        goto done;
    }
    kfi_lapack_begin();
    lapack_int rank = 0;
    /* A tolerance below 0 is LAPACK's own: n eps times the largest element of the diagonal. What is
     * left at the end of a matrix that was summed in float is its rounding. info 1: rank < n. */
    const lapack_int info = LAPACKE_dpstrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)n, full,
                                                (lapack_int)n, pivots, &rank, -1.0, work);
    if (info < 0 || rank < 0) {
        st = refuse(err, "dpstrf", info);
        goto done;
    }
    *n_factor = (size_t)rank;
    unpivot(f, *n_factor, full, pivots, n);
done:
    kfi_free(alloc, pivots, n * sizeof *pivots);
    kfi_free(alloc, work, 2 * n * sizeof *work);
    kfi_free(alloc, full, bytes);
    return st;
}
