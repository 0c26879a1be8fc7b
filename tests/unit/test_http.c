/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "fixtures.h"
#include "http_server.h"
#include "io/http.h"
#include "io/sha256.h"

#define BODY_BYTES 5000u

/* One server, one client and one directory a test. */
typedef struct fixture {
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
    char content[BODY_BYTES];
    char sha256[KFI_SHA256_HEX];
} fixture;

static void note_warning(void *ctx, const char *message)
{
    fixture *f = ctx;
    (void)snprintf(f->warning, sizeof f->warning, "%s", message);
    f->n_warnings++;
}

static void note_progress(void *ctx, const kf_progress *progress)
{
    ((fixture *)ctx)->progress = *progress;
}

static bool is_cancelled(void *ctx)
{
    return ((fixture *)ctx)->cancel;
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->directory = fixture_directory_new();
    (void)snprintf(f->path, sizeof f->path, "%s/file.bin", f->directory);
    kfi_buf_init(&f->body, NULL, 10000);
    f->callbacks = (kf_callbacks){note_progress, note_warning, is_cancelled, f};
    for (size_t i = 0; i < BODY_BYTES; i++) {
        f->content[i] = (char)('a' + (i * i / 7) % 23); /* halves that don't fit are seen */
    }
    CHECK_OK(kfi_sha256_bytes(f->sha256, f->content, BODY_BYTES, &f->err), &f->err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    kfi_http_close(f->http);
    http_server_stop(f->server);
    fixture_directory_free(f->directory);
    kfi_buf_deinit(&f->body);
    free(f);
    return 0;
}

/* A client of little patience: no pause between attempts, a second without data is a stall. */
static void open_client(fixture *f, const char *login_url, const char *bearer)
{
    const kfi_http_settings settings = {.callbacks = &f->callbacks,
                                        .limits = {5, 1, 3, 0, 4},
                                        .login_url = login_url,
                                        .bearer = bearer};
    kfi_http_close(f->http);
    CHECK_OK(kfi_http_open(&f->http, &settings, &f->err), &f->err);
}

static void start(fixture *f, const http_reply *replies, size_t n)
{
    f->server = http_server_start(replies, n);
    open_client(f, NULL, NULL);
}

#define START(f, replies) start((f), (replies), sizeof(replies) / sizeof((replies)[0]))

static kf_status get(fixture *f, const char *target)
{
    char *url = http_server_url(f->server, target);
    const kf_status st = kfi_http_get(f->http, &f->body, &f->answer, url, "text/x", &f->err);
    free(url);
    return st;
}

/* Fetches /f; with_hash: the index named one. */
static kf_status download(fixture *f, bool with_hash, uint64_t size)
{
    char *url = http_server_url(f->server, "/f");
    const kfi_http_file file = {.url = url,
                                .path = f->path,
                                .name = "file.bin",
                                .sha256 = with_hash ? f->sha256 : NULL,
                                .size = size};
    const kf_status st = kfi_http_download(f->http, &file, &f->err);
    free(url);
    return st;
}

static void check_file_is_whole(fixture *f)
{
    char part[300];
    kfi_buf_clear(&f->body);
    CHECK_OK(kfi_file_read(&f->body, f->path, &f->err), &f->err);
    assert_int_equal(f->body.n, BODY_BYTES);
    assert_memory_equal(f->body.data, f->content, BODY_BYTES);
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_false(kfi_file_exists(part));
    (void)snprintf(part, sizeof part, "%s.part.etag", f->path);
    assert_false(kfi_file_exists(part));
}

/* Puts a partial file there, as an earlier process left it. etag NULL: no sidecar. */
static void leave_part(fixture *f, const void *data, size_t n, const char *etag)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s.part", f->path);
    CHECK_OK(kfi_file_write(path, data, n, &f->err), &f->err);
    if (etag != NULL) {
        (void)snprintf(path, sizeof path, "%s.part.etag", f->path);
        CHECK_OK(kfi_file_write(path, etag, strlen(etag), &f->err), &f->err);
    }
}

static void check_message(const fixture *f, const char *part)
{
    if (strstr(f->err.msg, part) == NULL) {
        fail_msg("'%s' says nothing of '%s'", f->err.msg, part);
    }
}

