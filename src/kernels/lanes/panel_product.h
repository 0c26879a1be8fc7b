/* panel_product.h - the int8 product with one panel at a time.
 *
 * Codes go from memory through registers into the products: for 4 bits and 64 codes a register 4
 * loads, 4 shifts, 8 ands, and 8 products a token for 512 weights. For one token memory is the
 * limit. Tokens of a tile share the unpacking; the next tile reads the panel again, from the cache.
 *
 * The file that includes this says before
 *
 *     panel_tokens()  most tokens of a tile for a kind of codes, 4 or 8
 *     dot_panel()     isum[t] = Σ q x over the chunks begin … end-1 of a panel's codes
 *
 * Numbers of tokens, kinds of codes and of scales are constants, for each a function of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

/* What scales a format has; with those of two levels, whether every segment has an activation scale
 * of its own. */
typedef enum scale_kind {
    ONE_LEVEL,
    TWO_LEVEL_SHORT,
    TWO_LEVEL_LONG
} scale_kind;

INLINE scale_kind scale_kind_of(const kfi_packed *w, const kfi_segments *segments)
{
    return w->format.scale != KF_SCALE_TWO_LEVEL ? ONE_LEVEL
           : segments->n_a_sum == 1              ? TWO_LEVEL_SHORT
                                                 : TWO_LEVEL_LONG;
}

/* A segment, for all tokens. */
typedef struct segment {
    size_t begin, end; /* chunks */
    size_t i_grid, group_x;
} segment;

/* 16 rows of each token: the float sums, and with two-level scales the integer sums that go on over
 * several segments. */
typedef struct row_sums {
    lanes acc[TILE_TOKENS_MOST];
    ilanes sum[TILE_TOKENS_MOST];
} row_sums;

/* The float steps of a segment: see the order in kernels.h. */
INLINE void add_one_level(const int n_tokens, row_sums *rows, const ilanes *isum,
                          const kfi_packed *w, const token_tile *tile, const segment *s)
{
    const ilanes zeros = panel_zeros(w, s->i_grid);
    const lanes scales = panel_scales(w, s->i_grid);
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        const float scale_x = tile->scales[t][s->group_x];
        const int32_t sum_x = kfi_segment_sum(tile->sums[t], s->begin, s->end);
        const ilanes centred = ilanes_sub(isum[t], ilanes_mul(zeros, ilanes_set1(sum_x)));
        rows->acc[t] = add_segment(rows->acc[t], centred, scales, scale_x);
        if (w->format.zero == KF_ZERO_OFFSET) {
            rows->acc[t] = add_offset(rows->acc[t], w, s->i_grid, sum_x, scale_x);
        }
    }
}

INLINE void add_two_level(const int n_tokens, const bool is_short, row_sums *rows,
                          const ilanes *isum, const kfi_packed *w, const token_tile *tile,
                          const segment *s)
{
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        const int32_t sum_x = kfi_segment_sum(tile->sums[t], s->begin, s->end);
        const ilanes part = multiplied(w, s->i_grid, isum[t], sum_x);
        rows->sum[t] = is_short ? part : ilanes_add(rows->sum[t], part);
    }
}

/* Where the segments of an activation scale end. */
INLINE void end_sums(const int n_tokens, row_sums *rows, const token_tile *tile, size_t group_x)
{
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        const lanes scale_x = lanes_set1(tile->scales[t][group_x]);
        rows->acc[t] = lanes_fma(lanes_of_int(rows->sum[t]), scale_x, rows->acc[t]);
        rows->sum[t] = ilanes_set1(0);
    }
}

/* isum[t] = Σ q x, of floats of 6 bits from their two operands. */
INLINE void dot_codes(const int n_tokens, const int kind, const bytes operands, ilanes *isum,
                      const uint8_t *codes, const token_tile *tile, size_t begin, size_t end)
{
    ilanes low[TILE_TOKENS_MOST];
    if (kind != E3M2) {
        dot_panel(n_tokens, kind, operands, isum, codes, tile, begin, end);
        return;
    }
    dot_panel(n_tokens, E3M2_HIGH, operands_of(E3M2_HIGH, NULL), isum, codes, tile, begin, end);
    dot_panel(n_tokens, E3M2_LOW, operands_of(E3M2_LOW, NULL), low, codes, tile, begin, end);
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        isum[t] = ilanes_add(ilanes_shift_left(isum[t], 3), low[t]);
    }
}

