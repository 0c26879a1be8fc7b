/* output_fit.c - the candidates of a group as rows of one small product with its Gram matrix.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/round/output_fit.h"

#include <assert.h>
#include <math.h>

#include "base/fail.h"
#include "format/two_level.h"
#include "linalg/matrix.h"

typedef struct output_run {
    kfi_round_job *job;
    const kfi_output_fit *fit;
    kfi_levels levels;
    size_t group, n_groups;
    float *scratch; /* [threads][scratch_n] */
    size_t scratch_n;
} output_run;

/* Scratch of a thread. */
typedef struct output_tile {
    float *w;      /* [group]: what a range is taken from */
    float *errors; /* [steps][group] */
    float *product;
    kfi_grid grids[KFI_OUTPUT_FIT_STEPS_MOST];
} output_tile;

static double part_at(const kfi_output_fit *fit, size_t step)
{
    return fit->first + (fit->last - fit->first) * (double)step / (double)(fit->steps - 1);
}

static void shrink(float *dst, const output_run *run, const float *w, size_t n, double part)
{
    if (run->fit->range == KFI_OUTPUT_RANGE_SCALED) {
        for (size_t i = 0; i < n; i++) {
            dst[i] = (float)part * w[i];
        }
        return;
    }
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(w[i]));
    }
    most *= (float)part;
    for (size_t i = 0; i < n; i++) {
        dst[i] = fminf(fmaxf(w[i], -most), most);
    }
}

/* One candidate: its grid, and the errors on it. */
static void try_part(const output_run *run, output_tile *tile, const float *w, size_t n,
                     size_t step)
{
    const kfi_fit min_max = {
        .kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1, .table = run->job->table};
    kfi_grid *grid = &tile->grids[step];
    float *errors = tile->errors + step * n;
    shrink(tile->w, run, w, n, part_at(run->fit, step));
    if (run->job->format.scale == KF_SCALE_TWO_LEVEL) {
        const kfi_fit_group group = {
            .weights = tile->w, .n = n, .levels = run->levels, .exponent = 2.0f};
        kfi_two_level_fit_own(grid, run->job->format, &group, &min_max);
    } else {
        kfi_format_fit(grid, run->job->format, tile->w, NULL, n, &min_max);
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t code = kfi_grid_encode(grid, run->levels, w[i]);
        errors[i] = w[i] - kfi_grid_decode(grid, run->levels, code);
    }
}

/* The best of the candidates of the group that begins at a column. */
static kfi_grid choose(const output_run *run, output_tile *tile, size_t column, size_t n)
{
    const size_t cols = run->job->cols;
    const kfi_gemm times_gram = {.kind = KFI_GEMM_NN,
                                 .m = run->fit->steps,
                                 .n = n,
                                 .k = n,
                                 .a = tile->errors,
                                 .ld_a = n,
                                 .b = run->job->statistics->gram + column * cols + column,
                                 .ld_b = cols,
                                 .c = tile->product,
                                 .ld_c = n};
    size_t best = 0;
    double best_error = (double)INFINITY;
    kfi_matrix_multiply(NULL, &times_gram);
    for (size_t step = 0; step < run->fit->steps; step++) {
        double error = 0.0;
        for (size_t i = step * n; i < (step + 1) * n; i++) {
            error += (double)tile->errors[i] * (double)tile->product[i];
        }
        if (error < best_error) {
            best_error = error;
            best = step;
        }
    }
    return tile->grids[best];
}

static void fit_rows(void *ctx, size_t i_task, size_t i_thread)
{
    const output_run *run = ctx;
    const kfi_round_job *job = run->job;
    const size_t end = (i_task + 1) * KFI_ROUND_ROWS;
    output_tile tile = {.w = run->scratch + i_thread * run->scratch_n};
    tile.errors = tile.w + run->group;
    tile.product = tile.errors + run->fit->steps * run->group;
    for (size_t r = i_task * KFI_ROUND_ROWS; r < job->rows && r < end; r++) {
        for (size_t g = 0; g < run->n_groups; g++) {
            const size_t column = g * run->group;
            const size_t n = job->cols - column < run->group ? job->cols - column : run->group;
            for (size_t step = 0; step < run->fit->steps; step++) {
                try_part(run, &tile, job->weights + r * job->cols + column, n, step);
            }
            job->grids[r * run->n_groups + g] = choose(run, &tile, column, n);
        }
    }
}

kf_status kfi_output_fit_groups(kfi_round_job *job, const kfi_output_fit *fit, kf_error *err)
{
    const size_t threads = kf_pool_threads(job->pool);
    output_run run = {.job = job,
                      .fit = fit,
                      .levels = kfi_round_levels(job),
                      .group = kfi_format_group(job->format, job->cols),
                      .n_groups = kfi_format_groups(job->format, job->cols)};
    assert(fit->steps >= 2 && fit->steps <= KFI_OUTPUT_FIT_STEPS_MOST);
    run.scratch_n = kfi_round_up(run.group * (2 * fit->steps + 1), 16);
    run.scratch = kfi_alloc(job->alloc, threads * run.scratch_n * sizeof *run.scratch);
    if (run.scratch == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "candidates of a group of %zu", run.group);
    }
    kfi_pool_run(job->pool, fit_rows, &run, (job->rows + KFI_ROUND_ROWS - 1) / KFI_ROUND_ROWS);
    kfi_free(job->alloc, run.scratch, threads * run.scratch_n * sizeof *run.scratch);
    return KF_OK;
}
