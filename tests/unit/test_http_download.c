/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "fixtures.h"
#include "http_fixture.h"
#include "http_server.h"
#include "io/http.h"

/* Fetches /f; with_hash: the index named one. */
static kf_status download(http_fixture *f, bool with_hash, uint64_t size)
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

static void check_file_is_whole(http_fixture *f)
{
    char part[300];
    kfi_buf_clear(&f->body);
    CHECK_OK(kfi_file_read(&f->body, f->path, &f->err), &f->err);
    assert_int_equal(f->body.n, HTTP_BODY_BYTES);
    assert_memory_equal(f->body.data, f->content, HTTP_BODY_BYTES);
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_false(kfi_file_exists(part));
    (void)snprintf(part, sizeof part, "%s.part.etag", f->path);
    assert_false(kfi_file_exists(part));
}

/* Puts a partial file there, as an earlier process left it. etag NULL: no sidecar. */
static void leave_part(http_fixture *f, const void *data, size_t n, const char *etag)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s.part", f->path);
    CHECK_OK(kfi_file_write(path, data, n, &f->err), &f->err);
    if (etag != NULL) {
        (void)snprintf(path, sizeof path, "%s.part.etag", f->path);
        CHECK_OK(kfi_file_write(path, etag, strlen(etag), &f->err), &f->err);
    }
}

static void downloads_a_file(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES}};
    HTTP_START(f, replies);
    CHECK_OK(download(f, true, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
    assert_string_equal(f->progress.unit, "bytes");
    assert_int_equal(f->progress.done, HTTP_BODY_BYTES);
    assert_int_equal(f->progress.total, HTTP_BODY_BYTES);
    http_check_requested(f, 0, "\r\nAccept-Encoding", false);
}

static void downloads_a_file_of_unknown_size_and_hash(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES, .no_length = true}};
    HTTP_START(f, replies);
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
}

static void downloads_an_empty_file(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = ""}};
    HTTP_START(f, replies);
    CHECK_OK(download(f, false, 0), &f->err);
    assert_true(kfi_file_exists(f->path));
}

static void goes_on_after_a_cut(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .times = 2,
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .cut = 2000,
                                   .ranges = true},
                                  {.target = "/f",
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    HTTP_START(f, replies);
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
    http_check_requested(f, 1, "\r\nRange: bytes=2000-\r\n", true);
    http_check_requested(f, 1, "\r\nIf-Range: \"v1\"\r\n", true);
    http_check_requested(f, 2, "\r\nRange: bytes=4000-\r\n", true);
}

