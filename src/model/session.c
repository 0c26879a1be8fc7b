/* session.c - one sequence: its KV cache, its work space, and the stored prefix in front of it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <string.h>

#include "base/fail.h"
#include "base/report.h"
#include "model/common_key.h"
#include "model/forward.h"
#include "model/kv_policy.h"
#include "model/opened.h"

#define DEFAULT_BATCH ((size_t)512)
#define MAX_BATCH     ((size_t)1 << 16)

struct kf_session {
    kf_model *model;
    kfi_workspace *workspace;
    size_t context, batch;
    bool uses_prefix;
    kf_kv kv;
    size_t kv_exact;
    kfi_kv_policy policy;
    size_t position;
    size_t n_hidden; /* tokens of the last batch */
    float *x;        /* [batch][hidden], the residual stream */
    kfi_kv *kvs;     /* [n_layers] */
    unsigned char *kv_memory;
    size_t kv_bytes; /* of kv_memory */
    float *turns;    /* of kfi_common_key, where there are codes */
    size_t turn_bytes;
    void *chunk_memory;
    size_t chunk_bytes; /* of chunk_memory */
    kfi_watch watch;
};

/* ---- new and free ---- */

/* What was asked for, or what the checkpoint names, or by what the weights run on. */
static kf_kv choose_kv(const kf_model *model, kf_kv wanted)
{
    const bool is_wide = kfi_model_config(model)->head_dim > KFI_PACKED_HEAD_DIM_MOST;
    if (wanted != KF_KV_AUTO) {
        return wanted;
    }
    if (model->checkpoint.kv != KF_KV_AUTO && !is_wide) {
        return model->checkpoint.kv;
    }
    return kfi_model_runs_on_floats(model) || is_wide ? KF_KV_F32 : KF_KV_K8V8;
}

static kfi_kv_codes codes_of(unsigned bits, kfi_kv_fit fit)
{
    return (kfi_kv_codes){
        .bits = bits, .table = fit == KFI_KV_GREATEST ? NULL : kfi_kv_levels(bits), .fit = fit};
}

/* With codes, only what a stored prefix takes and a sample of keys behind it are in float32. */
static kfi_kv kv_shape(const kf_session *s)
{
    const kfi_config *config = kfi_model_config(s->model);
    kfi_kv kv = {.n_kv_heads = config->n_kv_heads,
                 .head_dim = config->head_dim,
                 .n_exact_least = s->kv_exact};
    if (s->policy.key_bits == 0) {
        kv.capacity = kfi_round_up(s->context, KFI_KV_PANEL);
        return kv;
    }
    const size_t n_prefix = s->uses_prefix ? kfi_model_get_prefix(s->model)->n : 0;
    kv.capacity = kfi_round_up(kfi_kv_exact_of(&kv, n_prefix), KFI_KV_PANEL);
    kv.packed_capacity = kfi_round_up(s->context, KFI_KV_BLOCK);
    kv.packed = (kfi_packed_kv){
        .keys =
            codes_of(s->policy.key_bits, s->policy.is_fitted ? KFI_KV_NEAREST : KFI_KV_GREATEST),
        .values =
            codes_of(s->policy.value_bits, s->policy.is_fitted ? KFI_KV_UNBIASED : KFI_KV_GREATEST),
        .cols = kfi_packed_kv_cols(config->head_dim)};
    kv.has_offsets = s->policy.key_bits < 8 || config->architecture->qkv_bias;
    kv.keeps_newest = s->policy.keeps_newest;
    kv.newest_capacity = kv.keeps_newest ? KFI_KV_NEWEST : 0;
    kv.newest = (kfi_packed_kv){.keys.bits = 8, .values.bits = 8, .cols = kv.packed.cols};
    return kv;
}

static kf_status allocate_cache(kf_session *s, kf_error *err)
{
    const kfi_config *config = kfi_model_config(s->model);
    const kfi_kv shape = kv_shape(s);
    const size_t layer_bytes = kfi_kv_layer_bytes(&shape);
    size_t bytes = 0;
    s->kvs = kfi_calloc(s->model->alloc, config->n_layers, sizeof *s->kvs);
    if (s->kvs == NULL || !kfi_mul_size(layer_bytes, config->n_layers, &bytes)) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a session");
    }
    /* Not cleared: its pages become resident as tokens come. */
    s->kv_memory = kfi_alloc(s->model->alloc, bytes);
    if (s->kv_memory == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET,
                        "no memory for the KV cache of %zu tokens, %zu bytes: ask for a smaller "
                        "context",
                        s->context, bytes);
    }
    s->kv_bytes = bytes;
    for (size_t i = 0; i < config->n_layers; i++) {
        s->kvs[i] = shape;
        kfi_kv_lay_out(&s->kvs[i], s->kv_memory + i * layer_bytes);
    }
    return KF_OK;
}

