/* eigen_subspace.c - subspace iteration with Rayleigh-Ritz.
 *
 *     q = orthonormal rows                          [p][n], p = n_top + n_more
 *     repeat:   y = q A                             the only use of the matrix
 *               h = q y^T = u diag(values) u^T      [p][p], in double
 *               q, y = u^T q, u^T y                 rows in the order of falling values
 *               done, if the first n_top values sum up to the same as in the last pass
 *               q = orthonormalize(y)
 *
 * Source: H. Rutishauser, "Simultaneous iteration method for symmetric matrices", 1970,
 *         Numerische Mathematik 16, 205-223; the start and the vectors carried along as in
 *         N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", 2011,
 *         SIAM Review 53(2), arXiv:0909.4061.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/rng.h"
#include "linalg/eigen.h"
#include "linalg/matrix.h"

#define START_SEED 1u

static double dot(const double *a, const float *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * (double)b[i];
    }
    return sum;
}

/* Takes what earlier rows have out of row; twice is enough (Kahan, Parlett). */
static void project_out(double *row, const float *x, size_t n_before, size_t n)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t j = 0; j < n_before; j++) {
            const float *other = x + j * n;
            const double part = dot(row, other, n);
            for (size_t c = 0; c < n; c++) {
                row[c] -= part * (double)other[c];
            }
        }
    }
}

