/* matmul_float_generic.c - packed weights times float activations, in plain C: the definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "kernels/generic/unpack_inline.h"
#include "kernels/grid_inline.h"
#include "kernels/kernels_list.h"

/* One group of one row of the matrix, whose panel is unpacked. */
static float add_group(float acc, const kfi_packed *w, const int16_t *panel, size_t row,
                       size_t group, const float *x)
{
    const size_t begin = group * w->group;
    const size_t end = begin + w->group < w->cols ? begin + w->group : w->cols;
    const size_t i_grid = kfi_packed_grid_index(w, row, group);
    const int32_t zero = kfi_packed_zero(w, i_grid);
    float sum_qx = 0.0f;
    float sum_x = 0.0f;
    for (size_t k = begin; k < end; k++) {
        const int32_t code = panel[k / 4 * KFI_LINE_BYTES + 4 * (row % KFI_PANEL_ROWS) + k % 4];
        sum_qx = fmaf((float)(code - zero), x[k], sum_qx);
        sum_x += x[k];
    }
    acc = fmaf(sum_qx, kfi_packed_scale(w, row, group), acc);
    if (w->format.zero == KF_ZERO_OFFSET) {
        acc = fmaf(sum_x, kfi_packed_offset(w, i_grid), acc);
    }
    return acc;
}

void kfi_matmul_float_generic(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                              size_t panel_end, const kfi_float_activations *x, void *scratch)
{
    int16_t *const panel = scratch;
    for (size_t p = panel_begin; p < panel_end; p++) {
        kfi_unpack_panel(panel, w, p);
        for (size_t t = 0; t < x->n_tokens; t++) {
            for (size_t r = 0; r < KFI_PANEL_ROWS && p * KFI_PANEL_ROWS + r < w->rows; r++) {
                const size_t row = p * KFI_PANEL_ROWS + r;
                float acc = 0.0f;
                for (size_t g = 0; g < w->n_groups; g++) {
                    acc = add_group(acc, w, panel, row, g, x->x + t * x->ld);
                }
                y[t * ld_y + row] = acc;
            }
        }
    }
}
