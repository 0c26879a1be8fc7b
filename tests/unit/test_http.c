/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "http_fixture.h"
#include "http_server.h"
#include "io/http.h"

static kf_status get(http_fixture *f, const char *target)
{
    char *url = http_server_url(f->server, target);
    const kf_status st = kfi_http_get(f->http, &f->body, &f->answer, url, "text/x", &f->err);
    free(url);
    return st;
}

static void gets_a_body_its_type_and_address(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .type = "text/x", .text = "hello"}};
    HTTP_START(f, replies);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_string_equal(f->body.data, "hello");
    assert_string_equal(f->answer.content_type, "text/x");
    assert_non_null(strstr(f->answer.url, "/x"));
    http_check_requested(f, 0, "\r\nAccept: text/x\r\n", true);
    http_check_requested(f, 0, "\r\nUser-Agent: kerf\r\n", true);
}

static void gets_an_empty_body(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = ""}};
    HTTP_START(f, replies);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_int_equal(f->body.n, 0);
}

static void reports_what_is_not_there(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello"}};
    HTTP_START(f, replies);
    assert_int_equal(get(f, "/other"), KF_INPUT);
    http_check_message(f, "/other: the server says 404 Told So; no such thing there");
    assert_int_equal(http_server_n_requests(f->server), 1);
}

static void reports_a_missing_permission(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/x", .status = 401, .extra = "X-Error-Message: gated model\r\n", .text = "no"}};
    HTTP_START(f, replies);
    assert_int_equal(get(f, "/x"), KF_INPUT);
    http_check_message(f, "says 401 gated model; no permission: is a token or password missing?");
}

static void tries_again_after_500_and_429(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .times = 1, .status = 500, .text = "oops"},
                                  {.target = "/x", .times = 1, .status = 429, .text = "slowly"},
                                  {.target = "/x", .text = "hello"}};
    HTTP_START(f, replies);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_string_equal(f->body.data, "hello");
    assert_int_equal(f->n_warnings, 2);
    assert_non_null(strstr(f->warning, "429"));
    assert_non_null(strstr(f->warning, "trying again in 0.0 s (3 of 3)"));
}

static void waits_as_long_as_the_server_asks(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/x", .times = 1, .status = 429, .extra = "Retry-After: 1\r\n", .text = ""},
        {.target = "/x", .text = "hello"}};
    HTTP_START(f, replies);
    const double begin = kfi_clock_seconds();
    CHECK_OK(get(f, "/x"), &f->err);
    assert_true(kfi_clock_seconds() - begin >= 0.99);
    assert_non_null(strstr(f->warning, "trying again in 1.0 s"));
}

static void gives_up_after_the_last_attempt(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .status = 503, .text = "oops"}};
    HTTP_START(f, replies);
    assert_int_equal(get(f, "/x"), KF_IO);
    http_check_message(f, "after 3 attempts: ");
    http_check_message(f, "says 503 Told So; trouble on their side: try later");
    assert_int_equal(http_server_n_requests(f->server), 3);
}

static void reports_no_connection_at_once(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello"}};
    HTTP_START(f, replies);
    char *url = http_server_url(f->server, "/x");
    http_server_stop(f->server); /* the port is free again */
    f->server = NULL;
    assert_int_equal(kfi_http_get(f->http, &f->body, &f->answer, url, NULL, &f->err), KF_IO);
    http_check_message(f, "offline, or behind a proxy that https_proxy should name?");
    assert_int_equal(f->n_warnings, 0);
    free(url);
}

static void reports_a_stall(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello", .cut = 2, .stall = true}};
    f->server = http_server_start(replies, 1);
    const kfi_http_settings settings = {.limits = {5, 1, 1, 0, 4}};
    CHECK_OK(kfi_http_open(&f->http, &settings, &f->err), &f->err);
    assert_int_equal(get(f, "/x"), KF_IO);
    http_check_message(f, "/x: no data for 1 s");
}

static void refuses_a_body_that_claims_too_much(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello", .claim = 10001}};
    HTTP_START(f, replies);
    assert_int_equal(get(f, "/x"), KF_FORMAT);
    http_check_message(f, "the server sends 10001 bytes where at most 10000 are taken");
    assert_int_equal(f->body.n, 0);
}

static void refuses_a_body_that_does_not_end(void **state)
{
    http_fixture *f = *state;
    char *endless = calloc(1, 20000);
    assert_non_null(endless);
    const http_reply replies[] = {{.target = "/x", .body = endless, .n = 20000, .no_length = true}};
    HTTP_START(f, replies);
    assert_int_equal(get(f, "/x"), KF_FORMAT);
    http_check_message(f, "the server sends more than the 10000 bytes that are taken");
    free(endless);
}

static void follows_redirects(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/a", .status = 302, .extra = "Location: b/c\r\n", .text = "moved"},
        {.target = "/b/c", .status = 307, .extra = "Location: @/d\r\n", .text = ""},
        {.target = "/d", .text = "hello"}};
    HTTP_START(f, replies);
    CHECK_OK(get(f, "/a"), &f->err);
    assert_string_equal(f->body.data, "hello");
    assert_non_null(strstr(f->answer.url, "/d"));
}

