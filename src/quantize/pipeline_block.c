/* pipeline_block.c - quantizing one block, step by step.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/block_work.h"

kf_status kfi_block_cancelled(const kfi_block_work *work, kf_error *err)
{
    return kfi_report_cancelled(work->pipeline->options.worker.callbacks)
               ? kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled in block %zu",
                          work->i_layer + 1)
               : KF_OK;
}

static void read_recipe(kfi_block_work *work)
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
        work->requests[role] = (kfi_statistics_request){.first_token_weight = 1.0};
        if (source->treatment.keep || p->options.windows.n == 0) {
            continue;
        }
        work->requests[role] = kfi_treatment_request(&source->treatment);
        work->needs_statistics = work->needs_statistics || work->requests[role].needs != 0;
        const kfi_method_use *use = kfi_treatment_round(&source->treatment);
        if (use->method->is_sequential != NULL && !use->method->is_sequential(use->knobs)) {
            work->is_sequential = false;
        }
    }
}

/* Gives the layers of a step whose format is that of `first` the clip that suits them best. */
static kf_status search_clip(kfi_block_work *work, size_t i_step, size_t first, kf_error *err)
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

static kf_status search_clips(kfi_block_work *work, size_t i_step, kf_error *err)
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

static kf_status quantize_linear(kfi_block_work *work, size_t role,
                                 const kfi_statistics *statistics, kfi_prepared *prepared,
                                 kf_error *err)
{
    kfi_layer *layer = &work->result->layers[role];
    KFI_TRY(kfi_block_cancelled(work, err));
    KFI_TRY(kfi_layer_quantize(layer, &work->pipeline->options.worker, &work->sources[role],
                               statistics, prepared, err));
    work->result->block.linears[role] = layer->linear;
    return KF_OK;
}

static kf_status quantize_step(kfi_block_work *work, size_t i_step, kf_error *err)
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
        st = quantize_linear(work, role, kfi_gathering_find(g, &work->requests[role]), &prepared,
                             err);
    }
    kfi_prepared_deinit(&prepared, p->options.worker.alloc);
    kfi_gathering_end(g);
    return st;
}

static kf_status quantize_in_steps(kfi_block_work *work, kf_error *err)
{
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(kfi_block_gather_begin_step(work, i, err));
        KFI_TRY(kfi_block_pass_step(work, i, err));
        KFI_TRY(quantize_step(work, i, err));
    }
    return kfi_block_pass_rest(work, err);
}

static kf_status quantize_at_once(kfi_block_work *work, kf_error *err)
{
    if (work->needs_statistics) {
        for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
            KFI_TRY(kfi_block_gather_begin_step(work, i, err));
        }
        KFI_TRY(kfi_block_pass_float(work, err));
    }
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(quantize_step(work, i, err));
    }
    return kfi_block_pass_whole(work, err);
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

static kf_status check_vectors(const kfi_block_work *work, kf_error *err)
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
    kfi_block_work work = {.pipeline = pipeline, .i_layer = i_layer, .result = result};
    *result = (kfi_block_result){0};
    KFI_TRY(kfi_model_block(pipeline->options.model, i_layer, &work.source, err));
    KFI_TRY(check_vectors(&work, err));
    work.floats = work.source;
    kfi_prefix_run_block(pipeline, work.source, i_layer);
    read_recipe(&work);
    kf_status st = kfi_block_transform(&work, err);
    if (st == KF_OK) {
        st = kfi_block_weigh_tokens(&work, err);
    }
    if (st == KF_OK) {
        st = kfi_block_choose_ranks(&work, err);
    }
    if (st == KF_OK) {
        result->block = *work.floats;
        st = work.needs_statistics && work.is_sequential ? quantize_in_steps(&work, err)
                                                         : quantize_at_once(&work, err);
    }
    if (st == KF_OK) {
        st = kfi_block_book_pairs(pipeline, &result->block, i_layer, err);
    }
    kfi_block_gather_end(&work);
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
    kfi_block_work work = {.pipeline = pipeline, .i_layer = i_layer, .result = &result};
    if (pipeline->prefix.n > 0) {
        KFI_TRY(kfi_model_block(pipeline->options.model, i_layer, &source, err));
        kfi_prefix_run_block(pipeline, source, i_layer);
    }
    KFI_TRY(kfi_workspace_reserve_block(pipeline->workspace, quantized, err));
    KFI_TRY(kfi_block_pass_whole(&work, err));
    KFI_TRY(kfi_block_book_pairs(pipeline, quantized, i_layer, err));
    pipeline->n_done = (uint64_t)pipeline->hidden.n_tokens * pipeline->n_passes * (i_layer + 1);
    return KF_OK;
}
