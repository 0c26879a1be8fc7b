/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "fixtures.h"
#include "kerf/sampler.h"

static kf_sampler *new_sampler(size_t n, const kf_sampler_options *options)
{
    kf_error err = {0};
    kf_sampler *sampler = NULL;
    CHECK_OK(kf_sampler_new(&sampler, n, options, &err), &err);
    return sampler;
}

/* Everything off: the distribution is softmax of the logits. */
static kf_sampler_options plain_options(void)
{
    kf_sampler_options o = KF_SAMPLER_OPTIONS_INIT;
    o.temperature = 1.0f;
    o.top_k = 0;
    o.top_p = 1.0f;
    o.min_p = 0.0f;
    o.repetition_penalty = 1.0f;
    return o;
}

#define N 8u
static const float logits_of_test[N] = {1.0f, 3.0f, -2.0f, 0.5f, 3.0f, 2.5f, -7.0f, 0.0f};

/* Counts draws of the logits above. */
static void count_draws(size_t *counts, const kf_sampler_options *options, size_t n_draws)
{
    kf_sampler *sampler = new_sampler(N, options);
    memset(counts, 0, N * sizeof *counts);
    for (size_t i = 0; i < n_draws; i++) {
        float logits[N];
        memcpy(logits, logits_of_test, sizeof logits);
        const uint32_t id = kf_sampler_next(sampler, logits);
        assert_true(id < N);
        counts[id]++;
    }
    kf_sampler_free(sampler);
}

/* Pearson's statistic against the expected probabilities; ids of probability 0 must not occur. */
static double chi_square(const size_t *counts, const double *p, size_t n_draws)
{
    double sum = 0;
    for (size_t i = 0; i < N; i++) {
        if (p[i] == 0) {
            assert_int_equal(counts[i], 0);
            continue;
        }
        const double expected = p[i] * (double)n_draws;
        sum += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    }
    return sum;
}

/* Softmax at a temperature over the ids of a mask. */
static void expected_probabilities(double *p, double temperature, unsigned mask)
{
    double sum = 0;
    for (size_t i = 0; i < N; i++) {
        p[i] = (mask >> i & 1u) != 0 ? exp((double)logits_of_test[i] / temperature) : 0;
        sum += p[i];
    }
    for (size_t i = 0; i < N; i++) {
        p[i] /= sum;
    }
}

static void check_distribution(const kf_sampler_options *options, double temperature, unsigned mask)
{
    enum {
        DRAWS = 40000
    };
    size_t counts[N];
    double p[N];
    count_draws(counts, options, DRAWS);
    expected_probabilities(p, temperature, mask);
    /* Seven degrees of freedom: beyond 29.9 in one of ten thousand runs; the seed is fixed. */
    assert_true(chi_square(counts, p, DRAWS) < 29.9);
}

static void draws_from_the_softmax(void **state)
{
    (void)state;
    kf_sampler_options o = plain_options();
    check_distribution(&o, 1.0, 0xFF);
    o.temperature = 3.0f;
    o.seed = 5;
    check_distribution(&o, 3.0, 0xFF);
}

static void top_k_keeps_the_k_most_likely(void **state)
{
    (void)state;
    kf_sampler_options o = plain_options();
    o.top_k = 3; /* ids 1, 4, 5 */
    check_distribution(&o, 1.0, 0x32);
    o.top_k = 1; /* 1 and 4 are equal: the lower id */
    check_distribution(&o, 1.0, 0x02);
    o.top_k = N;
    check_distribution(&o, 1.0, 0xFF);
    o.top_k = UINT32_MAX;
    check_distribution(&o, 1.0, 0xFF);
}

/* Many equal logits, in an order that keeps exchanging what is kept: of the 20 ids that share the
 * last value that fits, the lower ones stay. */
static void top_k_of_many_equals_keeps_the_lower_ids(void **state)
{
    (void)state;
    enum {
        IDS = 1000,
        K = 130
    };
    bool seen[IDS] = {false};
    kf_sampler_options o = plain_options();
    o.top_k = K;
    o.temperature = 100.0f;
    kf_sampler *sampler = new_sampler(IDS, &o);
    for (size_t draw = 0; draw < 20000; draw++) {
        float logits[IDS];
        for (size_t i = 0; i < IDS; i++) {
            logits[i] = (float)(i * 7 % 50); /* each value twenty times */
        }
        seen[kf_sampler_next(sampler, logits)] = true;
    }
    size_t n_last = 0;
    for (size_t i = 0; i < IDS; i++) {
        const size_t value = i * 7 % 50;
        n_last += value == 43 ? 1 : 0;
        assert_true(seen[i] == (value > 43 || (value == 43 && n_last <= K - 6 * 20)));
    }
    kf_sampler_free(sampler);
}

