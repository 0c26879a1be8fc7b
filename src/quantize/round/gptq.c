/* gptq.c - GPTQ: rounds column by column and lets the later columns undo each one's error.
 *
 * Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate Post-Training
 * Quantization for Generative Pre-trained Transformers", 2022, arXiv:2210.17323, algorithm 1.
 *
 * For a layer y = W x with H = sum x x^T + lambda I and inverse(H) = U^T U, U upper triangular,
 * each row w is rounded by
 *
 *     for i = 0 … cols-1:   q_i = nearest(w_i);   e_i = (w_i - q_i) / U_ii
 *                           w_j -= e_i U_ij   for all j > i
 *
 * and sum e_i^2 is then exactly (w - q) H (w - q)^T. Columns are taken in blocks, so that most of
 * the work is a matrix product:
 *
 *               block             rest
 *        ┌────┬────────┬────────────────────────┐
 *     32 │done│ T, E   │  W -= E U[block, rest] │     one task: 32 rows through all blocks
 *   rows └────┴────────┴────────────────────────┘
 *
 * Inside a block the 32 rows lie column-major (T), one vector operation a column pair.
 *
 * Differences from the authors' code: how U is computed (gptq_factor.h); H is a sum over tokens,
 * not a mean (the damping is relative, so that nothing changes); a dead column (H_ii = 0) gets the
 * mean diagonal instead of 1; the loss has no factor 1/2. act_order (columns by descending H_ii)
 * implies static groups: every grid is fitted to the original weights, so that groups stay
 * contiguous and nothing is gathered at run time. With two-level scales and groups that are not
 * static, the row's scale is fitted to the original weights, the multipliers on the way.
 *
 * The first token of a sequence (an attention sink) decides which settings carry. SmolLM2-135M, W4
 * with zero points, groups of 64, the exact start token, float activations, WikiText-2 test
 * perplexity: first 8 windows, 8 x 2048 calibration tokens: min-max 20.85, clip search 20.28 (full
 * precision 19.17); first 4 windows, 4 x 2048 tokens, with the prefix / with it taken away again:
 * its rows in H 26.1 / 30.6, not in H 26.2 / 66.6. So they are in.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/round/gptq.h"

#include <string.h>

#include "base/fail.h"
#include "linalg/matrix.h"
#include "quantize/round/gptq_factor.h"
#include "quantize/round/sparse.h"

enum {
    KNOB_GRID, /* the first of KFI_ROUND_GRID_N_KNOBS */
    KNOB_DAMPING = KFI_ROUND_GRID_N_KNOBS,
    KNOB_BLOCK,
    KNOB_ACT_ORDER,
    KNOB_STATIC_GROUPS,
    KNOB_SEQUENTIAL,
    KNOB_TOKENS /* the first of KFI_TOKEN_N_KNOBS */
};

static const kf_knob knobs[] = {
    KFI_ROUND_GRID_KNOBS("mse"),
    {"damping", "Added to the diagonal of H, as a part of its mean.", NULL, 0.0, 10.0, "0.01"},
    {"block", "Columns rounded before the rest is updated.", NULL, 1.0, 4096.0, "128"},
    {"act_order", "Round columns in the order of falling H_ii; implies static_groups.",
     "false|true", 0, 0, "true"},
    {"static_groups", "Fit all grids to the original weights.", "false|true", 0, 0, "true"},
    {"true_sequential", "Later layers of a block see the outputs of its quantized earlier ones.",
     "false|true", 0, 0, "true"},
    KFI_TOKEN_KNOBS,
};

typedef struct gptq_pass {
    kfi_round_job *job;
    const kfi_gptq_factor *factor;
    const float *importance; /* [cols], or NULL */
    kfi_fit fit;
    kfi_levels levels;
    size_t group, n_groups, block;
    bool static_groups;
    double *losses; /* [rows] */
    float *scratch; /* [threads][scratch_n] */
    size_t scratch_n;
} gptq_pass;

/* Scratch of one task. Rows that do not exist are zeros all the way. */
typedef struct gptq_tile {
    size_t first, n; /* rows */
    float *w;        /* [KFI_ROUND_ROWS][cols], in rounding order, updated */
    float *product;  /* [KFI_ROUND_ROWS][cols] */
    float *e;        /* [KFI_ROUND_ROWS][block] */
    float *t;        /* [block][KFI_ROUND_ROWS] */
    float *group;    /* [group] */
    float *counts;   /* [group]: what each of them counts in the fit */
} gptq_tile;

