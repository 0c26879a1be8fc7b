/* low_rank.c - the pair of a rank with the least weighted error.
 *
 * Source: C. Zhang, J. T. H. Wong, C. Xiao, G. A. Constantinides, Y. Zhao, "QERA: an Analytical
 *         Framework for Quantization Error Reconstruction", 2024, arXiv:2410.06040, theorems 1 and
 *         2, which give C = R^-1/2 SVD_k(R^1/2 E) (their E is our transposed one). The form here,
 *         C = V V^T E, is the same matrix: the truncated decomposition of a matrix M is its
 *         projection V V^T M, whose factor on the other side cancels. Ours.
 *
 * On a layer of 576 x 1536 weights (SmolLM2's down projection; random E, correlated inputs, rank
 * 32, one core) this takes 0.23 s, and the root in double by LAPACK (dsyevd of R, dgesdd of R^1/2
 * E) 12.6 s, half of it for the root; both leave the same tail, to 7 digits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "linalg/eigen.h"
#include "linalg/matrix.h"
#include "quantize/repair/repair.h"

/* Of the subspace iteration. */
#define MORE_VECTORS 16u
#define TOLERANCE    1e-6
#define PASSES_MAX   300u

static kf_status no_memory(const kfi_low_rank *p, kf_error *err)
{
    return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a low-rank pair of %zu x %zu weights", p->rows,
                    p->cols);
}

/* c [m][n], a and b whole matrices of their own. */
static void multiply(const kfi_low_rank *p, kfi_gemm_kind kind, float *c, size_t m, size_t n,
                     size_t k, const float *a, const float *b)
{
    const kfi_gemm g = {.kind = kind,
                        .m = m,
                        .n = n,
                        .k = k,
                        .a = a,
                        .ld_a = k,
                        .b = b,
                        .ld_b = kind == KFI_GEMM_NT ? k : n,
                        .c = c,
                        .ld_c = n};
    kfi_matrix_multiply(p->pool, &g);
}

/* ---- E F ---- */

/* x [rows][n_factor] = E F for an R with a factor: 1, a diagonal, or by Cholesky. */
static kf_status apply_factor(float *x, size_t *n_factor, const kfi_low_rank *p, kf_error *err)
{
    const size_t n = p->cols;
    *n_factor = n;
    if (p->gram == NULL) {
        for (size_t i = 0; i < p->rows * n; i++) {
            const double scale = p->squares == NULL ? 1.0 : sqrt(p->squares[i % n]);
            x[i] = (float)((double)p->e[i] * scale);
        }
        return KF_OK;
    }
    float *factor = kfi_alloc(p->alloc, n * n * sizeof *factor);
    if (factor == NULL) {
        return no_memory(p, err);
    }
    const kf_status st =
        kfi_matrix_semidefinite_factor(factor, n_factor, p->gram, n, p->alloc, err);
    if (st == KF_OK && *n_factor > 0) {
        multiply(p, KFI_GEMM_NN, x, p->rows, *n_factor, n, p->e, factor);
    }
    kfi_free(p->alloc, factor, n * n * sizeof *factor);
    return st;
}

/* ---- the whole spectrum of the smaller side ---- */

/* Eigenvectors of a float matrix's lower triangle, as floats; fills energy and total. */
static kf_status take_spectrum(float *vectors, kfi_low_rank *p, const float *matrix, size_t n,
                               size_t n_top, kf_error *err)
{
    const size_t bytes = n * n * sizeof(double);
    double *full = kfi_alloc(p->alloc, bytes);
    double *rows = kfi_alloc(p->alloc, n_top * n * sizeof *rows);
    kf_status st = KF_OK;
    if (full == NULL || rows == NULL) {
        st = no_memory(p, err);
        goto done;
    }
    p->total = 0.0;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            full[i * n + j] = (double)matrix[i * n + j];
        }
        p->total += full[i * n + i];
    }
    st = kfi_eigen_top(p->energy, rows, full, n, n_top, p->alloc, err);
    for (size_t i = 0; i < n_top * n && st == KF_OK; i++) {
        vectors[i] = (float)rows[i];
    }
done:
    kfi_free(p->alloc, rows, n_top * n * sizeof *rows);
    kfi_free(p->alloc, full, bytes);
    return st;
}

