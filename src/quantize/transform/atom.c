/* atom.c - Atom: reorders the inputs of layers by size, and keeps the largest in 8 bits.
 *
 * Source: Y. Zhao, C.-Y. Lin, K. Zhu, Z. Ye, L. Chen, S. Zheng, L. Ceze, A. Krishnamurthy, T. Chen,
 * B. Kasikci, "Atom: Low-bit Quantization for Efficient and Accurate LLM Serving", 2023,
 * arXiv:2310.19102, sections 4.1 and 4.2, and its code.
 *
 *     x' = x in ascending order of sum x^2      [ small ... large | outliers ]
 *                                                 groups, low bits   8 bits
 *
 * Channels of a group are then alike, and the last columns are outliers: 8 bits on both sides, with
 * a scale a row of weights. GPTQ rounds them last.
 *
 * Differences from the authors' code: each of the four inputs is gathered while running (theirs is
 * folded into what computes q, k, v's and down's inputs); an outlier's activation has a scale for
 * 32 of them, not one for all; weights share no scale between two rows; the number of outliers goes
 * with the width: theirs are 128 of 4096.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/fail.h"
#include "quantize/method.h"

/* The width that the knob is for, and what the numbers of others are multiples of. */
#define WIDTH   4096u
#define QUANTUM 32u

enum {
    KNOB_OUTLIERS
};

static const kf_knob knobs[] = {
    {"outliers",
     "Columns of outliers in an input of 4096; of others in proportion, up to a multiple of 32.",
     NULL, 0.0, KFI_SIDE_MOST, "128"},
};

static size_t atom_n_outliers(size_t width, const double *values)
{
    const size_t n = ((size_t)values[KNOB_OUTLIERS] * width + WIDTH - 1) / WIDTH;
    const size_t rounded = kfi_round_up(n, QUANTUM);
    return rounded < KFI_SIDE_MOST ? rounded : KFI_SIDE_MOST;
}

static kf_status atom_check(const kfi_config *config, const double *values, kf_error *err)
{
    const size_t widths[] = {config->hidden, config->n_heads * config->head_dim,
                             config->feed_forward};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        const size_t n = atom_n_outliers(widths[i], values);
        if (n >= widths[i]) {
            return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%zu columns of outliers of only %zu", n,
                            widths[i]);
        }
    }
    return KF_OK;
}

/* An order beside each layer. */
static uint64_t atom_map_bytes(const kfi_config *config, const double *values)
{
    (void)values;
    const uint64_t attention = (uint64_t)config->n_heads * config->head_dim;
    return (5 * config->hidden + attention + config->feed_forward) * sizeof(uint32_t);
}

static void request_square(kfi_statistics_request *request, const double *values)
{
    (void)values;
    request->needs |= KFI_NEED_MEAN_SQUARE;
}

typedef struct channel {
    double square_sum;
    uint32_t index;
} channel;

static int by_rising_square(const void *a, const void *b)
{
    const channel *x = a;
    const channel *y = b;
    if (x->square_sum < y->square_sum || x->square_sum > y->square_sum) {
        return x->square_sum < y->square_sum ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static kf_status reorder(const kfi_transform_job *job, size_t i_step, kf_error *err)
{
    const kfi_statistics *statistics = job->statistics[i_step];
    const size_t n = statistics->n;
    channel *channels = kfi_alloc(job->alloc, n * sizeof *channels);
    uint32_t *columns = kfi_alloc(job->alloc, n * sizeof *columns);
    kf_status st = KF_OK;
    if (channels == NULL || columns == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "order of %zu inputs", n);
        goto done;
    }
    for (size_t c = 0; c < n; c++) {
        channels[c] = (channel){statistics->square_sum[c], (uint32_t)c};
    }
    qsort(channels, n, sizeof *channels, by_rising_square);
    for (size_t c = 0; c < n; c++) {
        columns[c] = channels[c].index;
    }
    st = kfi_float_block_gather(job->floats, i_step, columns, NULL, n, err);
    job->floats->n_outliers[i_step] = atom_n_outliers(n, job->knobs);
done:
    kfi_free(job->alloc, columns, n * sizeof *columns);
    kfi_free(job->alloc, channels, n * sizeof *channels);
    return st;
}

static kf_status atom_transform(kfi_transform_job *job, kf_error *err)
{
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(reorder(job, i, err));
    }
    return KF_OK;
}

const kfi_method kfi_method_atom = {
    .about = {.name = "atom",
              .stage = "transform",
              .summary = "Reorders inputs by size; the largest stay in 8 bits.",
              .paper = "Y. Zhao, C.-Y. Lin, K. Zhu, Z. Ye, L. Chen, et al., Atom: Low-bit "
                       "Quantization for Efficient and Accurate LLM Serving, 2023, "
                       "arXiv:2310.19102",
              .statistics = "mean square",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_TRANSFORM,
    .maps_inputs = true,
    .check = atom_check,
    .map_bytes = atom_map_bytes,
    .n_outliers = atom_n_outliers,
    .request = request_square,
    .transform = atom_transform,
};
