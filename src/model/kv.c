/* kv.c - the float32 KV cache of a layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "model/forward.h"

size_t kfi_kv_bytes(size_t capacity, size_t n_kv_heads, size_t head_dim)
{
    return 2 * capacity * n_kv_heads * head_dim * sizeof(float);
}

/* A panel is read whole, though only its stored tokens count: what else stands there must be
 * finite. Clearing it when its first token comes costs less than clearing the whole cache. */
static void clear_panel(float *keys, size_t position, size_t head_dim)
{
    memset(keys + position * head_dim, 0, KFI_KV_PANEL * head_dim * sizeof(float));
}

void kfi_kv_put(kfi_kv *kv, size_t position, const float *key, const float *value)
{
    for (size_t h = 0; h < kv->n_kv_heads; h++) {
        float *keys = kv->keys + h * kv->capacity * kv->head_dim;
        float *values = kv->values + h * kv->capacity * kv->head_dim;
        if (position % KFI_KV_PANEL == 0) {
            clear_panel(keys, position, kv->head_dim);
        }
        kfi_kv_store(keys, values, position, key + h * kv->head_dim, value + h * kv->head_dim,
                     kv->head_dim);
    }
}

void kfi_kv_put_prefix(kfi_kv *kv, const kfi_prefix *prefix, size_t i_layer, size_t n)
{
    const size_t width = kv->n_kv_heads * kv->head_dim;
    for (size_t t = 0; t < n; t++) {
        const size_t row = (i_layer * prefix->n + t) * width;
        kfi_kv_put(kv, t, prefix->keys + row, prefix->values + row);
    }
}
