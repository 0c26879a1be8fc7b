/* block_gather.c - what the steps of a block learn of the calibration tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "quantize/block_work.h"

/* Room for what a clip is searched on, where a layer of the step wants that. */
static kf_status begin_sample(kfi_block_work *work, size_t i_step, kf_error *err)
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
static const float *map_input(const kfi_block_work *work, size_t i_step, const float *x, size_t n)
{
    const kfi_pipeline *p = work->pipeline;
    const kfi_online *online = &work->floats->linears[kfi_step_first(i_step)].online;
    if (online->n_inputs == 0) {
        return x;
    }
    kfi_online_forward(p->workspace, online, p->mapped, x, n);
    return p->mapped;
}

kf_status kfi_block_gather_begin(kfi_block_work *work, size_t i_step,
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

kf_status kfi_block_gather_begin_step(kfi_block_work *work, size_t i_step, kf_error *err)
{
    const size_t first = kfi_step_first(i_step);
    KFI_TRY(begin_sample(work, i_step, err));
    return kfi_block_gather_begin(work, i_step, &work->requests[first],
                                  kfi_step_last(i_step) - first + 1, err);
}

/* Outliers are 0 in what a clip is searched for: their codes are others. */
static void drop_outliers(const kfi_block_work *work, size_t i_step, size_t n)
{
    const kfi_pipeline *p = work->pipeline;
    const size_t cols = work->floats->linears[kfi_step_first(i_step)].cols;
    const size_t n_outliers = work->result->floats.n_outliers[i_step];
    for (size_t t = 0; t < n && n_outliers > 0; t++) {
        memset(p->mapped + (t + 1) * cols - n_outliers, 0, n_outliers * sizeof *p->mapped);
    }
}

void kfi_block_gather(kfi_block_work *work, size_t i_step, const float *x, const kfi_batch *b)
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

void kfi_block_gather_end(kfi_block_work *work)
{
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        kfi_gathering_end(&work->gatherings[i]);
        kfi_clip_sample_deinit(&work->samples[i]);
    }
}
