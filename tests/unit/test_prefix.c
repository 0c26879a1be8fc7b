/* Prompts of a checkpoint with a stored prefix.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "model/forward.h"
#include "packed_model.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

/* A session whose cache was filled with the first n rows by hand, then evaluates ids. */
static void eval_by_hand(const prefixed *x, float *hidden, size_t n_rows, const uint32_t *ids,
                         size_t n)
{
    kf_error err = {0};
    const kfi_config *config = kfi_model_config(x->model);
    kfi_workspace *w = NULL;
    CHECK_OK(kfi_workspace_new(&w, config, NULL, 64, NULL, &err), &err);
    kfi_kv kv = {.capacity = 64, .n_kv_heads = 2, .head_dim = 16};
    void *memory = kfi_alloc(NULL, kfi_kv_layer_bytes(&kv));
    assert_non_null(memory);
    kfi_kv_lay_out(&kv, memory);
    float *state = kfi_alloc(NULL, n * 64 * sizeof(float));
    assert_non_null(state);
    kfi_model_embed(x->model, state, ids, n);
    for (size_t i = 0; i < 2; i++) {
        const kfi_block *block = NULL;
        kfi_kv_put_prefix(&kv, kfi_model_get_prefix(x->model), i, n_rows);
        CHECK_OK(kfi_model_block(x->model, i, &block, &err), &err);
        kfi_block_forward(w, block, state, &kv, n_rows, n);
    }
    kfi_norm_forward(w, hidden, state, kfi_model_final_norm(x->model), n);
    kfi_free(NULL, state, 0);
    kfi_free(NULL, memory, 0);
    kfi_workspace_free(w);
}

static void check_hidden(const kf_session *session, const float *expected, size_t n)
{
    size_t n_hidden = 0;
    const float *hidden = kf_session_hidden(session, &n_hidden);
    assert_int_equal(n_hidden, n);
    assert_memory_equal(hidden, expected, n * 64 * sizeof(float));
}

static void a_prompt_that_begins_with_the_prefix_uses_it(void **state)
{
    kf_error err = {0};
    prefixed x = prefixed_new(*state);
    assert_int_equal(kfi_model_get_prefix(x.model)->n, PACKED_PREFIX);
    assert_memory_equal(kf_model_prefix(x.model), x.prompt, PACKED_PREFIX * sizeof(uint32_t));
    float expected[10 * 64];
    eval_by_hand(&x, expected, PACKED_PREFIX, x.prompt + PACKED_PREFIX, 10);
    kf_session *session = packed_session(x.model, 0);
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, x.prompt, PACKED_PREFIX + 10, &n_used, &err), &err);
    assert_int_equal(n_used, PACKED_PREFIX);
    assert_int_equal(kf_session_position(session), PACKED_PREFIX);
    CHECK_OK(kf_session_eval(session, x.prompt + n_used, 10, &err), &err);
    check_hidden(session, expected, 10);
    kf_session_free(session);
    prefixed_free(&x);
}

static void a_prompt_that_leaves_the_prefix_uses_what_is_common(void **state)
{
    kf_error err = {0};
    prefixed x = prefixed_new(*state);
    uint32_t prompt[8];
    memcpy(prompt, x.prompt, sizeof prompt);
    prompt[5] = (prompt[5] + 1) % TINY_VOCABULARY;
    float expected[3 * 64];
    eval_by_hand(&x, expected, 5, prompt + 5, 3);
    kf_session *session = packed_session(x.model, 0);
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, prompt, 8, &n_used, &err), &err);
    assert_int_equal(n_used, 5);
    CHECK_OK(kf_session_eval(session, prompt + 5, 3, &err), &err);
    check_hidden(session, expected, 3);
    kf_session_free(session);
    prefixed_free(&x);
}

static void another_prompt_gets_the_first_token_in_front(void **state)
{
    kf_error err = {0};
    prefixed x = prefixed_new(*state);
    uint32_t prompt[4] = {(x.prompt[0] + 1) % TINY_VOCABULARY, 2, 3, 4};
    float expected[4 * 64];
    eval_by_hand(&x, expected, 1, prompt, 4);
    kf_session *session = packed_session(x.model, 0);
    size_t n_used = 9;
    CHECK_OK(kf_session_begin(session, prompt, 4, &n_used, &err), &err);
    assert_int_equal(n_used, 0);
    assert_int_equal(kf_session_position(session), 1);
    CHECK_OK(kf_session_eval(session, prompt, 4, &err), &err);
    check_hidden(session, expected, 4);
    kf_session_free(session);
    prefixed_free(&x);
}

/* Nothing is left to evaluate, yet logits are wanted, and what follows must see the exact rows. */
static void a_prompt_that_is_the_prefix_has_logits_and_exact_rows(void **state)
{
    kf_error err = {0};
    prefixed x = prefixed_new(*state);
    static const size_t lengths[] = {0, 1, 16, 17, PACKED_PREFIX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const size_t n = lengths[i];
        const size_t n_rows = n == 0 ? 1 : n;
        float expected[10 * 64];
        kf_session *session = packed_session(x.model, 0);
        size_t n_used = 0;
        CHECK_OK(kf_session_begin(session, x.prompt, n, &n_used, &err), &err);
        assert_int_equal(n_used, n);
        assert_int_equal(kf_session_position(session), n_rows);
        eval_by_hand(&x, expected, n_rows - 1, x.prompt + n_rows - 1, 1);
        check_hidden(session, expected, 1);
        eval_by_hand(&x, expected, n_rows, x.p.ids, 10);
        CHECK_OK(kf_session_eval(session, x.p.ids, 10, &err), &err);
        check_hidden(session, expected, 10);
        kf_session_free(session);
    }
    prefixed_free(&x);
}

