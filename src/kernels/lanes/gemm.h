/* gemm.h - products of float matrices.
 *
 *                b, packed [depth][COLS]     b is cut in panels of COLS columns and KFI_GEMM_DEPTH
 *                ┌────────────────┐          rows, which are copied (and turned, where b is given
 *                │  L1 cache      │ depth    by columns) and stay in the first-level cache while
 *        depth   └────────────────┘          all rows of a pass by.
 *       ┌──────┐ ┌────────────────┐
 *   a   │ rows │ │ t in registers │ c        A tile is GEMM_ROWS x COLS elements: for every k one
 *       └──────┘ └────────────────┘          load a panel, one broadcast a row and TILE_PANELS fma
 *                                            a row. 14 x 32: 16 loads, 28 fma.
 *
 * a is read where it lies: packing it as well was no faster (230 against 235 GFLOP/s a core; 231
 * against 219 where its rows are a power of two apart), and needs memory.
 *
 * One row of a has no use for a panel. There each lane is a row of b, 16 columns of 16 rows are
 * turned in registers, and the next ones are fetched ahead, since 16 streams are more than the
 * processor follows on its own.
 *
 * Every element goes through the steps of generic/gemm_generic.c in the same order.
 *
 * Source: Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008,
 *         doi:10.1145/1356052.1356053.
 *
 * Included once by each gemm_VARIANT.c, after their lanes and VARIANT.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>

#include "kernels/kernels_list.h"
#include "kernels/lanes/names.h"

#define LANES ((size_t)16)
#define COLS  (TILE_PANELS * LANES)
/* Floats between what a product with one row works on and what it fetches. */
#define AHEAD ((size_t)128)

static inline size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- packing ---- */

/* x[q] holds column q of a square of rows of src. The first n_rows exist, and the last of them
 * stands in for the others; the first n_cols are read, and the others are 0. */
INLINE void load_turned(lanes x[16], const float *src, size_t ld, size_t n_rows, size_t n_cols)
{
    UNROLL
    for (size_t r = 0; r < LANES; r++) {
        x[r] = n_cols >= LANES ? lanes_load(src) : lanes_load_n(src, n_cols);
        src += r + 1 < n_rows ? ld : 0;
    }
    lanes_transpose(x);
}

/* Where src[offset] would be, to be fetched only: the matrix may end before. */
INLINE const void *address(const float *src, size_t offset)
{
    return (const void *)((uintptr_t)src + offset * sizeof *src);
}

/* panel[p][j] = src[j][p] for n columns j, and any values for the rest of COLS. Fetches the panel
 * that begins `next` floats later, which memory then delivers while this one is multiplied: for few
 * rows of a up to a quarter faster. */
static void pack_turned(float *panel, const float *src, size_t next, size_t ld, size_t n,
                        size_t depth)
{
    for (size_t j = 0; j < COLS; j += LANES) {
        const size_t row = least(j, n - 1);
        size_t p = 0;
        for (; p + LANES <= depth; p += LANES) {
            lanes x[16];
            load_turned(x, src + row * ld + p, ld, n - row, LANES);
            UNROLL
            for (size_t q = 0; q < LANES; q++) {
                __builtin_prefetch(address(src, next + (row + q) * ld + p), 0, 2);
            }
            UNROLL
            for (size_t q = 0; q < LANES; q++) {
                lanes_store(panel + (p + q) * COLS + j, x[q]);
            }
        }
        if (p < depth) {
            lanes x[16];
            load_turned(x, src + row * ld + p, ld, n - row, depth - p);
            for (size_t q = 0; q < depth - p; q++) {
                lanes_store(panel + (p + q) * COLS + j, x[q]);
            }
        }
    }
}

/* panel[p][j] = src[p][j] likewise. */
static void pack_straight(float *panel, const float *src, size_t ld, size_t n, size_t depth)
{
    for (size_t p = 0; p < depth; p++, src += ld, panel += COLS) {
        for (size_t j = 0; j < COLS; j += LANES) {
            const size_t n_cols = n - least(j, n);
            lanes_store(panel + j, n_cols >= LANES ? lanes_load(src + j)
                                                   : lanes_load_n(src + least(j, n), n_cols));
        }
    }
}

