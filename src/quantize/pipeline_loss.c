/* pipeline_loss.c - what the held-back windows say of a quantized model, behind its last block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/pipeline.h"

static kf_status window_loss(kfi_pipeline *p, double *sum, float *logits, size_t i_window,
                             kf_error *err)
{
    const kfi_windows *windows = &p->options.windows;
    const kfi_kernels *kernels = kfi_kernels_get();
    const size_t vocabulary = p->config->vocabulary;
    const uint32_t *ids = windows->ids + windows->offsets[i_window];
    for (size_t t = 0; t + 1 < windows->length; t += KFI_LOSS_TOKENS) {
        const size_t rest = windows->length - 1 - t;
        const size_t n = rest < KFI_LOSS_TOKENS ? rest : KFI_LOSS_TOKENS;
        kfi_piece_norm(p, kfi_model_final_norm(p->options.model),
                       kfi_stream_row(&p->hidden, i_window * windows->length + t), n);
        KFI_TRY(
            kfi_head_forward(p->options.model, p->workspace, logits, p->buffers->normed, n, err));
        for (size_t i = 0; i < n; i++) {
            size_t arg_max = 0;
            const float *row = logits + i * vocabulary;
            *sum += kernels->log_sum_exp(row, vocabulary, &arg_max) - (double)row[ids[t + i + 1]];
        }
    }
    return KF_OK;
}

kf_status kfi_pipeline_loss(kfi_pipeline *pipeline, double *loss, kf_error *err)
{
    const kfi_windows *windows = &pipeline->options.windows;
    const kf_allocator *alloc = pipeline->options.worker.alloc;
    const size_t n_held_back = pipeline->options.n_held_back;
    const size_t bytes = KFI_LOSS_TOKENS * pipeline->config->vocabulary * sizeof(float);
    double sum = 0.0;
    float *logits = kfi_alloc(alloc, bytes);
    if (logits == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "logits of %zu bytes", bytes);
    }
    kf_status st = KF_OK;
    for (size_t w = windows->n - n_held_back; w < windows->n && st == KF_OK; w++) {
        st = window_loss(pipeline, &sum, logits, w, err);
    }
    kfi_free(alloc, logits, bytes);
    *loss = sum / (double)(n_held_back * (windows->length - 1));
    return st;
}
