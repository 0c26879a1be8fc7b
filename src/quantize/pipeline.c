/* pipeline.c - moving the calibration tokens through a block, and quantizing it on the way.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/clip_search.h"
#include "quantize/table.h"

/* Passes over all tokens a block: four for its statistics, one to the next block; and one for each
 * transform that asks for statistics. */
#define PASSES_A_BLOCK 5u

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

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

/* ---- statistics of the steps ---- */

size_t kfi_step_width(const kfi_config *config, size_t i_step)
{
    const size_t widths[KFI_STEP_COUNT] = {config->hidden, config->n_heads * config->head_dim,
                                           config->hidden, config->feed_forward};
    return widths[i_step];
}

/* A block on its way. */
typedef struct block_work {
    kfi_pipeline *pipeline;
    size_t i_layer;
    const kfi_block *source; /* full precision */
    const kfi_block *floats; /* what is quantized: the source, or what transforms made of it */
    kfi_block_result *result;
    kfi_name names[KFI_LINEAR_COUNT];
    kfi_layer_source sources[KFI_LINEAR_COUNT];
    kfi_statistics_request requests[KFI_LINEAR_COUNT];
    bool needs_statistics, is_sequential;
    kfi_gathering gatherings[KFI_STEP_COUNT];
    kfi_clip_sample samples[KFI_STEP_COUNT]; /* where a clip is searched */
    kfi_concentration concentration;         /* empty where all tokens count alike */
} block_work;

static kf_status begin_sample(block_work *work, size_t i_step, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    const kfi_windows *windows = &p->options.windows;
    bool searches = false;
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        searches = searches || work->sources[role].treatment.searches_clip;
    }
    return searches ? kfi_clip_sample_init(&work->samples[i_step],
                                           (windows->n - p->options.n_held_back) * windows->length,
                                           kfi_step_width(p->config, i_step),
                                           p->options.worker.alloc, err)
                    : KF_OK;
}

static kf_status begin_gathering(block_work *work, size_t i_step,
                                 const kfi_statistics_request *requests, size_t n_requests,
                                 kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    const size_t n = kfi_step_width(p->config, i_step);
    for (size_t i = 0; i < n_requests; i++) {
        KFI_TRY(kfi_gathering_want(&work->gatherings[i_step], n, &requests[i],
                                   p->options.worker.alloc, err));
    }
    /* The prefix's tokens stand in front of every window, so they count once for each. */
    kfi_gathering_prefix(&work->gatherings[i_step], p->prefix.inputs[i_step], p->prefix.n,
                         p->options.windows.n - p->options.n_held_back);
    return KF_OK;
}

/* Some tokens of one window. */
typedef struct batch {
    size_t row;      /* of the first token, in the streams */
    size_t position; /* of the first token in its sequence, behind the prefix */
    size_t n;
    bool is_first;     /* of its window */
    bool is_held_back; /* counted in no statistics */
} batch;

/* What the layers of a step ask for. */
static kf_status begin_step(block_work *work, size_t i_step, kf_error *err)
{
    const size_t first = kfi_step_first(i_step);
    KFI_TRY(begin_sample(work, i_step, err));
    return begin_gathering(work, i_step, &work->requests[first], kfi_step_last(i_step) - first + 1,
                           err);
}

static void gather(block_work *work, size_t i_step, const float *x, const batch *b)
{
    const kfi_pipeline *p = work->pipeline;
    if (!b->is_held_back) {
        kfi_gathering_add(&work->gatherings[i_step], p->options.worker.pool, x, b->row, b->n,
                          b->is_first && p->prefix.n == 0, &work->concentration);
        kfi_clip_sample_add(&work->samples[i_step], x, b->row, b->n);
    }
}

/* ---- passes over all tokens ---- */

typedef void batch_task(block_work *work, const batch *b);

static uint64_t tokens_in_all(const kfi_pipeline *p)
{
    return (uint64_t)p->hidden.n_tokens * p->n_passes * p->config->n_layers;
}

