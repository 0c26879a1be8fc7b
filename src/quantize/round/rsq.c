/* rsq.c - RSQ: GPTQ on tokens that count by the attention they get.
 *
 * Source: Y.-L. Sung, P. Yadav, J. Li, J. Yoon, M. Bansal, "RSQ: Learning from Important Tokens
 * Leads to Better Quantized LLMs", 2025, arXiv:2503.01820, and its code.
 *
 * "Rotate, Scale, then Quantize": the rotation is a method of the stage transform, this is the
 * rest,
 *
 *     H = sum_t r_t x_t x_t^T,  r_t by the attention that token t gets in the block (AttnCon)
 *
 * for all layers of the block. concentration.h has r_t; its least, before it is divided by the
 * mean, is the knob `least`.
 *
 * Differences from the paper: attention of the float block on the quantized stream; tokens of an
 * exact prefix, which would get most of the attention, count as 1 a window and take no part in
 * scaling the others.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/round/gptq.h"

enum {
    KNOB_GRID, /* the first of KFI_ROUND_GRID_N_KNOBS */
    KNOB_DAMPING = KFI_ROUND_GRID_N_KNOBS,
    KNOB_LEAST,
    KNOB_PREFIX_IN_GRAM
};

static const kf_knob knobs[] = {
    KFI_ROUND_GRID_KNOBS("mse"),
    {"damping", "Added to the diagonal of H, as a part of its mean.", NULL, 0.0, 10.0, "0.01"},
    {"least", "Weight of the token with the least attention, of 1 for that with the most.", NULL,
     0.0001, 1.0, "0.005"},
    {"prefix_in_gram", "Count the exact prefix's tokens in H, once a window.", "false|true", 0, 0,
     "true"},
};

static void rsq_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_GRAM;
    request->prefix = values[KNOB_PREFIX_IN_GRAM] > 0.5;
    request->attention_least = values[KNOB_LEAST];
}

static kf_status rsq_prepare(void **shared, const kfi_statistics *statistics, const double *values,
                             const kf_allocator *alloc, kf_error *err)
{
    double of_gptq[KFI_KNOBS_MAX];
    kfi_gptq_knobs(of_gptq, values + KNOB_GRID, values[KNOB_DAMPING]);
    return kfi_method_gptq.prepare(shared, statistics, of_gptq, alloc, err);
}

static void rsq_release(void *shared, const kf_allocator *alloc)
{
    kfi_method_gptq.release(shared, alloc);
}

static kf_status rsq_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    double of_gptq[KFI_KNOBS_MAX];
    kfi_gptq_knobs(of_gptq, job->knobs + KNOB_GRID, job->knobs[KNOB_DAMPING]);
    return kfi_gptq_round(job, of_gptq, shared, err);
}

const kfi_method kfi_method_rsq = {
    .about = {.name = "rsq",
              .stage = "round",
              .summary = "GPTQ on tokens that count by the attention they get.",
              .paper = "Y.-L. Sung, P. Yadav, J. Li, J. Yoon, M. Bansal, RSQ: Learning from "
                       "Important Tokens Leads to Better Quantized LLMs, 2025, arXiv:2503.01820",
              .statistics = "gram, by attention",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = rsq_request,
    .grid = kfi_round_grid_read,
    .prepare = rsq_prepare,
    .release = rsq_release,
    .round = rsq_round,
};
