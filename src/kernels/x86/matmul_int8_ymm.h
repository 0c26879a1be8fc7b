/* matmul_int8_ymm.h - packed weights times int8 activations with 256-bit registers.
 *
 * Half a line of codes (8 rows x 4 columns) is the unsigned operand, four activations broadcast to
 * all rows the signed one. The file that includes this says how they are multiplied:
 *
 *     VARIANT               names the function
 *     is_direct(bits)       dot_direct() adds the products of a quad of columns to 32-bit sums
 *     dot_direct(sum, q, x)
 *     quads_a_sum(bits)     else so many quads are added in 16 bits,
 *     widen(sum, pairs)     which then go to 32 bits
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>

#include "kernels/lanes/matmul_int8.h"
#include "kernels/lanes/names.h"

INLINE __m256i broadcast(const int8_t *x)
{
    return _mm256_set1_epi32(*(const word *)x);
}

/* sums[t] += Σ q x of 8 rows of a chunk, whose quads are added in 16 bits first. */
INLINE void add_pairs(const int n_tokens, const int n, __m256i *sums, const bytes *q,
                      const token_tile *tile, size_t col)
{
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        const int8_t *x = tile->codes[t] + col;
        __m256i pairs = _mm256_maddubs_epi16(q[0], broadcast(x));
        UNROLL
        for (int i = 1; i < n; i++) {
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(q[i], broadcast(x + 4 * i)));
        }
        sums[t] = widen(sums[t], pairs);
    }
}

/* sums[t] += Σ q x of 8 rows of a chunk. */
INLINE void dot_half(const int n_tokens, const int kind, const bytes operands, __m256i *sums,
                     const uint8_t *half, const token_tile *tile, size_t chunk)
{
    const int bits = operand_bits(kind);
    const int n = quads_a_sum(bits);
    bytes q[8];
    unpack_chunk(q, half, kind, operands);
    UNROLL
    for (int quad = 0; quad < 8; quad += n) {
        const size_t col = chunk * KFI_CHUNK_COLS + 4 * (size_t)quad;
        if (!is_direct(bits)) {
            add_pairs(n_tokens, n, sums, q + quad, tile, col);
            continue;
        }
        UNROLL
        for (int t = 0; t < n_tokens; t++) {
            sums[t] = dot_direct(sums[t], q[quad], broadcast(tile->codes[t] + col));
        }
    }
}

/* The codes of 8 rows take 8 registers: with more than two tokens the sums of all 16 rows would not
 * fit beside them, and the second half of the lines is read after the first. */
INLINE void dot_panel(const int n_tokens, const int kind, const bytes operands, ilanes *isum,
                      const uint8_t *codes, const token_tile *tile, size_t begin, size_t end)
{
    const bool is_at_once = n_tokens <= 2;
    __m256i a[TILE_TOKENS_MOST];
    __m256i b[TILE_TOKENS_MOST];
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        a[t] = b[t] = _mm256_setzero_si256();
    }
    for (size_t c = begin; c < end; c++) {
        const uint8_t *chunk = codes + c * chunk_bytes_of(kind);
        prefetch_after(chunk, kind);
        dot_half(n_tokens, kind, operands, a, chunk, tile, c);
        if (is_at_once) {
            dot_half(n_tokens, kind, operands, b, chunk + sizeof(bytes), tile, c);
        }
    }
    for (size_t c = begin; c < end && !is_at_once; c++) {
        const uint8_t *chunk = codes + c * chunk_bytes_of(kind);
        dot_half(n_tokens, kind, operands, b, chunk + sizeof(bytes), tile, c);
    }
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        isum[t] = (ilanes){a[t], b[t]};
    }
}

/* What is added in 16 bits first takes few instructions a token, beside which unpacking counts. */
INLINE int panel_tokens(const int kind)
{
    return is_direct(operand_bits(kind)) ? 4 : 8;
}

#include "kernels/lanes/panel_product.h"

void KERNEL_NAME(matmul_int8)(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                              size_t panel_end, const kfi_activations *x, void *scratch)
{
    (void)scratch;
    multiply_panels(y, ld_y, w, panel_begin, panel_end, x);
}
