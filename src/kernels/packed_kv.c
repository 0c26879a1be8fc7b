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

/* Where the codes of a token stand: each number's chunk, and its place in it. */
typedef struct kv_place {
    uint8_t *chunk;
    size_t lane, i;
} kv_place;

static inline kv_place key_place(const kfi_packed_kv *kv, size_t token, size_t col)
{
    return (kv_place){kv->keys.codes + kfi_key_chunk(kv, token, col), token % KFI_PANEL_ROWS,
                      col % KFI_CHUNK_COLS};
}

static inline kv_place value_place(const kfi_packed_kv *kv, size_t token, size_t col)
{
    return (kv_place){kv->values.codes + kfi_value_chunk(kv, token, col), col % KFI_PANEL_ROWS,
                      token % KFI_KV_BLOCK};
}

typedef kv_place place_fn(const kfi_packed_kv *kv, size_t token, size_t col);

/* What pads a head is zero. */
static inline void store_row(const kfi_packed_kv *kv, const kfi_kv_codes *c, size_t token,
                             const float *x, size_t head_dim, place_fn *place_of)
{
    c->scales[token] = fit_scale(x, head_dim, c->bits);
    const float step = kfi_half_to_float(c->scales[token]);
    const float inverse = step > 0.0f ? 1.0f / step : 0.0f;
    for (size_t i = 0; i < kv->cols; i++) {
        const kv_place at = place_of(kv, token, i);
        const uint8_t code = encode(i < head_dim ? x[i] : 0.0f, inverse, c->bits);
        kfi_chunk_set(at.chunk, c->bits, at.lane, at.i, code);
    }
}

void kfi_packed_kv_store(const kfi_packed_kv *kv, size_t token, const float *key,
                         const float *value, size_t head_dim)
{
    store_row(kv, &kv->keys, token, key, head_dim, key_place);
    store_row(kv, &kv->values, token, value, head_dim, value_place);
}

void kfi_packed_kv_load(float *key, float *value, const kfi_packed_kv *kv, size_t token,
                        size_t head_dim)
{
    const float key_scale = kfi_half_to_float(kv->keys.scales[token]);
    const float value_scale = kfi_half_to_float(kv->values.scales[token]);
    for (size_t i = 0; i < head_dim; i++) {
        key[i] = key_scale * (float)kfi_packed_key(kv, token, i);
        value[i] = value_scale * (float)kfi_packed_value(kv, token, i);
    }
}