/* What the scores of the offsets of keys are made with. */
static kf_status allocate_turns(kf_session *s, kf_error *err)
{
    const kfi_config *config = kfi_model_config(s->model);
    const size_t n_chunk = kfi_common_chunk_floats(config->head_dim, s->context);
    const size_t n = n_chunk + kfi_common_token_floats(config->head_dim);
    if (!s->kvs[0].has_offsets) {
        return KF_OK;
    }
    s->turn_bytes = n * sizeof(float);
    s->turns = kfi_alloc(s->model->alloc, s->turn_bytes);
    if (s->turns == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a session");
    }
    kfi_common_fill(s->turns, config, s->context);
    for (size_t i = 0; i < config->n_layers; i++) {
        s->kvs[i].chunk_turns = s->turns;
        s->kvs[i].token_turns = s->turns + n_chunk;
    }
    return KF_OK;
}

/* Where the chunks of keys of one token are gathered by several threads. */
static kf_status allocate_chunks(kf_session *s, kf_error *err)
{
    const kfi_config *config = kfi_model_config(s->model);
    /* The last chunks of the float32 part, of the codes and of the newest tokens may be short. */
    const size_t n_rows = (s->context / KFI_ATTENTION_CHUNK + 3) * config->n_heads;
    const size_t row_bytes = config->head_dim * sizeof(float) + sizeof(kfi_attention_state);
    if (kf_pool_threads(s->model->pool) == 1) {
        return KF_OK;
    }
    if (kfi_mul_size(n_rows, row_bytes, &s->chunk_bytes)) {
        s->chunk_memory = kfi_alloc(s->model->alloc, s->chunk_bytes);
    }
    if (s->chunk_memory == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a session");
    }
    float *results = s->chunk_memory;
    for (size_t i = 0; i < config->n_layers; i++) {
        s->kvs[i].chunk_results = results;
        s->kvs[i].chunk_states = (kfi_attention_state *)(results + n_rows * config->head_dim);
    }
    return KF_OK;
}

static kf_status allocate(kf_session *s, kf_error *err)
{
    const kfi_config *config = kfi_model_config(s->model);
    KFI_TRY(allocate_cache(s, err));
    KFI_TRY(allocate_turns(s, err));
    KFI_TRY(allocate_chunks(s, err));
    s->x = kfi_alloc(s->model->alloc, s->batch * config->hidden * sizeof(float));
    if (s->x == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a batch of %zu tokens",
                        s->batch);
    }
    KFI_TRY(
        kfi_workspace_new(&s->workspace, config, s->model->pool, s->batch, s->model->alloc, err));
    if (kfi_model_residual_signs(s->model) != NULL) {
        KFI_TRY(kfi_workspace_reserve_rotation(s->workspace, config->hidden, err));
    }
    for (size_t i = 0; i < config->n_layers; i++) {
        KFI_TRY(kfi_workspace_reserve_block(s->workspace, &s->model->blocks[i], err));
    }
    return KF_OK;
}

static kf_status check_options(const kf_session_options *options, const kfi_config *config,
                               kf_error *err)
{
    if (options->size != sizeof *options) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "options of %zu bytes, expected %zu",
                        options->size, sizeof *options);
    }
    if (options->context > config->context) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "a context of %zu tokens, the model's is %zu",
                        options->context, config->context);
    }
    kfi_kv_policy policy = {0};
    if (!kfi_kv_policy_of(&policy, options->kv)) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "no KV cache has the number %d",
                        (int)options->kv);
    }
    if (policy.key_bits != 0 && config->head_dim > KFI_PACKED_HEAD_DIM_MOST) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "a KV cache of %s has heads of at most %zu, this model's have %zu",
                        kf_kv_name(options->kv), KFI_PACKED_HEAD_DIM_MOST, config->head_dim);
    }
    if (options->batch > MAX_BATCH) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "a batch of %zu tokens, at most %zu",
                        options->batch, MAX_BATCH);
    }
    return KF_OK;
}

