/* http_fixture.c - a server, a client and a directory for tests of HTTP.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http_fixture.h"

#include <stdlib.h>

#include "check.h"
#include "fixtures.h"
#include "http_server.h"
#include "io/http.h"
#include "io/sha256.h"

void http_note_warning(void *ctx, const char *message)
{
    http_fixture *f = ctx;
    (void)snprintf(f->warning, sizeof f->warning, "%s", message);
    f->n_warnings++;
}

static void note_progress(void *ctx, const kf_progress *progress)
{
    ((http_fixture *)ctx)->progress = *progress;
}

static bool is_cancelled(void *ctx)
{
    return ((http_fixture *)ctx)->cancel;
}

int http_set_up(void **state)
{
    http_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->directory = fixture_directory_new();
    (void)snprintf(f->path, sizeof f->path, "%s/file.bin", f->directory);
    kfi_buf_init(&f->body, NULL, 10000);
    f->callbacks = (kf_callbacks){note_progress, http_note_warning, is_cancelled, f};
    for (size_t i = 0; i < HTTP_BODY_BYTES; i++) {
        f->content[i] = (char)('a' + (i * i / 7) % 23); /* halves that don't fit are seen */
    }
    CHECK_OK(kfi_sha256_bytes(f->sha256, f->content, HTTP_BODY_BYTES, &f->err), &f->err);
    *state = f;
    return 0;
}

int http_tear_down(void **state)
{
    http_fixture *f = *state;
    kfi_http_close(f->http);
    http_server_stop(f->server);
    fixture_directory_free(f->directory);
    kfi_buf_deinit(&f->body);
    free(f);
    return 0;
}

void http_open_client(http_fixture *f, const char *login_url, const char *bearer)
{
    const kfi_http_settings settings = {.callbacks = &f->callbacks,
                                        .limits = {5, 1, 3, 0, 4},
                                        .login_url = login_url,
                                        .bearer = bearer};
    kfi_http_close(f->http);
    CHECK_OK(kfi_http_open(&f->http, &settings, &f->err), &f->err);
}

void http_start(http_fixture *f, const http_reply *replies, size_t n)
{
    f->server = http_server_start(replies, n);
    http_open_client(f, NULL, NULL);
}

void http_check_message(const http_fixture *f, const char *part)
{
    if (strstr(f->err.msg, part) == NULL) {
        fail_msg("'%s' says nothing of '%s'", f->err.msg, part);
    }
}

void http_check_requested(http_fixture *f, size_t i, const char *part, bool wanted)
{
    const char *head = http_server_request(f->server, i);
    if ((strstr(head, part) != NULL) != wanted) {
        fail_msg("request %zu %s '%s':\n%s", i, wanted ? "lacks" : "has", part, head);
    }
}
