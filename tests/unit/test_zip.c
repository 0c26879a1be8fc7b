/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "build_zip.h"
#include "fixtures.h"
#include "io/zip.h"

/* The member of a name, or the last where name is NULL. */
typedef struct search {
    const char *name;
    kfi_zip_member found;
} search;

static kf_status note_member(void *ctx, const kfi_zip_member *member, kf_error *err)
{
    search *s = ctx;
    (void)err;
    if (s->name == NULL || (member->name.n == strlen(s->name) &&
                            memcmp(member->name.data, s->name, member->name.n) == 0)) {
        s->found = *member;
    }
    return KF_OK;
}

static kf_status find(kfi_zip_member *dst, const kfi_zip *zip, const char *name, kf_error *err)
{
    search s = {.name = name};
    const kf_status status = kfi_zip_each(zip, note_member, &s, err);
    *dst = s.found;
    return status;
}

static kf_status append_piece(void *ctx, const void *data, size_t n, kf_error *err)
{
    (void)err;
    return kfi_buf_append(ctx, data, n) ? KF_OK : KF_NOMEM;
}

/* Finds and extracts a file by name into dst. */
static kf_status read_member(kfi_buf *dst, const kfi_buf *archive, const char *name, kf_error *err)
{
    kfi_zip zip;
    kfi_zip_member member;
    kfi_buf_init(dst, NULL, BUILD_MAX);
    kf_status status = kfi_zip_parse(&zip, (const uint8_t *)archive->data, archive->n, err);
    if (status == KF_OK) {
        status = find(&member, &zip, name, err);
    }
    if (status == KF_OK) {
        status = kfi_zip_extract(&zip, &member, append_piece, dst, NULL, err);
    }
    kfi_zip_close(&zip);
    return status;
}

/* Extraction of "pkg/model.gguf" must fail; archive is freed. */
static kf_error extract_error(kfi_buf *archive, const char *name)
{
    kf_error err = {0};
    kfi_buf dst;
    const kf_status status = read_member(&dst, archive, name, &err);
    if (status == KF_OK) {
        fail_msg("the archive was accepted");
    }
    assert_int_equal(err.code, status);
    kfi_buf_deinit(&dst);
    kfi_buf_deinit(archive);
    return err;
}

static void assert_report(const kf_error *err, kf_status code, const char *part)
{
    if (err->code != code || strstr(err->msg, part) == NULL) {
        fail_msg("got %d: %s; expected %d: %s", (int)err->code, err->msg, (int)code, part);
    }
}

/* Place of the k-th directory entry of the sample. */
static size_t entry_place(const kfi_buf *archive, int k)
{
    size_t at = kfi_load_u32((const uint8_t *)archive->data + archive->n - 9 - 22 + 16);
    for (; k > 0; k--) {
        at += 46u + kfi_load_u16((const uint8_t *)archive->data + at + 28);
    }
    return at;
}

static uint8_t *entry(const kfi_buf *archive, int k)
{
    return (uint8_t *)archive->data + entry_place(archive, k);
}

static void extracts_stored_deflated_and_empty_files(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf archive;
    kfi_buf dst;
    build_sample_zip(&archive);
    CHECK_OK(read_member(&dst, &archive, "pkg/__init__.py", &err), &err);
    assert_string_equal(dst.data, "x = 1\n");
    kfi_buf_deinit(&dst);
    CHECK_OK(read_member(&dst, &archive, "pkg/model.gguf", &err), &err);
    assert_int_equal(dst.n, 600);
    assert_memory_equal(dst.data, "kerf saw oak kerf", 17);
    kfi_buf_deinit(&dst);
    CHECK_OK(read_member(&dst, &archive, "pkg/empty", &err), &err);
    assert_int_equal(dst.n, 0);
    kfi_buf_deinit(&dst);
    kfi_buf_deinit(&archive);
}

