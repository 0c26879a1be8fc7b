/* Sessions that keep keys and values as codes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "model/model.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

#define N_IDS    300u /* the second chunk of keys begins among them */
#define N_PREFIX 20u  /* no multiple of a block */
#define N_LOGITS (N_IDS * TINY_VOCABULARY)

static const kf_kv all_codes[] = {KF_KV_K8V8,         KF_KV_K8V4, KF_KV_K4V4, KF_KV_WIDTHS(5, 3),
                                  KF_KV_WIDTHS(3, 2), KF_KV_Q4,   KF_KV_Q3};
#define N_PLAIN 5u /* of them */

#define N_CODES (sizeof all_codes / sizeof all_codes[0])

/* A packed model with room for all ids, and a prefix that is the first of them. */
typedef struct subject {
    tiny_model *tiny;
    char path[600];
    float *rows; /* of the prefix */
    kf_pool *pool;
    kf_model *model;
    uint32_t ids[N_IDS];
} subject;

typedef struct subject_options {
    size_t n_prefix, n_threads;
    bool float_activations;
    float key_bias; /* of the slowest pair of each head, which RoPE turns by less than 0.1 */
} subject_options;

/* Every key gets the same number in its slowest pair. */
static void set_key_bias(const tiny_model *tiny, float key_bias)
{
    for (size_t i_layer = 0; i_layer < tiny->config.n_layers; i_layer++) {
        char name[64];
        (void)snprintf(name, sizeof name, "model.layers.%zu.self_attn.k_proj.bias", i_layer);
        float *bias = tiny_model_find(tiny, name)->data;
        for (size_t i = 0; i < tiny->config.n_kv_heads; i++) {
            bias[(i + 1) * tiny->config.head_dim - 1] = key_bias;
        }
    }
}

static subject subject_make_of(const char *directory, const subject_options *o)
{
    kf_error err = {0};
    tiny_options tiny = tiny_options_of(o->key_bias == 0.0f ? "llama" : "qwen2");
    tiny.config.context = N_IDS + N_PREFIX;
    subject s = {.tiny = tiny_model_new(directory, &tiny)};
    if (o->key_bias != 0.0f) {
        set_key_bias(s.tiny, o->key_bias);
    }
    const size_t n_rows = 2 * N_PREFIX * 2 * 16; /* layers, tokens, kv heads, head size */
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    s.rows = kfi_alloc(NULL, 2 * n_rows * sizeof *s.rows);
    assert_non_null(s.rows);
    for (size_t i = 0; i < 2 * n_rows; i++) {
        s.rows[i] = kfi_rng_normal(&rng);
    }
    tiny_ids(s.ids, N_IDS, 4);
    tiny_kerf_options kerf = tiny_kerf_defaults();
    kerf.n_prefix = o->n_prefix;
    kerf.prefix_ids = s.ids;
    kerf.prefix_keys = s.rows;
    kerf.prefix_values = s.rows + n_rows;
    (void)snprintf(s.path, sizeof s.path, "%s/packed", directory);
    tiny_kerf_write(s.path, s.tiny, &kerf);
    CHECK_OK(kf_pool_new(&s.pool, o->n_threads, NULL, &err), &err);
    s.model = model_open_with(s.path, s.pool, o->float_activations ? "float" : NULL);
    return s;
}

static subject subject_make(const char *directory, size_t n_prefix, size_t n_threads)
{
    const subject_options o = {.n_prefix = n_prefix, .n_threads = n_threads};
    return subject_make_of(directory, &o);
}

/* With activations of 8 bits every difference would be as large as their rounding. */
static subject subject_make_in_float(const char *directory, size_t n_prefix, float key_bias)
{
    const subject_options o = {
        .n_prefix = n_prefix, .n_threads = 2, .float_activations = true, .key_bias = key_bias};
    return subject_make_of(directory, &o);
}

static void subject_free(subject *s)
{
    kf_model_close(s->model);
    kf_pool_free(s->pool);
    tiny_model_free(s->tiny);
    kfi_free(NULL, s->rows, 0);
}

static kf_session *new_session(const subject *s, kf_kv kv)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.kv = kv;
    CHECK_OK(kf_session_new(&session, s->model, &options, &err), &err);
    assert_int_equal(kf_session_kv(session), kv);
    return session;
}

