/* score.c - from logits to losses and divergences of single tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "eval/score.h"

#include <math.h>

#include "kernels/kernels.h"

/* KL(p || q) = sum p (log p - log q) with log p = x - log_sum. Terms of p below 1e-30 add nothing
 * that a double would show. Logits that are not finite diverge infinitely: NaN must not look like
 * 0. */
static double divergence(const float *reference, double reference_log_sum, const float *logits,
                         double log_sum, size_t n)
{
    const double shift = log_sum - reference_log_sum;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const float log_p = reference[i] - (float)reference_log_sum;
        if (log_p > -69.0f) {
            sum += (double)expf(log_p) * ((double)reference[i] - (double)logits[i] + shift);
        }
    }
    if (!isfinite(shift) || !isfinite(sum)) {
        return (double)INFINITY;
    }
    return sum > 0 ? sum : 0; /* rounding can make it a hair negative */
}

kfi_score kfi_score_token(const float *logits, const float *reference, size_t n, uint32_t target)
{
    const kfi_kernels *kernels = kfi_kernels_get();
    kfi_score score = {.reference_loss = (double)NAN, .divergence = (double)NAN};
    size_t best = 0;
    const double log_sum = kernels->log_sum_exp(logits, n, &best);
    score.loss = log_sum - (double)logits[target];
    if (!isfinite(score.loss)) {
        score.loss = (double)INFINITY;
    }
    if (reference != NULL) {
        size_t reference_best = 0;
        const double reference_log_sum = kernels->log_sum_exp(reference, n, &reference_best);
        score.reference_loss = reference_log_sum - (double)reference[target];
        score.divergence = divergence(reference, reference_log_sum, logits, log_sum, n);
        score.agrees = best == reference_best;
    }
    return score;
}

/* The whole part of the logarithm to base 2, within the bands there are. */
static size_t band_of(size_t n_before)
{
    size_t i = 0;
    while (i + 1 < KF_EVAL_BANDS && n_before >> (i + 1) > 0) {
        i++;
    }
    return i;
}

void kfi_bands_add(kf_eval_band *bands, size_t n_before, const kfi_score *score)
{
    kf_eval_band *band = &bands[band_of(n_before)];
    band->tokens++;
    band->loss += score->loss;
    band->loss_difference += score->loss - score->reference_loss;
    band->kl_mean += score->divergence;
}

size_t kfi_bands_finish(kf_eval_band *bands, size_t window)
{
    const size_t n_bands = band_of(window - 1) + 1;
    for (size_t i = 0; i < n_bands; i++) {
        kf_eval_band *band = &bands[i];
        band->first = (size_t)1 << i;
        band->last = i + 1 < n_bands ? 2 * band->first - 1 : window - 1;
        band->loss /= (double)band->tokens;
        band->loss_difference /= (double)band->tokens;
        band->kl_mean /= (double)band->tokens;
    }
    return n_bands;
}

void kfi_mean_and_error(double *mean, double *error, const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    *mean = sum / (double)n;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = values[i] - *mean;
        squares += d * d;
    }
    *error = n < 2 ? (double)NAN : sqrt(squares / (double)(n - 1) / (double)n);
}
