/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/threads.h"
#include "fixtures.h"

#define MAX_ITEMS 257

typedef struct job {
    size_t n_threads;
    atomic_uint runs[MAX_ITEMS];
    atomic_bool bad_thread;
    uint64_t plain[MAX_ITEMS]; /* not atomic: a lost hand-over is a data race that TSan reports */
} job;

static void count_item(void *ctx, size_t i_item, size_t i_thread)
{
    job *j = ctx;
    atomic_fetch_add(&j->runs[i_item], 1);
    j->plain[i_item] += i_item + 1;
    if (i_thread >= j->n_threads) {
        atomic_store(&j->bad_thread, true);
    }
}

static void every_item_runs_once_for_any_thread_count(void **state)
{
    (void)state;
    kf_error err = {0};
    static const size_t counts[] = {0, 1, 2, 3, 7, 8, 9, 64, MAX_ITEMS};
    for (size_t n_threads = 1; n_threads <= 8; n_threads++) {
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
        assert_int_equal(kf_pool_threads(pool), n_threads);
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            static job j;
            memset(&j, 0, sizeof j);
            j.n_threads = n_threads;
            kfi_pool_run(pool, count_item, &j, counts[k]);
            for (size_t i = 0; i < MAX_ITEMS; i++) {
                assert_int_equal(j.runs[i], i < counts[k] ? 1 : 0);
            }
            assert_false(j.bad_thread);
        }
        kf_pool_free(pool);
    }
}

static void runs_here_without_a_pool(void **state)
{
    (void)state;
    static job j;
    memset(&j, 0, sizeof j);
    j.n_threads = 1;
    kfi_pool_run(NULL, count_item, &j, 5);
    for (size_t i = 0; i < MAX_ITEMS; i++) {
        assert_int_equal(j.runs[i], i < 5 ? 1 : 0);
    }
    assert_false(j.bad_thread);
}

/* Ten thousand pieces of work back to back, each of which reads what the last one wrote. */
static void a_pool_is_reused_ten_thousand_times(void **state)
{
    (void)state;
    kf_error err = {0};
    for (size_t n_threads = 2; n_threads <= 5; n_threads++) {
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
        static job j;
        memset(&j, 0, sizeof j);
        j.n_threads = n_threads;
        uint64_t expected[16] = {0};
        for (size_t round = 0; round < 10000; round++) {
            const size_t n_items = 2 + round % 15;
            kfi_pool_run(pool, count_item, &j, n_items);
            for (size_t i = 0; i < n_items; i++) {
                expected[i] += i + 1;
                assert_true(j.plain[i] == expected[i]);
            }
        }
        kf_pool_free(pool);
    }
}

static void nap(long nanoseconds)
{
    const struct timespec time = {0, nanoseconds};
    (void)nanosleep(&time, NULL);
}

/* Pauses around the spin time put every round near the moment where workers fall asleep. */
static void no_wake_up_is_lost_when_workers_fall_asleep(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 2, NULL, &err), &err);
    static job j;
    memset(&j, 0, sizeof j);
    j.n_threads = 2;
    for (long round = 0; round < 1000; round++) {
        const double end = kfi_clock_seconds() + 1e-6 * (double)(round % 120);
        while (kfi_clock_seconds() < end) {
        }
        if (round % 50 == 0) {
            nap(1000000);
        }
        kfi_pool_run(pool, count_item, &j, 4);
    }
    assert_int_equal(j.runs[0], 1000);
    assert_int_equal(j.runs[3], 1000);
    kf_pool_free(pool);
}

static void slow_item(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    if (i_item == 1) {
        nap(3000000);
    }
    count_item(ctx, i_item, 0);
}

/* The caller finishes first, gives up spinning, and must be woken. */
static void the_caller_sleeps_through_a_slow_item(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 2, NULL, &err), &err);
    static job j;
    memset(&j, 0, sizeof j);
    j.n_threads = 1;
    for (int round = 0; round < 20; round++) {
        kfi_pool_run(pool, slow_item, &j, 2);
    }
    assert_int_equal(j.runs[1], 20);
    kf_pool_free(pool);
}

static void a_pool_that_never_worked_ends(void **state)
{
    (void)state;
    kf_error err = {0};
    for (int round = 0; round < 50; round++) {
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, 1 + (size_t)round % 4, NULL, &err), &err);
        kf_pool_free(pool);
    }
    kf_pool_free(NULL);
}

static void refuses_too_many_threads(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    assert_int_equal(kf_pool_new(&pool, 1025, NULL, &err), KF_RANGE);
    assert_null(pool);
}

static void reports_a_failing_allocator_and_leaks_nothing(void **state)
{
    (void)state;
    kf_error err = {0};
    for (size_t fail_at = 1;; fail_at++) {
        fixture_allocator a;
        fixture_allocator_init(&a, fail_at);
        kf_pool *pool = NULL;
        const kf_status st = kf_pool_new(&pool, 3, &a.allocator, &err);
        kf_pool_free(pool);
        assert_true(fixture_allocator_is_clean(&a));
        if (st == KF_OK) {
            assert_true(fail_at > 1);
            return;
        }
        assert_int_equal(st, KF_NOMEM);
    }
}

static void running_allocates_nothing(void **state)
{
    (void)state;
    kf_error err = {0};
    fixture_allocator a;
    fixture_allocator_init(&a, 0);
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 3, &a.allocator, &err), &err);
    const size_t n_calls = a.n_calls;
    static job j;
    memset(&j, 0, sizeof j);
    j.n_threads = 3;
    for (int round = 0; round < 100; round++) {
        kfi_pool_run(pool, count_item, &j, 9);
    }
    assert_int_equal(a.n_calls, n_calls);
    kf_pool_free(pool);
    assert_true(fixture_allocator_is_clean(&a));
}

static void a_split_covers_all_in_multiples_of_the_quantum(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    for (size_t n = 0; n < 200; n += 1 + n / 20) {
        for (size_t quantum = 1; quantum <= 16; quantum *= 2) {
            const kfi_split split = kfi_split_make(pool, n, quantum, 2);
            assert_true(split.n_pieces <= 6);
            assert_int_equal(split.n_pieces == 0, n == 0);
            assert_int_equal(kfi_split_begin(&split, 0), 0);
            assert_int_equal(kfi_split_begin(&split, split.n_pieces), n);
            for (size_t i = 0; i < split.n_pieces; i++) {
                assert_int_equal(kfi_split_begin(&split, i) % quantum, 0);
                assert_true(kfi_split_begin(&split, i) < kfi_split_begin(&split, i + 1));
            }
        }
    }
    kf_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_runs_once_for_any_thread_count),
        cmocka_unit_test(runs_here_without_a_pool),
        cmocka_unit_test(a_pool_is_reused_ten_thousand_times),
        cmocka_unit_test(no_wake_up_is_lost_when_workers_fall_asleep),
        cmocka_unit_test(the_caller_sleeps_through_a_slow_item),
        cmocka_unit_test(a_pool_that_never_worked_ends),
        cmocka_unit_test(refuses_too_many_threads),
        cmocka_unit_test(reports_a_failing_allocator_and_leaks_nothing),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(a_split_covers_all_in_multiples_of_the_quantum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
