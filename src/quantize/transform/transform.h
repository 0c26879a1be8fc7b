/* transform.h - what transforms work on: a float copy of a block, and ways to change it that leave
 * its function as it is.
 *
 * No transform changes what q, k and v produce: with grouped-query attention nothing can be folded
 * into v, and so the exact prefix stays that of the source.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_TRANSFORM_H
#define KFI_QUANTIZE_TRANSFORM_H

#include "base/alloc.h"
#include "base/rng.h"
#include "base/threads.h"
#include "kerf/error.h"
#include "kernels/kernels.h"
#include "quantize/statistics.h"
#include "quantize/step.h"

/* A block in float, writable. */
typedef struct kfi_float_block {
    const kf_allocator *alloc;
    kfi_block block; /* what runs; points to the members below, biases are borrowed */
    float *weights[KFI_LINEAR_COUNT]; /* [rows][cols] of block.linears, owned */
    float *attention_norm, *mlp_norm; /* [hidden], owned */
    /* Of the steps' online maps, owned: either signs, or columns and maybe second. */
    int8_t *signs[KFI_STEP_COUNT];
    uint32_t *columns[KFI_STEP_COUNT], *second[KFI_STEP_COUNT];
    size_t map_n[KFI_STEP_COUNT];      /* elements of each of them */
    size_t n_outliers[KFI_STEP_COUNT]; /* columns behind the map, the last ones */
    size_t hidden;
} kfi_float_block;

/* Copies a block. KF_NOMEM: nothing is held. */
KF_NODISCARD kf_status kfi_float_block_init(kfi_float_block *floats, const kfi_block *source,
                                            size_t hidden, const kf_allocator *alloc,
                                            kf_error *err);
/* Zeros are fine. */
void kfi_float_block_deinit(kfi_float_block *floats);

/* Gains of the norm in front of a step, [hidden]; NULL where none is. */
float *kfi_float_block_gains(kfi_float_block *floats, size_t i_step);

/* Divides what goes into a step's layers by scales [width], all positive, and multiplies the
 * columns of their weights: folded into the gains of the norm in front of q, k, v and of gate and
 * up, into the rows of up in front of down. Not for o. */
void kfi_float_block_smooth(kfi_float_block *floats, size_t i_step, const float *scales);

/* The first half of that. */
void kfi_float_block_divide_input(kfi_float_block *floats, size_t i_step, const float *scales);
/* Multiplies the columns of a step's weights by the gains of the norm in front, which become 1. */
void kfi_float_block_fold_gains(kfi_float_block *floats, size_t i_step);

/* Draws signs for the input of a step's layers and sets them as their online map, *signs [cols],
 * borrowed. The weights are the caller's to rotate. KF_NOMEM. */
KF_NODISCARD kf_status kfi_float_block_add_signs(int8_t **signs, kfi_float_block *floats,
                                                 size_t i_step, kfi_rng *rng, kf_error *err);
/* Lets a step's layers read x'[c] = x[columns[c]] (+ x[second[c]] unless that is KFI_NO_COLUMN;
 * second may be NULL) for c < n: a column of their weights becomes that of columns[c], or the mean
 * of both. Both arrays are copied. KF_NOMEM. */
KF_NODISCARD kf_status kfi_float_block_gather(kfi_float_block *floats, size_t i_step,
                                              const uint32_t *columns, const uint32_t *second,
                                              size_t n, kf_error *err);
/* n times 1 or -1. */
void kfi_draw_signs(int8_t *signs, size_t n, kfi_rng *rng);

/* Rotates every column of weights [rows][cols]. KF_NOMEM. */
KF_NODISCARD kf_status kfi_rotate_columns(float *weights, size_t rows, size_t cols,
                                          const kfi_rotation *rotation, kf_pool *pool,
                                          const kf_allocator *alloc, kf_error *err);

/* What a transform is given. */
typedef struct kfi_transform_job {
    kfi_float_block *floats; /* as the transforms before it left it */
    /* Of the inputs of each step, as the block in `floats` produces them out of the quantized
     * stream; NULL where nothing was asked for. */
    const kfi_statistics *statistics[KFI_STEP_COUNT];
    const struct kfi_treatment *treatments[KFI_LINEAR_COUNT]; /* how the layers will be rounded */
    const int8_t *residual_signs; /* [hidden]: of the stream; NULL: it is not rotated */
    const double *knobs;
    uint64_t seed;
    size_t i_layer;
    kf_pool *pool;
    const kf_allocator *alloc;
} kfi_transform_job;

#endif /* KFI_QUANTIZE_TRANSFORM_H */
