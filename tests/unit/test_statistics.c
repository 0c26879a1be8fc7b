/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/rng.h"
#include "fixtures.h"
#include "quantize/statistics.h"

enum {
    COLS = 70,
    TOKENS = 3000,
    ALL = KFI_NEED_GRAM | KFI_NEED_MEAN_SQUARE | KFI_NEED_MAX_ABS | KFI_NEED_MEAN_ABS
};

static const kfi_statistics_request everything = {.needs = ALL, .first_token_weight = 1.0};

static float *random_tokens(uint64_t seed)
{
    float *x = kfi_alloc(NULL, sizeof(float) * COLS * TOKENS);
    assert_non_null(x);
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < (size_t)COLS * TOKENS; i++) {
        x[i] = kfi_rng_normal(&rng) * (1.0f + (float)(i % COLS));
    }
    return x;
}

static void sums_agree_with_plain_double_sums(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_statistics s;
    float *x = random_tokens(1);
    CHECK_OK(kfi_statistics_init(&s, COLS, &everything, NULL, &err), &err);
    for (size_t t = 0; t < TOKENS; t += 500) {
        kfi_statistics_add(&s, NULL, x + t * COLS, 500);
    }
    kfi_statistics_finish(&s, NULL);
    assert_true(s.weight == TOKENS);
    for (size_t i = 0; i < COLS; i++) {
        double square_sum = 0.0;
        double abs_sum = 0.0;
        float max_abs = 0.0f;
        for (size_t t = 0; t < TOKENS; t++) {
            square_sum += (double)x[t * COLS + i] * (double)x[t * COLS + i];
            max_abs = fmaxf(max_abs, fabsf(x[t * COLS + i]));
            abs_sum += fabs((double)x[t * COLS + i]);
        }
        assert_true(s.max_abs[i] == max_abs);
        assert_true(fabs(s.abs_sum[i] - abs_sum) <= 1e-12 * abs_sum);
        assert_true(fabs(s.square_sum[i] - square_sum) <= 1e-12 * square_sum);
        for (size_t j = 0; j <= i; j++) {
            double sum = 0.0;
            for (size_t t = 0; t < TOKENS; t++) {
                sum += (double)x[t * COLS + i] * (double)x[t * COLS + j];
            }
            /* What users see of it: an error against the damping, 1e-2 of the diagonal. */
            const double scale = sqrt(s.square_sum[i] * s.square_sum[j]);
            assert_true(fabs((double)s.gram[i * COLS + j] - sum) <= 2e-6 * scale);
            assert_true(s.gram[i * COLS + j] == s.gram[j * COLS + i]);
        }
    }
    kfi_statistics_deinit(&s);
    kfi_free(NULL, x, sizeof(float) * COLS * TOKENS);
}

static void a_weighted_token_counts_as_often_as_its_weight(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_statistics once;
    kfi_statistics thrice;
    float *x = random_tokens(2);
    CHECK_OK(kfi_statistics_init(&once, COLS, &everything, NULL, &err), &err);
    CHECK_OK(kfi_statistics_init(&thrice, COLS, &everything, NULL, &err), &err);
    kfi_statistics_add_weighted(&once, x, 3.0);
    kfi_statistics_add_weighted(&once, x + COLS, 0.0);
    for (int i = 0; i < 3; i++) {
        kfi_statistics_add(&thrice, NULL, x, 1);
    }
    kfi_statistics_finish(&once, NULL);
    kfi_statistics_finish(&thrice, NULL);
    assert_true(once.weight == 3.0 && thrice.weight == 3.0);
    for (size_t i = 0; i < (size_t)COLS * COLS; i++) {
        assert_true(fabsf(once.gram[i] - thrice.gram[i]) <= 1e-6f * fabsf(thrice.gram[i]));
        assert_true(once.gram[i] == once.gram[i % COLS * COLS + i / COLS]);
    }
    for (size_t i = 0; i < COLS; i++) {
        assert_true(once.max_abs[i] == thrice.max_abs[i]);
        assert_true(fabs(once.abs_sum[i] - thrice.abs_sum[i]) <= 1e-12 * thrice.abs_sum[i]);
    }
    kfi_statistics_deinit(&once);
    kfi_statistics_deinit(&thrice);
    kfi_free(NULL, x, sizeof(float) * COLS * TOKENS);
}

static void only_what_was_asked_for_is_gathered(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_statistics s;
    const kfi_statistics_request request = {.needs = KFI_NEED_MEAN_SQUARE};
    CHECK_OK(kfi_statistics_init(&s, COLS, &request, NULL, &err), &err);
    assert_null(s.gram);
    assert_null(s.max_abs);
    assert_null(s.abs_sum);
    float x[COLS] = {2.0f};
    kfi_statistics_add(&s, NULL, x, 1);
    assert_true(s.square_sum[0] == 4.0 && s.square_sum[1] == 0.0);
    kfi_statistics_deinit(&s);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    kfi_statistics one;
    kfi_statistics two;
    float *x = random_tokens(3);
    CHECK_OK(kf_pool_new(&pool, 2, NULL, &err), &err);
    CHECK_OK(kfi_statistics_init(&one, COLS, &everything, NULL, &err), &err);
    CHECK_OK(kfi_statistics_init(&two, COLS, &everything, NULL, &err), &err);
    kfi_statistics_add(&one, NULL, x, TOKENS);
    kfi_statistics_add(&two, pool, x, TOKENS);
    kfi_statistics_finish(&one, NULL);
    kfi_statistics_finish(&two, pool);
    assert_memory_equal(one.gram, two.gram, sizeof(float) * COLS * COLS);
    kfi_statistics_deinit(&one);
    kfi_statistics_deinit(&two);
    kf_pool_free(pool);
    kfi_free(NULL, x, sizeof(float) * COLS * TOKENS);
}

static void reports_what_does_not_fit(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_statistics s;
    assert_int_equal(kfi_statistics_init(&s, SIZE_MAX / 2, &everything, NULL, &err), KF_RANGE);
    for (size_t fail_at = 1; fail_at <= 3; fail_at++) {
        fixture_allocator a;
        fixture_allocator_init(&a, fail_at);
        assert_int_equal(kfi_statistics_init(&s, COLS, &everything, &a.allocator, &err), KF_NOMEM);
        assert_true(fixture_allocator_is_clean(&a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_agree_with_plain_double_sums),
        cmocka_unit_test(a_weighted_token_counts_as_often_as_its_weight),
        cmocka_unit_test(only_what_was_asked_for_is_gathered),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(reports_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