static kf_status each_batch(block_work *work, batch_task *task, kf_error *err)
{
    kfi_pipeline *p = work->pipeline;
    const kfi_windows *windows = &p->options.windows;
    const kf_callbacks *callbacks = p->options.worker.callbacks;
    char name[48];
    (void)snprintf(name, sizeof name, "block %zu of %zu", work->i_layer + 1, p->config->n_layers);
    for (size_t w = 0; w < windows->n; w++) {
        for (size_t t = 0; t < windows->length; t += p->batch) {
            if (kfi_report_cancelled(callbacks)) {
                return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled in block %zu",
                                work->i_layer + 1);
            }
            const batch b = {.row = w * windows->length + t,
                             .position = p->prefix.n + t,
                             .n = least(p->batch, windows->length - t),
                             .is_first = t == 0,
                             .is_held_back = w >= windows->n - p->options.n_held_back};
            task(work, &b);
            p->n_done += b.n;
            kfi_report_progress(&p->report, p->task != NULL ? p->task : name, "tokens", p->n_done,
                                tokens_in_all(p));
        }
    }
    return KF_OK;
}

static void see_attention_input(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    kfi_piece_norm(p, work->floats->attention_norm, kfi_stream_row(&p->hidden, b->row), b->n);
    gather(work, 0, p->buffers->normed, b);
}

static void attend(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *attention = kfi_stream_row(&p->attention, b->row);
    kfi_piece_norm(p, work->floats->attention_norm, kfi_stream_row(&p->hidden, b->row), b->n);
    kfi_piece_attention(p, &work->result->block, attention, p->buffers->normed, b->position, b->n);
    gather(work, 1, attention, b);
}

static void project(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *x = kfi_stream_row(&p->hidden, b->row);
    kfi_piece_project(p, &work->result->block, x, kfi_stream_row(&p->attention, b->row), b->n);
    kfi_piece_norm(p, work->floats->mlp_norm, x, b->n);
    gather(work, 2, p->buffers->normed, b);
}

/* gate and up are computed again in move_on(): keeping their outputs for all tokens would take two
 * to four times the hidden stream. */
static void see_down_input(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    kfi_piece_norm(p, work->floats->mlp_norm, kfi_stream_row(&p->hidden, b->row), b->n);
    kfi_piece_gate(p, &work->result->block, p->buffers->normed, b->n);
    gather(work, 3, p->buffers->gate, b);
}

static void move_on(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *x = kfi_stream_row(&p->hidden, b->row);
    kfi_piece_norm(p, work->floats->mlp_norm, x, b->n);
    kfi_piece_gate(p, &work->result->block, p->buffers->normed, b->n);
    kfi_piece_down(p, &work->result->block, x, b->n);
}

/* The whole block in one pass. */
static void pass(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    kfi_block_forward(p->workspace, &work->result->block, kfi_stream_row(&p->hidden, b->row),
                      &p->kv, b->position, b->n);
}

/* Attention of the float block, for how much of it each token gets. */
static void weigh(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    const size_t length = p->options.windows.length;
    kfi_piece_norm(p, work->floats->attention_norm, kfi_stream_row(&p->hidden, b->row), b->n);
    kfi_piece_attention(p, work->floats, p->buffers->attention, p->buffers->normed, b->position,
                        b->n);
    kfi_concentration_add(&work->concentration, p->options.worker.pool, &p->kv, p->buffers->q,
                          b->position, b->n);
    if (b->position + b->n == p->prefix.n + length) {
        kfi_concentration_end(&work->concentration, b->row / length, p->prefix.n);
    }
}

static kf_status weigh_tokens(block_work *work, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    if (!work->needs_statistics || !kfi_recipe_weighs(p->options.recipe)) {
        return KF_OK;
    }
    KFI_TRY(kfi_concentration_init(&work->concentration, p->config->n_heads, &p->kv,
                                   p->options.worker.pool, p->options.windows.n,
                                   p->options.windows.length, p->options.worker.alloc, err));
    return each_batch(work, weigh, err);
}