/* Longer than a piece of output and of input. */
static void extracts_a_large_file_to_disk_with_its_hash(void **state)
{
    (void)state;
    enum {
        N = 3000000
    };
    kf_error err = {0};
    uint8_t *data = kfi_alloc(NULL, N);
    uint32_t lcg = 1;
    for (size_t i = 0; i < N; i++) {
        lcg = lcg * 1664525u + 1013904223u;
        data[i] = (uint8_t)(lcg >> 24);
    }
    char *directory = fixture_directory_new();
    char *wheel = kfi_path_join(NULL, directory, "x.whl");
    char *path = kfi_path_join(NULL, directory, "x.gguf");
    for (unsigned method = 0; method <= 8; method += 8) {
        zip_builder builder;
        kfi_zip zip;
        kfi_zip_member member;
        kfi_file_writer writer;
        char hex[KFI_SHA256_HEX];
        char expected[KFI_SHA256_HEX];
        zip_begin(&builder);
        zip_add(&builder, "m", data, N, method);
        zip_end(&builder, "");
        CHECK_OK(kfi_file_write(wheel, builder.file.data, builder.file.n, &err), &err);
        CHECK_OK(kfi_zip_open(&zip, wheel, &err), &err);
        CHECK_OK(find(&member, &zip, NULL, &err), &err);
        assert_int_equal(member.size, N);
        CHECK_OK(kfi_file_writer_open(&writer, path, NULL, &err), &err);
        CHECK_OK(kfi_zip_extract_file(&writer, hex, &zip, &member, &err), &err);
        CHECK_OK(kfi_file_writer_commit(&writer, &err), &err);
        CHECK_OK(kfi_sha256_bytes(expected, data, N, &err), &err);
        assert_string_equal(hex, expected);
        CHECK_OK(kfi_sha256_file(hex, path, &err), &err);
        assert_string_equal(hex, expected);
        kfi_zip_close(&zip);
        kfi_buf_deinit(&builder.file);
    }
    kfi_free_text(NULL, wheel);
    kfi_free_text(NULL, path);
    kfi_free(NULL, data, N);
    fixture_directory_free(directory);
}

/* Refuses the second of the members that it sees. */
static kf_status refuse_second(void *ctx, const kfi_zip_member *member, kf_error *err)
{
    size_t *n_seen = ctx;
    (void)member;
    (void)err;
    return ++*n_seen == 2 ? KF_CANCELLED : KF_OK;
}

static void stops_at_the_first_failure(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf archive;
    kfi_zip zip;
    size_t n_seen = 0;
    build_sample_zip(&archive);
    CHECK_OK(kfi_zip_parse(&zip, (const uint8_t *)archive.data, archive.n, &err), &err);
    assert_int_equal(zip.n_members, 3);
    assert_int_equal(kfi_zip_each(&zip, refuse_second, &n_seen, &err), KF_CANCELLED);
    assert_int_equal(n_seen, 2);
    kfi_zip_close(&zip);
    kfi_buf_deinit(&archive);
}

static void rejects_what_is_no_archive(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf archive;
    kfi_zip zip;
    assert_int_equal(kfi_zip_parse(&zip, NULL, 0, &err), KF_FORMAT);
    build_sample_zip(&archive);
    for (size_t n = 0; n < archive.n; n++) { /* also a comment cut short */
        assert_int_equal(kfi_zip_parse(&zip, (const uint8_t *)archive.data, n, &err), KF_FORMAT);
    }
    assert_report(&err, KF_FORMAT, "not a complete zip archive");
    kfi_buf_deinit(&archive);
    assert_int_equal(kfi_zip_open(&zip, "/nonexistent.zip", &err), KF_INPUT);
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x.whl");
    CHECK_OK(kfi_file_write(path, "PK", 2, &err), &err);
    assert_int_equal(kfi_zip_open(&zip, path, &err), KF_FORMAT);
    assert_report(&err, KF_FORMAT, "x.whl: not a complete zip archive");
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void rejects_other_kinds_of_archive(void **state)
{
    (void)state;
    static const struct {
        size_t at; /* in the end record */
        const char *message;
    } cases[] = {
        {4, "several disks"}, {6, "several disks"}, {8, "several disks"},
        {10, "zip64"},        {12, "zip64"},        {16, "zip64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kfi_buf archive;
        build_sample_zip(&archive);
        memset(archive.data + archive.n - 9 - 22 + cases[i].at, 0xFF, cases[i].at < 12 ? 2 : 4);
        const kf_error err = extract_error(&archive, "pkg/model.gguf");
        assert_report(&err, KF_UNSUPPORTED, cases[i].message);
    }
    static const size_t fields[] = {20, 24, 42}; /* of a directory entry: sizes, place */
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        kfi_buf archive;
        build_sample_zip(&archive);
        memset(entry(&archive, 1) + fields[i], 0xFF, 4);
        const kf_error err = extract_error(&archive, "pkg/model.gguf");
        assert_report(&err, KF_UNSUPPORTED, "zip64");
    }
}

static void rejects_a_damaged_directory(void **state)
{
    (void)state;
    kfi_buf archive;
    build_sample_zip(&archive);
    kfi_store_u32((uint8_t *)archive.data + archive.n - 9 - 22 + 12, 100000);
    kf_error err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "reaches into the end record");
    build_sample_zip(&archive);
    entry(&archive, 1)[0] = 'X';
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "is damaged");
    build_sample_zip(&archive);
    kfi_store_u16(entry(&archive, 1) + 28, 60000); /* length of the name */
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "is cut off");
}