INLINE void multiply_panel(const int n_tokens, const int kind, const scale_kind scales,
                           const kfi_packed *w, size_t i_panel, const token_tile *tile,
                           const kfi_segments *segments)
{
    const uint8_t *codes = w->codes + i_panel * w->n_chunks * chunk_bytes_of(kind);
    const bytes operands = operands_of(kind, w->table);
    const bool is_short = scales == TWO_LEVEL_SHORT;
    size_t sum_end = kfi_segment_sum_end(segments, 0);
    row_sums rows;
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        rows.acc[t] = lanes_zero();
        rows.sum[t] = ilanes_set1(0);
    }
    for (size_t i = 0; i < segments->n; i++) {
        const segment s = {.begin = kfi_segment_begin(segments, i),
                           .end = kfi_segment_end(segments, i, w->n_chunks),
                           .i_grid = panel_grid(w, i_panel, i >> segments->weight_shift),
                           .group_x = i >> segments->token_shift};
        ilanes isum[TILE_TOKENS_MOST];
        dot_codes(n_tokens, kind, operands, isum, codes, tile, s.begin, s.end);
        if (scales == ONE_LEVEL) {
            add_one_level(n_tokens, &rows, isum, w, tile, &s);
            continue;
        }
        add_two_level(n_tokens, is_short, &rows, isum, w, tile, &s);
        if (is_short || i + 1 == sum_end) {
            end_sums(n_tokens, &rows, tile, s.group_x);
            sum_end = kfi_segment_sum_end(segments, i + 1);
        }
    }
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        if (n_tokens <= 2 || (size_t)t < tile->n_tokens) {
            const lanes y = scales == ONE_LEVEL
                                ? rows.acc[t]
                                : lanes_mul(rows.acc[t], panel_row_scales(w, i_panel));
            lanes_store_n(tile->y[t] + i_panel * KFI_PANEL_ROWS, y, panel_rows(w, i_panel));
        }
    }
}

/* In a tile with 3, or 5 to 7 tokens, the last stands in for those that are missing. */
INLINE void multiply_panel_tile(const int kind, const scale_kind scales, const kfi_packed *w,
                                size_t i_panel, const token_tile *tile,
                                const kfi_segments *segments)
{
    if (tile->n_tokens == 1) {
        multiply_panel(1, kind, scales, w, i_panel, tile, segments);
    } else if (tile->n_tokens == 2) {
        multiply_panel(2, kind, scales, w, i_panel, tile, segments);
    } else if (panel_tokens(kind) == 4 || tile->n_tokens <= 4) {
        multiply_panel(4, kind, scales, w, i_panel, tile, segments);
    } else {
        multiply_panel(8, kind, scales, w, i_panel, tile, segments);
    }
}

INLINE void multiply_panels_of(const int kind, const scale_kind scales, float *y, size_t ld_y,
                               const kfi_packed *w, size_t panel_begin, size_t panel_end,
                               const kfi_activations *x, const kfi_segments *segments)
{
    const size_t most = (size_t)panel_tokens(kind);
    token_tile tile = tile_make(y, ld_y, x, 0, most);
    for (size_t i = panel_begin; i < panel_end; i++) {
        for (size_t t = 0; t < x->n_tokens; t += most) {
            if (x->n_tokens > most) {
                tile = tile_make(y, ld_y, x, t, most);
            }
            multiply_panel_tile(kind, scales, w, i, &tile, segments);
        }
    }
}

static void multiply_panels(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                            size_t panel_end, const kfi_activations *x)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    const int bits = w->format.bits;
    assert(x->cols_padded == w->n_chunks * KFI_CHUNK_COLS);
    if (x->n_tokens == 0) {
        return;
    }
    switch (scale_kind_of(w, &segments)) {
    case ONE_LEVEL:
        FOR_KINDS(kind_of(w), multiply_panels_of, ONE_LEVEL, y, ld_y, w, panel_begin, panel_end, x,
                  &segments)
        break;
    case TWO_LEVEL_SHORT:
        FOR_BITS(bits, multiply_panels_of, TWO_LEVEL_SHORT, y, ld_y, w, panel_begin, panel_end, x,
                 &segments)
        break;
    case TWO_LEVEL_LONG:
        FOR_BITS(bits, multiply_panels_of, TWO_LEVEL_LONG, y, ld_y, w, panel_begin, panel_end, x,
                 &segments)
        break;
    }
}
