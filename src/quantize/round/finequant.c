/* finequant.c - FineQuant: the group size of each matrix, by how much finer groups shrink ranges.
 *
 * Source: Y. J. Kim, R. Henry, R. Fahim, H. Hassan Awadalla, "FineQuant: Unlocking Efficiency with
 * Fine-Grained Weight-Only Quantization for LLMs", 2023, arXiv:2308.09723, section 3.
 *
 * It begins with a whole row as the group and goes on to finer ones (128, 64, 32 columns) as long
 * as that shrinks ranges, and so steps, enough: while
 *
 *     sqrt( mean over groups of range^2, finer / mean over groups of range^2, so far ) < threshold
 *
 * The paper states the heuristic in words; this ratio and its threshold are ours. Of normal weights
 * it is about 0.91 from 128 to 64 and 0.89 from 64 to 32; the more outlying weights there are, the
 * smaller. The recipe's own group is the finest that is taken, so that its size is an upper limit
 * of the result's. Then weights go to the nearest code on grids of the range.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "quantize/method.h"

enum {
    KNOB_GRID, /* the first of KFI_ROUND_GRID_N_KNOBS */
    KNOB_THRESHOLD = KFI_ROUND_GRID_N_KNOBS
};

static const kf_knob knobs[] = {
    KFI_ROUND_GRID_KNOBS("minmax"),
    {"threshold", "Finer groups are taken where they shrink ranges to less than this part.", NULL,
     0.0, 1.0, "0.9"},
};

/* Mean of the squared ranges (greatest minus least weight) of all groups of so many columns. */
static double mean_square_range(const float *weights, size_t rows, size_t cols, size_t group)
{
    double sum = 0.0;
    size_t n = 0;
    for (size_t r = 0; r < rows; r++) {
        for (size_t first = 0; first < cols; first += group, n++) {
            const size_t end = first + group < cols ? first + group : cols;
            float low = weights[r * cols + first];
            float high = low;
            for (size_t c = first + 1; c < end; c++) {
                low = fminf(low, weights[r * cols + c]);
                high = fmaxf(high, weights[r * cols + c]);
            }
            const double range = (double)high - (double)low;
            sum += range * range;
        }
    }
    return sum / (double)n;
}

static void finequant_format(kf_format *format, const float *weights, size_t rows, size_t cols,
                             const double *values)
{
    static const uint32_t finer[] = {128, 64, 32};
    const uint32_t finest = format->group;
    double so_far = mean_square_range(weights, rows, cols, cols);
    /* A second level of scales needs groups: 128 is its coarsest. */
    format->group = format->scale == KF_SCALE_TWO_LEVEL ? finer[0] : KF_GROUP_ROW;
    for (size_t i = 0; i < sizeof finer / sizeof finer[0]; i++) {
        if (finest == KF_GROUP_ROW || finer[i] < finest) {
            return;
        }
        if (finer[i] >= cols) {
            continue;
        }
        const double next = mean_square_range(weights, rows, cols, finer[i]);
        if (sqrt(next) >= values[KNOB_THRESHOLD] * sqrt(so_far)) {
            return;
        }
        format->group = finer[i];
        so_far = next;
    }
}

const kfi_method kfi_method_finequant = {
    .about = {.name = "finequant",
              .stage = "round",
              .summary = "Chooses the group size of each matrix by how ranges shrink.",
              .paper = "Y. J. Kim, R. Henry, R. Fahim, H. Hassan Awadalla, FineQuant: Unlocking "
                       "Efficiency with Fine-Grained Weight-Only Quantization for LLMs, 2023, "
                       "arXiv:2308.09723",
              .statistics = "none (mean square with importance=mean_square)",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = kfi_round_grid_request,
    .grid = kfi_round_grid_read,
    .format = finequant_format,
    .is_whole = true,
    .round = kfi_round_rtn,
};
