/* matrix.c - matrix products cut into tiles for the pool.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/matrix.h"

/* Rows a tile: enough that packing the other operand costs little, few enough to find their way
 * into the caches again for each of its panels. */
#define TILE_M 256
/* Columns a tile: a multiple of what the kernels take at once. Several tiles a thread balance what
 * other programs take from one of them. */
#define TILE_N_QUANTUM   32
#define TILES_PER_THREAD 4
/* Tiles of a Gram matrix: small ones balance the threads; of a wide one, whose rows fit no cache,
 * large ones read less. */
#define GRAM_TILE   96
#define GRAM_WIDE   2048
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
    size_t tile; /* both sides of a piece of work */
} gram_sum;

/* Adds the products of one block of rows of x to rows i … i_end-1, columns j … j_end-1 of the
 * lower triangle: panel by panel, each from the diagonal downwards. */
static void add_block(const gram_sum *t, size_t row, size_t i, size_t i_end, size_t j, size_t j_end)
{
    kfi_gemm g = {.kind = KFI_GEMM_TN,
                  .add = true,
                  .k = least(KFI_GEMM_DEPTH, t->m - row),
                  .ld_a = t->ld_x,
                  .ld_b = t->ld_x,
                  .ld_c = t->n};
    for (; j < j_end; j += TILE_N_QUANTUM) {
        i = i > j ? i : j;
        g.m = i_end - i;
        g.n = least(TILE_N_QUANTUM, j_end - j);
        g.a = t->x + row * t->ld_x + i;
        g.b = t->x + row * t->ld_x + j;
        g.c = t->gram + i * t->n + j;
        kfi_kernels_get()->gemm(&g);
    }
}

/* Copies what lies below the diagonal to the other side. By squares: a column's elements lie in as
 * many cache lines, which must last until its neighbours are read. */
static void mirror_tile(float *gram, size_t n, size_t i, size_t i_end, size_t j, size_t j_end)
{
    for (size_t c = j; c < j_end; c += MIRROR_TILE) {
        for (size_t r = i > c ? i : c; r < i_end; r += MIRROR_TILE) {
            for (size_t q = c; q < least(c + MIRROR_TILE, j_end); q++) {
                for (size_t p = r > q ? r : q; p < least(r + MIRROR_TILE, i_end); p++) {
                    gram[q * n + p] = gram[p * n + q];
                }
            }
        }
    }
}

/* Item i is a tile of the lower triangle, counted row by row. */
static void run_gram_tile(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const gram_sum *t = ctx;
    size_t i_row = 0;
    while (i_item > i_row) {
        i_row++;
        i_item -= i_row;
    }
    const size_t i = i_row * t->tile;
    const size_t j = i_item * t->tile;
    const size_t i_end = least(i + t->tile, t->n);
    const size_t j_end = least(j + t->tile, t->n);
    for (size_t row = 0; row < t->m; row += KFI_GEMM_DEPTH) {
        add_block(t, row, i, i_end, j, j_end);
    }
    mirror_tile(t->gram, t->n, i, i_end, j, j_end);
}

void kfi_matrix_gram_add(kf_pool *pool, float *gram, const float *x, size_t ld_x, size_t m,
                         size_t n)
{
    if (m == 0) {
        return;
    }
    gram_sum task = {.gram = gram, .x = x, .ld_x = ld_x, .m = m, .n = n};
    task.tile = n < GRAM_WIDE ? GRAM_TILE : 2 * GRAM_TILE;
    const size_t n_tiles = tiles(n, task.tile);
    kfi_pool_run(pool, run_gram_tile, &task, n_tiles * (n_tiles + 1) / 2);
}
