/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/file.h"
#include "fixtures.h"
#include "io/json.h"

static kfi_json *parse(const char *text)
{
    kf_error err = {0};
    kfi_json *root = NULL;
    CHECK_OK(kfi_json_parse(&root, text, strlen(text), &err), &err);
    return root;
}

static kf_error parse_error(const char *text, size_t n)
{
    kf_error err = {0};
    kfi_json *root = NULL;
    assert_int_equal(kfi_json_parse(&root, text, n, &err), KF_FORMAT);
    assert_null(root);
    assert_int_equal(err.code, KF_FORMAT);
    return err;
}

static void reads_every_kind_of_value(void **state)
{
    (void)state;
    kfi_json *root =
        parse("{\"s\": \"a\\u0000\\ud83d\\ude00\", \"i\": -5, \"r\": 1.5e1, \"t\": true,"
              " \"n\": null, \"a\": [1, 2, 3], \"o\": {}}");
    size_t n = 0;
    assert_true(kfi_json_is_object(root));
    assert_int_equal(kfi_json_size(root), 7);
    assert_memory_equal(kfi_json_string(kfi_json_get(root, "s"), &n), "a\0\xF0\x9F\x98\x80", 6);
    assert_int_equal(n, 6);
    assert_int_equal(kfi_json_integer(kfi_json_get(root, "i")), -5);
    assert_true(kfi_json_is_number(kfi_json_get(root, "r")));
    assert_false(kfi_json_is_integer(kfi_json_get(root, "r")));
    assert_true(kfi_json_number(kfi_json_get(root, "r")) == 15.0);
    assert_true(kfi_json_number(kfi_json_get(root, "i")) == -5.0);
    assert_true(kfi_json_is_bool(kfi_json_get(root, "t")));
    assert_true(kfi_json_bool(kfi_json_get(root, "t")));
    assert_true(kfi_json_is_null(kfi_json_get(root, "n")));
    const kfi_json *array = kfi_json_get(root, "a");
    assert_true(kfi_json_is_array(array));
    assert_int_equal(kfi_json_size(array), 3);
    assert_int_equal(kfi_json_integer(kfi_json_at(array, 2)), 3);
    assert_null(kfi_json_at(array, 3));
    assert_null(kfi_json_get(root, "absent"));
    assert_null(kfi_json_get(kfi_json_get(root, "absent"), "x"));
    assert_null(kfi_json_get(array, "x"));
    kfi_json_free(root);
    kfi_json_free(NULL);
}

static void a_text_is_a_string_without_nul(void **state)
{
    (void)state;
    kfi_json *root = parse("{\"text\": \"a b\", \"nul\": \"a\\u0000b\", \"number\": 1}");
    assert_string_equal(kfi_json_get_text(root, "text"), "a b");
    assert_null(kfi_json_get_text(root, "nul"));
    assert_null(kfi_json_get_text(root, "number"));
    assert_null(kfi_json_get_text(root, "absent"));
    assert_null(kfi_json_get_text(kfi_json_get(root, "absent"), "text"));
    kfi_json_free(root);
}

static kf_status append_key(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    (void)member;
    (void)err;
    if (strcmp(key, "stop") == 0) {
        return KF_CANCELLED;
    }
    return kfi_buf_append_text(ctx, key) ? KF_OK : KF_NOMEM;
}

static void visits_members_in_document_order(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf keys;
    kfi_buf_init(&keys, NULL, 100);
    kfi_json *root = parse("{\"z\": 1, \"a\": 2, \"m\": 3}");
    CHECK_OK(kfi_json_each(root, append_key, &keys, &err), &err);
    assert_string_equal(keys.data, "zam");
    kfi_json_free(root);
    root = parse("{\"z\": 1, \"stop\": 2, \"m\": 3}");
    assert_int_equal(kfi_json_each(root, append_key, &keys, &err), KF_CANCELLED);
    assert_string_equal(keys.data, "zamz");
    kfi_json_free(root);
    kfi_buf_deinit(&keys);
}

static void refuses_what_is_not_strict_json(void **state)
{
    (void)state;
    const char *wrong[] = {
        "",
        "{",
        "[1,]",
        "{\"a\": 1,}",
        "{'a': 1}",
        "[01]",
        "[1] x",
        "nul",
        "[1 2]",
        "[\"\\ud800\"]",
        "[\"\t\"]",
        "[\"\xFF\"]",
        "[\"\xC0\xAF\"]",
        "[\"\xED\xA0\x80\"]",
        "[1e999]",
        "[99999999999999999999]",
        "[NaN]",
        "// x\n1",
        "\xEF\xBB\xBF{}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        (void)parse_error(wrong[i], strlen(wrong[i]));
    }
}

