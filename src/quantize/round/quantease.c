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
#include "base/half.h"
#include "linalg/matrix.h"
#include "quantize/round/gptq.h"
#include "quantize/round/sparse.h"

/* Rows of a task and columns of a block. 576 rows of 1 536 columns, 3 bits, a core of a Zen 5: a
 * sweep runs at 118 GFLOP/s, where the product alone has 200; with 32 rows at 95, and blocks of 96
 * columns at 63, since the updates inside a block are no products. */
#define ROWS  64u
#define BLOCK 32u

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

typedef struct descent {
    kfi_round_job *job;
    const float *weights; /* [rows][cols]: W, where the job may have the rest of it */
    kfi_levels levels;
    const float *gram; /* [cols][cols], without lambda */
    float lambda;
    size_t group, n_groups;
    size_t n_sweeps, relax_period;
    bool starts_on_grid; /* job->codes are where it begins, else the weights are */
    float *scratch;      /* [threads][scratch_n] */
    size_t scratch_n;
} descent;

/* Scratch of one task; the rows that do not exist are zeros. */
typedef struct descent_tile {
    size_t first, n; /* rows */
    bool on_grid;    /* W~ are the codes' values */
    bool exchanges;  /* weights of S may still change their places */
    float *d;        /* [ROWS][cols]: W - W~ - S */
    float *product;  /* [ROWS][BLOCK] */
    float *g;        /* [BLOCK][ROWS] */
    float *all;      /* [ROWS][cols]: D H, with S only */
} descent_tile;

static bool has_sparse(const descent *run)
{
    return run->job->sparse.n > 0;
}

static bool is_sparse(const descent *run, size_t i)
{
    return has_sparse(run) && run->job->sparse.marks[i] != 0;
}

static size_t tile_floats(size_t cols, bool with_sparse)
{
    return kfi_round_up(ROWS * ((with_sparse ? 2 : 1) * cols + 2 * BLOCK), 16);
}

/* W~ of weight i as its code has it. */
static float decode(const descent *run, size_t i)
{
    const size_t row = i / run->job->cols;
    const size_t col = i % run->job->cols;
    const kfi_grid *grid = &run->job->grids[row * run->n_groups + col / run->group];
    return kfi_grid_decode(grid, run->levels, run->job->codes[i]);
}

static float round_half(float value)
{
    return kfi_half_to_float(kfi_sparse_half(value));
}

static descent_tile tile_begin(const descent *run, size_t i_task, size_t i_thread)
{
    const kfi_round_job *job = run->job;
    const size_t cols = job->cols;
    descent_tile tile = {
        .first = i_task * ROWS, .on_grid = run->starts_on_grid, .exchanges = has_sparse(run)};
    tile.n = job->rows - tile.first < ROWS ? job->rows - tile.first : ROWS;
    tile.d = run->scratch + i_thread * run->scratch_n;
    tile.product = tile.d + ROWS * cols;
    tile.g = tile.product + ROWS * BLOCK;
    tile.all = tile.g + ROWS * BLOCK;
    memset(tile.d, 0, run->scratch_n * sizeof *tile.d);
    for (size_t r = 0; r < tile.n && tile.on_grid; r++) {
        for (size_t c = 0; c < cols; c++) {
            const size_t i = (tile.first + r) * cols + c;
            tile.d[r * cols + c] = run->weights[i] - decode(run, i);
        }
        kfi_sparse_subtract_row(tile.d + r * cols, job, tile.first + r);
    }
    return tile;
}

/* g = the columns begin … begin+n-1 of D H, turned. */
static void multiply_block(const descent *run, const descent_tile *tile, size_t begin, size_t n)
{
    const size_t cols = run->job->cols;
    const kfi_gemm of_errors = {.kind = KFI_GEMM_NN,
                                .m = tile->n,
                                .n = n,
                                .k = cols,
                                .a = tile->d,
                                .ld_a = cols,
                                .b = run->gram + begin,
                                .ld_b = cols,
                                .c = tile->product,
                                .ld_c = BLOCK};
    kfi_matrix_multiply(NULL, &of_errors);
    for (size_t r = 0; r < tile->n; r++) {
        for (size_t i = 0; i < n; i++) {
            tile->g[i * ROWS + r] = tile->product[r * BLOCK + i];
        }
    }
}

/* Rounds one weight to what is nearest to beta; the code stays where it is as near. */
static float round_weight(const descent *run, const kfi_grid *grid, float beta, bool on_grid,
                          uint8_t *code)
{
    const uint8_t nearest = kfi_grid_encode(grid, run->levels, beta);
    const float value = kfi_grid_decode(grid, run->levels, nearest);
    if (on_grid) {
        const float old = kfi_grid_decode(grid, run->levels, *code);
        if (fabsf(beta - value) >= fabsf(beta - old)) {
            return old;
        }
    }
    *code = nearest;
    return value;
}