/* All inputs of the block in float, the streams left where they are. */
static void see_all_inputs(block_work *work, const batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *x = kfi_stream_row(&p->attention, b->row); /* of the same width at least: see init */
    memcpy(x, kfi_stream_row(&p->hidden, b->row), b->n * p->config->hidden * sizeof(float));
    kfi_piece_norm(p, work->floats->attention_norm, x, b->n);
    gather(work, 0, p->buffers->normed, b);
    kfi_piece_attention(p, work->floats, p->buffers->attention, p->buffers->normed, b->position,
                        b->n);
    gather(work, 1, p->buffers->attention, b);
    kfi_piece_project(p, work->floats, x, p->buffers->attention, b->n);
    kfi_piece_norm(p, work->floats->mlp_norm, x, b->n);
    gather(work, 2, p->buffers->normed, b);
    kfi_piece_gate(p, work->floats, p->buffers->normed, b->n);
    gather(work, 3, p->buffers->gate, b);
}

/* ---- one block ---- */

static void read_recipe(block_work *work)
{
    kfi_pipeline *p = work->pipeline;
    work->is_sequential = true;
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        kfi_layer_source *source = &work->sources[role];
        work->names[role] = kfi_name_weight(work->i_layer, (kfi_linear_role)role);
        source->name = work->names[role].text;
        source->linear = &work->floats->linears[role];
        source->format = kfi_recipe_transform(p->options.recipe, 0) != NULL
                             ? kfi_dtype_get(KFI_DTYPE_F32)->name
                             : kfi_model_source_format(p->options.model, source->name);
        kfi_recipe_treatment(&source->treatment, p->options.recipe, p->config, source->name);
        work->needs_statistics = work->needs_statistics || source->treatment.searches_clip;
        const kfi_method_use *use = kfi_treatment_round(&source->treatment);
        work->requests[role] = (kfi_statistics_request){.first_token_weight = 1.0};
        if (source->treatment.keep || p->options.windows.n == 0) {
            continue;
        }
        work->requests[role] = kfi_treatment_request(&source->treatment);
        work->needs_statistics = work->needs_statistics || work->requests[role].needs != 0;
        if (use->method->is_sequential != NULL && !use->method->is_sequential(use->knobs)) {
            work->is_sequential = false;
        }
    }
}

/* Gives the layers of a step whose format is that of `first` the clip that suits them best. */
static kf_status search_clip(block_work *work, size_t i_step, size_t first, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    const kf_activation format = work->sources[first].treatment.activations;
    kfi_treatment *treatments[KFI_LINEAR_COUNT];
    kfi_clip_job job = {.sample = &work->samples[i_step],
                        .activation = format,
                        .n_blocks = p->config->n_layers,
                        .pool = p->options.worker.pool,
                        .alloc = p->options.worker.alloc};
    for (size_t role = first; role <= kfi_step_last(i_step); role++) {
        kfi_treatment *treatment = &work->sources[role].treatment;
        if (treatment->searches_clip && kfi_activation_is_same(treatment->activations, format)) {
            treatments[job.n_linears] = treatment;
            job.linears[job.n_linears++] = work->sources[role].linear;
        }
    }
    uint8_t clip = 0;
    KFI_TRY(kfi_clip_search(&clip, &job, err));
    for (size_t i = 0; i < job.n_linears; i++) {
        treatments[i]->activations.clip = clip;
        treatments[i]->searches_clip = false;
    }
    return KF_OK;
}

static kf_status search_clips(block_work *work, size_t i_step, kf_error *err)
{
    kf_status st = KF_OK;
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step) && st == KF_OK;
         role++) {
        if (work->sources[role].treatment.searches_clip) {
            st = search_clip(work, i_step, role, err);
        }
    }
    kfi_clip_sample_deinit(&work->samples[i_step]);
    return st;
}

static kf_status quantize_step(block_work *work, size_t i_step, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    kfi_gathering *g = &work->gatherings[i_step];
    kfi_prepared prepared = {0};
    kfi_gathering_finish(g, p->options.worker.pool);
    kf_status st = search_clips(work, i_step, err);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step) && st == KF_OK;
         role++) {
        if (kfi_report_cancelled(p->options.worker.callbacks)) {
            st = kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled in block %zu",
                          work->i_layer + 1);
            break;
        }
        kfi_layer *layer = &work->result->layers[role];
        const kfi_statistics *set = kfi_gathering_find(g, &work->requests[role]);
        st = kfi_layer_quantize(layer, &p->options.worker, &work->sources[role], set, &prepared,
                                err);
        work->result->block.linears[role] = layer->linear;
    }
    kfi_prepared_deinit(&prepared, p->options.worker.alloc);
    kfi_gathering_end(g);
    return st;
}

