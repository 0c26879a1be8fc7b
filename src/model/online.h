/* online.h - what the input of linear layers goes through before it is quantized, for linear.c.
 *
 *     x ──map──▶ x' ──outliers taken out──▶ quantized ──▶ the matrix, A
 *           rotation, or columns gathered
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_ONLINE_H
#define KFI_MODEL_ONLINE_H

#include "linalg/hadamard.h"
#include "model/forward.h"

/* Widths that a model's rotations have: of hidden states, heads and feed-forward layers. */
#define KFI_ROTATED_WIDTHS 3u

/* What maps need. */
typedef struct kfi_online_space {
    kfi_hadamard hadamards[KFI_ROTATED_WIDTHS];
    size_t n_hadamards;
    float *mapped; /* [batch][widest input]; NULL: no layer has a map */
} kfi_online_space;

static inline bool kfi_online_is_set(const kfi_online *online)
{
    return online->signs != NULL || online->columns != NULL;
}

/* Whether layers with these can share their input behind the map. */
bool kfi_online_is_same(const kfi_online *a, const kfi_online *b);

/* What layers with this map see of n tokens: x itself, or x' in the workspace, until the next call.
 */
const float *kfi_online_input(kfi_workspace *workspace, const kfi_online *online, const float *x,
                              size_t n);

#endif /* KFI_MODEL_ONLINE_H */
