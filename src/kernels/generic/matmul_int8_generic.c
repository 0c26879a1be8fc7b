/* matmul_int8_generic.c - packed weights times int8 activations, in plain C: the definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "kernels/generic/unpack_inline.h"
#include "kernels/grid_inline.h"
#include "kernels/kernels_list.h"
#include "kernels/segments_inline.h"

/* isum[r] += sum of q x over the chunks begin … end-1 of one token. */
static void dot_chunks(int32_t isum[KFI_PANEL_ROWS], const int16_t *panel, const int8_t *x,
                       size_t begin, size_t end)
{
    for (size_t quad = 8 * begin; quad < 8 * end; quad++) {
        const int16_t *line = panel + quad * KFI_LINE_BYTES;
        for (size_t r = 0; r < KFI_PANEL_ROWS; r++) {
            for (size_t c = 0; c < 4; c++) {
                isum[r] += (int32_t)line[4 * r + c] * x[4 * quad + c];
            }
        }
    }
}

/* One step of the float sum of every row: see the order in kernels.h. */
static void add_segment(float acc[KFI_PANEL_ROWS], const int32_t isum[KFI_PANEL_ROWS],
                        int32_t sum_x, float scale_x, const kfi_packed *w, size_t first_row,
                        size_t group)
{
    for (size_t r = 0; r < KFI_PANEL_ROWS; r++) {
        const size_t i_grid = kfi_packed_grid_index(w, first_row + r, group);
        const float scale = kfi_packed_scale(w, first_row + r, group);
        const int32_t centred = isum[r] - kfi_packed_zero(w, i_grid) * sum_x;
        acc[r] = fmaf((float)centred, scale * scale_x, acc[r]);
        if (w->format.zero == KF_ZERO_OFFSET) {
            acc[r] = fmaf((float)sum_x, kfi_packed_offset(w, i_grid) * scale_x, acc[r]);
        }
    }
}

static void multiply_token(float acc[KFI_PANEL_ROWS], const kfi_packed *w, size_t i_panel,
                           const int16_t *panel, const kfi_activations *x, size_t token,
                           const kfi_segments *segments)
{
    const size_t n_chunks = x->cols_padded / KFI_CHUNK_COLS;
    const int8_t *codes = x->codes + token * x->cols_padded;
    const int32_t *sums = x->sums + token * n_chunks;
    for (size_t s = 0; s < segments->n; s++) {
        int32_t isum[KFI_PANEL_ROWS] = {0};
        const size_t begin = kfi_segment_begin(segments, s);
        const size_t end = kfi_segment_end(segments, s, n_chunks);
        const size_t group = s >> segments->weight_shift;
        const float scale_x = x->scales[token * x->n_groups + (s >> segments->token_shift)];
        dot_chunks(isum, panel, codes, begin, end);
        add_segment(acc, isum, kfi_segment_sum(sums, begin, end), scale_x, w,
                    i_panel * KFI_PANEL_ROWS, group);
    }
}

/* sum[r] += m (sum of q x - z sum of x) of one segment. */
static void add_multiplied(int32_t sum[KFI_PANEL_ROWS], const kfi_packed *w, size_t i_panel,
                           const int16_t *panel, const kfi_activations *x, size_t token,
                           const kfi_segments *segments, size_t s)
{
    const size_t n_chunks = x->cols_padded / KFI_CHUNK_COLS;
    const size_t begin = kfi_segment_begin(segments, s);
    const size_t end = kfi_segment_end(segments, s, n_chunks);
    const int32_t sum_x = kfi_segment_sum(x->sums + token * n_chunks, begin, end);
    const size_t first_grid =
        kfi_packed_grid_index(w, i_panel * KFI_PANEL_ROWS, s >> segments->weight_shift);
    int32_t isum[KFI_PANEL_ROWS] = {0};
    dot_chunks(isum, panel, x->codes + token * x->cols_padded, begin, end);
    for (size_t r = 0; r < KFI_PANEL_ROWS; r++) {
        const int32_t centred = isum[r] - kfi_packed_zero(w, first_grid + r) * sum_x;
        sum[r] += kfi_packed_multiplier(w, first_grid + r) * centred;
    }
}

static void multiply_token_two_level(float acc[KFI_PANEL_ROWS], const kfi_packed *w, size_t i_panel,
                                     const int16_t *panel, const kfi_activations *x, size_t token,
                                     const kfi_segments *segments)
{
    for (size_t s = 0; s < segments->n;) {
        const size_t sum_end = kfi_segment_sum_end(segments, s);
        const float scale_x = x->scales[token * x->n_groups + (s >> segments->token_shift)];
        int32_t sum[KFI_PANEL_ROWS] = {0};
        for (; s < sum_end; s++) {
            add_multiplied(sum, w, i_panel, panel, x, token, segments, s);
        }
        for (size_t r = 0; r < KFI_PANEL_ROWS; r++) {
            acc[r] = fmaf((float)sum[r], scale_x, acc[r]);
        }
    }
    for (size_t r = 0; r < KFI_PANEL_ROWS; r++) {
        acc[r] *= kfi_packed_row_scale(w, i_panel * KFI_PANEL_ROWS + r);
    }
}

void kfi_matmul_int8_generic(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                             size_t panel_end, const kfi_activations *x, void *scratch)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    int16_t *const panel = scratch;
    for (size_t p = panel_begin; p < panel_end; p++) {
        const size_t first_row = p * KFI_PANEL_ROWS;
        kfi_unpack_panel(panel, w, p);
        for (size_t t = 0; t < x->n_tokens; t++) {
            float acc[KFI_PANEL_ROWS] = {0};
            if (w->format.scale == KF_SCALE_TWO_LEVEL) {
                multiply_token_two_level(acc, w, p, panel, x, t, &segments);
            } else {
                multiply_token(acc, w, p, panel, x, t, &segments);
            }
            for (size_t r = 0; r < KFI_PANEL_ROWS && first_row + r < w->rows; r++) {
                y[t * ld_y + first_row + r] = acc[r];
            }
        }
    }
}
