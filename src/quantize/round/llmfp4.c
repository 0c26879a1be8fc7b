/* llmfp4.c - LLM-FP4: which split of four bits in exponent and mantissa, searched for each matrix.
 *
 * Source: S. Liu, Z. Liu, X. Huang, P. Dong, K.-T. Cheng, "LLM-FP4: 4-Bit Floating-Point Quantized
 * Transformers", 2023, arXiv:2310.16836, sections 3 and 4.1.
 *
 *     E3M0   0, 1/4, 1/2, 1, 2, 4, 8, 16 and the negative of it      for long tails
 *     E2M1   0, 1/2, 1, 3/2, 2, 3, 4, 6
 *     E1M2   0, 1, 2, 3, 4, 5, 6, 7                                  a uniform grid
 *
 * A real-valued exponent bias is a scale, which every group has. For each split the range of each
 * group is shrunk to the least error of the group's own output; then the split with the least
 * tr(E H E^T) is the one of the matrix. The grid is the codebook of the tensor (format cb16), so
 * that every kernel runs it; the two zeros of the floats are equal entries.
 *
 * Differences from the paper: weights only, whose activations the recipe quantizes as ever (there,
 * activations get FP4 too, with exponent biases for each channel that are folded into the weights);
 * scales of groups in place of output channels; the clip of a group by its own output.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/method.h"
#include "quantize/round/output_fit.h"

enum {
    KNOB_SHRINK,
    KNOB_STEPS,
    KNOB_TOKENS /* the first of KFI_TOKEN_N_KNOBS */
};

static const kf_knob knobs[] = {
    {"shrink", "Least part of a group's range that the search tries.", NULL, 0.1, 0.99, "0.6"},
    {"steps", "Ranges that are tried.", NULL, 2.0, 100.0, "12"},
    KFI_TOKEN_KNOBS,
};

static const int8_t splits[][KFI_TABLE_ENTRIES] = {
    {-64, -32, -16, -8, -4, -2, -1, 0, 0, 1, 2, 4, 8, 16, 32, 64},
    {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12},
    {-7, -6, -5, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 5, 6, 7},
};
#define N_SPLITS (sizeof splits / sizeof splits[0])

static void llmfp4_grid(kfi_round_grid *grid, const double *values)
{
    (void)values;
    *grid = (kfi_round_grid){.fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1}};
}

static void llmfp4_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_GRAM;
    kfi_token_request(request, values + KNOB_TOKENS);
}

static kf_status round_with(kfi_round_job *job, size_t i_split, kf_error *err)
{
    const kfi_output_fit fit = {.range = KFI_OUTPUT_RANGE_SCALED,
                                .first = 1.0,
                                .last = job->knobs[KNOB_SHRINK],
                                .steps = (size_t)job->knobs[KNOB_STEPS]};
    memcpy(job->table, splits[i_split], sizeof job->table);
    job->has_table = true;
    KFI_TRY(kfi_output_fit_groups(job, &fit, err));
    kfi_round_nearest(job);
    return KF_OK;
}

static kf_status llmfp4_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    size_t best = 0;
    double best_error = (double)INFINITY;
    if (job->format.element != KF_ELEMENT_CODEBOOK || job->format.bits != 4) {
        char name[KF_FORMAT_NAME_BYTES];
        kf_format_name(name, job->format);
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "llmfp4 makes a codebook of 16 entries, expected cb16 and not %s", name);
    }
    for (size_t i = 0; i < N_SPLITS; i++) {
        kfi_round_error error = {0};
        KFI_TRY(round_with(job, i, err));
        KFI_TRY(kfi_round_measure(&error, job, err));
        if (error.output < best_error) {
            best_error = error.output;
            best = i;
        }
    }
    return best == N_SPLITS - 1 ? KF_OK : round_with(job, best, err);
}

const kfi_method kfi_method_llmfp4 = {
    .about = {.name = "llmfp4",
              .stage = "round",
              .summary = "Rounds to 4-bit floats: E3M0, E2M1 or E1M2, whichever errs least.",
              .paper = "S. Liu, Z. Liu, X. Huang, P. Dong, K.-T. Cheng, LLM-FP4: 4-Bit "
                       "Floating-Point Quantized Transformers, 2023, arXiv:2310.16836",
              .statistics = "gram",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = llmfp4_request,
    .grid = llmfp4_grid,
    .round = llmfp4_round,
};
