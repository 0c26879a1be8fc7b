/* Readers of foreign files when memory runs out at any call, and when the file is cut at any byte
 * or has any bit flipped.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <signal.h>
#include <sys/resource.h>

#include "build_llama2c.h"
#include "build_safetensors.h"
#include "build_zip.h"
#include "fixtures.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/llama2c.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "io/zip.h"
#include "walk_tensors.h"

/* Opens a file, walks over all of it, closes it. */
typedef kf_status reader(const uint8_t *data, size_t n, const kf_allocator *alloc, kf_error *err);

static void walk_table(const kfi_tensor_table *table, const kfi_file_map *map)
{
    for (size_t i = 0; i < table->n; i++) {
        walk_tensor(table, &table->tensors[i], map);
    }
}

static kf_status read_gguf(const uint8_t *data, size_t n, const kf_allocator *alloc, kf_error *err)
{
    kfi_gguf *gguf = NULL;
    const kf_status status = kfi_gguf_parse(&gguf, data, n, alloc, err);
    assert_true((status == KF_OK) == (gguf != NULL));
    if (status == KF_OK) {
        walk_table(kfi_gguf_tensors(gguf), kfi_gguf_map(gguf));
    }
    kfi_gguf_close(gguf);
    return status;
}

static kf_status read_safetensors(const uint8_t *data, size_t n, const kf_allocator *alloc,
                                  kf_error *err)
{
    kfi_safetensors *st = NULL;
    const kf_status status = kfi_safetensors_parse(&st, data, n, alloc, err);
    assert_true((status == KF_OK) == (st != NULL));
    if (status == KF_OK) {
        walk_table(kfi_safetensors_tensors(st), kfi_safetensors_map(st, 0));
    }
    kfi_safetensors_close(st);
    return status;
}

static kf_status read_llama2c(const uint8_t *data, size_t n, const kf_allocator *alloc,
                              kf_error *err)
{
    kfi_llama2c *file = NULL;
    const kf_status status = kfi_llama2c_parse(&file, data, n, alloc, err);
    assert_true((status == KF_OK) == (file != NULL));
    if (status == KF_OK) {
        walk_table(kfi_llama2c_tensors(file), kfi_llama2c_map(file));
    }
    kfi_llama2c_close(file);
    return status;
}

static kf_status read_vocabulary(const uint8_t *data, size_t n, const kf_allocator *alloc,
                                 kf_error *err)
{
    kfi_llama2c_vocabulary vocabulary;
    const size_t n_tokens = n < 4 ? 1 : data[0]; /* what a model says elsewhere */
    const kf_status status =
        kfi_llama2c_vocabulary_parse(&vocabulary, data, n, n_tokens, alloc, err);
    if (status == KF_OK) {
        kfi_llama2c_vocabulary_deinit(&vocabulary);
    }
    return status;
}

static kf_status drop_piece(void *ctx, const void *data, size_t n, kf_error *err)
{
    (void)ctx;
    (void)data;
    (void)n;
    (void)err;
    return KF_OK;
}

typedef struct zip_walk {
    const kfi_zip *zip;
    const kf_allocator *alloc;
} zip_walk;

static kf_status read_zip_member(void *ctx, const kfi_zip_member *member, kf_error *err)
{
    const zip_walk *walk = ctx;
    return kfi_zip_extract(walk->zip, member, drop_piece, NULL, walk->alloc, err);
}

static kf_status read_zip(const uint8_t *data, size_t n, const kf_allocator *alloc, kf_error *err)
{
    kfi_zip zip;
    zip_walk walk = {&zip, alloc};
    kf_status status = kfi_zip_parse(&zip, data, n, err);
    if (status == KF_OK) {
        status = kfi_zip_each(&zip, read_zip_member, &walk, err);
    }
    kfi_zip_close(&zip);
    return status;
}

