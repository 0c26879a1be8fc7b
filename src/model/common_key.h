/* common_key.h - what all keys share in front of RoPE, kept out of their codes.
 *
 * A key is R(p) (W x + b), R(p) being RoPE at its position p. Codes are made of R(p) (W x + b - c),
 * with one vector c a kv head, and q R(p) c is added to the score: exact, and one sum of head_dim
 * products for any p, see kfi_common_key of kernels.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_COMMON_KEY_H
#define KFI_MODEL_COMMON_KEY_H

#include "model/model.h"

/* The tables of kfi_common_key for positions below a context: how many floats they take, and what
 * they hold. chunk_turns come first. */
size_t kfi_common_chunk_floats(size_t head_dim, size_t context);
size_t kfi_common_token_floats(size_t head_dim);
void kfi_common_fill(float *turns, const kfi_config *config, size_t context);

/* key = R(-position) key, [head_dim]; frequencies [head_dim / 2]. */
void kfi_common_turn_back(float *key, const double *frequencies, size_t head_dim, size_t position);

/* Weights of n_queries queries [head_dim], behind RoPE, for c as RoPE turns it where the first key
 * in codes is. */
void kfi_common_weigh(float *weights, const float *queries, size_t n_queries, const float *common,
                      size_t head_dim);

#endif /* KFI_MODEL_COMMON_KEY_H */
