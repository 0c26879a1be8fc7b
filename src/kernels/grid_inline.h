/* grid_inline.h - the scale and zero of one row and group of a packed tensor, in plain C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_GRID_INLINE_H
#define KFI_KERNELS_GRID_INLINE_H

#include "base/half.h"
#include "kernels/packed.h"

/* 2^(e - 127) for a byte e; 0 gives the subnormal 2^-127. */
static inline float kfi_power_of_two(uint8_t e)
{
    return kfi_bits_float(e == 0 ? 0x00400000u : (uint32_t)e << 23);
}

/* Index of a row's group in the planes of scales and zeros. */
static inline size_t kfi_packed_grid_index(const kfi_packed *w, size_t row, size_t group)
{
    return (row / KFI_PANEL_ROWS * w->n_groups + group) * KFI_PANEL_ROWS + row % KFI_PANEL_ROWS;
}

/* The two levels of a scale: the row's, and the multiplier of an index. */
static inline float kfi_packed_row_scale(const kfi_packed *w, size_t row)
{
    return w->row_scales[row];
}

static inline int32_t kfi_packed_multiplier(const kfi_packed *w, size_t index)
{
    return ((const int8_t *)w->scales)[index];
}

static inline float kfi_packed_scale(const kfi_packed *w, size_t row, size_t group)
{
    const size_t index = kfi_packed_grid_index(w, row, group);
    switch (w->format.scale) {
    case KF_SCALE_TWO_LEVEL:
        return kfi_packed_row_scale(w, row) * (float)kfi_packed_multiplier(w, index);
    case KF_SCALE_POWER_OF_TWO:
        return kfi_power_of_two(((const uint8_t *)w->scales)[index]);
    default:
        return kfi_half_to_float(((const uint16_t *)w->scales)[index]);
    }
}

/* The zero of the codes: 0 where the format has an offset instead. */
static inline int32_t kfi_packed_zero(const kfi_packed *w, size_t index)
{
    return w->format.zero == KF_ZERO_INTEGER  ? ((const uint8_t *)w->zeros)[index]
           : w->format.zero == KF_ZERO_OFFSET ? 0
                                              : w->zero;
}

static inline float kfi_packed_offset(const kfi_packed *w, size_t index)
{
    return w->format.zero == KF_ZERO_OFFSET ? kfi_half_to_float(((const uint16_t *)w->zeros)[index])
                                            : 0.0f;
}

#endif /* KFI_KERNELS_GRID_INLINE_H */
