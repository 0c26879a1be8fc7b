/* kv_fixture.c - a packed model whose sessions keep keys and values as codes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kv_fixture.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "check.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

/* Every key becomes the same. */
static void set_key_bias(const tiny_model *tiny, float key_bias)
{
    for (size_t i_layer = 0; i_layer < tiny->config.n_layers; i_layer++) {
        char name[64];
        (void)snprintf(name, sizeof name, "model.layers.%zu.self_attn.k_proj.bias", i_layer);
        const size_t width = tiny->config.n_kv_heads * tiny->config.head_dim;
        float *bias = tiny_model_find(tiny, name)->data;
        for (size_t i = 0; i < width; i++) {
            bias[i] = key_bias * (float)((i + 1) % 3);
        }
        (void)snprintf(name, sizeof name, "model.layers.%zu.self_attn.k_proj.weight", i_layer);
        memset(tiny_model_find(tiny, name)->data, 0, width * tiny->config.hidden * sizeof(float));
    }
}

static kv_model kv_model_of(const char *directory, const kv_options *o)
{
    kf_error err = {0};
    tiny_options tiny = tiny_options_of(o->key_bias == 0.0f ? "llama" : "qwen2");
    tiny.config.context = KV_IDS + KV_PREFIX;
    kv_model s = {.tiny = tiny_model_new(directory, &tiny)};
    if (o->key_bias != 0.0f) {
        set_key_bias(s.tiny, o->key_bias);
    }
    const size_t n_rows = 2 * KV_PREFIX * 2 * 16; /* layers, tokens, kv heads, head size */
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    s.rows = kfi_alloc(NULL, 2 * n_rows * sizeof *s.rows);
    assert_non_null(s.rows);
    for (size_t i = 0; i < 2 * n_rows; i++) {
        s.rows[i] = kfi_rng_normal(&rng);
    }
    tiny_ids(s.ids, KV_IDS, 4);
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

kv_model kv_model_new(const char *directory, size_t n_prefix, size_t n_threads)
{
    const kv_options o = {.n_prefix = n_prefix, .n_threads = n_threads};
    return kv_model_of(directory, &o);
}

kv_model kv_model_in_float(const char *directory, size_t n_prefix, float key_bias)
{
    const kv_options o = {
        .n_prefix = n_prefix, .n_threads = 2, .float_activations = true, .key_bias = key_bias};
    return kv_model_of(directory, &o);
}

void kv_model_free(kv_model *s)
{
    kf_model_close(s->model);
    kf_pool_free(s->pool);
    tiny_model_free(s->tiny);
    kfi_free(NULL, s->rows, 0);
}

kf_session *kv_session_new(const kv_model *s, kf_kv kv)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.kv = kv;
    CHECK_OK(kf_session_new(&session, s->model, &options, &err), &err);
    assert_int_equal(kf_session_kv(session), kv);
    return session;
}

void kv_eval(kf_session *session, float *logits, const uint32_t *ids, size_t begin, size_t end,
             size_t at_a_time)
{
    for (size_t i = begin; i < end; i += at_a_time) {
        session_logits(logits + (i - begin) * TINY_VOCABULARY, session, ids + i,
                       kfi_least(at_a_time, end - i));
    }
}

void kv_eval_alike(kf_session *session, float *expected, const uint32_t *ids, size_t begin,
                   size_t at_a_time, bool is_first)
{
    static float found[KV_LOGITS];
    kv_eval(session, is_first ? expected : found, ids, begin, KV_IDS, at_a_time);
    if (!is_first) {
        assert_memory_equal(found, expected, (KV_IDS - begin) * TINY_VOCABULARY * sizeof *found);
    }
}

size_t kv_begin(kf_session *session, const uint32_t *ids, size_t n)
{
    kf_error err = {0};
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, ids, n, &n_used, &err), &err);
    return n_used;
}
