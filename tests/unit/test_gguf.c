/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "build_gguf.h"
#include "fixtures.h"
#include "io/gguf_reader.h"

/* Opens what buf holds, which must fail, frees it and returns the report. */
static kf_error parse_error(kfi_buf *buf)
{
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    const kf_status status = kfi_gguf_parse(&gguf, (const uint8_t *)buf->data, buf->n, NULL, &err);
    if (status == KF_OK) {
        fail_msg("the file was accepted");
    }
    assert_null(gguf);
    assert_int_equal(err.code, status);
    kfi_buf_deinit(buf);
    return err;
}

static void assert_report(const kf_error *err, kf_status code, uint64_t offset, const char *part)
{
    if (err->code != code || err->offset != offset || strstr(err->msg, part) == NULL) {
        fail_msg("got %d at %llu: %s; expected %d at %llu: %s", (int)err->code,
                 (unsigned long long)err->offset, err->msg, (int)code, (unsigned long long)offset,
                 part);
    }
}

static kfi_gguf *open_sample(kfi_buf *buf)
{
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    build_sample_gguf(buf);
    CHECK_OK(kfi_gguf_parse(&gguf, (const uint8_t *)buf->data, buf->n, NULL, &err), &err);
    return gguf;
}

static void reads_metadata_of_every_kind(void **state)
{
    (void)state;
    kfi_buf buf;
    kf_error err = {0};
    kfi_gguf *gguf = open_sample(&buf);
    uint64_t count = 0;
    double number = 0.0;
    bool flag = false;
    kfi_text text = {NULL, 0};
    assert_int_equal(kfi_gguf_count(gguf), 9);
    CHECK_OK(kfi_gguf_u64(&count, gguf, "llama.block_count", &err), &err);
    assert_int_equal(count, 2);
    CHECK_OK(kfi_gguf_u64(&count, gguf, "test.u64", &err), &err);
    assert_true(count == UINT64_MAX);
    CHECK_OK(kfi_gguf_f64(&number, gguf, "llama.rope.freq_base", &err), &err);
    assert_true(number == 10000.0);
    CHECK_OK(kfi_gguf_f64(&number, gguf, "test.i64", &err), &err);
    assert_true(number == -7.0);
    CHECK_OK(kfi_gguf_bool(&flag, gguf, "tokenizer.ggml.add_bos_token", &err), &err);
    assert_true(flag);
    CHECK_OK(kfi_gguf_text(&text, gguf, "general.architecture", &err), &err);
    assert_int_equal(text.n, 5);
    assert_memory_equal(text.data, "llama", 5);
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&buf);
}

static void reads_arrays(void **state)
{
    (void)state;
    kfi_buf buf;
    kfi_gguf *gguf = open_sample(&buf);
    const kfi_gguf_value *tokens = kfi_gguf_find(gguf, "tokenizer.ggml.tokens");
    assert_int_equal(tokens->type, KFI_GGUF_ARRAY);
    assert_int_equal(tokens->element, KFI_GGUF_STRING);
    assert_int_equal(tokens->n, 3);
    assert_int_equal(tokens->texts[1].n, 0);
    assert_memory_equal(tokens->texts[2].data, "\xC3\xA9", 2);
    const kfi_gguf_value *scores = kfi_gguf_find(gguf, "tokenizer.ggml.scores");
    assert_true(kfi_gguf_element_f64(scores, 1) == -1.5);
    assert_int_equal(kfi_gguf_element_i64(scores, 2), 2);
    const kfi_gguf_value *types = kfi_gguf_find(gguf, "tokenizer.ggml.token_type");
    assert_int_equal(kfi_gguf_element_i64(types, 1), -1);
    assert_true(kfi_gguf_element_f64(types, 2) == 6.0);
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&buf);
}

