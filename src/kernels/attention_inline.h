/* attention_inline.h - what every attention kernel shares: how queries become rows, and how the
 * results of chunks of keys are merged.
 *
 * The pairs (token, head) that share a kv head are numbered row = token * n_heads + head and taken
 * KFI_ATTENTION_ROWS at a time. For every chunk of 256 keys a row gets
 *
 *     s_i = scale * sum_d q_d k_i,d       m = max s_i       p_i = e^(s_i - m)
 *     l = sum p_i (16 lanes)              o_d = sum p_i v_i,d (ascending in i)
 *
 * and chunks are merged in ascending order: with M the larger of the two maxima,
 *
 *     l = l_a e^(m_a - M) + l_b e^(m_b - M),  o likewise, each as fma(b, e_b, a e_a)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_ATTENTION_INLINE_H
#define KFI_KERNELS_ATTENTION_INLINE_H

#include "kernels/kernels.h"

/* Rows that go through the keys together. Six fill the registers of a tile of 6 x 64. */
#define KFI_ATTENTION_ROWS 6u

/* The front of the scratch memory; behind it lie the rows' results of the current chunk,
 * [KFI_ATTENTION_ROWS][head_dim]. */
typedef struct kfi_attention_scores {
    float p[KFI_ATTENTION_ROWS][KFI_ATTENTION_CHUNK];
    kfi_attention_state state[16]; /* of all chunks so far, one a row */
} kfi_attention_scores;

/* Query and result of a row, and how many keys it sees. */
static inline const float *kfi_attention_query(const kfi_attention_args *a, size_t row)
{
    return a->q + row / a->n_heads * a->ld_q + row % a->n_heads * a->head_dim;
}

static inline float *kfi_attention_result(const kfi_attention_args *a, size_t row)
{
    return a->dst + row / a->n_heads * a->ld_dst + row % a->n_heads * a->head_dim;
}

static inline size_t kfi_attention_visible(const kfi_attention_args *a, size_t row)
{
    const size_t n = a->first + row / a->n_heads + 1;
    return n < a->n_keys ? n : a->n_keys;
}

#endif /* KFI_KERNELS_ATTENTION_INLINE_H */
