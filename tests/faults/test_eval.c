/* An evaluation whose allocations fail one after the other, and whose disk is full: each failure is
 * reported, nothing leaks, and no half-written file stays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "fixtures.h"
#include "kerf/eval.h"
#include "tiny_model.h"

enum {
    n_ids = 40,
    window = 16
};

typedef struct evaluated {
    char *directory;
    tiny_model *tiny;
    char *reference, *logits; /* files that are written */
    uint32_t ids[n_ids];
} evaluated;

static int setup(void **state)
{
    evaluated *e = calloc(1, sizeof *e);
    assert_non_null(e);
    const tiny_options options = tiny_options_of("llama");
    e->directory = fixture_directory_new();
    e->tiny = tiny_model_new(e->directory, &options);
    e->reference = kfi_path_join(NULL, e->directory, "reference");
    e->logits = kfi_path_join(NULL, e->directory, "logits.npy");
    tiny_ids(e->ids, n_ids, 1);
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    evaluated *e = *state;
    kfi_free_text(NULL, e->reference);
    kfi_free_text(NULL, e->logits);
    tiny_model_free(e->tiny);
    fixture_directory_free(e->directory);
    free(e);
    return 0;
}

/* Opens the model and evaluates it against itself. */
static kf_status evaluate(const evaluated *e, const kf_allocator *alloc, kf_error *err)
{
    kf_model *model = NULL;
    kf_eval_result result;
    kf_model_options model_options = KF_MODEL_OPTIONS_INIT;
    kf_eval_options options = KF_EVAL_OPTIONS_INIT;
    model_options.alloc = alloc;
    kf_status st = kf_model_open(&model, e->tiny->path, &model_options, err);
    if (st == KF_OK) {
        options.alloc = alloc;
        options.window = window;
        options.reference = model;
        options.save_reference = e->reference;
        options.logits = e->logits;
        st = kf_eval(&result, model, e->ids, n_ids, &options, err);
    }
    kf_model_close(model);
    return st;
}

static kf_status refuse_file(void *ctx, const char *name, kf_error *err)
{
    (void)ctx;
    (void)err;
    if (strstr(name, ".tmp") != NULL) {
        fail_msg("'%s' stayed behind", name);
    }
    return KF_OK;
}

static void check_no_temporary_file(const evaluated *e)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_list(e->directory, refuse_file, NULL, &err), &err);
}

static void survives_every_allocation(void **state)
{
    const evaluated *e = *state;
    size_t n_failures = 0;
    kf_status st = KF_NOMEM;
    for (size_t i = 1; st != KF_OK; i++) {
        kf_error err = {0};
        fixture_allocator allocator;
        fixture_allocator_init(&allocator, i);
        st = evaluate(e, &allocator.allocator, &err);
        assert_true(fixture_allocator_is_clean(&allocator));
        check_no_temporary_file(e);
        if (st != KF_OK && st != KF_NOMEM) {
            fail_msg("allocation %zu: %s: %s", i, kf_status_text(st), err.msg);
        }
        n_failures += st != KF_OK;
        assert_true(i < 10000);
    }
    assert_true(n_failures > 10);
}

static void reports_a_full_disk(void **state)
{
    const evaluated *e = *state;
    struct rlimit before;
    (void)signal(SIGXFSZ, SIG_IGN); /* so that write() fails instead */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    /* Nothing at all, some of the header, some of the values. */
    static const rlim_t limits[] = {0, 100, 2000};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        const struct rlimit limit = {limits[i], before.rlim_max};
        kf_error err = {0};
        fixture_allocator allocator;
        fixture_allocator_init(&allocator, 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        const kf_status st = evaluate(e, &allocator.allocator, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(st, KF_IO);
        assert_true(fixture_allocator_is_clean(&allocator));
        check_no_temporary_file(e);
    }
}

/* Saving to the model itself, or to the reference that is read, would destroy it. */
static void a_file_that_is_read_is_not_replaced(void **state)
{
    const evaluated *e = *state;
    kf_error err = {0};
    evaluated same = *e;
    same.reference = e->tiny->path;
    assert_int_equal(evaluate(&same, NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "not replaced"));
    same.logits = same.reference;
    same.reference = NULL;
    assert_int_equal(evaluate(&same, NULL, &err), KF_RANGE);
    check_no_temporary_file(e);
}

static void two_files_are_not_written_as_one(void **state)
{
    const evaluated *e = *state;
    evaluated same = *e;
    char other[600];
    kf_error first = {0};
    (void)snprintf(other, sizeof other, "%s/./logits.npy", e->directory);
    same.reference = other; /* not there yet, on another way */
    assert_int_equal(evaluate(&same, NULL, &first), KF_RANGE);
    assert_non_null(strstr(first.msg, "both"));
    same.reference = e->logits;
    for (size_t i = 0; i < 2; i++) { /* not there yet, and there by another name */
        kf_error err = {0};
        assert_int_equal(evaluate(&same, NULL, &err), KF_RANGE);
        assert_non_null(strstr(err.msg, "both"));
        assert_int_equal(kfi_file_exists(e->logits), i == 1);
        CHECK_OK(kfi_file_write(e->logits, "old", 3, &err), &err);
        same.reference = e->reference;
        assert_true(i == 1 || symlink("logits.npy", e->reference) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(survives_every_allocation, setup, teardown),
        cmocka_unit_test_setup_teardown(reports_a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_read_is_not_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(two_files_are_not_written_as_one, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
