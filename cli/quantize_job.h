/* quantize_job.h - quantizing with what the command line has at hand; shared by quantize and
 * compare.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_QUANTIZE_JOB_H
#define KERF_CLI_QUANTIZE_JOB_H

#include "kerf/quantize.h"
#include "subject.h"

typedef struct quantize_job {
    const cli_subject *source; /* model and tokenizer open */
    const kf_recipe *recipe;
    const char *out;
    const uint32_t *calibration; /* ids, or NULL */
    size_t n_calibration;
    const char *spill;
    uint64_t seed;
    bool resume, force, dry_run;
    void (*layer)(void *ctx, const kf_layer_report *report);
    void *ctx;
} quantize_job;

/* Opens a recipe by its name or file, with the changes that --set makes; to be freed also when this
 * fails. */
kf_status quantize_job_recipe(kf_recipe **recipe, const char *name, const text_list *set,
                              kf_error *err);

/* Fills in the prefix and the tokenizer's files, and quantizes. */
kf_status quantize_job_run(kf_quantize_result *result, const quantize_job *job, kf_error *err);

/* Warns of a --set that changes nothing of this model. */
void quantize_job_warn(const cli_subject *source, const text_list *set);

#endif /* KERF_CLI_QUANTIZE_JOB_H */