static size_t tile_floats(size_t cols, size_t block, size_t group)
{
    return kfi_round_up(KFI_ROUND_ROWS * (2 * cols + 2 * block) + 2 * group, 16);
}

static gptq_tile tile_begin(const gptq_pass *pass, size_t i_task, size_t i_thread)
{
    const kfi_round_job *job = pass->job;
    const size_t cols = job->cols;
    gptq_tile tile = {.first = i_task * KFI_ROUND_ROWS};
    tile.n = job->rows - tile.first < KFI_ROUND_ROWS ? job->rows - tile.first : KFI_ROUND_ROWS;
    tile.w = pass->scratch + i_thread * pass->scratch_n;
    tile.product = tile.w + KFI_ROUND_ROWS * cols;
    tile.e = tile.product + KFI_ROUND_ROWS * cols;
    tile.t = tile.e + KFI_ROUND_ROWS * pass->block;
    tile.group = tile.t + KFI_ROUND_ROWS * pass->block;
    tile.counts = tile.group + pass->group;
    for (size_t r = 0; r < tile.n; r++) {
        const float *row = job->weights + (tile.first + r) * cols;
        for (size_t i = 0; i < cols; i++) {
            const size_t c = pass->factor->order[i];
            tile.w[r * cols + i] = pass->factor->dead[c] != 0 ? 0.0f : row[c];
        }
    }
    return tile;
}

/* Where the block that begins at a column ends: a group that is fitted on the way must lie in one
 * block, or begin with it, because its weights must all be up to date. */
static size_t block_end(const gptq_pass *pass, size_t begin)
{
    const size_t cols = pass->job->cols;
    const size_t end = begin + pass->block;
    if (end >= cols) {
        return cols;
    }
    const size_t last_group = end / pass->group * pass->group;
    return pass->static_groups || last_group <= begin ? end : last_group;
}

/* Whether a weight stands beside the matrix, alone. */
static bool is_single(const kfi_round_job *job, size_t row, size_t c)
{
    return job->sparse.marks != NULL && job->sparse.marks[row * job->cols + c] != 0;
}

/* The importance of n weights of a row from column c on: single ones have none. NULL: all 1. */
static const float *importance_of(const gptq_pass *pass, float *counts, size_t row, size_t c,
                                  size_t n)
{
    const float *importance = pass->importance != NULL ? pass->importance + c : NULL;
    if (pass->job->sparse.marks == NULL) {
        return importance;
    }
    for (size_t j = 0; j < n; j++) {
        const float whole = importance != NULL ? importance[j] : 1.0f;
        counts[j] = is_single(pass->job, row, c + j) ? 0.0f : whole;
    }
    return counts;
}

/* Fits the grids of the group that begins at column i of the block [begin, end), on weights as the
 * errors so far left them. Here order is the identity. */
static void fit_group(const gptq_pass *pass, const gptq_tile *tile, size_t begin, size_t end,
                      size_t i)
{
    const kfi_round_job *job = pass->job;
    const size_t n = job->cols - i < pass->group ? job->cols - i : pass->group;
    const size_t first_outlier = job->cols - job->n_outliers;
    for (size_t r = 0; r < tile->n; r++) {
        const float *importance = importance_of(pass, tile->counts, tile->first + r, i, n);
        for (size_t j = 0; j < n; j++) {
            const bool is_apart = i + j >= first_outlier || is_single(job, tile->first + r, i + j);
            tile->group[j] = is_apart      ? 0.0f
                             : i + j < end ? tile->t[(i + j - begin) * KFI_ROUND_ROWS + r]
                                           : tile->w[r * job->cols + i + j];
        }
        kfi_grid *grid = &job->grids[(tile->first + r) * pass->n_groups + i / pass->group];
        kfi_format_fit(grid, job->format, tile->group, importance, n, &pass->fit);
    }
}

/* Rounds a value of column c; returns what it is read as. A single weight takes it up beside the
 * code that its row has for 0. */
