/* pipeline.c - the streams of the calibration tokens, and the pieces of a block that move them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/pipeline.h"

#include "base/fail.h"
#include "quantize/table.h"

/* Passes over all tokens a block: four for its statistics, one to the next block; and one for each
 * transform that asks for statistics. */
#define PASSES_A_BLOCK 5u

/* ---- pieces of a block ---- */

void kfi_piece_norm(kfi_pipeline *pipeline, const float *weight, const float *x, size_t n)
{
    kfi_norm_forward(pipeline->workspace, pipeline->buffers->normed, x, weight, n);
}

void kfi_piece_attention(kfi_pipeline *pipeline, const kfi_block *block, float *dst,
                         const float *normed, size_t first, size_t n)
{
    const kfi_buffers *b = pipeline->buffers;
    const kfi_linear *l = block->linears;
    const kfi_linear *const linears[] = {&l[KFI_LINEAR_Q], &l[KFI_LINEAR_K], &l[KFI_LINEAR_V]};
    float *const ys[] = {b->q, b->k, b->v};
    kfi_linear_forward_shared(pipeline->workspace, linears, ys, 3, normed, n);
    kfi_attention_forward(pipeline->workspace, dst, b->q, b->k, b->v, &pipeline->kv, first, n);
}

void kfi_piece_project(kfi_pipeline *pipeline, const kfi_block *block, float *x,
                       const float *attention, size_t n)
{
    float *y = pipeline->buffers->hidden;
    kfi_linear_forward(pipeline->workspace, &block->linears[KFI_LINEAR_O], y, attention, n);
    kfi_residual_add(pipeline->workspace, x, y, n * pipeline->config->hidden);
}

void kfi_piece_gate(kfi_pipeline *pipeline, const kfi_block *block, const float *normed, size_t n)
{
    const kfi_buffers *b = pipeline->buffers;
    const kfi_linear *l = block->linears;
    const kfi_linear *const linears[] = {&l[KFI_LINEAR_GATE], &l[KFI_LINEAR_UP]};
    float *const ys[] = {b->gate, b->up};
    kfi_linear_forward_shared(pipeline->workspace, linears, ys, 2, normed, n);
    kfi_silu_forward(pipeline->workspace, b->gate, b->gate, b->up, n);
}

void kfi_piece_down(kfi_pipeline *pipeline, const kfi_block *block, float *x, size_t n)
{
    const kfi_buffers *b = pipeline->buffers;
    kfi_linear_forward(pipeline->workspace, &block->linears[KFI_LINEAR_DOWN], b->hidden, b->gate,
                       n);
    kfi_residual_add(pipeline->workspace, x, b->hidden, n * pipeline->config->hidden);
}

size_t kfi_step_width(const kfi_config *config, size_t i_step)
{
    const size_t widths[KFI_STEP_COUNT] = {config->hidden, config->n_heads * config->head_dim,
                                           config->hidden, config->feed_forward};
    return widths[i_step];
}

/* ---- the whole ---- */

/* The signs of the residual stream, by the seed. */
static kf_status draw_residual(kfi_pipeline *p, kf_error *err)
{
    const kf_allocator *alloc = p->options.worker.alloc;
    const size_t n = p->config->hidden;
    kfi_rng rng;
    if (!kfi_recipe_rotates(p->options.recipe)) {
        return KF_OK;
    }
    p->residual_signs = kfi_alloc(alloc, n);
    if (p->residual_signs == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "signs of %zu values", n);
    }
    /* Blocks draw theirs by the seeds that follow the caller's. */
    kfi_rng_init(&rng, p->options.seed + KFI_STEP_COUNT * p->config->n_layers);
    kfi_draw_signs(p->residual_signs, n, &rng);
    return kfi_workspace_reserve_rotation(p->workspace, n, err);
}

/* A batch at a time. */
static void rotate_window(kfi_pipeline *p, float *x)
{
    const size_t length = p->options.windows.length;
    for (size_t t = 0; t < length; t += p->batch) {
        kfi_residual_rotate(p->workspace, p->residual_signs, x + t * p->config->hidden,
                            kfi_least(p->batch, length - t));
    }
}

