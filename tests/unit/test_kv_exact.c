/* Tokens whose keys and values stay exact: the prefix, and those that a session is told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "base/alloc.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "kv_fixture.h"
#include "session_fixture.h"

/* Then some tokens are computed where exact ones stood, and one batch goes over the border. */
static void going_back_into_the_prefix_goes_on_in_float(void **state)
{
    static float expected[KV_LOGITS];
    static const size_t at_a_time[] = {KV_IDS, 1, 7};
    for (size_t place = 1; place < KV_PREFIX; place += 6) {
        for (size_t b = 0; b < 3; b++) {
            kv_model s = kv_model_new(*state, KV_PREFIX, 1 + b);
            kf_session *session = kv_session_new(&s, KF_KV_K8V4);
            (void)kv_begin(session, s.ids, KV_IDS);
            kf_session_truncate(session, place);
            kv_eval_alike(session, expected, s.ids, place, at_a_time[b], b == 0);
            kf_session_free(session);
            kv_model_free(&s);
        }
    }
}

/* A prompt that shares only a part of the prefix, or nothing but what is put in front. */
static void a_shorter_prefix_is_exact_too(void **state)
{
    static float expected[KV_LOGITS];
    static float found[KV_LOGITS];
    static const size_t n_common[] = {0, 3, KV_PREFIX};
    kv_model s = kv_model_in_float(*state, KV_PREFIX, 0.0f);
    for (size_t i = 0; i < 3; i++) {
        uint32_t prompt[KV_IDS];
        tiny_ids(prompt, KV_IDS, 78);
        memcpy(prompt, s.ids, n_common[i] * sizeof *prompt);
        if (n_common[i] < KV_PREFIX) {
            prompt[n_common[i]] = (s.ids[n_common[i]] + 1) % TINY_VOCABULARY;
        }
        kf_session *exact = kv_session_new(&s, KF_KV_F32);
        kf_session *session = kv_session_new(&s, KF_KV_K8V8);
        for (size_t pass = 0; pass < 2; pass++) { /* the second in place of the first */
            const size_t n_used = kv_begin(session, prompt, KV_IDS);
            assert_int_equal(n_used, n_common[i]);
            assert_int_equal(kv_begin(exact, prompt, KV_IDS), n_common[i]);
            assert_int_equal(kf_session_position(session), n_used == 0 ? 1 : n_used);
            kv_eval(exact, expected, prompt, n_used, KV_IDS, KV_IDS);
            kv_eval(session, found, prompt, n_used, KV_IDS, KV_IDS);
            /* The first sees only itself in codes. */
            assert_true(relative_difference(found, expected, TINY_VOCABULARY) < 2.0 / 255.0);
            assert_true(relative_difference(found, expected, (KV_IDS - n_used) * TINY_VOCABULARY) <
                        2.0 / 255.0);
        }
        kf_session_free(exact);
        kf_session_free(session);
    }
    kv_model_free(&s);
}

/* Only rounding of the rotation is left where no token is in codes; the next one loses more. */
static void tokens_that_are_to_be_exact_are(void **state)
{
    static float expected[KV_LOGITS];
    static float found[KV_LOGITS];
    enum {
        n_exact = 150
    };
    for (size_t n_prefix = 0; n_prefix <= KV_PREFIX; n_prefix += KV_PREFIX) {
        kf_error err = {0};
        kv_model s = kv_model_in_float(*state, n_prefix, 0.0f);
        kf_session *exact = kv_session_new(&s, KF_KV_F32);
        kf_session *session = NULL;
        kf_session_options options = KF_SESSION_OPTIONS_INIT;
        options.kv = KF_KV_WIDTHS(2, 2);
        options.kv_exact = n_exact;
        CHECK_OK(kf_session_new(&session, s.model, &options, &err), &err);
        kv_eval(exact, expected, s.ids, kv_begin(exact, s.ids, KV_IDS), KV_IDS, KV_IDS);
        kv_eval(session, found, s.ids, kv_begin(session, s.ids, KV_IDS), KV_IDS, KV_IDS);
        const size_t n_same = (n_exact - n_prefix) * TINY_VOCABULARY;
        assert_true(relative_difference(found, expected, n_same) < 1e-5);
        assert_true(relative_difference(found + n_same, expected + n_same, TINY_VOCABULARY) > 1e-4);
        kf_session_free(exact);
        kf_session_free(session);
        kv_model_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(going_back_into_the_prefix_goes_on_in_float),
        IN_DIRECTORY(a_shorter_prefix_is_exact_too),
        IN_DIRECTORY(tokens_that_are_to_be_exact_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
