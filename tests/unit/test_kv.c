/* Sessions that keep keys and values as codes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/alloc.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "kv_fixture.h"
#include "session_fixture.h"

static const kf_kv all_codes[] = {KF_KV_K8V8,         KF_KV_K8V4, KF_KV_K4V4, KF_KV_WIDTHS(5, 3),
                                  KF_KV_WIDTHS(3, 2), KF_KV_Q4,   KF_KV_Q3};
#define N_PLAIN 5u /* of them */

#define N_CODES (sizeof all_codes / sizeof all_codes[0])

/* Each kind of codes loses more than the one before, against float32, and less than it may. */
static void check_losses(const kv_model *s)
{
    static float expected[KV_LOGITS];
    static float found[KV_LOGITS];
    static const double most[] = {2.0 / 255.0, 2.0 / 15.0, 4.0 / 15.0, 0.5, 1.0};
    kf_session *session = kv_session_new(s, KF_KV_F32);
    const size_t n_used = kv_begin(session, s->ids, KV_IDS);
    kv_eval(session, expected, s->ids, n_used, KV_IDS, KV_IDS);
    kf_session_free(session);
    double before = 0.0;
    for (size_t i = 0; i < N_PLAIN; i++) {
        session = kv_session_new(s, all_codes[i]);
        kv_eval(session, found, s->ids, kv_begin(session, s->ids, KV_IDS), KV_IDS, KV_IDS);
        kf_session_free(session);
        const double lost =
            relative_difference(found, expected, (KV_IDS - n_used) * TINY_VOCABULARY);
        if (!(lost > before && lost < most[i])) {
            fail_msg("%s loses %g, the one before %g", kf_kv_name(all_codes[i]), lost, before);
        }
        before = lost;
    }
}

/* The codes of keys and values are within 1/255 or 1/15 of a head's greatest number; what the rest
 * of a block makes of that is less than as much again. */
static void fewer_bits_lose_more(void **state)
{
    for (size_t n_prefix = 0; n_prefix <= KV_PREFIX; n_prefix += KV_PREFIX) {
        kv_model s = kv_model_in_float(*state, n_prefix, 0.0f);
        check_losses(&s);
        kv_model_free(&s);
    }
}

/* Where keys are a bias and nothing else, RoPE alone makes scores differ, and nothing is left for
 * the codes: two bits are as good as eight, and what is lost are the values' eight. */
static void what_all_keys_share_costs_nothing(void **state)
{
    static float logits[3][KV_LOGITS];
    static const kf_kv kvs[] = {KF_KV_F32, KF_KV_K8V8, KF_KV_WIDTHS(2, 8)};
    for (size_t n_prefix = 0; n_prefix <= KV_PREFIX; n_prefix += KV_PREFIX) {
        kv_model s = kv_model_in_float(*state, n_prefix, 5.0f);
        const size_t n = (KV_IDS - n_prefix) * TINY_VOCABULARY;
        for (size_t i = 0; i < 3; i++) {
            kf_session *session = kv_session_new(&s, kvs[i]);
            kv_eval(session, logits[i], s.ids, kv_begin(session, s.ids, KV_IDS), KV_IDS, KV_IDS);
            kf_session_free(session);
        }
        assert_true(relative_difference(logits[1], logits[0], n) < 2.0 / 255.0);
        assert_true(relative_difference(logits[2], logits[1], n) < 1e-5);
        kv_model_free(&s);
    }
}

static void any_batch_and_thread_count_gives_the_same_bits(void **state)
{
    static float expected[KV_LOGITS];
    static const size_t at_a_time[] = {KV_IDS, 1, 7, 33};
    for (size_t i = 0; i < 2 * N_CODES; i++) {
        const size_t n_prefix = i % 2 == 0 ? 0 : KV_PREFIX;
        for (size_t b = 0; b < 4; b++) {
            kv_model s = kv_model_new(*state, n_prefix, 1 + b % 3);
            kf_session *session = kv_session_new(&s, all_codes[i / 2]);
            const size_t n_used = kv_begin(session, s.ids, KV_IDS);
            assert_int_equal(n_used, n_prefix);
            kv_eval_alike(session, expected, s.ids, n_used, at_a_time[b], b == 0);
            kf_session_free(session);
            kv_model_free(&s);
        }
    }
}

/* Taken back to any place behind the prefix and on with other tokens, a session is as a new one. */
static void going_back_forgets(void **state)
{
    static float expected[KV_LOGITS];
    static float found[KV_LOGITS];
    static const size_t places[] = {KV_PREFIX, KV_PREFIX + 1, 40, 256, 275, 276, 277};
    kv_model s = kv_model_new(*state, KV_PREFIX, 2);
    uint32_t other[KV_IDS];
    tiny_ids(other, KV_IDS, 77);
    memcpy(other, s.ids, KV_PREFIX * sizeof *other);
    for (size_t i = 0; i < N_PLAIN; i++) {
        kf_session *session = kv_session_new(&s, all_codes[i]);
        kv_eval(session, expected, s.ids, kv_begin(session, s.ids, KV_IDS), KV_IDS, KV_IDS);
        for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
            const size_t place = places[p];
            kf_session_truncate(session, KV_PREFIX);
            kv_eval(session, found, other, KV_PREFIX, KV_IDS, 50);
            kf_session_truncate(session, KV_PREFIX);
            kv_eval(session, found, s.ids, KV_PREFIX, place, KV_IDS);
            kv_eval(session, found, other, place, KV_IDS, 50);
            kf_session_truncate(session, place);
            kv_eval(session, found, s.ids, place, KV_IDS, 100);
            assert_memory_equal(found, expected + (place - KV_PREFIX) * TINY_VOCABULARY,
                                (KV_IDS - place) * TINY_VOCABULARY * sizeof *found);
        }
        kf_session_free(session);
    }
    kv_model_free(&s);
}

