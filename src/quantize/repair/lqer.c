/* lqer.c - LQER (its L2QER): the best pair where an input counts by its mean magnitude.
 *
 * Source: C. Zhang, J. Cheng, G. A. Constantinides, Y. Zhao, "LQER: Low-Rank Quantization Error
 *         Reconstruction for LLMs", 2024, arXiv:2402.02446, section 3: the truncated singular value
 *         decomposition of E S, S = diag(E|x_i|), taken back by S^-1.
 *
 * Differences from the authors' code: the mean is over all tokens, where theirs is the largest of
 * the batches' means; nothing is clamped, for nothing is divided by S (repair.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/method.h"

static const kf_knob knobs[] = {KFI_REPAIR_KNOBS};

static void lqer_request(kfi_statistics_request *request, const double *values)
{
    (void)values;
    request->needs |= KFI_NEED_MEAN_ABS;
}

static kf_status lqer_repair(kfi_repair_job *job, kf_error *err)
{
    const kfi_round_job *round = job->round;
    const kfi_statistics *s = round->statistics;
    const double weight = s->weight > 0.0 ? s->weight : 1.0;
    double *squares = kfi_alloc(round->alloc, round->cols * sizeof *squares);
    if (squares == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "scales of %zu columns", round->cols);
    }
    for (size_t c = 0; c < round->cols; c++) {
        const double mean = s->abs_sum[c] / weight;
        squares[c] = mean * mean;
    }
    kfi_low_rank problem = kfi_repair_problem(job);
    problem.squares = squares;
    const kf_status st = kfi_low_rank_solve(&problem, err);
    kfi_free(round->alloc, squares, round->cols * sizeof *squares);
    return st;
}

const kfi_method kfi_method_lqer = {
    .about = {.name = "lqer",
              .stage = "repair",
              .summary = "Adds a low-rank pair to which an input counts by its mean magnitude.",
              .paper = "C. Zhang, J. Cheng, G. A. Constantinides, Y. Zhao, LQER: Low-Rank "
                       "Quantization Error Reconstruction for LLMs, 2024, arXiv:2402.02446",
              .statistics = "mean magnitude",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_REPAIR,
    .request = lqer_request,
    .repair = lqer_repair,
};
