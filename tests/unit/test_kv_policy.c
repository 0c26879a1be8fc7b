/* Which keys and values a session keeps as codes, and what they take.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "kv_fixture.h"
#include "tiny_kerf.h"

/* Two heads of 16, padded to 32; 8 tokens in float32 and an offset of the keys; 32 newest ones. */
static void counts_all_that_it_stores(void **state)
{
    kv_model s = kv_model_new(*state, 0, 1);
    kf_session *session = kv_session_new(&s, KF_KV_Q4);
    const double bytes =
        8.0 * 2.0 * 64.0 + 64.0 + 292.0 * (20.0 + 12.0 + 4.0) + 32.0 * (64.0 + 4.0);
    assert_true(fabs(kf_session_kv_bits(session, 300) - 8.0 * bytes / (2.0 * 16.0 * 300.0)) < 1e-9);
    kf_session_free(session);
    session = kv_session_new(&s, KF_KV_F32);
    assert_true(fabs(kf_session_kv_bits(session, 7) - 32.0) < 1e-9);
    kf_session_free(session);
    kv_model_free(&s);
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
    kv_model s = kv_model_new(*state, KV_PREFIX, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_session *session = kv_session_new(&s, cases[i].kv);
        /* Two layers of two kv heads; with codes, 8 tokens are float, and where keys have less than
         * 8 bits, their offset. */
        const size_t n_sample = cases[i].kv == KF_KV_F32 ? 0 : 8;
        const bool has_offset = (unsigned)cases[i].kv / 16 % 8 != 0;
        const size_t sample = n_sample * 2 * 64 + (has_offset ? 16 * sizeof(float) : 0);
        assert_int_equal(kf_session_kv_bytes(session, 160),
                         2 * 2 * (sample + (160 - n_sample) * cases[i].head_bytes));
        (void)kv_begin(session, s.ids, KV_IDS); /* 20 of them are now in float */
        assert_int_equal(kf_session_kv_bytes(session, 180),
                         2 * 2 * (sample + 20 * 2 * 64 + (160 - n_sample) * cases[i].head_bytes));
        kf_session_free(session);
    }
    kv_model_free(&s);
}

static void names_all_and_refuses_others(void **state)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    kv_model s = kv_model_new(*state, 0, 1);
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
    kv_model_free(&s);
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
    kv_model on_codes = kv_model_new(*state, 0, 1);
    assert_int_equal(chosen(on_codes.model), KF_KV_K8V8);
    kv_model_free(&on_codes);
    kv_model on_floats = kv_model_in_float(*state, 0, 0.0f);
    assert_int_equal(chosen(on_floats.model), KF_KV_F32);
    kv_model_free(&on_floats);
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
    kv_model s = kv_model_new(*state, 0, 1);
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
    kv_model_free(&s);
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
        IN_DIRECTORY(counts_all_that_it_stores),
        IN_DIRECTORY(tells_how_many_bytes_a_token_reads),
        IN_DIRECTORY(names_all_and_refuses_others),
        IN_DIRECTORY(auto_is_by_what_the_weights_run_on),
        IN_DIRECTORY(a_checkpoint_names_its_cache),
        IN_DIRECTORY(refuses_heads_that_are_too_wide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