/* Probabilities of the logits: 1 and 4 0.336 each, 5 0.204, 0 0.045, 3 0.028, … */
static void top_p_keeps_the_least_set_that_reaches_p(void **state)
{
    (void)state;
    kf_sampler_options o = plain_options();
    o.top_p = 0.5f;
    check_distribution(&o, 1.0, 0x12);
    o.top_p = 0.7f;
    check_distribution(&o, 1.0, 0x32);
    o.top_p = 0.0f; /* one always stays */
    check_distribution(&o, 1.0, 0x02);
}

static void top_p_counts_within_the_k(void **state)
{
    (void)state;
    kf_sampler_options o = plain_options();
    o.top_k = 2;
    o.top_p = 0.6f; /* of two equal ones the first has 0.5 */
    check_distribution(&o, 1.0, 0x12);
    o.top_p = 0.4f;
    check_distribution(&o, 1.0, 0x02);
}

static void min_p_is_relative_to_the_greatest(void **state)
{
    (void)state;
    kf_sampler_options o = plain_options();
    o.min_p = 0.5f; /* exp(-0.5) = 0.61, exp(-2) = 0.14 */
    check_distribution(&o, 1.0, 0x32);
    o.min_p = 1.0f;
    check_distribution(&o, 1.0, 0x12);
}

static void greedy_takes_the_first_maximum(void **state)
{
    (void)state;
    kf_sampler_options o = plain_options();
    o.temperature = 0.0f;
    kf_sampler *sampler = new_sampler(N, &o);
    float logits[N];
    memcpy(logits, logits_of_test, sizeof logits);
    assert_int_equal(kf_sampler_next(sampler, logits), 1);
    kf_sampler_free(sampler);
}

static void a_penalty_applies_once_to_each_recent_token(void **state)
{
    (void)state;
    kf_sampler_options o = plain_options();
    o.temperature = 0.0f;
    o.repetition_penalty = 2.0f;
    o.repetition_window = 3;
    kf_sampler *sampler = new_sampler(N, &o);
    kf_sampler_accept(sampler, 2);
    for (size_t i = 0; i < 3; i++) {
        kf_sampler_accept(sampler, 1);
    }
    kf_sampler_accept(sampler, 99); /* outside the vocabulary: ignored */
    float logits[N];
    memcpy(logits, logits_of_test, sizeof logits);
    assert_int_equal(kf_sampler_next(sampler, logits), 4);
    assert_true(logits[1] == 1.5f);  /* divided once, not three times */
    assert_true(logits[2] == -2.0f); /* fell out of the window */
    kf_sampler_accept(sampler, 6);
    memcpy(logits, logits_of_test, sizeof logits);
    (void)kf_sampler_next(sampler, logits);
    assert_true(logits[6] == -14.0f); /* negative ones are multiplied */
    kf_sampler_free(sampler);
}

static void survives_logits_that_are_no_numbers(void **state)
{
    (void)state;
    const kf_sampler_options all[] = {plain_options(), KF_SAMPLER_OPTIONS_INIT};
    for (size_t i = 0; i < 2; i++) {
        kf_sampler *sampler = new_sampler(N, &all[i]);
        float logits[N];
        for (size_t j = 0; j < N; j++) {
            logits[j] = (float)NAN;
        }
        assert_int_equal(kf_sampler_next(sampler, logits), 0);
        for (size_t j = 0; j < N; j++) {
            logits[j] = j == 5 ? -1e30f : (float)NAN;
        }
        assert_int_equal(kf_sampler_next(sampler, logits), 5);
        memcpy(logits, logits_of_test, sizeof logits);
        logits[6] = (float)INFINITY;
        assert_int_equal(kf_sampler_next(sampler, logits), 6);
        kf_sampler_free(sampler);
    }
}