/* Where the newest tokens have codes of 8 bits: within the last token's block nothing is forgotten,
 * and in front of it what is left are the others, which those of 8 bits are then made of. */
static void going_back_within_a_block_forgets_nothing(void **state)
{
    enum {
        first = KV_PREFIX + 8 + 5 * 32, /* of a block */
        n_before = first + 20
    };
    static float expected[KV_LOGITS];
    static float found[KV_LOGITS];
    kv_model s = kv_model_in_float(*state, KV_PREFIX, 0.0f);
    uint32_t other[KV_IDS];
    tiny_ids(other, KV_IDS, 77);
    kf_session *session = kv_session_new(&s, KF_KV_Q4);
    kv_eval(session, expected, s.ids, kv_begin(session, s.ids, KV_IDS), KV_IDS, KV_IDS);
    for (size_t place = first; place < n_before; place += 7) {
        kf_session_truncate(session, KV_PREFIX);
        kv_eval(session, found, s.ids, KV_PREFIX, place, 45);
        kv_eval(session, found, other, place, n_before, 45);
        kf_session_truncate(session, place);
        kv_eval(session, found, s.ids, place, KV_IDS, 45);
        assert_memory_equal(found, expected + (place - KV_PREFIX) * TINY_VOCABULARY,
                            (KV_IDS - place) * TINY_VOCABULARY * sizeof *found);
    }
    kf_session_truncate(session, first + 10);
    kv_eval(session, found, s.ids, first + 10, KV_IDS, KV_IDS);
    const float *rest = expected + (first + 10 - KV_PREFIX) * TINY_VOCABULARY;
    const double lost = relative_difference(found, rest, (KV_IDS - first - 10) * TINY_VOCABULARY);
    assert_true(lost > 0.0 && lost < 0.2);
    kf_session_free(session);
    kv_model_free(&s);
}

static void the_newest_tokens_lose_less(void **state)
{
    static float expected[KV_LOGITS];
    static float found[KV_LOGITS];
    static const unsigned flags[] = {0, KF_KV_FITTED, KF_KV_FITTED | KF_KV_NEWEST};
    kv_model s = kv_model_in_float(*state, 0, 0.0f);
    kf_session *session = kv_session_new(&s, KF_KV_F32);
    kv_eval(session, expected, s.ids, 0, KV_IDS, KV_IDS);
    kf_session_free(session);
    double before = 1.0;
    for (size_t i = 0; i < 3; i++) {
        session = kv_session_new(&s, (kf_kv)(KF_KV_WIDTHS(3, 2) | flags[i]));
        kv_eval(session, found, s.ids, 0, KV_IDS, KV_IDS);
        kf_session_free(session);
        const double lost = relative_difference(found, expected, KV_LOGITS);
        if (!(lost < before)) {
            fail_msg("flags %#x lose %g, those before %g", flags[i], lost, before);
        }
        before = lost;
    }
    kv_model_free(&s);
}

static void decoding_allocates_nothing(void **state)
{
    kf_error err = {0};
    kv_model s = kv_model_new(*state, KV_PREFIX, 1);
    fixture_allocator a;
    fixture_allocator_init(&a, 0);
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.alloc = &a.allocator;
    kf_model *model = NULL;
    kf_session *session = NULL;
    kf_session_options session_options = KF_SESSION_OPTIONS_INIT;
    session_options.kv = KF_KV_K8V8;
    CHECK_OK(kf_model_open(&model, s.path, &options, &err), &err);
    CHECK_OK(kf_session_new(&session, model, &session_options, &err), &err);
    const size_t n_used = kv_begin(session, s.ids, KV_IDS);
    const size_t n_calls = a.n_calls;
    for (size_t i = n_used; i < KV_IDS; i++) {
        CHECK_OK(kf_session_eval(session, s.ids + i, 1, &err), &err);
    }
    assert_int_equal(a.n_calls, n_calls);
    kf_session_free(session);
    kf_model_close(model);
    assert_true(fixture_allocator_is_clean(&a));
    kv_model_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(fewer_bits_lose_more),
        IN_DIRECTORY(what_all_keys_share_costs_nothing),
        IN_DIRECTORY(any_batch_and_thread_count_gives_the_same_bits),
        IN_DIRECTORY(going_back_forgets),
        IN_DIRECTORY(going_back_within_a_block_forgets_nothing),
        IN_DIRECTORY(the_newest_tokens_lose_less),
        IN_DIRECTORY(decoding_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
