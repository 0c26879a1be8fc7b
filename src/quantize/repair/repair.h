/* repair.h - what repair methods share: the job, and the best low-rank pair in a weighted norm.
 *
 * A layer y = x W~^T gets a pair beside it, y += (x A^T) B^T, made from what rounding left over,
 * E = W - W~ [rows][cols]. All methods ask for the C = B A of a rank k with the least
 *
 *     tr((E - C) R (E - C)^T)                R symmetric, positive semidefinite, [cols][cols]
 *
 * and differ in R: 1 is the error of the weights, the inputs' mean of x x^T that of the outputs,
 * its diagonal what is between. With any factor R = F F^T this is || (E - C) F ||^2, and so
 *
 *     C = V V^T E,      V [rows][k] = the first k left singular vectors of E F
 *     B = V,  A = V^T E,      what is left over = sum of sigma_i^2 for i > k
 *
 * for V V^T E F is the truncated singular value decomposition of E F. Nothing is ever divided by F:
 * no inverse, no matrix root, and an R that is singular is as good as any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_REPAIR_H
#define KFI_QUANTIZE_REPAIR_H

#include "quantize/round/round.h"

struct kfi_method;

/* The knobs that every repair method begins with. */
#define KFI_REPAIR_KNOBS                                                                           \
    {"rank", "Rank of the pair; at most the smaller side of the matrix.", NULL, 1.0, 512.0, "32"}, \
        {"factors",                                                                                \
         "How A and B are stored: so many bits, a scale for 64 values.",                           \
         "int4|int6|int8",                                                                         \
         0,                                                                                        \
         0,                                                                                        \
         "int8"},                                                                                  \
    {                                                                                              \
        "budget",                                                                                  \
            "Bits a weight that pairs may take: ranks up to `rank` by what they gain. 0: that "    \
            "rank for all.",                                                                       \
            NULL, 0.0, 8.0, "0"                                                                    \
    }
#define KFI_REPAIR_N_KNOBS 3u

/* What they say for a matrix. */
typedef struct kfi_repair_plan {
    size_t rank;       /* the greatest where there is a budget */
    kf_format factors; /* of A and B */
    double budget;     /* bits a weight; 0: the rank is as it stands here (budget.h) */
} kfi_repair_plan;

kfi_repair_plan kfi_repair_read(const double *knobs, size_t rows, size_t cols);

/* Makes the rank what a budget gave a matrix; 0: it gets no pair. */
void kfi_repair_set_rank(double *knobs, size_t rank);

/* ---- the best pair ---- */

/* R is gram, or the diagonal matrix of squares, or 1 where both are NULL. */
typedef struct kfi_low_rank {
    const float *e; /* [rows][cols] */
    size_t rows, cols, rank;
    const float *gram;     /* [cols][cols], or NULL */
    const double *squares; /* [cols], >= 0, or NULL */
    kf_pool *pool;
    const kf_allocator *alloc;
    float *a;       /* [rank][cols], made */
    float *b;       /* [rows][rank], made: orthonormal columns, or 0 past the rank of R */
    double *energy; /* [rank], made: sigma_i^2, falling */
    double total;   /* made: tr(E R E^T) */
    double *whole;  /* or NULL: total, too */
} kfi_low_rank;

/* The smaller side decides how V is found. Up to KFI_EIGEN_DIRECT it is the whole spectrum of
 *
 *     E R E^T  [rows][rows], whose eigenvectors V is, or of
 *     F^T E^T E F  [cols][cols], eigenvectors U, then V = E F U / sigma
 *
 * (F by a Cholesky with pivots); above it a subspace iteration on V <- E (R (E^T V)).
 * KF_RANGE where E or R is not finite, KF_NOMEM.
 * Numerics: products in float, spectra in double; equal bits on one machine for any number of
 * threads. Cost: rows cols (rows + cols) multiplications, and some 4/3 of the smaller side cubed.
 */
KF_NODISCARD kf_status kfi_low_rank_solve(kfi_low_rank *problem, kf_error *err);

/* Scales A and B against each other so that they round well: column i of B and what A makes of the
 * inputs weigh sqrt(sigma_i) each, and the largest elements of A and B are the same. The product
 * stays. A pair without energy becomes 0. */
void kfi_low_rank_balance(kfi_low_rank *problem);

/* ---- the job ---- */

typedef struct kfi_repair_job {
    kfi_round_job *round; /* codes and grids of W~; its statistics are the repair's too */
    const struct kfi_method *method; /* that rounded, */
    const void *shared;              /* with this */
    float *error;                    /* [rows][cols]: E = W - W~ of the codes as they are now */
    const double *knobs;
    size_t rank;
    float *a;       /* [rank][cols], filled by the method */
    float *b;       /* [rows][rank], filled by the method */
    double *energy; /* [rank], filled by the method: what each pair takes of its objective, */
    double whole;   /* which was this without any */
} kfi_repair_job;

/* A problem with the job's E and memory; R is to be set. */
kfi_low_rank kfi_repair_problem(kfi_repair_job *job);

/* Mean square of each input, [cols], of the Gram matrix's diagonal or the mean squares. Returned
 * owned: free cols doubles. KF_NOMEM. */
KF_NODISCARD kf_status kfi_repair_squares(double **squares, const kfi_repair_job *job,
                                          kf_error *err);

/* dst [rows][cols] = B A, or dst += B A. */
void kfi_repair_multiply(float *dst, const kfi_repair_job *job, bool add);

/* Rounds W - B A in place of W, with A and B as they are now: job->error becomes W - W~ of the new
 * codes. KF_NOMEM, and what the rounding method returns. */
KF_NODISCARD kf_status kfi_repair_round_again(kfi_repair_job *job, kf_error *err);

#endif /* KFI_QUANTIZE_REPAIR_H */
