/* tiny_sparse.h - single weights beside the matrices of tiny models.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_SPARSE_H
#define KERF_TESTS_TINY_SPARSE_H

#include "tiny_model.h"

#define TINY_SPARSE_MOST 2048u

typedef struct tiny_sparse {
    size_t rows, cols, n;
    uint32_t starts[129];
    uint16_t columns[TINY_SPARSE_MOST];
    uint16_t values[TINY_SPARSE_MOST]; /* fp16 */
} tiny_sparse;

/* About one weight in nine, none in every fifth row, none where `is_taken` says so of a column. */
void tiny_sparse_init(tiny_sparse *s, size_t rows, size_t cols, bool (*is_taken)(size_t, size_t),
                      size_t n_taken);
/* Adds them to a matrix of that shape. */
void tiny_sparse_fold(tiny_tensor *t, const tiny_sparse *s);

#endif /* KERF_TESTS_TINY_SPARSE_H */
