/* windows.h - how a text is cut, and what stands in front of every window: what all measurements on
 * texts share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_EVAL_WINDOWS_H
#define KFI_EVAL_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/eval.h"
#include "model/model.h"

/* Tokens in front of every window; borrowed. */
typedef struct kfi_front {
    const uint32_t *ids;
    size_t n;
    bool no_prefix; /* a stored prefix is not used: the session computes them */
} kfi_front;

/* The model's stored prefix, else the start that was asked for (NULL: nothing). */
kfi_front kfi_front_of_model(const kf_model *model, const uint32_t *start, size_t n_start,
                             bool no_prefix);
/* The same tokens in front of a reference: out of its own stored prefix where that is how they
 * begin. */
kfi_front kfi_front_of_reference(const kf_model *reference, const kfi_front *front);
/* How many of them are the model's stored prefix. */
static inline size_t kfi_front_prefix(const kfi_front *front)
{
    return front->no_prefix ? 0 : front->n;
}

/* Whole windows of a text of n ids, at most `wanted` (0: all of them). KF_RANGE: a window of less
 * than two tokens, no whole window, an id outside the vocabulary. */
KF_NODISCARD kf_status kfi_windows_count(size_t *windows, size_t window, size_t wanted,
                                         const uint32_t *ids, size_t n, size_t vocabulary,
                                         kf_error *err);
/* KF_RANGE where a window and what is in front of it do not fit the model's context, or a token in
 * front is outside its vocabulary. */
KF_NODISCARD kf_status kfi_windows_fit(const kf_model *model, const kfi_front *front, size_t window,
                                       kf_error *err);
/* KF_FORMAT where the two have vocabularies of different size. */
KF_NODISCARD kf_status kfi_windows_same_vocabulary(const kf_model *model, const kf_model *reference,
                                                   kf_error *err);

#endif /* KFI_EVAL_WINDOWS_H */
