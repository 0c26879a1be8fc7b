/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/quantile.h"
#include "base/rng.h"
#include "eval/score.h"

#define N 1000

/* The definition, in double and in the plainest way. */
static double log_probability(const float *logits, size_t n, size_t i)
{
    double most = (double)logits[0];
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        most = fmax(most, (double)logits[k]);
    }
    for (size_t k = 0; k < n; k++) {
        sum += exp((double)logits[k] - most);
    }
    return (double)logits[i] - most - log(sum);
}

static void fill(float *logits, size_t n, uint64_t seed, float spread)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        logits[i] = spread * kfi_rng_normal(&rng);
    }
}

static void loss_is_minus_the_log_probability(void **state)
{
    (void)state;
    float logits[N];
    for (uint64_t seed = 0; seed < 20; seed++) {
        fill(logits, N, seed, 5.0f);
        const kfi_score score = kfi_score_token(logits, NULL, N, 17);
        assert_true(fabs(score.loss + log_probability(logits, N, 17)) < 1e-5);
        assert_true(isnan(score.divergence));
    }
}

static void divergence_follows_its_definition(void **state)
{
    (void)state;
    float p[N];
    float q[N];
    fill(p, N, 1, 4.0f);
    fill(q, N, 2, 4.0f);
    double expected = 0;
    for (size_t i = 0; i < N; i++) {
        const double log_p = log_probability(p, N, i);
        expected += exp(log_p) * (log_p - log_probability(q, N, i));
    }
    const kfi_score score = kfi_score_token(q, p, N, 0);
    assert_true(fabs(score.divergence - expected) < 1e-4 * expected);
    assert_true(fabs(score.reference_loss + log_probability(p, N, 0)) < 1e-5);
}

static void a_model_does_not_diverge_from_itself(void **state)
{
    (void)state;
    float p[N];
    fill(p, N, 3, 6.0f);
    const kfi_score score = kfi_score_token(p, p, N, 5);
    assert_true(score.divergence < 1e-6);
    assert_true(score.agrees);
}

static void logits_that_are_not_finite_cost_infinitely(void **state)
{
    (void)state;
    float p[N];
    fill(p, N, 4, 1.0f);
    p[7] = NAN;
    assert_true(isinf(kfi_score_token(p, NULL, N, 7).loss));
}

static void logits_that_are_not_finite_diverge_infinitely(void **state)
{
    (void)state;
    float p[N];
    float q[N];
    fill(p, N, 5, 1.0f);
    memcpy(q, p, sizeof q);
    q[7] = NAN;
    assert_true(isinf(kfi_score_token(q, p, N, 0).divergence));
    assert_true(isinf(kfi_score_token(p, q, N, 0).divergence));
    q[7] = -INFINITY; /* the model excludes what the reference holds possible */
    assert_true(isinf(kfi_score_token(q, p, N, 0).divergence));
}

static void error_of_the_mean(void **state)
{
    (void)state;
    const double values[] = {1, 2, 3, 4};
    double mean = 0;
    double error = 0;
    kfi_mean_and_error(&mean, &error, values, 4);
    assert_true(fabs(mean - 2.5) < 1e-12);
    assert_true(fabs(error - sqrt(5.0 / 3.0 / 4.0)) < 1e-12);
    kfi_mean_and_error(&mean, &error, values, 1);
    assert_true(isnan(error));
}

static void quantiles_lie_between_neighbours(void **state)
{
    (void)state;
    double values[] = {4, 1, 3, 2, 5};
    assert_true(fabs(kfi_quantile(values, 5, 0.5) - 3) < 1e-12);
    assert_true(fabs(kfi_quantile(values, 5, 0.875) - 4.5) < 1e-12);
    assert_true(fabs(kfi_quantile(values, 5, 1.0) - 5) < 1e-12);
    double broken[] = {1, 2, 3, (double)INFINITY, (double)INFINITY};
    assert_true(fabs(kfi_quantile(broken, 5, 0.5) - 3) < 1e-12);
    assert_true(isinf(kfi_quantile(broken, 5, 0.6)));
    assert_true(isinf(kfi_quantile(broken, 5, 0.9)));
}

static void bands_end_before_powers_of_two_and_with_the_window(void **state)
{
    (void)state;
    enum {
        WINDOW = 11
    };
    kf_eval_band bands[KF_EVAL_BANDS] = {{0}};
    for (size_t i = 1; i < WINDOW; i++) {
        const kfi_score score = {
            .loss = (double)i, .reference_loss = (double)i - 0.5, .divergence = 2.0 * (double)i};
        kfi_bands_add(bands, i, &score);
    }
    assert_int_equal(kfi_bands_finish(bands, WINDOW), 4);
    const size_t last[] = {1, 3, 7, 10};
    const double mean[] = {1, 2.5, 5.5, 9};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(bands[i].first, 1 << i);
        assert_int_equal(bands[i].last, last[i]);
        assert_int_equal(bands[i].tokens, last[i] - bands[i].first + 1);
        assert_true(fabs(bands[i].loss - mean[i]) < 1e-12);
        assert_true(fabs(bands[i].loss_difference - 0.5) < 1e-12);
        assert_true(fabs(bands[i].kl_mean - 2 * mean[i]) < 1e-12);
    }
}

static void a_window_that_ends_on_a_power_of_two_has_its_band(void **state)
{
    (void)state;
    kf_eval_band bands[KF_EVAL_BANDS] = {{0}};
    const kfi_score score = {.loss = 1};
    kfi_bands_add(bands, 1, &score);
    kfi_bands_add(bands, 2, &score);
    assert_int_equal(kfi_bands_finish(bands, 3), 2);
    assert_int_equal(bands[1].last, 2);
    assert_int_equal(bands[1].tokens, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_is_minus_the_log_probability),
        cmocka_unit_test(divergence_follows_its_definition),
        cmocka_unit_test(a_model_does_not_diverge_from_itself),
        cmocka_unit_test(logits_that_are_not_finite_cost_infinitely),
        cmocka_unit_test(logits_that_are_not_finite_diverge_infinitely),
        cmocka_unit_test(bands_end_before_powers_of_two_and_with_the_window),
        cmocka_unit_test(a_window_that_ends_on_a_power_of_two_has_its_band),
        cmocka_unit_test(error_of_the_mean),
        cmocka_unit_test(quantiles_lie_between_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
