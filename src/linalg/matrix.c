/* matrix.c - matrix products cut into tiles for the pool.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/matrix.h"

#include "base/alloc.h"

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
    g.m = kfi_least(TILE_M, g.m - i);
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

/* A symmetric matrix whose lower triangle is cut in tiles. */
typedef struct triangle {
    float *a;
    size_t n;
    size_t tile; /* both sides of a piece of work */
} triangle;

typedef struct area {
    size_t i, i_end, j, j_end; /* rows and columns */
} area;

static triangle triangle_make(float *a, size_t n)
{
    return (triangle){a, n, n < GRAM_WIDE ? GRAM_TILE : 2 * GRAM_TILE};
}

static size_t triangle_tiles(const triangle *t)
{
    const size_t n = tiles(t->n, t->tile);
    return n * (n + 1) / 2;
}

/* Tiles are counted row by row. */
static area triangle_area(const triangle *t, size_t i_tile)
{
    size_t i_row = 0;
    while (i_tile > i_row) {
        i_row++;
        i_tile -= i_row;
    }
    const size_t i = i_row * t->tile;
    const size_t j = i_tile * t->tile;
    return (area){i, kfi_least(i + t->tile, t->n), j, kfi_least(j + t->tile, t->n)};
}

typedef struct gram_sum {
    triangle gram;
    const float *x;
    size_t ld_x, m;
} gram_sum;

/* Adds the products of one block of rows of x to an area: panel by panel, each from the diagonal
 * downwards. */
static void add_block(const gram_sum *t, size_t row, area to)
{
    kfi_gemm g = {.kind = KFI_GEMM_TN,
                  .add = true,
                  .k = kfi_least(KFI_GEMM_DEPTH, t->m - row),
                  .ld_a = t->ld_x,
                  .ld_b = t->ld_x,
                  .ld_c = t->gram.n};
    size_t i = to.i;
    for (size_t j = to.j; j < to.j_end; j += TILE_N_QUANTUM) {
        i = i > j ? i : j;
        g.m = to.i_end - i;
        g.n = kfi_least(TILE_N_QUANTUM, to.j_end - j);
        g.a = t->x + row * t->ld_x + i;
        g.b = t->x + row * t->ld_x + j;
        g.c = t->gram.a + i * t->gram.n + j;
        kfi_kernels_get()->gemm(&g);
    }
}

static void run_gram_tile(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const gram_sum *t = ctx;
    const area to = triangle_area(&t->gram, i_item);
    for (size_t row = 0; row < t->m; row += KFI_GEMM_DEPTH) {
        add_block(t, row, to);
    }
}

void kfi_matrix_gram_add(kf_pool *pool, float *gram, const float *x, size_t ld_x, size_t m,
                         size_t n)
{
    gram_sum task = {triangle_make(gram, n), x, ld_x, m};
    kfi_pool_run(pool, run_gram_tile, &task, triangle_tiles(&task.gram));
}

/* By squares: a column's elements lie in as many cache lines, which must last until its neighbours
 * are read. */
static void run_mirror_tile(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const triangle *t = ctx;
    const area from = triangle_area(t, i_item);
    for (size_t c = from.j; c < from.j_end; c += MIRROR_TILE) {
        for (size_t r = from.i > c ? from.i : c; r < from.i_end; r += MIRROR_TILE) {
            for (size_t q = c; q < kfi_least(c + MIRROR_TILE, from.j_end); q++) {
                for (size_t p = r > q ? r : q; p < kfi_least(r + MIRROR_TILE, from.i_end); p++) {
                    t->a[q * t->n + p] = t->a[p * t->n + q];
                }
            }
        }
    }
}

void kfi_matrix_mirror(kf_pool *pool, float *a, size_t n)
{
    triangle task = triangle_make(a, n);
    kfi_pool_run(pool, run_mirror_tile, &task, triangle_tiles(&task));
}
