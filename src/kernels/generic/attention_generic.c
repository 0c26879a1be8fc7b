/* attention_generic.c - causal attention of one kv head, in plain C: the definition.
 *
 * attention_inline.h states the steps. Here one row is done after the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "kernels/attention_inline.h"
#include "kernels/exp.h"
#include "kernels/kernels_list.h"
#include "kernels/lanes_inline.h"

static float score(const kfi_attention_args *a, const float *query, size_t key)
{
    const float *panel = a->keys + key / KFI_PANEL_ROWS * KFI_PANEL_ROWS * a->head_dim;
    float s = 0.0f;
    for (size_t d = 0; d < a->head_dim; d++) {
        s = fmaf(query[d], panel[d * KFI_PANEL_ROWS + key % KFI_PANEL_ROWS], s);
    }
    return s * a->scale;
}

/* p[i] = e^(p[i] - max); returns the sum. */
static float exponentials(float *p, size_t n, float max)
{
    float lanes[KFI_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        p[i] = kfi_expf(p[i] - max);
        lanes[i % KFI_LANES] += p[i];
    }
    return kfi_lanes_sum(lanes);
}

static float maximum(const float *p, size_t n)
{
    float max = p[0];
    for (size_t i = 1; i < n; i++) {
        max = p[i] > max ? p[i] : max;
    }
    return max;
}

/* dst += the chunk of keys begin … end-1, both as (max, sum, weighted values). */
static void add_chunk(float *dst, float *dst_max, float *dst_sum, const kfi_attention_args *a,
                      const float *query, size_t begin, size_t end)
{
    float *const p = ((kfi_attention_scores *)a->scratch)->p[0];
    const size_t n = end - begin;
    for (size_t i = 0; i < n; i++) {
        p[i] = score(a, query, begin + i);
    }
    const float max = maximum(p, n);
    const float sum = exponentials(p, n, max);
    const float both = begin == 0 || max > *dst_max ? max : *dst_max;
    const float old_part = begin == 0 ? 0.0f : kfi_expf(*dst_max - both);
    const float new_part = kfi_expf(max - both);
    for (size_t d = 0; d < a->head_dim; d++) {
        float o = 0.0f;
        for (size_t i = 0; i < n; i++) {
            o = fmaf(p[i], a->values[(begin + i) * a->head_dim + d], o);
        }
        dst[d] = begin == 0 ? o : fmaf(o, new_part, dst[d] * old_part);
    }
    *dst_sum = begin == 0 ? sum : fmaf(sum, new_part, *dst_sum * old_part);
    *dst_max = both;
}

void kfi_attention_generic(const kfi_attention_args *a)
{
    for (size_t row = 0; row < a->n_tokens * a->n_heads; row++) {
        const size_t n_keys = kfi_attention_visible(a, row);
        float *const dst = kfi_attention_result(a, row);
        float max = 0.0f;
        float sum = 0.0f;
        for (size_t begin = 0; begin < n_keys; begin += KFI_ATTENTION_CHUNK) {
            const size_t end =
                n_keys - begin < KFI_ATTENTION_CHUNK ? n_keys : begin + KFI_ATTENTION_CHUNK;
            add_chunk(dst, &max, &sum, a, kfi_attention_query(a, row), begin, end);
        }
        for (size_t d = 0; d < a->head_dim; d++) {
            dst[d] /= sum;
        }
    }
}
