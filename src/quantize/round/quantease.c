/* quantease.c - QuantEase: coordinate descent on the output error, one column after the other.
 *
 * Source: K. Behdin, A. Acharya, A. Gupta, Q. Song, S. Zhu, S. Keerthi, R. Mazumder, "QuantEase:
 * Optimization-based Quantization for Language Models", 2023, arXiv:2309.01885, algorithms 1 to 3.
 *
 * For a layer y = W x with H = sum x x^T + lambda I the error is f(W~) = tr(D H D^T), D = W - W~.
 * Of column j alone it is least at
 *
 *     beta_j = W~_j + (D H)_j / H_jj            and on the grid at W~_j = nearest(beta_j)
 *
 * A sweep does that for all columns, m n^2 multiplications for m rows, without any inverse. Once
 * every weight is on its grid no step can raise f: a code is only replaced by one that is strictly
 * nearer to beta.
 *
 * Rows are independent. A task takes 64 of them through all sweeps, and its columns in blocks:
 *
 *              block
 *     ┌───┬────┬────┬─────────┐      G = D H[:, block]          a matrix product
 *     │         D             │      in the block, column by column:
 *     └───┴────┴────┴─────────┘      G_k += (change of D_j) H_jk for the later k of the block
 *
 * D H is thus made anew for every block, so that nothing drifts; the updates inside a block are
 * 1/n_blocks of the work.
 *
 * Every third sweep, but never one of the last two (`relax_period`), W~_j = beta_j is left
 * unrounded, to leave a poor minimum. Start: the rounded weights (`start=rtn`), those of GPTQ
 * (`gptq`), or the weights themselves (`weights`: the authors').
 *
 * With `outliers` (algorithm 3) a part of the weights, S, is kept in 16 bits beside the matrix:
 * D = W - W~ - S with at most k weights in S. It begins with those of the largest magnitude; grids
 * and start see the others alone. A sweep moves a weight of S to its beta_j unrounded, in fp16.
 * After a sweep a row exchanges weights: the one outside with the most to gain, (D H)_j^2 / H_jj,
 * comes in, and the one of S that loses least goes back to the grid, as long as f falls. Where a
 * sweep brings no exchange any more, none is looked for again.
 *
 * Differences from the paper: lambda (its H has none); groups, and grids of every format; the grid
 * comes from the clip search, not from the range; tasks end when a sweep changes no code.
 * Of S: each row keeps as many weights as the largest of the matrix begin with there, so that rows
 * stay independent; exchanges by their exact gain in place of iterative hard thresholding, S <- the
 * k largest of S + D H / lambda_max(H), whose steps are short where a few directions of the inputs
 * are far above the others: in tests/unit/test_sparse.c they exchanged nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/round/gptq.h"
#include "quantize/round/quantease_descent.h"

enum {
    KNOB_GRID, /* the first of KFI_ROUND_GRID_N_KNOBS */
    KNOB_SWEEPS = KFI_ROUND_GRID_N_KNOBS,
    KNOB_RELAX_PERIOD,
    KNOB_START,
    KNOB_DAMPING,
    KNOB_TOKENS, /* the first of KFI_TOKEN_N_KNOBS */
    KNOB_OUTLIERS = KNOB_TOKENS + KFI_TOKEN_N_KNOBS
};

enum {
    START_WEIGHTS,
    START_RTN,
    START_GPTQ
};

static const kf_knob knobs[] = {
    KFI_ROUND_GRID_KNOBS("mse"),
    {"sweeps", "Times that every column is visited.", NULL, 1.0, 1000.0, "25"},
    {"relax_period",
     "Every so many sweeps, but for the last two, leave weights unrounded; 0: never.", NULL, 0.0,
     1000.0, "3"},
    {"start", "Where the descent begins.", "weights|rtn|gptq", 0, 0, "gptq"},
    {"damping", "Added to the diagonal of H, as a part of its mean.", NULL, 0.0, 10.0, "0.01"},
    KFI_TOKEN_KNOBS,
    {"outliers", "Part of the weights that stay in 16 bits; published are 0.005 and 0.01.", NULL,
     0.0, 0.5, "0"},
};

static kf_status start_from_gptq(kfi_round_job *job, const void *shared, kf_error *err)
{
    double of_gptq[KFI_KNOBS_MAX];
    kfi_gptq_knobs(of_gptq, job->knobs + KNOB_GRID, job->knobs[KNOB_DAMPING]);
    const kf_status st = kfi_gptq_round(job, of_gptq, shared, err);
    job->loss = (double)NAN; /* of GPTQ */
    return st;
}

