/* The measurement of reading: what it promises, not how fast this machine is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "fixtures.h"
#include "kerf/machine.h"

static void measures_a_rate_with_any_number_of_threads(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 65, (size_t)1 << 20};
    for (size_t n_threads = 0; n_threads <= 3; n_threads++) {
        kf_pool *pool = NULL;
        kf_error err = {0};
        fixture_allocator a;
        fixture_allocator_init(&a, 0);
        if (n_threads > 0) {
            CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
        }
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            double rate = 0.0;
            CHECK_OK(kf_read_bandwidth(&rate, pool, sizes[i], &a.allocator, &err), &err);
            assert_true(rate > 0.0 && isfinite(rate));
        }
        assert_true(fixture_allocator_is_clean(&a));
        kf_pool_free(pool);
    }
}

static void refuses_an_empty_buffer_and_one_that_overflows(void **state)
{
    (void)state;
    kf_error err = {0};
    double rate = 1.0;
    assert_int_equal(kf_read_bandwidth(&rate, NULL, 0, NULL, &err), KF_RANGE);
    assert_int_equal(kf_read_bandwidth(&rate, NULL, SIZE_MAX, NULL, &err), KF_RANGE);
    assert_true(rate == 0.0);
}

static void reports_that_there_is_no_memory(void **state)
{
    (void)state;
    kf_error err = {0};
    fixture_allocator a;
    double rate = 1.0;
    fixture_allocator_init(&a, 1);
    assert_int_equal(kf_read_bandwidth(&rate, NULL, 4096, &a.allocator, &err), KF_NOMEM);
    assert_non_null(strstr(err.msg, "4096 bytes"));
    assert_true(fixture_allocator_is_clean(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_a_rate_with_any_number_of_threads),
        cmocka_unit_test(refuses_an_empty_buffer_and_one_that_overflows),
        cmocka_unit_test(reports_that_there_is_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
