/* attention_packed_inline.h - what every kernel over packed keys and values shares.
 *
 * Rows and chunks are those of attention_inline.h. A row's query becomes integers once,
 *
 *     t = max |q_d| / 32767                  a_d = round(q_d / t)
 *
 * and for every chunk of 256 keys i with codes k (values v), their zero z and scales s_k,i (s_v,i)
 *
 *     s_i = (sum_d a_d (k_i,d - z)) * (t scale * s_k,i)        the sum exact in int32
 *     s_i += scale * sum_j w_j t_j,i     where keys share a part: fma, ascending in j, and
 *                                        w = the query's weights turned by the chunk's angles
 *     m = max s_i     p_i = e^(s_i - m)      l = sum p_i (16 lanes)
 *     w_i = p_i s_v,i                        u = max w_i / 32767     c_i = round(w_i / u)
 *     o_d = (sum_i c_i (v_i,d - z)) * u      the sum exact in int32
 *
 * Sixteen bits for queries and weights, because eight would lose as much again as the cache did,
 * and more where one token takes nearly all of the weight: the others' would be rounded away. The
 * instructions that multiply pairs of 16-bit numbers cost the same as two passes over 8-bit digits.
 * What follows, the merge of chunks, is as for float keys.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_ATTENTION_PACKED_INLINE_H
#define KFI_KERNELS_ATTENTION_PACKED_INLINE_H

#include "kernels/attention_inline.h"

/* Rows that go through the keys together. */
#define KFI_PACKED_ROWS 8u

/* What a query or a weight is at most, as an integer. */
#define KFI_PACKED_MOST 32767.0f

/* A row at work: one of the KFI_PACKED_ROWS in the scratch memory. Of four neighbouring numbers
 * the middle two change places in `query` and `weights`: 0 2 1 3. So they meet the even and the odd
 * bytes of a lane, which one mask and one shift make of codes. */
typedef struct kfi_packed_row {
    int16_t query[KFI_PACKED_HEAD_DIM_MOST];
    int16_t weights[KFI_ATTENTION_CHUNK];
    union {
        int32_t sums[KFI_ATTENTION_CHUNK];
        float scores[KFI_ATTENTION_CHUNK];
    } keys; /* of the current chunk */
    union {
        int32_t sums[KFI_PACKED_HEAD_DIM_MOST];
        float results[KFI_PACKED_HEAD_DIM_MOST];
    } values; /* of the current chunk */
    float query_scale;
    float weight_scale;
    int32_t query_sum; /* of the integers */
    int32_t weight_sum;
    kfi_attention_state state;              /* of all chunks so far */
    float turned[KFI_PACKED_HEAD_DIM_MOST]; /* weights of the common key, for the current chunk */
    float common[KFI_ATTENTION_CHUNK];      /* its scores */
} kfi_packed_row;

/* Behind the rows, room for a chunk of keys or values as codes of 8 bits: lanes of all widths. */
static inline uint8_t *kfi_packed_room(void *scratch)
{
    return (uint8_t *)scratch + KFI_PACKED_ROWS * sizeof(kfi_packed_row);
}

/* max / KFI_PACKED_MOST and its inverse, both 0 where nothing is there. */
static inline float kfi_packed_step(float max, float *inverse)
{
    *inverse = max < KFI_QUANTIZE_LEAST ? 0.0f : KFI_PACKED_MOST / max;
    return max < KFI_QUANTIZE_LEAST ? 0.0f : max / KFI_PACKED_MOST;
}

/* The weights of a row's common key. */
static inline const float *kfi_common_weights(const kfi_attention_args *a, size_t row)
{
    return a->common.weights + row / a->n_heads * a->ld_q + row % a->n_heads * a->head_dim;
}

#endif /* KFI_KERNELS_ATTENTION_PACKED_INLINE_H */
