/* gptq_factor.c - the order of columns, and the factor of the inverse of their Gram matrix.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/round/gptq_factor.h"

#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "linalg/matrix.h"

void kfi_gptq_factor_free(kfi_gptq_factor *factor, const kf_allocator *alloc)
{
    if (factor == NULL) {
        return;
    }
    const size_t n = factor->n;
    kfi_free(alloc, factor->order, n * sizeof *factor->order);
    kfi_free(alloc, factor->dead, n);
    kfi_free(alloc, factor->u, n * n * sizeof *factor->u);
    kfi_free(alloc, factor, sizeof *factor);
}

static kf_status factor_alloc(kfi_gptq_factor **dst, size_t n, const kf_allocator *alloc,
                              kf_error *err)
{
    kfi_gptq_factor *factor = kfi_calloc(alloc, 1, sizeof *factor);
    if (factor != NULL) {
        factor->n = n;
        factor->order = kfi_alloc(alloc, n * sizeof *factor->order);
        factor->dead = kfi_alloc(alloc, n);
        factor->u = kfi_alloc(alloc, n * n * sizeof *factor->u);
    }
    if (factor == NULL || factor->order == NULL || factor->dead == NULL || factor->u == NULL) {
        kfi_gptq_factor_free(factor, alloc);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "factor of a Gram matrix of %zu columns", n);
    }
    *dst = factor;
    return KF_OK;
}

typedef struct column {
    float h;
    uint32_t index;
} column;

static int by_falling_h(const void *a, const void *b)
{
    const column *x = a;
    const column *y = b;
    if (x->h != y->h) { /* float ==: ties go by index */
        return x->h < y->h ? 1 : -1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Those of outliers come last, where they take up the errors of all others in 8 bits. */
static kf_status order_columns(kfi_gptq_factor *factor, const kfi_statistics *statistics,
                               bool act_order, const kf_allocator *alloc, kf_error *err)
{
    const size_t n = factor->n;
    const size_t first_outlier = n - statistics->n_outliers;
    const float *gram = statistics->gram;
    column *columns = kfi_alloc(alloc, n * sizeof *columns);
    if (columns == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "order of %zu columns", n);
    }
    for (size_t i = 0; i < n; i++) {
        columns[i] = (column){gram[i * n + i], (uint32_t)i};
    }
    if (act_order) {
        qsort(columns, first_outlier, sizeof *columns, by_falling_h);
        qsort(columns + first_outlier, n - first_outlier, sizeof *columns, by_falling_h);
    }
    for (size_t i = 0; i < n; i++) {
        factor->order[i] = columns[i].index;
    }
    kfi_free(alloc, columns, n * sizeof *columns);
    return KF_OK;
}

/* Marks dead columns; returns the mean of the live diagonal. */
static double mean_diagonal(kfi_gptq_factor *factor, const float *gram)
{
    const size_t n = factor->n;
    double sum = 0.0;
    size_t n_live = 0;
    for (size_t i = 0; i < n; i++) {
        const float h = gram[i * n + i];
        factor->dead[i] = h == 0.0f; /* exact: a sum of squares is 0 only for zeros */
        sum += (double)h;
        n_live += factor->dead[i] == 0;
    }
    return n_live > 0 ? sum / (double)n_live : 1.0;
}

/* H in rounding order, damped. */
static void permute(double *h, const kfi_gptq_factor *factor, const float *gram, double mean,
                    double lambda)
{
    const size_t n = factor->n;
    for (size_t i = 0; i < n; i++) {
        const float *row = gram + (size_t)factor->order[i] * n;
        for (size_t j = 0; j < n; j++) {
            h[i * n + j] = (double)row[factor->order[j]];
        }
        h[i * n + i] += lambda + (factor->dead[factor->order[i]] != 0 ? mean : 0.0);
    }
}

static kf_status factorize(kfi_gptq_factor *factor, const float *gram, double damping, double *h,
                           kf_error *err)
{
    enum {
        N_TRIES = 10
    };
    const size_t n = factor->n;
    const double mean = mean_diagonal(factor, gram);
    if (!isfinite(mean)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "inputs of %zu columns are not finite", n);
    }
    double lambda = damping * mean;
    kf_status st = KF_RANGE;
    for (int i_try = 0; i_try < N_TRIES && st == KF_RANGE; i_try++) {
        permute(h, factor, gram, mean, lambda);
        st = kfi_matrix_inverse_cholesky_upper(h, h, n, err);
        lambda = lambda > 0.0 ? lambda * 10.0 : mean * 1e-6;
    }
    for (size_t i = 0; i < n * n && st == KF_OK; i++) {
        factor->u[i] = (float)h[i];
    }
    return st;
}

kf_status kfi_gptq_factor_new(kfi_gptq_factor **dst, const kfi_statistics *statistics,
                              bool act_order, double damping, const kf_allocator *alloc,
                              kf_error *err)
{
    const size_t n = statistics->n;
    kfi_gptq_factor *factor = NULL;
    *dst = NULL;
    KFI_TRY(factor_alloc(&factor, n, alloc, err));

    kf_status st = order_columns(factor, statistics, act_order, alloc, err);
    double *h = st == KF_OK ? kfi_alloc(alloc, n * n * sizeof *h) : NULL;
    if (st == KF_OK && h == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a matrix of %zu x %zu doubles", n, n);
    }
    if (st == KF_OK) {
        st = factorize(factor, statistics->gram, damping, h, err);
    }
    kfi_free(alloc, h, n * n * sizeof *h);
    if (st != KF_OK) {
        kfi_gptq_factor_free(factor, alloc);
        return st;
    }
    *dst = factor;
    return KF_OK;
}

void kfi_gptq_factor_inverse(float *dst, const kfi_gptq_factor *factor)
{
    for (size_t j = 0; j < factor->n; j++) {
        double sum = 0.0;
        for (size_t i = 0; i <= j; i++) {
            const double u = (double)factor->u[i * factor->n + j];
            sum += u * u;
        }
        dst[factor->order[j]] = (float)sum;
    }
}
