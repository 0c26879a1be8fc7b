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
#include <stdbool.h>

#include "kernels/arm/lanes_neon.h"

#define TILE_TOKENS 4
#include "kernels/lanes/matmul_int8.h"

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
    const int8x16_t centred = vreinterpretq_s8_u8(bytes_xor(q, bytes_set1(0x80)));
    return vdotq_s32(vdotq_s32(vdotq_s32(sum, centred, x), half, x), half, x);
}

/* 16 rows of one token: the float sums, and with two-level scales the integer sums that go on over
 * several segments. */
typedef struct row_sums {
    lanes acc;
    ilanes sum;
} row_sums;

INLINE row_sums row_sums_zero(void)
{
    return (row_sums){lanes_zero(), ilanes_set1(0)};
}

/* Which segment it is, for all tokens. */
typedef struct segment {
    size_t begin, end; /* chunks */
    size_t i_grid, group_x;
    bool ends_sum;
} segment;

INLINE segment segment_of(const kfi_packed *w, const kfi_segments *segments, size_t i_panel,
                          size_t s, size_t sum_end)
{
    return (segment){.begin = kfi_segment_begin(segments, s),
                     .end = kfi_segment_end(segments, s, w->n_chunks),
                     .i_grid = panel_grid(w, i_panel, s >> segments->weight_shift),
                     .group_x = s >> segments->token_shift,
                     .ends_sum = s + 1 == sum_end};
}

/* The steps at a segment's end: see the order in kernels.h. two_level is a constant. */
INLINE row_sums add_segment(const bool two_level, row_sums sums, const kfi_packed *w,
                            const segment *s, ilanes isum, const int32_t *chunk_sums,
                            const float *scales_x)
{
    const int32_t sum_x = kfi_segment_sum(chunk_sums, s->begin, s->end);
    const float scale_x = scales_x[s->group_x];
    if (two_level) {
        sums.sum = ilanes_add(sums.sum, multiplied(w, s->i_grid, isum, sum_x));
        if (s->ends_sum) {
            sums.acc = lanes_fma(lanes_of_int(sums.sum), lanes_set1(scale_x), sums.acc);
            sums.sum = ilanes_set1(0);
        }
        return sums;
    }
    const ilanes zero = ilanes_mul(panel_zeros(w, s->i_grid), ilanes_set1(sum_x));
    const lanes scales = lanes_mul(panel_scales(w, s->i_grid), lanes_set1(scale_x));
    sums.acc = lanes_fma(lanes_of_int(ilanes_sub(isum, zero)), scales, sums.acc);
    if (w->format.zero == KF_ZERO_OFFSET) {
        sums.acc = add_offset(sums.acc, w, s->i_grid, sum_x, scale_x);
    }
    return sums;
}

INLINE void store_rows(const bool two_level, float *y, lanes acc, const kfi_packed *w,
                       size_t i_panel)
{
    acc = two_level ? lanes_mul(acc, panel_row_scales(w, i_panel)) : acc;
    lanes_store_n(y + i_panel * KFI_PANEL_ROWS, acc, panel_rows(w, i_panel));
}

/* ---- one token ---- */

/* isum += Σ q x of a chunk: 16 rows, 32 columns. */
INLINE void dot_chunk(const int kind, const bytes operands, ilanes *isum, const uint8_t *chunk,
                      const int8_t *x)
{
    UNROLL
    for (size_t part = 0; part < LINE_PARTS; part++) {
        bytes q[8];
        unpack_chunk(q, chunk + part * sizeof(bytes), kind, operands);
        UNROLL
        for (int quad = 0; quad < 8; quad++) {
            isum->val[part] =
                dot(operand_bits(kind), isum->val[part], q[quad], broadcast(x + 4 * quad));
        }
    }
}

