/* tiny_kerf.h - tiny models as Kerf checkpoints, rounded to nearest, right or wrong on purpose.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_KERF_H
#define KERF_TESTS_TINY_KERF_H

#include "tiny_model.h"

/* What may be wrong with the side paths of block 0's down projection. */
typedef enum tiny_side_flaw {
    TINY_SIDE_RIGHT,
    TINY_SIDE_NO_B, /* a part is missing */
    TINY_SIDE_NO_COLUMNS,
    TINY_SIDE_A_IN_FLOAT, /* not packed */
    TINY_SIDE_A_COLS,     /* one column too few */
    TINY_SIDE_B_COLS,     /* one more than A has rows */
    TINY_SIDE_B_ROWS,
    TINY_SIDE_OUTLIER_ROWS,
    TINY_SIDE_NAN_SCALE, /* of A */
    TINY_SIDE_COLUMNS_F32,
    TINY_SIDE_TWICE, /* a column */
    TINY_SIDE_UNSORTED,
    TINY_SIDE_BEYOND, /* a column behind the last */
    TINY_SIDE_FEW_COLUMNS,
    TINY_SIDE_NOT_ZERO,    /* the matrix in an outlier's column: only verify looks */
    TINY_SIDE_KEPT_MATRIX, /* the matrix is not packed */
    TINY_SIDE_WIDE,        /* a rank of 513 */
    TINY_SPARSE_NO_VALUES,
    TINY_SPARSE_FEW_STARTS,
    TINY_SPARSE_STARTS_F32,
    TINY_SPARSE_FIRST_1, /* the first row begins behind a weight */
    TINY_SPARSE_FALLING, /* a row ends before it begins */
    TINY_SPARSE_FAR,     /* a row ends behind all weights */
    TINY_SPARSE_LEFT,    /* the last row ends in front of the last weight */
    TINY_SPARSE_COLUMNS_U32,
    TINY_SPARSE_BEYOND, /* a column behind the last */
    TINY_SPARSE_TWICE,  /* a column of a row */
    TINY_SPARSE_UNSORTED,
    TINY_SPARSE_FEW_VALUES,
    TINY_SPARSE_NAN,
    TINY_SPARSE_INFINITE,
    TINY_SPARSE_IN_OUTLIERS /* a weight in a column of outliers: only verify looks */
} tiny_side_flaw;

/* What may be wrong with the maps of block 0: of its down projection, which is rotated, or of its q
 * projection, whose input is gathered; or with the signs of the stream. */
typedef enum tiny_map_flaw {
    TINY_MAP_RIGHT,
    TINY_MAP_SIGNS_U32,
    TINY_MAP_FEW_SIGNS,
    TINY_MAP_SIGN_0,
    TINY_MAP_BOTH, /* signs and columns */
    TINY_MAP_LONE_SECOND,
    TINY_MAP_COLUMNS_F32,
    TINY_MAP_BEYOND,      /* a column behind the last */
    TINY_MAP_FEW_COLUMNS, /* than the matrix has */
    TINY_MAP_NO_COLUMNS,  /* an empty tensor */
    TINY_MAP_WIDE,        /* five times the input */
    TINY_MAP_FEW_RESIDUAL_SIGNS,
    TINY_MAP_RESIDUAL_SIGN_2
} tiny_map_flaw;

typedef struct tiny_kerf_options {
    const char *format;      /* of the linear layers of blocks, "int4g64" */
    const char *head;        /* of embedding and head; NULL: kept in F32 */
    const char *activations; /* "int8tg64" */
    const char *more;        /* more members of quantization_config, ",\"x\":…", or NULL */
    const char *kept;        /* this tensor stays F32, or NULL */
    int version;             /* format_version */
    bool misaligned;         /* the norms of a block come first */
    size_t rank;             /* > 0: a pair that corrects the first so many columns; of int8 */
    size_t n_outliers;       /* > 0: every third column from the second is one, of int8 */
    bool sparse;             /* single weights, see tiny_sparse.h */
    tiny_side_flaw flaw;
    bool maps;    /* the inputs of all layers go through maps, see tiny_maps.h */
    bool rotated; /* the stream runs rotated; gains of the blocks' norms become 1 */
    tiny_map_flaw map_flaw;
    size_t n_prefix; /* 0: none */
    const uint32_t *prefix_ids;
    const float *prefix_keys; /* [layers][n][n_kv_heads * head_dim] */
    const float *prefix_values;
} tiny_kerf_options;

/* Formats int4g64 and int8g64, activations int8tg64, version 1, nothing else. */
tiny_kerf_options tiny_kerf_defaults(void);

/* Writes the model as a Kerf checkpoint into path, a directory to make. Side paths need version 2,
 * maps 3, single weights 4. The model's matrices become what the checkpoint holds; so write one
 * only once. Aborts the test program on failure. */
void tiny_kerf_write(const char *path, tiny_model *model, const tiny_kerf_options *options);
/* And a kerf.json that names one file, so that kf_verify() goes on to the tensors. */
void tiny_kerf_write_sums(const char *path);

#endif /* KERF_TESTS_TINY_KERF_H */