static void goes_on_after_a_stall(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f",
         .times = 1,
         .body = f->content,
         .n = HTTP_BODY_BYTES,
         .cut = 2000,
         .stall = true},
        {.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES, .ranges = true}};
    HTTP_START(f, replies);
    CHECK_OK(download(f, true, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
    http_check_requested(f, 1, "\r\nRange: bytes=2000-\r\n", true);
    assert_non_null(strstr(f->warning, "no data for 1 s"));
}

static void goes_on_where_an_earlier_process_ended(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    HTTP_START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    CHECK_OK(download(f, true, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
    assert_int_equal(http_server_n_requests(f->server), 1);
    http_check_requested(f, 0, "\r\nRange: bytes=3000-\r\n", true);
}

static void starts_again_when_the_file_has_changed(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "\"v2\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    HTTP_START(f, replies);
    leave_part(f, "something older", 15, "\"v1\"");
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
    http_check_requested(f, 0, "\r\nIf-Range: \"v1\"\r\n", true);
}

static void starts_again_when_the_etag_changes_between_attempts(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .times = 1,
                                   .etag = "\"v1\"",
                                   .text = "an older text, cut off in the middle",
                                   .cut = 20},
                                  {.target = "/f",
                                   .etag = "\"v2\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    HTTP_START(f, replies);
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
}

static void starts_again_when_the_server_ignores_ranges(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .etag = "\"v1\"", .body = f->content, .n = HTTP_BODY_BYTES}};
    HTTP_START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    CHECK_OK(download(f, true, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
}

static void does_not_join_halves_that_nothing_vouches_for(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "W/\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    HTTP_START(f, replies);
    leave_part(f, "something else!", 15, "W/\"v1\""); /* weak: equal meaning, not equal bytes */
    CHECK_OK(download(f, false, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
    http_check_requested(f, 0, "\r\nRange", false);
}

static void fetches_once_more_when_joined_halves_have_the_wrong_hash(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES, .ranges = true}};
    HTTP_START(f, replies);
    leave_part(f, "something else!", 15, NULL);
    CHECK_OK(download(f, true, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
    http_check_requested(f, 0, "\r\nRange: bytes=15-\r\n", true);
    http_check_requested(f, 1, "\r\nRange", false);
}

static void needs_no_network_for_a_part_that_is_whole(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = "never asked"}};
    HTTP_START(f, replies);
    leave_part(f, f->content, HTTP_BODY_BYTES, NULL);
    CHECK_OK(download(f, true, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
    assert_int_equal(http_server_n_requests(f->server), 0);
}

static void takes_416_for_the_end_where_the_size_agrees(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    HTTP_START(f, replies);
    leave_part(f, f->content, HTTP_BODY_BYTES, "\"v1\"");
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
    assert_int_equal(http_server_n_requests(f->server), 1);
}

static void starts_again_after_416_of_a_shorter_file(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    char longer[HTTP_BODY_BYTES + 10] = {0};
    HTTP_START(f, replies);
    leave_part(f, longer, sizeof longer, "\"v1\"");
    CHECK_OK(download(f, false, KFI_HTTP_SIZE_UNKNOWN), &f->err);
    check_file_is_whole(f);
}

static void refuses_the_wrong_hash_and_keeps_nothing(void **state)
{
    http_fixture *f = *state;
    char part[300];
    const http_reply replies[] = {{.target = "/f", .etag = "\"v1\"", .text = "something else!"}};
    HTTP_START(f, replies);
    assert_int_equal(download(f, true, 15), KF_FORMAT);
    http_check_message(f, "file.bin: the index says sha256 ");
    http_check_message(f, "the download was thrown away");
    assert_int_equal(http_server_n_requests(f->server), 1);
    assert_false(kfi_file_exists(f->path));
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_false(kfi_file_exists(part));
    (void)snprintf(part, sizeof part, "%s.part.etag", f->path);
    assert_false(kfi_file_exists(part));
}

static void keeps_the_part_when_every_attempt_is_cut(void **state)
{
    http_fixture *f = *state;
    kfi_buf part;
    char path[300];
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .cut = 100,
                                   .ranges = true}};
    HTTP_START(f, replies);
    assert_int_equal(download(f, true, HTTP_BODY_BYTES), KF_IO);
    http_check_message(f, "after 3 attempts: ");
    (void)snprintf(path, sizeof path, "%s.part", f->path);
    kfi_buf_init(&part, NULL, HTTP_BODY_BYTES);
    CHECK_OK(kfi_file_read(&part, path, &f->err), &f->err);
    assert_int_equal(part.n, 300);
    assert_memory_equal(part.data, f->content, 300);
    kfi_buf_deinit(&part);
    assert_false(kfi_file_exists(f->path));
}

static void reports_a_length_that_never_comes(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES, .claim = HTTP_BODY_BYTES + 7}};
    HTTP_START(f, replies);
    assert_int_equal(download(f, false, KFI_HTTP_SIZE_UNKNOWN), KF_IO);
    http_check_message(f, "after 3 attempts: ");
    http_check_message(f, "7 bytes remaining");
    assert_false(kfi_file_exists(f->path));
}

static void refuses_a_size_that_is_not_the_index_s(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES}};
    HTTP_START(f, replies);
    assert_int_equal(download(f, true, 4999), KF_FORMAT);
    http_check_message(f, "file.bin: the server's file has 5000 bytes, its index says 4999");
    assert_int_equal(http_server_n_requests(f->server), 1);
}

static void refuses_more_bytes_than_the_index_says(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES, .no_length = true}};
    HTTP_START(f, replies);
    assert_int_equal(download(f, true, 4999), KF_FORMAT);
    http_check_message(f, "its index says 4999");
}

