/* dgq.c - DGQ: two-level integer scales, both levels chosen by the error of the output.
 *
 * Source: L. Zhang, W. Fei, W. Wu, Y. He, Z. Lou, H. Zhou, "Dual Grained Quantization for Efficient
 * LLM Quantization", 2023, arXiv:2310.04836, and its code.
 *
 * A weight is S m (q - z): S a float of the row, m a small integer of the group, so that a product
 * with int8 activations needs only integers up to the end of the row (formats int4g128ar and its
 * like; |m| (2^b - 1) <= 255). Two searches:
 *
 *     1  each group's own scale s: its range times 1.02 ... 0.80, by the error of the group's
 * output 2  S = ratio max|s| / m_most, ratio = 1.02 ... 0.2; m = s / S rounded, 1 ... m_most; by
 * the error of the row's output e H e^T, with codes made for the scales S m
 *
 * where format/two_level.c, which everything else uses, chooses S and m by the error of the
 * weights.
 *
 * Differences from the code: the Gram matrix of all calibration tokens in place of a sample's
 * outputs; m is held so that m (2^b - 1) fits an unsigned byte (there, m (q - z) a signed one);
 * no percentile-clipped SmoothQuant in front: that is a method of the stage transform.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "format/two_level.h"
#include "linalg/matrix.h"
#include "quantize/method.h"
#include "quantize/round/output_fit.h"

#define GROUP_FIRST 1.02
#define GROUP_LAST  0.80
#define ROW_FIRST   1.02
#define ROW_LAST    0.2

enum {
    KNOB_GROUP_STEPS,
    KNOB_ROW_STEPS,
    KNOB_TOKENS /* the first of KFI_TOKEN_N_KNOBS */
};

static const kf_knob knobs[] = {
    {"group_steps", "Ranges of a group that are tried, from 1.02 of it to 0.80.", NULL, 2.0, 128.0,
     "20"},
    {"row_steps",
     "Scales of a row that are tried, from 1.02 of the least that clips nothing to "
     "0.2.",
     NULL, 2.0, 1000.0, "80"},
    KFI_TOKEN_KNOBS,
};

typedef struct row_search {
    kfi_round_job *job; /* its grids come with scales of one level */
    kfi_levels levels;
    size_t group, n_groups, steps;
    float *scratch; /* [threads][scratch_n]: errors and product, [steps][cols] each */
    size_t scratch_n;
    kfi_grid *grids; /* [threads][n_groups] */
} row_search;

/* S of a candidate; 0 where all weights of the row are 0. */
static float row_scale_at(const row_search *run, const kfi_grid *own, size_t step)
{
    const double ratio =
        ROW_FIRST + (ROW_LAST - ROW_FIRST) * (double)step / (double)(run->steps - 1);
    double most = 0.0;
    for (size_t g = 0; g < run->n_groups; g++) {
        most = fmax(most, fabs((double)own[g].scale));
    }
    return kfi_two_level_round_scale(ratio * most / kfi_two_level_most(run->job->format.bits));
}

/* The grids of a row under S. A group of zeros keeps the multiplier 0. */
static void grids_at(kfi_grid *dst, const row_search *run, const kfi_grid *own, float row_scale)
{
    const double most = kfi_two_level_most(run->job->format.bits);
    for (size_t g = 0; g < run->n_groups; g++) {
        const double scale = (double)own[g].scale;
        double m = row_scale > 0.0f ? nearbyint(fabs(scale) / (double)row_scale) : 0.0;
        m = scale == 0.0 ? 0.0 : fmin(fmax(m, 1.0), most); /* exact: as fitted to zeros */
        dst[g] =
            kfi_two_level_grid(&own[g], row_scale, (int)(scale < 0.0 ? -m : m), run->job->format);
    }
}

static void error_row(float *dst, const row_search *run, const float *w, const kfi_grid *grids)
{
    for (size_t c = 0; c < run->job->cols; c++) {
        const kfi_grid *grid = &grids[c / run->group];
        dst[c] =
            w[c] - kfi_grid_decode(grid, run->levels, kfi_grid_encode(grid, run->levels, w[c]));
    }
}

