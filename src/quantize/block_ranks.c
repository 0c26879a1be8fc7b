/* block_ranks.c - ranks of a block's low-rank pairs under a budget.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/block_work.h"
#include "quantize/repair/budget.h"

/* The layers of a block that share its budget. */
typedef struct ranks {
    kfi_budget_layer layers[KFI_LINEAR_COUNT];
    double *gains[KFI_LINEAR_COUNT]; /* [layers[i].most], owned */
    size_t roles[KFI_LINEAR_COUNT];
    size_t n;
} ranks;

static void ranks_deinit(ranks *r, const kf_allocator *alloc)
{
    for (size_t i = 0; i < r->n; i++) {
        kfi_free(alloc, r->gains[i], r->layers[i].most * sizeof *r->gains[i]);
    }
}

/* Bytes that the budgets of a block's layers give. */
static uint64_t allowed_bytes(const kfi_pipeline *p, const kfi_block *block, size_t i_layer)
{
    double bits = 0.0;
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_linear *linear = &block->linears[role];
        kfi_treatment treatment;
        kfi_recipe_treatment(&treatment, p->options.recipe, p->config,
                             kfi_name_weight(i_layer, (kfi_linear_role)role).text);
        bits += kfi_treatment_pair(&treatment, linear->rows, linear->cols).budget *
                (double)linear->rows * (double)linear->cols;
    }
    return (uint64_t)(bits / 8.0);
}

/* Finds what the pairs of a layer gain, if it has a budget. */
static kf_status add_layer(ranks *r, kfi_block_work *work, size_t role,
                           const kfi_statistics *statistics, kfi_prepared *prepared, kf_error *err)
{
    const kfi_worker *worker = &work->pipeline->options.worker;
    const kfi_layer_source *source = &work->sources[role];
    const kfi_linear *linear = source->linear;
    const kfi_repair_plan plan = kfi_treatment_pair(&source->treatment, linear->rows, linear->cols);
    if (plan.budget <= 0.0) {
        return KF_OK;
    }
    KFI_TRY(kfi_block_cancelled(work, err));
    double *gains = kfi_calloc(worker->alloc, plan.rank, sizeof *gains);
    if (gains == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "what %zu ranks gain", plan.rank);
    }
    r->gains[r->n] = gains;
    r->layers[r->n] = (kfi_budget_layer){.gains = gains,
                                         .most = plan.rank,
                                         .rows = linear->rows,
                                         .cols = linear->cols,
                                         .factors = plan.factors};
    r->roles[r->n++] = role;
    return kfi_layer_gains(gains, worker, source, statistics, prepared, err);
}

static kf_status add_step(ranks *r, kfi_block_work *work, size_t i_step, kf_error *err)
{
    const kfi_worker *worker = &work->pipeline->options.worker;
    kfi_gathering *g = &work->gatherings[i_step];
    kfi_prepared prepared = {0};
    kf_status st = KF_OK;
    kfi_gathering_finish(g, worker->pool);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step) && st == KF_OK;
         role++) {
        st = add_layer(r, work, role, kfi_gathering_find(g, &work->requests[role]), &prepared, err);
    }
    kfi_prepared_deinit(&prepared, worker->alloc);
    return st;
}

/* The inputs of all steps in float, for whatever the layers ask for. */
static kf_status gather(kfi_block_work *work, kf_error *err)
{
    for (size_t i = 0; i < KFI_STEP_COUNT && work->needs_statistics; i++) {
        const size_t first = kfi_step_first(i);
        KFI_TRY(kfi_block_gather_begin(work, i, &work->requests[first],
                                       kfi_step_last(i) - first + 1, err));
    }
    return work->needs_statistics ? kfi_block_pass_float(work, err) : KF_OK;
}

static kf_status choose(ranks *r, kfi_block_work *work, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    uint64_t spent = 0;
    KFI_TRY(gather(work, err));
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        KFI_TRY(add_step(r, work, i, err));
    }
    KFI_TRY(kfi_budget_spend(&spent, r->layers, r->n,
                             allowed_bytes(p, work->floats, work->i_layer) + p->pair_bytes, err));
    for (size_t i = 0; i < r->n; i++) {
        kfi_treatment_set_rank(&work->sources[r->roles[i]].treatment, r->layers[i].rank);
    }
    return KF_OK;
}

kf_status kfi_block_choose_ranks(kfi_block_work *work, kf_error *err)
{
    const kfi_pipeline *p = work->pipeline;
    ranks r = {0};
    if (!kfi_recipe_budgets(p->options.recipe)) {
        return KF_OK;
    }
    const kf_status st = choose(&r, work, err);
    kfi_block_gather_end(work);
    ranks_deinit(&r, p->options.worker.alloc);
    return st;
}

kf_status kfi_block_book_pairs(kfi_pipeline *pipeline, const kfi_block *quantized, size_t i_layer,
                               kf_error *err)
{
    pipeline->pair_bytes += allowed_bytes(pipeline, quantized, i_layer);
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_linear *linear = &quantized->linears[role];
        const kfi_packed *a = &linear->side.low_rank_a;
        kfi_treatment treatment;
        uint64_t bytes = 0;
        kfi_recipe_treatment(&treatment, pipeline->options.recipe, pipeline->config,
                             kfi_name_weight(i_layer, (kfi_linear_role)role).text);
        if (kfi_treatment_pair(&treatment, linear->rows, linear->cols).budget > 0.0) {
            KFI_TRY(kfi_pair_bytes(&bytes, a->format, linear->rows, linear->cols, a->rows, err));
            pipeline->pair_bytes -= bytes;
        }
    }
    return KF_OK;
}