/* vt [rank][rows] from E R E^T. */
static kf_status solve_rows(float *vt, kfi_low_rank *p, float *x, kf_error *err)
{
    const size_t bytes = p->rows * p->rows * sizeof(float);
    float *matrix = kfi_alloc(p->alloc, bytes);
    kf_status st = KF_OK;
    size_t n = p->cols;
    if (matrix == NULL) {
        return no_memory(p, err);
    }
    if (p->gram != NULL) { /* (E R) E^T: no factor is needed */
        multiply(p, KFI_GEMM_NN, x, p->rows, n, n, p->e, p->gram);
        multiply(p, KFI_GEMM_NT, matrix, p->rows, p->rows, n, x, p->e);
    } else {
        st = apply_factor(x, &n, p, err);
        if (st == KF_OK) {
            multiply(p, KFI_GEMM_NT, matrix, p->rows, p->rows, n, x, x);
        }
    }
    if (st == KF_OK) {
        st = take_spectrum(vt, p, matrix, p->rows, p->rank, err);
    }
    kfi_free(p->alloc, matrix, bytes);
    return st;
}

/* vt [rank][rows] = (X U)^T / sigma, X = E F [rows][n], U of X^T X. */
static kf_status solve_columns(float *vt, kfi_low_rank *p, float *x, kf_error *err)
{
    size_t n = 0;
    KFI_TRY(apply_factor(x, &n, p, err));
    if (n == 0) { /* R is 0 */
        return KF_OK;
    }
    const size_t n_top = p->rank < n ? p->rank : n;
    float *matrix = kfi_calloc(p->alloc, n * n, sizeof *matrix);
    float *u = kfi_alloc(p->alloc, n_top * n * sizeof *u);
    double *scratch = kfi_alloc(p->alloc, p->rows * sizeof *scratch);
    kf_status st = KF_OK;
    if (matrix == NULL || u == NULL || scratch == NULL) {
        st = no_memory(p, err);
        goto done;
    }
    kfi_matrix_gram_add(p->pool, matrix, x, n, p->rows, n);
    st = take_spectrum(u, p, matrix, n, n_top, err);
    if (st == KF_OK) {
        multiply(p, KFI_GEMM_NT, vt, n_top, p->rows, n, u, x);
        kfi_matrix_orthonormalize(vt, n_top, p->rows, scratch); /* and divides by sigma */
    }
done:
    kfi_free(p->alloc, scratch, p->rows * sizeof *scratch);
    kfi_free(p->alloc, u, n_top * n * sizeof *u);
    kfi_free(p->alloc, matrix, n * n * sizeof *matrix);
    return st;
}

/* ---- subspace iteration ---- */

typedef struct operator_work {
    const kfi_low_rank *problem;
    float *back;     /* [vectors][cols]: E^T v */
    float *weighted; /* [vectors][cols]: R E^T v */
} operator_work;

/* dst = E (R (E^T v)) of every row v of src. */
static void apply_operator(void *ctx, float *dst, const float *src, size_t n_vectors)
{
    const operator_work *w = ctx;
    const kfi_low_rank *p = w->problem;
    const size_t n = p->cols;
    multiply(p, KFI_GEMM_NN, w->back, n_vectors, n, p->rows, src, p->e);
    if (p->gram != NULL) {
        multiply(p, KFI_GEMM_NN, w->weighted, n_vectors, n, n, w->back, p->gram);
    } else {
        for (size_t i = 0; i < n_vectors * n; i++) {
            const double square = p->squares == NULL ? 1.0 : p->squares[i % n];
            w->weighted[i] = (float)((double)w->back[i] * square);
        }
    }
    multiply(p, KFI_GEMM_NT, dst, n_vectors, p->rows, n, w->weighted, p->e);
}

/* tr(E R E^T), with x = E R or E F in memory. */
static double total_energy(const kfi_low_rank *p, const float *x, bool is_product)
{
    const float *other = is_product ? p->e : x;
    double sum = 0.0;
    for (size_t i = 0; i < p->rows * p->cols; i++) {
        sum += (double)x[i] * (double)other[i];
    }
    return sum;
}

static kf_status find_total(kfi_low_rank *p, float *x, kf_error *err)
{
    size_t n = p->cols;
    if (p->gram != NULL) {
        multiply(p, KFI_GEMM_NN, x, p->rows, n, n, p->e, p->gram);
    } else {
        KFI_TRY(apply_factor(x, &n, p, err));
    }
    p->total = total_energy(p, x, p->gram != NULL);
    return isfinite(p->total)
               ? KF_OK
               : kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                          "the error of %zu x %zu weights is not finite", p->rows, p->cols);
}

