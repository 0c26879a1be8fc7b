/* half.h - conversions between float32, fp16 and bfloat16, in plain C and exact.
 *
 * fp16 is stored as uint16_t because _Float16 does not exist on every compiler we support. All
 * conversions round to nearest, ties to even; NaN stays NaN, overflow gives infinity.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_HALF_H
#define KFI_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t kfi_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float kfi_bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float kfi_half_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t magnitude = half & 0x7FFFu;
    if (magnitude >= 0x7C00u) { /* infinity, NaN */
        return kfi_bits_float(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
    }
    if (magnitude < 0x0400u) { /* zero, subnormal: m * 2^-24 is exact */
        return kfi_bits_float(sign | kfi_float_bits((float)magnitude * 0x1p-24f));
    }
    return kfi_bits_float(sign | ((magnitude << 13) + 0x38000000u));
}

static inline uint16_t kfi_half_from_float(float value)
{
    const uint32_t bits = kfi_float_bits(value);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) { /* NaN: keep it quiet, keep the top of its payload */
        return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x1FFu));
    }
    if (magnitude >= 0x477FF000u) { /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7C00u);
    }
    if (magnitude <
        0x38800000u) { /* below 2^-14: adding 0.5 aligns the subnormal's last bit and rounds */
        const float aligned = kfi_bits_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (kfi_float_bits(aligned) - 0x3F000000u));
    }
    const uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xFFFu + odd) >> 13));
}

static inline float kfi_bfloat_to_float(uint16_t bfloat)
{
    return kfi_bits_float((uint32_t)bfloat << 16);
}

static inline uint16_t kfi_bfloat_from_float(float value)
{
    const uint32_t bits = kfi_float_bits(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

#endif /* KFI_BASE_HALF_H */