/* Evaluates ids begin … end-1, some at a time: their logits, the first's in front. */
static void eval(kf_session *session, float *logits, const uint32_t *ids, size_t begin, size_t end,
                 size_t at_a_time)
{
    for (size_t i = begin; i < end; i += at_a_time) {
        session_logits(logits + (i - begin) * TINY_VOCABULARY, session, ids + i,
                       kfi_least(at_a_time, end - i));
    }
}

/* Evaluates ids begin …, some at a time: what is expected of the others, or the same bits. */
static void eval_alike(kf_session *session, float *expected, const uint32_t *ids, size_t begin,
                       size_t at_a_time, bool is_first)
{
    static float found[N_LOGITS];
    eval(session, is_first ? expected : found, ids, begin, N_IDS, at_a_time);
    if (!is_first) {
        assert_memory_equal(found, expected, (N_IDS - begin) * TINY_VOCABULARY * sizeof *found);
    }
}

/* A session behind the prefix, or empty where the model has none. */
static size_t begin(kf_session *session, const uint32_t *ids, size_t n)
{
    kf_error err = {0};
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, ids, n, &n_used, &err), &err);
    return n_used;
}

/* Each kind of codes loses more than the one before, against float32, and less than it may. */
static void check_losses(const subject *s)
{
    static float expected[N_LOGITS];
    static float found[N_LOGITS];
    static const double most[] = {2.0 / 255.0, 2.0 / 15.0, 4.0 / 15.0, 0.5, 1.0};
    kf_session *session = new_session(s, KF_KV_F32);
    const size_t n_used = begin(session, s->ids, N_IDS);
    eval(session, expected, s->ids, n_used, N_IDS, N_IDS);
    kf_session_free(session);
    double before = 0.0;
    for (size_t i = 0; i < N_PLAIN; i++) {
        session = new_session(s, all_codes[i]);
        eval(session, found, s->ids, begin(session, s->ids, N_IDS), N_IDS, N_IDS);
        kf_session_free(session);
        const double lost =
            relative_difference(found, expected, (N_IDS - n_used) * TINY_VOCABULARY);
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
    for (size_t n_prefix = 0; n_prefix <= N_PREFIX; n_prefix += N_PREFIX) {
        subject s = subject_make_in_float(*state, n_prefix, 0.0f);
        check_losses(&s);
        subject_free(&s);
    }
}

/* A bias many times the size of what else a key holds leaves the range of the codes to the rest. */
static void what_all_keys_share_costs_nothing(void **state)
{
    for (size_t n_prefix = 0; n_prefix <= N_PREFIX; n_prefix += N_PREFIX) {
        subject s = subject_make_in_float(*state, n_prefix, 100.0f);
        check_losses(&s);
        subject_free(&s);
    }
}

static void any_batch_and_thread_count_gives_the_same_bits(void **state)
{
    static float expected[N_LOGITS];
    static const size_t at_a_time[] = {N_IDS, 1, 7, 33};
    for (size_t i = 0; i < 2 * N_CODES; i++) {
        const size_t n_prefix = i % 2 == 0 ? 0 : N_PREFIX;
        for (size_t b = 0; b < 4; b++) {
            subject s = subject_make(*state, n_prefix, 1 + b % 3);
            kf_session *session = new_session(&s, all_codes[i / 2]);
            const size_t n_used = begin(session, s.ids, N_IDS);
            assert_int_equal(n_used, n_prefix);
            eval_alike(session, expected, s.ids, n_used, at_a_time[b], b == 0);
            kf_session_free(session);
            subject_free(&s);
        }
    }
}

/* Taken back to any place behind the prefix and on with other tokens, a session is as a new one. */
static void going_back_forgets(void **state)
{
    static float expected[N_LOGITS];
    static float found[N_LOGITS];
    static const size_t places[] = {N_PREFIX, N_PREFIX + 1, 40, 256, 275, 276, 277};
    subject s = subject_make(*state, N_PREFIX, 2);
    uint32_t other[N_IDS];
    tiny_ids(other, N_IDS, 77);
    memcpy(other, s.ids, N_PREFIX * sizeof *other);
    for (size_t i = 0; i < N_PLAIN; i++) {
        kf_session *session = new_session(&s, all_codes[i]);
        eval(session, expected, s.ids, begin(session, s.ids, N_IDS), N_IDS, N_IDS);
        for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
            const size_t place = places[p];
            kf_session_truncate(session, N_PREFIX);
            eval(session, found, other, N_PREFIX, N_IDS, 50);
            kf_session_truncate(session, N_PREFIX);
            eval(session, found, s.ids, N_PREFIX, place, N_IDS);
            eval(session, found, other, place, N_IDS, 50);
            kf_session_truncate(session, place);
            eval(session, found, s.ids, place, N_IDS, 100);
            assert_memory_equal(found, expected + (place - N_PREFIX) * TINY_VOCABULARY,
                                (N_IDS - place) * TINY_VOCABULARY * sizeof *found);
        }
        kf_session_free(session);
    }
    subject_free(&s);
}

