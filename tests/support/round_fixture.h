/* round_fixture.h - a small layer to round: random weights, correlated inputs, room for the result.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TEST_ROUND_FIXTURE_H
#define TEST_ROUND_FIXTURE_H

#include "quantize/method.h"

/* A layer with correlated inputs and room for its result. */
typedef struct round_layer {
    size_t rows, cols;
    kf_format format;
    float *weights;
    kfi_statistics statistics;
    uint8_t *codes;
    kfi_grid *grids;
    int8_t table[KFI_TABLE_ENTRIES]; /* that was learned for the codes */
    double knobs[KFI_KNOBS_MAX];
} round_layer;

void round_layer_init(round_layer *l, size_t rows, size_t cols, const char *format, uint64_t seed);
void round_layer_deinit(round_layer *l);

/* Tokens whose columns have different sizes and share a few common directions. */
void round_layer_add_tokens(round_layer *l, size_t n, uint64_t seed);
void round_layer_diagonal_gram(round_layer *l);
/* The layer never sees input i: its row and column of the Gram matrix are 0. */
void round_layer_mute(round_layer *l, size_t i);
/* Its codes in column i read back as 0. */
void round_layer_assert_zero(const round_layer *l, size_t i);

const kfi_method *round_method_named(const char *name);
/* Sets a knob by name. */
void round_layer_set(round_layer *l, const kfi_method *method, const char *name, const char *value);

kfi_round_job round_layer_job(round_layer *l, kf_pool *pool);
/* Rounds by a method with the knobs as they are; returns its loss. */
double round_layer_round(round_layer *l, const kfi_method *method, kf_pool *pool);
kfi_round_error round_layer_measure(round_layer *l);
/* tr(E H E^T) with H = Gram matrix + damping, in double, column by column. */
double round_layer_direct_loss(const round_layer *l, double damping);

/* Copies of codes and grids, which the second call compares with what is there now, and frees. */
void round_layer_keep(round_layer *l, uint8_t **codes, kfi_grid **grids);
void round_layer_assert_same(const round_layer *l, uint8_t *codes, kfi_grid *grids);

#endif /* TEST_ROUND_FIXTURE_H */
