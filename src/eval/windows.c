/* windows.c - how a text is cut, and what stands in front of every window.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "eval/windows.h"

#include <string.h>

#include "base/fail.h"

kfi_front kfi_front_of_model(const kf_model *model, const uint32_t *start, size_t n_start,
                             bool no_prefix)
{
    const kfi_prefix *prefix = kfi_model_get_prefix(model);
    if (prefix->n > 0 && !no_prefix) {
        return (kfi_front){.ids = prefix->ids, .n = prefix->n};
    }
    return (kfi_front){.ids = start, .n = start != NULL ? n_start : 0, .no_prefix = true};
}

kfi_front kfi_front_of_reference(const kf_model *reference, const kfi_front *front)
{
    const kfi_prefix *own = kfi_model_get_prefix(reference);
    kfi_front same = *front;
    same.no_prefix = own->n == 0 || own->n > front->n ||
                     memcmp(own->ids, front->ids, own->n * sizeof *own->ids) != 0;
    return same;
}

kf_status kfi_windows_count(size_t *windows, size_t window, size_t wanted, const uint32_t *ids,
                            size_t n, size_t vocabulary, kf_error *err)
{
    if (window < 2) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "a window of %zu tokens: expected 2 or more",
                        window);
    }
    const size_t available = n / window;
    if (available == 0) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "the text has %zu tokens: expected at least one window of %zu", n, window);
    }
    *windows = wanted > 0 && wanted < available ? wanted : available;
    for (size_t i = 0; i < *windows * window; i++) {
        if (ids[i] >= vocabulary) {
            return kfi_fail(err, KF_RANGE, i,
                            "token id %" PRIu32 " is outside the vocabulary of %zu", ids[i],
                            vocabulary);
        }
    }
    return KF_OK;
}

kf_status kfi_windows_fit(const kf_model *model, const kfi_front *front, size_t window,
                          kf_error *err)
{
    const kfi_config *config = kfi_model_config(model);
    if (window > config->context || front->n > config->context - window) {
        return kfi_fail(
            err, KF_RANGE, KF_NO_OFFSET,
            "a window of %zu tokens with %zu in front does not fit the model's context of %zu",
            window, front->n, config->context);
    }
    for (size_t i = 0; i < front->n; i++) {
        if (front->ids[i] >= config->vocabulary) {
            return kfi_fail(err, KF_RANGE, i, "start token %" PRIu32 " is outside the vocabulary",
                            front->ids[i]);
        }
    }
    return KF_OK;
}

kf_status kfi_windows_same_vocabulary(const kf_model *model, const kf_model *reference,
                                      kf_error *err)
{
    const size_t ours = kfi_model_config(model)->vocabulary;
    const size_t theirs = kfi_model_config(reference)->vocabulary;
    return ours == theirs ? KF_OK
                          : kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                                     "the reference has a vocabulary of %zu, the model one of %zu",
                                     theirs, ours);
}
