/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/file.h"
#include "fixtures.h"
#include "io/npy.h"

static void writes_what_numpy_reads(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_npy_writer writer;
    kfi_buf buf;
    enum {
        COLUMNS = 700
    }; /* rows longer than half a piece */
    static float data[3 * COLUMNS];
    for (size_t i = 0; i < 3 * COLUMNS; i++) {
        data[i] = (float)i - 5.5F;
    }
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x.npy");
    CHECK_OK(kfi_npy_writer_open(&writer, path, 3, COLUMNS, NULL, &err), &err);
    CHECK_OK(kfi_npy_writer_rows(&writer, data, 2, &err), &err);
    assert_false(kfi_file_exists(path));
    CHECK_OK(kfi_npy_writer_rows(&writer, data + 2 * COLUMNS, 1, &err), &err);
    CHECK_OK(kfi_npy_writer_commit(&writer, &err), &err);
    kfi_buf_init(&buf, NULL, 1 << 20);
    CHECK_OK(kfi_file_read(&buf, path, &err), &err);
    assert_int_equal(buf.n, 128 + sizeof data);
    assert_memory_equal(buf.data, "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', ", 27);
    assert_non_null(strstr(buf.data + 10, "'fortran_order': False, 'shape': (3, 700), }   "));
    assert_int_equal(buf.data[127], '\n');
    assert_memory_equal(buf.data + 128, data, sizeof data);
    kfi_buf_deinit(&buf);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void refuses_too_few_and_too_many_rows(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_npy_writer writer;
    const float data[6] = {0};
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x.npy");
    CHECK_OK(kfi_npy_writer_open(&writer, path, 2, 3, NULL, &err), &err);
    CHECK_OK(kfi_npy_writer_rows(&writer, data, 1, &err), &err);
    assert_int_equal(kfi_npy_writer_rows(&writer, data, 2, &err), KF_INTERNAL);
    assert_int_equal(kfi_npy_writer_commit(&writer, &err), KF_INTERNAL);
    assert_false(kfi_file_exists(path));
    kfi_npy_writer_abort(&writer); /* fine on a closed one */
    assert_int_equal(kfi_npy_writer_open(&writer, "/nonexistent/x", 1, 1, NULL, &err), KF_IO);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_numpy_reads),
        cmocka_unit_test(refuses_too_few_and_too_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
