/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <pthread.h>

#include "base/alloc.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "oracle_forward.h"
#include "session_fixture.h"
#include "tiny_model.h"

#define N_IDS 100u

/* A tiny model, open, with a session and ids. */
typedef struct running {
    tiny_model *tiny;
    kf_pool *pool;
    kf_model *model;
    kf_session *session;
    uint32_t ids[N_IDS];
} running;

static running start(const char *directory, const tiny_options *options, size_t n_threads,
                     size_t batch)
{
    kf_error err = {0};
    running r = {.tiny = tiny_model_new(directory, options)};
    kf_model_options model_options = KF_MODEL_OPTIONS_INIT;
    kf_session_options session_options = KF_SESSION_OPTIONS_INIT;
    CHECK_OK(kf_pool_new(&r.pool, n_threads, NULL, &err), &err);
    model_options.pool = r.pool;
    session_options.batch = batch;
    CHECK_OK(kf_model_open(&r.model, r.tiny->path, &model_options, &err), &err);
    CHECK_OK(kf_session_new(&r.session, r.model, &session_options, &err), &err);
    tiny_ids(r.ids, N_IDS, 3);
    return r;
}

static void stop(running *r)
{
    kf_session_free(r->session);
    kf_model_close(r->model);
    kf_pool_free(r->pool);
    tiny_model_free(r->tiny);
}

/* Evaluates n ids from position `begin` in one call of at most a batch: logits [n][vocabulary]. */
static void eval(running *r, float *logits, size_t begin, size_t n)
{
    session_logits(logits, r->session, r->ids + begin, n);
}

static float *new_logits(void)
{
    float *logits = kfi_alloc(NULL, N_IDS * TINY_VOCABULARY * sizeof(float));
    assert_non_null(logits);
    return logits;
}

/* How far a logit may be from that of a model in double. */
#define TOLERANCE 1e-5

/* Two ways of computing the same, each within the tolerance of the truth. */
static void check_close(const float *found, const float *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double bound = 2 * TOLERANCE * (1 + fabs((double)expected[i]));
        if (!(fabs((double)found[i] - (double)expected[i]) <= bound)) {
            fail_msg("value %zu is %g, expected %g", i, (double)found[i], (double)expected[i]);
        }
    }
}

static void check_against_oracle(const char *directory, const tiny_options *options)
{
    running r = start(directory, options, 2, 0);
    float *logits = new_logits();
    double *expected = kfi_alloc(NULL, N_IDS * TINY_VOCABULARY * sizeof(double));
    assert_non_null(expected);
    eval(&r, logits, 0, N_IDS);
    oracle_logits(expected, r.tiny, r.ids, N_IDS);
    for (size_t i = 0; i < N_IDS * TINY_VOCABULARY; i++) {
        if (!(fabs((double)logits[i] - expected[i]) <= TOLERANCE * (1 + fabs(expected[i])))) {
            fail_msg("token %zu, id %zu: %g, expected %g", i / TINY_VOCABULARY, i % TINY_VOCABULARY,
                     (double)logits[i], expected[i]);
        }
    }
    kfi_free(NULL, logits, 0);
    kfi_free(NULL, expected, 0);
    stop(&r);
}

static void logits_agree_with_a_model_in_double(void **state)
{
    tiny_options llama = tiny_options_of("llama");
    check_against_oracle(*state, &llama);
    llama.container = TINY_LLAMA2C;
    check_against_oracle(*state, &llama);
    tiny_options qwen2 = tiny_options_of("qwen2");
    check_against_oracle(*state, &qwen2);
    qwen2.config.tied = true;
    qwen2.container = TINY_SHARDED;
    check_against_oracle(*state, &qwen2);
}

