/* sparse.h - single weights that methods keep beside a matrix: chosen, taken out, put back.
 *
 *     W = S + rest          S: the weights with the highest scores, 0 elsewhere
 *     W~ = round(rest)      by the method, on grids that S has no part in
 *     S~ = fp16(W - W~)     where S is: what the matrix stands for there need not be 0, so every
 *                           format will do, and a weight of S comes back to the precision of fp16
 *
 * The layer computes x^ (W~ + S~)^T. A method calls kfi_sparse_begin(), rounds job->weights, which
 * are then the rest, and calls kfi_sparse_end(). Where a layer has no room for single weights
 * (embedding, head, factors of a repair) and where none is wanted, both do nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_SPARSE_H
#define KFI_QUANTIZE_SPARSE_H

#include "quantize/round/round.h"

/* What makes a weight worth keeping: scores[cols] of a row, each finite. Any measure fits, such as
 * the gradients of a loss, once they are gathered. */
typedef void kfi_sparse_score(float *scores, const kfi_round_job *job, size_t row, const void *ctx);

/* |w| */
void kfi_sparse_magnitude(float *scores, const kfi_round_job *job, size_t row, const void *ctx);
/* w^2 E[x^2]: what the layer's output loses in the mean without the weight, alone. ctx: importance
 * [cols], of kfi_round_importance(). It stands in for squared gradients of the model's loss. */
void kfi_sparse_sensitivity(float *scores, const kfi_round_job *job, size_t row, const void *ctx);

/* Beside marks and rest, while weights are chosen. */
#define KFI_SPARSE_BIN_BYTES ((size_t)1 << 18)

typedef struct kfi_sparse_rule {
    double fraction; /* of all weights: at most so many, rounded down; <= 0: none */
    float least;     /* >= 0: only scores above it */
    kfi_sparse_score *score;
    const void *ctx;
} kfi_sparse_rule;

/* Chooses weights of the whole matrix by each rule in its turn, among those that the ones before
 * left; of equal scores the first. Sets job->sparse, values 0, and makes job->weights the rest.
 * What was chosen before is dropped; where any are chosen, grids that were fitted and a codebook
 * that was learned count no more. KF_NOMEM; KF_UNSUPPORTED: the matrix is wider than
 * KFI_SPARSE_COLS_MOST. Cost: each rule scores all weights three times; five bytes a weight. */
KF_NODISCARD kf_status kfi_sparse_begin(kfi_round_job *job, const kfi_sparse_rule *rules,
                                        size_t n_rules, kf_error *err);
/* Sets the values to what the codes and grids lack. */
void kfi_sparse_fill(kfi_round_job *job);
/* That, and brings the weights back. */
void kfi_sparse_end(kfi_round_job *job);
/* Brings the weights back and leaves the values that the method has set. */
void kfi_sparse_close(kfi_round_job *job);
/* Brings the weights back and drops all. */
void kfi_sparse_clear(kfi_round_job *job);

/* The nearest that a value of fp16 can be; finite. */
uint16_t kfi_sparse_half(float value);
/* After marks changed, each row keeping its number: the columns follow; values become 0. */
void kfi_sparse_move(kfi_round_job *job, size_t row);
/* Sets the value at a weight that is marked; returns what it is read as. */
float kfi_sparse_set(kfi_round_job *job, size_t row, size_t col, float value);
/* While the matrix is rounded, of one that is marked: its value becomes what brings `read`, the
 * matrix's part, to the weight and `more`, by which others moved its 0 of the rest. Returns what
 * the rest is read as there: more, but for the rounding to fp16. */
float kfi_sparse_move_to(kfi_round_job *job, size_t row, size_t col, float read, float more);
/* Takes the values of a row off e[cols]. */
void kfi_sparse_subtract_row(float *e, const kfi_round_job *job, size_t row);

/* Weights of the largest fraction, as kfi_sparse_begin() counts them, and bytes of so many. */
static inline size_t kfi_sparse_count(double fraction, size_t rows, size_t cols)
{
    return fraction > 0.0 ? (size_t)(fraction * ((double)rows * (double)cols)) : 0;
}
static inline uint64_t kfi_sparse_bytes(size_t n, size_t rows)
{
    return n == 0 ? 0 : sizeof(uint32_t) * ((uint64_t)rows + 1) + 2 * sizeof(uint16_t) * n;
}

#endif /* KFI_QUANTIZE_SPARSE_H */
