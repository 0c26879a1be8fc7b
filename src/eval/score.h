/* score.h - from logits to losses and divergences of single tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_EVAL_SCORE_H
#define KFI_EVAL_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Mean and standard error of n values (NaN error for n < 2). */
void kfi_mean_and_error(double *mean, double *error, const double *values, size_t n);

/* The value below which a part of n values lies; sorts them. part in 0 … 1; linear between
 * neighbours. */
double kfi_quantile(double *values, size_t n, double part);

#endif /* KFI_EVAL_SCORE_H */