/* Where the newest tokens have codes of 8 bits: within the last token's block nothing is forgotten,
 * and in front of it what is left are the others, which those of 8 bits are then made of. */
static void going_back_within_a_block_forgets_nothing(void **state)
{
    enum {
        first = N_PREFIX + 8 + 5 * 32, /* of a block */
        n_before = first + 20
    };
    static float expected[N_LOGITS];
    static float found[N_LOGITS];
    subject s = subject_make_in_float(*state, N_PREFIX, 0.0f);
    uint32_t other[N_IDS];
    tiny_ids(other, N_IDS, 77);
    kf_session *session = new_session(&s, KF_KV_Q4);
    eval(session, expected, s.ids, begin(session, s.ids, N_IDS), N_IDS, N_IDS);
    for (size_t place = first; place < n_before; place += 7) {
        kf_session_truncate(session, N_PREFIX);
        eval(session, found, s.ids, N_PREFIX, place, 45);
        eval(session, found, other, place, n_before, 45);
        kf_session_truncate(session, place);
        eval(session, found, s.ids, place, N_IDS, 45);
        assert_memory_equal(found, expected + (place - N_PREFIX) * TINY_VOCABULARY,
                            (N_IDS - place) * TINY_VOCABULARY * sizeof *found);
    }
    kf_session_truncate(session, first + 10);
    eval(session, found, s.ids, first + 10, N_IDS, N_IDS);
    const float *rest = expected + (first + 10 - N_PREFIX) * TINY_VOCABULARY;
    const double lost = relative_difference(found, rest, (N_IDS - first - 10) * TINY_VOCABULARY);
    assert_true(lost > 0.0 && lost < 0.2);
    kf_session_free(session);
    subject_free(&s);
}

static void the_newest_tokens_lose_less(void **state)
{
    static float expected[N_LOGITS];
    static float found[N_LOGITS];
    static const unsigned flags[] = {0, KF_KV_FITTED, KF_KV_FITTED | KF_KV_NEWEST};
    subject s = subject_make_in_float(*state, 0, 0.0f);
    kf_session *session = new_session(&s, KF_KV_F32);
    eval(session, expected, s.ids, 0, N_IDS, N_IDS);
    kf_session_free(session);
    double before = 1.0;
    for (size_t i = 0; i < 3; i++) {
        session = new_session(&s, (kf_kv)(KF_KV_WIDTHS(3, 2) | flags[i]));
        eval(session, found, s.ids, 0, N_IDS, N_IDS);
        kf_session_free(session);
        const double lost = relative_difference(found, expected, N_LOGITS);
        if (!(lost < before)) {
            fail_msg("flags %#x lose %g, those before %g", flags[i], lost, before);
        }
        before = lost;
    }
    subject_free(&s);
}

/* Two heads of 16, padded to 32; 8 tokens in float32 and an offset of the keys; 32 newest ones. */
static void counts_all_that_it_stores(void **state)
{
    subject s = subject_make(*state, 0, 1);
    kf_session *session = new_session(&s, KF_KV_Q4);
    const double bytes =
        8.0 * 2.0 * 64.0 + 64.0 + 292.0 * (20.0 + 12.0 + 4.0) + 32.0 * (64.0 + 4.0);
    assert_true(fabs(kf_session_kv_bits(session, 300) - 8.0 * bytes / (2.0 * 16.0 * 300.0)) < 1e-9);
    kf_session_free(session);
    session = new_session(&s, KF_KV_F32);
    assert_true(fabs(kf_session_kv_bits(session, 7) - 32.0) < 1e-9);
    kf_session_free(session);
    subject_free(&s);
}