/* Every numeric element type, at its extremes, both ways. */
static void reads_elements_of_every_numeric_type(void **state)
{
    (void)state;
    const uint8_t ones[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    const uint8_t huge_f64[8] = {0, 0, 0, 0, 0, 0, 0xF0, 0x7F}; /* +infinity */
    const uint8_t tiny_f64[8] = {0, 0, 0, 0, 0, 0, 0xF0, 0xFF}; /* -infinity */
    const struct {
        kfi_gguf_type type;
        const uint8_t *data;
        int64_t integer;
    } cases[] = {
        {KFI_GGUF_U8, ones, 255},
        {KFI_GGUF_I8, ones, -1},
        {KFI_GGUF_U16, ones, 65535},
        {KFI_GGUF_I16, ones, -1},
        {KFI_GGUF_U32, ones, UINT32_MAX},
        {KFI_GGUF_I32, ones, -1},
        {KFI_GGUF_U64, ones, INT64_MAX},
        {KFI_GGUF_I64, ones, -1},
        {KFI_GGUF_BOOL, ones, 1},
        {KFI_GGUF_F64, huge_f64, INT64_MAX},
        {KFI_GGUF_F64, tiny_f64, INT64_MIN},
        {KFI_GGUF_F32, ones, 0},
        {KFI_GGUF_STRING, ones, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kfi_gguf_value value = {.element = cases[i].type, .n = 1, .data = cases[i].data};
        assert_true(kfi_gguf_element_i64(&value, 0) == cases[i].integer);
    }
    const kfi_gguf_value unsigned_value = {.element = KFI_GGUF_U64, .n = 1, .data = ones};
    assert_true(kfi_gguf_element_f64(&unsigned_value, 0) == 0x1p64);
}

static void finds_tensors_in_c_order(void **state)
{
    (void)state;
    kfi_buf buf;
    kf_error err = {0};
    kfi_gguf *gguf = open_sample(&buf);
    const kfi_tensor_table *table = kfi_gguf_tensors(gguf);
    assert_int_equal(table->n, 6);
    const kfi_tensor *tensor = kfi_tensor_find(table, "f32");
    assert_non_null(tensor);
    assert_int_equal(tensor->n_dims, 2);
    assert_int_equal(tensor->shape[0], 2);
    assert_int_equal(tensor->shape[1], 5);
    assert_int_equal(tensor->bytes, 40);
    assert_ptr_equal(tensor->data, (const uint8_t *)buf.data + tensor->offset);
    assert_int_equal(kfi_tensor_find(table, "q4_1")->dtype, KFI_DTYPE_Q4_1);
    assert_null(kfi_tensor_find(table, "q4"));
    assert_ptr_equal(kfi_gguf_map(gguf)->data, buf.data);
    float values[5];
    CHECK_OK(kfi_tensor_decode(values, tensor, 5, 5, &err), &err);
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&buf);
}

static void names_a_key_that_is_missing_or_of_another_type(void **state)
{
    (void)state;
    kfi_buf buf;
    kf_error err = {0};
    kfi_gguf *gguf = open_sample(&buf);
    uint64_t count = 0;
    double number = 0.0;
    bool flag = false;
    kfi_text text = {NULL, 0};
    assert_int_equal(kfi_gguf_u64(&count, gguf, "absent", &err), KF_FORMAT);
    assert_string_equal(err.msg, "metadata key 'absent' is missing");
    assert_int_equal(kfi_gguf_u64(&count, gguf, "test.i64", &err), KF_FORMAT);
    assert_string_equal(err.msg, "metadata key 'test.i64' is i64 -7, expected at least 0");
    assert_int_equal(kfi_gguf_u64(&count, gguf, "tokenizer.ggml.scores", &err), KF_FORMAT);
    assert_string_equal(
        err.msg, "metadata key 'tokenizer.ggml.scores' is array of f32, expected an integer");
    assert_int_equal(kfi_gguf_f64(&number, gguf, "general.architecture", &err), KF_FORMAT);
    assert_int_equal(kfi_gguf_bool(&flag, gguf, "general.architecture", &err), KF_FORMAT);
    assert_int_equal(kfi_gguf_text(&text, gguf, "llama.block_count", &err), KF_FORMAT);
    assert_int_equal(err.offset, kfi_gguf_find(gguf, "llama.block_count")->offset);
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&buf);
}

static void accepts_a_file_without_tensors(void **state)
{
    (void)state;
    kfi_buf buf;
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    gguf_begin(&buf, 2, 0, 1);
    gguf_key_text(&buf, "a", "b");
    CHECK_OK(kfi_gguf_parse(&gguf, (const uint8_t *)buf.data, buf.n, NULL, &err), &err);
    assert_null(kfi_tensor_find(kfi_gguf_tensors(gguf), "x"));
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&buf);
}

