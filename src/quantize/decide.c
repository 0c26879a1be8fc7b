/* decide.c - the prefix of a recipe, decided by trial where it says "auto".
 *
 * The last eighth of the text is held back: trials calibrate on windows of the rest and are judged
 * on windows of that part. Both trials use the same windows, so that the difference is paired.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/decide.h"

#include <string.h>

#include "base/fail.h"

#define TRIAL_WINDOWS     4u
#define TRIAL_HELD_BACK   4u
#define TRIAL_LENGTH_MOST 1024u
#define HELD_BACK_PART    8u

typedef struct trial {
    kfi_pipeline_options options;
    size_t offsets[TRIAL_WINDOWS + TRIAL_HELD_BACK];
} trial;

/* Tokens of a window: with the start token no more than the model's context, which a recipe that
 * calibrates nothing may exceed. */
static size_t trial_length(const kf_model *model, const kf_recipe *recipe)
{
    return kfi_least(kfi_least(recipe->length, TRIAL_LENGTH_MOST),
                     kfi_model_config(model)->context - 1);
}

/* False where the text is too short for it. */
static bool trial_init(trial *t, kf_model *model, const kf_recipe *recipe, const kfi_worker *worker,
                       const kf_quantize_options *options)
{
    const size_t n_ids = options->n_calibration;
    const size_t length = trial_length(model, recipe);
    const size_t n_windows = kfi_least(recipe->samples, TRIAL_WINDOWS);
    const size_t end = n_ids - n_ids / HELD_BACK_PART;
    if (options->calibration == NULL || length < KFI_WINDOW_LEAST || end < length ||
        n_ids - end < length) {
        return false;
    }
    kfi_windows_draw(t->offsets, n_windows, 0, end, length, options->seed);
    kfi_windows_draw(t->offsets + n_windows, TRIAL_HELD_BACK, end, n_ids, length,
                     options->seed + 1);
    t->options = (kfi_pipeline_options){.model = model,
                                        .recipe = recipe,
                                        .worker = *worker,
                                        .windows = {.ids = options->calibration,
                                                    .offsets = t->offsets,
                                                    .n = n_windows + TRIAL_HELD_BACK,
                                                    .length = length},
                                        .n_held_back = TRIAL_HELD_BACK,
                                        .prefix = options->prefix,
                                        .seed = options->seed,
                                        .spill = options->spill};
    t->options.worker.is_trial = true;
    return true;
}

size_t kfi_decide_tokens(kf_model *model, const kf_recipe *recipe,
                         const kf_quantize_options *options)
{
    trial t;
    const kfi_worker worker = {0};
    const bool tries = strcmp(recipe->prefix, "auto") == 0 && options->n_prefix > 0 &&
                       trial_init(&t, model, recipe, &worker, options);
    return tries ? t.options.windows.n * t.options.windows.length : 0;
}

static kf_status run_trial(double *loss, const trial *t, size_t n_prefix, kf_error *err)
{
    kfi_pipeline pipeline;
    kfi_pipeline_options options = t->options;
    options.n_prefix = n_prefix;
    KFI_TRY(kfi_pipeline_init(&pipeline, &options, err));
    pipeline.task = n_prefix > 0 ? "trial with the start token" : "trial without a prefix";
    kf_status st = KF_OK;
    for (size_t i = 0; i < pipeline.config->n_layers && st == KF_OK; i++) {
        kfi_block_result result;
        st = kfi_pipeline_quantize(&pipeline, &result, i, err);
        if (st == KF_OK) {
            kfi_block_result_deinit(&result);
        }
        kfi_model_release_block(options.model, i);
    }
    if (st == KF_OK) {
        st = kfi_pipeline_loss(&pipeline, loss, err);
    }
    kfi_pipeline_deinit(&pipeline);
    return st;
}

static kf_status decide_by_trial(kfi_prefix_choice *choice, kf_model *model,
                                 const kf_recipe *recipe, const kfi_worker *worker,
                                 const kf_quantize_options *options, kf_error *err)
{
    trial t;
    if (options->n_prefix == 0) {
        return KF_OK;
    }
    if (!trial_init(&t, model, recipe, worker, options)) {
        kfi_report_warn(worker->callbacks,
                        "prefix=auto: too little calibration text to try the start token, so none");
        return KF_OK;
    }
    KFI_TRY(run_trial(&choice->loss[0], &t, 0, err));
    KFI_TRY(run_trial(&choice->loss[1], &t, 1, err));
    if (choice->loss[1] < choice->loss[0]) {
        choice->kind = "start";
        choice->ids = options->prefix;
        choice->n = 1;
    }
    return KF_OK;
}

kf_status kfi_decide_prefix(kfi_prefix_choice *choice, kf_model *model, const kf_recipe *recipe,
                            const kfi_worker *worker, const kf_quantize_options *options,
                            kf_error *err)
{
    if (strcmp(recipe->prefix, "none") == 0) {
        return KF_OK;
    }
    if (strcmp(recipe->prefix, "auto") == 0) {
        return decide_by_trial(choice, model, recipe, worker, options, err);
    }
    const bool is_start = strcmp(recipe->prefix, "start") == 0;
    choice->kind = is_start ? "start" : "text";
    choice->ids = options->prefix;
    choice->n = is_start ? 1 : options->n_prefix;
    return KF_OK;
}
