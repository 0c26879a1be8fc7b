/* packed_kv.c - keys and values to codes and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/packed_kv.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/round.h"

#define GREATEST_HALF 0x7BFFu
#define NAN_HALF      0x7E00u
#define LEVELS_BITS   4 /* at most */

/* ---- levels ---- */

/* Max, "Quantizing for minimum distortion", 1960, table I; each divided by the greatest. */
static const int8_t levels[][KFI_TABLE_ENTRIES] = {
    [2] = {-127, -38, 38, 127},
    [3] = {-127, -79, -45, -14, 14, 45, 79, 127},
    [4] = {-127, -96, -75, -58, -44, -31, -18, -6, 6, 18, 31, 44, 58, 75, 96, 127},
};
const int8_t *kfi_kv_levels(unsigned bits)
{
    return bits <= LEVELS_BITS ? levels[bits] : NULL;
}

/* ---- scales ---- */

static uint16_t half_of(float scale)
{
    const uint16_t half = kfi_half_from_float(scale);
    return half > GREATEST_HALF && !isnan(scale) ? GREATEST_HALF : half;
}

/* The scale at which the greatest of n numbers is half a step beyond the last level of even steps,
 * or has the last one of a table; NaN where one is not finite. */
static float greatest_scale(const kfi_kv_codes *c, const float *x, size_t n)
{
    float max = 0.0f;
    float finite = 0.0f; /* 0 or NaN */
    for (size_t i = 0; i < n; i++) {
        const float magnitude = fabsf(x[i]);
        max = magnitude > max ? magnitude : max;
        finite += x[i] * 0.0f;
    }
    return (max + finite) / (c->table != NULL ? 127.0f : (float)(1u << (c->bits - 1)) - 0.5f);
}

/* How n numbers lie to what their codes stand for. */
typedef struct likeness {
    float squares, product, level_squares;
} likeness;

static likeness compare(const kfi_kv_codes *c, const float *x, const uint8_t *codes, size_t n)
{
    likeness all = {0};
    for (size_t i = 0; i < n; i++) {
        const float level = (float)kfi_kv_level(c, codes[i]);
        all.squares += x[i] * x[i];
        all.product += x[i] * level;
        all.level_squares += level * level;
    }
    return all;
}

/* ---- codes ---- */

static uint8_t encode_step(float x, float inverse, unsigned bits)
{
    const float zero = (float)(1u << (bits - 1));
    float scaled = x * inverse;
    scaled = scaled > zero - 1.0f ? zero - 1.0f : scaled;
    scaled = scaled < -zero ? -zero : scaled;
    /* Through the bits of the sum: no undefined conversion, whatever the input. */
    const uint32_t code = kfi_float_bits(scaled + (KFI_ROUND_MAGIC + zero));
    return (uint8_t)(code & ((1u << bits) - 1u));
}

/* How many of the borders between levels are below. */
static uint8_t encode_level(float x, float inverse, const int8_t *table, unsigned bits)
{
    const float twice = 2.0f * x * inverse;
    unsigned code = 0;
    for (unsigned i = 0; i + 1 < 1u << bits; i++) {
        code += twice > (float)(table[i] + table[i + 1]);
    }
    return (uint8_t)code;
}

static void encode_all(uint8_t *codes, const kfi_kv_codes *c, const float *x, size_t n, float scale)
{
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (size_t i = 0; i < n; i++) {
        codes[i] = c->table != NULL ? encode_level(x[i], inverse, c->table, c->bits)
                                    : encode_step(x[i], inverse, c->bits);
    }
}

/* Of the codes that n numbers have at some scales, from the greatest down, those that are nearest
 * to them at their best scale: by the cosine between both. Returns the fitted scale. */
static float encode_fitted(uint8_t *codes, const kfi_kv_codes *c, const float *x, size_t n,
                           float greatest)
{
    static const float parts[] = {1.0f, 0.8f, 0.64f};
    float scale = greatest; /* of those that are all zero, or too great to be squared */
    float best = 0.0f;
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        uint8_t some[KFI_PACKED_HEAD_DIM_MOST];
        encode_all(some, c, x, n, greatest * parts[p]);
        const likeness l = compare(c, x, some, n);
        const float nearness = l.product / l.level_squares * l.product;
        const bool is_nearer = nearness > best && isfinite(nearness);
        if (p == 0 || is_nearer) {
            memcpy(codes, some, n);
        }
        if (is_nearer) {
            best = nearness;
            scale = c->fit == KFI_KV_NEAREST ? l.product / l.level_squares : l.squares / l.product;
        }
    }
    return scale;
}

/* Codes of n numbers; returns their scale as an fp16. */
static uint16_t encode(uint8_t *codes, const kfi_kv_codes *c, const float *x, size_t n)
{
    const float greatest = greatest_scale(c, x, n);
    if (c->fit == KFI_KV_GREATEST || isnan(greatest)) {
        const uint16_t half = isnan(greatest) ? NAN_HALF : half_of(greatest);
        encode_all(codes, c, x, n, kfi_half_to_float(half));
        return half;
    }
    return half_of(encode_fitted(codes, c, x, n, greatest));
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

/* What pads a head is multiplied by zeros, or not read. */
static inline void store_row(const kfi_packed_kv *kv, const kfi_kv_codes *c, size_t token,
                             const float *x, size_t head_dim, place_fn *place_of)
{
    uint8_t codes[KFI_PACKED_HEAD_DIM_MOST];
    c->scales[token] = encode(codes, c, x, head_dim);
    for (size_t i = 0; i < kv->cols; i++) {
        const kv_place at = place_of(kv, token, i);
        kfi_chunk_set(at.chunk, c->bits, at.lane, at.i, i < head_dim ? codes[i] : 0);
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