static void the_same_seed_gives_the_same_tokens(void **state)
{
    (void)state;
    kf_sampler_options o = KF_SAMPLER_OPTIONS_INIT;
    o.temperature = 2.0f;
    uint32_t ids[3][64];
    for (size_t i = 0; i < 3; i++) {
        o.seed = i == 2 ? 8 : 7;
        kf_sampler *sampler = new_sampler(N, &o);
        for (size_t j = 0; j < 64; j++) {
            float logits[N];
            memcpy(logits, logits_of_test, sizeof logits);
            ids[i][j] = kf_sampler_next(sampler, logits);
        }
        kf_sampler_free(sampler);
    }
    assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
    assert_memory_not_equal(ids[0], ids[2], sizeof ids[0]);
}

static void choosing_allocates_nothing(void **state)
{
    (void)state;
    fixture_allocator a;
    fixture_allocator_init(&a, 0);
    kf_sampler_options o = KF_SAMPLER_OPTIONS_INIT;
    o.alloc = &a.allocator;
    kf_sampler *sampler = new_sampler(N, &o);
    const size_t n_calls = a.n_calls;
    for (uint32_t i = 0; i < 100; i++) {
        float logits[N];
        memcpy(logits, logits_of_test, sizeof logits);
        kf_sampler_accept(sampler, kf_sampler_next(sampler, logits));
    }
    assert_int_equal(a.n_calls, n_calls);
    kf_sampler_free(sampler);
    assert_true(fixture_allocator_is_clean(&a));
}

static void refuses_options_out_of_range(void **state)
{
    (void)state;
#define REFUSES(member, value)                                                                     \
    do {                                                                                           \
        kf_error err = {0};                                                                        \
        kf_sampler *sampler = NULL;                                                                \
        kf_sampler_options o = KF_SAMPLER_OPTIONS_INIT;                                            \
        o.member = (value);                                                                        \
        assert_int_equal(kf_sampler_new(&sampler, N, &o, &err), KF_RANGE);                         \
        assert_null(sampler);                                                                      \
        assert_non_null(strstr(err.msg, #member));                                                 \
    } while (0)
    REFUSES(temperature, -0.1f);
    REFUSES(temperature, 101.0f);
    REFUSES(temperature, (float)NAN);
    REFUSES(top_p, -0.1f);
    REFUSES(top_p, 1.1f);
    REFUSES(min_p, -0.1f);
    REFUSES(min_p, 1.1f);
    REFUSES(repetition_penalty, 0.0f);
    REFUSES(repetition_penalty, (float)INFINITY);
    REFUSES(repetition_window, 65537);
#undef REFUSES
    kf_error err = {0};
    kf_sampler *sampler = NULL;
    assert_int_equal(kf_sampler_new(&sampler, 0, NULL, &err), KF_RANGE);
    kf_sampler_options o = KF_SAMPLER_OPTIONS_INIT;
    o.size = 3;
    assert_int_equal(kf_sampler_new(&sampler, N, &o, &err), KF_INVALID);
}

static void reports_a_failing_allocator(void **state)
{
    (void)state;
    for (size_t fail_at = 1;; fail_at++) {
        kf_error err = {0};
        fixture_allocator a;
        fixture_allocator_init(&a, fail_at);
        kf_sampler_options o = KF_SAMPLER_OPTIONS_INIT;
        o.alloc = &a.allocator;
        kf_sampler *sampler = NULL;
        const kf_status st = kf_sampler_new(&sampler, N, &o, &err);
        kf_sampler_free(sampler);
        assert_true(fixture_allocator_is_clean(&a));
        if (st == KF_OK) {
            assert_true(fail_at > 1);
            return;
        }
        assert_int_equal(st, KF_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_from_the_softmax),
        cmocka_unit_test(top_k_keeps_the_k_most_likely),
        cmocka_unit_test(top_k_of_many_equals_keeps_the_lower_ids),
        cmocka_unit_test(top_p_keeps_the_least_set_that_reaches_p),
        cmocka_unit_test(top_p_counts_within_the_k),
        cmocka_unit_test(min_p_is_relative_to_the_greatest),
        cmocka_unit_test(greedy_takes_the_first_maximum),
        cmocka_unit_test(a_penalty_applies_once_to_each_recent_token),
        cmocka_unit_test(survives_logits_that_are_no_numbers),
        cmocka_unit_test(the_same_seed_gives_the_same_tokens),
        cmocka_unit_test(choosing_allocates_nothing),
        cmocka_unit_test(refuses_options_out_of_range),
        cmocka_unit_test(reports_a_failing_allocator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
