/* quantease_descent.h - QuantEase's coordinate descent, its sweeps and its exchanges of single
 * weights apart.
 *
 * What both compute is in quantease.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_ROUND_QUANTEASE_DESCENT_H
#define KFI_QUANTIZE_ROUND_QUANTEASE_DESCENT_H

#include "quantize/round/round.h"
#include "quantize/round/sparse.h"

/* Rows of a task and columns of a block. 576 rows of 1 536 columns, 3 bits, a core of a Zen 5: a
 * sweep runs at 118 GFLOP/s, where the product alone has 200; with 32 rows at 95, and blocks of 96
 * columns at 63, since the updates inside a block are no products. */
#define KFI_DESCENT_ROWS  64u
#define KFI_DESCENT_BLOCK 32u

/* One matrix. */
typedef struct kfi_descent {
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
} kfi_descent;

/* Scratch of one task; the rows that do not exist are zeros. */
typedef struct kfi_descent_tile {
    size_t first, n; /* rows */
    bool on_grid;    /* W~ are the codes' values */
    bool exchanges;  /* weights of S may still change their places */
    float *d;        /* [KFI_DESCENT_ROWS][cols]: W - W~ - S */
    float *product;  /* [KFI_DESCENT_ROWS][KFI_DESCENT_BLOCK] */
    float *g;        /* [KFI_DESCENT_BLOCK][KFI_DESCENT_ROWS] */
    float *all;      /* [KFI_DESCENT_ROWS][cols]: D H, with S only */
} kfi_descent_tile;

static inline bool kfi_descent_has_sparse(const kfi_descent *run)
{
    return run->job->sparse.n > 0;
}

static inline bool kfi_descent_is_sparse(const kfi_descent *run, size_t i)
{
    return kfi_descent_has_sparse(run) && run->job->sparse.marks[i] != 0;
}

/* W~ of weight i as its code has it. */
static inline float kfi_descent_decode(const kfi_descent *run, size_t i)
{
    const size_t row = i / run->job->cols;
    const size_t col = i % run->job->cols;
    const kfi_grid *grid = &run->job->grids[row * run->n_groups + col / run->group];
    return kfi_grid_decode(grid, run->levels, run->job->codes[i]);
}

/* Sweeps over all rows, a task for KFI_DESCENT_ROWS of them, until no code changes: codes, and
 * where there are single weights their columns and values. KF_NOMEM. */
KF_NODISCARD kf_status kfi_descend(kfi_descent *run, kf_error *err);

/* After a sweep, in each row of the tile: exchanges weights of S for others as long as f falls.
 * tile->exchanges tells whether there was one. */
void kfi_descent_exchange(const kfi_descent *run, kfi_descent_tile *tile);

#endif /* KFI_QUANTIZE_ROUND_QUANTEASE_DESCENT_H */