static double norm(const double *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

void kfi_matrix_orthonormalize(float *x, size_t m, size_t n, double *scratch)
{
    for (size_t i = 0; i < m; i++) {
        float *row = x + i * n;
        for (size_t c = 0; c < n; c++) {
            scratch[c] = (double)row[c];
        }
        const double before = norm(scratch, n);
        project_out(scratch, x, i, n);
        const double after = norm(scratch, n);
        /* What is left of a dependent row is the rounding of its floats. */
        const double scale = after > 1e-6 * before ? 1.0 / after : 0.0;
        for (size_t c = 0; c < n; c++) {
            row[c] = (float)(scale * scratch[c]);
        }
    }
}

/* One iteration's memory. */
typedef struct iteration {
    const kfi_subspace *problem;
    size_t p;         /* rows */
    float *q, *y;     /* [p][n] */
    float *rotated;   /* [p][n] */
    float *u;         /* [p][p] */
    double *h;        /* [p][p] */
    double *rotation; /* [p][p] */
    double *values;   /* [p] */
    double *scratch;  /* [n] */
} iteration;

static void iteration_free(iteration *it)
{
    const kf_allocator *alloc = it->problem->alloc;
    const size_t n = it->problem->n;
    const size_t block = it->p * n * sizeof(float);
    kfi_free(alloc, it->q, block);
    kfi_free(alloc, it->y, block);
    kfi_free(alloc, it->rotated, block);
    kfi_free(alloc, it->u, it->p * it->p * sizeof(float));
    kfi_free(alloc, it->h, it->p * it->p * sizeof(double));
    kfi_free(alloc, it->rotation, it->p * it->p * sizeof(double));
    kfi_free(alloc, it->values, it->p * sizeof(double));
    kfi_free(alloc, it->scratch, n * sizeof(double));
}

static kf_status iteration_init(iteration *it, const kfi_subspace *problem, kf_error *err)
{
    const kf_allocator *alloc = problem->alloc;
    const size_t n = problem->n;
    const size_t wanted = problem->n_top + problem->n_more;
    *it = (iteration){.problem = problem, .p = wanted < n ? wanted : n};
    const size_t block = it->p * n * sizeof(float);
    it->q = kfi_alloc(alloc, block);
    it->y = kfi_alloc(alloc, block);
    it->rotated = kfi_alloc(alloc, block);
    it->u = kfi_alloc(alloc, it->p * it->p * sizeof(float));
    it->h = kfi_alloc(alloc, it->p * it->p * sizeof(double));
    it->rotation = kfi_alloc(alloc, it->p * it->p * sizeof(double));
    it->values = kfi_alloc(alloc, it->p * sizeof(double));
    it->scratch = kfi_alloc(alloc, n * sizeof(double));
    if (it->q == NULL || it->y == NULL || it->rotated == NULL || it->u == NULL || it->h == NULL ||
        it->rotation == NULL || it->values == NULL || it->scratch == NULL) {
        iteration_free(it);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a subspace of %zu x %zu", it->p, n);
    }
    kfi_rng rng;
    kfi_rng_init(&rng, START_SEED);
    for (size_t i = 0; i < it->p * n; i++) {
        it->q[i] = kfi_rng_normal(&rng);
    }
    kfi_matrix_orthonormalize(it->q, it->p, n, it->scratch);
    return KF_OK;
}

/* x = u^T x: row i is the i-th vector of the rotation in the old rows. */
static void rotate(iteration *it, float *x)
{
    const size_t n = it->problem->n;
    const kfi_gemm g = {.kind = KFI_GEMM_NN,
                        .m = it->p,
                        .n = n,
                        .k = it->p,
                        .a = it->u,
                        .ld_a = it->p,
                        .b = x,
                        .ld_b = n,
                        .c = it->rotated,
                        .ld_c = n};
    kfi_matrix_multiply(it->problem->pool, &g);
    memcpy(x, it->rotated, it->p * n * sizeof *x);
}

/* The eigenvalues of the matrix within the subspace, q and y turned to their vectors. */
static kf_status rayleigh_ritz(iteration *it, kf_error *err)
{
    const size_t p = it->p;
    const size_t n = it->problem->n;
    for (size_t i = 0; i < p; i++) {
        for (size_t c = 0; c < n; c++) {
            it->scratch[c] = (double)it->q[i * n + c];
        }
        for (size_t j = 0; j <= i; j++) {
            it->h[i * p + j] = dot(it->scratch, it->y + j * n, n);
        }
    }
    KFI_TRY(kfi_eigen_top(it->values, it->rotation, it->h, p, p, it->problem->alloc, err));
    for (size_t i = 0; i < p * p; i++) {
        it->u[i] = (float)it->rotation[i];
    }
    rotate(it, it->q);
    rotate(it, it->y);
    return KF_OK;
}

static double captured(const iteration *it)
{
    double sum = 0.0;
    for (size_t i = 0; i < it->problem->n_top; i++) {
        sum += it->values[i];
    }
    return sum;
}

static kf_status iterate(iteration *it, size_t *n_passes, kf_error *err)
{
    const kfi_subspace *problem = it->problem;
    double last = 0.0;
    for (;;) {
        problem->apply(problem->ctx, it->y, it->q, it->p);
        KFI_TRY(rayleigh_ritz(it, err));
        const double sum = captured(it);
        ++*n_passes;
        if (fabs(sum - last) <= problem->tolerance * fabs(sum) ||
            *n_passes >= problem->passes_max) {
            return KF_OK;
        }
        last = sum;
        memcpy(it->q, it->y, it->p * problem->n * sizeof *it->q);
        kfi_matrix_orthonormalize(it->q, it->p, problem->n, it->scratch);
    }
}

kf_status kfi_eigen_subspace(double *values, float *vectors, size_t *n_passes,
                             const kfi_subspace *problem, kf_error *err)
{
    iteration it;
    *n_passes = 0;
    KFI_TRY(iteration_init(&it, problem, err));
    const kf_status st = iterate(&it, n_passes, err);
    if (st == KF_OK) {
        memcpy(values, it.values, problem->n_top * sizeof *values);
        memcpy(vectors, it.q, problem->n_top * problem->n * sizeof *vectors);
        /* Rotations in float leave 1e-7 of non-orthogonality. */
        kfi_matrix_orthonormalize(vectors, problem->n_top, problem->n, it.scratch);
    }
    iteration_free(&it);
    return st;
}
