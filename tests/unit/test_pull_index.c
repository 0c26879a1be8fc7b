/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "io/pull.h"

#define PAGE "https://index/simple/tiny/"
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

typedef struct fixture {
    kfi_puller puller;
    kfi_index index;
    kf_error err;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    kfi_arena_init(&f->puller.arena, NULL, 64 << 20);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    kfi_arena_deinit(&f->puller.arena);
    free(f);
    return 0;
}

static kf_status parse_bytes(fixture *f, const char *type, const char *text, size_t n)
{
    kfi_buf body;
    kfi_http_answer answer = {.url = PAGE};
    (void)snprintf(answer.content_type, sizeof answer.content_type, "%s", type);
    kfi_buf_init(&body, NULL, 1 << 20);
    assert_true(kfi_buf_append(&body, text, n));
    const kf_status st = kfi_index_parse(&f->puller, &f->index, &answer, &body, &f->err);
    kfi_buf_deinit(&body);
    return st;
}

static kf_status parse_json(fixture *f, const char *text)
{
    return parse_bytes(f, "application/vnd.pypi.simple.v1+json", text, strlen(text));
}

static kf_status parse_html(fixture *f, const char *text)
{
    return parse_bytes(f, "text/html; charset=utf-8", text, strlen(text));
}

static void check_message(const fixture *f, const char *part)
{
    if (strstr(f->err.msg, part) == NULL) {
        fail_msg("'%s' says nothing of '%s'", f->err.msg, part);
    }
}

static void reads_json(void **state)
{
    fixture *f = *state;
    CHECK_OK(parse_json(f, "{\"meta\":{\"api-version\":\"1.1\"},\"name\":\"tiny\",\"files\":["
                           "{\"filename\":\"tiny-1.0-py3-none-any.whl\",\"url\":\"../../f/t.whl\","
                           "\"hashes\":{\"sha256\":\"" HASH "\"},\"size\":77,\"yanked\":false},"
                           "{\"filename\":\"b\",\"url\":\"https://cdn/b\",\"hashes\":{},"
                           "\"yanked\":\"broken\"}]}"),
             &f->err);
    assert_int_equal(f->index.n, 2);
    const kfi_index_file *file = &f->index.files[0];
    assert_string_equal(file->name, "tiny-1.0-py3-none-any.whl");
    assert_string_equal(file->url, "https://index/f/t.whl");
    assert_string_equal(file->sha256, HASH);
    assert_int_equal(file->size, 77);
    assert_false(file->yanked);
    assert_null(f->index.files[1].sha256);
    assert_true(f->index.files[1].size == KFI_HTTP_SIZE_UNKNOWN);
    assert_true(f->index.files[1].yanked);
}

static void refuses_malformed_json(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_json(f, "{\"meta\":{\"api-version\":\"1.0\"},\"files\":[}"), KF_FORMAT);
    check_message(f, PAGE ": ");
    assert_true(f->err.offset != KF_NO_OFFSET);
}

static void refuses_an_index_of_another_version(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_json(f, "{\"meta\":{\"api-version\":\"2.0\"},\"files\":[]}"), KF_FORMAT);
    check_message(f, "the index speaks version '2.0', expected 1.x");
}

static void refuses_an_index_without_files(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_json(f, "{\"meta\":{\"api-version\":\"1.0\"},\"files\":{}}"), KF_FORMAT);
    check_message(f, "the index has no list of \"files\"");
}

static void refuses_a_file_without_address(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_json(f, "{\"meta\":{\"api-version\":\"1.0\"},\"files\":["
                                   "{\"filename\":\"a\"}]}"),
                     KF_FORMAT);
    check_message(f, "file 0 of the index has no \"filename\" or no \"url\"");
}

static void refuses_a_hash_that_is_none(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_json(f, "{\"meta\":{\"api-version\":\"1.0\"},\"files\":["
                                   "{\"filename\":\"a\",\"url\":\"a\",\"hashes\":"
                                   "{\"sha256\":\"xyz\"}}]}"),
                     KF_FORMAT);
    check_message(f, "'a': the index names a sha256 of 3 characters, not 64 digits");
}

static void refuses_an_address_of_another_scheme(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_json(f, "{\"meta\":{\"api-version\":\"1.0\"},\"files\":["
                                   "{\"filename\":\"a\",\"url\":\"file:///etc/passwd\"}]}"),
                     KF_FORMAT);
    check_message(f, "'file:///etc/passwd' is not an http or https address");
}

