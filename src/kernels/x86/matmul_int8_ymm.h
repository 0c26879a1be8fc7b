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
 * One token: codes go from memory through registers into the product. Several tokens: a panel is
 * unpacked once to bytes, and a tile of 4 tokens x 16 rows keeps 8 registers of sums.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>

#define TILE_TOKENS 4
#include "kernels/lanes/matmul_int8.h"
#include "kernels/lanes/names.h"

INLINE __m256i broadcast(const int8_t *x)
{
    return _mm256_set1_epi32(*(const word *)x);
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

/* sum + Σ q x of half a chunk: 8 rows, 32 columns. */
INLINE __m256i dot_chunk(const int kind, const bytes operands, __m256i sum, const uint8_t *chunk,
                         const int8_t *x)
{
    const int bits = operand_bits(kind);
    const int n = quads_a_sum(bits);
    bytes q[8];
    unpack_chunk(q, chunk, kind, operands);
    UNROLL
    for (int quad = 0; quad < 8; quad += n) {
        if (is_direct(bits)) {
            sum = dot_direct(sum, q[quad], broadcast(x + 4 * quad));
        } else {
            __m256i pairs = _mm256_maddubs_epi16(q[quad], broadcast(x + 4 * quad));
            UNROLL
            for (int i = 1; i < n; i++) {
                const __m256i more = broadcast(x + 4 * (quad + i));
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(q[quad + i], more));
            }
            sum = widen(sum, pairs);
        }
    }
    return sum;
}

/* Σ q x of n chunks. */
INLINE ilanes dot_chunks(const int kind, const bytes operands, const uint8_t *chunk,
                         const int8_t *codes, size_t n)
{
    ilanes isum = ilanes_set1(0);
    for (; n > 0; n--, chunk += chunk_bytes_of(kind), codes += KFI_CHUNK_COLS) {
        isum.a = dot_chunk(kind, operands, isum.a, chunk, codes);
        isum.b = dot_chunk(kind, operands, isum.b, chunk + sizeof(bytes), codes);
    }
    return isum;
}

INLINE void multiply_token_of(const int kind, float *y, const kfi_packed *w, size_t panel_begin,
                              size_t panel_end, const kfi_activations *x)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    const size_t chunk_bytes = chunk_bytes_of(kind);
    const bytes operands = operands_of(kind, w);
    const uint8_t *chunk = w->codes + panel_begin * w->n_chunks * chunk_bytes;
    for (size_t i = panel_begin; i < panel_end; i++) {
        lanes acc = lanes_zero();
        for (size_t s = 0; s < segments.n; s++) {
            const size_t begin = kfi_segment_begin(&segments, s);
            const size_t end = kfi_segment_end(&segments, s, w->n_chunks);
            const ilanes isum =
                dot_chunks(kind, operands, chunk, x->codes + begin * KFI_CHUNK_COLS, end - begin);
            chunk += (end - begin) * chunk_bytes;
            acc = add_segment(acc, w, panel_grid(w, i, s >> segments.weight_shift), isum,
                              kfi_segment_sum(x->sums, begin, end),
                              x->scales[s >> segments.token_shift]);
        }
        lanes_store_n(y + i * KFI_PANEL_ROWS, acc, panel_rows(w, i));
    }
}