static kf_status embed_windows(kfi_pipeline *p, kf_error *err)
{
    const kfi_windows *windows = &p->options.windows;
    kfi_treatment treatment;
    kfi_recipe_treatment(&treatment, p->options.recipe, p->config, KFI_TENSOR_EMBEDDING);
    for (size_t w = 0; w < windows->n; w++) {
        float *x = kfi_stream_row(&p->hidden, w * windows->length);
        KFI_TRY(kfi_table_embed(x, &p->options.worker, p->options.model, &treatment,
                                windows->ids + windows->offsets[w], windows->length, err));
        rotate_window(p, x);
    }
    return KF_OK;
}

/* Columns of the widest side path that the transforms make. */
static size_t most_outliers(const kfi_pipeline *p)
{
    size_t most = 0;
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        const size_t n = kfi_recipe_outliers(p->options.recipe, kfi_step_width(p->config, i));
        most = n > most ? n : most;
    }
    return most;
}

static kf_status allocate(kfi_pipeline *p, kf_error *err)
{
    const kfi_pipeline_options *o = &p->options;
    const kfi_config *config = p->config;
    const size_t n_tokens = o->windows.n * o->windows.length;
    const size_t attention = config->n_heads * config->head_dim;
    p->batch = KFI_PIPELINE_TOKENS;
    p->kv = (kfi_kv){
        .capacity =
            kfi_round_up(o->n_prefix + (o->windows.n > 0 ? o->windows.length : 1), KFI_KV_PANEL),
        .n_kv_heads = config->n_kv_heads,
        .head_dim = config->head_dim,
    };
    p->kv_bytes = kfi_kv_layer_bytes(&p->kv);
    KFI_TRY(
        kfi_workspace_new(&p->workspace, config, o->worker.pool, p->batch, o->worker.alloc, err));
    KFI_TRY(kfi_workspace_reserve_side(p->workspace, kfi_recipe_rank(o->recipe, config), err));
    p->buffers = kfi_workspace_buffers(p->workspace);
    KFI_TRY(kfi_workspace_reserve_side(p->workspace, most_outliers(p), err));
    if (kfi_recipe_keeps_weights(o->recipe)) {
        KFI_TRY(kfi_workspace_reserve_panels(p->workspace, err));
    }
    p->kv_memory = kfi_alloc(o->worker.alloc, p->kv_bytes);
    if (p->kv_memory == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a KV cache of %zu bytes", p->kv_bytes);
    }
    kfi_kv_lay_out(&p->kv, p->kv_memory);
    KFI_TRY(kfi_stream_init(&p->hidden, n_tokens, config->hidden, o->spill, o->worker.alloc, err));
    /* Rows of the attention stream also hold copies of hidden ones: see_all_inputs(). */
    return kfi_stream_init(&p->attention, n_tokens,
                           attention > config->hidden ? attention : config->hidden, o->spill,
                           o->worker.alloc, err);
}

kf_status kfi_pipeline_init(kfi_pipeline *pipeline, const kfi_pipeline_options *options,
                            kf_error *err)
{
    *pipeline = (kfi_pipeline){.options = *options,
                               .config = kfi_model_config(options->model),
                               .n_passes = PASSES_A_BLOCK + kfi_recipe_asking(options->recipe) +
                                           kfi_recipe_weighs(options->recipe) +
                                           kfi_recipe_budgets(options->recipe)};
    kfi_report_init(&pipeline->report, options->worker.callbacks);
    kf_status st = allocate(pipeline, err);
    if (st == KF_OK) {
        st = draw_residual(pipeline, err);
    }
    if (st == KF_OK) {
        st = kfi_prefix_run_init(pipeline, err);
    }
    if (st == KF_OK) {
        st = embed_windows(pipeline, err);
    }
    if (st != KF_OK) {
        kfi_pipeline_deinit(pipeline);
    }
    return st;
}

void kfi_pipeline_deinit(kfi_pipeline *pipeline)
{
    if (pipeline->config == NULL) {
        return;
    }
    const kf_allocator *alloc = pipeline->options.worker.alloc;
    kfi_prefix_run_deinit(pipeline);
    kfi_stream_deinit(&pipeline->hidden);
    kfi_stream_deinit(&pipeline->attention);
    kfi_free(alloc, pipeline->kv_memory, pipeline->kv_bytes);
    kfi_workspace_free(pipeline->workspace);
    kfi_free(alloc, pipeline->mapped,
             pipeline->batch * pipeline->mapped_width * sizeof *pipeline->mapped);
    kfi_free(alloc, pipeline->residual_signs, pipeline->config->hidden);
    *pipeline = (kfi_pipeline){0};
}
