/* block_transform.c - the recipe's transforms on a float copy of a block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/block_work.h"

static kf_status gather_all(kfi_block_work *work, const kfi_statistics_request *request,
                            kf_error *err)
{
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(kfi_block_gather_begin(work, i, request, 1, err));
    }
    KFI_TRY(kfi_block_pass_float(work, err));
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        kfi_gathering_finish(&work->gatherings[i], work->pipeline->options.worker.pool);
    }
    return KF_OK;
}

static kf_status transform(kfi_block_work *work, const kfi_method_use *use, kf_error *err)
{
    kfi_pipeline *p = work->pipeline;
    const kfi_statistics_request request = kfi_method_use_request(use);
    kfi_transform_job job = {.floats = &work->result->floats,
                             .knobs = use->knobs,
                             .residual_signs = p->residual_signs,
                             .seed = p->options.seed,
                             .i_layer = work->i_layer,
                             .pool = p->options.worker.pool,
                             .alloc = p->options.worker.alloc};
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
    kfi_block_gather_end(work);
    KFI_TRY(kfi_workspace_reserve_block(p->workspace, work->floats, err));
    kfi_prefix_run_inputs(p, work->floats);
    return KF_OK;
}

/* Room for what the maps of this block make of a batch. */
static kf_status reserve_mapped(kfi_block_work *work, kf_error *err)
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

kf_status kfi_block_transform(kfi_block_work *work, kf_error *err)
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
