/* merge_inline.h - the merge of two runs of keys, in plain C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_GENERIC_MERGE_INLINE_H
#define KFI_KERNELS_GENERIC_MERGE_INLINE_H

#include <math.h>
#include <string.h>

#include "kernels/exp.h"
#include "kernels/kernels.h"
#include "kernels/lanes_inline.h"

/* dst += result, or dst = result where it is the first: both as sums that belong to a state. */
static inline void kfi_merge(float *dst, kfi_attention_state *state, const float *result,
                             kfi_attention_state more, bool is_first, size_t head_dim)
{
    if (is_first) {
        memmove(dst, result, head_dim * sizeof *dst);
        *state = more;
        return;
    }
    const float both = more.max > state->max ? more.max : state->max;
    const float old_part = kfi_expf(state->max - both);
    const float new_part = kfi_expf(more.max - both);
    for (size_t d = 0; d < head_dim; d++) {
        dst[d] = fmaf(result[d], new_part, dst[d] * old_part);
    }
    state->sum = fmaf(more.sum, new_part, state->sum * old_part);
    state->max = both;
}

/* p[i] = e^(p[i] - max) for n scores. */
static inline kfi_attention_state kfi_soften(float *p, size_t n)
{
    float lanes[KFI_LANES] = {0};
    float max = p[0];
    for (size_t i = 1; i < n; i++) {
        max = p[i] > max ? p[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = kfi_expf(p[i] - max);
        lanes[i % KFI_LANES] += p[i];
    }
    return (kfi_attention_state){max, kfi_lanes_sum(lanes)};
}

#endif /* KFI_KERNELS_GENERIC_MERGE_INLINE_H */