static void check_requested(fixture *f, size_t i, const char *part, bool wanted)
{
    const char *head = http_server_request(f->server, i);
    if ((strstr(head, part) != NULL) != wanted) {
        fail_msg("request %zu %s '%s':\n%s", i, wanted ? "lacks" : "has", part, head);
    }
}

/* ---- into memory ---- */

static void gets_a_body_its_type_and_address(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .type = "text/x", .text = "hello"}};
    START(f, replies);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_string_equal(f->body.data, "hello");
    assert_string_equal(f->answer.content_type, "text/x");
    assert_non_null(strstr(f->answer.url, "/x"));
    check_requested(f, 0, "\r\nAccept: text/x\r\n", true);
    check_requested(f, 0, "\r\nUser-Agent: kerf\r\n", true);
}

static void gets_an_empty_body(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = ""}};
    START(f, replies);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_int_equal(f->body.n, 0);
}

static void reports_what_is_not_there(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello"}};
    START(f, replies);
    assert_int_equal(get(f, "/other"), KF_INPUT);
    check_message(f, "/other: the server says 404 Told So; no such thing there");
    assert_int_equal(http_server_n_requests(f->server), 1);
}

static void reports_a_missing_permission(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/x", .status = 401, .extra = "X-Error-Message: gated model\r\n", .text = "no"}};
    START(f, replies);
    assert_int_equal(get(f, "/x"), KF_INPUT);
    check_message(f, "says 401 gated model; no permission: is a token or password missing?");
}

static void tries_again_after_500_and_429(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .times = 1, .status = 500, .text = "oops"},
                                  {.target = "/x", .times = 1, .status = 429, .text = "slowly"},
                                  {.target = "/x", .text = "hello"}};
    START(f, replies);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_string_equal(f->body.data, "hello");
    assert_int_equal(f->n_warnings, 2);
    assert_non_null(strstr(f->warning, "429"));
    assert_non_null(strstr(f->warning, "trying again in 0.0 s (3 of 3)"));
}

static void waits_as_long_as_the_server_asks(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/x", .times = 1, .status = 429, .extra = "Retry-After: 1\r\n", .text = ""},
        {.target = "/x", .text = "hello"}};
    START(f, replies);
    const double begin = kfi_clock_seconds();
    CHECK_OK(get(f, "/x"), &f->err);
    assert_true(kfi_clock_seconds() - begin >= 0.99);
    assert_non_null(strstr(f->warning, "trying again in 1.0 s"));
}

static void gives_up_after_the_last_attempt(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .status = 503, .text = "oops"}};
    START(f, replies);
    assert_int_equal(get(f, "/x"), KF_IO);
    check_message(f, "after 3 attempts: ");
    check_message(f, "says 503 Told So; trouble on their side: try later");
    assert_int_equal(http_server_n_requests(f->server), 3);
}

static void reports_no_connection_at_once(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello"}};
    START(f, replies);
    char *url = http_server_url(f->server, "/x");
    http_server_stop(f->server); /* the port is free again */
    f->server = NULL;
    assert_int_equal(kfi_http_get(f->http, &f->body, &f->answer, url, NULL, &f->err), KF_IO);
    check_message(f, "offline, or behind a proxy that https_proxy should name?");
    assert_int_equal(f->n_warnings, 0);
    free(url);
}

static void reports_a_stall(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello", .cut = 2, .stall = true}};
    f->server = http_server_start(replies, 1);
    const kfi_http_settings settings = {.limits = {5, 1, 1, 0, 4}};
    CHECK_OK(kfi_http_open(&f->http, &settings, &f->err), &f->err);
    assert_int_equal(get(f, "/x"), KF_IO);
    check_message(f, "/x: no data for 1 s");
}

static void refuses_a_body_that_claims_too_much(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello", .claim = 10001}};
    START(f, replies);
    assert_int_equal(get(f, "/x"), KF_FORMAT);
    check_message(f, "the server sends 10001 bytes where at most 10000 are taken");
    assert_int_equal(f->body.n, 0);
}

static void refuses_a_body_that_does_not_end(void **state)
{
    fixture *f = *state;
    char *endless = calloc(1, 20000);
    assert_non_null(endless);
    const http_reply replies[] = {{.target = "/x", .body = endless, .n = 20000, .no_length = true}};
    START(f, replies);
    assert_int_equal(get(f, "/x"), KF_FORMAT);
    check_message(f, "the server sends more than the 10000 bytes that are taken");
    free(endless);
}