static void logits_agree_for_other_shapes(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.container = TINY_SAFETENSORS;
    o.config.tied = false;
    o.config.n_layers = 1;
    o.config.n_heads = 6;
    o.config.n_kv_heads = 6;
    o.config.head_dim = 10; /* heads wider than the hidden size, no multiple of 16 */
    o.config.hidden = 52;
    o.config.feed_forward = 70;
    check_against_oracle(*state, &o);
    o.config.n_heads = 8;
    o.config.n_kv_heads = 1;
    o.config.head_dim = 2;
    check_against_oracle(*state, &o);
}

static void logits_agree_under_every_rope_scaling(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.container = TINY_SAFETENSORS;
    o.config.rope_scaling = KFI_ROPE_LINEAR;
    o.config.rope_factor = 4.0f;
    check_against_oracle(*state, &o);
    o.config.rope_scaling = KFI_ROPE_LLAMA3;
    o.config.rope_factor = 8.0f;
    o.config.rope_low_frequency = 1.0f;
    o.config.rope_high_frequency = 4.0f;
    o.config.rope_original_context = 64;
    check_against_oracle(*state, &o);
    o.container = TINY_GGUF;
    o.config.rope_scaling = KFI_ROPE_LINEAR;
    check_against_oracle(*state, &o);
}

static void one_by_one_agrees_with_all_at_once(void **state)
{
    const tiny_options o = tiny_options_of("qwen2");
    running r = start(*state, &o, 1, 0);
    float *together = new_logits();
    float *single = new_logits();
    eval(&r, together, 0, N_IDS);
    kf_session_truncate(r.session, 0);
    for (size_t i = 0; i < N_IDS; i++) {
        eval(&r, single + i * TINY_VOCABULARY, i, 1);
        assert_int_equal(kf_session_position(r.session), i + 1);
    }
    check_close(single, together, N_IDS * TINY_VOCABULARY);
    kfi_free(NULL, together, 0);
    kfi_free(NULL, single, 0);
    stop(&r);
}

static void batches_of_any_size_agree(void **state)
{
    kf_error err = {0};
    const tiny_options o = tiny_options_of("llama");
    running r = start(*state, &o, 1, 0);
    float *together = new_logits();
    eval(&r, together, 0, N_IDS);
    static const size_t batches[] = {1, 7, 16, 99};
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        running b = start(*state, &o, 1, batches[i]);
        CHECK_OK(kf_session_eval(b.session, b.ids, N_IDS, &err), &err);
        size_t n = 0;
        const float *hidden = kf_session_hidden(b.session, &n);
        assert_int_equal(n, (N_IDS - 1) % batches[i] + 1);
        float last[TINY_VOCABULARY];
        CHECK_OK(kf_session_head(b.session, last, hidden + (n - 1) * 64, 1, &err), &err);
        check_close(last, together + (N_IDS - 1) * TINY_VOCABULARY, TINY_VOCABULARY);
        stop(&b);
    }
    kfi_free(NULL, together, 0);
    stop(&r);
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    for (int i_architecture = 0; i_architecture < 2; i_architecture++) {
        const tiny_options o = tiny_options_of(i_architecture == 0 ? "llama" : "qwen2");
        float *logits[3];
        for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
            running r = start(*state, &o, n_threads, 0);
            logits[n_threads - 1] = new_logits();
            eval(&r, logits[n_threads - 1], 0, N_IDS - 1);
            eval(&r, logits[n_threads - 1] + (N_IDS - 1) * TINY_VOCABULARY, N_IDS - 1, 1);
            stop(&r);
        }
        for (size_t i = 1; i < 3; i++) {
            assert_memory_equal(logits[0], logits[i], N_IDS * TINY_VOCABULARY * sizeof(float));
        }
        for (size_t i = 0; i < 3; i++) {
            kfi_free(NULL, logits[i], 0);
        }
    }
}

