/* matrix.c - matrix products cut into tiles for the pool.
 *
 * The tiles depend on the shapes only: OpenBLAS may round differently at the edge of a matrix, so
 * that the same split is needed for the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/matrix.h"

/* Tokens a tile: beyond this, packing the weights again costs nothing. */
#define TILE_M 512
/* Columns a tile: about eight tiles a matrix, each wide enough to be worth packing the tokens. */
#define TILE_N_LEAST 64
#define TILE_N_MOST  512
#define TILES_N      8
/* Rows of x that one step of the Gram matrix takes. */
#define GRAM_ROWS 512
#define GRAM_TILE 192

typedef struct product {
    kfi_gemm gemm;
    size_t tile_n;
    size_t n_tiles_n;
} product;

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t tiles(size_t n, size_t tile)
{
    return (n + tile - 1) / tile;
}

static void run_tile(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const product *p = ctx;
    kfi_gemm g = p->gemm;
    const size_t i = i_item / p->n_tiles_n * TILE_M;
    const size_t j = i_item % p->n_tiles_n * p->tile_n;
    g.m = least(TILE_M, g.m - i);
    g.n = least(p->tile_n, g.n - j);
    g.a += g.kind == KFI_GEMM_TN ? i : i * g.ld_a;
    g.b += g.kind == KFI_GEMM_NT ? j * g.ld_b : j;
    g.c += i * g.ld_c + j;
    kfi_gemm_run(&g);
}

void kfi_matrix_multiply(kf_pool *pool, const kfi_gemm *gemm)
{
    if (gemm->m == 0 || gemm->n == 0) {
        return;
    }
    kfi_blas_init();
    size_t tile_n = tiles(tiles(gemm->n, TILES_N), TILE_N_LEAST) * TILE_N_LEAST;
    tile_n = least(tile_n, TILE_N_MOST);
    product p = {.gemm = *gemm, .tile_n = tile_n, .n_tiles_n = tiles(gemm->n, tile_n)};
    kfi_pool_run(pool, run_tile, &p, tiles(gemm->m, TILE_M) * p.n_tiles_n);
}

typedef struct gram {
    float *gram;
    const float *x;
    size_t ld_x, m, n;
} gram;

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

static void run_gram_tile(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const gram *t = ctx;
    size_t i = 0;
    size_t j = 0;
    find_tile(i_item, &i, &j);
    kfi_gemm g = {.kind = KFI_GEMM_TN,
                  .m = least(GRAM_TILE, t->n - i),
                  .n = least(GRAM_TILE, t->n - j),
                  .ld_a = t->ld_x,
                  .ld_b = t->ld_x,
                  .add = true,
                  .c = t->gram + i * t->n + j,
                  .ld_c = t->n};
    for (size_t row = 0; row < t->m; row += GRAM_ROWS) {
        g.k = least(GRAM_ROWS, t->m - row);
        g.a = t->x + row * t->ld_x + i;
        g.b = t->x + row * t->ld_x + j;
        kfi_gemm_run(&g);
    }
    /* A tile on the diagonal computed both its triangles, perhaps not to the last bit alike. */
    for (size_t r = i; r < i + g.m; r++) {
        for (size_t c = j; c < least(j + g.n, r); c++) {
            t->gram[c * t->n + r] = t->gram[r * t->n + c];
        }
    }
}

void kfi_matrix_gram_add(kf_pool *pool, float *gram_sum, const float *x, size_t ld_x, size_t m,
                         size_t n)
{
    if (m == 0 || n == 0) {
        return;
    }
    kfi_blas_init();
    gram task = {.gram = gram_sum, .x = x, .ld_x = ld_x, .m = m, .n = n};
    const size_t n_tiles = tiles(n, GRAM_TILE);
    kfi_pool_run(pool, run_gram_tile, &task, n_tiles * (n_tiles + 1) / 2);
}
