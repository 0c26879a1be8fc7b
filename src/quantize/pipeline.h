/* pipeline.h - the calibration tokens on their way through the model, block by block.
 *
 * Two full-width streams hold all tokens: the hidden states, and the attention's result inside a
 * block. A block is quantized in four steps, each on the outputs of the quantized layers before it:
 *
 *     hidden ─norm─▶ q,k,v ─attention─▶ o ─+hidden, norm─▶ gate,up ─silu─▶ down ─+hidden─▶ next
 * block step 0                   step 1             step 2          step 3
 *
 * What is executed are the packed kernels with their activation formats, as in a session: the
 * stream is what the checkpoint will see when it runs.
 *
 * Where a recipe transforms, it is a float copy of the block that is transformed first, and then
 * quantized in the source's place.
 *
 * An exact prefix goes beside it, through the full-precision blocks: its keys and values stand at
 * positions 0 … n-1 of every window.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_PIPELINE_H
#define KFI_QUANTIZE_PIPELINE_H

#include "base/report.h"
#include "model/forward.h"
#include "quantize/gathering.h"
#include "quantize/layer.h"
#include "quantize/step.h"
#include "quantize/stream.h"
#include "quantize/windows.h"

/* Tokens that are computed together. */
#define KFI_PIPELINE_TOKENS 512u
/* Tokens, and rows of the head, whose logits are in memory. */
#define KFI_LOSS_TOKENS 256u
#define KFI_LOSS_ROWS   4096u

/* The prefix's tokens, full precision. */
typedef struct kfi_prefix_run {
    size_t n;
    const uint32_t *ids; /* borrowed */
    float *hidden;       /* [n][hidden], in front of the current block */
    float *keys;         /* [n_layers][n][n_kv_heads * head_dim], after RoPE */
    float *values;
    float *inputs[KFI_STEP_COUNT]; /* [n][width of the step]: of the current block's layers */
    /* In front of the current block's two norms, rotated where the stream is, [n][hidden]; NULL
     * where nothing is transformed. */
    float *entering, *middle;
} kfi_prefix_run;

typedef struct kfi_pipeline_options {
    kf_model *model;
    const kf_recipe *recipe;
    kfi_worker worker;
    kfi_windows windows; /* n = 0: no calibration */
    size_t n_held_back;  /* the last windows are carried along and counted in no statistics */
    const uint32_t *prefix;
    size_t n_prefix;
    uint64_t seed;     /* of transforms that draw */
    const char *spill; /* or NULL */
} kfi_pipeline_options;

typedef struct kfi_pipeline {
    kfi_pipeline_options options;
    const kfi_config *config;
    kfi_workspace *workspace;
    kfi_buffers *buffers;
    size_t batch;
    size_t n_passes;        /* over all tokens, a block */
    uint64_t pair_bytes;    /* that blocks so far have left of their budgets for low-rank pairs */
    int8_t *residual_signs; /* [hidden]; NULL: the residual stream is not rotated */
    float *mapped;          /* [batch][mapped_width]: an input behind its online map */
    size_t mapped_width;
    kfi_stream hidden, attention;
    kfi_kv kv;
    void *kv_memory;
    size_t kv_bytes; /* of kv_memory */
    kfi_prefix_run prefix;
    kfi_report report;
    const char *task; /* what the progress is called; NULL: "block 3 of 30" */
    uint64_t n_done;  /* tokens passed */
} kfi_pipeline;

/* A quantized block. */
typedef struct kfi_block_result {
    kfi_layer layers[KFI_LINEAR_COUNT];
    kfi_float_block floats; /* behind the transforms, empty without any */
    kfi_block block; /* what runs; norms are those of floats, else of the source, as biases */
} kfi_block_result;

/* Embeds the windows (by the table as it will be stored) and the prefix (by the source's). */
KF_NODISCARD kf_status kfi_pipeline_init(kfi_pipeline *pipeline,
                                         const kfi_pipeline_options *options, kf_error *err);
void kfi_pipeline_deinit(kfi_pipeline *pipeline);
/* Values that go into the layers of a step, in front of an online map. */
size_t kfi_step_width(const kfi_config *config, size_t i_step);

/* ---- pipeline_block.c ---- */

void kfi_block_result_deinit(kfi_block_result *result);

/* Quantizes block i (they come in order) and moves the streams behind it. */
KF_NODISCARD kf_status kfi_pipeline_quantize(kfi_pipeline *pipeline, kfi_block_result *result,
                                             size_t i_layer, kf_error *err);
/* Moves the streams behind block i, which was quantized before. */
KF_NODISCARD kf_status kfi_pipeline_pass(kfi_pipeline *pipeline, const kfi_block *quantized,
                                         size_t i_layer, kf_error *err);

/* ---- pipeline_loss.c ---- */

/* Mean negative log-likelihood of the held-back windows, nats a token, through the source's head;
 * after the last block. */
KF_NODISCARD kf_status kfi_pipeline_loss(kfi_pipeline *pipeline, double *loss, kf_error *err);

/* ---- prefix_run.c ---- */

KF_NODISCARD kf_status kfi_prefix_run_init(kfi_pipeline *pipeline, kf_error *err);
void kfi_prefix_run_deinit(kfi_pipeline *pipeline);
/* Takes the prefix through a full-precision block: fills inputs, the block's keys and values, and
 * positions 0 … n-1 of pipeline->kv. */
void kfi_prefix_run_block(kfi_pipeline *pipeline, const kfi_block *source, size_t i_layer);
/* The inputs again, as a transformed block has them. */
void kfi_prefix_run_inputs(kfi_pipeline *pipeline, const kfi_block *transformed);

/* ---- pieces of a block, on n <= batch tokens; x is [n][hidden] ---- */

/* dst [n][n_heads * head_dim] = attention of normed; its tokens stand at positions first … */
void kfi_piece_attention(kfi_pipeline *pipeline, const kfi_block *block, float *dst,
                         const float *normed, size_t first, size_t n);
/* x += o(attention) */
void kfi_piece_project(kfi_pipeline *pipeline, const kfi_block *block, float *x,
                       const float *attention, size_t n);
/* buffers->gate = silu(gate(normed)) * up(normed), the input of down */
void kfi_piece_gate(kfi_pipeline *pipeline, const kfi_block *block, const float *normed, size_t n);
/* x += down(buffers->gate) */
void kfi_piece_down(kfi_pipeline *pipeline, const kfi_block *block, float *x, size_t n);
/* buffers->normed = norm(x) */
void kfi_piece_norm(kfi_pipeline *pipeline, const float *weight, const float *x, size_t n);

#endif /* KFI_QUANTIZE_PIPELINE_H */