/* Behind many tokens one token's keys are split over the threads, too. */
static void any_number_of_threads_gives_the_same_bits_at_depth(void **state)
{
    enum {
        depth = 505,
        n_single = 10 /* the third chunk of keys begins among them */
    };
    kf_error err = {0};
    tiny_options o = tiny_options_of("llama");
    o.config.context = depth + n_single;
    uint32_t ids[depth];
    float logits[3][n_single * TINY_VOCABULARY];
    tiny_ids(ids, depth, 9);
    for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
        running r = start(*state, &o, n_threads, 0);
        CHECK_OK(kf_session_eval(r.session, ids, depth, &err), &err);
        for (size_t i = 0; i < n_single; i++) {
            eval(&r, logits[n_threads - 1] + i * TINY_VOCABULARY, i, 1);
        }
        stop(&r);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    assert_memory_equal(logits[0], logits[2], sizeof logits[0]);
}

/* After going back and on with other tokens, nothing of the forgotten ones is left. */
static void truncating_forgets(void **state)
{
    const tiny_options o = tiny_options_of("llama");
    running r = start(*state, &o, 1, 0);
    float *expected = new_logits();
    float *found = new_logits();
    eval(&r, expected, 0, 37); /* the same batches as below: float products differ with them */
    eval(&r, expected, 37, 3);
    eval(&r, expected, 40, 20);
    kf_session_truncate(r.session, 37);
    assert_int_equal(kf_session_position(r.session), 37);
    uint32_t other[50];
    tiny_ids(other, 50, 77);
    kf_error err = {0};
    CHECK_OK(kf_session_eval(r.session, other, 50, &err), &err);
    kf_session_truncate(r.session, 37);
    eval(&r, found, 37, 3);
    eval(&r, found, 40, 20);
    assert_memory_equal(found, expected, 20 * TINY_VOCABULARY * sizeof(float));
    kfi_free(NULL, expected, 0);
    kfi_free(NULL, found, 0);
    stop(&r);
}

/* The float weights decoded anew at every pass give the same bits as those kept. */
static void a_model_that_does_not_fit_gives_the_same_bits(void **state)
{
    kf_error err = {0};
    tiny_options o = tiny_options_of("qwen2");
    running kept = start(*state, &o, 2, 0);
    float *expected = new_logits();
    eval(&kept, expected, 0, N_IDS);
    static const uint64_t cache_bytes[] = {1, 64 * 1024, 140 * 1024, 240 * 1024};
    for (size_t i = 0; i < sizeof cache_bytes / sizeof cache_bytes[0]; i++) {
        running r = kept;
        kf_model_options options = KF_MODEL_OPTIONS_INIT;
        options.pool = kept.pool;
        options.float_cache_bytes = cache_bytes[i];
        CHECK_OK(kf_model_open(&r.model, kept.tiny->path, &options, &err), &err);
        CHECK_OK(kf_session_new(&r.session, r.model, NULL, &err), &err);
        float *found = new_logits();
        for (size_t pass = 0; pass < 2; pass++) {
            kf_session_truncate(r.session, 0);
            eval(&r, found, 0, N_IDS);
            assert_memory_equal(found, expected, N_IDS * TINY_VOCABULARY * sizeof(float));
        }
        kfi_free(NULL, found, 0);
        kf_session_free(r.session);
        kf_model_close(r.model);
    }
    kfi_free(NULL, expected, 0);
    stop(&kept);
}

static void refuses_a_full_context_and_changes_nothing(void **state)
{
    kf_error err = {0};
    const tiny_options o = tiny_options_of("llama");
    running r = start(*state, &o, 1, 0);
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.context = 257;
    assert_int_equal(kf_session_new(&session, r.model, &options, &err), KF_RANGE);
    options.context = 20;
    options.batch = 1 << 20;
    assert_int_equal(kf_session_new(&session, r.model, &options, &err), KF_RANGE);
    options.batch = 0;
    options.size = 1;
    assert_int_equal(kf_session_new(&session, r.model, &options, &err), KF_INVALID);
    assert_null(session);
    options.size = sizeof options;
    CHECK_OK(kf_session_new(&session, r.model, &options, &err), &err);
    assert_int_equal(kf_session_context(session), 20);
    assert_int_equal(kf_session_eval(session, r.ids, 21, &err), KF_RANGE);
    assert_int_equal(kf_session_position(session), 0);
    CHECK_OK(kf_session_eval(session, r.ids, 20, &err), &err);
    assert_int_equal(kf_session_eval(session, r.ids, 1, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "full"));
    assert_int_equal(kf_session_position(session), 20);
    CHECK_OK(kf_session_eval(session, NULL, 0, &err), &err);
    kf_session_free(session);
    stop(&r);
}

