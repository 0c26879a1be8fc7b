/* kv.c - the layout of the key and value cache, and the sizes of the kernels' scratch memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "kernels/attention_inline.h"
#include "kernels/attention_packed_inline.h"
#include "kernels/kernels.h"

void kfi_kv_store(float *keys, float *values, size_t position, const float *key, const float *value,
                  size_t head_dim)
{
    float *panel = keys + position / KFI_PANEL_ROWS * KFI_PANEL_ROWS * head_dim;
    for (size_t d = 0; d < head_dim; d++) {
        panel[d * KFI_PANEL_ROWS + position % KFI_PANEL_ROWS] = key[d];
    }
    memcpy(values + position * head_dim, value, head_dim * sizeof *value);
}

void kfi_kv_load_key(float *key, const float *keys, size_t position, size_t head_dim)
{
    const float *panel = keys + position / KFI_PANEL_ROWS * KFI_PANEL_ROWS * head_dim;
    for (size_t d = 0; d < head_dim; d++) {
        key[d] = panel[d * KFI_PANEL_ROWS + position % KFI_PANEL_ROWS];
    }
}

/* Two panels of floats: what the widest tile unpacks. Plain C and int8 need less. */
size_t kfi_matmul_scratch_bytes(size_t cols)
{
    const size_t cols_padded = (cols + KFI_CHUNK_COLS - 1) / KFI_CHUNK_COLS * KFI_CHUNK_COLS;
    return 2 * KFI_PANEL_ROWS * cols_padded * sizeof(float) + KFI_MATMUL_SUM_BYTES;
}

/* Whatever the number of heads: they are taken KFI_ATTENTION_ROWS at a time. */
size_t kfi_attention_scratch_bytes(size_t head_dim)
{
    return sizeof(kfi_attention_scores) +
           (KFI_ATTENTION_ROWS * head_dim * sizeof(float) + 63) / 64 * 64;
}

size_t kfi_attention_packed_scratch_bytes(size_t head_dim)
{
    return KFI_PACKED_ROWS * sizeof(kfi_packed_row) +
           KFI_ATTENTION_CHUNK * kfi_packed_kv_cols(head_dim);
}
