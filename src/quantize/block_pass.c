/* block_pass.c - moving the calibration tokens through a block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/block_work.h"

typedef void batch_task(kfi_block_work *work, const kfi_batch *b);

static uint64_t tokens_in_all(const kfi_pipeline *p)
{
    return (uint64_t)p->hidden.n_tokens * p->n_passes * p->config->n_layers;
}

/* A batch lies in one window, so that its tokens attend to each other alone. */
static kf_status each_batch(kfi_block_work *work, batch_task *task, kf_error *err)
{
    kfi_pipeline *p = work->pipeline;
    const kfi_windows *windows = &p->options.windows;
    char name[48];
    (void)snprintf(name, sizeof name, "block %zu of %zu", work->i_layer + 1, p->config->n_layers);
    for (size_t w = 0; w < windows->n; w++) {
        for (size_t t = 0; t < windows->length; t += p->batch) {
            KFI_TRY(kfi_block_cancelled(work, err));
            const kfi_batch b = {.row = w * windows->length + t,
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

static void see_attention_input(kfi_block_work *work, const kfi_batch *b)
{
    kfi_pipeline *p = work->pipeline;
    kfi_piece_norm(p, work->floats->attention_norm, kfi_stream_row(&p->hidden, b->row), b->n);
    kfi_block_gather(work, KFI_STEP_QKV, p->buffers->normed, b);
}

static void attend(kfi_block_work *work, const kfi_batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *attention = kfi_stream_row(&p->attention, b->row);
    kfi_piece_norm(p, work->floats->attention_norm, kfi_stream_row(&p->hidden, b->row), b->n);
    kfi_piece_attention(p, &work->result->block, attention, p->buffers->normed, b->position, b->n);
    kfi_block_gather(work, KFI_STEP_O, attention, b);
}

static void project(kfi_block_work *work, const kfi_batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *x = kfi_stream_row(&p->hidden, b->row);
    kfi_piece_project(p, &work->result->block, x, kfi_stream_row(&p->attention, b->row), b->n);
    kfi_piece_norm(p, work->floats->mlp_norm, x, b->n);
    kfi_block_gather(work, KFI_STEP_GATE_UP, p->buffers->normed, b);
}

/* gate and up are computed again in move_on(): keeping their outputs for all tokens would take two
 * to four times the hidden stream. */
static void see_down_input(kfi_block_work *work, const kfi_batch *b)
{
    kfi_pipeline *p = work->pipeline;
    kfi_piece_norm(p, work->floats->mlp_norm, kfi_stream_row(&p->hidden, b->row), b->n);
    kfi_piece_gate(p, &work->result->block, p->buffers->normed, b->n);
    kfi_block_gather(work, KFI_STEP_DOWN, p->buffers->gate, b);
}

static void move_on(kfi_block_work *work, const kfi_batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *x = kfi_stream_row(&p->hidden, b->row);
    kfi_piece_norm(p, work->floats->mlp_norm, x, b->n);
    kfi_piece_gate(p, &work->result->block, p->buffers->normed, b->n);
    kfi_piece_down(p, &work->result->block, x, b->n);
}

static void pass(kfi_block_work *work, const kfi_batch *b)
{
    kfi_pipeline *p = work->pipeline;
    kfi_block_forward(p->workspace, &work->result->block, kfi_stream_row(&p->hidden, b->row),
                      &p->kv, b->position, b->n);
}

static void weigh(kfi_block_work *work, const kfi_batch *b)
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

/* The hidden stream is not moved: the quantized block still has to see it. */
static void see_all_inputs(kfi_block_work *work, const kfi_batch *b)
{
    kfi_pipeline *p = work->pipeline;
    float *x = kfi_stream_row(&p->attention, b->row); /* of the same width at least: see init */
    memcpy(x, kfi_stream_row(&p->hidden, b->row), b->n * p->config->hidden * sizeof(float));
    kfi_piece_norm(p, work->floats->attention_norm, x, b->n);
    kfi_block_gather(work, KFI_STEP_QKV, p->buffers->normed, b);
    kfi_piece_attention(p, work->floats, p->buffers->attention, p->buffers->normed, b->position,
                        b->n);
    kfi_block_gather(work, KFI_STEP_O, p->buffers->attention, b);
    kfi_piece_project(p, work->floats, x, p->buffers->attention, b->n);
    kfi_piece_norm(p, work->floats->mlp_norm, x, b->n);
    kfi_block_gather(work, KFI_STEP_GATE_UP, p->buffers->normed, b);
    kfi_piece_gate(p, work->floats, p->buffers->normed, b->n);
    kfi_block_gather(work, KFI_STEP_DOWN, p->buffers->gate, b);
}

kf_status kfi_block_pass_step(kfi_block_work *work, size_t i_step, kf_error *err)
{
    static batch_task *const tasks[KFI_STEP_COUNT] = {see_attention_input, attend, project,
                                                      see_down_input};
    return each_batch(work, tasks[i_step], err);
}

kf_status kfi_block_pass_float(kfi_block_work *work, kf_error *err)
{
    return each_batch(work, see_all_inputs, err);
}

kf_status kfi_block_pass_rest(kfi_block_work *work, kf_error *err)
{
    return each_batch(work, move_on, err);
}

kf_status kfi_block_pass_whole(kfi_block_work *work, kf_error *err)
{
    return each_batch(work, pass, err);
}

kf_status kfi_block_weigh_tokens(kfi_block_work *work, kf_error *err)
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