/* ---- tiles ---- */

typedef struct gemm_tile {
    float *c;
    size_t ld_c, n_cols;
    bool add;
    const float *a; /* element (i, p) at i * step_row + p * step_depth */
    size_t step_row, step_depth;
    const float *panel;
    size_t depth;
} gemm_tile;

INLINE void store_tile(lanes t[GEMM_ROWS][TILE_PANELS], const int n_rows, const gemm_tile *tile)
{
    UNROLL
    for (int i = 0; i < n_rows; i++) {
        UNROLL
        for (int j = 0; j < TILE_PANELS; j++) {
            float *const c = tile->c + (size_t)i * tile->ld_c + (size_t)j * LANES;
            const size_t n = tile->n_cols - least((size_t)j * LANES, tile->n_cols);
            if (n >= LANES) {
                lanes_store(c, tile->add ? lanes_add(lanes_load(c), t[i][j]) : t[i][j]);
            } else if (n > 0) {
                lanes_store_n(c, tile->add ? lanes_add(lanes_load_n(c, n), t[i][j]) : t[i][j], n);
            }
        }
    }
}

/* n_rows is a constant. Every fourth row has a pointer, from which three more are within reach of
 * an address: 14 pointers would be more than there are registers. */
INLINE void multiply_rows(const int n_rows, const gemm_tile *tile)
{
    lanes t[GEMM_ROWS][TILE_PANELS];
    const float *a[4];
    const size_t step = tile->step_row;
    const size_t step_3 = 3 * step;
    const float *panel = tile->panel;
    UNROLL
    for (int i = 0; i < 4; i++) {
        a[i] = tile->a + (4 * i < n_rows ? 4 * (size_t)i * step : 0);
    }
    UNROLL
    for (int i = 0; i < n_rows; i++) {
        UNROLL
        for (int j = 0; j < TILE_PANELS; j++) {
            t[i][j] = lanes_zero();
        }
    }
    for (size_t p = 0; p < tile->depth; p++, panel += COLS) {
        lanes b[TILE_PANELS];
        UNROLL
        for (int j = 0; j < TILE_PANELS; j++) {
            b[j] = lanes_load(panel + (size_t)j * LANES);
        }
        UNROLL
        for (int i = 0; i < n_rows; i++) {
            const size_t offset = i % 4 == 3 ? step_3 : (size_t)(i % 4) * step;
            const lanes x = lanes_set1(a[i / 4][offset]);
            UNROLL
            for (int j = 0; j < TILE_PANELS; j++) {
                t[i][j] = lanes_fma(x, b[j], t[i][j]);
            }
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            a[i] += tile->step_depth;
        }
    }
    store_tile(t, n_rows, tile);
}

/* A function for each height. */
#define MULTIPLY_ROWS(n)                                                                           \
    static void multiply_rows_##n(const gemm_tile *tile)                                           \
    {                                                                                              \
        multiply_rows(n, tile);                                                                    \
    }
FOR_GEMM_ROWS(MULTIPLY_ROWS)

#define ROWS_FUNCTION(n) multiply_rows_##n,
static void (*const multiply_tile[])(const gemm_tile *tile) = {FOR_GEMM_ROWS(ROWS_FUNCTION)};

/* All rows times one panel, in tiles of about the same height. */
static void multiply_panel(const kfi_gemm *g, gemm_tile tile)
{
    const float *const a = tile.a;
    float *const c = tile.c;
    const size_t n_tiles = (g->m + GEMM_ROWS - 1) / GEMM_ROWS;
    const size_t rows = (g->m + n_tiles - 1) / n_tiles;
    for (size_t i = 0; i < g->m; i += rows) {
        tile.a = a + i * tile.step_row;
        tile.c = c + i * tile.ld_c;
        multiply_tile[least(rows, g->m - i) - 1](&tile);
    }
}