/* Then some tokens are computed where exact ones stood, and one batch goes over the border. */
static void going_back_into_the_prefix_goes_on_in_float(void **state)
{
    static float expected[N_LOGITS];
    static const size_t at_a_time[] = {N_IDS, 1, 7};
    for (size_t place = 1; place < N_PREFIX; place += 6) {
        for (size_t b = 0; b < 3; b++) {
            subject s = subject_make(*state, N_PREFIX, 1 + b);
            kf_session *session = new_session(&s, KF_KV_K8V4);
            (void)begin(session, s.ids, N_IDS);
            kf_session_truncate(session, place);
            eval_alike(session, expected, s.ids, place, at_a_time[b], b == 0);
            kf_session_free(session);
            subject_free(&s);
        }
    }
}

/* A prompt that shares only a part of the prefix, or nothing but what is put in front. */
static void a_shorter_prefix_is_exact_too(void **state)
{
    static float expected[N_LOGITS];
    static float found[N_LOGITS];
    static const size_t n_common[] = {0, 3, N_PREFIX};
    subject s = subject_make_in_float(*state, N_PREFIX, 0.0f);
    for (size_t i = 0; i < 3; i++) {
        uint32_t prompt[N_IDS];
        tiny_ids(prompt, N_IDS, 78);
        memcpy(prompt, s.ids, n_common[i] * sizeof *prompt);
        if (n_common[i] < N_PREFIX) {
            prompt[n_common[i]] = (s.ids[n_common[i]] + 1) % TINY_VOCABULARY;
        }
        kf_session *exact = new_session(&s, KF_KV_F32);
        kf_session *session = new_session(&s, KF_KV_K8V8);
        for (size_t pass = 0; pass < 2; pass++) { /* the second in place of the first */
            const size_t n_used = begin(session, prompt, N_IDS);
            assert_int_equal(n_used, n_common[i]);
            assert_int_equal(begin(exact, prompt, N_IDS), n_common[i]);
            assert_int_equal(kf_session_position(session), n_used == 0 ? 1 : n_used);
            eval(exact, expected, prompt, n_used, N_IDS, N_IDS);
            eval(session, found, prompt, n_used, N_IDS, N_IDS);
            /* The first sees only itself in codes. */
            assert_true(relative_difference(found, expected, TINY_VOCABULARY) < 2.0 / 255.0);
            assert_true(relative_difference(found, expected, (N_IDS - n_used) * TINY_VOCABULARY) <
                        2.0 / 255.0);
        }
        kf_session_free(exact);
        kf_session_free(session);
    }
    subject_free(&s);
}

/* Only rounding of the rotation is left where no token is in codes; the next one loses more. */
static void tokens_that_are_to_be_exact_are(void **state)
{
    static float expected[N_LOGITS];
    static float found[N_LOGITS];
    enum {
        n_exact = 150
    };
    for (size_t n_prefix = 0; n_prefix <= N_PREFIX; n_prefix += N_PREFIX) {
        kf_error err = {0};
        subject s = subject_make_in_float(*state, n_prefix, 0.0f);
        kf_session *exact = new_session(&s, KF_KV_F32);
        kf_session *session = NULL;
        kf_session_options options = KF_SESSION_OPTIONS_INIT;
        options.kv = KF_KV_WIDTHS(2, 2);
        options.kv_exact = n_exact;
        CHECK_OK(kf_session_new(&session, s.model, &options, &err), &err);
        eval(exact, expected, s.ids, begin(exact, s.ids, N_IDS), N_IDS, N_IDS);
        eval(session, found, s.ids, begin(session, s.ids, N_IDS), N_IDS, N_IDS);
        const size_t n_same = (n_exact - n_prefix) * TINY_VOCABULARY;
        assert_true(relative_difference(found, expected, n_same) < 1e-5);
        assert_true(relative_difference(found + n_same, expected + n_same, TINY_VOCABULARY) > 1e-4);
        kf_session_free(exact);
        kf_session_free(session);
        subject_free(&s);
    }
}