/* is_short (a constant): every segment has an activation scale of its own. */
INLINE void multiply_token_two_level_of(const int bits, const bool is_short, float *y,
                                        const kfi_packed *w, size_t panel_begin, size_t panel_end,
                                        const kfi_activations *x)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    const size_t chunk_bytes = (size_t)bits * KFI_LINE_BYTES;
    const uint8_t *chunk = w->codes + panel_begin * w->n_chunks * chunk_bytes;
    for (size_t i = panel_begin; i < panel_end; i++) {
        lanes acc = lanes_zero();
        ilanes sum = ilanes_set1(0);
        size_t sum_end = kfi_segment_sum_end(&segments, 0);
        for (size_t s = 0; s < segments.n; s++) {
            const size_t begin = kfi_segment_begin(&segments, s);
            const size_t end = kfi_segment_end(&segments, s, w->n_chunks);
            const ilanes isum = dot_chunks(bits, operands_of(bits, w), chunk,
                                           x->codes + begin * KFI_CHUNK_COLS, end - begin);
            chunk += (end - begin) * chunk_bytes;
            const ilanes part = multiplied(w, panel_grid(w, i, s >> segments.weight_shift), isum,
                                           kfi_segment_sum(x->sums, begin, end));
            sum = is_short ? part : ilanes_add(sum, part);
            if (is_short || s + 1 == sum_end) {
                const float scale_x = x->scales[s >> segments.token_shift];
                acc = lanes_fma(lanes_of_int(sum), lanes_set1(scale_x), acc);
                sum = ilanes_set1(0);
                sum_end = kfi_segment_sum_end(&segments, s + 1);
            }
        }
        acc = lanes_mul(acc, panel_row_scales(w, i));
        lanes_store_n(y + i * KFI_PANEL_ROWS, acc, panel_rows(w, i));
    }
}

static void multiply_token(float *y, const kfi_packed *w, size_t panel_begin, size_t panel_end,
                           const kfi_activations *x)
{
    const int bits = w->format.bits;
    if (w->format.scale != KF_SCALE_TWO_LEVEL) {
        FOR_KINDS(kind_of(w), multiply_token_of, y, w, panel_begin, panel_end, x)
    } else if (kfi_segments_make(w, x).n_a_sum == 1) {
        FOR_BITS(bits, multiply_token_two_level_of, true, y, w, panel_begin, panel_end, x)
    } else {
        FOR_BITS(bits, multiply_token_two_level_of, false, y, w, panel_begin, panel_end, x)
    }
}

/* ---- tiles ---- */

/* isum += Σ q x over the n quads of columns from k, which 16 bits hold. */
INLINE void dot_quads(const int bits, ilanes isum[TILE_TOKENS], const uint8_t *panel,
                      const token_tile *tile, size_t k)
{
    const int n = quads_a_sum(bits);
    ilanes pairs[TILE_TOKENS];
    UNROLL
    for (int quad = 0; quad < n; quad++) {
        const uint8_t *line = panel + (k + 4 * (size_t)quad) * KFI_PANEL_ROWS;
        const bytes a = bytes_load(line);
        const bytes b = bytes_load(line + sizeof(bytes));
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            const __m256i x = broadcast(tile->codes[t] + k + 4 * (size_t)quad);
            if (is_direct(bits)) {
                isum[t].a = dot_direct(isum[t].a, a, x);
                isum[t].b = dot_direct(isum[t].b, b, x);
                continue;
            }
            const __m256i more_a = _mm256_maddubs_epi16(a, x);
            const __m256i more_b = _mm256_maddubs_epi16(b, x);
            pairs[t].a = quad == 0 ? more_a : _mm256_add_epi16(pairs[t].a, more_a);
            pairs[t].b = quad == 0 ? more_b : _mm256_add_epi16(pairs[t].b, more_b);
        }
    }
    if (is_direct(bits)) {
        return;
    }
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        isum[t].a = widen(isum[t].a, pairs[t].a);
        isum[t].b = widen(isum[t].b, pairs[t].b);
    }
}

/* isum = Σ q x over the chunks begin … end-1. */
INLINE void dot_tile(const int bits, ilanes isum[TILE_TOKENS], const uint8_t *panel,
                     const token_tile *tile, size_t begin, size_t end)
{
    const size_t quad_cols = 4 * (size_t)quads_a_sum(bits);
    for (int t = 0; t < TILE_TOKENS; t++) {
        isum[t] = ilanes_set1(0);
    }
    for (size_t k = begin * KFI_CHUNK_COLS; k < end * KFI_CHUNK_COLS; k += quad_cols) {
        dot_quads(bits, isum, panel, tile, k);
    }
}

INLINE void multiply_tile_of(const int bits, const kfi_packed *w, size_t i_panel,
                             const uint8_t *panel, const token_tile *tile,
                             const kfi_segments *segments)
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
        dot_tile(bits, isum, panel, tile, begin, end);
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