static void follows_redirects(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/a", .status = 302, .extra = "Location: b/c\r\n", .text = "moved"},
        {.target = "/b/c", .status = 307, .extra = "Location: @/d\r\n", .text = ""},
        {.target = "/d", .text = "hello"}};
    START(f, replies);
    CHECK_OK(get(f, "/a"), &f->err);
    assert_string_equal(f->body.data, "hello");
    assert_non_null(strstr(f->answer.url, "/d"));
}

static void refuses_a_redirect_loop(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/a", .status = 302, .extra = "Location: /b\r\n", .text = ""},
        {.target = "/b", .status = 302, .extra = "Location: /a\r\n", .text = ""}};
    START(f, replies);
    assert_int_equal(get(f, "/a"), KF_FORMAT);
    check_message(f, "/a: more than 4 redirects");
    assert_int_equal(http_server_n_requests(f->server), 5);
}

static void refuses_a_redirect_to_a_file(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/a", .status = 302, .extra = "Location: file:///etc/passwd\r\n", .text = ""}};
    START(f, replies);
    assert_int_equal(get(f, "/a"), KF_FORMAT);
    check_message(f, "'file:///etc/passwd' is not an http or https address");
}

static void sends_the_password_to_its_own_server_only(void **state)
{
    fixture *f = *state;
    char location[96];
    char login[96];
    const http_reply other_replies[] = {{.target = "/y", .text = "other"}};
    http_server *other = http_server_start(other_replies, 1);
    (void)snprintf(location, sizeof location, "Location: http://127.0.0.1:%u/y\r\n",
                   http_server_port(other));
    const http_reply replies[] = {{.target = "/x", .status = 302, .extra = location, .text = ""}};
    START(f, replies);
    (void)snprintf(login, sizeof login, "http://me:secret@127.0.0.1:%u/simple",
                   http_server_port(f->server));
    open_client(f, login, NULL);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_string_equal(f->body.data, "other");
    check_requested(f, 0, "\r\nAuthorization: Basic bWU6c2VjcmV0\r\n", true);
    assert_null(strstr(http_server_request(other, 0), "Authorization"));
    http_server_stop(other);
}

static void sends_a_password_of_any_length(void **state)
{
    enum {
        N = 1200 /* of three bytes, or four digits in base 64 */
    };
    fixture *f = *state;
    char login[3 * N + 96];
    char header[4 * N + 96] = "\r\nAuthorization: Basic bWU6";
    const http_reply replies[] = {{.target = "/x", .text = "x"}};
    START(f, replies);
    int n = snprintf(login, sizeof login, "http://me:");
    size_t n_header = strlen(header);
    for (size_t i = 0; i < N; i++) {
        memcpy(login + n, "abc", 3);
        memcpy(header + n_header, "YWJj", 4);
        n += 3;
        n_header += 4;
    }
    memcpy(header + n_header, "\r\n", 3);
    (void)snprintf(login + n, sizeof login - (size_t)n, "@127.0.0.1:%u/simple",
                   http_server_port(f->server));
    open_client(f, login, NULL);
    CHECK_OK(get(f, "/x"), &f->err);
    check_requested(f, 0, header, true);
}

static void sends_the_token_to_its_own_server_only(void **state)
{
    fixture *f = *state;
    char location[96];
    const http_reply other_replies[] = {{.target = "/y", .text = "other"}};
    http_server *other = http_server_start(other_replies, 1);
    (void)snprintf(location, sizeof location, "Location: http://127.0.0.1:%u/y\r\n",
                   http_server_port(other));
    const http_reply replies[] = {{.target = "/x", .status = 302, .extra = location, .text = ""}};
    START(f, replies);
    char *hub = http_server_url(f->server, "");
    open_client(f, hub, "hf_token");
    CHECK_OK(get(f, "/x"), &f->err);
    check_requested(f, 0, "\r\nAuthorization: Bearer hf_token\r\n", true);
    assert_null(strstr(http_server_request(other, 0), "Authorization"));
    http_server_stop(other);
    free(hub);
}

