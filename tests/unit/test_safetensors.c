/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <unistd.h>

#include "base/file.h"
#include "build_safetensors.h"
#include "fixtures.h"
#include "io/safetensors.h"

static kf_error parse_error(const char *header, size_t data_bytes)
{
    kf_error err = {0};
    kfi_buf buf;
    kfi_safetensors *st = NULL;
    build_safetensors(&buf, header, data_bytes);
    const kf_status status =
        kfi_safetensors_parse(&st, (const uint8_t *)buf.data, buf.n, NULL, &err);
    if (status == KF_OK) {
        fail_msg("accepted: %s", header);
    }
    assert_null(st);
    assert_int_equal(err.code, status);
    kfi_buf_deinit(&buf);
    return err;
}

static void assert_report(const kf_error *err, kf_status code, const char *part)
{
    if (err->code != code || strstr(err->msg, part) == NULL) {
        fail_msg("got %d: %s; expected %d: %s", (int)err->code, err->msg, (int)code, part);
    }
}

/* One tensor "t" with the given members, and 16 bytes of data. */
#define T(members) "{\"t\": {" members "}}"

static void reads_tensors_in_the_order_of_their_places(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kfi_safetensors *st = NULL;
    build_sample_safetensors(&buf);
    CHECK_OK(kfi_safetensors_parse(&st, (const uint8_t *)buf.data, buf.n, NULL, &err), &err);
    const kfi_tensor_table *table = kfi_safetensors_tensors(st);
    assert_int_equal(table->n, 4);
    assert_string_equal(table->tensors[0].name, "a");
    assert_string_equal(table->tensors[1].name, "b");
    assert_string_equal(table->tensors[2].name, "empty");
    assert_string_equal(table->tensors[3].name, "scalar");
    const kfi_tensor *b = kfi_tensor_find(table, "b");
    assert_int_equal(b->dtype, KFI_DTYPE_F16);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->shape[2], 1);
    assert_int_equal(b->bytes, 12);
    assert_int_equal(b->offset, 8 + strlen(SAMPLE_SAFETENSORS) + 16);
    assert_ptr_equal(b->data, (const uint8_t *)buf.data + b->offset);
    assert_int_equal(kfi_tensor_find(table, "empty")->n_elements, 0);
    assert_int_equal(kfi_tensor_find(table, "scalar")->n_elements, 1);
    assert_string_equal(kfi_safetensors_metadata(st, 0, "format"), "pt");
    assert_null(kfi_safetensors_metadata(st, 0, "absent"));
    assert_int_equal(kfi_safetensors_file_count(st), 1);
    assert_string_equal(kfi_safetensors_file_name(st, 0), "");
    assert_ptr_equal(kfi_safetensors_map(st, 0)->data, buf.data);
    kfi_safetensors_close(st);
    kfi_buf_deinit(&buf);
}

static void accepts_a_file_without_tensors(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kfi_safetensors *st = NULL;
    build_safetensors(&buf, "{}", 0);
    CHECK_OK(kfi_safetensors_parse(&st, (const uint8_t *)buf.data, buf.n, NULL, &err), &err);
    assert_null(kfi_tensor_find(kfi_safetensors_tensors(st), "x"));
    kfi_safetensors_close(st);
    kfi_buf_deinit(&buf);
}

