/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "base/file.h"
#include "fixtures.h"
#include "io/pull_environment.h"

typedef struct fixture {
    char *home;
    kfi_arena arena;
    kfi_environment environment;
    kf_error err;
} fixture;

static const char *const variables[] = {
    "PIP_INDEX_URL",   "PIP_EXTRA_INDEX_URL", "PIP_PROXY",      "PIP_CERT",
    "PIP_CONFIG_FILE", "SSL_CERT_FILE",       "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
    "XDG_CONFIG_HOME", "VIRTUAL_ENV",         "HF_ENDPOINT",    "HF_TOKEN",
};

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        assert_int_equal(unsetenv(variables[i]), 0);
    }
    f->home = fixture_directory_new();
    assert_int_equal(setenv("HOME", f->home, 1), 0);
    kfi_arena_init(&f->arena, NULL, 1 << 20);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    kfi_arena_deinit(&f->arena);
    fixture_directory_free(f->home);
    free(f);
    return 0;
}

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

/* Writes a file below the home directory and returns its path. */
static char *write_below(fixture *f, const char *directory, const char *name, const char *text,
                         size_t n)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", f->home, directory);
    CHECK_OK(kfi_file_make_directories(path, &f->err), &f->err);
    char *file = kfi_path_join(NULL, path, name);
    assert_non_null(file);
    CHECK_OK(kfi_file_write(file, text, n, &f->err), &f->err);
    return file;
}

static void write_and_forget(fixture *f, const char *directory, const char *name, const char *text)
{
    char *file = write_below(f, directory, name, text, strlen(text));
    kfi_free_text(NULL, file);
}

static void read_all(fixture *f)
{
    CHECK_OK(kfi_environment_read(&f->environment, &f->arena, &f->err), &f->err);
}

static void falls_back_to_the_public_servers(void **state)
{
    fixture *f = *state;
    set("PIP_CONFIG_FILE", "/dev/null");
    read_all(f);
    assert_int_equal(f->environment.n_indexes, 1);
    assert_string_equal(f->environment.indexes[0], "https://pypi.org/simple");
    assert_string_equal(f->environment.hub, "https://huggingface.co");
    assert_null(f->environment.certificates);
    assert_null(f->environment.pip_proxy);
    assert_null(f->environment.hub_token);
}

static void reads_pip_s_variables(void **state)
{
    fixture *f = *state;
    set("PIP_CONFIG_FILE", "/dev/null");
    set("PIP_INDEX_URL", "https://mirror/simple/");
    set("PIP_EXTRA_INDEX_URL", " https://a/simple\n  https://b/simple// ");
    set("PIP_PROXY", "http://proxy:3128");
    read_all(f);
    assert_int_equal(f->environment.n_indexes, 3);
    assert_string_equal(f->environment.indexes[0], "https://mirror/simple");
    assert_string_equal(f->environment.indexes[1], "https://a/simple");
    assert_string_equal(f->environment.indexes[2], "https://b/simple");
    assert_string_equal(f->environment.pip_proxy, "http://proxy:3128");
}

static void reads_pip_s_configuration(void **state)
{
    fixture *f = *state;
    write_and_forget(f, ".config/pip", "pip.conf",
                     "; a comment\r\n"
                     "[list]\n"
                     "index-url = https://not-this/simple\n"
                     "[global]\n"
                     "Index_URL: https://mirror/simple\n"
                     "extra-index-url =\n"
                     "    https://a/simple\n"
                     "    # between\n"
                     "    https://b/simple\n"
                     "timeout = 3\n"
                     "    https://not-this-either/simple\n"
                     "proxy = http://proxy:3128");
    read_all(f);
    assert_int_equal(f->environment.n_indexes, 3);
    assert_string_equal(f->environment.indexes[0], "https://mirror/simple");
    assert_string_equal(f->environment.indexes[1], "https://a/simple");
    assert_string_equal(f->environment.indexes[2], "https://b/simple");
    assert_string_equal(f->environment.pip_proxy, "http://proxy:3128");
}

static void later_files_and_variables_win(void **state)
{
    fixture *f = *state;
    write_and_forget(f, ".pip", "pip.conf", "[global]\nindex-url = https://old/simple\n");
    write_and_forget(f, ".config/pip", "pip.conf", "[global]\nindex-url = https://user/simple\n");
    read_all(f);
    assert_string_equal(f->environment.indexes[0], "https://user/simple");

    char *chosen = write_below(f, "", "my.conf", "[install]\nindex-url=https://my/simple\n",
                               strlen("[install]\nindex-url=https://my/simple\n"));
    set("PIP_CONFIG_FILE", chosen);
    read_all(f);
    assert_string_equal(f->environment.indexes[0], "https://my/simple");
    kfi_free_text(NULL, chosen);

    set("PIP_INDEX_URL", "https://variable/simple");
    read_all(f);
    assert_string_equal(f->environment.indexes[0], "https://variable/simple");
}