static kf_status quantize_in_steps(block_work *work, kf_error *err)
{
    static batch_task *const tasks[KFI_STEP_COUNT] = {see_attention_input, attend, project,
                                                      see_down_input};
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(begin_step(work, i, err));
        KFI_TRY(each_batch(work, tasks[i], err));
        KFI_TRY(quantize_step(work, i, err));
    }
    return each_batch(work, move_on, err);
}

static kf_status quantize_at_once(block_work *work, kf_error *err)
{
    if (work->needs_statistics) {
        for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
            KFI_TRY(begin_step(work, i, err));
        }
        KFI_TRY(each_batch(work, see_all_inputs, err));
    }
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(quantize_step(work, i, err));
    }
    return each_batch(work, pass, err);
}

/* ---- transforms ---- */

static kf_status gather_all(block_work *work, const kfi_statistics_request *request, kf_error *err)
{
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(begin_gathering(work, i, request, 1, err));
    }
    KFI_TRY(each_batch(work, see_all_inputs, err));
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        kfi_gathering_finish(&work->gatherings[i], work->pipeline->options.worker.pool);
    }
    return KF_OK;
}

static void end_gatherings(block_work *work)
{
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        kfi_gathering_end(&work->gatherings[i]);
        kfi_clip_sample_deinit(&work->samples[i]);
    }
}

static kf_status transform(block_work *work, const kfi_method_use *use, kf_error *err)
{
    kfi_pipeline *p = work->pipeline;
    kfi_statistics_request request = {.first_token_weight = 1.0};
    kfi_transform_job job = {.floats = &work->result->floats,
                             .knobs = use->knobs,
                             .pool = p->options.worker.pool,
                             .alloc = p->options.worker.alloc};
    if (use->method->request != NULL) {
        use->method->request(&request, use->knobs);
    }
    if (request.needs != 0) {
        KFI_TRY(gather_all(work, &request, err));
    }
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        job.statistics[i] = kfi_gathering_find(&work->gatherings[i], &request);
    }
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        job.treatments[role] = &work->sources[role].treatment;
    }
    KFI_TRY(use->method->transform(&job, err));
    end_gatherings(work);
    kfi_prefix_run_inputs(p, work->floats);
    return KF_OK;
}

/* Lets the recipe's transforms change a copy of the block. */
static kf_status transform_block(block_work *work, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    kfi_float_block *floats = &work->result->floats;
    const kfi_method_use *use = kfi_recipe_transform(p->options.recipe, 0);
    if (use == NULL) {
        return KF_OK;
    }
    KFI_TRY(kfi_float_block_init(floats, work->source, p->config->hidden, p->options.worker.alloc,
                                 err));
    work->floats = &floats->block;
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_linear *linear = &work->source->linears[role];
        work->sources[role].linear = &work->floats->linears[role];
        KFI_TRY(kfi_check_finite(work->names[role].text, linear->weights,
                                 linear->rows * linear->cols, 0, err));
    }
    for (size_t i = 0; use != NULL; use = kfi_recipe_transform(p->options.recipe, ++i)) {
        KFI_TRY(transform(work, use, err));
    }
    return KF_OK;
}

/* What is not quantized must be finite too, unless the recipe keeps it as it is. */
static kf_status check_vector(const kfi_pipeline *p, const char *name, const float *values,
                              size_t n, kf_error *err)
{
    kfi_treatment treatment;
    kfi_recipe_treatment(&treatment, p->options.recipe, p->config, name);
    const bool keeps = treatment.keep && kfi_recipe_transform(p->options.recipe, 0) == NULL;
    return values == NULL || keeps ? KF_OK : kfi_check_finite(name, values, n, 0, err);
}

