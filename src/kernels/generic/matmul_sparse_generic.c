/* matmul_sparse_generic.c - products with single weights in plain C: their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/half.h"
#include "kernels/kernels_list.h"

void kfi_matmul_sparse_generic(float *y, size_t ld_y, const kfi_sparse *w, size_t row_begin,
                               size_t row_end, const kfi_token_panels *x)
{
    const size_t step = x->n_tokens == 1 ? 1 : KFI_TOKEN_PANEL;
    for (size_t t = 0; t < x->n_tokens; t++) {
        const float *token = x->x + kfi_token_place(x->n_tokens, x->cols, t);
        for (size_t r = row_begin; r < row_end; r++) {
            float acc = 0.0f;
            for (size_t i = w->starts[r]; i < w->starts[r + 1]; i++) {
                acc = fmaf(kfi_half_to_float(w->values[i]), token[w->columns[i] * step], acc);
            }
            y[t * ld_y + r] += acc;
        }
    }
}