static void rejects_lengths_that_do_not_fit(void **state)
{
    (void)state;
    const uint64_t lengths[] = {0, 1, 3, 100000001, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    kf_error err = {0};
    kfi_safetensors *st = NULL;
    assert_int_equal(kfi_safetensors_parse(&st, NULL, 0, NULL, &err), KF_FORMAT);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t data[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        kfi_store_u64(data, lengths[i]);
        assert_int_equal(kfi_safetensors_parse(&st, data, sizeof data, NULL, &err), KF_FORMAT);
        assert_int_equal(kfi_safetensors_parse(&st, data, 9, NULL, &err), KF_FORMAT);
    }
}

static void rejects_headers_that_are_no_strict_json(void **state)
{
    (void)state;
    kf_error err = parse_error(" {}", 0);
    assert_report(&err, KF_FORMAT, "does not begin with '{'");
    assert_int_equal(err.offset, 8);
    err = parse_error("[]", 0);
    assert_report(&err, KF_FORMAT, "does not begin with '{'");
    err = parse_error("{} x", 0);
    assert_report(&err, KF_FORMAT, "header: ");
    err = parse_error("{\"\xFF\": 1}", 0);
    assert_report(&err, KF_FORMAT, "header: ");
    err = parse_error("{\"a\": {\"dtype\": \"U8\", \"shape\": [0], \"data_offsets\": [0, 0]}, "
                      "\"a\": {\"dtype\": \"U8\", \"shape\": [0], \"data_offsets\": [0, 0]}}",
                      0);
    assert_report(&err, KF_FORMAT, "duplicate");
    err = parse_error("{\"a\" 1}", 0);
    assert_report(&err, KF_FORMAT, "header: line 1");
    assert_in_range(err.offset, 8 + 5, 8 + 7);
}

static void rejects_numbers_that_are_no_counts(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        T("\"dtype\": \"F32\", \"shape\": [-0], \"data_offsets\": [0, 0]"),
        T("\"dtype\": \"F32\", \"shape\": [-4], \"data_offsets\": [0, 16]"),
        T("\"dtype\": \"F32\", \"shape\": [4e0], \"data_offsets\": [0, 16]"),
        T("\"dtype\": \"F32\", \"shape\": [4.0], \"data_offsets\": [0, 16]"),
        T("\"dtype\": \"F32\", \"shape\": [\"4\"], \"data_offsets\": [0, 16]"),
        T("\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 1.6e1]"),
        T("\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 18446744073709551632]"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const kf_error err = parse_error(wrong[i], 16);
        assert_int_equal(err.code, KF_FORMAT);
    }
    const kf_error err = parse_error(wrong[0], 16);
    assert_report(&err, KF_FORMAT, "a negative number");
    assert_int_equal(err.offset, 8 + (strchr(wrong[0], '-') - wrong[0]));
}

static void rejects_entries_that_lack_something(void **state)
{
    (void)state;
    kf_error err = parse_error("{\"t\": 5}", 16);
    assert_report(&err, KF_FORMAT, "tensor 't': its name is empty or its entry no object");
    assert_int_equal(err.offset, 9);
    err = parse_error("{\"\\u0074\": 5}", 16); /* an escaped name is not searched for */
    assert_report(&err, KF_FORMAT, "tensor 't': its name is empty or its entry no object");
    assert_int_equal(err.offset, 8);
    err = parse_error("{\"\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0, 1]}}", 1);
    assert_report(&err, KF_FORMAT, "its name is empty");
    err = parse_error(T("\"shape\": [4], \"data_offsets\": [0, 16]"), 16);
    assert_report(&err, KF_FORMAT, "tensor 't': its dtype is missing");
    err = parse_error(T("\"dtype\": \"F32\", \"data_offsets\": [0, 16]"), 16);
    assert_report(&err, KF_FORMAT, "tensor 't': its shape is missing");
    err = parse_error(T("\"dtype\": \"F32\", \"shape\": [4]"), 16);
    assert_report(&err, KF_FORMAT, "tensor 't': its data_offsets are no pair");
    err = parse_error(T("\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16, 16]"), 16);
    assert_report(&err, KF_FORMAT, "tensor 't': its data_offsets are no pair");
    err = parse_error("{\"__metadata__\": [1]}", 0);
    assert_report(&err, KF_FORMAT, "__metadata__ is no object");
    err = parse_error("{\"__metadata__\": {\"k\": 1}}", 0);
    assert_report(&err, KF_FORMAT, "'k' is no string");
}

static void rejects_types_and_shapes_it_cannot_hold(void **state)
{
    (void)state;
    kf_error err =
        parse_error(T("\"dtype\": \"F4\", \"shape\": [4], \"data_offsets\": [0, 16]"), 16);
    assert_report(&err, KF_UNSUPPORTED, "tensor 't': dtype 'F4' is not read");
    err = parse_error(T("\"dtype\": \"Q4_0\", \"shape\": [32], \"data_offsets\": [0, 18]"), 18);
    assert_report(&err, KF_UNSUPPORTED, "dtype 'Q4_0'"); /* a GGUF type, no safetensors one */
    err =
        parse_error(T("\"dtype\": \"F32\", \"shape\": [1,1,1,1,4], \"data_offsets\": [0, 16]"), 16);
    assert_report(&err, KF_UNSUPPORTED, "has 5 dimensions");
    err = parse_error(T("\"dtype\": \"U8\", \"shape\": [4294967296, 4294967296], "
                        "\"data_offsets\": [0, 0]"),
                      0);
    assert_report(&err, KF_FORMAT, "too large");
    err = parse_error(T("\"dtype\": \"F32\", \"shape\": [4611686018427387904], "
                        "\"data_offsets\": [0, 0]"),
                      0);
    assert_report(&err, KF_FORMAT, "too large");
}

/* Holes hide a second file in the first; overlaps let a small file ask for much memory. */
static void rejects_holes_overlaps_and_wrong_ends(void **state)
{
    (void)state;
#define TWO(b0, e0, b1, e1)                                                                        \
    "{\"a\": {\"dtype\": \"U8\", \"shape\": [8], \"data_offsets\": [" b0 ", " e0 "]}, "            \
    "\"b\": {\"dtype\": \"U8\", \"shape\": [8], \"data_offsets\": [" b1 ", " e1 "]}}"
    kf_error err = parse_error(TWO("0", "8", "9", "17"), 17);
    assert_report(&err, KF_FORMAT, "tensor 'b': 8 bytes at offset 9, expected at 8 of 17");
    err = parse_error(TWO("0", "8", "7", "15"), 15);
    assert_report(&err, KF_FORMAT, "tensor 'b'");
    err = parse_error(TWO("0", "8", "0", "8"), 8);
    assert_report(&err, KF_FORMAT, "tensor 'b'");
    err = parse_error(TWO("1", "9", "9", "17"), 17);
    assert_report(&err, KF_FORMAT, "tensor 'a'");
    err = parse_error(TWO("0", "8", "8", "16"), 15);
    assert_report(&err, KF_FORMAT, "tensor 'b'");
    err = parse_error(TWO("0", "8", "8", "16"), 17);
    assert_report(&err, KF_FORMAT, "tensors end at byte");
    err = parse_error(TWO("0", "8", "16", "8"), 16);
    assert_report(&err, KF_FORMAT, "data_offsets [16, 8], its shape needs 8 bytes");
    err = parse_error(TWO("0", "8", "8", "9223372036854775807"), 16);
    assert_report(&err, KF_FORMAT, "its shape needs 8 bytes");
#undef TWO
}

/* A directory with a sharded checkpoint whose weight_map is given. */
static char *make_sharded(const char *weight_map)
{
    kf_error err = {0};
    char *directory = fixture_directory_new();
    char *path = NULL;
    const float values[4] = {1.0F, 2.0F, 3.0F, 4.0F};
    const struct {
        const char *file, *tensor;
    } shards[] = {{"s-1.safetensors", "one"}, {"s-2.safetensors", "two"}};
    for (size_t i = 0; i < 2; i++) {
        const kfi_safetensors_entry entry = {.name = shards[i].tensor,
                                             .dtype = KFI_DTYPE_F32,
                                             .n_dims = 1,
                                             .shape = {4},
                                             .data = values,
                                             .bytes = 16};
        path = kfi_path_join(NULL, directory, shards[i].file);
        CHECK_OK(kfi_safetensors_write(path, &entry, 1, NULL, 0, NULL, &err), &err);
        kfi_free_text(NULL, path);
    }
    path = kfi_path_join(NULL, directory, "model.safetensors.index.json");
    CHECK_OK(kfi_file_write(path, weight_map, strlen(weight_map), &err), &err);
    kfi_free_text(NULL, path);
    return directory;
}

static void opens_the_shards_of_an_index(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_safetensors *st = NULL;
    char *directory = make_sharded(
        "{\"weight_map\": {\"two\": \"s-2.safetensors\", \"one\": \"s-1.safetensors\"}}");
    CHECK_OK(kfi_safetensors_open(&st, directory, NULL, &err), &err);
    assert_int_equal(kfi_safetensors_file_count(st), 2);
    const kfi_tensor *one = kfi_tensor_find(kfi_safetensors_tensors(st), "one");
    assert_string_equal(kfi_safetensors_file_name(st, one->i_file), "s-1.safetensors");
    float values[4];
    CHECK_OK(kfi_tensor_decode(values, one, 0, 4, &err), &err);
    assert_true(values[3] == 4.0F);
    kfi_safetensors_close(st);
    fixture_directory_free(directory);
}

static void rejects_an_index_that_lies(void **state)
{
    (void)state;
    static const struct {
        const char *index, *message;
        kf_status status;
    } cases[] = {
        {"{\"weight_map\": {\"one\": \"../s-1.safetensors\"}}", "no plain file name", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"/etc/passwd\"}}", "no plain file name", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"..\"}}", "no plain file name", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"a\\\\b\"}}", "no plain file name", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"s-1.safetensors\\u0000x\"}}", "no plain", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"a\\nb\"}}", "no plain file name", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"\"}}", "no plain file name", KF_FORMAT},
        {"{\"weight_map\": {\"one\": 1}}", "no plain file name", KF_FORMAT},
        {"{\"weight_map\": []}", "no object \"weight_map\"", KF_FORMAT},
        {"[]", "no object \"weight_map\"", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"s-3.safetensors\"}}", "s-3.safetensors", KF_INPUT},
        {"{\"weight_map\": {\"one\": \"s-1.safetensors\", \"two\": \"s-1.safetensors\"}}",
         "tensor 'two' is not in 's-1.safetensors'", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"s-2.safetensors\", \"two\": \"s-1.safetensors\"}}",
         "is not in 's-", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"s-1.safetensors\", \"x\": \"s-2.safetensors\"}}",
         "tensor 'x' is not in", KF_FORMAT},
        {"{\"weight_map\": {\"one\": \"s-1.safetensors\"", "index.json: line", KF_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kf_error err = {0};
        kfi_safetensors *st = NULL;
        char *directory = make_sharded(cases[i].index);
        assert_int_equal(kfi_safetensors_open(&st, directory, NULL, &err), cases[i].status);
        assert_report(&err, cases[i].status, cases[i].message);
        fixture_directory_free(directory);
    }
}

static void rejects_an_index_of_too_many_files(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_safetensors *st = NULL;
    kfi_buf index;
    kfi_buf_init(&index, NULL, BUILD_MAX);
    for (unsigned i = 0; i < 4097; i++) {
        assert_true(kfi_buf_printf(&index, "%s\"t%u\": \"f%u\"",
                                   i == 0 ? "{\"weight_map\": {" : ", ", i, i));
    }
    assert_true(kfi_buf_append_text(&index, "}}"));
    char *directory = make_sharded(index.data);
    assert_int_equal(kfi_safetensors_open(&st, directory, NULL, &err), KF_RANGE);
    assert_report(&err, KF_RANGE, "weight_map names more than 4096 files");
    kfi_buf_deinit(&index);
    fixture_directory_free(directory);
}

static void rejects_a_tensor_that_the_index_does_not_name(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_safetensors *st = NULL;
    const float value = 0.0F;
    const kfi_safetensors_entry entries[] = {
        {.name = "two", .dtype = KFI_DTYPE_F32, .n_dims = 0, .data = &value, .bytes = 4},
        {.name = "extra", .dtype = KFI_DTYPE_F32, .n_dims = 0, .data = &value, .bytes = 4},
    };
    char *directory = make_sharded(
        "{\"weight_map\": {\"one\": \"s-1.safetensors\", \"two\": \"s-2.safetensors\"}}");
    char *path = kfi_path_join(NULL, directory, "s-2.safetensors");
    CHECK_OK(kfi_safetensors_write(path, entries, 2, NULL, 0, NULL, &err), &err);
    assert_int_equal(kfi_safetensors_open(&st, directory, NULL, &err), KF_FORMAT);
    assert_report(&err, KF_FORMAT, "tensor 'extra' of 's-2.safetensors' is not in the weight_map");
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void opens_a_directory_with_one_file(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_safetensors *st = NULL;
    char *directory = fixture_directory_new();
    assert_int_equal(kfi_safetensors_open(&st, directory, NULL, &err), KF_INPUT);
    assert_report(&err, KF_INPUT, "holds neither model.safetensors nor");
    char *path = kfi_path_join(NULL, directory, "model.safetensors");
    kfi_buf buf;
    build_sample_safetensors(&buf);
    CHECK_OK(kfi_file_write(path, buf.data, buf.n, &err), &err);
    CHECK_OK(kfi_safetensors_open(&st, directory, NULL, &err), &err);
    assert_string_equal(kfi_safetensors_file_name(st, 0), "model.safetensors");
    kfi_safetensors_close(st);
    CHECK_OK(kfi_file_write(path, buf.data, buf.n - 1, &err), &err);
    assert_int_equal(kfi_safetensors_open(&st, path, NULL, &err), KF_FORMAT);
    assert_report(&err, KF_FORMAT, "model.safetensors: tensor 'scalar'");
    assert_int_equal(kfi_safetensors_open(&st, "/nonexistent", NULL, &err), KF_INPUT);
    kfi_buf_deinit(&buf);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void reads_back_what_it_writes(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_safetensors *st = NULL;
    uint8_t large[128];
    for (size_t i = 0; i < sizeof large; i++) {
        large[i] = (uint8_t)i;
    }
    const int64_t numbers[3] = {INT64_MIN, 0, 7};
    const kfi_safetensors_entry entries[] = {
        {.name = "large",
         .dtype = KFI_DTYPE_U8,
         .n_dims = 2,
         .shape = {2, 64},
         .data = large,
         .bytes = 128},
        {.name = "na\xC3\xAFve \"name\"",
         .dtype = KFI_DTYPE_I64,
         .n_dims = 1,
         .shape = {3},
         .data = numbers,
         .bytes = 24},
        {.name = "none",
         .dtype = KFI_DTYPE_F32,
         .n_dims = 2,
         .shape = {0, 5},
         .data = large,
         .bytes = 0},
    };
    const char *const metadata[] = {"format", "pt", "note", "two\nlines"};
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x.safetensors");
    CHECK_OK(kfi_safetensors_write(path, entries, 3, metadata, 2, NULL, &err), &err);
    CHECK_OK(kfi_safetensors_open(&st, path, NULL, &err), &err);
    const kfi_tensor_table *table = kfi_safetensors_tensors(st);
    for (size_t i = 0; i < 3; i++) {
        const kfi_tensor *tensor = kfi_tensor_find(table, entries[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->dtype, entries[i].dtype);
        assert_int_equal(tensor->n_dims, entries[i].n_dims);
        assert_int_equal(tensor->bytes, entries[i].bytes);
        assert_memory_equal(tensor->data, entries[i].data, tensor->bytes);
    }
    assert_int_equal(table->tensors[0].offset % 64, 0);
    assert_string_equal(kfi_safetensors_metadata(st, 0, "note"), "two\nlines");
    kfi_safetensors_close(st);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void refuses_to_write_what_it_could_not_read(void **state)
{
    (void)state;
    kf_error err = {0};
    const uint8_t data[18] = {0};
    kfi_safetensors_entry entry = {
        .name = "t", .dtype = KFI_DTYPE_F32, .n_dims = 1, .shape = {4}, .data = data, .bytes = 15};
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x.safetensors");
    assert_int_equal(kfi_safetensors_write(path, &entry, 1, NULL, 0, NULL, &err), KF_INVALID);
    assert_report(&err, KF_INVALID, "tensor 't': 15 bytes of F32 do not make its shape");
    entry.shape[0] = SIZE_MAX;
    assert_int_equal(kfi_safetensors_write(path, &entry, 1, NULL, 0, NULL, &err), KF_INVALID);
    entry = (kfi_safetensors_entry){.name = "t",
                                    .dtype = KFI_DTYPE_Q4_0,
                                    .n_dims = 1,
                                    .shape = {32},
                                    .data = data,
                                    .bytes = 18};
    assert_int_equal(kfi_safetensors_write(path, &entry, 1, NULL, 0, NULL, &err), KF_INVALID);
    assert_false(kfi_file_exists(path));
    entry = (kfi_safetensors_entry){
        .name = "t", .dtype = KFI_DTYPE_U8, .n_dims = 0, .data = data, .bytes = 1};
    assert_int_equal(kfi_safetensors_write("/nonexistent/x", &entry, 1, NULL, 0, NULL, &err),
                     KF_IO);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_in_the_order_of_their_places),
        cmocka_unit_test(accepts_a_file_without_tensors),
        cmocka_unit_test(rejects_lengths_that_do_not_fit),
        cmocka_unit_test(rejects_headers_that_are_no_strict_json),
        cmocka_unit_test(rejects_numbers_that_are_no_counts),
        cmocka_unit_test(rejects_entries_that_lack_something),
        cmocka_unit_test(rejects_types_and_shapes_it_cannot_hold),
        cmocka_unit_test(rejects_holes_overlaps_and_wrong_ends),
        cmocka_unit_test(opens_the_shards_of_an_index),
        cmocka_unit_test(rejects_an_index_that_lies),
        cmocka_unit_test(rejects_an_index_of_too_many_files),
        cmocka_unit_test(rejects_a_tensor_that_the_index_does_not_name),
        cmocka_unit_test(opens_a_directory_with_one_file),
        cmocka_unit_test(reads_back_what_it_writes),
        cmocka_unit_test(refuses_to_write_what_it_could_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
