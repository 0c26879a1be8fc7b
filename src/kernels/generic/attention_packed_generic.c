/* attention_packed_generic.c - attention over packed keys and values, in plain C: the definition.
 *
 * attention_packed_inline.h states the steps. Here one row is done after the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "base/round.h"
#include "kernels/attention_packed_inline.h"
#include "kernels/generic/merge_inline.h"
#include "kernels/kernels_list.h"

/* Number i of those whose middle ones changed places. */
static size_t placed(size_t i)
{
    const size_t in_four = i % 4;
    return in_four == 1 || in_four == 2 ? i - in_four + 3 - in_four : i;
}

/* x[i] times inverse, rounded: to [-32767, 32767]. */
static void round_all(int16_t *dst, const float *x, size_t n, float inverse)
{
    for (size_t i = 0; i < n; i++) {
        /* Through the bits of the sum: no undefined conversion, whatever the input. */
        const uint32_t bits = kfi_float_bits(x[i] * inverse + KFI_ROUND_MAGIC);
        dst[placed(i)] = (int16_t)(uint16_t)bits;
    }
}

static void take_query(kfi_packed_row *row, const float *q, size_t head_dim, float scale)
{
    float max = 0.0f;
    float inverse = 0.0f;
    for (size_t i = 0; i < head_dim; i++) {
        max = fabsf(q[i]) > max ? fabsf(q[i]) : max;
    }
    row->query_scale = kfi_packed_step(max, &inverse) * scale;
    round_all(row->query, q, head_dim, inverse);
}

/* The integer sum of a score. */
static int32_t dot_key(const kfi_packed_row *row, const kfi_packed_kv *kv, size_t key,
                       size_t head_dim)
{
    int32_t sum = 0;
    for (size_t d = 0; d < head_dim; d++) {
        sum += row->query[placed(d)] * kfi_packed_key(kv, key, d);
    }
    return sum;
}

/* The integer sum of a column over n values. */
static int32_t dot_values(const kfi_packed_row *row, const kfi_packed_kv *kv, size_t col, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += row->weights[placed(i)] * kfi_packed_value(kv, i, col);
    }
    return sum;
}

/* Adds the scores of the common key to those of n keys of a chunk. */
static void add_common(kfi_packed_row *row, const kfi_attention_args *a, size_t i_row,
                       size_t i_chunk, size_t n)
{
    const float *turns = a->common.chunk_turns + i_chunk * a->head_dim;
    memcpy(row->turned, kfi_common_weights(a, i_row), a->head_dim * sizeof *row->turned);
    kfi_rope_generic(row->turned, 1, a->head_dim, turns, turns + a->head_dim / 2);
    for (size_t i = 0; i < n; i++) {
        const float *panel =
            a->common.token_turns + i / KFI_PANEL_ROWS * KFI_PANEL_ROWS * a->head_dim;
        float sum = 0.0f;
        for (size_t d = 0; d < a->head_dim; d++) {
            sum = fmaf(row->turned[d], panel[d * KFI_PANEL_ROWS + i % KFI_PANEL_ROWS], sum);
        }
        row->keys.scores[i] += sum * a->scale;
    }
}

/* The n keys from `begin` on: at most a chunk. */
static kfi_attention_state attend_chunk(kfi_packed_row *row, const kfi_attention_args *a,
                                        size_t i_row, size_t begin, size_t n)
{
    const kfi_packed_kv part = kfi_packed_kv_from(&a->kv, begin);
    const kfi_packed_kv *kv = &part;
    const size_t head_dim = a->head_dim;
    float *const p = row->keys.scores;
    float max = 0.0f;
    float inverse = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float step = row->query_scale * kfi_half_to_float(kv->keys.scales[i]);
        p[i] = (float)dot_key(row, kv, i, head_dim) * step;
    }
    if (a->common.weights != NULL) {
        add_common(row, a, i_row, begin / KFI_ATTENTION_CHUNK, n);
    }
    const kfi_attention_state state = kfi_soften(p, n);
    for (size_t i = 0; i < n; i++) {
        p[i] *= kfi_half_to_float(kv->values.scales[i]);
        max = p[i] > max ? p[i] : max;
    }
    row->weight_scale = kfi_packed_step(max, &inverse);
    round_all(row->weights, p, n, inverse);
    for (size_t d = 0; d < head_dim; d++) {
        row->values.results[d] = (float)dot_values(row, kv, d, n) * row->weight_scale;
    }
    return state;
}

static void attend_row(const kfi_attention_args *a, size_t i_row)
{
    const size_t n_keys = kfi_attention_visible(a, i_row);
    float *const dst = kfi_attention_result(a, i_row);
    kfi_packed_row *const row = a->scratch;
    take_query(row, kfi_attention_query(a, i_row), a->head_dim, a->scale);
    kfi_attention_state state = {0};
    if (a->continues) {
        state = a->state[i_row];
    }
    for (size_t begin = 0; begin < n_keys; begin += KFI_ATTENTION_CHUNK) {
        const size_t left = n_keys - begin;
        const kfi_attention_state more = attend_chunk(
            row, a, i_row, begin, left < KFI_ATTENTION_CHUNK ? left : KFI_ATTENTION_CHUNK);
        kfi_merge(dst, &state, row->values.results, more, begin == 0 && !a->continues, a->head_dim);
    }
    if (a->state != NULL) {
        a->state[i_row] = state;
        return;
    }
    for (size_t d = 0; d < a->head_dim; d++) {
        dst[d] /= state.sum;
    }
}

void kfi_attention_packed_generic(const kfi_attention_args *a)
{
    assert(a->head_dim <= KFI_PACKED_HEAD_DIM_MOST);
    for (size_t row = 0; row < a->n_tokens * a->n_heads; row++) {
        attend_row(a, row);
    }
}
