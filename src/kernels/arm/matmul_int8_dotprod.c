/* matmul_int8_dotprod.c - packed weights times int8 activations with sdot.
 *
 * sdot multiplies signed bytes and adds four products to 32 bits. A quarter of a line (4 rows x 4
 * columns) is one operand, four activations broadcast to all rows the other. Codes of up to 7 bits
 * are signed bytes as they are; of 8 bits q - 128 is one, and 128 of each activation comes to it as
 * twice 64.
 *
 * One token: codes go from memory through registers into the product. Several tokens: a panel is
 * unpacked once to bytes, and a tile of 4 tokens x 16 rows keeps 16 registers of sums.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>

#include "kernels/arm/lanes_neon.h"

#define TILE_TOKENS 4
#include "kernels/x86/matmul_int8_x86.h"

INLINE int8x16_t broadcast(const int8_t *x)
{
    return vreinterpretq_s8_s32(vdupq_n_s32(*(const word *)x));
}

/* sum + Σ q x of four rows and columns. */
INLINE int32x4_t dot(const int bits, int32x4_t sum, bytes q, int8x16_t x)
{
    if (bits < 8) {
        return vdotq_s32(sum, vreinterpretq_s8_u8(q), x);
    }
    const int8x16_t half = vdupq_n_s8(64);
    const int8x16_t centred = vreinterpretq_s8_u8(veorq_u8(q, bytes_set1(0x80)));
    return vdotq_s32(vdotq_s32(vdotq_s32(sum, centred, x), half, x), half, x);
}

/* The float steps of a segment: see the order in kernels.h. */
INLINE lanes add_segment(lanes acc, const kfi_packed *w, size_t i_grid, ilanes isum, int32_t sum_x,
                         float scale_x)
{
    const ilanes zero = ilanes_mul(panel_zeros(w, i_grid), ilanes_set1(sum_x));
    const lanes scales = lanes_mul(panel_scales(w, i_grid), lanes_set1(scale_x));
    acc = lanes_fma(lanes_of_int(ilanes_sub(isum, zero)), scales, acc);
    return w->format.zero == KF_ZERO_OFFSET ? add_offset(acc, w, i_grid, sum_x, scale_x) : acc;
}

/* ---- one token ---- */

/* isum += Σ q x of a chunk: 16 rows, 32 columns. */
INLINE void dot_chunk(const int bits, ilanes *isum, const uint8_t *chunk, const int8_t *x)
{
    UNROLL
    for (size_t part = 0; part < LINE_PARTS; part++) {
        bytes q[8];
        unpack_chunk(q, chunk + part * sizeof(bytes), bits);
        UNROLL
        for (int quad = 0; quad < 8; quad++) {
            isum->val[part] = dot(bits, isum->val[part], q[quad], broadcast(x + 4 * quad));
        }
    }
}

INLINE void multiply_token_of(const int bits, float *y, const kfi_packed *w, size_t panel_begin,
                              size_t panel_end, const kfi_activations *x)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    const size_t chunk_bytes = (size_t)bits * KFI_LINE_BYTES;
    const uint8_t *chunk = w->codes + panel_begin * w->n_chunks * chunk_bytes;
    for (size_t i = panel_begin; i < panel_end; i++) {
        lanes acc = lanes_zero();
        const int8_t *codes = x->codes;
        for (size_t s = 0; s < segments.n; s++) {
            const size_t begin = kfi_segment_begin(&segments, s);
            const size_t end = kfi_segment_end(&segments, s, w->n_chunks);
            ilanes isum = ilanes_set1(0);
            for (size_t c = begin; c < end; c++, chunk += chunk_bytes, codes += KFI_CHUNK_COLS) {
                dot_chunk(bits, &isum, chunk, codes);
            }
            acc = add_segment(acc, w, panel_grid(w, i, s >> segments.weight_shift), isum,
                              kfi_segment_sum(x->sums, begin, end),
                              x->scales[s >> segments.token_shift]);
        }
        lanes_store_n(y + i * KFI_PANEL_ROWS, acc, panel_rows(w, i));
    }
}

static void multiply_token(float *y, const kfi_packed *w, size_t panel_begin, size_t panel_end,
                           const kfi_activations *x){
    FOR_BITS(w->format.bits, multiply_token_of, y, w, panel_begin, panel_end, x)}

/* ---- tiles ---- */

INLINE
    void multiply_tile_of(const int bits, const kfi_packed *w, size_t i_panel, const uint8_t *panel,
                          const token_tile *tile, const kfi_segments *segments)
{
    lanes acc[TILE_TOKENS];
    for (int t = 0; t < TILE_TOKENS; t++) {
        acc[t] = lanes_zero();
    }
    for (size_t s = 0; s < segments->n; s++) {
        const size_t begin = kfi_segment_begin(segments, s);
        const size_t end = kfi_segment_end(segments, s, w->n_chunks);
        const size_t i_grid = panel_grid(w, i_panel, s >> segments->weight_shift);
        ilanes isum[TILE_TOKENS];
        for (int t = 0; t < TILE_TOKENS; t++) {
            isum[t] = ilanes_set1(0);
        }
        for (size_t k = begin * KFI_CHUNK_COLS; k < end * KFI_CHUNK_COLS; k += 4) {
            bytes q[LINE_PARTS];
            UNROLL
            for (size_t part = 0; part < LINE_PARTS; part++) {
                q[part] = bytes_load(panel + k * KFI_PANEL_ROWS + part * sizeof(bytes));
            }
            UNROLL
            for (int t = 0; t < TILE_TOKENS; t++) {
                const int8x16_t x = broadcast(tile->codes[t] + k);
                UNROLL
                for (size_t part = 0; part < LINE_PARTS; part++) {
                    isum[t].val[part] = dot(bits, isum[t].val[part], q[part], x);
                }
            }
        }
        for (int t = 0; t < TILE_TOKENS; t++) {
            acc[t] =
                add_segment(acc[t], w, i_grid, isum[t], kfi_segment_sum(tile->sums[t], begin, end),
                            tile->scales[t][s >> segments->token_shift]);
        }
    }
    for (size_t t = 0; t < tile->n_tokens; t++) {
        lanes_store_n(tile->y[t] + i_panel * KFI_PANEL_ROWS, acc[t], panel_rows(w, i_panel));
    }
}

static void multiply_tokens(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                            size_t panel_end, const kfi_activations *x, uint8_t *panel)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    for (size_t i = panel_begin; i < panel_end; i++) {
        unpack_panel(panel, w, i);
        for (size_t t = 0; t < x->n_tokens; t += TILE_TOKENS) {
            const token_tile tile = tile_make(y, ld_y, x, t);
            if (w->format.bits < 8) {
                multiply_tile_of(7, w, i, panel, &tile, &segments);
            } else {
                multiply_tile_of(8, w, i, panel, &tile, &segments);
            }
        }
    }
}

void kfi_matmul_int8_dotprod(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                             size_t panel_end, const kfi_activations *x, void *scratch)
{
    assert(x->cols_padded == w->n_chunks * KFI_CHUNK_COLS);
    if (x->n_tokens == 1) {
        multiply_token(y, w, panel_begin, panel_end, x);
    } else if (x->n_tokens > 1) {
        multiply_tokens(y, ld_y, w, panel_begin, panel_end, x, scratch);
    }
}