static kf_status read_json(const uint8_t *data, size_t n, const kf_allocator *alloc, kf_error *err)
{
    kfi_json *root = NULL;
    (void)alloc; /* jansson has its own */
    const kf_status status = kfi_json_parse(&root, (const char *)data, n, err);
    kfi_json_free(root);
    return status;
}

static void build_own_llama2c(kfi_buf *buf)
{
    build_sample_llama2c(buf, false);
}

static void build_tokens(kfi_buf *buf, unsigned n)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    put_u32(buf, n);
    for (unsigned i = 0; i < n; i++) {
        put_f32(buf, -(float)i);
        put_u32(buf, i % 3);
        put_bytes(buf, "ab", i % 3);
    }
}

static void build_vocabulary(kfi_buf *buf)
{
    build_tokens(buf, 3);
}

static void build_json(kfi_buf *buf)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    put_bytes(buf, SAMPLE_SAFETENSORS, strlen(SAMPLE_SAFETENSORS) - 3); /* ends at the brace */
}

static const struct {
    const char *name;
    void (*build)(kfi_buf *buf);
    reader *read;
} readers[] = {
    {"gguf", build_sample_gguf, read_gguf},
    {"safetensors", build_sample_safetensors, read_safetensors},
    {"llama2c", build_own_llama2c, read_llama2c},
    {"vocabulary", build_vocabulary, read_vocabulary},
    {"zip", build_sample_zip, read_zip},
    {"json", build_json, read_json},
};

#define N_READERS (sizeof readers / sizeof *readers)

/* Files of n tensors, keys, strings or tokens. */
static void build_many_gguf(kfi_buf *buf, unsigned n)
{
    gguf_begin(buf, 3, n, n + 1);
    for (unsigned i = 0; i < n; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "key.%u", i);
        gguf_key_u32(buf, key, i);
    }
    gguf_key_array(buf, "strings", KFI_GGUF_STRING, n);
    for (unsigned i = 0; i < n; i++) {
        put_string(buf, "s");
    }
    for (unsigned i = 0; i < n; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "blk.%u.weight", i);
        gguf_tensor(buf, name, 1, 8, 0, 32u * i);
    }
    put_padding(buf, 32);
    put_data(buf, 32 * (size_t)n);
}

static void build_many_safetensors(kfi_buf *buf, unsigned n)
{
    kfi_buf header;
    kfi_buf_init(&header, NULL, BUILD_MAX);
    (void)kfi_buf_append_text(&header, "{\"__metadata__\": {\"format\": \"pt\"");
    for (unsigned i = 0; i < n; i++) {
        (void)kfi_buf_printf(&header, ", \"key %u\": \"value %u\"", i, i);
    }
    (void)kfi_buf_append_text(&header, "}");
    for (unsigned i = 0; i < n; i++) {
        (void)kfi_buf_printf(&header,
                             ", \"tensor %u\": {\"dtype\": \"U8\", \"shape\": [1], "
                             "\"data_offsets\": [%u, %u]}",
                             i, i, i + 1);
    }
    (void)kfi_buf_append_text(&header, "}");
    build_safetensors(buf, header.data, n);
    kfi_buf_deinit(&header);
}

/* One head of two floats, one token. */
static void build_many_llama2c(kfi_buf *buf, unsigned n)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    const int32_t header[7] = {2, 1, (int32_t)n, 1, 1, 1, 1};
    for (size_t i = 0; i < 7; i++) {
        put_i32(buf, header[i]);
    }
    /* embedding 2, norms 2 x 2, four 2 x 2 matrices, three 2 x 1, last norm 2, rotary 2 */
    for (unsigned i = 0; i < 2 + n * (4 + 16 + 6) + 2 + 2; i++) {
        put_f32(buf, 1.0F);
    }
}

static const struct {
    const char *name;
    void (*build)(kfi_buf *buf, unsigned n);
    reader *read;
} starved[] = {
    {"gguf", build_many_gguf, read_gguf},
    {"safetensors", build_many_safetensors, read_safetensors},
    {"llama2c", build_many_llama2c, read_llama2c},
    {"vocabulary", build_tokens, read_vocabulary},
};

