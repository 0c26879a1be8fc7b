/* concentration.h - how much attention each calibration token gets in a block: RSQ's weights.
 *
 *     mass_t = sum over heads and queries of the softmax weight that the query gives token t
 *     part_t = (mass_t - least) / (greatest - least)       over the tokens of its window
 *     weight_t = (r + (1 - r) part_t) / mean of that over the window,  r > 0
 *
 * Only the sums are kept, never a matrix of scores.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_CONCENTRATION_H
#define KFI_QUANTIZE_CONCENTRATION_H

#include "model/forward.h"

/* Queries whose scores are in memory at once, a thread. */
#define KFI_CONCENTRATION_ROWS 32u

/* The tokens of a block, window by window. */
typedef struct kfi_concentration {
    const kf_allocator *alloc;
    size_t n_heads, capacity, n_threads;
    size_t n_windows, length;
    double *heads; /* [n_heads][capacity]: what each head gives each position of this window */
    float *scores; /* [threads][KFI_CONCENTRATION_ROWS][capacity] */
    float *parts;  /* [n_windows][length] */
    float *means;  /* [n_windows]: of the parts */
} kfi_concentration;

/* For windows of length tokens in a cache of this shape. KF_NOMEM, KF_RANGE. */
KF_NODISCARD kf_status kfi_concentration_init(kfi_concentration *c, size_t n_heads,
                                              const kfi_kv *kv, const kf_pool *pool,
                                              size_t n_windows, size_t length,
                                              const kf_allocator *alloc, kf_error *err);
void kfi_concentration_deinit(kfi_concentration *c);

/* Adds what n queries at positions first … give the keys of the cache, all in float32; q
 * [n][n_heads][head_dim] behind RoPE, and the keys up to first + n - 1 are there. */
void kfi_concentration_add(kfi_concentration *c, kf_pool *pool, const kfi_kv *kv, const float *q,
                           size_t first, size_t n);
/* Ends a window whose tokens stand behind n_prefix others: makes its parts. */
void kfi_concentration_end(kfi_concentration *c, size_t i_window, size_t n_prefix);

/* The weights of n tokens from a row of the windows on, for one r. */
void kfi_concentration_weights(float *dst, const kfi_concentration *c, size_t row, size_t n,
                               double least_part);

#endif /* KFI_QUANTIZE_CONCENTRATION_H */
