/* http_fixture.h - a server, a client and a directory for tests of HTTP.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_HTTP_FIXTURE_H
#define KERF_TESTS_HTTP_FIXTURE_H

#include "fixtures.h"
#include "http_server.h"
#include "io/http.h"
#include "io/sha256.h"

#define HTTP_BODY_BYTES 5000u

/* One server, one client and one directory a test. */
typedef struct http_fixture {
    http_server *server;
    kfi_http *http;
    char *directory;
    char path[256]; /* of the file that downloads make */
    kfi_buf body;
    kfi_http_answer answer;
    kf_error err;
    char warning[512]; /* the last one */
    unsigned n_warnings;
    bool cancel;
    kf_callbacks callbacks;
    kf_progress progress; /* the last one */
    char content[HTTP_BODY_BYTES];
    char sha256[KFI_SHA256_HEX];
} http_fixture;

#define HTTP_START(f, replies) http_start((f), (replies), sizeof(replies) / sizeof((replies)[0]))

#define HTTP_CASE(name) cmocka_unit_test_setup_teardown(name, http_set_up, http_tear_down)

void http_note_warning(void *ctx, const char *message);
int http_set_up(void **state);
int http_tear_down(void **state);
/* A client of little patience: no pause between attempts, a second without data is a stall. */
void http_open_client(http_fixture *f, const char *login_url, const char *bearer);
void http_start(http_fixture *f, const http_reply *replies, size_t n);
void http_check_message(const http_fixture *f, const char *part);
void http_check_requested(http_fixture *f, size_t i, const char *part, bool wanted);

#endif /* KERF_TESTS_HTTP_FIXTURE_H */