/* What W~ + S becomes at a weight of S, all of it taken up by S: beta where fp16 has it; the old
 * value stays where it is as near. */
static float move_sparse(const descent *run, size_t i, float beta, float old)
{
    const float base = decode(run, i);
    const float value = base + round_half(beta - base);
    return fabsf(beta - value) < fabsf(beta - old) ? value : old;
}

/* Moves column c of all rows of the tile; change gets what it does to D. Returns whether any code
 * is another one. */
static bool move_column(const descent *run, const descent_tile *tile, size_t c, const float *g,
                        bool relaxed, float *change)
{
    const kfi_round_job *job = run->job;
    const size_t cols = job->cols;
    const float h = run->gram[c * cols + c];
    bool changed = false;
    for (size_t r = 0; r < tile->n; r++) {
        const size_t row = tile->first + r;
        const float w = run->weights[row * cols + c];
        float *d = &tile->d[r * cols + c];
        /* A dead input: nothing depends on the weight. */
        const float beta = h > 0.0f ? w - *d + (g[r] + run->lambda * *d) / (h + run->lambda) : 0.0f;
        float value = beta;
        if (is_sparse(run, row * cols + c)) {
            value = move_sparse(run, row * cols + c, beta, w - *d);
        } else if (!relaxed) {
            const kfi_grid *grid = &job->grids[row * run->n_groups + c / run->group];
            uint8_t *code = &job->codes[row * cols + c];
            const uint8_t old = *code;
            value = round_weight(run, grid, beta, tile->on_grid, code);
            changed = changed || *code != old;
        }
        change[r] = w - value - *d;
        *d = w - value;
    }
    return changed;
}

static bool sweep(const descent *run, const descent_tile *tile, bool relaxed)
{
    const size_t cols = run->job->cols;
    float change[ROWS] = {0};
    bool changed = false;
    for (size_t begin = 0; begin < cols; begin += BLOCK) {
        const size_t n = cols - begin < BLOCK ? cols - begin : BLOCK;
        multiply_block(run, tile, begin, n);
        for (size_t i = 0; i < n; i++) {
            const float *h = run->gram + (begin + i) * cols + begin;
            const float *g = tile->g + i * ROWS;
            changed = move_column(run, tile, begin + i, g, relaxed, change) || changed;
            for (size_t k = i + 1; k < n; k++) {
                float *later = tile->g + k * ROWS;
                for (size_t r = 0; r < ROWS; r++) {
                    later[r] += change[r] * h[k];
                }
            }
        }
    }
    return changed;
}

/* ---- single weights ---- */

/* What happens to f = tr(D H D^T) where one weight of a row changes. */
typedef struct change {
    size_t col;
    float d;    /* D becomes larger by this */
    float loss; /* f becomes larger by this */
    uint8_t code;
} change;

static float loss_of(float d, float product, float h)
{
    return d * (2.0f * product + d * h);
}

/* A weight outside of S comes in: its value is the best one. product: a row of D H. */
static change enter(const descent *run, const float *product, size_t c)
{
    const float h = run->gram[c * run->job->cols + c] + run->lambda;
    const float d = h > 0.0f ? -round_half(product[c] / h) : 0.0f;
    return (change){.col = c, .d = d, .loss = loss_of(d, product[c], h)};
}

/* One of S goes back to the grid. d: a row of D. */
static change leave(const descent *run, size_t row, const float *d, const float *product, size_t c)
{
    const kfi_round_job *job = run->job;
    const size_t i = row * job->cols + c;
    const kfi_grid *grid = &job->grids[row * run->n_groups + c / run->group];
    const float h = run->gram[c * job->cols + c] + run->lambda;
    const float value = run->weights[i] - d[c];
    const float beta = h > 0.0f ? value + product[c] / h : 0.0f;
    change back = {.col = c, .code = kfi_grid_encode(grid, run->levels, beta)};
    back.d = value - kfi_grid_decode(grid, run->levels, back.code);
    back.loss = loss_of(back.d, product[c], h);
    return back;
}

/* The best that can come in or go out; col is cols where there is none. */
static change find_best(const descent *run, size_t row, const float *d, const float *product,
                        bool of_sparse)
{
    const size_t cols = run->job->cols;
    change best = {.col = cols, .loss = (float)INFINITY};
    for (size_t c = 0; c < cols; c++) {
        if (is_sparse(run, row * cols + c) == of_sparse) {
            const change one = of_sparse ? leave(run, row, d, product, c) : enter(run, product, c);
            best = one.loss < best.loss ? one : best;
        }
    }
    return best;
}

static void apply(const descent *run, float *d, float *product, const change *c)
{
    const size_t cols = run->job->cols;
    const float *h = run->gram + c->col * cols;
    for (size_t k = 0; k < cols; k++) {
        product[k] += c->d * h[k];
    }
    product[c->col] += c->d * run->lambda;
    d[c->col] += c->d;
}