kf_status kf_session_new(kf_session **session, kf_model *model, const kf_session_options *options,
                         kf_error *err)
{
    const kf_session_options defaults = KF_SESSION_OPTIONS_INIT;
    const kfi_config *config = kfi_model_config(model);
    options = options == NULL ? &defaults : options;
    *session = NULL;
    KFI_TRY(check_options(options, config, err));
    kf_session *s = kfi_calloc(model->alloc, 1, sizeof *s);
    if (s == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a session");
    }
    s->model = model;
    s->context = options->context == 0 ? config->context : options->context;
    s->batch = options->batch == 0 ? DEFAULT_BATCH : options->batch;
    s->batch = s->batch < s->context ? s->batch : s->context;
    s->uses_prefix = !options->no_prefix && kfi_model_get_prefix(model)->n > 0;
    s->kv = choose_kv(model, options->kv);
    s->kv_exact = options->kv_exact < s->context ? options->kv_exact : s->context;
    (void)kfi_kv_policy_of(&s->policy, s->kv);
    const kf_status st = allocate(s, err);
    if (st != KF_OK) {
        kf_session_free(s);
        return st;
    }
    *session = s;
    return KF_OK;
}

void kf_session_free(kf_session *session)
{
    if (session == NULL) {
        return;
    }
    const kf_allocator *alloc = session->model->alloc;
    const kfi_config *config = kfi_model_config(session->model);
    kfi_workspace_free(session->workspace);
    kfi_free(alloc, session->x, session->batch * config->hidden * sizeof(float));
    kfi_free(alloc, session->kv_memory, session->kv_bytes);
    kfi_free(alloc, session->turns, session->turn_bytes);
    kfi_free(alloc, session->chunk_memory, session->chunk_bytes);
    kfi_free(alloc, session->kvs, config->n_layers * sizeof *session->kvs);
    kfi_free(alloc, session, sizeof *session);
}

/* ---- running ---- */

/* The stream is shown unrotated, in a copy where the blocks run on a rotated one. */
static void show_stream(const kf_session *s, size_t i_layer, size_t n)
{
    const int8_t *signs = kfi_model_residual_signs(s->model);
    const float *x = s->x;
    if (signs != NULL) {
        float *copy = kfi_workspace_buffers(s->workspace)->normed;
        memcpy(copy, s->x, n * kfi_model_config(s->model)->hidden * sizeof *copy);
        kfi_residual_restore(s->workspace, signs, copy, n);
        x = copy;
    }
    s->watch.block(s->watch.ctx, i_layer, x, n);
}

static kf_status run_blocks(kf_session *s, size_t n, kf_error *err)
{
    const size_t n_layers = kfi_model_config(s->model)->n_layers;
    for (size_t i = 0; i < n_layers; i++) {
        const kfi_block *block = NULL;
        KFI_TRY(kfi_model_block(s->model, i, &block, err));
        kfi_block_forward(s->workspace, block, s->x, &s->kvs[i], s->position, n);
        if (s->watch.block != NULL) {
            show_stream(s, i, n);
        }
    }
    return KF_OK;
}

void kfi_session_watch(kf_session *session, const kfi_watch *watch)
{
    session->watch = *watch;
}

static kf_status run_batch(kf_session *s, const uint32_t *ids, size_t n, kf_error *err)
{
    s->n_hidden = 0;
    kfi_model_embed(s->model, s->x, ids, n);
    kfi_residual_rotate(s->workspace, kfi_model_residual_signs(s->model), s->x, n);
    kfi_model_begin_pass(s->model);
    const kf_status st = run_blocks(s, n, err);
    kfi_model_end_pass(s->model);
    if (st != KF_OK) {
        return st;
    }
    kfi_residual_restore(s->workspace, kfi_model_residual_signs(s->model), s->x, n);
    kfi_norm_forward(s->workspace, kfi_workspace_buffers(s->workspace)->hidden, s->x,
                     kfi_model_final_norm(s->model), n);
    s->n_hidden = n;
    s->position += n;
    return KF_OK;
}

static kf_status check_ids(const kf_session *s, const uint32_t *ids, size_t n, kf_error *err)
{
    const size_t vocabulary = kfi_model_config(s->model)->vocabulary;
    if (n > s->context - s->position) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "the context is full: %zu tokens and %zu more, room for %zu", s->position,
                        n, s->context);
    }
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= vocabulary) {
            return kfi_fail(err, KF_RANGE, i,
                            "token id %" PRIu32 " is outside the vocabulary of %zu", ids[i],
                            vocabulary);
        }
    }
    return KF_OK;
}

