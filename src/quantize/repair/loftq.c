/* loftq.c - LoftQ: rounding and the pair in turns.
 *
 * Source: Y. Li, Y. Yu, C. Liang, P. He, N. Karampatziakis, W. Chen, T. Zhao, "LoftQ:
 *         LoRA-Fine-Tuning-Aware Quantization for Large Language Models", 2023, arXiv:2310.08659,
 *         algorithm 1.
 *
 *     A, B = 0;  repeat:  W~ = round(W - B A);  B A = SVD_k(W - W~)
 *
 * in the norm of the weights. What rounds is the recipe's method, GPTQ too; the last thing that is
 * done is a decomposition. It asks for no data. The objective need not fall (the paper takes five
 * turns); turns = 1 is lorc.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/method.h"

enum {
    KNOB_TURNS = KFI_REPAIR_N_KNOBS
};

static const kf_knob knobs[] = {
    KFI_REPAIR_KNOBS,
    {"iterations", "Times that the weights are rounded.", NULL, 1.0, 100.0, "5"},
};

static kf_status loftq_repair(kfi_repair_job *job, kf_error *err)
{
    kfi_low_rank problem = kfi_repair_problem(job);
    const size_t n = (size_t)job->knobs[KNOB_TURNS];
    KFI_TRY(kfi_low_rank_solve(&problem, err));
    for (size_t i = 1; i < n; i++) {
        KFI_TRY(kfi_repair_round_again(job, err));
        KFI_TRY(kfi_low_rank_solve(&problem, err));
    }
    return KF_OK;
}

const kfi_method kfi_method_loftq = {
    .about = {.name = "loftq",
              .stage = "repair",
              .summary = "Rounds what the low-rank pair leaves and decomposes what that leaves, in "
                         "turns.",
              .paper = "Y. Li, Y. Yu, C. Liang, P. He, N. Karampatziakis, W. Chen, T. Zhao, LoftQ: "
                       "LoRA-Fine-Tuning-Aware Quantization for Large Language Models, 2023, "
                       "arXiv:2310.08659",
              .statistics = "none",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_REPAIR,
    .repair = loftq_repair,
};
