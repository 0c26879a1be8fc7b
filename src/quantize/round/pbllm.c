/* pbllm.c - PB-LLM: the salient weights stay in 16 bits, all others become -a or a.
 *
 * Source: Y. Shang, Z. Yuan, Q. Wu, Z. Dong, "PB-LLM: Partially Binarized Large Language Models",
 * 2023, arXiv:2310.00034, section 3.3 (PB-GPTQ).
 *
 * A weight is salient by w^2 / ((H^-1)_jj)^2, the measure of Optimal Brain Surgeon's kind that GPTQ
 * shares. The others go through GPTQ in their columns' own order, on a grid whose scale a is fitted
 * to each group as the errors so far left it; with format cb4 that is sign(w) a, where the least
 * squares are a = mean |w|. Salient weights take part: they take up what the columns in front of
 * them left over.
 *
 * Any other format leaves the rest that many bits.
 *
 * Differences from the paper: a sign takes the two bits of cb4, since there is no format of one;
 * salient weights are fp16 at 32 bits each with their place, not 8 bits and a bit map, and are
 * chosen in the whole matrix, not block by block; a by the clip search, whose steps are 2 % of the
 * range. Without training the paper needs some 30 % of salient weights; a tenth is its smallest
 * model, and a negative control.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/round/gptq.h"
#include "quantize/round/gptq_factor.h"
#include "quantize/round/sparse.h"

enum {
    KNOB_OUTLIERS,
    KNOB_DAMPING,
    KNOB_FIRST_TOKEN_WEIGHT,
    KNOB_PREFIX_IN_GRAM
};

static const kf_knob knobs[] = {
    {"outliers", "Part of the weights that stay in 16 bits.", NULL, 0.0, 0.5, "0.1"},
    {"damping", "Added to the diagonal of H, as a part of its mean.", NULL, 0.0, 10.0, "0.01"},
    {"first_token_weight", "Weight of each window's first token in H where no prefix is in front.",
     NULL, 0.0, 10000.0, "1"},
    {"prefix_in_gram", "Count the exact prefix's tokens in H, once a window.", "false|true", 0, 0,
     "true"},
};

/* ---- as GPTQ sees it ---- */

static void set(double *of_gptq, const char *name, double value)
{
    of_gptq[kfi_knob_find(&kfi_method_gptq, name, strlen(name))] = value;
}

static void gptq_knobs(double *of_gptq, const double *values)
{
    kfi_knobs_default(of_gptq, &kfi_method_gptq);
    set(of_gptq, "damping", values[KNOB_DAMPING]);
    set(of_gptq, "exponent", 2.0);
    set(of_gptq, "shrink", 0.1); /* a is about 0.3 of a group's largest */
    set(of_gptq, "act_order", 0.0);
    set(of_gptq, "static_groups", 0.0);
}

static kf_status pbllm_prepare(void **shared, const kfi_statistics *statistics,
                               const double *values, const kf_allocator *alloc, kf_error *err)
{
    double of_gptq[KFI_KNOBS_MAX];
    gptq_knobs(of_gptq, values);
    return kfi_method_gptq.prepare(shared, statistics, of_gptq, alloc, err);
}

static void pbllm_release(void *shared, const kf_allocator *alloc)
{
    kfi_method_gptq.release(shared, alloc);
}

/* ---- a layer ---- */

/* |w| / (H^-1)_jj, in the order of its square. */
static void salience(float *scores, const kfi_round_job *job, size_t row, const void *ctx)
{
    const float *inverse = ctx;
    for (size_t c = 0; c < job->cols; c++) {
        scores[c] = fabsf(job->weights[row * job->cols + c]) / inverse[c];
    }
}

static kf_status take_salient(kfi_round_job *job, const kfi_gptq_factor *factor, kf_error *err)
{
    float *inverse = kfi_alloc(job->alloc, job->cols * sizeof *inverse);
    if (inverse == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a diagonal of %zu columns", job->cols);
    }
    kfi_gptq_factor_inverse(inverse, factor);
    const kfi_sparse_rule rule = {
        .fraction = job->knobs[KNOB_OUTLIERS], .score = salience, .ctx = inverse};
    const kf_status st = kfi_sparse_begin(job, &rule, 1, err);
    kfi_free(job->alloc, inverse, job->cols * sizeof *inverse);
    return st;
}

static kf_status pbllm_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    double of_gptq[KFI_KNOBS_MAX];
    gptq_knobs(of_gptq, job->knobs);
    KFI_TRY(take_salient(job, shared, err));
    if (job->format.element == KF_ELEMENT_CODEBOOK && job->format.bits == 2) {
        static const int8_t signs[KFI_TABLE_ENTRIES] = {-127, -127, 127, 127};
        memcpy(job->table, signs, sizeof signs);
        job->has_table = true;
    }
    KFI_TRY(kfi_gptq_round(job, of_gptq, shared, err));
    kfi_sparse_close(job);
    return KF_OK;
}

static void pbllm_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_GRAM;
    request->first_token_weight = values[KNOB_FIRST_TOKEN_WEIGHT];
    request->prefix = values[KNOB_PREFIX_IN_GRAM] > 0.5;
}

static double pbllm_sparse(const double *values)
{
    return values[KNOB_OUTLIERS];
}

static void pbllm_grid(kfi_round_grid *grid, const double *values)
{
    double of_gptq[KFI_KNOBS_MAX];
    gptq_knobs(of_gptq, values);
    kfi_method_gptq.grid(grid, of_gptq);
}

const kfi_method kfi_method_pbllm = {
    .about = {.name = "pbllm",
              .stage = "round",
              .summary = "Keeps salient weights in 16 bits; GPTQ makes -a or a of the others.",
              .paper = "Y. Shang, Z. Yuan, Q. Wu, Z. Dong, PB-LLM: Partially Binarized Large "
                       "Language Models, 2023, arXiv:2310.00034",
              .statistics = "gram",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = pbllm_request,
    .sparse = pbllm_sparse,
    .grid = pbllm_grid,
    .prepare = pbllm_prepare,
    .release = pbllm_release,
    .round = pbllm_round,
};