/* Exchanges the best two where f falls by a part of what it gains; returns whether it did. */
static bool exchange_once(const descent *run, size_t row, float *d, float *product)
{
    const size_t cols = run->job->cols;
    const change out = find_best(run, row, d, product, true);
    const change in = find_best(run, row, d, product, false);
    if (out.col == cols || in.col == cols) {
        return false;
    }
    const float both = 2.0f * in.d * out.d * run->gram[in.col * cols + out.col];
    if (!(in.loss + out.loss + both < 1e-3f * in.loss)) {
        return false;
    }
    run->job->codes[row * cols + out.col] = out.code;
    run->job->sparse.marks[row * cols + out.col] = 0;
    run->job->sparse.marks[row * cols + in.col] = 1;
    apply(run, d, product, &out);
    apply(run, d, product, &in);
    return true;
}

static void exchange(const descent *run, descent_tile *tile)
{
    const size_t cols = run->job->cols;
    const kfi_gemm of_errors = {.kind = KFI_GEMM_NN,
                                .m = tile->n,
                                .n = cols,
                                .k = cols,
                                .a = tile->d,
                                .ld_a = cols,
                                .b = run->gram,
                                .ld_b = cols,
                                .c = tile->all,
                                .ld_c = cols};
    kfi_matrix_multiply(NULL, &of_errors);
    tile->exchanges = false;
    for (size_t r = 0; r < tile->n; r++) {
        float *d = tile->d + r * cols;
        float *product = tile->all + r * cols;
        for (size_t c = 0; c < cols; c++) {
            product[c] += run->lambda * d[c];
        }
        for (size_t k = 0; k < cols && exchange_once(run, tile->first + r, d, product); k++) {
            tile->exchanges = true;
        }
    }
}

/* Columns and values of S where it has ended. */
static void keep_sparse(const descent *run, const descent_tile *tile)
{
    kfi_round_job *job = run->job;
    for (size_t r = 0; r < tile->n; r++) {
        const size_t row = tile->first + r;
        kfi_sparse_move(job, row);
        for (size_t i = job->sparse.starts[row]; i < job->sparse.starts[row + 1]; i++) {
            const size_t c = job->sparse.columns[i];
            const size_t i_weight = row * job->cols + c;
            job->sparse.values[i] = kfi_sparse_half(run->weights[i_weight] - decode(run, i_weight) -
                                                    tile->d[r * job->cols + c]);
        }
    }
}

static bool is_relaxed(const descent *run, size_t i_sweep)
{
    return run->relax_period > 0 && i_sweep + 2 < run->n_sweeps &&
           (i_sweep + 1) % run->relax_period == 0;
}

static void descend_rows(void *ctx, size_t i_task, size_t i_thread)
{
    const descent *run = ctx;
    descent_tile tile = tile_begin(run, i_task, i_thread);
    const size_t relaxed_end = run->relax_period > 0 && run->n_sweeps > 2 ? run->n_sweeps - 2 : 0;
    for (size_t i = 0; i < run->n_sweeps; i++) {
        const bool relaxed = is_relaxed(run, i);
        const bool changed = sweep(run, &tile, relaxed);
        if (!changed && tile.on_grid && i >= relaxed_end) {
            break; /* and every further sweep would find the same */
        }
        tile.on_grid = !relaxed;
        if (tile.exchanges && tile.on_grid) {
            exchange(run, &tile);
        }
    }
    if (has_sparse(run)) {
        keep_sparse(run, &tile);
    }
}

static kf_status descend(descent *run, kf_error *err)
{
    kfi_round_job *job = run->job;
    const size_t threads = kf_pool_threads(job->pool);
    run->scratch_n = tile_floats(job->cols, has_sparse(run));
    run->scratch = kfi_alloc(job->alloc, threads * run->scratch_n * sizeof *run->scratch);
    if (run->scratch == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "work space for %zu x %zu weights", job->rows,
                        job->cols);
    }
    kfi_pool_run(job->pool, descend_rows, run, (job->rows + ROWS - 1) / ROWS);
    kfi_free(job->alloc, run->scratch, threads * run->scratch_n * sizeof *run->scratch);
    return KF_OK;
}

/* ---- where it starts ---- */

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
    descent run = {.job = job,
                   .weights = job->sparse.n > 0 ? job->sparse.whole : job->weights,
                   .levels = kfi_round_levels(job),
                   .gram = gram,
                   .lambda = lambda,
                   .group = kfi_format_group(job->format, job->cols),
                   .n_groups = kfi_format_groups(job->format, job->cols),
                   .n_sweeps = (size_t)job->knobs[KNOB_SWEEPS],
                   .relax_period = (size_t)job->knobs[KNOB_RELAX_PERIOD],
                   .starts_on_grid = job->knobs[KNOB_START] > 0.5};
    const kf_status st = descend(&run, err);
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
