/* prefix_run.c - the exact prefix through the full-precision blocks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "quantize/pipeline.h"

static size_t kv_width(const kfi_config *config)
{
    return config->n_kv_heads * config->head_dim;
}

/* [n_layers][n][kv width], in bytes; 0 where it overflows. */
static size_t kv_bytes(const kfi_config *config, size_t n)
{
    size_t bytes = 0;
    return kfi_mul_size(config->n_layers * sizeof(float), kv_width(config), &bytes) &&
                   kfi_mul_size(bytes, n, &bytes)
               ? bytes
               : 0;
}

void kfi_prefix_run_deinit(kfi_pipeline *pipeline)
{
    const kf_allocator *alloc = pipeline->options.worker.alloc;
    const kfi_config *config = pipeline->config;
    kfi_prefix_run *run = &pipeline->prefix;
    if (run->n == 0) {
        return;
    }
    kfi_free(alloc, run->hidden, run->n * config->hidden * sizeof(float));
    kfi_free(alloc, run->keys, kv_bytes(config, run->n));
    kfi_free(alloc, run->values, kv_bytes(config, run->n));
    kfi_free(alloc, run->entering, run->n * config->hidden * sizeof(float));
    kfi_free(alloc, run->middle, run->n * config->hidden * sizeof(float));
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        kfi_free(alloc, run->inputs[i], run->n * kfi_step_width(config, i) * sizeof(float));
    }
    *run = (kfi_prefix_run){0};
}

kf_status kfi_prefix_run_init(kfi_pipeline *pipeline, kf_error *err)
{
    const kf_allocator *alloc = pipeline->options.worker.alloc;
    const kfi_config *config = pipeline->config;
    kfi_prefix_run *run = &pipeline->prefix;
    const size_t n = pipeline->options.n_prefix;
    *run = (kfi_prefix_run){.n = n, .ids = pipeline->options.prefix};
    if (n == 0) {
        return KF_OK;
    }
    run->hidden = kfi_alloc(alloc, n * config->hidden * sizeof(float));
    run->keys = kfi_alloc(alloc, kv_bytes(config, n));
    run->values = kfi_alloc(alloc, kv_bytes(config, n));
    bool ok = run->hidden != NULL && run->keys != NULL && run->values != NULL;
    if (kfi_recipe_transform(pipeline->options.recipe, 0) != NULL) {
        run->entering = kfi_alloc(alloc, n * config->hidden * sizeof(float));
        run->middle = kfi_alloc(alloc, n * config->hidden * sizeof(float));
        ok = ok && run->entering != NULL && run->middle != NULL;
    }
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        run->inputs[i] = kfi_alloc(alloc, n * kfi_step_width(config, i) * sizeof(float));
        ok = ok && run->inputs[i] != NULL;
    }
    if (!ok) {
        kfi_prefix_run_deinit(pipeline);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a prefix of %zu tokens", n);
    }
    kfi_model_embed(pipeline->options.model, run->hidden, run->ids, n);
    return KF_OK;
}

/* Copies tokens first … first + n - 1 out of the cache. */
static void take_kv(const kfi_pipeline *pipeline, size_t i_layer, size_t first, size_t n)
{
    const kfi_prefix_run *run = &pipeline->prefix;
    const kfi_kv *kv = &pipeline->kv;
    for (size_t t = first; t < first + n; t++) {
        for (size_t h = 0; h < kv->n_kv_heads; h++) {
            const size_t cache = h * kv->capacity * kv->head_dim;
            const size_t place =
                (i_layer * run->n + t) * kv_width(pipeline->config) + h * kv->head_dim;
            kfi_kv_load_key(run->keys + place, kv->keys + cache, t, kv->head_dim);
            memcpy(run->values + place, kv->values + cache + t * kv->head_dim,
                   kv->head_dim * sizeof(float));
        }
    }
}

static void remember(float *dst, const kfi_pipeline *pipeline, const float *x, size_t first,
                     size_t n)
{
    const size_t hidden = pipeline->config->hidden;
    if (dst != NULL) {
        memcpy(dst + first * hidden, x, n * hidden * sizeof *x);
        kfi_residual_rotate(pipeline->workspace, pipeline->residual_signs, dst + first * hidden, n);
    }
}

static void run_batch(kfi_pipeline *pipeline, const kfi_block *source, size_t first, size_t n)
{
    const kfi_config *config = pipeline->config;
    const kfi_buffers *b = pipeline->buffers;
    kfi_prefix_run *run = &pipeline->prefix;
    float *x = run->hidden + first * config->hidden;
    float *inputs[KFI_STEP_COUNT];
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        inputs[i] = run->inputs[i] + first * kfi_step_width(config, i);
    }
    remember(run->entering, pipeline, x, first, n);
    kfi_piece_norm(pipeline, source->attention_norm, x, n);
    memcpy(inputs[0], b->normed, n * config->hidden * sizeof(float));
    kfi_piece_attention(pipeline, source, inputs[1], inputs[0], first, n);
    kfi_piece_project(pipeline, source, x, inputs[1], n);
    remember(run->middle, pipeline, x, first, n);
    kfi_piece_norm(pipeline, source->mlp_norm, x, n);
    memcpy(inputs[2], b->normed, n * config->hidden * sizeof(float));
    kfi_piece_gate(pipeline, source, inputs[2], n);
    memcpy(inputs[3], b->gate, n * config->feed_forward * sizeof(float));
    kfi_piece_down(pipeline, source, x, n);
}

void kfi_prefix_run_block(kfi_pipeline *pipeline, const kfi_block *source, size_t i_layer)
{
    const size_t n_all = pipeline->prefix.n;
    for (size_t first = 0; first < n_all; first += pipeline->batch) {
        const size_t n = n_all - first < pipeline->batch ? n_all - first : pipeline->batch;
        run_batch(pipeline, source, first, n);
        take_kv(pipeline, i_layer, first, n);
    }
}

/* Attention's result is what it was: no transform changes q, k or v. */
void kfi_prefix_run_inputs(kfi_pipeline *pipeline, const kfi_block *transformed)
{
    const size_t hidden = pipeline->config->hidden;
    const size_t feed_forward = pipeline->config->feed_forward;
    const kfi_buffers *b = pipeline->buffers;
    const kfi_prefix_run *run = &pipeline->prefix;
    for (size_t first = 0; first < run->n; first += pipeline->batch) {
        const size_t n = run->n - first < pipeline->batch ? run->n - first : pipeline->batch;
        kfi_piece_norm(pipeline, transformed->attention_norm, run->entering + first * hidden, n);
        memcpy(run->inputs[KFI_STEP_QKV] + first * hidden, b->normed, n * hidden * sizeof(float));
        kfi_piece_norm(pipeline, transformed->mlp_norm, run->middle + first * hidden, n);
        memcpy(run->inputs[KFI_STEP_GATE_UP] + first * hidden, b->normed,
               n * hidden * sizeof(float));
        kfi_piece_gate(pipeline, transformed, b->normed, n);
        memcpy(run->inputs[KFI_STEP_DOWN] + first * feed_forward, b->gate,
               n * feed_forward * sizeof(float));
    }
}
