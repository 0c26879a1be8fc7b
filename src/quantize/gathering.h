/* gathering.h - statistics of one input, for all layers that share it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_GATHERING_H
#define KFI_QUANTIZE_GATHERING_H

#include "model/model.h"
#include "quantize/concentration.h"
#include "quantize/statistics.h"

/* One set for each distinct request of the layers: those that ask for the same share it. */
typedef struct kfi_gathering {
    kfi_statistics sets[KFI_LINEAR_COUNT];
    size_t n;
} kfi_gathering;

/* Adds a set for this request on an input of n values, unless there is one or nothing is asked for.
 */
KF_NODISCARD kf_status kfi_gathering_want(kfi_gathering *gathering, size_t n,
                                          const kfi_statistics_request *request,
                                          const kf_allocator *alloc, kf_error *err);
/* NULL where nothing was asked for. */
kfi_statistics *kfi_gathering_find(kfi_gathering *gathering, const kfi_statistics_request *request);
/* Adds the prefix's inputs x [n_tokens][n], each counted so many times, to the sets that want them.
 */
void kfi_gathering_prefix(kfi_gathering *gathering, const float *x, size_t n_tokens, size_t times);
/* Adds tokens x [n_tokens][n] from a row of the windows on; the first one by the request's
 * first_token_weight where starts_window, or all by the attention that they get, where the request
 * says so. */
void kfi_gathering_add(kfi_gathering *gathering, kf_pool *pool, const float *x, size_t row,
                       size_t n_tokens, bool starts_window, const kfi_concentration *concentration);
/* Once all tokens are added. */
void kfi_gathering_finish(kfi_gathering *gathering, kf_pool *pool);
/* Frees all sets; the gathering is empty then. */
void kfi_gathering_end(kfi_gathering *gathering);

#endif /* KFI_QUANTIZE_GATHERING_H */
