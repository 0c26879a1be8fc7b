/* two_level_avx512vnni.h - the int8 product of matmul_int8_avx512vnni.c for scales of two levels
 * and more than a few tokens.
 *
 * The unpacked bytes are multiplied once, m q, which fits a byte: so a sum goes on over segments
 * without a step at their ends, and where activations have a scale a token there is one float step
 * a row.
 *
 * Included once by matmul_int8_avx512vnni.c, after its products.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
INLINE void clear_sums(ilanes isum[TILE_TOKENS][TILE_PANELS], const int n_panels)
{
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            isum[t][p] = ilanes_set1(0);
        }
    }
}

/* acc += s_x isum, with the activation scales of a group. */
INLINE void add_sums(lanes acc[TILE_TOKENS][TILE_PANELS], ilanes isum[TILE_TOKENS][TILE_PANELS],
                     const int n_panels, const token_tile *tile, size_t group_x)
{
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        const lanes scale_x = lanes_set1(tile->scales[t][group_x]);
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            acc[t][p] = lanes_fma(lanes_of_int(isum[t][p]), scale_x, acc[t][p]);
        }
    }
}

INLINE void multiply_tile_two_level(const bool is_short, const kfi_packed *w, size_t i_panel,
                                    const int n_panels, const uint8_t *const panels[TILE_PANELS],
                                    const token_tile *tile, const kfi_segments *segments)
{
    lanes acc[TILE_TOKENS][TILE_PANELS];
    ilanes isum[TILE_TOKENS][TILE_PANELS];
    size_t sum_end = kfi_segment_sum_end(segments, 0);
    clear_sums(isum, n_panels);
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            acc[t][p] = lanes_zero();
        }
    }
    for (size_t s = 0; s < segments->n; s++) {
        const size_t begin = kfi_segment_begin(segments, s);
        const size_t end = kfi_segment_end(segments, s, w->n_chunks);
        const size_t group = s >> segments->weight_shift;
        ilanes zeros[TILE_PANELS];
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            zeros[p] = bytes_load(panels[p] + unpacked_bytes(w) + group * KFI_LINE_BYTES);
        }
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            const ilanes sum_x = ilanes_set1(-kfi_segment_sum(tile->sums[t], begin, end));
            UNROLL
            for (int p = 0; p < n_panels; p++) {
                isum[t][p] = is_short ? ilanes_mul_words(zeros[p], sum_x)
                                      : dot_words(isum[t][p], zeros[p], sum_x);
            }
        }
        dot_tile(isum, n_panels, panels, tile, begin, end);
        if (is_short || s + 1 == sum_end) {
            add_sums(acc, isum, n_panels, tile, s >> segments->token_shift);
            clear_sums(isum, n_panels);
            sum_end = kfi_segment_sum_end(segments, s + 1);
        }
    }
    UNROLL
    for (int p = 0; p < n_panels; p++) {
        const size_t panel = i_panel + (size_t)p;
        const lanes scales = panel_row_scales(w, panel);
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            if ((size_t)t < tile->n_tokens) {
                lanes_store_n(tile->y[t] + panel * KFI_PANEL_ROWS, lanes_mul(acc[t][p], scales),
                              panel_rows(w, panel));
            }
        }
    }
}

/* Every kind of tile as a function of its own, so that each has the registers to itself. */
static void multiply_one_short(const kfi_packed *w, size_t i_panel,
                               const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                               const kfi_segments *segments)
{
    multiply_tile_two_level(true, w, i_panel, 1, panels, tile, segments);
}

static void multiply_pair_short(const kfi_packed *w, size_t i_panel,
                                const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                                const kfi_segments *segments)
{
    multiply_tile_two_level(true, w, i_panel, TILE_PANELS, panels, tile, segments);
}

static void multiply_one_long(const kfi_packed *w, size_t i_panel,
                              const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                              const kfi_segments *segments)
{
    multiply_tile_two_level(false, w, i_panel, 1, panels, tile, segments);
}

static void multiply_pair_long(const kfi_packed *w, size_t i_panel,
                               const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                               const kfi_segments *segments)
{
    multiply_tile_two_level(false, w, i_panel, TILE_PANELS, panels, tile, segments);
}

static void multiply_tokens_two_level(float *y, size_t ld_y, const kfi_packed *w,
                                      size_t panel_begin, size_t panel_end,
                                      const kfi_activations *x, uint8_t *scratch)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    const bool is_short = segments.n_a_sum == 1;
    const size_t panel_bytes = unpacked_bytes(w) + multiplied_zero_bytes(w);
    const uint8_t *const panels[TILE_PANELS] = {scratch, scratch + panel_bytes};
    for (size_t i = panel_begin; i < panel_end; i += TILE_PANELS) {
        const bool is_pair = panel_end - i >= TILE_PANELS;
        unpack_multiplied(scratch, scratch + unpacked_bytes(w), w, i);
        if (is_pair) {
            unpack_multiplied(scratch + panel_bytes, scratch + panel_bytes + unpacked_bytes(w), w,
                              i + 1);
        }
        for (size_t t = 0; t < x->n_tokens; t += TILE_TOKENS) {
            const token_tile tile = tile_make(y, ld_y, x, t, TILE_TOKENS);
            if (is_pair) {
                (is_short ? multiply_pair_short : multiply_pair_long)(w, i, panels, &tile,
                                                                      &segments);
            } else {
                (is_short ? multiply_one_short : multiply_one_long)(w, i, panels, &tile, &segments);
            }
        }
    }
}
