/* clip_search.h - the part of their range that the activations of a step should keep.
 *
 * A clip c makes codes reach c times the largest magnitude of a group: steps get finer, and what
 * lies outside is cut. What that costs shows in the outputs only, so it is tried: of a few ratios
 * the one with the least error over the step's layers and a sample of the calibration tokens,
 *
 *     sum over tokens ||W e||^2  +  (L - 1) n ||W mean(e)||^2        e = x - x^, n tokens
 *
 * W are the float weights, L is the model's number of blocks. Rounding errs to both sides, and L
 * blocks add up to L times its square. Cutting always errs to the same side, most of all in the
 * few channels that are large in every token, and that part of the error grows with L^2. Without
 * the second term clips look good that ruin the model: SmolLM2, int4tg64, weights in float, 2
 * windows of WikiText-2 test, perplexity 18.98 in float, 52.3 unclipped, 65.3 with 0.9 everywhere,
 * 64.3 as the first term alone finds, 51.3 as both do, 53.9 with 256 in place of L.
 *
 * Source: the ratio is Atom's (arXiv:2310.19102) and QuaRot's (arXiv:2404.00456), who publish 0.9
 * for everything; the search is ours.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_CLIP_SEARCH_H
#define KFI_QUANTIZE_CLIP_SEARCH_H

#include "base/threads.h"
#include "model/model.h"

/* Tokens that a search sees. */
#define KFI_CLIP_TOKENS 256u

/* Every n-th token of an input. */
typedef struct kfi_clip_sample {
    const kf_allocator *alloc;
    size_t width;
    size_t stride; /* 0: nothing is sampled */
    size_t n, capacity;
    float *x; /* [capacity][width] */
} kfi_clip_sample;

/* Room for KFI_CLIP_TOKENS of n_tokens, or all of them where there are fewer. KF_NOMEM. */
KF_NODISCARD kf_status kfi_clip_sample_init(kfi_clip_sample *sample, size_t n_tokens, size_t width,
                                            const kf_allocator *alloc, kf_error *err);
void kfi_clip_sample_deinit(kfi_clip_sample *sample);
/* Takes what belongs to the sample of tokens x [n][width], the first of which is number `first` of
 * all. Tokens come in order. Nothing where the sample was not initialised. */
void kfi_clip_sample_add(kfi_clip_sample *sample, const float *x, size_t first, size_t n);

/* Layers that share their input and its format. */
typedef struct kfi_clip_job {
    const kfi_clip_sample *sample;
    const kfi_linear *linears[KFI_LINEAR_COUNT]; /* float weights, [rows][sample->width] */
    size_t n_linears;                            /* >= 1 */
    kf_activation activation;                    /* one that clips */
    size_t n_blocks;                             /* L */
    kf_pool *pool;
    const kf_allocator *alloc;
} kfi_clip_job;

/* The clip as kf_activation has it, of two equally good ones the greater. An empty sample: 0. Cost:
 * ten products of the sample with the layers. KF_NOMEM. */
KF_NODISCARD kf_status kfi_clip_search(uint8_t *clip, const kfi_clip_job *job, kf_error *err);

#endif /* KFI_QUANTIZE_CLIP_SEARCH_H */
