/* statistics.h - what methods may know about the inputs of a layer.
 *
 * Layers that share an input share its statistics. The inputs are those of the quantized stream:
 * what the layer will see when the checkpoint runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_STATISTICS_H
#define KFI_QUANTIZE_STATISTICS_H

#include <stdbool.h>

#include "base/alloc.h"
#include "base/threads.h"
#include "kerf/error.h"

#define KFI_NEED_GRAM        1u /* sum x x^T */
#define KFI_NEED_MEAN_SQUARE 2u /* E[x_i^2] */
#define KFI_NEED_MAX_ABS     4u /* max |x_i| */
#define KFI_NEED_MEAN_ABS    8u /* E|x_i| */

/* What a method with its knobs asks for. */
typedef struct kfi_statistics_request {
    unsigned needs;            /* KFI_NEED_… */
    double first_token_weight; /* of each window's first token where no prefix stands in front */
    bool prefix;               /* count the prefix's tokens, once a window */
    /* 0: every token counts as 1. Else by the attention it gets: concentration.h, with this r. */
    double attention_least;
} kfi_statistics_request;

bool kfi_statistics_request_equal(const kfi_statistics_request *a, const kfi_statistics_request *b);

/* Sums over tokens x (n values each) with token weights; members that were not asked for are NULL.
 */
typedef struct kfi_statistics {
    const kf_allocator *alloc;
    kfi_statistics_request request;
    size_t n;
    double weight;      /* sum of the token weights */
    float *gram;        /* [n][n]: sum of weight x x^T; before finish in the lower triangle only */
    double *square_sum; /* [n] */
    float *max_abs;     /* [n] */
    double *abs_sum;    /* [n] */
    float *weighted;    /* [KFI_STATISTICS_TOKENS][n] where tokens count by attention: scratch */
    size_t n_outliers; /* inputs, the last ones, whose weights are rounded apart; by the gatherer */
} kfi_statistics;

/* Tokens of different weights that are added at once. */
#define KFI_STATISTICS_TOKENS 192u

/* All sums zero. KF_NOMEM, KF_RANGE (n^2 overflows). */
KF_NODISCARD kf_status kfi_statistics_init(kfi_statistics *statistics, size_t n,
                                           const kfi_statistics_request *request,
                                           const kf_allocator *alloc, kf_error *err);
void kfi_statistics_deinit(kfi_statistics *statistics);

/* Adds n_tokens tokens x [n_tokens][n] of weight 1. */
void kfi_statistics_add(kfi_statistics *statistics, kf_pool *pool, const float *x, size_t n_tokens);
/* Adds one token of any weight >= 0. */
void kfi_statistics_add_weighted(kfi_statistics *statistics, const float *x, double weight);
/* Adds at most KFI_STATISTICS_TOKENS tokens of weights [n_tokens] >= 0, where tokens count by
 * attention. */
void kfi_statistics_add_each(kfi_statistics *statistics, kf_pool *pool, const float *x,
                             const float *weights, size_t n_tokens);
/* Once all tokens are added: makes the Gram matrix whole. */
void kfi_statistics_finish(kfi_statistics *statistics, kf_pool *pool);

#endif /* KFI_QUANTIZE_STATISTICS_H */
