/* block_work.h - a block on its way through the pipeline: what the files block_….c share.
 *
 *     pipeline_block.c    what is done with a block, in which order
 *     block_transform.c   the recipe's transforms
 *     block_pass.c        passes of the calibration tokens through it
 *     block_gather.c      what its steps learn of them
 *     block_ranks.c       ranks of low-rank pairs under a budget
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_BLOCK_WORK_H
#define KFI_QUANTIZE_BLOCK_WORK_H

#include "quantize/clip_search.h"
#include "quantize/pipeline.h"

/* A block on its way. */
typedef struct kfi_block_work {
    kfi_pipeline *pipeline;
    size_t i_layer;
    const kfi_block *source; /* full precision */
    const kfi_block *floats; /* what is quantized: the source, or what transforms made of it */
    kfi_block_result *result;
    kfi_name names[KFI_LINEAR_COUNT];
    kfi_layer_source sources[KFI_LINEAR_COUNT];
    kfi_statistics_request requests[KFI_LINEAR_COUNT];
    bool needs_statistics, is_sequential;
    kfi_gathering gatherings[KFI_STEP_COUNT];
    kfi_clip_sample samples[KFI_STEP_COUNT]; /* where a clip is searched */
    kfi_concentration concentration;         /* empty where all tokens count alike */
} kfi_block_work;

/* Some tokens of one window. */
typedef struct kfi_batch {
    size_t row;      /* of the first token, in the streams */
    size_t position; /* of the first token in its sequence, behind the prefix */
    size_t n;
    bool is_first;     /* of its window */
    bool is_held_back; /* counted in no statistics */
} kfi_batch;

/* KF_CANCELLED where the caller wants no more. */
KF_NODISCARD kf_status kfi_block_cancelled(const kfi_block_work *work, kf_error *err);

/* ---- block_transform.c ---- */

/* Lets the recipe's transforms change a copy of the block, which work->floats is then. */
KF_NODISCARD kf_status kfi_block_transform(kfi_block_work *work, kf_error *err);

/* ---- block_pass.c: all tokens, batch by batch ---- */

/* The inputs of a step's layers, computed out of the quantized steps before it, are gathered. */
KF_NODISCARD kf_status kfi_block_pass_step(kfi_block_work *work, size_t i_step, kf_error *err);
/* The inputs of all steps in float are gathered; the streams stay where they are. */
KF_NODISCARD kf_status kfi_block_pass_float(kfi_block_work *work, kf_error *err);
/* Moves the streams behind the block: from its last step on, or through all of it. */
KF_NODISCARD kf_status kfi_block_pass_rest(kfi_block_work *work, kf_error *err);
KF_NODISCARD kf_status kfi_block_pass_whole(kfi_block_work *work, kf_error *err);
/* How much attention each token gets in the float block, where a method weighs tokens by it. */
KF_NODISCARD kf_status kfi_block_weigh_tokens(kfi_block_work *work, kf_error *err);

/* ---- block_gather.c ---- */

/* Begins sums for requests on a step's input, the prefix's tokens among them. */
KF_NODISCARD kf_status kfi_block_gather_begin(kfi_block_work *work, size_t i_step,
                                              const kfi_statistics_request *requests,
                                              size_t n_requests, kf_error *err);
/* Begins all that a step's layers ask for: those sums, and samples to search a clip on. */
KF_NODISCARD kf_status kfi_block_gather_begin_step(kfi_block_work *work, size_t i_step,
                                                   kf_error *err);
/* Adds a batch's input of a step, x [n][step width] in front of the online map. */
void kfi_block_gather(kfi_block_work *work, size_t i_step, const float *x, const kfi_batch *batch);
void kfi_block_gather_end(kfi_block_work *work);

/* ---- block_ranks.c ---- */

/* Chooses the ranks of layers whose repair has a budget (repair/budget.h), all of the block's at
 * once: work->sources have them then. Their budgets, rows cols budget bits each, are one, to which
 * comes what the blocks before have left over. What a pair gains is found by rounding every layer
 * as it will be, but on its inputs in the float block. Nothing where no layer has a budget. */
KF_NODISCARD kf_status kfi_block_choose_ranks(kfi_block_work *work, kf_error *err);
/* Adds what a quantized block leaves of those budgets to pipeline->pair_bytes. */
KF_NODISCARD kf_status kfi_block_book_pairs(kfi_pipeline *pipeline, const kfi_block *quantized,
                                            size_t i_layer, kf_error *err);

#endif /* KFI_QUANTIZE_BLOCK_WORK_H */
