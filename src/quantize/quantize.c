/* quantize.c - quantizing a checkpoint from beginning to end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "quantize/decide.h"
#include "quantize/meter.h"
#include "quantize/output.h"
#include "quantize/plan.h"
#include "quantize/writer.h"

/* One run. */
typedef struct run {
    kfi_meter meter;
    kf_model *model;
    const kf_recipe *recipe;
    const kf_quantize_options *options;
    kfi_worker worker;
    kfi_output output;
    kfi_identity identity;
    kfi_writer writer;
    size_t *offsets; /* [recipe->samples] */
    size_t n_finished;
} run;

/* ---- blocks ---- */

static kf_status one_block(run *r, kfi_pipeline *pipeline, size_t i_layer, kf_error *err)
{
    if (i_layer < r->n_finished) {
        kfi_resumed resumed;
        KFI_TRY(kfi_resume_open(&resumed, &r->writer, i_layer, r->options, err));
        const kf_status st = kfi_pipeline_pass(pipeline, &resumed.block, i_layer, err);
        kfi_resume_close(&resumed);
        kfi_model_release_block(r->model, i_layer);
        return st;
    }
    kfi_block_result result;
    KFI_TRY(kfi_pipeline_quantize(pipeline, &result, i_layer, err));
    kf_status st = kfi_writer_block(&r->writer, &result, i_layer, err);
    for (size_t role = 0; role < KFI_LINEAR_COUNT && st == KF_OK; role++) {
        if (r->options->layer != NULL) {
            r->options->layer(r->options->ctx, &result.layers[role].report);
        }
    }
    kfi_block_result_deinit(&result);
    kfi_model_release_block(r->model, i_layer);
    return st;
}

static kf_status all_blocks(run *r, kfi_pipeline *pipeline, kf_error *err)
{
    const size_t n_layers = pipeline->config->n_layers;
    for (size_t i = 0; i < n_layers; i++) {
        if (kfi_report_cancelled(r->worker.callbacks)) {
            return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled in front of block %zu",
                            i + 1);
        }
        KFI_TRY(one_block(r, pipeline, i, err));
        if (pipeline->hidden.n_tokens == 0) { /* else the pipeline counts tokens */
            kfi_report_progress(&pipeline->report, "blocks", "blocks", i + 1, n_layers);
        }
    }
    return KF_OK;
}

/* The windows of the calibration text; none where every method goes without, or where no block is
 * left to be quantized. */
static kf_status draw_windows(run *r, kfi_windows *windows, kf_error *err)
{
    const kf_quantize_options *options = r->options;
    *windows = (kfi_windows){.ids = options->calibration, .length = r->recipe->length};
    if (kf_recipe_calibrates(r->recipe) == NULL ||
        r->n_finished == kfi_model_config(r->model)->n_layers) {
        return KF_OK;
    }
    r->offsets = kfi_alloc(r->worker.alloc, r->recipe->samples * sizeof *r->offsets);
    if (r->offsets == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "offsets of %zu windows", r->recipe->samples);
    }
    kfi_windows_draw(r->offsets, r->recipe->samples, 0, options->n_calibration, r->recipe->length,
                     options->seed);
    windows->offsets = r->offsets;
    windows->n = r->recipe->samples;
    return KF_OK;
}

static kf_status write_tensors(run *r, kf_error *err)
{
    kfi_pipeline pipeline;
    kfi_pipeline_options options = {.model = r->model,
                                    .recipe = r->recipe,
                                    .worker = r->worker,
                                    .prefix = r->identity.prefix.ids,
                                    .n_prefix = r->identity.prefix.n,
                                    .seed = r->options->seed,
                                    .spill = r->options->spill};
    KFI_TRY(draw_windows(r, &options.windows, err));
    KFI_TRY(kfi_pipeline_init(&pipeline, &options, err));
    r->writer.residual_signs = pipeline.residual_signs;
    const size_t block_bytes = kfi_model_block_bytes(r->model);
    kfi_meter_count(&r->meter, block_bytes); /* the source's, decoded */
    kf_status st = all_blocks(r, &pipeline, err);
    kfi_meter_uncount(&r->meter, block_bytes);
    if (st == KF_OK) {
        st = kfi_writer_rest(&r->writer, &pipeline.prefix, r->options, err);
    }
    r->writer.residual_signs = NULL; /* the pipeline's */
    kfi_pipeline_deinit(&pipeline);
    return st;
}

/* ---- the directory ---- */

static kf_status begin(run *r, kfi_output_state state, kf_error *err)
{
    if (state == KFI_OUTPUT_PARTIAL) {
        r->n_finished = kfi_resume_count(&r->writer);
        return kfi_output_clean(&r->output, err);
    }
    KFI_TRY(
        kfi_decide_prefix(&r->identity.prefix, r->model, r->recipe, &r->worker, r->options, err));
    return kfi_output_begin(&r->output, &r->identity, err);
}

static kf_status finish(run *r, const kfi_totals *totals, kf_error *err)
{
    const kf_quantize_options *options = r->options;
    KFI_TRY(kfi_writer_index(&r->writer, totals, err));
    KFI_TRY(kfi_writer_config(&r->writer, err));
    if (options->finish != NULL) {
        KFI_TRY(options->finish(options->ctx, r->output.partial, err));
    }
    return kfi_writer_kerf(&r->writer, totals, &r->identity, err);
}

