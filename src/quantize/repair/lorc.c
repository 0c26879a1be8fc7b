/* lorc.c - LoRC: the best pair for the weights, whatever the inputs.
 *
 * Source: Z. Yao, X. Wu, C. Li, S. Youn, Y. He, "ZeroQuant-V2: Exploring Post-training Quantization
 *         in LLMs from Comprehensive Study to Low Rank Compensation", 2023, arXiv:2303.08302,
 *         section 5: B A is the truncated singular value decomposition of E = W - W~. It asks for
 *         no data.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/method.h"

static const kf_knob knobs[] = {KFI_REPAIR_KNOBS};

static kf_status lorc_repair(kfi_repair_job *job, kf_error *err)
{
    kfi_low_rank problem = kfi_repair_problem(job);
    return kfi_low_rank_solve(&problem, err);
}

const kfi_method kfi_method_lorc = {
    .about = {.name = "lorc",
              .stage = "repair",
              .summary = "Adds the low-rank pair nearest to the rounding error of the weights.",
              .paper = "Z. Yao, X. Wu, C. Li, S. Youn, Y. He, ZeroQuant-V2: Exploring "
                       "Post-training Quantization in LLMs from Comprehensive Study to Low Rank "
                       "Compensation, 2023, arXiv:2303.08302",
              .statistics = "none",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_REPAIR,
    .repair = lorc_repair,
};
