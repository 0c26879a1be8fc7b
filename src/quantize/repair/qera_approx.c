/* qera_approx.c - QERA-approx: the pair of least output error if inputs were uncorrelated.
 *
 * Source: C. Zhang, J. T. H. Wong, C. Xiao, G. A. Constantinides, Y. Zhao, "QERA: an Analytical
 *         Framework for Quantization Error Reconstruction", 2024, arXiv:2410.06040, theorem 2:
 *         the truncated singular value decomposition of E S, S = diag(sqrt(E[x_i^2])), taken back
 *         by S^-1. Nothing is divided by S here (repair.h), so that inputs that are always 0 need
 *         no care.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/method.h"

static const kf_knob knobs[] = {KFI_REPAIR_KNOBS};

static void approx_request(kfi_statistics_request *request, const double *values)
{
    (void)values;
    if ((request->needs & KFI_NEED_GRAM) == 0) { /* whose diagonal does it too */
        request->needs |= KFI_NEED_MEAN_SQUARE;
    }
}

static kf_status approx_repair(kfi_repair_job *job, kf_error *err)
{
    double *squares = NULL;
    KFI_TRY(kfi_repair_squares(&squares, job, err));
    kfi_low_rank problem = kfi_repair_problem(job);
    problem.squares = squares;
    const kf_status st = kfi_low_rank_solve(&problem, err);
    kfi_free(problem.alloc, squares, problem.cols * sizeof *squares);
    return st;
}

const kfi_method kfi_method_qera_approx = {
    .about = {.name = "qera-approx",
              .stage = "repair",
              .summary = "Adds the low-rank pair of least output error for uncorrelated inputs.",
              .paper = "C. Zhang, J. T. H. Wong, C. Xiao, G. A. Constantinides, Y. Zhao, QERA: an "
                       "Analytical Framework for Quantization Error Reconstruction, 2024, "
                       "arXiv:2410.06040, theorem 2",
              .statistics = "mean square",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_REPAIR,
    .request = approx_request,
    .repair = approx_repair,
};