static void goes_through_the_proxy(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "http://index.invalid/x", .text = "by proxy"}};
    f->server = http_server_start(replies, 1);
    char *proxy = http_server_url(f->server, "");
    const kfi_http_settings settings = {.limits = {5, 1, 1, 0, 4}, .proxy = proxy};
    CHECK_OK(kfi_http_open(&f->http, &settings, &f->err), &f->err);
    CHECK_OK(kfi_http_get(f->http, &f->body, &f->answer, "http://index.invalid/x", NULL, &f->err),
             &f->err);
    assert_string_equal(f->body.data, "by proxy");
    free(proxy);
}

static void cancels(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello", .cut = 2, .stall = true}};
    START(f, replies);
    f->cancel = true;
    assert_int_equal(get(f, "/x"), KF_CANCELLED);
    check_message(f, "cancelled while downloading");
}

static void cancel_at_warning(void *ctx, const char *message)
{
    note_warning(ctx, message);
    ((fixture *)ctx)->cancel = true;
}

static void cancels_while_it_waits(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/x", .status = 429, .extra = "Retry-After: 50\r\n", .text = ""}};
    START(f, replies);
    f->callbacks.warn = cancel_at_warning; /* which comes just before the pause */
    assert_int_equal(get(f, "/x"), KF_CANCELLED);
    check_message(f, "cancelled while waiting to try again");
}

/* ---- into a file ---- */

static void downloads_a_file(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .body = f->content, .n = BODY_BYTES}};
    START(f, replies);
    CHECK_OK(download(f, true, BODY_BYTES), &f->err);
    check_file_is_whole(f);
    assert_string_equal(f->progress.unit, "bytes");
    assert_int_equal(f->progress.done, BODY_BYTES);
    assert_int_equal(f->progress.total, BODY_BYTES);
    check_requested(f, 0, "\r\nAccept-Encoding", false);
}

static void downloads_a_file_of_unknown_size_and_hash(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = BODY_BYTES, .no_length = true}};
    START(f, replies);
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
}

static void downloads_an_empty_file(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = ""}};
    START(f, replies);
    CHECK_OK(download(f, false, 0), &f->err);
    assert_true(kfi_file_exists(f->path));
}

static void goes_on_after_a_cut(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f",
         .times = 2,
         .etag = "\"v1\"",
         .body = f->content,
         .n = BODY_BYTES,
         .cut = 2000,
         .ranges = true},
        {.target = "/f", .etag = "\"v1\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
    check_requested(f, 1, "\r\nRange: bytes=2000-\r\n", true);
    check_requested(f, 1, "\r\nIf-Range: \"v1\"\r\n", true);
    check_requested(f, 2, "\r\nRange: bytes=4000-\r\n", true);
}

static void goes_on_after_a_stall(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f",
         .times = 1,
         .body = f->content,
         .n = BODY_BYTES,
         .cut = 2000,
         .stall = true},
        {.target = "/f", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    CHECK_OK(download(f, true, BODY_BYTES), &f->err);
    check_file_is_whole(f);
    check_requested(f, 1, "\r\nRange: bytes=2000-\r\n", true);
    assert_non_null(strstr(f->warning, "no data for 1 s"));
}

static void goes_on_where_an_earlier_process_ended(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .etag = "\"v1\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    CHECK_OK(download(f, true, BODY_BYTES), &f->err);
    check_file_is_whole(f);
    assert_int_equal(http_server_n_requests(f->server), 1);
    check_requested(f, 0, "\r\nRange: bytes=3000-\r\n", true);
}

static void starts_again_when_the_file_has_changed(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .etag = "\"v2\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    leave_part(f, "something older", 15, "\"v1\"");
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
    check_requested(f, 0, "\r\nIf-Range: \"v1\"\r\n", true);
}

static void starts_again_when_the_etag_changes_between_attempts(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f",
         .times = 1,
         .etag = "\"v1\"",
         .text = "an older text, cut off in the middle",
         .cut = 20},
        {.target = "/f", .etag = "\"v2\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
}

static void starts_again_when_the_server_ignores_ranges(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .etag = "\"v1\"", .body = f->content, .n = BODY_BYTES}};
    START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    CHECK_OK(download(f, true, BODY_BYTES), &f->err);
    check_file_is_whole(f);
}

