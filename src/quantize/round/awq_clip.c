/* awq_clip.c - AWQ's auto-clip: weights of a group are cut off where its output then errs least.
 *
 * Source: J. Lin, J. Tang, H. Tang, S. Yang, W.-M. Chen, W.-C. Wang, G. Xiao, X. Dang, C. Gan,
 * S. Han, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration", 2023,
 * arXiv:2306.00978, and its code (auto_clip).
 *
 * For the parts p = 1, 0.95, ... 0.55 of the largest |w| of a group the weights are cut to
 * [-p m, p m], get the grid of their range, and the p with the least error of the group's own
 * output sum_x ((w - w~) x)^2 wins. It is a rounding, not an equivalence: outputs move. AWQ runs it
 * behind its scales, which are a method of the stage transform.
 *
 * Differences from the code: all calibration tokens by way of the Gram matrix instead of 512; q and
 * k are not left out (their product with each other is what their clipping harms): a recipe says so
 * with a pattern.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/method.h"
#include "quantize/round/output_fit.h"

enum {
    KNOB_MAX_SHRINK,
    KNOB_STEPS,
    KNOB_TOKENS /* the first of KFI_TOKEN_N_KNOBS */
};

static const kf_knob knobs[] = {
    {"max_shrink", "The most that is taken off a group's largest |w|, as a part of it.", NULL, 0.01,
     0.95, "0.45"},
    {"steps", "Ranges that are tried.", NULL, 2.0, 100.0, "10"},
    KFI_TOKEN_KNOBS,
};

static void clip_grid(kfi_round_grid *grid, const double *values)
{
    (void)values;
    *grid = (kfi_round_grid){.fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1}};
}

static void clip_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_GRAM;
    kfi_token_request(request, values + KNOB_TOKENS);
}

static kf_status clip_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    const kfi_output_fit fit = {.range = KFI_OUTPUT_RANGE_CUT,
                                .first = 1.0,
                                .last = 1.0 - job->knobs[KNOB_MAX_SHRINK],
                                .steps = (size_t)job->knobs[KNOB_STEPS]};
    if (job->format.scale == KF_SCALE_TWO_LEVEL) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "awq_clip fits each group's own scale, and two-level scales are not");
    }
    if (kfi_round_wants_table(job)) {
        kfi_format_learn(job->table, job->format, job->weights, NULL, job->rows, job->cols);
        job->has_table = true;
    }
    KFI_TRY(kfi_output_fit_groups(job, &fit, err));
    kfi_round_nearest(job);
    return KF_OK;
}

const kfi_method kfi_method_awq_clip = {
    .about = {.name = "awq_clip",
              .stage = "round",
              .summary = "Cuts a group's range where its output then errs least, and rounds to the "
                         "nearest.",
              .paper = "J. Lin et al., AWQ: Activation-aware Weight Quantization for LLM "
                       "Compression and Acceleration, 2023, arXiv:2306.00978 (its code)",
              .statistics = "gram",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = clip_request,
    .grid = clip_grid,
    .round = clip_round,
};
