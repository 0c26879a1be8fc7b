/* attention_packed_neon.c - attention over packed keys and values with products of 16-bit numbers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/arm/lanes_neon.h"

INLINE bytes dot_pairs(bytes sum, bytes codes, bytes x)
{
    const int16x8_t a = vreinterpretq_s16_u8(codes);
    const int16x8_t b = vreinterpretq_s16_u8(x);
    const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
    const int32x4_t pairs = vpaddq_s32(low, vmull_high_s16(a, b));
    return vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(sum), pairs));
}

/* 32 registers. */
INLINE int units_of(const int rows)
{
    return rows <= 4 ? 4 : 2;
}

#define VARIANT neon
#include "kernels/lanes/attention_packed.h"
