/* kv.c - the KV cache of a layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/alloc.h"
#include "model/common_key.h"
#include "model/forward.h"

/* ---- memory ---- */

static size_t float_bytes(const kfi_kv *kv)
{
    return 2 * kv->capacity * kv->n_kv_heads * kv->head_dim * sizeof(float);
}

static size_t code_bytes(const kfi_packed_kv *packed, const kfi_kv_codes *codes, size_t n)
{
    return kfi_packed_kv_code_bytes(n, packed->cols, codes->bits);
}

/* Of n tokens of all heads, with their scales. */
static size_t packed_bytes(const kfi_packed_kv *packed, size_t n)
{
    return code_bytes(packed, &packed->keys, n) + code_bytes(packed, &packed->values, n) +
           2 * n * sizeof(uint16_t);
}

static size_t offset_bytes(const kfi_kv *kv)
{
    return kv->has_offsets
               ? kfi_round_up(kv->n_kv_heads * kv->head_dim * sizeof(float), KFI_LINE_BYTES)
               : 0;
}

size_t kfi_kv_layer_bytes(const kfi_kv *kv)
{
    return float_bytes(kv) + offset_bytes(kv) +
           packed_bytes(&kv->packed, kv->n_kv_heads * kv->packed_capacity) +
           packed_bytes(&kv->newest, kv->n_kv_heads * kv->newest_capacity);
}

void *kfi_kv_lay_out_packed(kfi_packed_kv *packed, void *memory, size_t n)
{
    kfi_kv_codes *keys = &packed->keys;
    kfi_kv_codes *values = &packed->values;
    keys->codes = memory;
    values->codes = keys->codes + code_bytes(packed, keys, n);
    keys->scales = (uint16_t *)(void *)(values->codes + code_bytes(packed, values, n));
    values->scales = keys->scales + n;
    return values->scales + n;
}

void kfi_kv_lay_out(kfi_kv *kv, void *memory)
{
    const size_t n_bytes = float_bytes(kv);
    kv->keys = memory;
    kv->values = kv->keys + n_bytes / sizeof(float) / 2;
    if (!kfi_kv_is_packed(kv)) {
        return;
    }
    memset(memory, 0, n_bytes); /* a panel is read whole, see clear_panel() */
    kv->n_exact = kfi_kv_exact_of(kv, 0);
    kv->offsets = (float *)(void *)((uint8_t *)memory + n_bytes);
    uint8_t *codes = (uint8_t *)memory + n_bytes + offset_bytes(kv);
    void *end = kfi_kv_lay_out_packed(&kv->packed, codes, kv->n_kv_heads * kv->packed_capacity);
    (void)kfi_kv_lay_out_packed(&kv->newest, end, kv->n_kv_heads * kv->newest_capacity);
}

/* ---- tokens ---- */

/* A panel is read whole, though only its stored tokens count: what else stands there must be
 * finite. Clearing it when its first token comes costs less than clearing the whole cache. */
static void clear_panel(float *keys, size_t position, size_t head_dim)
{
    memset(keys + position * head_dim, 0, KFI_KV_PANEL * head_dim * sizeof(float));
}

static void put_float(const kfi_kv *kv, size_t i_head, size_t position, const float *key,
                      const float *value)
{
    float *keys = kv->keys + i_head * kv->capacity * kv->head_dim;
    float *values = kv->values + i_head * kv->capacity * kv->head_dim;
    if (position % KFI_KV_PANEL == 0 && !kfi_kv_is_packed(kv)) {
        clear_panel(keys, position, kv->head_dim);
    }
    kfi_kv_store(keys, values, position, key, value, kv->head_dim);
}

void kfi_kv_put(kfi_kv *kv, size_t position, const float *key, const float *value)
{
    for (size_t h = 0; h < kv->n_kv_heads; h++) {
        const float *head_key = key + h * kv->head_dim;
        const float *head_value = value + h * kv->head_dim;
        if (kfi_kv_n_float(kv, position + 1) > position) {
            put_float(kv, h, position, head_key, head_value);
        } else {
            kfi_packed_kv_store(&kv->packed, h * kv->packed_capacity + position - kv->n_exact,
                                head_key, head_value, kv->head_dim);
        }
    }
}

