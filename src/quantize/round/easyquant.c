/* easyquant.c - EasyQuant: outliers stay in 16 bits, the range of the rest is fitted by least
 * squares; without any data.
 *
 * Source: H. Tang, Y. Sun, D. Wu, K. Liu, J. Zhu, Z. Kang, "EasyQuant: An Efficient Data-free
 * Quantization Algorithm for LLMs", 2024, arXiv:2403.02775, section 3.
 *
 * Weights farther from the mean than n standard deviations, both of the whole matrix, are kept
 * beside it: in the paper less than 1 % of them, and its core. The others:
 *
 * With codes held, sum (w - s l)^2 over a group, l what its codes stand for, is least at
 *
 *     s = sum (w - o) l / sum l^2                    o the offset of formats that have one, else 0
 *
 * Then weights go to the nearest code on the new grid, and so on: neither step raises the sum. It
 * ends when the scale as the file holds it stays, or no longer helps: a local minimum near the
 * range that it begins with.
 *
 * Differences from the paper: the fixed point in place of its gradient steps, which lead to the
 * same place; groups; a ceiling for the outliers' number, `outliers`, so that a matrix with heavy
 * tails costs no more: the farthest are kept.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "quantize/method.h"
#include "quantize/round/sparse.h"

enum {
    KNOB_ITERATIONS,
    KNOB_OUTLIERS,
    KNOB_SIGMA
};

static const kf_knob knobs[] = {
    {"iterations", "Most times that a scale is fitted to its codes.", NULL, 0.0, 1000.0, "20"},
    {"outliers", "Largest part of the weights that stay in 16 bits.", NULL, 0.0, 0.5, "0.01"},
    {"sigma", "Standard deviations from the mean that make an outlier.", NULL, 0.0, 100.0, "3"},
};

typedef struct fixed_point {
    kfi_round_job *job;
    kfi_levels levels;
    size_t group, n_groups;
    int n_iterations;
} fixed_point;

static double squared_error(const kfi_grid *grid, kfi_levels levels, const float *w, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        const float value = kfi_grid_decode(grid, levels, kfi_grid_encode(grid, levels, w[i]));
        const double e = (double)w[i] - (double)value;
        sum += e * e;
    }
    return sum;
}

/* The scale that is best for the codes that a grid gives, rounded to fp16; 0: all codes are zero.
 */
static float best_scale(const kfi_grid *grid, kfi_levels levels, const float *w, size_t n)
{
    const kfi_grid unit = {.scale = 1.0f, .zero = grid->zero};
    double product = 0.0;
    double square = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double level =
            (double)kfi_grid_decode(&unit, levels, kfi_grid_encode(grid, levels, w[i]));
        product += ((double)w[i] - (double)grid->offset) * level;
        square += level * level;
    }
    const float scale = square > 0.0 ? (float)(product / square) : 0.0f;
    return kfi_half_to_float(kfi_half_from_float(scale));
}

static void fit_group(const fixed_point *run, kfi_grid *grid, const float *w, size_t n)
{
    double error = squared_error(grid, run->levels, w, n);
    for (int i = 0; i < run->n_iterations && error > 0.0; i++) {
        kfi_grid next = *grid;
        next.scale = best_scale(grid, run->levels, w, n);
        if (next.scale == 0.0f || !isfinite(next.scale)) { /* exact: below what fp16 holds */
            return;
        }
        const double next_error = squared_error(&next, run->levels, w, n);
        if (next_error >= error) {
            return;
        }
        *grid = next;
        error = next_error;
    }
}

static void fit_rows(void *ctx, size_t i_task, size_t i_thread)
{
    (void)i_thread;
    const fixed_point *run = ctx;
    const kfi_round_job *job = run->job;
    const size_t end = (i_task + 1) * KFI_ROUND_ROWS;
    for (size_t r = i_task * KFI_ROUND_ROWS; r < job->rows && r < end; r++) {
        for (size_t g = 0; g < run->n_groups; g++) {
            const size_t first = g * run->group;
            const size_t n = job->cols - first < run->group ? job->cols - first : run->group;
            fit_group(run, &job->grids[r * run->n_groups + g], job->weights + r * job->cols + first,
                      n);
        }
    }
}

/* ---- outliers ---- */

/* Of all weights of a matrix. */
typedef struct spread {
    double mean, deviation;
} spread;

static spread spread_of(const kfi_round_job *job)
{
    const size_t n = job->rows * job->cols;
    spread s = {0};
    for (size_t i = 0; i < n; i++) {
        s.mean += (double)job->weights[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        const double d = (double)job->weights[i] - s.mean;
        s.deviation += d * d / (double)n;
    }
    s.deviation = sqrt(s.deviation);
    return s;
}

/* Standard deviations from the mean. */
static void deviations(float *scores, const kfi_round_job *job, size_t row, const void *ctx)
{
    const spread *s = ctx;
    for (size_t c = 0; c < job->cols; c++) {
        const double d = fabs((double)job->weights[row * job->cols + c] - s->mean);
        scores[c] = s->deviation > 0.0 ? (float)(d / s->deviation) : 0.0f;
    }
}

static kf_status take_outliers(kfi_round_job *job, kf_error *err)
{
    const spread s = job->takes_sparse ? spread_of(job) : (spread){0};
    const kfi_sparse_rule rule = {.fraction = job->knobs[KNOB_OUTLIERS],
                                  .least = (float)job->knobs[KNOB_SIGMA],
                                  .score = deviations,
                                  .ctx = &s};
    return kfi_sparse_begin(job, &rule, 1, err);
}

static double easyquant_sparse(const double *values)
{
    return values[KNOB_OUTLIERS];
}

static void easyquant_grid(kfi_round_grid *grid, const double *values)
{
    (void)values;
    *grid = (kfi_round_grid){.fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1}};
}

static kf_status easyquant_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    kfi_round_grid grid;
    if (job->format.scale != KF_SCALE_FP16) {
        char name[KF_FORMAT_NAME_BYTES];
        kf_format_name(name, job->format);
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "easyquant fits fp16 scales of groups, %s has none", name);
    }
    easyquant_grid(&grid, job->knobs);
    KFI_TRY(take_outliers(job, err));
    KFI_TRY(kfi_round_fit(job, &grid, NULL, err));
    fixed_point run = {.job = job,
                       .levels = kfi_round_levels(job),
                       .group = kfi_format_group(job->format, job->cols),
                       .n_groups = kfi_format_groups(job->format, job->cols),
                       .n_iterations = (int)job->knobs[KNOB_ITERATIONS]};
    kfi_pool_run(job->pool, fit_rows, &run, (job->rows + KFI_ROUND_ROWS - 1) / KFI_ROUND_ROWS);
    kfi_round_nearest(job);
    kfi_sparse_end(job);
    return KF_OK;
}

const kfi_method kfi_method_easyquant = {
    .about = {.name = "easyquant",
              .stage = "round",
              .summary = "Keeps outliers in 16 bits and fits the others' scales by least squares.",
              .paper = "H. Tang, Y. Sun, D. Wu, K. Liu, J. Zhu, Z. Kang, EasyQuant: An Efficient "
                       "Data-free Quantization Algorithm for LLMs, 2024, arXiv:2403.02775",
              .statistics = "none",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .sparse = easyquant_sparse,
    .grid = easyquant_grid,
    .round = easyquant_round,
};