static kf_status check_vectors(const block_work *work, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    const size_t hidden = p->config->hidden;
    KFI_TRY(check_vector(p, kfi_name_attention_norm(work->i_layer).text,
                         work->source->attention_norm, hidden, err));
    KFI_TRY(check_vector(p, kfi_name_mlp_norm(work->i_layer).text, work->source->mlp_norm, hidden,
                         err));
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_linear *linear = &work->source->linears[role];
        KFI_TRY(check_vector(p, kfi_name_bias(work->i_layer, (kfi_linear_role)role).text,
                             linear->bias, linear->rows, err));
    }
    return KF_OK;
}

void kfi_block_result_deinit(kfi_block_result *result)
{
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        kfi_layer_deinit(&result->layers[role]);
    }
    kfi_float_block_deinit(&result->floats);
    *result = (kfi_block_result){0};
}

kf_status kfi_pipeline_quantize(kfi_pipeline *pipeline, kfi_block_result *result, size_t i_layer,
                                kf_error *err)
{
    block_work work = {.pipeline = pipeline, .i_layer = i_layer, .result = result};
    *result = (kfi_block_result){0};
    KFI_TRY(kfi_model_block(pipeline->options.model, i_layer, &work.source, err));
    KFI_TRY(check_vectors(&work, err));
    work.floats = work.source;
    kfi_prefix_run_block(pipeline, work.source, i_layer);
    read_recipe(&work);
    kf_status st = transform_block(&work, err);
    if (st == KF_OK) {
        st = weigh_tokens(&work, err);
    }
    if (st == KF_OK) {
        result->block = *work.floats;
        st = kfi_workspace_reserve_block(pipeline->workspace, work.floats, err);
    }
    if (st == KF_OK) {
        st = work.needs_statistics && work.is_sequential ? quantize_in_steps(&work, err)
                                                         : quantize_at_once(&work, err);
    }
    end_gatherings(&work);
    kfi_concentration_deinit(&work.concentration);
    pipeline->n_done = (uint64_t)pipeline->hidden.n_tokens * pipeline->n_passes * (i_layer + 1);
    if (st != KF_OK) {
        kfi_block_result_deinit(result);
    }
    return st;
}

kf_status kfi_pipeline_pass(kfi_pipeline *pipeline, const kfi_block *quantized, size_t i_layer,
                            kf_error *err)
{
    const kfi_block *source = NULL;
    kfi_block_result result = {.block = *quantized};
    block_work work = {.pipeline = pipeline, .i_layer = i_layer, .result = &result};
    if (pipeline->prefix.n > 0) {
        KFI_TRY(kfi_model_block(pipeline->options.model, i_layer, &source, err));
        kfi_prefix_run_block(pipeline, source, i_layer);
    }
    KFI_TRY(kfi_workspace_reserve_block(pipeline->workspace, quantized, err));
    KFI_TRY(each_batch(&work, pass, err));
    pipeline->n_done = (uint64_t)pipeline->hidden.n_tokens * pipeline->n_passes * (i_layer + 1);
    return KF_OK;
}

/* ---- the whole ---- */

static kf_status embed_windows(kfi_pipeline *p, kf_error *err)
{
    const kfi_windows *windows = &p->options.windows;
    kfi_treatment treatment;
    kfi_recipe_treatment(&treatment, p->options.recipe, p->config, KFI_TENSOR_EMBEDDING);
    for (size_t w = 0; w < windows->n; w++) {
        KFI_TRY(kfi_table_embed(kfi_stream_row(&p->hidden, w * windows->length), &p->options.worker,
                                p->options.model, &treatment, windows->ids + windows->offsets[w],
                                windows->length, err));
    }
    return KF_OK;
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
                                           kfi_recipe_weighs(options->recipe)};
    kfi_report_init(&pipeline->report, options->worker.callbacks);
    kf_status st = allocate(pipeline, err);
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
    kfi_prefix_run_deinit(pipeline);
    kfi_stream_deinit(&pipeline->hidden);
    kfi_stream_deinit(&pipeline->attention);
    kfi_free(pipeline->options.worker.alloc, pipeline->kv_memory, pipeline->kv_bytes);
    kfi_workspace_free(pipeline->workspace);
    *pipeline = (kfi_pipeline){0};
}
