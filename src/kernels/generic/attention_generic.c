/* attention_generic.c - causal attention of one kv head, in plain C: the definition.
 *
 * attention_inline.h states the steps. Here one row is done after the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "kernels/attention_inline.h"
#include "kernels/generic/merge_inline.h"
#include "kernels/kernels_list.h"

static float score(const kfi_attention_args *a, const float *query, size_t key)
{
    const float *panel = a->keys + key / KFI_PANEL_ROWS * KFI_PANEL_ROWS * a->head_dim;
    float s = 0.0f;
    for (size_t d = 0; d < a->head_dim; d++) {
        s = fmaf(query[d], panel[d * KFI_PANEL_ROWS + key % KFI_PANEL_ROWS], s);
    }
    return s * a->scale;
}

/* The keys begin … end-1: at most a chunk. */
static kfi_attention_state attend_chunk(float *result, const kfi_attention_args *a,
                                        const float *query, size_t begin, size_t end)
{
    float *const p = ((kfi_attention_scores *)a->scratch)->p[0];
    const size_t n = end - begin;
    for (size_t i = 0; i < n; i++) {
        p[i] = score(a, query, begin + i);
    }
    const kfi_attention_state state = kfi_soften(p, n);
    for (size_t d = 0; d < a->head_dim; d++) {
        result[d] = 0.0f;
        for (size_t i = 0; i < n; i++) {
            result[d] = fmaf(p[i], a->values[(begin + i) * a->head_dim + d], result[d]);
        }
    }
    return state;
}

static void attend_row(const kfi_attention_args *a, size_t row)
{
    const size_t n_keys = kfi_attention_visible(a, row);
    float *const dst = kfi_attention_result(a, row);
    float *const result = (float *)((kfi_attention_scores *)a->scratch + 1);
    kfi_attention_state state = {0};
    if (a->continues) {
        state = a->state[row];
    }
    for (size_t begin = 0; begin < n_keys; begin += KFI_ATTENTION_CHUNK) {
        const size_t end =
            n_keys - begin < KFI_ATTENTION_CHUNK ? n_keys : begin + KFI_ATTENTION_CHUNK;
        const kfi_attention_state more =
            attend_chunk(result, a, kfi_attention_query(a, row), begin, end);
        kfi_merge(dst, &state, result, more, begin == 0 && !a->continues, a->head_dim);
    }
    if (a->state != NULL) {
        a->state[row] = state;
        return;
    }
    for (size_t d = 0; d < a->head_dim; d++) {
        dst[d] /= state.sum;
    }
}

void kfi_attention_generic(const kfi_attention_args *a)
{
    for (size_t row = 0; row < a->n_tokens * a->n_heads; row++) {
        attend_row(a, row);
    }
}

void kfi_attention_merge_generic(const kfi_attention_merge_args *a)
{
    kfi_attention_state state = {0};
    for (size_t i = 0; i < a->n; i++) {
        kfi_merge(a->dst, &state, a->results + i * a->ld, a->states[i * a->n_states], i == 0,
                  a->head_dim);
    }
    for (size_t d = 0; d < a->head_dim; d++) {
        a->dst[d] /= state.sum;
    }
}