static void refuses_fewer_bytes_than_the_index_says(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/f", .body = f->content, .n = HTTP_BODY_BYTES, .no_length = true}};
    HTTP_START(f, replies);
    assert_int_equal(download(f, true, 5001), KF_FORMAT);
    http_check_message(f, "the server's file has 5000 bytes, its index says 5001");
}

static void refuses_a_range_that_was_not_asked_for(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f",
                                   .status = 206,
                                   .extra = "Content-Range: bytes 10-20/5000\r\n",
                                   .text = "0123456789"}};
    HTTP_START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    assert_int_equal(download(f, true, HTTP_BODY_BYTES), KF_FORMAT);
    http_check_message(f, "asked for bytes from 3000 on, the server sends those from 10");
}

static void cancelling_keeps_the_part(void **state)
{
    http_fixture *f = *state;
    char part[300];
    const http_reply replies[] = {{.target = "/f",
                                   .etag = "\"v1\"",
                                   .body = f->content,
                                   .n = HTTP_BODY_BYTES,
                                   .ranges = true}};
    HTTP_START(f, replies);
    leave_part(f, f->content, 3000, "\"v1\"");
    f->cancel = true;
    assert_int_equal(download(f, true, HTTP_BODY_BYTES), KF_CANCELLED);
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_true(kfi_file_exists(part));
    f->cancel = false;
    CHECK_OK(download(f, true, HTTP_BODY_BYTES), &f->err);
    check_file_is_whole(f);
}

static void reports_a_directory_that_is_not_there(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = "hello"}};
    HTTP_START(f, replies);
    (void)snprintf(f->path, sizeof f->path, "%s/none/file.bin", f->directory);
    assert_int_equal(download(f, false, KFI_HTTP_SIZE_UNKNOWN), KF_IO);
    http_check_message(f, "cannot open");
    http_check_message(f, "No such file or directory");
}

static void reports_a_full_disk(void **state)
{
    http_fixture *f = *state;
    const http_reply replies[] = {{.target = "/f", .text = "hello"}};
    char part[300];
    HTTP_START(f, replies);
    (void)snprintf(part, sizeof part, "%s.part", f->path);
    assert_int_equal(symlink("/dev/full", part), 0);
    assert_int_equal(download(f, false, KFI_HTTP_SIZE_UNKNOWN), KF_IO);
    http_check_message(f, "cannot write");
    http_check_message(f, "No space left on device");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HTTP_CASE(downloads_a_file),
        HTTP_CASE(downloads_a_file_of_unknown_size_and_hash),
        HTTP_CASE(downloads_an_empty_file),
        HTTP_CASE(goes_on_after_a_cut),
        HTTP_CASE(goes_on_after_a_stall),
        HTTP_CASE(goes_on_where_an_earlier_process_ended),
        HTTP_CASE(starts_again_when_the_file_has_changed),
        HTTP_CASE(starts_again_when_the_etag_changes_between_attempts),
        HTTP_CASE(starts_again_when_the_server_ignores_ranges),
        HTTP_CASE(does_not_join_halves_that_nothing_vouches_for),
        HTTP_CASE(fetches_once_more_when_joined_halves_have_the_wrong_hash),
        HTTP_CASE(needs_no_network_for_a_part_that_is_whole),
        HTTP_CASE(takes_416_for_the_end_where_the_size_agrees),
        HTTP_CASE(starts_again_after_416_of_a_shorter_file),
        HTTP_CASE(refuses_the_wrong_hash_and_keeps_nothing),
        HTTP_CASE(keeps_the_part_when_every_attempt_is_cut),
        HTTP_CASE(reports_a_length_that_never_comes),
        HTTP_CASE(refuses_a_size_that_is_not_the_index_s),
        HTTP_CASE(refuses_more_bytes_than_the_index_says),
        HTTP_CASE(refuses_fewer_bytes_than_the_index_says),
        HTTP_CASE(refuses_a_range_that_was_not_asked_for),
        HTTP_CASE(cancelling_keeps_the_part),
        HTTP_CASE(reports_a_directory_that_is_not_there),
        HTTP_CASE(reports_a_full_disk),
    };
    /* The tests talk to this machine only, whatever the user's proxy is. */
    (void)setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