static void names_the_id_outside_the_vocabulary(void **state)
{
    kf_error err = {0};
    const tiny_options o = tiny_options_of("llama");
    running r = start(*state, &o, 1, 4);
    r.ids[9] = TINY_VOCABULARY;
    assert_int_equal(kf_session_eval(r.session, r.ids, 20, &err), KF_RANGE);
    assert_int_equal(err.offset, 9);
    assert_int_equal(kf_session_position(r.session), 0); /* not even the batches before it */
    r.ids[9] = UINT32_MAX;
    assert_int_equal(kf_session_eval(r.session, r.ids, 20, &err), KF_RANGE);
    stop(&r);
}

static void refuses_logits_of_more_than_a_batch(void **state)
{
    kf_error err = {0};
    const tiny_options o = tiny_options_of("llama");
    running r = start(*state, &o, 1, 4);
    float logits[5 * TINY_VOCABULARY];
    float hidden[5 * 64] = {0};
    assert_int_equal(kf_session_head(r.session, logits, hidden, 5, &err), KF_RANGE);
    CHECK_OK(kf_session_head(r.session, logits, hidden, 4, &err), &err);
    stop(&r);
}

static bool cancel_at_second(void *ctx)
{
    size_t *n = ctx;
    return ++*n == 2;
}

static void cancelling_keeps_the_finished_batches(void **state)
{
    kf_error err = {0};
    size_t n_asked = 0;
    const kf_callbacks callbacks = {.cancelled = cancel_at_second, .ctx = &n_asked};
    const tiny_options o = tiny_options_of("llama");
    tiny_model *tiny = tiny_model_new(*state, &o);
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    kf_session_options session_options = KF_SESSION_OPTIONS_INIT;
    kf_model *model = NULL;
    kf_session *session = NULL;
    uint32_t ids[N_IDS];
    options.callbacks = &callbacks;
    session_options.batch = 10;
    tiny_ids(ids, N_IDS, 1);
    CHECK_OK(kf_model_open(&model, tiny->path, &options, &err), &err);
    CHECK_OK(kf_session_new(&session, model, &session_options, &err), &err);
    assert_int_equal(kf_session_eval(session, ids, N_IDS, &err), KF_CANCELLED);
    assert_int_equal(kf_session_position(session), 20);
    kf_session_free(session);
    kf_model_close(model);
    tiny_model_free(tiny);
}

static void decoding_allocates_nothing(void **state)
{
    kf_error err = {0};
    const tiny_options o = tiny_options_of("qwen2");
    tiny_model *tiny = tiny_model_new(*state, &o);
    fixture_allocator a;
    fixture_allocator_init(&a, 0);
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.alloc = &a.allocator;
    kf_model *model = NULL;
    kf_session *session = NULL;
    uint32_t ids[N_IDS];
    float logits[TINY_VOCABULARY];
    tiny_ids(ids, N_IDS, 1);
    CHECK_OK(kf_model_open(&model, tiny->path, &options, &err), &err);
    CHECK_OK(kf_session_new(&session, model, NULL, &err), &err);
    size_t n_calls = 0;
    for (size_t i = 0; i < N_IDS; i++) {
        size_t n = 0;
        CHECK_OK(kf_session_eval(session, ids + i, 1, &err), &err);
        CHECK_OK(kf_session_head(session, logits, kf_session_hidden(session, &n), 1, &err), &err);
        if (i == 0) {
            n_calls = a.n_calls; /* the first token decodes the weights */
        }
    }
    assert_int_equal(a.n_calls, n_calls);
    kf_session_free(session);
    kf_model_close(model);
    assert_true(fixture_allocator_is_clean(&a));
    tiny_model_free(tiny);
}