static void refuses_a_key_that_occurs_twice(void **state)
{
    (void)state;
    const char text[] = "{\"a\": 1, \"a\": 2}";
    const kf_error err = parse_error(text, strlen(text));
    assert_non_null(strstr(err.msg, "duplicate"));
}

static void reports_the_byte_of_an_error(void **state)
{
    (void)state;
    const char text[] = "{\"a\": 1,\n \"b\": x}";
    const kf_error err = parse_error(text, strlen(text));
    assert_int_equal(err.offset, 16);
    assert_non_null(strstr(err.msg, "line 2"));
}

static void bounds_depth(void **state)
{
    (void)state;
    char text[200];
    memset(text, '[', 16);
    memset(text + 16, ']', 16);
    kf_error err = {0};
    kfi_json *root = NULL;
    CHECK_OK(kfi_json_parse(&root, text, 32, &err), &err);
    kfi_json_free(root);
    memset(text, '[', 100);
    memset(text + 100, ']', 100);
    err = parse_error(text, 200);
    assert_int_equal(err.offset, 16);
    assert_string_equal(err.msg, "nested deeper than 16 levels");
    /* Brackets in strings do not nest. */
    root = parse("\"[[[[[[[[[[[[[[[[[[[[[[[[ \\\" [[[[[\"");
    kfi_json_free(root);
}

/* Two bytes of text cost a parser over a hundred of memory. */
static void bounds_the_number_of_values(void **state)
{
    (void)state;
    kfi_buf text;
    kfi_buf_init(&text, NULL, (size_t)16 << 20);
    assert_true(kfi_buf_append_byte(&text, '['));
    for (size_t i = 0; i < 4500000; i++) {
        assert_true(kfi_buf_append(&text, "0,", 2));
    }
    assert_true(kfi_buf_append(&text, "0]", 2));
    const kf_error err = parse_error(text.data, text.n);
    assert_string_equal(err.msg, "more than 4194304 values");
    kfi_buf_deinit(&text);
}