static void refuses_a_redirect_loop(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/a", .status = 302, .extra = "Location: /b\r\n", .text = ""},
        {.target = "/b", .status = 302, .extra = "Location: /a\r\n", .text = ""}};
    HTTP_START(f, replies);
    assert_int_equal(get(f, "/a"), KF_FORMAT);
    http_check_message(f, "/a: more than 4 redirects");
    assert_int_equal(http_server_n_requests(f->server), 5);
}

static void refuses_a_redirect_to_a_file(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/a", .status = 302, .extra = "Location: file:///etc/passwd\r\n", .text = ""}};
    HTTP_START(f, replies);
    assert_int_equal(get(f, "/a"), KF_FORMAT);
    http_check_message(f, "'file:///etc/passwd' is not an http or https address");
}

static void sends_the_password_to_its_own_server_only(void **state)
{
    http_fixture *f = *state;
    char location[96];
    char login[96];
    const http_reply other_replies[] = {{.target = "/y", .text = "other"}};
    http_server *other = http_server_start(other_replies, 1);
    (void)snprintf(location, sizeof location, "Location: http://127.0.0.1:%u/y\r\n",
                   http_server_port(other));
    const http_reply replies[] = {{.target = "/x", .status = 302, .extra = location, .text = ""}};
    HTTP_START(f, replies);
    (void)snprintf(login, sizeof login, "http://me:secret@127.0.0.1:%u/simple",
                   http_server_port(f->server));
    http_open_client(f, login, NULL);
    CHECK_OK(get(f, "/x"), &f->err);
    assert_string_equal(f->body.data, "other");
    http_check_requested(f, 0, "\r\nAuthorization: Basic bWU6c2VjcmV0\r\n", true);
    assert_null(strstr(http_server_request(other, 0), "Authorization"));
    http_server_stop(other);
}

static void sends_a_password_of_any_length(void **state)
{
    enum {
        N = 1200 /* of three bytes, or four digits in base 64 */
    };
    http_fixture *f = *state;
    char login[3 * N + 96];
    char header[4 * N + 96] = "\r\nAuthorization: Basic bWU6";
    const http_reply replies[] = {{.target = "/x", .text = "x"}};
    HTTP_START(f, replies);
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
    http_open_client(f, login, NULL);
    CHECK_OK(get(f, "/x"), &f->err);
    http_check_requested(f, 0, header, true);
}

static void sends_the_token_to_its_own_server_only(void **state)
{
    http_fixture *f = *state;
    char location[96];
    const http_reply other_replies[] = {{.target = "/y", .text = "other"}};
    http_server *other = http_server_start(other_replies, 1);
    (void)snprintf(location, sizeof location, "Location: http://127.0.0.1:%u/y\r\n",
                   http_server_port(other));
    const http_reply replies[] = {{.target = "/x", .status = 302, .extra = location, .text = ""}};
    HTTP_START(f, replies);
    char *hub = http_server_url(f->server, "");
    http_open_client(f, hub, "hf_token");
    CHECK_OK(get(f, "/x"), &f->err);
    http_check_requested(f, 0, "\r\nAuthorization: Bearer hf_token\r\n", true);
    assert_null(strstr(http_server_request(other, 0), "Authorization"));
    http_server_stop(other);
    free(hub);
}

static void goes_through_the_proxy(void **state)
{
    http_fixture *f = *state;
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
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/x", .text = "hello", .cut = 2, .stall = true}};
    HTTP_START(f, replies);
    f->cancel = true;
    assert_int_equal(get(f, "/x"), KF_CANCELLED);
    http_check_message(f, "cancelled while downloading");
}

static void cancel_at_warning(void *ctx, const char *message)
{
    http_note_warning(ctx, message);
    ((http_fixture *)ctx)->cancel = true;
}

static void cancels_while_it_waits(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/x", .status = 429, .extra = "Retry-After: 50\r\n", .text = ""}};
    HTTP_START(f, replies);
    f->callbacks.warn = cancel_at_warning; /* which comes just before the pause */
    assert_int_equal(get(f, "/x"), KF_CANCELLED);
    http_check_message(f, "cancelled while waiting to try again");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HTTP_CASE(gets_a_body_its_type_and_address),
        HTTP_CASE(gets_an_empty_body),
        HTTP_CASE(reports_what_is_not_there),
        HTTP_CASE(reports_a_missing_permission),
        HTTP_CASE(tries_again_after_500_and_429),
        HTTP_CASE(waits_as_long_as_the_server_asks),
        HTTP_CASE(gives_up_after_the_last_attempt),
        HTTP_CASE(reports_no_connection_at_once),
        HTTP_CASE(reports_a_stall),
        HTTP_CASE(refuses_a_body_that_claims_too_much),
        HTTP_CASE(refuses_a_body_that_does_not_end),
        HTTP_CASE(follows_redirects),
        HTTP_CASE(refuses_a_redirect_loop),
        HTTP_CASE(refuses_a_redirect_to_a_file),
        HTTP_CASE(sends_the_password_to_its_own_server_only),
        HTTP_CASE(sends_a_password_of_any_length),
        HTTP_CASE(sends_the_token_to_its_own_server_only),
        HTTP_CASE(goes_through_the_proxy),
        HTTP_CASE(cancels),
        HTTP_CASE(cancels_while_it_waits),
    };
    /* The tests talk to this machine only, whatever the user's proxy is. */
    (void)setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
