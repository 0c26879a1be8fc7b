/* quantease_descent.c - QuantEase's sweeps; quantease.c tells what they compute.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/round/quantease_descent.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "linalg/matrix.h"

static size_t tile_floats(size_t cols, bool with_sparse)
{
    return kfi_round_up(KFI_DESCENT_ROWS * ((with_sparse ? 2 : 1) * cols + 2 * KFI_DESCENT_BLOCK),
                        16);
}

static kfi_descent_tile tile_begin(const kfi_descent *run, size_t i_task, size_t i_thread)
{
    const kfi_round_job *job = run->job;
    const size_t cols = job->cols;
    kfi_descent_tile tile = {.first = i_task * KFI_DESCENT_ROWS,
                             .on_grid = run->starts_on_grid,
                             .exchanges = kfi_descent_has_sparse(run)};
    tile.n = job->rows - tile.first < KFI_DESCENT_ROWS ? job->rows - tile.first : KFI_DESCENT_ROWS;
    tile.d = run->scratch + i_thread * run->scratch_n;
    tile.product = tile.d + KFI_DESCENT_ROWS * cols;
    tile.g = tile.product + KFI_DESCENT_ROWS * KFI_DESCENT_BLOCK;
    tile.all = tile.g + KFI_DESCENT_ROWS * KFI_DESCENT_BLOCK;
    memset(tile.d, 0, run->scratch_n * sizeof *tile.d);
    for (size_t r = 0; r < tile.n && tile.on_grid; r++) {
        for (size_t c = 0; c < cols; c++) {
            const size_t i = (tile.first + r) * cols + c;
            tile.d[r * cols + c] = run->weights[i] - kfi_descent_decode(run, i);
        }
        kfi_sparse_subtract_row(tile.d + r * cols, job, tile.first + r);
    }
    return tile;
}

/* g = the columns begin … begin+n-1 of D H, turned. */
static void multiply_block(const kfi_descent *run, const kfi_descent_tile *tile, size_t begin,
                           size_t n)
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
                                .ld_c = KFI_DESCENT_BLOCK};
    kfi_matrix_multiply(NULL, &of_errors);
    for (size_t r = 0; r < tile->n; r++) {
        for (size_t i = 0; i < n; i++) {
            tile->g[i * KFI_DESCENT_ROWS + r] = tile->product[r * KFI_DESCENT_BLOCK + i];
        }
    }
}

/* Rounds one weight to what is nearest to beta; the code stays where it is as near. */
static float round_weight(const kfi_descent *run, const kfi_grid *grid, float beta, bool on_grid,
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
static float move_sparse(const kfi_descent *run, size_t i, float beta, float old)
{
    const float base = kfi_descent_decode(run, i);
    const float value = base + kfi_half_to_float(kfi_sparse_half(beta - base));
    return fabsf(beta - value) < fabsf(beta - old) ? value : old;
}

/* Moves column c of all rows of the tile; change gets what it does to D. Returns whether any code
 * is another one. */
static bool move_column(const kfi_descent *run, const kfi_descent_tile *tile, size_t c,
                        const float *g, bool relaxed, float *change)
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
        if (kfi_descent_is_sparse(run, row * cols + c)) {
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

static bool sweep(const kfi_descent *run, const kfi_descent_tile *tile, bool relaxed)
{
    const size_t cols = run->job->cols;
    float change[KFI_DESCENT_ROWS] = {0};
    bool changed = false;
    for (size_t begin = 0; begin < cols; begin += KFI_DESCENT_BLOCK) {
        const size_t n = cols - begin < KFI_DESCENT_BLOCK ? cols - begin : KFI_DESCENT_BLOCK;
        multiply_block(run, tile, begin, n);
        for (size_t i = 0; i < n; i++) {
            const float *h = run->gram + (begin + i) * cols + begin;
            const float *g = tile->g + i * KFI_DESCENT_ROWS;
            changed = move_column(run, tile, begin + i, g, relaxed, change) || changed;
            for (size_t k = i + 1; k < n; k++) {
                float *later = tile->g + k * KFI_DESCENT_ROWS;
                for (size_t r = 0; r < KFI_DESCENT_ROWS; r++) {
                    later[r] += change[r] * h[k];
                }
            }
        }
    }
    return changed;
}

/* Columns and values of S where it has ended. */
static void keep_sparse(const kfi_descent *run, const kfi_descent_tile *tile)
{
    kfi_round_job *job = run->job;
    for (size_t r = 0; r < tile->n; r++) {
        const size_t row = tile->first + r;
        kfi_sparse_move(job, row);
        for (size_t i = job->sparse.starts[row]; i < job->sparse.starts[row + 1]; i++) {
            const size_t c = job->sparse.columns[i];
            const size_t i_weight = row * job->cols + c;
            job->sparse.values[i] =
                kfi_sparse_half(run->weights[i_weight] - kfi_descent_decode(run, i_weight) -
                                tile->d[r * job->cols + c]);
        }
    }
}

static bool is_relaxed(const kfi_descent *run, size_t i_sweep)
{
    return run->relax_period > 0 && i_sweep + 2 < run->n_sweeps &&
           (i_sweep + 1) % run->relax_period == 0;
}

static void descend_rows(void *ctx, size_t i_task, size_t i_thread)
{
    const kfi_descent *run = ctx;
    kfi_descent_tile tile = tile_begin(run, i_task, i_thread);
    const size_t relaxed_end = run->relax_period > 0 && run->n_sweeps > 2 ? run->n_sweeps - 2 : 0;
    for (size_t i = 0; i < run->n_sweeps; i++) {
        const bool relaxed = is_relaxed(run, i);
        const bool changed = sweep(run, &tile, relaxed);
        if (!changed && tile.on_grid && i >= relaxed_end) {
            break; /* and every further sweep would find the same */
        }
        tile.on_grid = !relaxed;
        if (tile.exchanges && tile.on_grid) {
            kfi_descent_exchange(run, &tile);
        }
    }
    if (kfi_descent_has_sparse(run)) {
        keep_sparse(run, &tile);
    }
}

kf_status kfi_descend(kfi_descent *run, kf_error *err)
{
    kfi_round_job *job = run->job;
    const size_t threads = kf_pool_threads(job->pool);
    run->scratch_n = tile_floats(job->cols, kfi_descent_has_sparse(run));
    run->scratch = kfi_alloc(job->alloc, threads * run->scratch_n * sizeof *run->scratch);
    if (run->scratch == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "work space for %zu x %zu weights", job->rows,
                        job->cols);
    }
    kfi_pool_run(job->pool, descend_rows, run,
                 (job->rows + KFI_DESCENT_ROWS - 1) / KFI_DESCENT_ROWS);
    kfi_free(job->alloc, run->scratch, threads * run->scratch_n * sizeof *run->scratch);
    return KF_OK;
}
