/* quantize_job.c - quantizing with what the command line has at hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize_job.h"

#include <stdlib.h>
#include <string.h>

kf_status quantize_job_recipe(kf_recipe **recipe, const char *name, const text_list *set,
                              kf_error *err)
{
    kf_status st = kf_recipe_open(recipe, name, NULL, err);
    for (size_t i = 0; st == KF_OK && i < set->n; i++) {
        st = kf_recipe_set(*recipe, set->items[i], err);
    }
    return st;
}

static kf_status save_tokenizer(void *ctx, const char *directory, kf_error *err)
{
    const quantize_job *job = ctx;
    return kf_tokenizer_save(job->source->tokenizer, directory, err);
}

static void forward_layer(void *ctx, const kf_layer_report *report)
{
    const quantize_job *job = ctx;
    if (job->layer != NULL) {
        job->layer(job->ctx, report);
    }
}

/* The ids of the prefix that the recipe asks for: the start token, then its text. */
static kf_status prefix_ids(uint32_t **ids, size_t *n, const quantize_job *job, kf_error *err)
{
    const char *prefix = kf_recipe_prefix(job->recipe);
    const uint32_t start = kf_tokenizer_start(job->source->tokenizer);
    const bool is_text = strcmp(prefix, "start") != 0 && strcmp(prefix, "auto") != 0;
    if (strcmp(prefix, "none") == 0) {
        return KF_OK;
    }
    if (start == KF_NO_TOKEN) {
        return strcmp(prefix, "auto") == 0
                   ? KF_OK
                   : set_error(err, KF_RANGE,
                               "prefix: this model's tokenizer names no start token");
    }
    *ids = malloc(sizeof **ids);
    if (*ids == NULL) {
        return set_error(err, KF_NOMEM, "prefix");
    }
    (*ids)[0] = start;
    *n = 1;
    return is_text ? encode_text(ids, n, job->source->tokenizer, prefix, strlen(prefix),
                                 KF_ENCODE_SPECIAL, err)
                   : KF_OK;
}

void quantize_job_warn(const cli_subject *source, const text_list *set)
{
    kf_model_info info;
    kf_model_get_info(source->model, &info);
    for (size_t i = 0; info.tied && i < set->n; i++) {
        if (strncmp(set->items[i], "embedding=", 10) == 0) {
            subject_warn(source, "embedding= changes nothing: embedding and head of this model are "
                                 "one tensor, whose format is head=");
        }
    }
}

kf_status quantize_job_run(kf_quantize_result *result, const quantize_job *job, kf_error *err)
{
    uint32_t *prefix = NULL;
    size_t n_prefix = 0;
    quantize_job copy = *job;
    kf_quantize_options options = KF_QUANTIZE_OPTIONS_INIT;
    kf_status st = prefix_ids(&prefix, &n_prefix, job, err);
    if (st == KF_OK) {
        options.callbacks = job->source->callbacks;
        options.layer = forward_layer;
        options.finish = save_tokenizer;
        options.ctx = &copy;
        options.calibration = job->calibration;
        options.n_calibration = job->n_calibration;
        options.prefix = prefix;
        options.n_prefix = n_prefix;
        options.spill = job->spill;
        options.seed = job->seed;
        options.resume = job->resume;
        options.force = job->force;
        options.dry_run = job->dry_run;
        st = kf_quantize(result, job->source->model, job->out, job->recipe, &options, err);
    }
    free(prefix);
    terminal_clear();
    return st;
}