static void reads_files_up_to_a_size(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_json *root = NULL;
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x.json");
    CHECK_OK(kfi_file_write(path, "[1, 2]", 6, &err), &err);
    CHECK_OK(kfi_json_read(&root, path, 6, &err), &err);
    assert_int_equal(kfi_json_size(root), 2);
    kfi_json_free(root);
    assert_int_equal(kfi_json_read(&root, path, 5, &err), KF_RANGE);
    assert_null(root);
    CHECK_OK(kfi_file_write(path, "[1, 2", 5, &err), &err);
    assert_int_equal(kfi_json_read(&root, path, 100, &err), KF_FORMAT);
    assert_non_null(strstr(err.msg, "x.json: line 1"));
    CHECK_OK(kfi_file_write(path, "", 0, &err), &err);
    assert_int_equal(kfi_json_read(&root, path, 100, &err), KF_FORMAT);
    assert_int_equal(kfi_json_read(&root, "/nonexistent.json", 5, &err), KF_INPUT);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void writes_nested_values(void **state)
{
    (void)state;
    kfi_buf buf;
    kfi_json_writer writer;
    for (int indent = 0; indent <= 2; indent += 2) {
        kfi_buf_init(&buf, NULL, 1000);
        kfi_json_writer_init(&writer, &buf, indent);
        kfi_json_begin_object(&writer);
        kfi_json_key(&writer, "a");
        kfi_json_begin_array(&writer);
        kfi_json_put_integer(&writer, INT64_MIN);
        kfi_json_put_bool(&writer, true);
        kfi_json_put_null(&writer);
        kfi_json_end_array(&writer);
        kfi_json_key(&writer, "empty");
        kfi_json_begin_object(&writer);
        kfi_json_end_object(&writer);
        kfi_json_end_object(&writer);
        assert_string_equal(buf.data, indent == 0
                                          ? "{\"a\": [-9223372036854775808, true, null], "
                                            "\"empty\": {}}"
                                          : "{\n  \"a\": [\n    -9223372036854775808,\n    true,\n"
                                            "    null\n  ],\n  \"empty\": {}\n}");
        kfi_buf_deinit(&buf);
    }
}

static void escapes_and_repairs_strings(void **state)
{
    (void)state;
    kfi_buf buf;
    kfi_json_writer writer;
    kfi_buf_init(&buf, NULL, 1000);
    kfi_json_writer_init(&writer, &buf, 0);
    kfi_json_put_string(&writer, "q\"b\\n\n\r\t\x01\0\xC3\xA9\xFF\xED\xA0\x80\xE2\x82", 18);
    assert_string_equal(buf.data, "\"q\\\"b\\\\n\\n\\r\\t\\u0001\\u0000\xC3\xA9"
                                  "\xEF\xBF\xBD"                         /* FF */
                                  "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" /* a surrogate */
                                  "\xEF\xBF\xBD\"");                     /* cut off, one part */
    kfi_buf_clear(&buf);
    kfi_json_writer_init(&writer, &buf, 0);
    kfi_json_put_string(&writer, NULL, 0);
    assert_string_equal(buf.data, "\"\"");
    kfi_buf_deinit(&buf);
}

/* Sequences of two to four bytes, whole and broken (Unicode 15, table 3-7). */
static void tells_valid_utf8_from_invalid(void **state)
{
    (void)state;
    static const struct {
        const char *text, *written;
    } cases[] = {
        {"\xF0\x9F\x98\x80", "\"\xF0\x9F\x98\x80\""},
        {"\xF4\x8F\xBF\xBF", "\"\xF4\x8F\xBF\xBF\""},
        {"\xE0\xA0\x80", "\"\xE0\xA0\x80\""},
        {"\xF0\x9F\x98x", "\"\xEF\xBF\xBDx\""},
        {"\xF4\x90\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"\xE0\x80x", "\"\xEF\xBF\xBD\xEF\xBF\xBDx\""},
        {"\xF5", "\"\xEF\xBF\xBD\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kfi_buf buf;
        kfi_json_writer writer;
        kfi_buf_init(&buf, NULL, 1000);
        kfi_json_writer_init(&writer, &buf, 0);
        kfi_json_put_text(&writer, cases[i].text);
        assert_string_equal(buf.data, cases[i].written);
        kfi_buf_deinit(&buf);
    }
}

static void writes_the_shortest_number_that_reads_back(void **state)
{
    (void)state;
    const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {0.1, "0.1"},
        {10.0, "10.0"},
        {1e21, "1e+21"},
        {2048.0, "2048.0"},
        {1e-7, "1e-07"},
        {1.0 / 3, "0.3333333333333333"},
        {21.768, "21.768"},
        {1e-5, "0.00001"},
        {123456789012345.0, "123456789012345.0"},
        {NAN, "null"},
        {-INFINITY, "null"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kfi_buf buf;
        kfi_json_writer writer;
        kfi_buf_init(&buf, NULL, 1000);
        kfi_json_writer_init(&writer, &buf, 0);
        kfi_json_put_number(&writer, cases[i].value);
        assert_string_equal(buf.data, cases[i].text);
        kfi_buf_deinit(&buf);
    }
}

static void copies_a_parsed_document(void **state)
{
    (void)state;
    const char text[] =
        "{\"z\": [1, -2.5, \"x\\u0000\\n\", true, false, null, {}, []], \"a\": {\"b\": 1}}";
    kfi_json *root = parse(text);
    kfi_buf buf;
    kfi_json_writer writer;
    kfi_buf_init(&buf, NULL, 1000);
    kfi_json_writer_init(&writer, &buf, 0);
    kfi_json_put_value(&writer, root);
    assert_string_equal(buf.data, text);
    kfi_json_free(root);
    kfi_buf_deinit(&buf);
}

static void a_full_buffer_shows_as_failed(void **state)
{
    (void)state;
    kfi_buf buf;
    kfi_json_writer writer;
    kfi_buf_init(&buf, NULL, 8);
    kfi_json_writer_init(&writer, &buf, 0);
    kfi_json_put_text(&writer, "more than eight");
    assert_true(buf.failed);
    kfi_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_value),
        cmocka_unit_test(a_text_is_a_string_without_nul),
        cmocka_unit_test(visits_members_in_document_order),
        cmocka_unit_test(refuses_what_is_not_strict_json),
        cmocka_unit_test(refuses_a_key_that_occurs_twice),
        cmocka_unit_test(reports_the_byte_of_an_error),
        cmocka_unit_test(bounds_depth),
        cmocka_unit_test(bounds_the_number_of_values),
        cmocka_unit_test(reads_files_up_to_a_size),
        cmocka_unit_test(writes_nested_values),
        cmocka_unit_test(escapes_and_repairs_strings),
        cmocka_unit_test(tells_valid_utf8_from_invalid),
        cmocka_unit_test(writes_the_shortest_number_that_reads_back),
        cmocka_unit_test(copies_a_parsed_document),
        cmocka_unit_test(a_full_buffer_shows_as_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
