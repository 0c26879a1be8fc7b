/* quarot.c - QuaRot: rotates everything that is quantized, so that no channel is an outlier.
 *
 * Source: S. Ashkboos, A. Mohtashami, M. L. Croci, B. Li, P. Cameron, M. Jaggi, D. Alistarh, T.
 * Hoefler, J. Hensman, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", 2024,
 * arXiv:2404.00456, section 4.
 *
 * H is an orthonormal Hadamard matrix, D random signs by the seed.
 *
 *     residual stream    r' = H D r                              once behind the embedding
 *     norms              gains g go into the layers behind: W diag(g)
 *     q, k, v, gate, up  W' = W diag(g) D^T H^T                  read r'
 *     o, down            W' = H D W D_i^T H_i^T                  write r'; their inputs are rotated
 *                                                                online: x' = H_i D_i x
 *
 * A row w of W D^T H^T is H D w: rows of weights are rotated as inputs are. RMSNorm commutes with
 * rotations once its gains are gone.
 *
 * Differences from the authors' code: the table is stored unrotated, since it may be tied, and so
 * the stream is rotated behind the lookup and back in front of the final norm, whose gains stay; o
 * reads its whole input rotated online, in place of a head's Hadamard folded into v and one across
 * heads: 9 heads of SmolLM2 have none; its and down's rotations have random signs too; the
 * embedding's mean stays (subtracting it is a relic of LayerNorm); keys and values are rotated by
 * the cache.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "base/rng.h"
#include "linalg/hadamard.h"
#include "quantize/method.h"

static kf_status quarot_check(const kfi_config *config, const double *values, kf_error *err)
{
    (void)values;
    KFI_TRY(kfi_hadamard_check(config->hidden, err));
    KFI_TRY(kfi_hadamard_check(config->n_heads * config->head_dim, err));
    return kfi_hadamard_check(config->feed_forward, err);
}

static uint64_t quarot_map_bytes(const kfi_config *config, const double *values)
{
    (void)values;
    return (uint64_t)config->n_heads * config->head_dim + config->feed_forward;
}

/* The layers of a step read the rotated stream. */
static void rotate_readers(const kfi_transform_job *job, const kfi_rotation *residual,
                           size_t i_step)
{
    kfi_float_block_fold_gains(job->floats, i_step);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        kfi_hadamard_rows(job->pool, residual, job->floats->weights[role],
                          job->floats->block.linears[role].rows);
    }
}

/* The only layer of a step reads an input that is rotated online, and writes the rotated stream. */
static kf_status rotate_writer(const kfi_transform_job *job, const kfi_rotation *residual,
                               size_t i_step, kf_error *err)
{
    const size_t role = kfi_step_first(i_step);
    const kfi_linear *linear = &job->floats->block.linears[role];
    kfi_rng rng;
    kfi_hadamard hadamard;
    int8_t *signs = NULL;
    kfi_rng_init(&rng, job->seed + KFI_STEP_COUNT * job->i_layer + i_step);
    KFI_TRY(kfi_float_block_add_signs(&signs, job->floats, i_step, &rng, err));
    KFI_TRY(kfi_hadamard_init(&hadamard, linear->cols, job->alloc, err));
    const kfi_rotation input = kfi_hadamard_forward(&hadamard, signs);
    kfi_hadamard_rows(job->pool, &input, job->floats->weights[role], linear->rows);
    kfi_hadamard_deinit(&hadamard);
    return kfi_rotate_columns(job->floats->weights[role], linear->rows, linear->cols, residual,
                              job->pool, job->alloc, err);
}

static kf_status quarot_transform(kfi_transform_job *job, kf_error *err)
{
    kfi_hadamard hadamard;
    KFI_TRY(kfi_hadamard_init(&hadamard, job->floats->hidden, job->alloc, err));
    const kfi_rotation residual = kfi_hadamard_forward(&hadamard, job->residual_signs);
    rotate_readers(job, &residual, KFI_STEP_QKV);
    rotate_readers(job, &residual, KFI_STEP_GATE_UP);
    kf_status st = rotate_writer(job, &residual, KFI_STEP_O, err);
    if (st == KF_OK) {
        st = rotate_writer(job, &residual, KFI_STEP_DOWN, err);
    }
    kfi_hadamard_deinit(&hadamard);
    return st;
}

const kfi_method kfi_method_quarot = {
    .about = {.name = "quarot",
              .stage = "transform",
              .summary = "Rotates weights, the residual stream and the inputs of o and down.",
              .paper = "S. Ashkboos, A. Mohtashami, M. L. Croci, B. Li, P. Cameron, M. Jaggi, D. "
                       "Alistarh, T. Hoefler, J. Hensman, QuaRot: Outlier-Free 4-Bit Inference in "
                       "Rotated LLMs, 2024, arXiv:2404.00456",
              .statistics = "none"},
    .stage = KFI_STAGE_TRANSFORM,
    .rotates_residual = true,
    .maps_inputs = true,
    .check = quarot_check,
    .map_bytes = quarot_map_bytes,
    .transform = quarot_transform,
};
