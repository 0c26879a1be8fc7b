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

/* Where a code stands: a byte of the plane, and the bits of it. */
typedef struct place {
    size_t byte;
    unsigned shift;
} place;

static inline place key_place(size_t token, size_t col, size_t cols, unsigned bits)
{
    const size_t a_line = 32 / bits; /* columns */
    const size_t block = kfi_packed_kv_code_bytes(token / 16 * 16, cols, bits);
    return (place){block + col / a_line * 64 + token % 16 * 4 + col % 4,
                   (unsigned)(col % a_line / 4 * 4)};
}

static inline place value_place(size_t token, size_t col, size_t cols, unsigned bits)
{
    const size_t a_line = 32 / bits; /* tokens */
    return (place){(token / a_line * cols + col) * 4 + token % 4,
                   (unsigned)(token % a_line / 4 * 4)};
}

typedef place place_fn(size_t token, size_t col, size_t cols, unsigned bits);

/* Bits and place_of are constants of the caller. What pads a head is zero. */
static inline void store_row(uint8_t *codes, uint16_t *scale, size_t token, const float *x,
                             size_t head_dim, size_t cols, unsigned bits, place_fn *place_of)
{
    *scale = fit_scale(x, head_dim, bits);
    const float step = kfi_half_to_float(*scale);
    const float inverse = step > 0.0f ? 1.0f / step : 0.0f;
    const unsigned most = (1u << bits) - 1u;
    for (size_t i = 0; i < cols; i++) {
        const place at = place_of(token, i, cols, bits);
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
        store_row(kv->keys, key_scale, token, key, head_dim, kv->cols, 8, key_place);
    } else {
        store_row(kv->keys, key_scale, token, key, head_dim, kv->cols, 4, key_place);
    }
    if (kv->value_bits == 8) {
        store_row(kv->values, value_scale, token, value, head_dim, kv->cols, 8, value_place);
    } else {
        store_row(kv->values, value_scale, token, value, head_dim, kv->cols, 4, value_place);
    }
}

static float decode(const uint8_t *codes, place at, unsigned bits, uint16_t scale)
{
    const int code = (int)(codes[at.byte] >> at.shift & ((1u << bits) - 1u));
    return kfi_half_to_float(scale) * (float)(code - (1 << (bits - 1)));
}

void kfi_packed_kv_load(float *key, float *value, const kfi_packed_kv *kv, size_t token,
                        size_t head_dim)
{
    for (size_t i = 0; i < head_dim; i++) {
        key[i] = decode(kv->keys, key_place(token, i, kv->cols, kv->key_bits), kv->key_bits,
                        kv->key_scales[token]);
        value[i] = decode(kv->values, value_place(token, i, kv->cols, kv->value_bits),
                          kv->value_bits, kv->value_scales[token]);
    }
}