static void does_not_join_halves_that_nothing_vouches_for(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .etag = "W/\"v1\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    leave_part(f, "something else!", 15, "W/\"v1\""); /* weak: equal meaning, not equal bytes */
    CHECK_OK(download(f, false, BODY_BYTES), &f->err);
    check_file_is_whole(f);
    check_requested(f, 0, "\r\nRange", false);
}

static void fetches_once_more_when_joined_halves_have_the_wrong_hash(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    leave_part(f, "something else!", 15, NULL);
    CHECK_OK(download(f, true, BODY_BYTES), &f->err);
    check_file_is_whole(f);
    check_requested(f, 0, "\r\nRange: bytes=15-\r\n", true);
    check_requested(f, 1, "\r\nRange", false);
}

static void needs_no_network_for_a_part_that_is_whole(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = "never asked"}};
    START(f, replies);
    leave_part(f, f->content, BODY_BYTES, NULL);
    CHECK_OK(download(f, true, BODY_BYTES), &f->err);
    check_file_is_whole(f);
    assert_int_equal(http_server_n_requests(f->server), 0);
}

static void takes_416_for_the_end_where_the_size_agrees(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .etag = "\"v1\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    leave_part(f, f->content, BODY_BYTES, "\"v1\"");
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
    assert_int_equal(http_server_n_requests(f->server), 1);
}

static void starts_again_after_416_of_a_shorter_file(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .etag = "\"v1\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    char longer[BODY_BYTES + 10] = {0};
    START(f, replies);
    leave_part(f, longer, sizeof longer, "\"v1\"");
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
}

static void refuses_the_wrong_hash_and_keeps_nothing(void **state)
{
    fixture *f = *state;
    char part[300];
    const http_reply replies[] = {{.target = "/f", .etag = "\"v1\"", .text = "something else!"}};
    START(f, replies);
    assert_int_equal(download(f, true, 15), KF_FORMAT);
    check_message(f, "file.bin: the index says sha256 ");
    check_message(f, "the download was thrown away");
    assert_int_equal(http_server_n_requests(f->server), 1);
    assert_false(kfi_file_exists(f->path));
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_false(kfi_file_exists(part));
    (void)snprintf(part, sizeof part, "%s.part.etag", f->path);
    assert_false(kfi_file_exists(part));
}

static void keeps_the_part_when_every_attempt_is_cut(void **state)
{
    fixture *f = *state;
    kfi_buf part;
    char path[300];
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = BODY_BYTES,
                                   .cut = 100,
                                   .ranges = true}};
    START(f, replies);
    assert_int_equal(download(f, true, BODY_BYTES), KF_IO);
    check_message(f, "after 3 attempts: ");
    (void)snprintf(path, sizeof path, "%s.part", f->path);
    kfi_buf_init(&part, NULL, BODY_BYTES);
    CHECK_OK(kfi_file_read(&part, path, &f->err), &f->err);
    assert_int_equal(part.n, 300);
    assert_memory_equal(part.data, f->content, 300);
    kfi_buf_deinit(&part);
    assert_false(kfi_file_exists(f->path));
}

static void reports_a_length_that_never_comes(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = BODY_BYTES, .claim = BODY_BYTES + 7}};
    START(f, replies);
    assert_int_equal(download(f, false, KFI_HTTP_SIZE_UNKNOWN), KF_IO);
    check_message(f, "after 3 attempts: ");
    check_message(f, "7 bytes remaining");
    assert_false(kfi_file_exists(f->path));
}

static void refuses_a_size_that_is_not_the_index_s(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .body = f->content, .n = BODY_BYTES}};
    START(f, replies);
    assert_int_equal(download(f, true, 4999), KF_FORMAT);
    check_message(f, "file.bin: the server's file has 5000 bytes, its index says 4999");
    assert_int_equal(http_server_n_requests(f->server), 1);
}

static void refuses_more_bytes_than_the_index_says(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = BODY_BYTES, .no_length = true}};
    START(f, replies);
    assert_int_equal(download(f, true, 4999), KF_FORMAT);
    check_message(f, "its index says 4999");
}