/* Grids of the weights; an input that was always 0 takes no part in them. */
static kf_status fit_live(kfi_round_job *job, kf_error *err)
{
    const size_t cols = job->cols;
    kfi_round_grid grid;
    kfi_round_grid_read(&grid, job->knobs + KNOB_GRID);
    uint8_t *dead = kfi_alloc(job->alloc, cols);
    if (dead == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "marks of %zu columns", cols);
    }
    for (size_t c = 0; c < cols; c++) {
        dead[c] = job->statistics->gram[c * cols + c] == 0.0f; /* exact: a sum of squares */
    }
    kf_status st = KF_OK;
    if (!job->is_fitted || memchr(dead, 1, cols) != NULL) {
        st = kfi_round_fit(job, &grid, dead, err);
    }
    kfi_free(job->alloc, dead, cols);
    return st;
}

static kf_status start(kfi_round_job *job, const void *shared, kf_error *err)
{
    const double from = job->knobs[KNOB_START];
    if (from > (START_RTN + START_GPTQ) / 2.0) {
        return start_from_gptq(job, shared, err);
    }
    KFI_TRY(fit_live(job, err));
    kfi_round_nearest(job);
    kfi_sparse_fill(job);
    return KF_OK;
}

static double mean_diagonal(const float *gram, size_t n)
{
    double sum = 0.0;
    size_t n_live = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)gram[i * n + i];
        n_live += gram[i * n + i] > 0.0f;
    }
    return n_live > 0 ? sum / (double)n_live : 0.0;
}

static double quantease_sparse(const double *values)
{
    return values[KNOB_OUTLIERS];
}

static kf_status quantease_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    const kfi_sparse_rule rule = {.fraction = job->knobs[KNOB_OUTLIERS],
                                  .score = kfi_sparse_magnitude};
    const float *gram = job->statistics->gram;
    const double mean = mean_diagonal(gram, job->cols);
    if (!isfinite(mean)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "inputs of %zu columns are not finite",
                        job->cols);
    }
    KFI_TRY(kfi_sparse_begin(job, &rule, 1, err));
    KFI_TRY(start(job, shared, err));
    const float lambda = (float)(job->knobs[KNOB_DAMPING] * mean);
    kfi_descent run = {.job = job,
                       .weights = job->sparse.n > 0 ? job->sparse.whole : job->weights,
                       .levels = kfi_round_levels(job),
                       .gram = gram,
                       .lambda = lambda,
                       .group = kfi_format_group(job->format, job->cols),
                       .n_groups = kfi_format_groups(job->format, job->cols),
                       .n_sweeps = (size_t)job->knobs[KNOB_SWEEPS],
                       .relax_period = (size_t)job->knobs[KNOB_RELAX_PERIOD],
                       .starts_on_grid = job->knobs[KNOB_START] > 0.5};
    const kf_status st = kfi_descend(&run, err);
    kfi_sparse_close(job);
    return st;
}

static kf_status quantease_prepare(void **shared, const kfi_statistics *statistics,
                                   const double *values, const kf_allocator *alloc, kf_error *err)
{
    double of_gptq[KFI_KNOBS_MAX];
    *shared = NULL;
    if (values[KNOB_START] < (START_RTN + START_GPTQ) / 2.0) {
        return KF_OK;
    }
    kfi_gptq_knobs(of_gptq, values + KNOB_GRID, values[KNOB_DAMPING]);
    return kfi_method_gptq.prepare(shared, statistics, of_gptq, alloc, err);
}

static void quantease_release(void *shared, const kf_allocator *alloc)
{
    kfi_method_gptq.release(shared, alloc);
}

static void quantease_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_GRAM;
    kfi_token_request(request, values + KNOB_TOKENS);
}

/* A sweep is one, at 118 of 200 GFLOP/s. */
static double quantease_products(const double *values)
{
    return 1.7 * values[KNOB_SWEEPS];
}

const kfi_method kfi_method_quantease = {
    .about = {.name = "quantease",
              .stage = "round",
              .summary = "Coordinate descent on the output error, column by column, in sweeps.",
              .paper = "K. Behdin, A. Acharya, A. Gupta, Q. Song, S. Zhu, S. Keerthi, R. Mazumder, "
                       "QuantEase: Optimization-based Quantization for Language Models, 2023, "
                       "arXiv:2309.01885",
              .statistics = "gram",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .request = quantease_request,
    .sparse = quantease_sparse,
    .grid = kfi_round_grid_read,
    .prepare = quantease_prepare,
    .release = quantease_release,
    .products = quantease_products,
    .round = quantease_round,
};
