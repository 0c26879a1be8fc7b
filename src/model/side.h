/* side.h - side paths of packed layers: low-rank pairs, outlier columns and single weights, for
 * linear.c.
 *
 *     y = x^ W^T + x_o O^T + (x^ A^T) B^T + x^ S^T     x^ = x quantized, its outlier columns 0
 *                                                      x_o = x[columns], S sparse
 *
 * x_o and t = x^ A^T are quantized to 8 bits with a scale a token and 32 values, whatever the
 * format of x^, and go through the kernels of every packed matrix; where x^ has no codes but is
 * float or rounded to 8-bit floats, they stay float. Per element the order is: the matrix, +
 * outliers, + low rank, + single weights, + bias, so that no split of tokens or rows shows. S
 * multiplies what the codes of x^ stand for, in float.
 *
 * None of this costs a hand-over to the pool. x_o, t and the floats for S, which lie in panels of
 * 16 tokens, are made by who quantizes a token; the products with O and B follow the panels of the
 * matrix, by the same thread, into a buffer of its own that is then added; that with S adds to y.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_SIDE_H
#define KFI_MODEL_SIDE_H

#include "kernels/kernels.h"
#include "model/model.h"

/* Layers that share their input and run over one list of panels. */
#define KFI_LINEARS_MOST 4u

/* The inputs of side paths: x_o, which layers of one list share, then t of each of them. */
#define KFI_SIDE_INPUTS (1u + KFI_LINEARS_MOST)

/* Memory for them, as wide as the widest layer needs. */
typedef struct kfi_side_space {
    size_t width;  /* a multiple of 32; 0: no layer has side paths */
    float *values; /* [KFI_SIDE_INPUTS][batch][width] */
    int8_t *codes;
    float *scales; /* [KFI_SIDE_INPUTS][batch][width / 32] */
    int32_t *sums;
    float *results;   /* [threads][n_results]: a product before it is added */
    size_t n_results; /* at least two panels of a batch */
    void *memory;     /* all of the above */
    size_t memory_bytes;
} kfi_side_space;

/* Layers with one input, over some tokens. */
typedef struct kfi_side_run {
    const struct kfi_workspace *workspace;
    const kfi_linear *const *linears;
    size_t n_linears;
    const float *x; /* [n_tokens][cols] */
    size_t n_tokens, cols;
    /* x as a product of floats takes it, [n_tokens][cols]: x itself, or rounded; NULL: x becomes
     * codes. */
    const float *floats;
} kfi_side_run;

/* Columns of the widest packed side path of a layer; 0: it has none. */
size_t kfi_side_width(const kfi_side_paths *side);
/* Whether a layer has any side path. */
bool kfi_side_is_set(const kfi_side_paths *side);
/* Whether layers with these can share their quantized input: the same columns are left out. */
bool kfi_side_shares_input(const kfi_side_paths *a, const kfi_side_paths *b);

/* Makes x_o of token t and returns what is to be quantized or rounded: its x, or a copy in scratch
 * (cols floats) without the outliers. */
const float *kfi_side_gather(const kfi_side_run *run, size_t t, float *scratch);
/* Makes t of tokens begin … end-1, for every layer with a pair. x: all tokens in codes, not used
 * where run->floats is set. scratch: of the kernels. */
void kfi_side_project(const kfi_side_run *run, const kfi_activations *x, size_t begin, size_t end,
                      void *scratch);
/* Puts tokens begin … end-1 into panels where a layer has single weights. x as above. */
void kfi_side_spread(const kfi_side_run *run, const kfi_activations *x, size_t begin, size_t end);
/* Adds the side paths of layer i to panels begin … end-1 of y, for all tokens. */
void kfi_side_add(const kfi_side_run *run, size_t i_linear, float *y, size_t begin, size_t end,
                  size_t i_thread);

#endif /* KFI_MODEL_SIDE_H */
