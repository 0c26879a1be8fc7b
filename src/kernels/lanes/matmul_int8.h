/* matmul_int8.h - what all int8 products share: asking for codes, multipliers, the tokens of a
 * tile.
 *
 * Included once by each of them, after its lanes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_list.h"
#include "kernels/lanes/grid.h"
#include "kernels/lanes/unpack.h"
#include "kernels/segments_inline.h"

/* Four activations as one unaligned word in memory. */
typedef int32_t word __attribute__((may_alias, aligned(1)));

/* Asks memory for the codes that come PREFETCH_BYTES after a chunk: of 2 or 3 bits a core has too
 * few lines under way otherwise, for all that stands between two loads. */
#define PREFETCH_BYTES 2048
INLINE void prefetch_after(const uint8_t *chunk, const int kind)
{
    UNROLL
    for (int i = 0; i < stored_bits(kind); i++) {
        __builtin_prefetch(chunk + PREFETCH_BYTES + i * (int)KFI_LINE_BYTES);
    }
}

/* m (isum - z sum_x) of a segment with two-level scales: at most 128 columns, so that sum_x has 16
 * bits. */
INLINE ilanes multiplied(const kfi_packed *w, size_t i_grid, ilanes isum, int32_t sum_x)
{
    const ilanes zero = ilanes_mul_words(panel_zeros(w, i_grid), ilanes_set1(sum_x));
    return ilanes_mul(ilanes_sub(isum, zero), panel_multipliers(w, i_grid));
}

/* Some tokens; where fewer are left the last one stands in for the others. */
#define TILE_TOKENS_MOST 8
typedef struct token_tile {
    const int8_t *codes[TILE_TOKENS_MOST];
    const float *scales[TILE_TOKENS_MOST];
    const int32_t *sums[TILE_TOKENS_MOST];
    float *y[TILE_TOKENS_MOST];
    size_t n_tokens;
} token_tile;

INLINE token_tile tile_make(float *y, size_t ld_y, const kfi_activations *x, size_t first,
                            size_t most)
{
    const size_t left = x->n_tokens - first;
    token_tile tile = {.n_tokens = left < most ? left : most};
    for (size_t i = 0; i < most; i++) {
        const size_t t = first + (i < tile.n_tokens ? i : tile.n_tokens - 1);
        tile.codes[i] = x->codes + t * x->cols_padded;
        tile.scales[i] = x->scales + t * x->n_groups;
        tile.sums[i] = x->sums + t * (x->cols_padded / KFI_CHUNK_COLS);
        tile.y[i] = y + t * ld_y;
    }
    return tile;
}
