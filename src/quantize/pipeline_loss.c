/* pipeline_loss.c - what the held-back windows say of a quantized model, behind its last block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "linalg/matrix.h"
#include "model/checkpoint_names.h"
#include "quantize/pipeline.h"

/* What is known of a token's logits so far. */
typedef struct token_logits {
    double log_sum; /* of the exponentials */
    double target;  /* the next token's */
} token_logits;

typedef struct measuring {
    kfi_pipeline *pipeline;
    token_logits *tokens; /* [held-back windows][length - 1] */
    float *weights;       /* [KFI_LOSS_ROWS][hidden], a piece of the head */
    float *logits;        /* [KFI_LOSS_TOKENS][KFI_LOSS_ROWS] */
    size_t row, n_rows;   /* of the piece */
} measuring;

static double add_logs(double a, double b)
{
    const double larger = a > b ? a : b;
    const double smaller = a > b ? b : a;
    return larger + log1p(exp(smaller - larger));
}

/* The piece's logits of n tokens, joined with those of the pieces before. ids: what comes next. */
static void measure_tokens(const measuring *m, token_logits *tokens, const float *hidden,
                           const uint32_t *ids, size_t n)
{
    kfi_pipeline *p = m->pipeline;
    memcpy(p->buffers->hidden, hidden, n * p->config->hidden * sizeof *hidden);
    kfi_residual_restore(p->workspace, p->residual_signs, p->buffers->hidden, n);
    kfi_piece_norm(p, kfi_model_final_norm(p->options.model), p->buffers->hidden, n);
    const kfi_gemm product = {.kind = KFI_GEMM_NT,
                              .m = n,
                              .n = m->n_rows,
                              .k = p->config->hidden,
                              .a = p->buffers->normed,
                              .ld_a = p->config->hidden,
                              .b = m->weights,
                              .ld_b = p->config->hidden,
                              .c = m->logits,
                              .ld_c = KFI_LOSS_ROWS};
    kfi_matrix_multiply(p->options.worker.pool, &product);
    for (size_t i = 0; i < n; i++) {
        size_t arg_max = 0;
        const float *row = m->logits + i * KFI_LOSS_ROWS;
        const double log_sum = kfi_kernels_get()->log_sum_exp(row, m->n_rows, &arg_max);
        tokens[i].log_sum = add_logs(tokens[i].log_sum, log_sum);
        if (ids[i] >= m->row && ids[i] - m->row < m->n_rows) {
            tokens[i].target = (double)row[ids[i] - m->row];
        }
    }
}

static void measure_windows(const measuring *m)
{
    const kfi_pipeline *p = m->pipeline;
    const kfi_windows *windows = &p->options.windows;
    const size_t n_scored = windows->length - 1;
    token_logits *tokens = m->tokens;
    for (size_t w = windows->n - p->options.n_held_back; w < windows->n; w++) {
        for (size_t t = 0; t < n_scored; t += KFI_LOSS_TOKENS) {
            const size_t n = n_scored - t < KFI_LOSS_TOKENS ? n_scored - t : KFI_LOSS_TOKENS;
            measure_tokens(m, tokens + t, kfi_stream_row(&p->hidden, w * windows->length + t),
                           windows->ids + windows->offsets[w] + t + 1, n);
        }
        tokens += n_scored;
    }
}

/* The head is not in memory: each piece of it is decoded once for all tokens. */
static kf_status measure(measuring *m, kf_error *err)
{
    kf_model *model = m->pipeline->options.model;
    const kfi_config *config = m->pipeline->config;
    const char *name = config->tied ? KFI_TENSOR_EMBEDDING : KFI_TENSOR_HEAD;
    for (m->row = 0; m->row < config->vocabulary; m->row += KFI_LOSS_ROWS) {
        const size_t rest = config->vocabulary - m->row;
        m->n_rows = rest < KFI_LOSS_ROWS ? rest : KFI_LOSS_ROWS;
        KFI_TRY(kfi_model_read_rows(model, name, m->row, m->n_rows, m->weights, err));
        measure_windows(m);
    }
    return KF_OK;
}

kf_status kfi_pipeline_loss(kfi_pipeline *pipeline, double *loss, kf_error *err)
{
    const kf_allocator *alloc = pipeline->options.worker.alloc;
    const size_t n = pipeline->options.n_held_back * (pipeline->options.windows.length - 1);
    const size_t weights_bytes = KFI_LOSS_ROWS * pipeline->config->hidden * sizeof(float);
    const size_t logits_bytes = KFI_LOSS_TOKENS * KFI_LOSS_ROWS * sizeof(float);
    kf_status st = KF_NOMEM;
    measuring m = {.pipeline = pipeline,
                   .tokens = kfi_alloc(alloc, n * sizeof *m.tokens),
                   .weights = kfi_alloc(alloc, weights_bytes),
                   .logits = kfi_alloc(alloc, logits_bytes)};
    *loss = 0.0;
    if (m.tokens == NULL || m.weights == NULL || m.logits == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "logits of %zu tokens", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        m.tokens[i] = (token_logits){.log_sum = -(double)INFINITY};
    }
    st = measure(&m, err);
    for (size_t i = 0; i < n; i++) {
        *loss += (m.tokens[i].log_sum - m.tokens[i].target) / (double)n;
    }
done:
    kfi_free(alloc, m.tokens, n * sizeof *m.tokens);
    kfi_free(alloc, m.weights, weights_bytes);
    kfi_free(alloc, m.logits, logits_bytes);
    return st;
}
