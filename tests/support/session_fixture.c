/* session_fixture.c - models that are opened and evaluated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

#include <math.h>

#include "check.h"

kf_model *model_open_with(const char *path, kf_pool *pool, const char *activations)
{
    kf_error err = {0};
    kf_model *model = NULL;
    kf_activation activation;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.pool = pool;
    if (activations != NULL) {
        CHECK_OK(kf_activation_parse(&activation, activations, &err), &err);
        options.activation = &activation;
    }
    CHECK_OK(kf_model_open(&model, path, &options, &err), &err);
    return model;
}

void session_logits(float *logits, kf_session *session, const uint32_t *ids, size_t n)
{
    kf_error err = {0};
    size_t n_hidden = 0;
    CHECK_OK(kf_session_eval(session, ids, n, &err), &err);
    const float *hidden = kf_session_hidden(session, &n_hidden);
    assert_int_equal(n_hidden, n);
    CHECK_OK(kf_session_head(session, logits, hidden, n, &err), &err);
}

void model_logits(float *logits, kf_model *model, const uint32_t *ids, size_t n)
{
    kf_error err = {0};
    kf_session *session = NULL;
    CHECK_OK(kf_session_new(&session, model, NULL, &err), &err);
    session_logits(logits, session, ids, n);
    kf_session_free(session);
}

double relative_difference(const float *found, const float *expected, size_t n)
{
    double error = 0.0;
    double size = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double difference = (double)found[i] - (double)expected[i];
        error += difference * difference;
        size += (double)expected[i] * (double)expected[i];
    }
    return sqrt(error / size);
}