static kf_status solve_subspace(float *vt, kfi_low_rank *p, float *x, kf_error *err)
{
    const size_t n_vectors = p->rank + MORE_VECTORS;
    const size_t bytes = n_vectors * p->cols * sizeof(float);
    operator_work w = {.problem = p};
    size_t n_passes = 0;
    KFI_TRY(find_total(p, x, err));
    w.back = kfi_alloc(p->alloc, bytes);
    w.weighted = kfi_alloc(p->alloc, bytes);
    kf_status st = w.back != NULL && w.weighted != NULL ? KF_OK : no_memory(p, err);
    if (st == KF_OK) {
        const kfi_subspace subspace = {.apply = apply_operator,
                                       .ctx = &w,
                                       .n = p->rows,
                                       .n_top = p->rank,
                                       .n_more = MORE_VECTORS,
                                       .tolerance = TOLERANCE,
                                       .passes_max = PASSES_MAX,
                                       .pool = p->pool,
                                       .alloc = p->alloc};
        st = kfi_eigen_subspace(p->energy, vt, &n_passes, &subspace, err);
    }
    kfi_free(p->alloc, w.weighted, bytes);
    kfi_free(p->alloc, w.back, bytes);
    return st;
}

/* ---- the pair ---- */

static void take_pair(kfi_low_rank *p, const float *vt)
{
    multiply(p, KFI_GEMM_NN, p->a, p->rank, p->cols, p->rows, vt, p->e);
    for (size_t r = 0; r < p->rows; r++) {
        for (size_t k = 0; k < p->rank; k++) {
            p->b[r * p->rank + k] = vt[k * p->rows + r];
        }
    }
}

kf_status kfi_low_rank_solve(kfi_low_rank *problem, kf_error *err)
{
    kfi_low_rank *p = problem;
    const size_t least = p->rows < p->cols ? p->rows : p->cols;
    const size_t x_bytes = p->rows * p->cols * sizeof(float);
    float *vt = kfi_calloc(p->alloc, p->rank * p->rows, sizeof *vt);
    float *x = kfi_alloc(p->alloc, x_bytes);
    kf_status st = KF_OK;
    memset(p->energy, 0, p->rank * sizeof *p->energy);
    p->total = 0.0;
    if (vt == NULL || x == NULL) {
        st = no_memory(p, err);
    } else if (least > KFI_EIGEN_DIRECT) {
        st = solve_subspace(vt, p, x, err);
    } else {
        st = p->rows <= p->cols ? solve_rows(vt, p, x, err) : solve_columns(vt, p, x, err);
    }
    if (st == KF_OK) {
        take_pair(p, vt);
    }
    if (p->whole != NULL) {
        *p->whole = p->total;
    }
    kfi_free(p->alloc, x, x_bytes);
    kfi_free(p->alloc, vt, p->rank * p->rows * sizeof *vt);
    return st;
}

/* ---- balance ---- */

static float most(const float *x, size_t n)
{
    float m = 0.0f;
    for (size_t i = 0; i < n; i++) {
        m = fmaxf(m, fabsf(x[i]));
    }
    return m;
}

static void scale_pair(kfi_low_rank *p, size_t k, double of_a, double of_b)
{
    for (size_t c = 0; c < p->cols; c++) {
        p->a[k * p->cols + c] = (float)((double)p->a[k * p->cols + c] * of_a);
    }
    for (size_t r = 0; r < p->rows; r++) {
        p->b[r * p->rank + k] = (float)((double)p->b[r * p->rank + k] * of_b);
    }
}

void kfi_low_rank_balance(kfi_low_rank *problem)
{
    kfi_low_rank *p = problem;
    for (size_t k = 0; k < p->rank; k++) {
        /* The fourth root of the energy is the square root of a singular value. */
        const double s = p->energy[k] > 0.0 ? sqrt(sqrt(p->energy[k] / p->energy[0])) : 0.0;
        scale_pair(p, k, s > 0.0 ? 1.0 / s : 0.0, s);
    }
    const float of_a = most(p->a, p->rank * p->cols);
    const float of_b = most(p->b, p->rows * p->rank);
    if (of_a > 0.0f && of_b > 0.0f) {
        const double g = sqrt((double)of_b / (double)of_a);
        for (size_t k = 0; k < p->rank; k++) {
            scale_pair(p, k, g, 1.0 / g);
        }
    }
}
