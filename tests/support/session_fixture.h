/* session_fixture.h - models that are opened and evaluated: every step must succeed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_SESSION_FIXTURE_H
#define KERF_TESTS_SESSION_FIXTURE_H

#include "kerf/model.h"

/* pool may be NULL; activations such as "float" in place of the checkpoint's, or NULL. */
kf_model *model_open_with(const char *path, kf_pool *pool, const char *activations);

/* Evaluates n ids in one batch: logits [n][vocabulary]. */
void session_logits(float *logits, kf_session *session, const uint32_t *ids, size_t n);
/* The same by a session of their own. */
void model_logits(float *logits, kf_model *model, const uint32_t *ids, size_t n);

/* Root of the mean square of found - expected, over that of expected. */
double relative_difference(const float *found, const float *expected, size_t n);

#endif /* KERF_TESTS_SESSION_FIXTURE_H */