typedef struct sharing {
    kf_model *model;
    const uint32_t *ids;
    float *logits;
    kf_status status;
} sharing;

static void *run_session(void *ctx)
{
    sharing *s = ctx;
    kf_error err = {0};
    kf_session *session = NULL;
    size_t n = 0;
    s->status = kf_session_new(&session, s->model, NULL, &err);
    for (size_t pass = 0; pass < 5 && s->status == KF_OK; pass++) {
        kf_session_truncate(session, 0);
        s->status = kf_session_eval(session, s->ids, N_IDS, &err);
        if (s->status == KF_OK) {
            const float *hidden = kf_session_hidden(session, &n);
            s->status = kf_session_head(session, s->logits, hidden, N_IDS, &err);
        }
    }
    kf_session_free(session);
    return NULL;
}

/* With its weights kept, and taking turns in one scratch block. */
static void two_threads_may_share_a_model(void **state)
{
    kf_error err = {0};
    const tiny_options o = tiny_options_of("llama");
    running alone = start(*state, &o, 1, 0);
    float *expected = new_logits();
    eval(&alone, expected, 0, N_IDS);
    for (int i = 0; i < 2; i++) {
        kf_model_options options = KF_MODEL_OPTIONS_INIT;
        kf_model *model = NULL;
        pthread_t threads[2];
        sharing shared[2];
        options.float_cache_bytes = i == 0 ? 0 : 1;
        CHECK_OK(kf_model_open(&model, alone.tiny->path, &options, &err), &err);
        for (size_t t = 0; t < 2; t++) {
            shared[t] = (sharing){.model = model, .ids = alone.ids, .logits = new_logits()};
            assert_int_equal(pthread_create(&threads[t], NULL, run_session, &shared[t]), 0);
        }
        for (size_t t = 0; t < 2; t++) {
            assert_int_equal(pthread_join(threads[t], NULL), 0);
            assert_int_equal(shared[t].status, KF_OK);
            assert_memory_equal(shared[t].logits, expected, N_IDS * TINY_VOCABULARY * 4);
            kfi_free(NULL, shared[t].logits, 0);
        }
        kf_model_close(model);
    }
    kfi_free(NULL, expected, 0);
    stop(&alone);
}

static void without_a_prefix_a_session_begins_empty(void **state)
{
    kf_error err = {0};
    const tiny_options o = tiny_options_of("llama");
    running r = start(*state, &o, 1, 0);
    size_t n_used = 7;
    CHECK_OK(kf_session_eval(r.session, r.ids, 5, &err), &err);
    CHECK_OK(kf_session_begin(r.session, r.ids, 5, &n_used, &err), &err);
    assert_int_equal(n_used, 0);
    assert_int_equal(kf_session_position(r.session), 0);
    stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(logits_agree_with_a_model_in_double),
        IN_DIRECTORY(logits_agree_for_other_shapes),
        IN_DIRECTORY(logits_agree_under_every_rope_scaling),
        IN_DIRECTORY(one_by_one_agrees_with_all_at_once),
        IN_DIRECTORY(batches_of_any_size_agree),
        IN_DIRECTORY(any_number_of_threads_gives_the_same_bits),
        IN_DIRECTORY(any_number_of_threads_gives_the_same_bits_at_depth),
        IN_DIRECTORY(truncating_forgets),
        IN_DIRECTORY(a_model_that_does_not_fit_gives_the_same_bits),
        IN_DIRECTORY(refuses_a_full_context_and_changes_nothing),
        IN_DIRECTORY(names_the_id_outside_the_vocabulary),
        IN_DIRECTORY(refuses_logits_of_more_than_a_batch),
        IN_DIRECTORY(cancelling_keeps_the_finished_batches),
        IN_DIRECTORY(decoding_allocates_nothing),
        IN_DIRECTORY(two_threads_may_share_a_model),
        IN_DIRECTORY(without_a_prefix_a_session_begins_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