static void multiply_matrix(const kfi_gemm *g)
{
    alignas(64) float panel[KFI_GEMM_DEPTH * COLS];
    const bool by_columns = g->kind == KFI_GEMM_TN;
    gemm_tile tile = {.ld_c = g->ld_c,
                      .step_row = by_columns ? 1 : g->ld_a,
                      .step_depth = by_columns ? g->ld_a : 1,
                      .panel = panel};
    for (size_t j = 0; j < g->n; j += COLS) {
        tile.n_cols = least(COLS, g->n - j);
        for (size_t p = 0; p < g->k; p += KFI_GEMM_DEPTH) {
            tile.a = g->a + p * tile.step_depth;
            tile.c = g->c + j;
            tile.depth = least(KFI_GEMM_DEPTH, g->k - p);
            tile.add = g->add || p > 0;
            if (g->kind == KFI_GEMM_NT) {
                const size_t next = p + KFI_GEMM_DEPTH < g->k ? KFI_GEMM_DEPTH : COLS * g->ld_b - p;
                pack_turned(panel, g->b + j * g->ld_b + p, next, g->ld_b, tile.n_cols, tile.depth);
            } else {
                pack_straight(panel, g->b + p * g->ld_b + j, g->ld_b, tile.n_cols, tile.depth);
            }
            multiply_panel(g, tile);
        }
    }
}

/* ---- one row of a, rows of b ---- */

/* Fetches the two squares that come AHEAD floats after column p of rows j …: in these rows, or at
 * the start of the next 16. Neighbouring lines together are 5 % faster than one at a time. */
INLINE void fetch_ahead(const kfi_gemm *g, size_t j, size_t p)
{
    p += AHEAD;
    while (p >= g->k && j < g->n) {
        p -= g->k;
        j += LANES;
    }
    if (j + LANES > g->n) {
        return;
    }
    UNROLL
    for (size_t r = 0; r < LANES; r++) {
        __builtin_prefetch(address(g->b, (j + r) * g->ld_b + p));
        __builtin_prefetch(address(g->b, (j + r) * g->ld_b + p + LANES));
    }
}

INLINE lanes add_products(lanes t, const lanes b[16], const float *a, size_t n)
{
    UNROLL
    for (size_t q = 0; q < LANES; q++) {
        if (q < n) {
            t = lanes_fma(lanes_set1(a[q]), b[q], t);
        }
    }
    return t;
}

/* The products of one block, 16 rows of b. */
INLINE lanes multiply_block(const kfi_gemm *g, size_t j, size_t p, size_t end)
{
    lanes t = lanes_zero();
    const size_t n_rows = g->n - j;
    const float *const b = g->b + j * g->ld_b;
    lanes x[16];
    for (; p + LANES <= end; p += LANES) {
        load_turned(x, b + p, g->ld_b, n_rows, LANES);
        if (p / LANES % 2 == 0) {
            fetch_ahead(g, j, p);
        }
        t = add_products(t, x, g->a + p, LANES);
    }
    if (p < end) {
        load_turned(x, b + p, g->ld_b, n_rows, end - p);
        t = add_products(t, x, g->a + p, end - p);
    }
    return t;
}

static void multiply_vector(const kfi_gemm *g)
{
    for (size_t j = 0; j < g->n; j += LANES) {
        const size_t n = least(LANES, g->n - j);
        lanes c = lanes_load_n(g->c + j, g->add ? n : 0);
        for (size_t p = 0; p < g->k; p += KFI_GEMM_DEPTH) {
            const lanes t = multiply_block(g, j, p, least(p + KFI_GEMM_DEPTH, g->k));
            c = g->add || p > 0 ? lanes_add(c, t) : t;
        }
        lanes_store_n(g->c + j, c, n);
    }
}

void KERNEL_NAME(gemm)(const kfi_gemm *g)
{
    assert(g->k > 0);
    if (g->m == 1 && g->kind == KFI_GEMM_NT) {
        multiply_vector(g);
    } else if (g->m > 0) {
        multiply_matrix(g);
    }
}