static void refuses_fewer_bytes_than_the_index_says(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = BODY_BYTES, .no_length = true}};
    START(f, replies);
    assert_int_equal(download(f, true, 5001), KF_FORMAT);
    check_message(f, "the server's file has 5000 bytes, its index says 5001");
}

static void refuses_a_range_that_was_not_asked_for(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .status = 206,
                                   .extra = "Content-Range: bytes 10-20/5000\r\n",
                                   .text = "0123456789"}};
    START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    assert_int_equal(download(f, true, BODY_BYTES), KF_FORMAT);
    check_message(f, "asked for bytes from 3000 on, the server sends those from 10");
}

static void cancelling_keeps_the_part(void **state)
{
    fixture *f = *state;
    char part[300];
    const http_reply replies[] = {
        {.target = "/f", .etag = "\"v1\"", .body = f->content, .n = BODY_BYTES, .ranges = true}};
    START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    f->cancel = true;
    assert_int_equal(download(f, true, BODY_BYTES), KF_CANCELLED);
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_true(kfi_file_exists(part));
    f->cancel = false;
    CHECK_OK(download(f, true, BODY_BYTES), &f->err);
    check_file_is_whole(f);
}

static void reports_a_directory_that_is_not_there(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = "hello"}};
    START(f, replies);
    (void)snprintf(f->path, sizeof f->path, "%s/none/file.bin", f->directory);
    assert_int_equal(download(f, false, KFI_HTTP_SIZE_UNKNOWN), KF_IO);
    check_message(f, "cannot open");
    check_message(f, "No such file or directory");
}

static void reports_a_full_disk(void **state)
{
    fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = "hello"}};
    char part[300];
    START(f, replies);
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_int_equal(symlink("/dev/full", part), 0);
    assert_int_equal(download(f, false, KFI_HTTP_SIZE_UNKNOWN), KF_IO);
    check_message(f, "cannot write");
    check_message(f, "No space left on device");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(gets_a_body_its_type_and_address),
        CASE(gets_an_empty_body),
        CASE(reports_what_is_not_there),
        CASE(reports_a_missing_permission),
        CASE(tries_again_after_500_and_429),
        CASE(waits_as_long_as_the_server_asks),
        CASE(gives_up_after_the_last_attempt),
        CASE(reports_no_connection_at_once),
        CASE(reports_a_stall),
        CASE(refuses_a_body_that_claims_too_much),
        CASE(refuses_a_body_that_does_not_end),
        CASE(follows_redirects),
        CASE(refuses_a_redirect_loop),
        CASE(refuses_a_redirect_to_a_file),
        CASE(sends_the_password_to_its_own_server_only),
        CASE(sends_a_password_of_any_length),
        CASE(sends_the_token_to_its_own_server_only),
        CASE(goes_through_the_proxy),
        CASE(cancels),
        CASE(cancels_while_it_waits),
        CASE(downloads_a_file),
        CASE(downloads_a_file_of_unknown_size_and_hash),
        CASE(downloads_an_empty_file),
        CASE(goes_on_after_a_cut),
        CASE(goes_on_after_a_stall),
        CASE(goes_on_where_an_earlier_process_ended),
        CASE(starts_again_when_the_file_has_changed),
        CASE(starts_again_when_the_etag_changes_between_attempts),
        CASE(starts_again_when_the_server_ignores_ranges),
        CASE(does_not_join_halves_that_nothing_vouches_for),
        CASE(fetches_once_more_when_joined_halves_have_the_wrong_hash),
        CASE(needs_no_network_for_a_part_that_is_whole),
        CASE(takes_416_for_the_end_where_the_size_agrees),
        CASE(starts_again_after_416_of_a_shorter_file),
        CASE(refuses_the_wrong_hash_and_keeps_nothing),
        CASE(keeps_the_part_when_every_attempt_is_cut),
        CASE(reports_a_length_that_never_comes),
        CASE(refuses_a_size_that_is_not_the_index_s),
        CASE(refuses_more_bytes_than_the_index_says),
        CASE(refuses_fewer_bytes_than_the_index_says),
        CASE(refuses_a_range_that_was_not_asked_for),
        CASE(cancelling_keeps_the_part),
        CASE(reports_a_directory_that_is_not_there),
        CASE(reports_a_full_disk),
    };
    /* The tests talk to this machine only, whatever the user's proxy is. */
    (void)setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
