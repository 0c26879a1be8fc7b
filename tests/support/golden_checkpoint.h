/* golden_checkpoint.h - what a checkpoint that was once written must still give.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_GOLDEN_CHECKPOINT_H
#define KERF_TESTS_GOLDEN_CHECKPOINT_H

#include "kerf/model.h"
#include "tiny_model.h"

/* Logits behind forty fixed tokens, [TINY_VOCABULARY]. */
static inline kf_status golden_logits(float *logits, const char *path, kf_error *err)
{
    uint32_t ids[40];
    kf_model *model = NULL;
    kf_session *session = NULL;
    size_t n_used = 0;
    size_t n_hidden = 0;
    for (uint32_t i = 0; i < 40; i++) {
        ids[i] = (7 * i + 11) % TINY_VOCABULARY;
    }
    kf_status st = kf_model_open(&model, path, NULL, err);
    if (st == KF_OK) {
        st = kf_session_new(&session, model, NULL, err);
    }
    if (st == KF_OK) {
        st = kf_session_begin(session, ids, 40, &n_used, err);
    }
    if (st == KF_OK) {
        st = kf_session_eval(session, ids + n_used, 40 - n_used, err);
    }
    if (st == KF_OK) {
        kf_model_info info;
        kf_model_get_info(model, &info);
        const float *hidden = kf_session_hidden(session, &n_hidden);
        st = kf_session_head(session, logits, hidden + (n_hidden - 1) * info.hidden, 1, err);
    }
    kf_session_free(session);
    kf_model_close(model);
    return st;
}

#endif /* KERF_TESTS_GOLDEN_CHECKPOINT_H */
