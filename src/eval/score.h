/* score.h - from logits to losses and divergences of single tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_EVAL_SCORE_H
#define KFI_EVAL_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/eval.h"

/* What one scored token gives, in nats. */
typedef struct kfi_score {
    double loss;           /* -log p(target) */
    double reference_loss; /* NaN without a reference */
    double divergence;     /* KL(reference || model); NaN without */
    bool agrees;           /* the same most likely token; false without */
} kfi_score;

/* Scores one token from its logits over n ids; reference may be NULL. Logits that are not finite
 * give an infinite loss and an infinite divergence. */
kfi_score kfi_score_token(const float *logits, const float *reference, size_t n, uint32_t target);

/* Adds a scored token that has n_before tokens of its window in front of it, >= 1, to its band; the
 * figures are sums until kfi_bands_finish makes means of them for windows of so many tokens and
 * returns the number of bands. Bands start as zeros. */
void kfi_bands_add(kf_eval_band *bands, size_t n_before, const kfi_score *score);
size_t kfi_bands_finish(kf_eval_band *bands, size_t window);

/* Mean and standard error of n values (NaN error for n < 2). */
void kfi_mean_and_error(double *mean, double *error, const double *values, size_t n);

#endif /* KFI_EVAL_SCORE_H */
