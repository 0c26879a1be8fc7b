/* layer_repair.c - a layer's low-rank pair: made, packed, and what is left measured.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/fail.h"
#include "model/checkpoint_names.h"
#include "quantize/layer.h"

static void job_deinit(kfi_repair_job *job)
{
    const kf_allocator *alloc = job->round->alloc;
    const size_t rows = job->round->rows;
    const size_t cols = job->round->cols;
    kfi_free(alloc, job->error, rows * cols * sizeof *job->error);
    kfi_free(alloc, job->a, job->rank * cols * sizeof *job->a);
    kfi_free(alloc, job->b, job->rank * rows * sizeof *job->b);
    kfi_free(alloc, job->energy, job->rank * sizeof *job->energy);
}

static kf_status job_init(kfi_repair_job *job, kf_error *err)
{
    const kf_allocator *alloc = job->round->alloc;
    const size_t rows = job->round->rows;
    const size_t cols = job->round->cols;
    job->error = kfi_alloc(alloc, rows * cols * sizeof *job->error);
    job->a = kfi_alloc(alloc, job->rank * cols * sizeof *job->a);
    job->b = kfi_alloc(alloc, job->rank * rows * sizeof *job->b);
    job->energy = kfi_alloc(alloc, job->rank * sizeof *job->energy);
    if (job->error == NULL || job->a == NULL || job->b == NULL || job->energy == NULL) {
        job_deinit(job);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a pair of rank %zu for %zu x %zu weights",
                        job->rank, rows, cols);
    }
    kfi_round_error_rows(job->error, job->round, 0, rows);
    return KF_OK;
}

/* Packs one of A and B, rounded to the nearest; its values become what that stands for. */
static kf_status pack_factor(kfi_layer *layer, kfi_side_part part, kfi_packed *packed,
                             kfi_round_job *factor, float *values, kf_error *err)
{
    static const kfi_round_grid grid = {.fit = {.kind = KFI_FIT_MIN_MAX}};
    factor->weights = values;
    KFI_TRY(kfi_round_job_init(factor, err));
    kf_status st = kfi_round_fit(factor, &grid, NULL, err);
    if (st == KF_OK) {
        kfi_round_nearest(factor);
        st = kfi_job_pack(&layer->pair[part], &layer->pair_bytes[part], packed, factor, err);
    }
    kfi_round_job_deinit(factor);
    for (size_t r = 0; r < factor->rows && st == KF_OK; r++) {
        kfi_packed_decode_row(values + r * factor->cols, packed, r, 0, factor->cols);
    }
    return st;
}

static kf_status pack_pair(kfi_layer *layer, const kfi_repair_job *job, kf_format format,
                           kf_error *err)
{
    kfi_side_paths *side = &layer->linear.side;
    kfi_round_job factor = {.rows = job->rank,
                            .cols = job->round->cols,
                            .format = format,
                            .pool = job->round->pool,
                            .alloc = job->round->alloc};
    KFI_TRY(pack_factor(layer, KFI_SIDE_LOW_RANK_A, &side->low_rank_a, &factor, job->a, err));
    factor.rows = job->round->rows;
    factor.cols = job->rank;
    return pack_factor(layer, KFI_SIDE_LOW_RANK_B, &side->low_rank_b, &factor, job->b, err);
}

/* What the packed pair leaves of the error. */
static kf_status measure(kf_layer_report *report, const kfi_repair_job *job, kf_error *err)
{
    kfi_round_job *round = job->round;
    kfi_round_error error = {0};
    for (size_t i = 0; i < round->rows * job->rank; i++) {
        job->b[i] = -job->b[i];
    }
    kfi_repair_multiply(job->error, job, true);
    KFI_TRY(kfi_round_measure_matrix(&error, round, job->error, err));
    report->unrepaired_error = report->output_error;
    report->weight_error = error.weight;
    report->output_error = error.output;
    return KF_OK;
}

/* A job's repair, and its memory. */
static kf_status begin(kfi_repair_job *work, kfi_round_job *job, const kfi_method_use *repair,
                       const kfi_prepared *prepared, size_t rank, kf_error *err)
{
    *work = (kfi_repair_job){.round = job,
                             .method = prepared->use.method,
                             .shared = prepared->shared,
                             .knobs = repair->knobs,
                             .rank = rank};
    return job_init(work, err);
}

kf_status kfi_layer_repair(kfi_layer *layer, kfi_round_job *job, const kfi_method_use *repair,
                           const kfi_prepared *prepared, bool is_trial, kf_error *err)
{
    const kfi_repair_plan plan = kfi_repair_read(repair->knobs, job->rows, job->cols);
    kfi_repair_job work;
    if (plan.rank == 0) {
        return KF_OK;
    }
    KFI_TRY(begin(&work, job, repair, prepared, plan.rank, err));
    kf_status st = repair->method->repair(&work, err);
    if (st == KF_OK) {
        kfi_low_rank pair = kfi_repair_problem(&work);
        kfi_low_rank_balance(&pair);
        st = pack_pair(layer, &work, plan.factors, err);
    }
    if (st == KF_OK && !is_trial) {
        st = measure(&layer->report, &work, err);
    }
    job_deinit(&work);
    layer->report.repair = repair->method->about.name;
    layer->report.rank = plan.rank;
    return st;
}

kf_status kfi_repair_gains(double *gains, kfi_round_job *job, const kfi_method_use *repair,
                           const kfi_prepared *prepared, double error, kf_error *err)
{
    const size_t rank = kfi_repair_read(repair->knobs, job->rows, job->cols).rank;
    kfi_repair_job work;
    KFI_TRY(begin(&work, job, repair, prepared, rank, err));
    const kf_status st = repair->method->repair(&work, err);
    for (size_t i = 0; i < rank && st == KF_OK; i++) {
        /* An exact layer, or one whose inputs or weights are 0, has nothing to gain. */
        gains[i] = work.whole > 0.0 && error > 0.0 ? work.energy[i] / work.whole * error : 0.0;
    }
    job_deinit(&work);
    return st;
}
