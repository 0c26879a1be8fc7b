/* learn.c - the codebook of one tensor: k-means on its weights, each over its group's largest.
 *
 * A weight counts by the square of that largest, so that the sum that k-means makes small is the
 * squared error of the weights themselves, and by its importance. The weights are gathered in bins
 * a quarter of an entry wide, which keep their exact mean, so that no iteration looks at a weight
 * again. It starts from the NormalFloat of as many entries; the result is scaled to reach 127 and
 * rounded.
 *
 * Source: S. Kim, C. Hooper, A. Gholami et al., "SqueezeLLM: Dense-and-Sparse Quantization", 2023,
 * arXiv:2306.07629, section 4.1. Different from it: one table a tensor instead of one a row, under
 * scales of groups, and importance where it is given instead of second derivatives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <math.h>

#include "format/fit.h"

#define N_BINS     1024
#define ITERATIONS 100
#define ENTRY_MOST 127.0

/* Weights -1 … 1: how much each bin counts, and the sum of its weights by what they count. */
typedef struct histogram {
    double counts[N_BINS];
    double sums[N_BINS];
} histogram;

static void add_group(histogram *h, const kfi_fit_group *group)
{
    const double most = fabs(kfi_fit_extreme(kfi_fit_range(group)));
    if (most == 0.0) { /* exact: nothing to learn from */
        return;
    }
    for (size_t i = 0; i < group->n; i++) {
        const double x = (double)group->weights[i] / most;
        const int bin = (int)fmin((x + 1.0) * 0.5 * N_BINS, N_BINS - 1);
        const double importance = group->importance != NULL ? (double)group->importance[i] : 1.0;
        h->counts[bin] += importance * most * most;
        h->sums[bin] += importance * most * most * x;
    }
}

/* Moves every centre to the mean of the bins that are nearest to it; false if none moved. */
static bool move_centres(double *centres, size_t n, const histogram *h)
{
    bool moved = false;
    size_t bin = 0;
    for (size_t i = 0; i < n; i++) {
        const double end = i + 1 < n ? 0.5 * (centres[i] + centres[i + 1]) : 2.0;
        double count = 0.0;
        double sum = 0.0;
        for (; bin < N_BINS && ((double)bin + 0.5) * 2.0 / N_BINS - 1.0 < end; bin++) {
            count += h->counts[bin];
            sum += h->sums[bin];
        }
        const double mean = count > 0.0 ? sum / count : centres[i];
        moved = moved || mean != centres[i]; /* exact: a fixed point */
        centres[i] = mean;
    }
    return moved;
}

/* The first n entries; 0 behind them. A centre that no bin is nearest to may have been passed by
 * its neighbour, by less than a bin. */
static void round_centres(int8_t table[KFI_TABLE_ENTRIES], const double *centres, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(centres[i]));
    }
    for (size_t i = 0; i < KFI_TABLE_ENTRIES; i++) {
        const double part = i < n && most > 0.0 ? centres[i] / most : 0.0;
        const int8_t entry = (int8_t)lround(ENTRY_MOST * part);
        table[i] = i > 0 && i < n && entry < table[i - 1] ? table[i - 1] : entry;
    }
}

void kfi_format_learn(int8_t table[KFI_TABLE_ENTRIES], kf_format format, const float *weights,
                      const float *importance, size_t rows, size_t cols)
{
    const kf_format first = {.element = KF_ELEMENT_NF, .bits = format.bits};
    const int8_t *start = kfi_format_table(first);
    const size_t n = format.bits < 4 ? (size_t)1 << format.bits : KFI_TABLE_ENTRIES;
    double centres[KFI_TABLE_ENTRIES];
    histogram h = {0};
    assert(format.element == KF_ELEMENT_CODEBOOK && format.bits <= 4);
    for (size_t r = 0; r < rows; r++) {
        const kfi_fit_group row = {
            .weights = weights + r * cols, .importance = importance, .n = cols};
        for (size_t g = 0; g < kfi_format_groups(format, cols); g++) {
            const kfi_fit_group group = kfi_fit_group_of(&row, format, g);
            add_group(&h, &group);
        }
    }
    for (size_t i = 0; i < n; i++) {
        centres[i] = start[i] / ENTRY_MOST;
    }
    for (int i = 0; i < ITERATIONS && move_centres(centres, n, &h); i++) {
    }
    round_centres(table, centres, n);
}