static void reads_html(void **state)
{
    fixture *f = *state;
    CHECK_OK(parse_html(f, "<!DOCTYPE html><html><body><h1>tiny</h1>\n"
                           "<a href=\"../../f/tiny-1.0-py3-none-any.whl#sha256=" HASH "\" >x</a>\n"
                           "<A data-requires-python='&gt;=3' HREF='https://cdn/b.whl?x=1&amp;y=2'"
                           " data-yanked>b</A><a\nhref=c%2Bd.whl#md5=00>c</a><abbr href=no>"),
             &f->err);
    assert_int_equal(f->index.n, 3);
    assert_string_equal(f->index.files[0].name, "tiny-1.0-py3-none-any.whl");
    assert_string_equal(f->index.files[0].url, "https://index/f/tiny-1.0-py3-none-any.whl");
    assert_string_equal(f->index.files[0].sha256, HASH);
    assert_false(f->index.files[0].yanked);
    assert_string_equal(f->index.files[1].url, "https://cdn/b.whl?x=1&y=2");
    assert_string_equal(f->index.files[1].name, "b.whl");
    assert_true(f->index.files[1].yanked);
    assert_string_equal(f->index.files[2].name, "c+d.whl");
    assert_null(f->index.files[2].sha256);
}

static void refuses_a_malformed_hash_in_html(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_html(f, "<a href='x.whl#sha256=c0ffee&amp;egg=x'>x</a>"), KF_FORMAT);
    check_message(f, "'x.whl': the index names a sha256 of 6 characters, not 64 digits");
    CHECK_OK(parse_html(f, "<a href='x.whl#sha256=" HASH "&amp;egg=x'>x</a>"), &f->err);
    assert_string_equal(f->index.files[0].sha256, HASH);
}

static void survives_html_that_ends_anywhere(void **state)
{
    fixture *f = *state;
    static const char page[] = "<a href='x.whl#sha256=" HASH "' data-yanked = \"y\" b=c>t</a>";
    for (size_t n = 1; n < sizeof page; n++) {
        const kf_status st = parse_bytes(f, "text/html", page, n);
        assert_true(st == KF_OK || st == KF_FORMAT);
    }
}

static void refuses_an_empty_page(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_bytes(f, "text/html", "", 0), KF_FORMAT);
    check_message(f, "the index sent an empty page");
}

static void refuses_a_page_of_another_type(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse_bytes(f, "image/png", "x", 1), KF_FORMAT);
    check_message(f, "content type 'image/png', expected JSON or HTML of a package index");
}

static void normalizes_names(void **state)
{
    (void)state;
    char name[16];
    assert_true(kfi_index_normalize(name, sizeof name, "Foo_.-Bar", 9));
    assert_string_equal(name, "foo-bar");
    assert_true(kfi_index_normalize(name, sizeof name, "x", 1));
    assert_false(kfi_index_normalize(name, sizeof name, "", 0));
    assert_false(kfi_index_normalize(name, sizeof name, "-a", 2));
    assert_false(kfi_index_normalize(name, sizeof name, "a.", 2));
    assert_false(kfi_index_normalize(name, sizeof name, "a/b", 3));
    assert_false(kfi_index_normalize(name, sizeof name, "..", 2));
    assert_false(kfi_index_normalize(name, sizeof name, "a-name-too-long-x", 17));
}

static void plain_names_cannot_leave_a_directory(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "c:d"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(kfi_is_plain_name((kfi_text){bad[i], strlen(bad[i])}));
    }
    assert_false(kfi_is_plain_name((kfi_text){"a\0b", 3}));
    assert_true(kfi_is_plain_name((kfi_text){"model-00001-of-2.safetensors", 28}));
}

static void plain_paths_cannot_leave_a_directory(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "a/../../b/c", "1/2/3/4/5/6/7/8/9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (kfi_is_plain_path((kfi_text){bad[i], strlen(bad[i])})) {
            fail_msg("'%s' was taken for a safe path", bad[i]);
        }
    }
    assert_true(kfi_is_plain_path((kfi_text){"gguf/q4/m.gguf", 14}));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reads_json),
        CASE(refuses_malformed_json),
        CASE(refuses_an_index_of_another_version),
        CASE(refuses_an_index_without_files),
        CASE(refuses_a_file_without_address),
        CASE(refuses_a_hash_that_is_none),
        CASE(refuses_an_address_of_another_scheme),
        CASE(reads_html),
        CASE(refuses_a_malformed_hash_in_html),
        CASE(survives_html_that_ends_anywhere),
        CASE(refuses_an_empty_page),
        CASE(refuses_a_page_of_another_type),
        CASE(normalizes_names),
        CASE(plain_names_cannot_leave_a_directory),
        CASE(plain_paths_cannot_leave_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