static void rejects_headers_that_disagree(void **state)
{
    (void)state;
    kfi_buf archive;
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 1) + 42, 5);
    kf_error err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "'pkg/model.gguf': no zip header at byte 5");
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 1) + 42, 4000000000u);
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "no zip header at byte 4000000000");
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 1) + 42, 0); /* the header of the first file */
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "names another file");
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 1) + 20, 100000);
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "100000 packed bytes, but only");
}

static void rejects_methods_it_does_not_know(void **state)
{
    (void)state;
    kfi_buf archive;
    build_sample_zip(&archive);
    kfi_store_u16(entry(&archive, 1) + 10, 12);
    kf_error err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_UNSUPPORTED, "packed otherwise (zip method 12)");
    build_sample_zip(&archive);
    entry(&archive, 1)[8] |= 1;
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_UNSUPPORTED, "is encrypted");
}

static void rejects_data_that_is_not_what_is_declared(void **state)
{
    (void)state;
    kfi_buf archive;
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 1) + 24, 599); /* a bomb in small */
    kf_error err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "more data than the 599 bytes");
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 1) + 24, 601);
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "600 bytes, the archive declares 601");
    build_sample_zip(&archive);
    entry(&archive, 1)[16] ^= 1;
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "CRC ");
    build_sample_zip(&archive);
    const uint32_t packed = kfi_load_u32(entry(&archive, 1) + 20);
    kfi_store_u32(entry(&archive, 1) + 20, packed - 1);
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "deflate stream is damaged");
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 1) + 20, packed + 1);
    err = extract_error(&archive, "pkg/model.gguf");
    assert_report(&err, KF_FORMAT, "ends before its");
    build_sample_zip(&archive);
    kfi_store_u32(entry(&archive, 0) + 24, 5); /* stored: two sizes */
    err = extract_error(&archive, "pkg/__init__.py");
    assert_report(&err, KF_FORMAT, "more data than the 5 bytes");
}

static kf_status refuse_piece(void *ctx, const void *data, size_t n, kf_error *err)
{
    (void)ctx;
    (void)data;
    (void)n;
    (void)err;
    return KF_IO;
}

static void stops_when_the_sink_fails(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf archive;
    kfi_zip zip;
    kfi_zip_member member;
    fixture_allocator alloc;
    build_sample_zip(&archive);
    CHECK_OK(kfi_zip_parse(&zip, (const uint8_t *)archive.data, archive.n, &err), &err);
    CHECK_OK(find(&member, &zip, "pkg/model.gguf", &err), &err);
    assert_int_equal(kfi_zip_extract(&zip, &member, refuse_piece, NULL, NULL, &err), KF_IO);
    fixture_allocator_init(&alloc, 1);
    assert_int_equal(kfi_zip_extract(&zip, &member, refuse_piece, NULL, &alloc.allocator, &err),
                     KF_NOMEM);
    assert_true(fixture_allocator_is_clean(&alloc));
    kfi_zip_close(&zip);
    kfi_buf_deinit(&archive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extracts_stored_deflated_and_empty_files),
        cmocka_unit_test(extracts_a_large_file_to_disk_with_its_hash),
        cmocka_unit_test(stops_at_the_first_failure),
        cmocka_unit_test(rejects_what_is_no_archive),
        cmocka_unit_test(rejects_other_kinds_of_archive),
        cmocka_unit_test(rejects_a_damaged_directory),
        cmocka_unit_test(rejects_headers_that_disagree),
        cmocka_unit_test(rejects_methods_it_does_not_know),
        cmocka_unit_test(rejects_data_that_is_not_what_is_declared),
        cmocka_unit_test(stops_when_the_sink_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
