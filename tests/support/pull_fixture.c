/* pull_fixture.c - a server, a cache and an environment of their own, for tests of kf_pull.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pull_fixture.h"

#include <stdlib.h>

#include "base/file.h"
#include "check.h"
#include "fixtures.h"
#include "io/pull.h"

static void note_warning(void *ctx, const char *message)
{
    pull_fixture *f = ctx;
    (void)snprintf(f->warning, sizeof f->warning, "%s", message);
}

int pull_fixture_set_up(void **state)
{
    static const char *const variables[] = {
        "PIP_EXTRA_INDEX_URL", "PIP_PROXY",  "PIP_CERT",    "SSL_CERT_FILE", "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",  "http_proxy", "https_proxy", "HF_TOKEN",
    };
    pull_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        assert_int_equal(unsetenv(variables[i]), 0);
    }
    assert_int_equal(setenv("PIP_CONFIG_FILE", "/dev/null", 1), 0);
    assert_int_equal(setenv("no_proxy", "127.0.0.1", 1), 0);
    f->cache = fixture_directory_new();
    assert_int_equal(setenv("HOME", f->cache, 1), 0);
    f->callbacks = (kf_callbacks){.warn = note_warning, .ctx = f};
    *state = f;
    return 0;
}

int pull_fixture_tear_down(void **state)
{
    pull_fixture *f = *state;
    http_server_stop(f->server);
    fixture_directory_free(f->cache);
    free(f);
    return 0;
}

void pull_fixture_start(pull_fixture *f, const http_reply *replies, size_t n_replies)
{
    http_server_stop(f->server);
    f->server = http_server_start(replies, n_replies);
    char *index = http_server_url(f->server, "/simple/");
    char *hub = http_server_url(f->server, "");
    assert_int_equal(setenv("PIP_INDEX_URL", index, 1), 0);
    assert_int_equal(setenv("HF_ENDPOINT", hub, 1), 0);
    free(index);
    free(hub);
}

kf_status pull_fixture_run(pull_fixture *f, const char *name)
{
    const kfi_http_limits limits = {5, 1, 2, 0, 4};
    kf_pull_options options = KF_PULL_OPTIONS_INIT;
    options.alloc = f->alloc;
    options.callbacks = &f->callbacks;
    options.cache = f->cache;
    return kfi_pull(f->path, sizeof f->path, name, &options, &limits, &f->err);
}

static void check_content(pull_fixture *f, const char *path, const char *text)
{
    kfi_buf content;
    kfi_buf_init(&content, NULL, 1 << 20);
    CHECK_OK(kfi_file_read(&content, path, &f->err), &f->err);
    assert_string_equal(content.n > 0 ? content.data : "", text);
    kfi_buf_deinit(&content);
}

void pull_fixture_check_path(pull_fixture *f, const char *end, const char *text)
{
    const size_t n = strlen(f->path);
    if (n < strlen(end) || strcmp(f->path + n - strlen(end), end) != 0) {
        fail_msg("'%s' does not end in '%s'", f->path, end);
    }
    if (text != NULL) {
        check_content(f, f->path, text);
    } else {
        assert_true(kfi_file_is_directory(f->path));
    }
}

void pull_fixture_check_file(pull_fixture *f, const char *relative, const char *text)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", f->cache, relative);
    check_content(f, path, text);
}

void pull_fixture_check_message(const pull_fixture *f, const char *part)
{
    if (strstr(f->err.msg, part) == NULL) {
        fail_msg("'%s' says nothing of '%s'", f->err.msg, part);
    }
}

bool pull_fixture_exists(const pull_fixture *f, const char *relative)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", f->cache, relative);
    return kfi_file_exists(path);
}
