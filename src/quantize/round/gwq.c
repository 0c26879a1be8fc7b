/* gwq.c - GWQ: the weights that matter most stay in 16 bits, the others go to the nearest code.
 *
 * Source: Y. Shao, S. Liang, Z. Ling et al., "GWQ: Gradient-Aware Weight Quantization for Large
 * Language Models", 2024, arXiv:2411.00850.
 *
 * The paper takes one calibration sample, the gradient of the model's loss by each weight, and
 * keeps the 1 % with the largest magnitude of it; the rest is rounded to 3 or 4 bits in groups.
 *
 * Differences from the paper: in place of the gradient, w^2 E[x^2], what the layer's output loses
 * in the mean without the weight (kfi_sparse_sensitivity(); any other score fits there). That is
 * another order: a weight whose gradient is small at the minimum may still carry much.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/method.h"
#include "quantize/round/sparse.h"

enum {
    KNOB_GRID, /* the first of KFI_ROUND_GRID_N_KNOBS */
    KNOB_OUTLIERS = KFI_ROUND_GRID_N_KNOBS
};

static const kf_knob knobs[] = {
    KFI_ROUND_GRID_KNOBS("minmax"),
    {"outliers", "Part of the weights that stay in 16 bits.", NULL, 0.0, 0.5, "0.01"},
};

static void gwq_request(kfi_statistics_request *request, const double *values)
{
    (void)values;
    request->needs |= KFI_NEED_MEAN_SQUARE;
    request->prefix = true;
}

static double gwq_sparse(const double *values)
{
    return values[KNOB_OUTLIERS];
}

static kf_status gwq_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    static const kfi_round_grid of_inputs = {.importance = KFI_IMPORTANCE_MEAN_SQUARE};
    kfi_round_grid grid;
    float *importance = NULL;
    kfi_round_grid_read(&grid, job->knobs + KNOB_GRID);
    KFI_TRY(
        kfi_round_importance(&importance, &of_inputs, job->statistics, job->cols, job->alloc, err));
    const kfi_sparse_rule rule = {
        .fraction = job->knobs[KNOB_OUTLIERS], .score = kfi_sparse_sensitivity, .ctx = importance};
    kf_status st = kfi_sparse_begin(job, &rule, 1, err);
    kfi_free(job->alloc, importance, job->cols * sizeof *importance);
    if (st == KF_OK) {
        st = kfi_round_fit(job, &grid, NULL, err);
    }
    if (st == KF_OK) {
        kfi_round_nearest(job);
        kfi_sparse_end(job);
    }
    return st;
}

const kfi_method kfi_method_gwq = {
    .about = {.name = "gwq",
              .stage = "round",
              .summary = "Rounds to the nearest; the weights that matter most stay in 16 bits.",
              .paper = "Y. Shao, S. Liang, Z. Ling et al., GWQ: Gradient-Aware Weight Quantization "
                       "for Large Language Models, 2024, arXiv:2411.00850",
              .statistics = "mean square",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = gwq_request,
    .sparse = gwq_sparse,
    .grid = kfi_round_grid_read,
    .round = gwq_round,
};
