/* packed_model.h - tiny models as Kerf checkpoints, with ids to evaluate.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_PACKED_MODEL_H
#define KERF_TESTS_PACKED_MODEL_H

#include "kerf/model.h"
#include "tiny_kerf.h"

#define PACKED_IDS 60u

/* A Kerf checkpoint of a tiny model: the model holds what it stores. */
typedef struct packed_model {
    tiny_model *tiny;
    char path[600];
    uint32_t ids[PACKED_IDS];
} packed_model;

#define PACKED_PREFIX 20u

/* Random rows as a prefix: nothing computed from the tokens would look like them. */
typedef struct prefixed {
    packed_model p;
    kf_model *model;
    float *keys, *values;
    uint32_t prompt[PACKED_PREFIX + 10]; /* the prefix and ten more ids */
} prefixed;

/* Into DIRECTORY/packed. */
packed_model packed_model_write(const char *directory, const char *architecture,
                                const tiny_kerf_options *options);
kf_session *packed_session(kf_model *model, size_t batch);
/* [PACKED_IDS][vocabulary], kfi_free(). */
float *packed_logits(void);
/* Tiny models with a low-rank pair and outliers beside every matrix. */
tiny_kerf_options packed_with_side_paths(void);
/* Tiny models with single weights beside every matrix. */
tiny_kerf_options packed_with_sparse(void);
/* Tiny models whose layers all see their input through a map. */
tiny_kerf_options packed_with_maps(void);
/* Normal keys or values of a prefix, for all layers; kfi_free(). */
float *prefix_rows(uint64_t seed);
/* A checkpoint with that prefix, opened. */
prefixed prefixed_new(const char *directory);
void prefixed_free(prefixed *x);

#endif /* KERF_TESTS_PACKED_MODEL_H */