static void rejects_what_is_no_gguf(void **state)
{
    (void)state;
    kfi_buf buf;
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    assert_int_equal(kfi_gguf_parse(&gguf, NULL, 0, NULL, &err), KF_FORMAT);
    kfi_buf_init(&buf, NULL, BUILD_MAX);
    put_bytes(&buf, "GGML and more", 13);
    err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 0, "does not begin with \"GGUF\"");
    /* The four bytes alone crashed another server (CVE-2024-39720). */
    kfi_buf_init(&buf, NULL, BUILD_MAX);
    put_bytes(&buf, "GGUF", 4);
    err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 4,
                  "version: 4 bytes from byte 4 on, but the file ends at byte 4");
    assert_int_equal(kfi_gguf_open(&gguf, "/nonexistent/x.gguf", NULL, &err), KF_INPUT);
}

static void rejects_other_versions(void **state)
{
    (void)state;
    kfi_buf buf;
    gguf_begin(&buf, 1, 0, 0);
    kf_error err = parse_error(&buf);
    assert_report(&err, KF_UNSUPPORTED, 4, "GGUF version 1, only 2 and 3 are read");
    gguf_begin(&buf, 4, 0, 0);
    err = parse_error(&buf);
    assert_report(&err, KF_UNSUPPORTED, 4, "GGUF version 4");
    gguf_begin(&buf, 0x03000000, 0, 0);
    err = parse_error(&buf);
    assert_report(&err, KF_UNSUPPORTED, 4, "big-endian");
}

/* CVE-2024-21802 and kin: counts that overflow a product, or ask for memory the file cannot fill.
 */
static void rejects_counts_larger_than_the_file(void **state)
{
    (void)state;
    const uint64_t counts[] = {UINT64_MAX, INT64_MAX, (uint64_t)1 << 61, 1000001, 1000, 3};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        kfi_buf buf;
        gguf_begin(&buf, 3, counts[i], 0);
        kf_error err = parse_error(&buf);
        assert_report(&err, KF_FORMAT, 8, "tensors declared");
        gguf_begin(&buf, 3, 0, counts[i]);
        err = parse_error(&buf);
        assert_report(&err, KF_FORMAT, 16, "metadata keys declared");
        gguf_begin(&buf, 3, 0, 1);
        gguf_key_array(&buf, "k", KFI_GGUF_U64, counts[i]);
        err = parse_error(&buf);
        assert_int_equal(err.code, KF_FORMAT);
        assert_non_null(strstr(err.msg, "metadata key 'k'"));
        gguf_begin(&buf, 3, 0, 1);
        gguf_key_array(&buf, "k", KFI_GGUF_STRING, counts[i]);
        err = parse_error(&buf);
        assert_int_equal(err.code, KF_FORMAT);
        gguf_begin(&buf, 3, 0, 1);
        gguf_key(&buf, "k", KFI_GGUF_STRING);
        put_u64(&buf, counts[i]);
        err = parse_error(&buf);
        assert_int_equal(err.code, KF_FORMAT);
        assert_int_equal(err.offset, 24 + 9 + 4 + (counts[i] > KFI_GGUF_MAX_STRING ? 0 : 8));
        gguf_begin(&buf, 3, 0, 1);
        put_u64(&buf, counts[i]); /* of the key itself */
        put_bytes(&buf, "abcdef", 6);
        err = parse_error(&buf);
        assert_int_equal(err.code, KF_FORMAT);
    }
}

static void rejects_wrong_values(void **state)
{
    (void)state;
    kfi_buf buf;
    gguf_begin(&buf, 3, 0, 1);
    gguf_key(&buf, "k", 13);
    put_u64(&buf, 0);
    kf_error err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 33, "metadata key 'k': value type 13 does not exist");
    gguf_begin(&buf, 3, 0, 1);
    gguf_key_array(&buf, "k", KFI_GGUF_ARRAY, 1);
    err = parse_error(&buf);
    assert_report(&err, KF_UNSUPPORTED, 37, "an array of arrays");
    gguf_begin(&buf, 3, 0, 1);
    gguf_key_array(&buf, "k", 99, 1);
    err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 37, "value type 99");
    gguf_begin(&buf, 3, 0, 1);
    gguf_key_u32(&buf, "", 1);
    err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 24, "metadata key 1 of 1: its name is empty");
}