kf_status kf_session_eval(kf_session *session, const uint32_t *ids, size_t n, kf_error *err)
{
    KFI_TRY(check_ids(session, ids, n, err));
    for (size_t i = 0; i < n; i += session->batch) {
        if (i > 0 && kfi_report_cancelled(session->model->callbacks)) {
            return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled after %zu of %zu tokens", i,
                            n);
        }
        const size_t n_batch = n - i < session->batch ? n - i : session->batch;
        KFI_TRY(run_batch(session, ids + i, n_batch, err));
    }
    return KF_OK;
}

const float *kf_session_hidden(const kf_session *session, size_t *n)
{
    *n = session->n_hidden;
    return kfi_workspace_buffers(session->workspace)->hidden;
}

kf_status kf_session_head(kf_session *session, float *logits, const float *hidden, size_t n,
                          kf_error *err)
{
    if (n > session->batch) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "logits of %zu tokens, at most a batch of %zu",
                        n, session->batch);
    }
    return kfi_head_forward(session->model, session->workspace, logits, hidden, n, err);
}

/* ---- position and prefix ---- */

static void put_prefix(kf_session *s, size_t n)
{
    const size_t n_layers = kfi_model_config(s->model)->n_layers;
    for (size_t i = 0; i < n_layers; i++) {
        kfi_kv_put_prefix(&s->kvs[i], kfi_model_get_prefix(s->model), i, n);
    }
    s->position = n;
}

/* When nothing of the prompt is left to evaluate, the last token's hidden state is still missing.
 * The token is computed for it, and its exact rows are put back over those just computed. */
static kf_status compute_last_hidden(kf_session *s, kf_error *err)
{
    const size_t n = s->position;
    s->position = n - 1;
    const kf_status st = run_batch(s, &kfi_model_get_prefix(s->model)->ids[n - 1], 1, err);
    put_prefix(s, n);
    return st;
}

kf_status kf_session_begin(kf_session *session, const uint32_t *ids, size_t n, size_t *n_used,
                           kf_error *err)
{
    session->position = 0;
    session->n_hidden = 0;
    *n_used = 0;
    if (!session->uses_prefix) {
        return KF_OK;
    }
    const kfi_prefix *prefix = kfi_model_get_prefix(session->model);
    size_t n_common = 0;
    while (n_common < n && n_common < prefix->n && ids[n_common] == prefix->ids[n_common]) {
        n_common++;
    }
    const size_t n_put = n_common == 0 ? 1 : n_common;
    if (n_put > session->context) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "the stored prefix takes %zu tokens, room for %zu", n_put,
                        session->context);
    }
    put_prefix(session, n_put);
    *n_used = n_common;
    return n_common == n ? compute_last_hidden(session, err) : KF_OK;
}

size_t kf_session_position(const kf_session *session)
{
    return session->position;
}

/* A cache of so many tokens, by its shape: in float32, in codes, and newest ones. */
static uint64_t kv_bytes_of(const kf_session *session, size_t n_float, size_t n_packed,
                            size_t n_newest)
{
    kfi_kv shape = session->kvs[0];
    shape.capacity = n_float;
    shape.packed_capacity = n_packed;
    shape.newest_capacity = n_newest;
    return (uint64_t)kfi_model_config(session->model)->n_layers * kfi_kv_layer_bytes(&shape);
}

uint64_t kf_session_kv_bytes(const kf_session *session, size_t n_tokens)
{
    const kfi_kv *kv = &session->kvs[0];
    const size_t n_float = kfi_kv_n_float(kv, n_tokens);
    const size_t n_packed = n_tokens > n_float ? kfi_kv_n_packed(kv, n_tokens - 1) : 0;
    return kv_bytes_of(session, n_float, n_packed, n_tokens - n_float - n_packed);
}

double kf_session_kv_bits(const kf_session *session, size_t n_tokens)
{
    const kfi_config *config = kfi_model_config(session->model);
    const kfi_kv *kv = &session->kvs[0];
    const size_t n_float = kfi_kv_n_float(kv, n_tokens);
    const size_t n_codes = n_tokens - n_float;
    const size_t n_newest = n_codes < kv->newest_capacity ? n_codes : kv->newest_capacity;
    const double values =
        2.0 * (double)(config->n_layers * config->n_kv_heads * config->head_dim) * (double)n_tokens;
    return 8.0 * (double)kv_bytes_of(session, n_float, n_codes, n_newest) / values;
}

kf_kv kf_session_kv(const kf_session *session)
{
    return session->kv;
}

size_t kf_session_context(const kf_session *session)
{
    return session->context;
}

void kf_session_truncate(kf_session *session, size_t position)
{
    assert(position <= session->position);
    if (position < session->position) {
        session->position = position;
    }
}