static size_t best_step(const row_search *run, const float *errors, float *product)
{
    const size_t cols = run->job->cols;
    const kfi_gemm times_gram = {.kind = KFI_GEMM_NN,
                                 .m = run->steps,
                                 .n = cols,
                                 .k = cols,
                                 .a = errors,
                                 .ld_a = cols,
                                 .b = run->job->statistics->gram,
                                 .ld_b = cols,
                                 .c = product,
                                 .ld_c = cols};
    size_t best = 0;
    double best_error = (double)INFINITY;
    kfi_matrix_multiply(NULL, &times_gram);
    for (size_t step = 0; step < run->steps; step++) {
        double error = 0.0;
        for (size_t i = step * cols; i < (step + 1) * cols; i++) {
            error += (double)errors[i] * (double)product[i];
        }
        if (error < best_error) {
            best_error = error;
            best = step;
        }
    }
    return best;
}

static void search_row(void *ctx, size_t row, size_t i_thread)
{
    const row_search *run = ctx;
    const kfi_round_job *job = run->job;
    const float *w = job->weights + row * job->cols;
    float *errors = run->scratch + i_thread * run->scratch_n;
    kfi_grid *tried = run->grids + i_thread * run->n_groups;
    kfi_grid *own = job->grids + row * run->n_groups;
    for (size_t step = 0; step < run->steps; step++) {
        grids_at(tried, run, own, row_scale_at(run, own, step));
        error_row(errors + step * job->cols, run, w, tried);
    }
    const size_t best = best_step(run, errors, errors + run->steps * job->cols);
    grids_at(tried, run, own, row_scale_at(run, own, best));
    memcpy(own, tried, run->n_groups * sizeof *own);
}

static kf_status search_rows(kfi_round_job *job, kf_error *err)
{
    const size_t threads = kf_pool_threads(job->pool);
    kf_status st = KF_OK;
    row_search run = {.job = job,
                      .levels = kfi_round_levels(job),
                      .group = kfi_format_group(job->format, job->cols),
                      .n_groups = kfi_format_groups(job->format, job->cols),
                      .steps = (size_t)job->knobs[KNOB_ROW_STEPS]};
    run.scratch_n = kfi_round_up(2 * run.steps * job->cols, 16);
    run.scratch = kfi_alloc(job->alloc, threads * run.scratch_n * sizeof *run.scratch);
    run.grids = kfi_alloc(job->alloc, threads * run.n_groups * sizeof *run.grids);
    if (run.scratch == NULL || run.grids == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu candidates of a row of %zu", run.steps,
                      job->cols);
    } else {
        kfi_pool_run(job->pool, search_row, &run, job->rows);
    }
    kfi_free(job->alloc, run.grids, threads * run.n_groups * sizeof *run.grids);
    kfi_free(job->alloc, run.scratch, threads * run.scratch_n * sizeof *run.scratch);
    return st;
}

static void dgq_grid(kfi_round_grid *grid, const double *values)
{
    (void)values;
    *grid = (kfi_round_grid){.fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1}};
}

static void dgq_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_GRAM;
    kfi_token_request(request, values + KNOB_TOKENS);
}

static kf_status dgq_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    const kfi_output_fit fit = {.range = KFI_OUTPUT_RANGE_SCALED,
                                .first = GROUP_FIRST,
                                .last = GROUP_LAST,
                                .steps = (size_t)job->knobs[KNOB_GROUP_STEPS]};
    if (job->format.scale != KF_SCALE_TWO_LEVEL || job->format.element != KF_ELEMENT_INT) {
        char name[KF_FORMAT_NAME_BYTES];
        kf_format_name(name, job->format);
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "dgq makes integers with two-level scales, such as int4g128ar, not %s",
                        name);
    }
    KFI_TRY(kfi_output_fit_groups(job, &fit, err));
    KFI_TRY(search_rows(job, err));
    kfi_round_nearest(job);
    return KF_OK;
}

static double dgq_products(const double *values)
{
    return values[KNOB_ROW_STEPS];
}

const kfi_method kfi_method_dgq = {
    .about = {.name = "dgq",
              .stage = "round",
              .summary = "Two-level integer scales, both levels by the error of the output.",
              .paper = "L. Zhang, W. Fei, W. Wu, Y. He, Z. Lou, H. Zhou, Dual Grained Quantization "
                       "for Efficient LLM Quantization, 2023, arXiv:2310.04836",
              .statistics = "gram",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = dgq_request,
    .grid = dgq_grid,
    .products = dgq_products,
    .round = dgq_round,
};