static void rejects_a_key_that_occurs_twice(void **state)
{
    (void)state;
    kfi_buf buf;
    gguf_begin(&buf, 3, 0, 2);
    gguf_key_u32(&buf, "same", 1);
    gguf_key_u32(&buf, "same", 1);
    const kf_error err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 44, "metadata key 'same': it occurs twice");
}

static void messages_show_hostile_names_as_plain_text(void **state)
{
    (void)state;
    kfi_buf buf;
    gguf_begin(&buf, 3, 0, 2);
    gguf_key_u32(&buf, "\x1B[31m\xFF\xFE", 1);
    gguf_key_u32(&buf, "\x1B[31m\xFF\xFE", 1);
    const kf_error err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 47,
                  "metadata key '?[31m?"
                  "?'");
}

static void rejects_wrong_alignment(void **state)
{
    (void)state;
    const uint32_t wrong[] = {0, 3, 48, UINT32_MAX, 0x80000000u, 2097152};
    kfi_buf buf;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gguf_begin(&buf, 3, 0, 1);
        gguf_key_u32(&buf, "general.alignment", wrong[i]);
        const kf_error err = parse_error(&buf);
        assert_report(&err, KF_FORMAT, 53, "'general.alignment' is ");
    }
    gguf_begin(&buf, 3, 0, 1);
    gguf_key(&buf, "general.alignment", KFI_GGUF_U64);
    put_u64(&buf, 32);
    const kf_error err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 53, "is u64, expected u32");
}

static void follows_the_alignment_of_the_file(void **state)
{
    (void)state;
    kfi_buf buf;
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    gguf_begin(&buf, 3, 2, 1);
    gguf_key_u32(&buf, "general.alignment", 256);
    gguf_tensor(&buf, "a", 1, 1, 0, 0);
    gguf_tensor(&buf, "b", 1, 1, 0, 256);
    put_padding(&buf, 256);
    const size_t begin = buf.n;
    put_data(&buf, 260);
    CHECK_OK(kfi_gguf_parse(&gguf, (const uint8_t *)buf.data, buf.n, NULL, &err), &err);
    assert_int_equal(kfi_tensor_find(kfi_gguf_tensors(gguf), "b")->offset, begin + 256);
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&buf);
}

/* One tensor whose entry the case writes itself; the list begins at byte 24, its name takes 9. */
static kf_error tensor_error(uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset)
{
    kfi_buf buf;
    gguf_begin(&buf, 3, 1, 0);
    put_string(&buf, "t");
    put_u32(&buf, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 8; i++) {
        put_u64(&buf, ne[i]);
    }
    put_u32(&buf, type);
    put_u64(&buf, offset);
    put_padding(&buf, 32);
    put_data(&buf, 64);
    return parse_error(&buf);
}

/* gguf-tools#25: more dimensions than the array that holds them. */
static void rejects_wrong_dimensions(void **state)
{
    (void)state;
    const uint64_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    kf_error err = tensor_error(5, ones, 0, 0);
    assert_report(&err, KF_FORMAT, 33, "tensor 't' has 5 dimensions");
    err = tensor_error(UINT32_MAX, ones, 0, 0);
    assert_report(&err, KF_FORMAT, 33, "has 4294967295 dimensions");
    err = tensor_error(2, (const uint64_t[]){4, 0}, 0, 0);
    assert_report(&err, KF_FORMAT, 45, "dimension 1 is 0");
    err = tensor_error(1, (const uint64_t[]){UINT64_MAX}, 0, 0);
    assert_report(&err, KF_FORMAT, 37, "dimension 0 is 18446744073709551615");
}

/* GHSA-vgg9-87g3-85w8: sizes whose product or byte count overflows. */
static void rejects_sizes_that_overflow(void **state)
{
    (void)state;
    const uint64_t big = (uint64_t)1 << 32;
    kf_error err = tensor_error(2, (const uint64_t[]){big, big}, 0, 0);
    assert_report(&err, KF_FORMAT, 45, "zero or too large");
    err = tensor_error(3, (const uint64_t[]){big, big / 4, 8}, 0, 0);
    assert_report(&err, KF_FORMAT, 53, "zero or too large");
    err = tensor_error(2, (const uint64_t[]){big, big / 4}, 0, 0); /* 2^62 elements, 2^64 bytes */
    assert_report(&err, KF_FORMAT, 53, "of F32 are too many");
    err = tensor_error(2, (const uint64_t[]){big, big / 8}, 0, 0); /* 2^63 bytes */
    assert_report(&err, KF_FORMAT, 57, "but the file has only");
    err = tensor_error(1, (const uint64_t[]){33}, 2, 0);
    assert_report(&err, KF_FORMAT, 45, "Q4_0 needs a multiple of 32");
}