static void no_prefix_leaves_it_out(void **state)
{
    kf_error err = {0};
    prefixed x = prefixed_new(*state);
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.no_prefix = true;
    kf_session *session = NULL;
    CHECK_OK(kf_session_new(&session, x.model, &options, &err), &err);
    size_t n_used = 3;
    CHECK_OK(kf_session_begin(session, x.prompt, PACKED_PREFIX, &n_used, &err), &err);
    assert_int_equal(n_used, 0);
    assert_int_equal(kf_session_position(session), 0);
    kf_session_free(session);
    options.no_prefix = false;
    options.context = PACKED_PREFIX - 1;
    CHECK_OK(kf_session_new(&session, x.model, &options, &err), &err);
    assert_int_equal(kf_session_begin(session, x.prompt, PACKED_PREFIX, &n_used, &err), KF_RANGE);
    kf_session_free(session);
    prefixed_free(&x);
}

/* What the full-precision forward pass stores as a prefix is what it would compute again. */
static void a_true_prefix_changes_nothing(void **state)
{
    kf_error err = {0};
    tiny_kerf_options o = tiny_kerf_defaults();
    packed_model p = packed_model_write(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    float *keys = prefix_rows(1);
    float *values = prefix_rows(1);
    kfi_workspace *w = NULL;
    CHECK_OK(kfi_workspace_new(&w, kfi_model_config(model), NULL, 64, NULL, &err), &err);
    float kv_memory[2][2 * 64 * 16];
    kfi_kv kv = {.capacity = 64, .n_kv_heads = 2, .head_dim = 16};
    kv.keys = kv_memory[0];
    kv.values = kv_memory[1];
    float x[PACKED_PREFIX * 64];
    kfi_model_embed(model, x, p.ids, PACKED_PREFIX);
    for (size_t i = 0; i < 2; i++) {
        const kfi_block *block = NULL;
        CHECK_OK(kfi_model_block(model, i, &block, &err), &err);
        kfi_block_forward(w, block, x, &kv, 0, PACKED_PREFIX);
        for (size_t t = 0; t < PACKED_PREFIX; t++) {
            for (size_t h = 0; h < 2; h++) {
                const size_t place = ((i * PACKED_PREFIX + t) * 2 + h) * 16;
                kfi_kv_load_key(keys + place, kv.keys + h * 64 * 16, t, 16);
                memcpy(values + place, kv.values + (h * 64 + t) * 16, 16 * sizeof(float));
            }
        }
    }
    kfi_workspace_free(w);
    kf_session *session = packed_session(model, 0);
    float *expected = packed_logits();
    session_logits(expected, session, p.ids, PACKED_IDS);
    kf_session_free(session);
    kf_model_close(model);
    tiny_model_free(p.tiny);

    o.n_prefix = PACKED_PREFIX;
    o.prefix_ids = p.ids;
    o.prefix_keys = keys;
    o.prefix_values = values;
    packed_model again = packed_model_write(*state, "llama", &o);
    model = model_open_with(again.path, NULL, NULL);
    session = packed_session(model, 0);
    float *found = packed_logits();
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, p.ids, PACKED_IDS, &n_used, &err), &err);
    assert_int_equal(n_used, PACKED_PREFIX);
    session_logits(found, session, p.ids + PACKED_PREFIX, PACKED_IDS - PACKED_PREFIX);
    assert_memory_equal(found, expected + PACKED_PREFIX * TINY_VOCABULARY,
                        (PACKED_IDS - PACKED_PREFIX) * TINY_VOCABULARY * sizeof(float));
    kf_session_free(session);
    kf_model_close(model);
    tiny_model_free(again.tiny);
    kfi_free(NULL, keys, 0);
    kfi_free(NULL, values, 0);
    kfi_free(NULL, expected, 0);
    kfi_free(NULL, found, 0);
}

static void rejects_a_prefix_that_cannot_be(void **state)
{
    float *rows = prefix_rows(3);
    uint32_t ids[PACKED_PREFIX] = {0};
    tiny_kerf_options o = tiny_kerf_defaults();
    o.n_prefix = PACKED_PREFIX;
    o.prefix_ids = ids;
    o.prefix_keys = rows;
    o.prefix_values = rows;
    for (int i = 0; i < 2; i++) {
        kf_error err = {0};
        ids[3] = i == 0 ? TINY_VOCABULARY : 0;
        rows[7] = i == 1 ? (float)INFINITY : 0.0f;
        packed_model p = packed_model_write(*state, "llama", &o);
        kf_model *model = NULL;
        assert_int_equal(kf_model_open(&model, p.path, NULL, &err), KF_FORMAT);
        assert_non_null(strstr(err.msg, "kerf.prefix."));
        tiny_model_free(p.tiny);
    }
    kfi_free(NULL, rows, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_prompt_that_begins_with_the_prefix_uses_it),
        IN_DIRECTORY(a_prompt_that_leaves_the_prefix_uses_what_is_common),
        IN_DIRECTORY(another_prompt_gets_the_first_token_in_front),
        IN_DIRECTORY(a_prompt_that_is_the_prefix_has_logits_and_exact_rows),
        IN_DIRECTORY(no_prefix_leaves_it_out),
        IN_DIRECTORY(a_true_prefix_changes_nothing),
        IN_DIRECTORY(rejects_a_prefix_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