void kfi_kv_put_newest(const kfi_kv *kv, const kfi_packed_kv *newest, size_t capacity, size_t i,
                       const float *key, const float *value)
{
    for (size_t h = 0; h < kv->n_kv_heads; h++) {
        kfi_packed_kv_store(newest, h * capacity + i, key + h * kv->head_dim,
                            value + h * kv->head_dim, kv->head_dim);
    }
}

void kfi_kv_find_newest(const kfi_kv *kv, size_t position)
{
    float key[KFI_PACKED_HEAD_DIM_MOST];
    float value[KFI_PACKED_HEAD_DIM_MOST];
    const size_t start = kfi_kv_block_start(kv, position);
    if (position <= kv->n_put && kfi_kv_block_start(kv, kv->n_put - 1) == start) {
        return;
    }
    for (size_t h = 0; h < kv->n_kv_heads; h++) {
        for (size_t t = start; t < position; t++) {
            kfi_packed_kv_load(key, value, &kv->packed, h * kv->packed_capacity + t - kv->n_exact,
                               kv->head_dim);
            kfi_packed_kv_store(&kv->newest, h * kv->newest_capacity + t - start, key, value,
                                kv->head_dim);
        }
    }
}

static void copy_codes(const kfi_kv_codes *dst, const kfi_kv_codes *src, size_t cols)
{
    memcpy(dst->codes, src->codes, kfi_packed_kv_code_bytes(KFI_KV_NEWEST, cols, dst->bits));
    memcpy(dst->scales, src->scales, KFI_KV_NEWEST * sizeof *dst->scales);
}

void kfi_kv_copy_newest(const kfi_packed_kv *dst, size_t dst_capacity, size_t to,
                        const kfi_packed_kv *src, size_t src_capacity, size_t from,
                        size_t n_kv_heads)
{
    for (size_t h = 0; h < n_kv_heads; h++) {
        const kfi_packed_kv d = kfi_packed_kv_from(dst, h * dst_capacity + to);
        const kfi_packed_kv s = kfi_packed_kv_from(src, h * src_capacity + from);
        copy_codes(&d.keys, &s.keys, dst->cols);
        copy_codes(&d.values, &s.values, dst->cols);
    }
}

void kfi_kv_put_offsets(kfi_kv *kv, const double *frequencies)
{
    float key[KFI_PACKED_HEAD_DIM_MOST];
    for (size_t h = 0; h < kv->n_kv_heads; h++) {
        float *offset = kv->offsets + h * kv->head_dim;
        memset(offset, 0, kv->head_dim * sizeof *offset);
        for (size_t t = kv->n_exact - KFI_KV_SAMPLE; t < kv->n_exact; t++) {
            kfi_kv_load_key(key, kv->keys + h * kv->capacity * kv->head_dim, t, kv->head_dim);
            kfi_kernels_get()->hadamard(key, 1, kv->head_dim);
            kfi_common_turn_back(key, frequencies, kv->head_dim, t);
            for (size_t i = 0; i < kv->head_dim; i++) {
                offset[i] += key[i] * (1.0f / (float)KFI_KV_SAMPLE);
            }
        }
    }
}

/* Of a cache with codes: its float32 part is rotated, too. */
static void put_rotated(const kfi_kv *kv, size_t i_head, size_t position, const float *key,
                        const float *value)
{
    float rotated[2][KFI_PACKED_HEAD_DIM_MOST];
    memcpy(rotated[0], key, kv->head_dim * sizeof *key);
    memcpy(rotated[1], value, kv->head_dim * sizeof *value);
    kfi_kernels_get()->hadamard(rotated[0], 1, kv->head_dim);
    kfi_kernels_get()->hadamard(rotated[1], 1, kv->head_dim);
    put_float(kv, i_head, position, rotated[0], rotated[1]);
}

void kfi_kv_put_prefix(kfi_kv *kv, const kfi_prefix *prefix, size_t i_layer, size_t n)
{
    const size_t width = kv->n_kv_heads * kv->head_dim;
    kv->n_exact = kfi_kv_exact_of(kv, n);
    for (size_t t = 0; t < n; t++) {
        const size_t row = (i_layer * prefix->n + t) * width;
        for (size_t h = 0; h < kv->n_kv_heads; h++) {
            const float *key = prefix->keys + row + h * kv->head_dim;
            const float *value = prefix->values + row + h * kv->head_dim;
            if (kfi_kv_is_packed(kv)) {
                put_rotated(kv, h, t, key, value);
            } else {
                put_float(kv, h, t, key, value);
            }
        }
    }
}