INLINE void multiply_tile_two_level_of(const int bits, const bool is_short, const kfi_packed *w,
                                       size_t i_panel, const uint8_t *panel, const token_tile *tile,
                                       const kfi_segments *segments)
{
    const lanes row_scales = panel_row_scales(w, i_panel);
    lanes acc[TILE_TOKENS];
    ilanes sum[TILE_TOKENS];
    size_t sum_end = kfi_segment_sum_end(segments, 0);
    for (int t = 0; t < TILE_TOKENS; t++) {
        acc[t] = lanes_zero();
        sum[t] = ilanes_set1(0);
    }
    for (size_t s = 0; s < segments->n; s++) {
        const size_t begin = kfi_segment_begin(segments, s);
        const size_t end = kfi_segment_end(segments, s, w->n_chunks);
        const size_t i_grid = panel_grid(w, i_panel, s >> segments->weight_shift);
        const bool is_last = is_short || s + 1 == sum_end;
        ilanes isum[TILE_TOKENS];
        dot_tile(bits, isum, panel, tile, begin, end);
        for (int t = 0; t < TILE_TOKENS; t++) {
            const int32_t sum_x = kfi_segment_sum(tile->sums[t], begin, end);
            const ilanes part = multiplied(w, i_grid, isum[t], sum_x);
            sum[t] = is_short ? part : ilanes_add(sum[t], part);
            if (is_last) {
                const float scale_x = tile->scales[t][s >> segments->token_shift];
                acc[t] = lanes_fma(lanes_of_int(sum[t]), lanes_set1(scale_x), acc[t]);
                sum[t] = ilanes_set1(0);
            }
        }
        sum_end = is_last ? kfi_segment_sum_end(segments, s + 1) : sum_end;
    }
    for (size_t t = 0; t < tile->n_tokens; t++) {
        lanes_store_n(tile->y[t] + i_panel * KFI_PANEL_ROWS, lanes_mul(acc[t], row_scales),
                      panel_rows(w, i_panel));
    }
}

INLINE void multiply_panel_of(const int bits, float *y, size_t ld_y, const kfi_packed *w,
                              size_t i_panel, const uint8_t *panel, const kfi_activations *x,
                              const kfi_segments *segments)
{
    for (size_t t = 0; t < x->n_tokens; t += TILE_TOKENS) {
        const token_tile tile = tile_make(y, ld_y, x, t);
        multiply_tile_of(bits, w, i_panel, panel, &tile, segments);
    }
}

INLINE void multiply_panel_two_level_of(const int bits, float *y, size_t ld_y, const kfi_packed *w,
                                        size_t i_panel, const uint8_t *panel,
                                        const kfi_activations *x, const kfi_segments *segments)
{
    for (size_t t = 0; t < x->n_tokens; t += TILE_TOKENS) {
        const token_tile tile = tile_make(y, ld_y, x, t);
        if (segments->n_a_sum == 1) {
            multiply_tile_two_level_of(bits, true, w, i_panel, panel, &tile, segments);
        } else {
            multiply_tile_two_level_of(bits, false, w, i_panel, panel, &tile, segments);
        }
    }
}

static void multiply_tokens(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                            size_t panel_end, const kfi_activations *x, uint8_t *panel)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    for (size_t i = panel_begin; i < panel_end; i++) {
        unpack_panel(panel, w, i);
        if (w->format.scale == KF_SCALE_TWO_LEVEL) {
            FOR_BITS(w->format.bits, multiply_panel_two_level_of, y, ld_y, w, i, panel, x,
                     &segments)
        } else {
            FOR_BITS(operand_bits(kind_of(w)), multiply_panel_of, y, ld_y, w, i, panel, x,
                     &segments)
        }
    }
}

void KERNEL_NAME(matmul_int8)(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                              size_t panel_end, const kfi_activations *x, void *scratch)
{
    assert(x->cols_padded == w->n_chunks * KFI_CHUNK_COLS);
    if (x->n_tokens == 1) {
        multiply_token(y, w, panel_begin, panel_end, x);
    } else if (x->n_tokens > 1) {
        multiply_tokens(y, ld_y, w, panel_begin, panel_end, x, scratch);
    }
}
