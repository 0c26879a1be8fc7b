/* matrix.c - matrix products cut into tiles for the pool.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/matrix.h"

/* Rows a tile: KFI_GEMM_DEPTH columns of so many are 192 KiB and stay in the second-level cache. */
#define TILE_M 256
/* Columns a tile: a multiple of what the kernels take at once. Several tiles a thread balance what
 * other programs take from one of them. */
#define TILE_N_QUANTUM   32
#define TILES_PER_THREAD 4
/* Both sides of a tile of the Gram matrix: in small ones little of the diagonal is done twice. */
#define GRAM_TILE   96
#define MIRROR_TILE 16

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t tiles(size_t n, size_t tile)
{
    return (n + tile - 1) / tile;
}

typedef struct product {
    kfi_gemm gemm;
    kfi_split columns;
} product;

static void run_tile(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const product *p = ctx;
    kfi_gemm g = p->gemm;
    const size_t i = i_item / p->columns.n_pieces * TILE_M;
    const size_t i_piece = i_item % p->columns.n_pieces;
    const size_t j = kfi_split_begin(&p->columns, i_piece);
    g.m = least(TILE_M, g.m - i);
    g.n = kfi_split_begin(&p->columns, i_piece + 1) - j;
    g.a += g.kind == KFI_GEMM_TN ? i : i * g.ld_a;
    g.b += g.kind == KFI_GEMM_NT ? j * g.ld_b : j;
    g.c += i * g.ld_c + j;
    kfi_kernels_get()->gemm(&g);
}

void kfi_matrix_multiply(kf_pool *pool, const kfi_gemm *gemm)
{
    product p = {.gemm = *gemm};
    p.columns = kfi_split_make(pool, gemm->n, TILE_N_QUANTUM, TILES_PER_THREAD);
    kfi_pool_run(pool, run_tile, &p, tiles(gemm->m, TILE_M) * p.columns.n_pieces);
}

typedef struct gram_sum {
    float *gram;
    const float *x;
    size_t ld_x, m, n;
} gram_sum;

/* Item i is tile (row, column) of the lower triangle, counted row by row. */
static void find_tile(size_t i_item, size_t *i_row, size_t *i_col)
{
    size_t row = 0;
    while (i_item > row) {
        i_item -= row + 1;
        row++;
    }
    *i_row = row * GRAM_TILE;
    *i_col = i_item * GRAM_TILE;
}

/* Copies rows i … i_end-1, columns j … j_end-1 to the other side of the diagonal. By squares: a
 * column's elements lie in as many cache lines, which must last until its neighbours are read. */
static void mirror_tile(float *gram, size_t n, size_t i, size_t i_end, size_t j, size_t j_end)
{
    for (size_t r = i; r < i_end; r += MIRROR_TILE) {
        for (size_t c = j; c < j_end; c += MIRROR_TILE) {
            for (size_t q = c; q < least(c + MIRROR_TILE, j_end); q++) {
                for (size_t p = r; p < least(r + MIRROR_TILE, i_end); p++) {
                    gram[q * n + p] = gram[p * n + q];
                }
            }
        }
    }
}

static void run_gram_tile(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const gram_sum *t = ctx;
    size_t i = 0;
    size_t j = 0;
    find_tile(i_item, &i, &j);
    const kfi_gemm g = {.kind = KFI_GEMM_TN,
                        .add = true,
                        .m = least(GRAM_TILE, t->n - i),
                        .n = least(GRAM_TILE, t->n - j),
                        .k = t->m,
                        .a = t->x + i,
                        .ld_a = t->ld_x,
                        .b = t->x + j,
                        .ld_b = t->ld_x,
                        .c = t->gram + i * t->n + j,
                        .ld_c = t->n};
    kfi_kernels_get()->gemm(&g);
    if (i != j) { /* a tile on the diagonal has both its triangles, to the last bit alike */
        mirror_tile(t->gram, t->n, i, i + g.m, j, j + g.n);
    }
}

void kfi_matrix_gram_add(kf_pool *pool, float *gram, const float *x, size_t ld_x, size_t m,
                         size_t n)
{
    if (m == 0) {
        return;
    }
    gram_sum task = {.gram = gram, .x = x, .ld_x = ld_x, .m = m, .n = n};
    const size_t n_tiles = tiles(n, GRAM_TILE);
    kfi_pool_run(pool, run_gram_tile, &task, n_tiles * (n_tiles + 1) / 2);
}
