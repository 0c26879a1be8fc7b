/* tiny_kerf.h - tiny models as Kerf checkpoints, rounded to nearest, right or wrong on purpose.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_KERF_H
#define KERF_TESTS_TINY_KERF_H

#include "tiny_model.h"

typedef struct tiny_kerf_options {
    const char *format;      /* of the linear layers of blocks, "int4g64" */
    const char *head;        /* of embedding and head; NULL: kept in F32 */
    const char *activations; /* "int8tg64" */
    const char *more;        /* more members of quantization_config, ",\"x\":…", or NULL */
    const char *kept;        /* this tensor stays F32, or NULL */
    int version;             /* format_version */
    bool misaligned;         /* the norms of a block come first */
    size_t n_prefix;         /* 0: none */
    const uint32_t *prefix_ids;
    const float *prefix_keys; /* [layers][n][n_kv_heads * head_dim] */
    const float *prefix_values;
} tiny_kerf_options;

/* Formats int4g64 and int8g64, activations int8tg64, version 1, nothing else. */
tiny_kerf_options tiny_kerf_defaults(void);

/* Writes the model as a Kerf checkpoint into path, a directory to make. The model's matrices become
 * what the checkpoint holds; so write one only once. Aborts the test program on failure. */
void tiny_kerf_write(const char *path, tiny_model *model, const tiny_kerf_options *options);

#endif /* KERF_TESTS_TINY_KERF_H */