static float round_value(const gptq_pass *pass, size_t row, size_t c, float value)
{
    kfi_round_job *job = pass->job;
    const size_t first_outlier = job->cols - job->n_outliers;
    const kfi_grid *grid = &job->grids[row * pass->n_groups + c / pass->group];
    const bool is_outlier = c >= first_outlier;
    const bool is_alone = is_single(job, row, c);
    const uint8_t code = kfi_grid_encode(grid, pass->levels, is_outlier || is_alone ? 0.0f : value);
    const float read = kfi_grid_decode(grid, pass->levels, code);
    job->codes[row * job->cols + c] = code;
    return is_outlier ? kfi_round_outlier(job, row, c - first_outlier, value)
           : is_alone ? kfi_sparse_move_to(job, row, c, read, value)
                      : read;
}

/* Rounds the i-th column of all rows of the tile; e gets their errors. */
static void round_column(const gptq_pass *pass, const gptq_tile *tile, const float *column_t,
                         size_t i, float *e)
{
    const kfi_round_job *job = pass->job;
    const size_t c = pass->factor->order[i];
    const float u_ii = pass->factor->u[i * job->cols + i];
    for (size_t r = 0; r < tile->n; r++) {
        const size_t row = tile->first + r;
        e[r] = (column_t[r] - round_value(pass, row, c, column_t[r])) / u_ii;
        pass->losses[row] += (double)e[r] * (double)e[r];
    }
}

/* t[j] -= e u[j] for the n later columns of the block. */
static void update_block(float *t, const float *e, const float *u, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        float *column_t = t + j * KFI_ROUND_ROWS;
        for (size_t r = 0; r < KFI_ROUND_ROWS; r++) {
            column_t[r] -= e[r] * u[j];
        }
    }
}

static void round_block(const gptq_pass *pass, const gptq_tile *tile, size_t begin, size_t end)
{
    const size_t cols = pass->job->cols;
    float e[KFI_ROUND_ROWS] = {0};
    memset(tile->t, 0, (end - begin) * KFI_ROUND_ROWS * sizeof *tile->t);
    for (size_t r = 0; r < tile->n; r++) {
        for (size_t i = begin; i < end; i++) {
            tile->t[(i - begin) * KFI_ROUND_ROWS + r] = tile->w[r * cols + i];
        }
    }
    for (size_t i = begin; i < end; i++) {
        if (!pass->static_groups && i % pass->group == 0) {
            fit_group(pass, tile, begin, end, i);
        }
        float *column_t = tile->t + (i - begin) * KFI_ROUND_ROWS;
        round_column(pass, tile, column_t, i, e);
        update_block(column_t + KFI_ROUND_ROWS, e, pass->factor->u + i * cols + i + 1, end - i - 1);
        for (size_t r = 0; r < tile->n; r++) {
            tile->e[r * pass->block + i - begin] = e[r];
        }
    }
}

static void round_rows(void *ctx, size_t i_task, size_t i_thread)
{
    const gptq_pass *pass = ctx;
    const size_t cols = pass->job->cols;
    const gptq_tile tile = tile_begin(pass, i_task, i_thread);
    for (size_t begin = 0, end = 0; begin < cols; begin = end) {
        end = block_end(pass, begin);
        round_block(pass, &tile, begin, end);
        const size_t n_rest = cols - end;
        if (n_rest == 0) {
            break;
        }
        const kfi_gemm of_errors = {.kind = KFI_GEMM_NN,
                                    .m = tile.n,
                                    .n = n_rest,
                                    .k = end - begin,
                                    .a = tile.e,
                                    .ld_a = pass->block,
                                    .b = pass->factor->u + begin * cols + end,
                                    .ld_b = cols,
                                    .c = tile.product,
                                    .ld_c = n_rest};
        kfi_matrix_multiply(NULL, &of_errors);
        for (size_t r = 0; r < tile.n; r++) {
            float *rest = tile.w + r * cols + end;
            const float *product = tile.product + r * n_rest;
            for (size_t j = 0; j < n_rest; j++) {
                rest[j] -= product[j];
            }
        }
    }
}

static kf_status run_pass(gptq_pass *pass, kf_error *err)
{
    kfi_round_job *job = pass->job;
    const size_t threads = kf_pool_threads(job->pool);
    kf_status st = KF_OK;
    pass->scratch_n = tile_floats(job->cols, pass->block, pass->group);
    pass->scratch = kfi_alloc(job->alloc, threads * pass->scratch_n * sizeof *pass->scratch);
    pass->losses = kfi_calloc(job->alloc, job->rows, sizeof *pass->losses);
    if (pass->scratch == NULL || pass->losses == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "work space for %zu x %zu weights", job->rows,
                      job->cols);
        goto done;
    }
    kfi_pool_run(job->pool, round_rows, pass, (job->rows + KFI_ROUND_ROWS - 1) / KFI_ROUND_ROWS);
    job->loss = 0.0;
    for (size_t r = 0; r < job->rows; r++) {
        job->loss += pass->losses[r];
    }