static void rejects_unknown_types_and_names_their_fork(void **state)
{
    (void)state;
    const uint64_t ne[] = {256};
    const struct {
        uint32_t id;
        const char *name;
    } cases[] = {
        {36, "type id 36 (I2_S of BitNet and ik_llama.cpp)"},
        {139, "a private type of ik_llama.cpp"},
        {4, "removed from GGUF"},
        {16, "IQ2_XXS"},
        {39, "MXFP4"},
        {77, "type id 77 (unknown)"},
        {UINT32_MAX, "(unknown)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kf_error err = tensor_error(1, ne, cases[i].id, 0);
        assert_report(&err, KF_UNSUPPORTED, 45, cases[i].name);
    }
}

static void rejects_offsets_with_gaps_or_overlap(void **state)
{
    (void)state;
    const uint64_t ne[] = {4};
    kf_error err = tensor_error(1, ne, 0, 32);
    assert_report(&err, KF_FORMAT, 49, "tensor 't': offset 32, expected 0");
    const uint64_t wrong[] = {0, 16, 31, 64, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        kfi_buf buf;
        gguf_begin(&buf, 3, 2, 0);
        gguf_tensor(&buf, "a", 1, 4, 0, 0);
        gguf_tensor(&buf, "b", 1, 4, 0, wrong[i]);
        const size_t at = buf.n - 8;
        put_padding(&buf, 32);
        put_data(&buf, 256);
        err = parse_error(&buf);
        assert_report(&err, KF_FORMAT, at, "expected 32 behind the tensors before it");
    }
}

/* CVE-2026-7482: a tensor that reaches past the end of the file. */
static void rejects_data_past_the_end(void **state)
{
    (void)state;
    for (size_t n = 0; n < 48; n++) { /* 48 bytes are needed: 32 for a padded, 16 for b */
        kfi_buf buf;
        gguf_begin(&buf, 3, 2, 0);
        gguf_tensor(&buf, "a", 1, 4, 0, 0);
        gguf_tensor(&buf, "b", 1, 4, 0, 32);
        put_padding(&buf, 32);
        put_data(&buf, n);
        const kf_error err = parse_error(&buf);
        assert_int_equal(err.code, KF_FORMAT);
        assert_non_null(strstr(err.msg, n < 16 ? "tensor 'a'" : "tensor 'b'"));
    }
}

static void rejects_wrong_tensor_names(void **state)
{
    (void)state;
    char name[65] = {0};
    memset(name, 'n', 64);
    kfi_buf buf;
    gguf_begin(&buf, 3, 1, 0);
    gguf_tensor(&buf, name, 1, 4, 0, 0);
    kf_error err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 24, "name of tensor 1 of 1: a string of 64 bytes, at most 63");
    gguf_begin(&buf, 3, 1, 0);
    gguf_tensor(&buf, "", 1, 4, 0, 0);
    err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 24, "empty or holds a NUL");
    gguf_begin(&buf, 3, 1, 0);
    put_u64(&buf, 3);
    put_bytes(&buf, "a\0b", 3);
    put_data(&buf, 64);
    err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, 24, "empty or holds a NUL");
    gguf_begin(&buf, 3, 2, 0);
    gguf_tensor(&buf, "t", 1, 8, 0, 0);
    gguf_tensor(&buf, "t", 1, 8, 0, 32);
    put_padding(&buf, 32);
    const size_t begin = buf.n;
    put_data(&buf, 64);
    err = parse_error(&buf);
    assert_report(&err, KF_FORMAT, begin + 32, "tensor 't': its name occurs twice");
}

/* The duplicate check of the reference is quadratic: a file of 10^6 names hangs it. */
static void indexes_many_tensors_quickly(void **state)
{
    (void)state;
    enum {
        N = 200000
    };
    kfi_buf buf;
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    gguf_begin(&buf, 3, N, 0);
    for (unsigned i = 0; i < N; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "blk.%u", i);
        gguf_tensor(&buf, name, 1, 8, 0, 32u * i);
    }
    put_padding(&buf, 32);
    assert_true(kfi_buf_reserve(&buf, (size_t)N * 32));
    memset(buf.data + buf.n, 0, (size_t)N * 32);
    buf.n += (size_t)N * 32;
    assert_false(buf.failed);
    CHECK_OK(kfi_gguf_parse(&gguf, (const uint8_t *)buf.data, buf.n, NULL, &err), &err);
    assert_non_null(kfi_tensor_find(kfi_gguf_tensors(gguf), "blk.199999"));
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&buf);
}