/* Fails allocation 1, 2, … until the file is read; every failure is reported and leaks nothing. */
static void starve(size_t i, const kfi_buf *buf)
{
    kf_status status = KF_NOMEM;
    for (size_t fail_at = 1; status != KF_OK; fail_at++) {
        kf_error err = {0};
        fixture_allocator alloc;
        fixture_allocator_init(&alloc, fail_at);
        status = starved[i].read((const uint8_t *)buf->data, buf->n, &alloc.allocator, &err);
        if (!fixture_allocator_is_clean(&alloc) || fail_at > 100 ||
            (status != KF_OK && (status != KF_NOMEM || err.code != KF_NOMEM))) {
            fail_msg("%s, allocation %zu: status %d, %s", starved[i].name, fail_at, (int)status,
                     err.msg);
        }
    }
}

/* Small objects share the chunks of an arena: files of many sizes make each of them the first of a
 * new chunk in turn. */
static void report_no_memory_at_any_allocation(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof starved / sizeof *starved; i++) {
        for (unsigned n = 1; n < 200; n++) {
            kfi_buf buf;
            starved[i].build(&buf, n);
            starve(i, &buf);
            kfi_buf_deinit(&buf);
        }
    }
}

static void report_no_memory_while_extracting(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    fixture_allocator alloc;
    build_sample_zip(&buf);
    fixture_allocator_init(&alloc, 1);
    assert_int_equal(read_zip((const uint8_t *)buf.data, buf.n, &alloc.allocator, &err), KF_NOMEM);
    assert_true(fixture_allocator_is_clean(&alloc));
    kfi_buf_deinit(&buf);
}

/* A copy of its own size, so that a sanitizer sees a read behind the cut. */
static kf_status read_cut(size_t i_reader, const kfi_buf *buf, size_t n, kf_error *err)
{
    uint8_t *copy = kfi_alloc(NULL, n);
    assert_non_null(copy);
    memcpy(copy, buf->data, n);
    const kf_status status = readers[i_reader].read(copy, n, NULL, err);
    kfi_free(NULL, copy, n);
    return status;
}

static void reject_a_file_cut_at_any_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_READERS; i++) {
        kfi_buf buf;
        kf_error err = {0};
        readers[i].build(&buf);
        CHECK_OK(read_cut(i, &buf, buf.n, &err), &err);
        for (size_t n = 0; n < buf.n; n++) {
            if (read_cut(i, &buf, n, &err) != KF_FORMAT || err.msg[0] == '\0') {
                fail_msg("%s cut at byte %zu of %zu: %s", readers[i].name, n, buf.n, err.msg);
            }
        }
        kfi_buf_deinit(&buf);
    }
}

static void survive_any_flipped_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_READERS; i++) {
        kfi_buf buf;
        size_t n_rejected = 0;
        readers[i].build(&buf);
        for (size_t bit = 0; bit < 8 * buf.n; bit++) {
            kf_error err = {0};
            buf.data[bit / 8] ^= (char)(1 << bit % 8);
            const kf_status status = readers[i].read((const uint8_t *)buf.data, buf.n, NULL, &err);
            n_rejected += status != KF_OK;
            if (status != KF_OK && (err.code != status || err.msg[0] == '\0')) {
                fail_msg("%s, bit %zu: no report", readers[i].name, bit);
            }
            buf.data[bit / 8] ^= (char)(1 << bit % 8);
        }
        assert_true(n_rejected > 0);
        kfi_buf_deinit(&buf);
    }
}

