/* Interruptions: kill -9, a full disk, no memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "fixtures.h"
#include "quantize_fixture.h"

#define SEED 20u

/* Quantizes in a process of its own: opens the model there, so that no thread crosses the fork. */
static pid_t start_child(const quantize_fixture *f, const char *out)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) {
        return child;
    }
    kf_error err = {0};
    kf_pool *pool = NULL;
    kf_model *model = NULL;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    if (kf_pool_new(&pool, 2, NULL, &err) != KF_OK) {
        _exit(1);
    }
    options.pool = pool;
    if (kf_model_open(&model, f->tiny->path, &options, &err) != KF_OK) {
        _exit(1);
    }
    _exit(kf_quantize(NULL, model, out, f->recipe, &f->options, &err) == KF_OK ? 0 : 1);
}

static void sleep_for(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    (void)nanosleep(&time, NULL);
}

static void killed_at_random_moments_it_resumes_to_the_same_bytes(void **state)
{
    (void)state;
    enum {
        MOMENTS = 20,
        TRIES = 80
    };
    kf_error err = {0};
    kfi_rng rng;
    kfi_rng_init(&rng, SEED);
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    quantize_fixture_set(f, "prefix=start");
    const double start = kfi_clock_seconds();
    int status = 0;
    const pid_t whole = start_child(f, quantize_fixture_path(f, "whole"));
    assert_int_equal(waitpid(whole, &status, 0), whole);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    double seconds = kfi_clock_seconds() - start;
    size_t n_cut = 0;
    for (size_t i = 0; i < TRIES && n_cut < MOMENTS; i++) {
        CHECK_OK(kfi_file_remove_tree(quantize_fixture_path(f, "out"), &err), &err);
        f->options.resume = false;
        const pid_t child = start_child(f, quantize_fixture_path(f, "out"));
        sleep_for((double)kfi_rng_uniform(&rng) * seconds);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (kfi_file_exists(quantize_fixture_path(f, "out"))) { /* never anything but the whole */
            assert_same_directories(quantize_fixture_path(f, "whole"),
                                    quantize_fixture_path(f, "out"));
        }
        if (!WIFSIGNALED(status)) { /* it was done before: others may keep the machine less busy */
            seconds *= 0.8;
            continue;
        }
        n_cut++;
        f->options.resume = true;
        CHECK_OK(kf_quantize(NULL, f->model, quantize_fixture_path(f, "out"), f->recipe,
                             &f->options, &err),
                 &err);
        assert_same_directories(quantize_fixture_path(f, "whole"), quantize_fixture_path(f, "out"));
    }
    assert_int_equal(n_cut, MOMENTS);
    quantize_fixture_free(f);
}

/* A limit on the size of files stands for a disk that fills up in the middle of one. */
static void a_disk_that_fills_up_is_reported_and_can_be_resumed(void **state)
{
    (void)state;
    kf_error err = {0};
    struct rlimit before;
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    quantize_fixture_set(f, "prefix=none");
    CHECK_OK(kf_quantize(NULL, f->model, quantize_fixture_path(f, "whole"), f->recipe, &f->options,
                         &err),
             &err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit limit = {8000, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const kf_status st =
        kf_quantize(NULL, f->model, quantize_fixture_path(f, "out"), f->recipe, &f->options, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(st, KF_IO);
    assert_int_equal(err.os_errno, EFBIG);
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out")));
    f->options.resume = true;
    CHECK_OK(
        kf_quantize(NULL, f->model, quantize_fixture_path(f, "out"), f->recipe, &f->options, &err),
        &err);
    assert_same_directories(quantize_fixture_path(f, "whole"), quantize_fixture_path(f, "out"));
    quantize_fixture_free(f);
}

static void an_output_that_cannot_be_made_is_reported(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(kfi_file_write(quantize_fixture_path(f, "file"), "x", 1, &err), &err);
    assert_int_equal(kf_quantize(NULL, f->model, quantize_fixture_path(f, "file/out"), f->recipe,
                                 &f->options, &err),
                     KF_IO);
    assert_int_equal(kf_quantize(NULL, f->model, "/", f->recipe, &f->options, &err), KF_RANGE);
    assert_int_equal(kf_quantize(NULL, f->model, "", f->recipe, &f->options, &err), KF_RANGE);
    quantize_fixture_free(f);
}

/* Fails the first allocations one by one, later ones in growing steps: a run has thousands. */
static void without_memory_it_reports_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const settings[] = {"prefix=auto", "gptq.true_sequential=false",
                                           "qera-exact.rank=4", "qera-exact.budget=1",
                                           "gwq.outliers=0.02"};
    for (size_t i = 0; i < 5; i++) {
        quantize_fixture *f = quantize_fixture_new("qwen2",
                                                   i < 2   ? "gptq-w4"
                                                   : i < 4 ? "qera-gptq-w3-r32"
                                                           : "gwq-w4",
                                                   1);
        quantize_fixture_set(f, i == 0 ? "prefix=auto" : "prefix=start");
        quantize_fixture_set(f, settings[i]);
        kf_status st = KF_NOMEM;
        size_t n_failed = 0;
        for (size_t fail_at = 1; st != KF_OK; fail_at += 1 + fail_at / 12) {
            kf_error err = {0};
            fixture_allocator a;
            fixture_allocator_init(&a, fail_at);
            f->options.alloc = &a.allocator;
            f->options.force = true;
            st = kf_quantize(NULL, f->model, quantize_fixture_path(f, "out"), f->recipe,
                             &f->options, &err);
            if (st != KF_OK && st != KF_NOMEM) {
                fail_msg("allocation %zu: %s: %s", fail_at, kf_status_text(st), err.msg);
            }
            assert_true(fixture_allocator_is_clean(&a));
            assert_int_equal(kfi_file_exists(quantize_fixture_path(f, "out")), st == KF_OK);
            n_failed += st != KF_OK;
        }
        assert_true(n_failed > 30);
        quantize_fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_random_moments_it_resumes_to_the_same_bytes),
        cmocka_unit_test(a_disk_that_fills_up_is_reported_and_can_be_resumed),
        cmocka_unit_test(an_output_that_cannot_be_made_is_reported),
        cmocka_unit_test(without_memory_it_reports_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