static void opens_a_file_and_names_it_in_messages(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kfi_gguf *gguf = NULL;
    uint64_t count = 0;
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "m.gguf");
    build_sample_gguf(&buf);
    CHECK_OK(kfi_file_write(path, buf.data, buf.n, &err), &err);
    CHECK_OK(kfi_gguf_open(&gguf, path, NULL, &err), &err);
    assert_ptr_equal(kfi_gguf_at(gguf, 0), kfi_gguf_find(gguf, "general.architecture"));
    assert_int_equal(kfi_gguf_u64(&count, gguf, "absent", &err), KF_FORMAT);
    assert_string_equal(err.msg, "m.gguf: metadata key 'absent' is missing");
    kfi_gguf_close(gguf);
    CHECK_OK(kfi_file_write(path, buf.data, buf.n - 1, &err), &err);
    assert_int_equal(kfi_gguf_open(&gguf, path, NULL, &err), KF_FORMAT);
    assert_null(gguf);
    assert_memory_equal(err.msg, "m.gguf: tensor 'q3_k'", 21);
    CHECK_OK(kfi_file_write(path, "", 0, &err), &err);
    assert_int_equal(kfi_gguf_open(&gguf, path, NULL, &err), KF_FORMAT);
    kfi_buf_deinit(&buf);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

/* Five strings of 63 MiB, none too long by itself: a sparse file, so it costs neither disk nor
 * memory. */
static void rejects_metadata_that_is_too_long_in_all(void **state)
{
    (void)state;
    enum {
        STRING_BYTES = 63 << 20
    };
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "m.gguf");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (unsigned i = 0; i < 5; i++) {
        kfi_buf buf;
        char key[2] = {(char)('a' + i), 0};
        gguf_begin(&buf, 3, 0, 5);
        if (i > 0) {
            kfi_buf_clear(&buf);
        }
        gguf_key(&buf, key, KFI_GGUF_STRING);
        put_u64(&buf, STRING_BYTES);
        assert_int_equal(fwrite(buf.data, 1, buf.n, file), buf.n);
        assert_int_equal(fseek(file, STRING_BYTES, SEEK_CUR), 0);
        kfi_buf_deinit(&buf);
    }
    assert_int_equal(fputc(0, file), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(kfi_gguf_open(&gguf, path, NULL, &err), KF_FORMAT);
    assert_string_equal(err.msg, "m.gguf: metadata key 'e': metadata longer than 268435456 bytes");
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_metadata_of_every_kind),
        cmocka_unit_test(reads_arrays),
        cmocka_unit_test(reads_elements_of_every_numeric_type),
        cmocka_unit_test(finds_tensors_in_c_order),
        cmocka_unit_test(names_a_key_that_is_missing_or_of_another_type),
        cmocka_unit_test(accepts_a_file_without_tensors),
        cmocka_unit_test(rejects_what_is_no_gguf),
        cmocka_unit_test(rejects_other_versions),
        cmocka_unit_test(rejects_counts_larger_than_the_file),
        cmocka_unit_test(rejects_wrong_values),
        cmocka_unit_test(rejects_a_key_that_occurs_twice),
        cmocka_unit_test(messages_show_hostile_names_as_plain_text),
        cmocka_unit_test(rejects_wrong_alignment),
        cmocka_unit_test(follows_the_alignment_of_the_file),
        cmocka_unit_test(rejects_wrong_dimensions),
        cmocka_unit_test(rejects_sizes_that_overflow),
        cmocka_unit_test(rejects_unknown_types_and_names_their_fork),
        cmocka_unit_test(rejects_offsets_with_gaps_or_overlap),
        cmocka_unit_test(rejects_data_past_the_end),
        cmocka_unit_test(rejects_wrong_tensor_names),
        cmocka_unit_test(indexes_many_tensors_quickly),
        cmocka_unit_test(opens_a_file_and_names_it_in_messages),
        cmocka_unit_test(rejects_metadata_that_is_too_long_in_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