static void fill_result(const run *r, kf_quantize_result *result, const kfi_totals *totals)
{
    kf_model_info info;
    kf_model_get_info(r->model, &info);
    *result = (kf_quantize_result){
        .parameters = totals->parameters,
        .source_bytes = info.bytes,
        .bytes = totals->bytes,
        .bits_per_weight = totals->bits_per_weight,
        .bits_per_weight_linear = totals->bits_per_weight_linear,
        .n_layers_resumed = r->n_finished,
        .prefix = r->identity.prefix.kind,
        .n_prefix = r->identity.prefix.n,
        .prefix_loss = {r->identity.prefix.loss[0], r->identity.prefix.loss[1]},
        .disk_bytes = totals->bytes,
    };
}

static kf_status run_all(run *r, kf_quantize_result *result, kf_error *err)
{
    kfi_output_state state = KFI_OUTPUT_FRESH;
    kfi_totals totals;
    KFI_TRY(kfi_output_lock(&r->output, err));
    KFI_TRY(kfi_output_recover(&r->output, err));
    KFI_TRY(kfi_output_check(&r->output, r->options, err));
    KFI_TRY(kfi_identity_init(&r->identity, r->model, r->recipe, r->options, err));
    KFI_TRY(kfi_output_resume(&r->output, &state, &r->identity, r->options, err));
    r->writer = (kfi_writer){.directory = r->output.partial,
                             .model = r->model,
                             .recipe = r->recipe,
                             .worker = r->worker};
    if (state == KFI_OUTPUT_COMPLETE) {
        r->n_finished = kfi_model_config(r->model)->n_layers;
        r->writer.directory = r->output.path;
        KFI_TRY(kfi_writer_totals(&totals, &r->writer, err));
        fill_result(r, result, &totals);
        return KF_OK;
    }
    KFI_TRY(begin(r, state, err));
    KFI_TRY(write_tensors(r, err));
    KFI_TRY(kfi_writer_totals(&totals, &r->writer, err));
    KFI_TRY(finish(r, &totals, err));
    fill_result(r, result, &totals);
    return kfi_output_finish(&r->output, err);
}

static kf_status check_options(kf_quantize_options *checked, const kf_quantize_options *options,
                               kf_error *err)
{
    const kf_quantize_options defaults = KF_QUANTIZE_OPTIONS_INIT;
    *checked = options != NULL ? *options : defaults;
    if (checked->size != sizeof *checked) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "options of %zu bytes, expected %zu",
                        checked->size, sizeof *checked);
    }
    if (checked->calibration == NULL) {
        checked->n_calibration = 0;
    }
    if (checked->prefix == NULL) {
        checked->n_prefix = 0;
    }
    return KF_OK;
}

static kf_status run_metered(kf_quantize_result *result, kf_model *source, const char *out,
                             const kf_recipe *recipe, const kf_quantize_options *options,
                             kf_error *err)
{
    run r = {.model = source, .recipe = recipe, .options = options};
    kfi_meter_init(&r.meter, options->alloc);
    r.worker = (kfi_worker){.pool = kfi_model_pool(source),
                            .alloc = &r.meter.allocator,
                            .callbacks = options->callbacks};
    KFI_TRY(kfi_output_init(&r.output, out, kfi_model_path(source), r.worker.alloc, err));
    const kf_status st = run_all(&r, result, err);
    kfi_free(r.worker.alloc, r.offsets, recipe->samples * sizeof *r.offsets);
    kfi_output_deinit(&r.output);
    result->memory_bytes = atomic_load(&r.meter.peak);
    return st;
}

static kf_status check_resumed(const kfi_output *output, kf_model *source, const kf_recipe *recipe,
                               const kf_quantize_options *options, kf_error *err)
{
    kfi_identity identity;
    kfi_output_state state;
    if (!options->resume) { /* nothing to compare with: the source need not be hashed */
        return KF_OK;
    }
    KFI_TRY(kfi_identity_init(&identity, source, recipe, options, err));
    return kfi_output_resume(output, &state, &identity, options, err);
}

/* The dry run refuses what the real one would refuse. */
static kf_status run_dry(kf_quantize_result *result, kf_model *source, const char *out,
                         const kf_recipe *recipe, const kf_quantize_options *options, kf_error *err)
{
    kfi_output output;
    KFI_TRY(kfi_output_init(&output, out, kfi_model_path(source), options->alloc, err));
    kf_status st = kfi_output_lock(&output, err);
    if (st == KF_OK) {
        st = kfi_output_check(&output, options, err);
    }
    if (st == KF_OK) {
        st = check_resumed(&output, source, recipe, options, err);
    }
    if (st == KF_OK) {
        st = kfi_plan_estimate(result, source, recipe, options, err);
    }
    kfi_output_deinit(&output);
    return st;
}

kf_status kf_quantize(kf_quantize_result *result, kf_model *source, const char *out,
                      const kf_recipe *recipe, const kf_quantize_options *options, kf_error *err)
{
    const double start = kfi_clock_seconds();
    kf_quantize_options checked;
    kf_quantize_result made = {0};
    KFI_TRY(check_options(&checked, options, err));
    KFI_TRY(kfi_plan_check(source, recipe, &checked, err));
    if (checked.dry_run) {
        KFI_TRY(run_dry(&made, source, out, recipe, &checked, err));
    } else {
        KFI_TRY(run_metered(&made, source, out, recipe, &checked, err));
        made.seconds = kfi_clock_seconds() - start;
    }
    if (result != NULL) {
        *result = made;
    }
    return KF_OK;
}
