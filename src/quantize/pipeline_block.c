/* pipeline_block.c - moving the calibration tokens through a block, and quantizing it on the way.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/clip_search.h"

/* ---- statistics of the steps ---- */

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
                                           work->floats->linears[kfi_step_first(i_step)].cols,
                                           p->options.worker.alloc, err)
                    : KF_OK;
}

/* What the layers of a step read: x [n][step width] behind their online map. */
static const float *map_input(const block_work *work, size_t i_step, const float *x, size_t n)
{
    const kfi_pipeline *p = work->pipeline;
    const kfi_online *online = &work->floats->linears[kfi_step_first(i_step)].online;
    if (online->n_inputs == 0) {
        return x;
    }
    kfi_online_forward(p->workspace, online, p->mapped, x, n);
    return p->mapped;
}

static kf_status begin_gathering(block_work *work, size_t i_step,
                                 const kfi_statistics_request *requests, size_t n_requests,
                                 kf_error *err)
{
    kfi_pipeline *p = work->pipeline;
    const size_t n = work->floats->linears[kfi_step_first(i_step)].cols;
    for (size_t i = 0; i < n_requests; i++) {
        KFI_TRY(kfi_gathering_want(&work->gatherings[i_step], n, &requests[i],
                                   p->options.worker.alloc, err));
    }
    /* The prefix's tokens stand in front of every window, so they count once for each. */
    for (size_t first = 0; first < p->prefix.n; first += p->batch) {
        const float *x = p->prefix.inputs[i_step] + first * kfi_step_width(p->config, i_step);
        const size_t n_tokens = kfi_least(p->batch, p->prefix.n - first);
        kfi_gathering_prefix(&work->gatherings[i_step], map_input(work, i_step, x, n_tokens),
                             n_tokens, p->options.windows.n - p->options.n_held_back);
    }
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

/* Outliers are 0 in what a clip is searched for: their codes are others. */
static void drop_outliers(const block_work *work, size_t i_step, size_t n)
{
    const kfi_pipeline *p = work->pipeline;
    const size_t cols = work->floats->linears[kfi_step_first(i_step)].cols;
    const size_t n_outliers = work->result->floats.n_outliers[i_step];
    for (size_t t = 0; t < n && n_outliers > 0; t++) {
        memset(p->mapped + (t + 1) * cols - n_outliers, 0, n_outliers * sizeof *p->mapped);
    }
}

static void gather(block_work *work, size_t i_step, const float *x, const batch *b)
{
    const kfi_pipeline *p = work->pipeline;
    if (!b->is_held_back) {
        const float *mapped = map_input(work, i_step, x, b->n);
        kfi_gathering_add(&work->gatherings[i_step], p->options.worker.pool, mapped, b->row, b->n,
                          b->is_first && p->prefix.n == 0, &work->concentration);
        drop_outliers(work, i_step, b->n);
        kfi_clip_sample_add(&work->samples[i_step], mapped, b->row, b->n);
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
                             .n = kfi_least(p->batch, windows->length - t),
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
    for (size_t i = 0; i < g->n; i++) {
        g->sets[i].n_outliers = work->result->floats.n_outliers[i_step];
    }
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
                             .residual_signs = p->residual_signs,
                             .seed = p->options.seed,
                             .i_layer = work->i_layer,
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
    KFI_TRY(kfi_workspace_reserve_block(p->workspace, work->floats, err));
    kfi_prefix_run_inputs(p, work->floats);
    return KF_OK;
}

/* Room for what the maps of this block make of a batch. */
static kf_status reserve_mapped(block_work *work, kf_error *err)
{
    kfi_pipeline *p = work->pipeline;
    const kf_allocator *alloc = p->options.worker.alloc;
    size_t width = 0;
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        const kfi_linear *linear = &work->floats->linears[kfi_step_first(i)];
        width = linear->online.n_inputs > 0 && linear->cols > width ? linear->cols : width;
    }
    if (width <= p->mapped_width) {
        return KF_OK;
    }
    kfi_free(alloc, p->mapped, p->batch * p->mapped_width * sizeof *p->mapped);
    p->mapped_width = 0;
    p->mapped = kfi_alloc(alloc, p->batch * width * sizeof *p->mapped);
    if (p->mapped == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "mapped inputs of %zu tokens", p->batch);
    }
    p->mapped_width = width;
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
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        for (size_t role = kfi_step_first(i); role <= kfi_step_last(i); role++) {
            work->sources[role].n_outliers = floats->n_outliers[i];
        }
    }
    return reserve_mapped(work, err);
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
