/* smoothquant.c - SmoothQuant: moves the outliers of activations into the weights.
 *
 * Source: G. Xiao, J. Lin, M. Seznec, H. Wu, J. Demouth, S. Han, "SmoothQuant: Accurate and
 * Efficient Post-Training Quantization for Large Language Models", 2022, arXiv:2211.10438,
 * equations 3 and 4.
 *
 *     Y = (X diag(s)^-1) (diag(s) W^T)        s_j = max|X_j|^alpha / max|W_:,j|^(1 - alpha)
 *
 * 1/s goes into the gains of the norm in front, so that nothing is computed at run time; hence only
 * the inputs of q, k, v and of gate, up. max|W_:,j| is taken over all layers that read the input;
 * s is clamped to [1e-5, 1e4], and 1 where a channel or its weights are all zero.
 *
 * Differences from the authors' code: max|X| is taken on the quantized stream.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/fail.h"
#include "quantize/method.h"

#define SCALE_LEAST 1e-5f
#define SCALE_MOST  1e4f

enum {
    KNOB_ALPHA
};

static const kf_knob knobs[] = {
    {"alpha", "How much of an outlier moves: 0 evens out the weights, 1 the activations.", NULL,
     0.0, 1.0, "0.5"},
};

static void request_max(kfi_statistics_request *request, const double *values)
{
    (void)values;
    request->needs |= KFI_NEED_MAX_ABS;
}

/* most[c] = the largest |w| of column c, over all layers of a step. */
static void column_maxima(float *most, const kfi_float_block *floats, size_t i_step)
{
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        const kfi_linear *linear = &floats->block.linears[role];
        for (size_t r = 0; r < linear->rows; r++) {
            const float *row = linear->weights + r * linear->cols;
            for (size_t c = 0; c < linear->cols; c++) {
                most[c] = fmaxf(most[c], fabsf(row[c]));
            }
        }
    }
}

static float scale_of(float input, float weight, double alpha)
{
    if (!(input > 0.0f) || !(weight > 0.0f)) {
        return 1.0f;
    }
    const float s = (float)(pow((double)input, alpha) / pow((double)weight, 1.0 - alpha));
    return fminf(fmaxf(s, SCALE_LEAST), SCALE_MOST);
}

static kf_status smooth_step(const kfi_transform_job *job, size_t i_step, kf_error *err)
{
    const kfi_statistics *statistics = job->statistics[i_step];
    const size_t n = statistics->n;
    float *scales = kfi_calloc(job->alloc, n, sizeof *scales);
    if (scales == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "scales of %zu inputs", n);
    }
    column_maxima(scales, job->floats, i_step);
    for (size_t c = 0; c < n; c++) {
        scales[c] = scale_of(statistics->max_abs[c], scales[c], job->knobs[KNOB_ALPHA]);
    }
    kfi_float_block_smooth(job->floats, i_step, scales);
    kfi_free(job->alloc, scales, n * sizeof *scales);
    return KF_OK;
}

static kf_status smoothquant_transform(kfi_transform_job *job, kf_error *err)
{
    KFI_TRY(smooth_step(job, KFI_STEP_QKV, err));
    return smooth_step(job, KFI_STEP_GATE_UP, err);
}

const kfi_method kfi_method_smoothquant = {
    .about = {.name = "smoothquant",
              .stage = "transform",
              .summary =
                  "Moves outliers of activations into the weights, through the norms' gains.",
              .paper = "G. Xiao, J. Lin, M. Seznec, H. Wu, J. Demouth, S. Han, SmoothQuant: "
                       "Accurate and Efficient Post-Training Quantization for Large Language "
                       "Models, 2022, arXiv:2211.10438",
              .statistics = "max abs",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_TRANSFORM,
    .request = request_max,
    .transform = smoothquant_transform,
};