static void report_no_memory_while_opening_files(void **state)
{
    (void)state;
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "model.safetensors");
    kf_error err = {0};
    kfi_buf buf;
    build_sample_safetensors(&buf);
    CHECK_OK(kfi_file_write(path, buf.data, buf.n, &err), &err);
    kfi_buf_deinit(&buf);
    for (int sharded = 0; sharded < 2; sharded++) {
        kf_status status = KF_NOMEM;
        for (size_t fail_at = 1; status != KF_OK; fail_at++) {
            fixture_allocator alloc;
            kfi_safetensors *st = NULL;
            fixture_allocator_init(&alloc, fail_at);
            status = kfi_safetensors_open(&st, directory, &alloc.allocator, &err);
            assert_true(status == KF_OK || status == KF_NOMEM);
            kfi_safetensors_close(st);
            assert_true(fixture_allocator_is_clean(&alloc));
        }
        static const char index[] =
            "{\"weight_map\": {\"a\": \"model.safetensors\", \"b\": \"model.safetensors\", "
            "\"empty\": \"model.safetensors\", \"scalar\": \"model.safetensors\"}}";
        char *index_path = kfi_path_join(NULL, directory, "model.safetensors.index.json");
        CHECK_OK(kfi_file_write(index_path, index, strlen(index), &err), &err);
        kfi_free_text(NULL, index_path);
    }
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void report_no_memory_while_writing(void **state)
{
    (void)state;
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x");
    const uint8_t data[4] = {0};
    const kfi_safetensors_entry entry = {
        .name = "t", .dtype = KFI_DTYPE_U8, .n_dims = 1, .shape = {4}, .data = data, .bytes = 4};
    kf_status status = KF_NOMEM;
    for (size_t fail_at = 1; status != KF_OK; fail_at++) {
        kf_error err = {0};
        fixture_allocator alloc;
        fixture_allocator_init(&alloc, fail_at);
        status = kfi_safetensors_write(path, &entry, 1, NULL, 0, &alloc.allocator, &err);
        assert_true(status == KF_OK || status == KF_NOMEM);
        assert_true(fixture_allocator_is_clean(&alloc));
        assert_true(kfi_file_exists(path) == (status == KF_OK));
    }
    status = KF_NOMEM;
    for (size_t fail_at = 1; status != KF_OK; fail_at++) {
        kf_error err = {0};
        fixture_allocator alloc;
        kfi_npy_writer writer;
        fixture_allocator_init(&alloc, fail_at);
        status = kfi_npy_writer_open(&writer, path, 0, 1, &alloc.allocator, &err);
        assert_true(status == KF_OK || status == KF_NOMEM);
        kfi_npy_writer_abort(&writer);
        assert_true(fixture_allocator_is_clean(&alloc));
    }
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

/* A file system without room, played by a limit on the size of files. */
static void report_a_full_disk(void **state)
{
    (void)state;
    static const float data[1024];
    const kfi_safetensors_entry entry = {.name = "t",
                                         .dtype = KFI_DTYPE_F32,
                                         .n_dims = 1,
                                         .shape = {1024},
                                         .data = data,
                                         .bytes = sizeof data};
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x");
    kf_error err = {0};
    kfi_npy_writer writer;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit after_header = {1000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &after_header), 0);
    assert_int_equal(kfi_safetensors_write(path, &entry, 1, NULL, 0, NULL, &err), KF_IO);
    CHECK_OK(kfi_npy_writer_open(&writer, path, 1, 1024, NULL, &err), &err);
    assert_int_equal(kfi_npy_writer_rows(&writer, data, 1, &err), KF_IO);
    kfi_npy_writer_abort(&writer);
    const struct rlimit nothing = {0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &nothing), 0);
    assert_int_equal(kfi_npy_writer_open(&writer, path, 1, 1024, NULL, &err), KF_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_false(kfi_file_exists(path));
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_no_memory_at_any_allocation),
        cmocka_unit_test(report_no_memory_while_extracting),
        cmocka_unit_test(reject_a_file_cut_at_any_byte),
        cmocka_unit_test(survive_any_flipped_bit),
        cmocka_unit_test(report_no_memory_while_opening_files),
        cmocka_unit_test(report_no_memory_while_writing),
        cmocka_unit_test(report_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