static void tells_how_many_bytes_a_token_reads(void **state)
{
    static const struct {
        kf_kv kv;
        size_t head_bytes; /* of a token's key and value, 16 numbers each, padded to 32 */
    } cases[] = {{KF_KV_F32, 2 * 64},
                 {KF_KV_K8V8, 2 * 34},
                 {KF_KV_K8V4, 34 + 18},
                 {KF_KV_K4V4, 2 * 18},
                 {KF_KV_WIDTHS(5, 3), 22 + 14}};
    subject s = subject_make(*state, N_PREFIX, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_session *session = new_session(&s, cases[i].kv);
        /* Two layers of two kv heads; with codes, 8 tokens and an offset of the keys are float. */
        const size_t n_sample = cases[i].kv == KF_KV_F32 ? 0 : 8;
        const size_t sample = n_sample * 2 * 64 + (n_sample > 0 ? 16 * sizeof(float) : 0);
        assert_int_equal(kf_session_kv_bytes(session, 160),
                         2 * 2 * (sample + (160 - n_sample) * cases[i].head_bytes));
        (void)begin(session, s.ids, N_IDS); /* 20 of them are now in float */
        assert_int_equal(kf_session_kv_bytes(session, 180),
                         2 * 2 * (sample + 20 * 2 * 64 + (160 - n_sample) * cases[i].head_bytes));
        kf_session_free(session);
    }
    subject_free(&s);
}

static void decoding_allocates_nothing(void **state)
{
    kf_error err = {0};
    subject s = subject_make(*state, N_PREFIX, 1);
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
    const size_t n_used = begin(session, s.ids, N_IDS);
    const size_t n_calls = a.n_calls;
    for (size_t i = n_used; i < N_IDS; i++) {
        CHECK_OK(kf_session_eval(session, s.ids + i, 1, &err), &err);
    }
    assert_int_equal(a.n_calls, n_calls);
    kf_session_free(session);
    kf_model_close(model);
    assert_true(fixture_allocator_is_clean(&a));
    subject_free(&s);
}

static void names_all_and_refuses_others(void **state)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    subject s = subject_make(*state, 0, 1);
    static const char *const names[] = {"f32",  "auto", "q8",     "q4",    "q3",   "k8v8",
                                        "k4v4", "k2v2", "k5v3fn", "k3v7f", "k6v4n"};
    static const kf_kv kvs[] = {KF_KV_F32,
                                KF_KV_AUTO,
                                KF_KV_Q8,
                                KF_KV_Q4,
                                KF_KV_Q3,
                                KF_KV_K8V8,
                                KF_KV_K4V4,
                                KF_KV_WIDTHS(2, 2),
                                (kf_kv)(KF_KV_WIDTHS(5, 3) | KF_KV_FITTED | KF_KV_NEWEST),
                                (kf_kv)(KF_KV_WIDTHS(3, 7) | KF_KV_FITTED),
                                (kf_kv)(KF_KV_WIDTHS(6, 4) | KF_KV_NEWEST)};
    static const char *const wrong[] = {"",      "k8",  "k8v", "k8v9",   "k1v4",
                                        "k8v8 ", "F32", "q",   "k8v8nf", "k8v8ff"};
    for (size_t i = 0; i < sizeof kvs / sizeof kvs[0]; i++) {
        kf_kv found = KF_KV_F32;
        assert_string_equal(kf_kv_name(kvs[i]), names[i]);
        CHECK_OK(kf_kv_parse(&found, names[i], &err), &err);
        assert_int_equal(found, kvs[i]);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        kf_kv found = KF_KV_AUTO;
        assert_int_equal(kf_kv_parse(&found, wrong[i], &err), KF_INVALID);
        assert_int_equal(found, KF_KV_AUTO);
    }
    assert_null(kf_kv_name((kf_kv)0x81));
    assert_null(kf_kv_name((kf_kv)0x98));
    assert_null(kf_kv_name((kf_kv)0x488));
    assert_null(kf_kv_name((kf_kv)5));
    assert_null(kf_kv_name((kf_kv)-1));
    options.kv = (kf_kv)0x89;
    assert_int_equal(kf_session_new(&session, s.model, &options, &err), KF_INVALID);
    assert_null(session);
    subject_free(&s);
}

static kf_kv chosen(kf_model *model)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.kv = KF_KV_AUTO;
    CHECK_OK(kf_session_new(&session, model, &options, &err), &err);
    const kf_kv kv = kf_session_kv(session);
    kf_session_free(session);
    return kv;
}

