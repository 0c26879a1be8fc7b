/* grid_inline.h - encode and decode one weight on a grid.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_FORMAT_GRID_INLINE_H
#define KFI_FORMAT_GRID_INLINE_H

/* Rounds to the nearest integer, half to even, for |x| < 2^22: the sum with 1.5 * 2^23 has no
 * fraction bits left. */
static inline float kfi_round_half_even(float x)
{
    const float magic = 12582912.0f;
    return (x + magic) - magic;
}

static inline uint8_t kfi_grid_encode(const kfi_grid *grid, int bits, float w)
{
    const float q_max = (float)((1 << bits) - 1);
    if (grid->scale == 0.0f) { /* exact: an all-zero group */
        return (uint8_t)grid->zero;
    }
    float q = (w - grid->offset) / grid->scale;
    const float limit =
        1024.0f; /* keeps the rounding trick in its range; codes and zeros are below 256 */
    q = q > limit ? limit : q < -limit ? -limit : q;
    q = kfi_round_half_even(q) + (float)grid->zero;
    return (uint8_t)(q < 0.0f ? 0.0f : q > q_max ? q_max : q);
}

static inline float kfi_grid_decode(const kfi_grid *grid, uint8_t code)
{
    return grid->scale * (float)((int32_t)code - grid->zero) + grid->offset;
}

#endif /* KFI_FORMAT_GRID_INLINE_H */
