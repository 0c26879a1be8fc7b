/* vectors.h - random vectors for loops over one vector, and their results bit for bit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_VECTORS_H
#define KERF_TESTS_VECTORS_H

#include <stddef.h>

#include "base/rng.h"

/* Around the widths of registers, and those of the models. */
#define VECTOR_SIZES 17u
#define VECTOR_MOST  4864u
extern const size_t vector_sizes[VECTOR_SIZES];

/* With the residual stream's spread: a few elements a thousand times the rest. */
void vector_fill(float *x, size_t n, kfi_rng *rng);
void vector_assert_same(const float *expected, const float *actual, size_t n);

#endif /* KERF_TESTS_VECTORS_H */
