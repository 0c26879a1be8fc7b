/* qera_exact.c - QERA-exact: the pair of least output error.
 *
 * Source: C. Zhang, J. T. H. Wong, C. Xiao, G. A. Constantinides, Y. Zhao, "QERA: an Analytical
 *         Framework for Quantization Error Reconstruction", 2024, arXiv:2410.06040, theorem 1.
 *
 * With R = E[x x^T] the output error E_x |(E - C) x|^2 is tr((E - C) R (E - C)^T), and the best C
 * of rank k is theirs: R^-1/2 SVD_k(R^1/2 E^T), transposed. It is computed as V V^T E, V the first
 * k eigenvectors of E R E^T: no root of R, no inverse, no damping (repair.h, low_rank.c). What is
 * left of the error is the tail of that spectrum, which the tests compare with what they measure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/method.h"

static const kf_knob knobs[] = {KFI_REPAIR_KNOBS};

static void exact_request(kfi_statistics_request *request, const double *values)
{
    (void)values;
    request->needs |= KFI_NEED_GRAM;
}

static kf_status exact_repair(kfi_repair_job *job, kf_error *err)
{
    kfi_low_rank problem = kfi_repair_problem(job);
    problem.gram = job->round->statistics->gram;
    return kfi_low_rank_solve(&problem, err);
}

const kfi_method kfi_method_qera_exact = {
    .about = {.name = "qera-exact",
              .stage = "repair",
              .summary = "Adds the low-rank pair of least output error.",
              .paper = "C. Zhang, J. T. H. Wong, C. Xiao, G. A. Constantinides, Y. Zhao, QERA: an "
                       "Analytical Framework for Quantization Error Reconstruction, 2024, "
                       "arXiv:2410.06040, theorem 1",
              .statistics = "gram",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_REPAIR,
    .request = exact_request,
    .repair = exact_repair,
};