static void auto_is_by_what_the_weights_run_on(void **state)
{
    kf_error err = {0};
    kf_model *model = NULL;
    subject on_codes = subject_make(*state, 0, 1);
    assert_int_equal(chosen(on_codes.model), KF_KV_K8V8);
    subject_free(&on_codes);
    subject on_floats = subject_make_in_float(*state, 0, 0.0f);
    assert_int_equal(chosen(on_floats.model), KF_KV_F32);
    subject_free(&on_floats);
    tiny_options o = tiny_options_of("llama");
    o.dtype = KFI_DTYPE_Q8_0;
    tiny_model *tiny = tiny_model_new(*state, &o);
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    for (int weights = KF_WEIGHTS_FLOAT; weights <= KF_WEIGHTS_PACKED; weights++) {
        options.weights = (kf_weights)weights;
        CHECK_OK(kf_model_open(&model, tiny->path, &options, &err), &err);
        assert_int_equal(chosen(model), weights == KF_WEIGHTS_FLOAT ? KF_KV_F32 : KF_KV_K8V8);
        kf_model_close(model);
    }
    tiny_model_free(tiny);
}

/* What a checkpoint names is its default, and no more than that. */
static void a_checkpoint_names_its_cache(void **state)
{
    subject s = subject_make(*state, 0, 1);
    char path[600];
    kf_error err = {0};
    kf_model *model = NULL;
    tiny_kerf_options kerf = tiny_kerf_defaults();
    kerf.more = ",\"kv\":\"k5v3\"";
    (void)snprintf(path, sizeof path, "%s/named", (const char *)*state);
    tiny_kerf_write(path, s.tiny, &kerf);
    CHECK_OK(kf_model_open(&model, path, NULL, &err), &err);
    assert_int_equal(chosen(model), KF_KV_WIDTHS(5, 3));
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.kv = KF_KV_F32;
    CHECK_OK(kf_session_new(&session, model, &options, &err), &err);
    assert_int_equal(kf_session_kv(session), KF_KV_F32);
    kf_session_free(session);
    kf_model_close(model);
    subject_free(&s);
}

static void refuses_heads_that_are_too_wide(void **state)
{
    kf_error err = {0};
    tiny_options o = tiny_options_of("llama");
    o.container = TINY_SAFETENSORS;
    o.config.n_layers = 1;
    o.config.n_heads = o.config.n_kv_heads = 1;
    for (size_t head_dim = 512; head_dim <= 514; head_dim += 2) {
        o.config.head_dim = head_dim;
        tiny_model *tiny = tiny_model_new(*state, &o);
        kf_model *model = NULL;
        kf_session *session = NULL;
        kf_session_options options = KF_SESSION_OPTIONS_INIT;
        options.kv = KF_KV_K8V8;
        CHECK_OK(kf_model_open(&model, tiny->path, NULL, &err), &err);
        kf_status st = kf_session_new(&session, model, &options, &err);
        assert_int_equal(st, head_dim == 512 ? KF_OK : KF_UNSUPPORTED);
        if (st != KF_OK) {
            assert_non_null(strstr(err.msg, "512"));
            options.kv = KF_KV_AUTO; /* never asks for what there is not */
            st = kf_session_new(&session, model, &options, &err);
            assert_int_equal(st, KF_OK);
            assert_int_equal(kf_session_kv(session), KF_KV_F32);
        }
        kf_session_free(session);
        kf_model_close(model);
        tiny_model_free(tiny);
    }
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
        IN_DIRECTORY(counts_all_that_it_stores),
        IN_DIRECTORY(going_back_into_the_prefix_goes_on_in_float),
        IN_DIRECTORY(a_shorter_prefix_is_exact_too),
        IN_DIRECTORY(tokens_that_are_to_be_exact_are),
        IN_DIRECTORY(tells_how_many_bytes_a_token_reads),
        IN_DIRECTORY(decoding_allocates_nothing),
        IN_DIRECTORY(names_all_and_refuses_others),
        IN_DIRECTORY(auto_is_by_what_the_weights_run_on),
        IN_DIRECTORY(a_checkpoint_names_its_cache),
        IN_DIRECTORY(refuses_heads_that_are_too_wide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