static void refuses_a_configuration_that_is_no_text(void **state)
{
    fixture *f = *state;
    char *path = write_below(f, "", "my.conf", "[global]\n\0x", 11);
    set("PIP_CONFIG_FILE", path);
    assert_int_equal(kfi_environment_read(&f->environment, &f->arena, &f->err), KF_FORMAT);
    assert_int_equal(f->err.offset, 9);
    assert_non_null(strstr(f->err.msg, "my.conf' is not a text file"));
    kfi_free_text(NULL, path);
}

static void the_most_specific_certificates_win(void **state)
{
    fixture *f = *state;
    static const char *const order[] = {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
                                        "PIP_CERT"};
    set("PIP_CONFIG_FILE", "/dev/null");
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        char *path = write_below(f, "", order[i], "pem", 3);
        set(order[i], path);
        read_all(f);
        assert_string_equal(f->environment.certificates, path);
        kfi_free_text(NULL, path);
    }
}

static void reports_certificates_that_are_not_there(void **state)
{
    fixture *f = *state;
    set("PIP_CONFIG_FILE", "/dev/null");
    set("CURL_CA_BUNDLE", "/nowhere/ca.pem");
    assert_int_equal(kfi_environment_read(&f->environment, &f->arena, &f->err), KF_INPUT);
    assert_string_equal(f->err.msg, "the certificates '/nowhere/ca.pem' named by CURL_CA_BUNDLE "
                                    "are not there");
}

static void reads_the_hub_s_variables(void **state)
{
    fixture *f = *state;
    set("PIP_CONFIG_FILE", "/dev/null");
    set("HF_ENDPOINT", "https://hub.example/");
    set("HF_TOKEN", "hf_x");
    read_all(f);
    assert_string_equal(f->environment.hub, "https://hub.example");
    assert_string_equal(f->environment.hub_token, "hf_x");
}

static void refuses_too_many_indexes(void **state)
{
    fixture *f = *state;
    set("PIP_CONFIG_FILE", "/dev/null");
    set("PIP_EXTRA_INDEX_URL", "http://a http://b http://c http://d http://e "
                               "http://f http://g http://h");
    assert_int_equal(kfi_environment_read(&f->environment, &f->arena, &f->err), KF_FORMAT);
    assert_string_equal(f->err.msg, "more than 8 package indexes are set");
}

static void names_the_setting_of_a_bad_address(void **state)
{
    fixture *f = *state;
    set("PIP_CONFIG_FILE", "/dev/null");
    set("HF_ENDPOINT", "hub.example");
    assert_int_equal(kfi_environment_read(&f->environment, &f->arena, &f->err), KF_FORMAT);
    assert_string_equal(f->err.msg, "HF_ENDPOINT: 'hub.example' is not an http or https address");
    set("PIP_INDEX_URL", "file:///wheels");
    assert_int_equal(kfi_environment_read(&f->environment, &f->arena, &f->err), KF_FORMAT);
    assert_string_equal(f->err.msg, "PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or pip's configuration: "
                                    "'file:///wheels' is not an http or https address");
}

static void refuses_an_index_that_is_set_to_nothing(void **state)
{
    fixture *f = *state;
    static const char *const nothing[] = {" ", "/", "\n//\n"};
    set("PIP_CONFIG_FILE", "/dev/null");
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        set("PIP_INDEX_URL", nothing[i]);
        assert_int_equal(kfi_environment_read(&f->environment, &f->arena, &f->err), KF_FORMAT);
        assert_string_equal(f->err.msg, "PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or pip's "
                                        "configuration: no address of an index");
    }
    set("PIP_EXTRA_INDEX_URL", "https://a/simple");
    read_all(f);
    assert_int_equal(f->environment.n_indexes, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(falls_back_to_the_public_servers),
        CASE(reads_pip_s_variables),
        CASE(reads_pip_s_configuration),
        CASE(later_files_and_variables_win),
        CASE(refuses_a_configuration_that_is_no_text),
        CASE(the_most_specific_certificates_win),
        CASE(reports_certificates_that_are_not_there),
        CASE(reads_the_hub_s_variables),
        CASE(refuses_too_many_indexes),
        CASE(names_the_setting_of_a_bad_address),
        CASE(refuses_an_index_that_is_set_to_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
