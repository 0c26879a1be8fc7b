/* packed_kv.c - keys and values to codes and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/packed_kv.h"

#include <math.h>

#include "base/half.h"
#include "base/round.h"

#define GREATEST_HALF 0x7BFFu
#define NAN_HALF      0x7E00u

/* The scale of n numbers as an fp16. */
static uint16_t fit_scale(const float *x, size_t n, unsigned bits)
{
    float max = 0.0f;
    float finite = 0.0f; /* 0 or NaN */
    for (size_t i = 0; i < n; i++) {
        const float magnitude = fabsf(x[i]);
        max = magnitude > max ? magnitude : max;
        finite += x[i] * 0.0f;
    }
    if (isnan(finite)) {
        return NAN_HALF;
    }
    const uint16_t scale = kfi_half_from_float(max / ((float)(1u << (bits - 1)) - 0.5f));
    return scale > GREATEST_HALF ? GREATEST_HALF : scale;
}

static inline uint8_t encode(float x, float inverse, unsigned bits)
{
    const float zero = (float)(1u << (bits - 1));
    float scaled = x * inverse;
    scaled = scaled > zero - 1.0f ? zero - 1.0f : scaled;
    scaled = scaled < -zero ? -zero : scaled;
    /* Through the bits of the sum: no undefined conversion, whatever the input. */
    const uint32_t code = kfi_float_bits(scaled + (KFI_ROUND_MAGIC + zero));
    return (uint8_t)(code & ((1u << bits) - 1u));
}

typedef kfi_kv_place place_fn(size_t token, size_t col, size_t cols, unsigned bits);

/* Bits and place_of are constants of the caller. What pads a head is zero. */
static inline void store_row(uint8_t *codes, uint16_t *scale, size_t token, const float *x,
                             size_t head_dim, size_t cols, unsigned bits, place_fn *place_of)
{
    *scale = fit_scale(x, head_dim, bits);
    const float step = kfi_half_to_float(*scale);
    const float inverse = step > 0.0f ? 1.0f / step : 0.0f;
    const unsigned most = (1u << bits) - 1u;
    for (size_t i = 0; i < cols; i++) {
        const kfi_kv_place at = place_of(token, i, cols, bits);
        const unsigned code = encode(i < head_dim ? x[i] : 0.0f, inverse, bits);
        const unsigned others = codes[at.byte] & ~(most << at.shift);
        codes[at.byte] = (uint8_t)(bits == 8 ? code : others | code << at.shift);
    }
}

void kfi_packed_kv_store(const kfi_packed_kv *kv, size_t token, const float *key,
                         const float *value, size_t head_dim)
{
    uint16_t *key_scale = kv->key_scales + token;
    uint16_t *value_scale = kv->value_scales + token;
    if (kv->key_bits == 8) {
        store_row(kv->keys, key_scale, token, key, head_dim, kv->cols, 8, kfi_key_place);
    } else {
        store_row(kv->keys, key_scale, token, key, head_dim, kv->cols, 4, kfi_key_place);
    }
    if (kv->value_bits == 8) {
        store_row(kv->values, value_scale, token, value, head_dim, kv->cols, 8, kfi_value_place);
    } else {
        store_row(kv->values, value_scale, token, value, head_dim, kv->cols, 4, kfi_value_place);
    }
}

void kfi_packed_kv_load(float *key, float *value, const kfi_packed_kv *kv, size_t token,
                        size_t head_dim)
{
    const float key_scale = kfi_half_to_float(kv->key_scales[token]);
    const float value_scale = kfi_half_to_float(kv->value_scales[token]);
    for (size_t i = 0; i < head_dim; i++) {
        key[i] = key_scale * (float)kfi_packed_key(kv, token, i);
        value[i] = value_scale * (float)kfi_packed_value(kv, token, i);
    }
}
