/* grid.h - scales and zeros of the 16 rows of a panel, and the float step of a segment.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_GRID_H
#define KFI_KERNELS_LANES_GRID_H

#include "kernels/packed.h"

/* Index of row 0's grid of a panel and group. */
INLINE size_t panel_grid(const kfi_packed *w, size_t i_panel, size_t group)
{
    return (i_panel * w->n_groups + group) * KFI_PANEL_ROWS;
}

INLINE lanes panel_scales(const kfi_packed *w, size_t i_grid)
{
    if (w->format.scale == KF_SCALE_FP16) {
        return lanes_of_halves((const uint16_t *)w->scales + i_grid);
    }
    /* 2^(e - 127); the exponent 0 stands for the subnormal 2^-127 = 0x00400000. */
    const ilanes e = ilanes_of_bytes((const uint8_t *)w->scales + i_grid);
    return lanes_of_bits(ilanes_max(ilanes_shift_left(e, 23), ilanes_set1(0x00400000)));
}

/* The two levels of a scale. */
INLINE lanes panel_row_scales(const kfi_packed *w, size_t i_panel)
{
    return lanes_load(w->row_scales + i_panel * KFI_PANEL_ROWS);
}

INLINE ilanes panel_multipliers(const kfi_packed *w, size_t i_grid)
{
    return ilanes_of_signed_bytes((const int8_t *)w->scales + i_grid);
}

INLINE lanes panel_offsets(const kfi_packed *w, size_t i_grid)
{
    return lanes_of_halves((const uint16_t *)w->zeros + i_grid);
}

/* The zeros of the codes: 0 where the format has an offset instead. */
INLINE ilanes panel_zeros(const kfi_packed *w, size_t i_grid)
{
    switch (w->format.zero) {
    case KF_ZERO_INTEGER:
        return ilanes_of_bytes((const uint8_t *)w->zeros + i_grid);
    case KF_ZERO_OFFSET:
        return ilanes_set1(0);
    default:
        return ilanes_set1(w->zero);
    }
}

/* The float steps of a segment, in the order of kernels.h: with its integer sum, the zeros taken
 * off, and for the zero kind offset with the sum of the token's codes. */
INLINE lanes add_segment(lanes acc, ilanes centred, lanes scales, float scale_x)
{
    return lanes_fma(lanes_of_int(centred), lanes_mul(scales, lanes_set1(scale_x)), acc);
}

INLINE lanes add_offset(lanes acc, const kfi_packed *w, size_t i_grid, int32_t sum_x, float scale_x)
{
    const lanes offsets = lanes_mul(panel_offsets(w, i_grid), lanes_set1(scale_x));
    return lanes_fma(lanes_set1((float)sum_x), offsets, acc);
}

/* Rows of a panel that exist. */
INLINE size_t panel_rows(const kfi_packed *w, size_t i_panel)
{
    const size_t left = w->rows - i_panel * KFI_PANEL_ROWS;
    return left < KFI_PANEL_ROWS ? left : KFI_PANEL_ROWS;
}

#endif /* KFI_KERNELS_LANES_GRID_H */
