/* merge.h - how the attention kernels merge runs of keys; generic/merge_inline.h, 16 at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_MERGE_H
#define KFI_KERNELS_LANES_MERGE_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/lanes/exp.h"
#include "kernels/lanes_inline.h"

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* dst += result, or dst = result where it is the first: both as sums that belong to a state. */
INLINE void merge(float *dst, kfi_attention_state *state, const float *result,
                  kfi_attention_state more, bool is_first, size_t dim)
{
    if (is_first) {
        memmove(dst, result, dim * sizeof *dst);
        *state = more;
        return;
    }
    const float both = more.max > state->max ? more.max : state->max;
    const float old_part = kfi_expf(state->max - both);
    const float new_part = kfi_expf(more.max - both);
    for (size_t d = 0; d < dim; d += KFI_LANES) {
        const lanes old = lanes_mul(lanes_load_n(dst + d, dim - d), lanes_set1(old_part));
        const lanes new = lanes_load_n(result + d, dim - d);
        lanes_store_n(dst + d, lanes_fma(new, lanes_set1(new_part), old), dim - d);
    }
    state->sum = fmaf(more.sum, new_part, state->sum * old_part);
    state->max = both;
}

INLINE void divide(float *dst, float sum, size_t dim)
{
    for (size_t d = 0; d < dim; d += KFI_LANES) {
        const lanes x = lanes_load_n(dst + d, dim - d);
        lanes_store_n(dst + d, lanes_div(x, lanes_set1(sum)), dim - d);
    }
}

#endif /* KFI_KERNELS_LANES_MERGE_H */
