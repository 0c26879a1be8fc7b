/* repair.c - what repair methods share but the decomposition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/repair/repair.h"

#include "base/fail.h"
#include "linalg/matrix.h"
#include "quantize/method.h"

enum {
    KNOB_RANK,
    KNOB_FACTORS,
    KNOB_BUDGET
};

/* A group of B is shorter where the rank is. */
#define FACTOR_GROUP 64u

kfi_repair_plan kfi_repair_read(const double *knobs, size_t rows, size_t cols)
{
    static const uint8_t bits[] = {4, 6, 8};
    const size_t least = rows < cols ? rows : cols;
    const size_t rank = (size_t)knobs[KNOB_RANK];
    return (kfi_repair_plan){.rank = rank < least ? rank : least,
                             .factors = {KF_ELEMENT_INT, bits[(size_t)knobs[KNOB_FACTORS]],
                                         KF_SCALE_FP16, KF_ZERO_NONE, FACTOR_GROUP},
                             .budget = knobs[KNOB_BUDGET]};
}

void kfi_repair_set_rank(double *knobs, size_t rank)
{
    knobs[KNOB_RANK] = (double)rank;
}

kfi_low_rank kfi_repair_problem(kfi_repair_job *job)
{
    return (kfi_low_rank){.e = job->error,
                          .rows = job->round->rows,
                          .cols = job->round->cols,
                          .rank = job->rank,
                          .pool = job->round->pool,
                          .alloc = job->round->alloc,
                          .a = job->a,
                          .b = job->b,
                          .energy = job->energy,
                          .whole = &job->whole};
}

kf_status kfi_repair_squares(double **squares, const kfi_repair_job *job, kf_error *err)
{
    const kfi_statistics *s = job->round->statistics;
    const size_t n = job->round->cols;
    const double weight = s->weight > 0.0 ? s->weight : 1.0;
    double *dst = kfi_alloc(job->round->alloc, n * sizeof *dst);
    *squares = dst;
    if (dst == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "mean squares of %zu columns", n);
    }
    for (size_t c = 0; c < n; c++) {
        dst[c] = (s->square_sum != NULL ? s->square_sum[c] : (double)s->gram[c * n + c]) / weight;
    }
    return KF_OK;
}

void kfi_repair_multiply(float *dst, const kfi_repair_job *job, bool add)
{
    const kfi_round_job *round = job->round;
    const kfi_gemm g = {.kind = KFI_GEMM_NN,
                        .add = add,
                        .m = round->rows,
                        .n = round->cols,
                        .k = job->rank,
                        .a = job->b,
                        .ld_a = job->rank,
                        .b = job->a,
                        .ld_b = round->cols,
                        .c = dst,
                        .ld_c = round->cols};
    kfi_matrix_multiply(round->pool, &g);
}

/* dst = W - B A */
static void subtract_pair(float *dst, const kfi_repair_job *job)
{
    kfi_repair_multiply(dst, job, false);
    for (size_t i = 0; i < job->round->rows * job->round->cols; i++) {
        dst[i] = job->round->weights[i] - dst[i];
    }
}

kf_status kfi_repair_round_again(kfi_repair_job *job, kf_error *err)
{
    kfi_round_job *round = job->round;
    const float *own = round->weights;
    const size_t bytes = round->rows * round->cols * sizeof(float);
    float *rest = kfi_alloc(round->alloc, bytes);
    if (rest == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu x %zu weights to round again",
                        round->rows, round->cols);
    }
    subtract_pair(rest, job);
    round->weights = rest;
    round->is_fitted = false;
    round->has_table = false;
    const kf_status st = job->method->round(round, job->shared, err);
    round->weights = own;
    kfi_free(round->alloc, rest, bytes);
    if (st == KF_OK) {
        kfi_round_error_rows(job->error, round, 0, round->rows);
    }
    return st;
}