done:
    kfi_free(job->alloc, pass->losses, job->rows * sizeof *pass->losses);
    kfi_free(job->alloc, pass->scratch, threads * pass->scratch_n * sizeof *pass->scratch);
    return st;
}

static kf_status gptq_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    const kfi_gptq_factor *factor = shared;
    kfi_round_grid grid;
    kfi_round_grid_read(&grid, job->knobs + KNOB_GRID);
    gptq_pass pass = {.job = job,
                      .factor = factor,
                      .fit = grid.fit,
                      .levels = kfi_round_levels(job),
                      .group = kfi_format_group(job->format, job->cols),
                      .n_groups = kfi_format_groups(job->format, job->cols),
                      .block = (size_t)job->knobs[KNOB_BLOCK],
                      .static_groups =
                          job->knobs[KNOB_STATIC_GROUPS] > 0.5 || job->knobs[KNOB_ACT_ORDER] > 0.5};
    pass.fit.table = job->table;
    pass.block = pass.block < job->cols ? pass.block : job->cols;
    /* The scale of a row, a codebook and grids of outliers come from the original weights in any
     * case. */
    const bool fits_first = pass.static_groups || job->n_outliers > 0 ||
                            job->format.scale == KF_SCALE_TWO_LEVEL || kfi_round_wants_table(job);
    if (fits_first && (!job->is_fitted || memchr(factor->dead, 1, factor->n) != NULL)) {
        KFI_TRY(kfi_round_fit(job, &grid, factor->dead, err));
    }
    if (pass.static_groups) {
        return run_pass(&pass, err);
    }
    float *importance = NULL;
    KFI_TRY(kfi_round_importance(&importance, &grid, job->statistics, job->cols, job->alloc, err));
    pass.importance = importance;
    const kf_status st = run_pass(&pass, err);
    kfi_free(job->alloc, importance, job->cols * sizeof *importance);
    return st;
}

void kfi_gptq_knobs(double *dst, const double *grid, double damping)
{
    kfi_knobs_default(dst, &kfi_method_gptq);
    memcpy(dst + KNOB_GRID, grid, KFI_ROUND_GRID_N_KNOBS * sizeof *dst);
    dst[KNOB_DAMPING] = damping;
}

kf_status kfi_gptq_round(kfi_round_job *job, const double *with, const void *shared, kf_error *err)
{
    const double *own = job->knobs;
    job->knobs = with;
    const kf_status st = gptq_round(job, shared, err);
    job->knobs = own;
    return st;
}

static void gptq_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_GRAM;
    kfi_token_request(request, values + KNOB_TOKENS);
}

static kf_status gptq_prepare(void **shared, const kfi_statistics *statistics, const double *values,
                              const kf_allocator *alloc, kf_error *err)
{
    kfi_gptq_factor *factor = NULL;
    const kf_status st = kfi_gptq_factor_new(&factor, statistics, values[KNOB_ACT_ORDER] > 0.5,
                                             values[KNOB_DAMPING], alloc, err);
    *shared = factor;
    return st;
}

static void gptq_release(void *shared, const kf_allocator *alloc)
{
    kfi_gptq_factor_free(shared, alloc);
}

static bool gptq_is_sequential(const double *values)
{
    return values[KNOB_SEQUENTIAL] > 0.5;
}

static void gptq_grid(kfi_round_grid *grid, const double *values)
{
    kfi_round_grid_read(grid, values + KNOB_GRID);
}

const kfi_method kfi_method_gptq = {
    .about = {.name = "gptq",
              .stage = "round",
              .summary = "Rounds column by column; later columns undo the error of earlier ones.",
              .paper = "E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, GPTQ: Accurate "
                       "Post-Training Quantization for Generative Pre-trained Transformers, 2022, "
                       "arXiv:2210.17323",
              .statistics = "gram",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .takes_outliers = true,
    .request = gptq_request,
    .is_sequential = gptq_is_sequential,
    .grid = gptq_grid,
    .prepare = gptq_prepare,
    .release = gptq_release,
    .round = gptq_round,
};
