/* random_packed.h - seeded packed matrices and activations for tests and benchmarks of kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_RANDOM_PACKED_H
#define KERF_TESTS_RANDOM_PACKED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/rng.h"
#include "format/format.h"
#include "kernels/packed.h"

typedef struct random_packed {
    kfi_packed packed; /* the view of bytes */
    void *bytes;
    size_t n_bytes;
} random_packed;

/* A matrix of the named format with random codes (extremes: least and greatest only) and grids.
 * Aborts on failure. Free with random_packed_free(). */
random_packed random_packed_make(const char *format, size_t rows, size_t cols, bool extremes,
                                 kfi_rng *rng);
void random_packed_free(random_packed *m);

/* The entries of a codebook that is a tensor's own, ascending from -128 … 127; else zeros. */
void random_table(int8_t table[KFI_TABLE_ENTRIES], kf_format format, kfi_rng *rng);

/* Activations of random codes -127 … 127 (extremes: the two ends only), group KF_GROUP_ROW or a
 * multiple of 32. Free with random_activations_free(). */
kfi_activations random_activations_make(size_t n_tokens, size_t cols, size_t group, bool extremes,
                                        kfi_rng *rng);
void random_activations_free(kfi_activations *x);

/* n normal floats; free with kfi_free(NULL, x, n * 4). */
float *random_floats(size_t n, kfi_rng *rng);

#endif /* KERF_TESTS_RANDOM_PACKED_H */