INLINE void multiply_token_of(const int kind, const bool two_level, float *y, const kfi_packed *w,
                              size_t panel_begin, size_t panel_end, const kfi_activations *x)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    const size_t chunk_bytes = chunk_bytes_of(kind);
    const bytes operands = operands_of(kind, w);
    const uint8_t *chunk = w->codes + panel_begin * w->n_chunks * chunk_bytes;
    for (size_t i = panel_begin; i < panel_end; i++) {
        row_sums sums = row_sums_zero();
        size_t sum_end = kfi_segment_sum_end(&segments, 0);
        for (size_t s = 0; s < segments.n; s++) {
            const segment here = segment_of(w, &segments, i, s, sum_end);
            const int8_t *codes = x->codes + here.begin * KFI_CHUNK_COLS;
            ilanes isum = ilanes_set1(0);
            for (size_t c = here.begin; c < here.end; c++) {
                dot_chunk(kind, operands, &isum, chunk, codes);
                chunk += chunk_bytes;
                codes += KFI_CHUNK_COLS;
            }
            sums = add_segment(two_level, sums, w, &here, isum, x->sums, x->scales);
            sum_end = here.ends_sum ? kfi_segment_sum_end(&segments, s + 1) : sum_end;
        }
        store_rows(two_level, y, sums.acc, w, i);
    }
}

static void multiply_token(float *y, const kfi_packed *w, size_t panel_begin, size_t panel_end,
                           const kfi_activations *x)
{
    if (w->format.scale == KF_SCALE_TWO_LEVEL) {
        FOR_BITS(w->format.bits, multiply_token_of, true, y, w, panel_begin, panel_end, x)
    } else {
        FOR_KINDS(kind_of(w), multiply_token_of, false, y, w, panel_begin, panel_end, x)
    }
}

/* ---- tiles ---- */

/* isum = Σ q x of a segment. */
INLINE void dot_tile(const int bits, ilanes isum[TILE_TOKENS], const uint8_t *panel,
                     const token_tile *tile, const segment *s)
{
    for (int t = 0; t < TILE_TOKENS; t++) {
        isum[t] = ilanes_set1(0);
    }
    for (size_t k = s->begin * KFI_CHUNK_COLS; k < s->end * KFI_CHUNK_COLS; k += 4) {
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
}

INLINE void multiply_tile_of(const int bits, const bool two_level, const kfi_packed *w,
                             size_t i_panel, const uint8_t *panel, const token_tile *tile,
                             const kfi_segments *segments)
{
    row_sums sums[TILE_TOKENS];
    size_t sum_end = kfi_segment_sum_end(segments, 0);
    for (int t = 0; t < TILE_TOKENS; t++) {
        sums[t] = row_sums_zero();
    }
    for (size_t s = 0; s < segments->n; s++) {
        const segment here = segment_of(w, segments, i_panel, s, sum_end);
        ilanes isum[TILE_TOKENS];
        dot_tile(bits, isum, panel, tile, &here);
        for (int t = 0; t < TILE_TOKENS; t++) {
            sums[t] =
                add_segment(two_level, sums[t], w, &here, isum[t], tile->sums[t], tile->scales[t]);
        }
        sum_end = here.ends_sum ? kfi_segment_sum_end(segments, s + 1) : sum_end;
    }
    for (size_t t = 0; t < tile->n_tokens; t++) {
        store_rows(two_level, tile->y[t], sums[t].acc, w, i_panel);
    }
}

/* Codes of fewer than 8 bits are all signed bytes once they are unpacked. */
static void multiply_tile(const kfi_packed *w, size_t i_panel, const uint8_t *panel,
                          const token_tile *tile, const kfi_segments *segments)
{
    const bool two_level = w->format.scale == KF_SCALE_TWO_LEVEL;
    const int bits = operand_bits(kind_of(w));
    if (bits == 8 && two_level) {
        multiply_tile_of(8, true, w, i_panel, panel, tile, segments);
    } else if (bits == 8) {
        multiply_tile_of(8, false, w, i_panel, panel, tile, segments);
    } else if (two_level) {
        multiply_tile_of(7, true, w, i_panel, panel, tile, segments);
    } else {
        multiply_tile_of(7, false, w, i_panel, panel, tile, segments);
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
            multiply_tile(w, i, panel, &tile, &segments);
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
