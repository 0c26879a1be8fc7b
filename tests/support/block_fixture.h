/* block_fixture.h - a small block with random weights, for transforms.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_BLOCK_FIXTURE_H
#define KERF_TESTS_BLOCK_FIXTURE_H

#include "quantize/transform/transform.h"

#define BLOCK_HIDDEN  8u
#define BLOCK_FORWARD 6u

typedef struct small_block {
    kfi_block block;
    float weights[KFI_LINEAR_COUNT][BLOCK_HIDDEN * BLOCK_HIDDEN];
    float norms[2][BLOCK_HIDDEN];
    kfi_float_block floats;
} small_block;

/* Rows of its layers. */
extern const size_t block_rows[KFI_LINEAR_COUNT];

/* Random weights and gains, and a copy to transform: floats. */
void small_block_init(small_block *b, uint64_t seed);
/* Up to the rounding of floats. */
void assert_near(double value, double expected);
/* Statistics of random inputs, whose channels differ in size. */
void random_statistics(kfi_statistics *s, size_t n, uint64_t seed);

#endif /* KERF_TESTS_BLOCK_FIXTURE_H */
