/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "fixtures.h"

/* "DIRECTORY/name"; four results stay valid. */
static const char *in(const char *directory, const char *name)
{
    static char paths[4][4096];
    static size_t i_next;
    char *path = paths[i_next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void put(const char *path, const char *text)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_write(path, text, strlen(text), &err), &err);
}

static void assert_holds(const char *path, const char *text)
{
    kf_error err = {0};
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 1 << 20);
    CHECK_OK(kfi_file_read(&buf, path, &err), &err);
    assert_int_equal(buf.n, strlen(text));
    assert_memory_equal(buf.data, text, buf.n);
    kfi_buf_deinit(&buf);
}

static void maps_a_whole_file(void **state)
{
    kf_error err = {0};
    kfi_file_map map;
    put(in(*state, "f"), "hello");
    CHECK_OK(kfi_file_map_open(&map, in(*state, "f"), &err), &err);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    kfi_file_map_close(&map);
    assert_null(map.data);
    kfi_file_map_close(&map);
}

static void maps_an_empty_file_to_nothing(void **state)
{
    kf_error err = {0};
    kfi_file_map map;
    put(in(*state, "f"), "");
    CHECK_OK(kfi_file_map_open(&map, in(*state, "f"), &err), &err);
    assert_int_equal(map.size, 0);
    assert_null(map.data);
    kfi_file_map_drop(&map, 0, 10);
    kfi_file_map_close(&map);
}

static void refuses_to_map_what_is_no_file(void **state)
{
    kf_error err = {0};
    kfi_file_map map;
    assert_int_equal(kfi_file_map_open(&map, in(*state, "missing"), &err), KF_INPUT);
    assert_int_equal(err.os_errno, ENOENT);
    assert_int_equal(kfi_file_map_open(&map, *state, &err), KF_INPUT);
    assert_non_null(strstr(err.msg, "is a directory"));
    assert_int_equal(kfi_file_map_open(&map, "/dev/null", &err), KF_INPUT);
    assert_int_equal(mkfifo(in(*state, "pipe"), 0600), 0);
    assert_int_equal(kfi_file_map_open(&map, in(*state, "pipe"), &err), KF_INPUT);
    assert_null(map.data);
}

static void a_dropped_range_reads_the_same_again(void **state)
{
    kf_error err = {0};
    kfi_file_map map;
    enum {
        N = 10 * 4096 + 100
    };
    char *text = kfi_alloc(NULL, N);
    assert_non_null(text);
    memset(text, 'x', N);
    CHECK_OK(kfi_file_write(in(*state, "f"), text, N, &err), &err);
    CHECK_OK(kfi_file_map_open(&map, in(*state, "f"), &err), &err);
    assert_memory_equal(map.data, text, N);
    kfi_file_map_drop(&map, 1, 3 * 4096);
    kfi_file_map_drop(&map, 0, UINT64_MAX);
    kfi_file_map_drop(&map, UINT64_MAX, 1);
    kfi_file_map_drop(&map, N - 1, UINT64_MAX);
    assert_memory_equal(map.data, text, N);
    kfi_file_map_close(&map);
    kfi_free(NULL, text, N);
}

static void bytes_of_somebody_else_are_left_alone(void **state)
{
    (void)state;
    enum {
        N = 3 * 4096
    };
    uint8_t *bytes = aligned_alloc(4096, N); /* whole pages: madvise would take them */
    assert_non_null(bytes);
    memset(bytes, 'x', N);
    kfi_file_map map = {.data = bytes, .size = N};
    kfi_file_map_drop(&map, 0, N);
    kfi_file_map_close(&map);
    assert_null(map.data);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(bytes[i], 'x');
    }
    free(bytes);
}

static void reads_up_to_the_ceiling_and_no_further(void **state)
{
    kf_error err = {0};
    put(in(*state, "f"), "0123456789");
    for (size_t max = 9; max <= 11; max++) {
        kfi_buf buf;
        kfi_buf_init(&buf, NULL, max);
        const kf_status st = kfi_file_read(&buf, in(*state, "f"), &err);
        assert_int_equal(st, max < 10 ? KF_RANGE : KF_OK);
        if (st == KF_OK) {
            assert_int_equal(buf.n, 10);
            assert_string_equal(buf.data, "0123456789");
        }
        kfi_buf_deinit(&buf);
    }
}

static void reading_appends(void **state)
{
    kf_error err = {0};
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 100);
    put(in(*state, "f"), "b");
    assert_true(kfi_buf_append_text(&buf, "a"));
    CHECK_OK(kfi_file_read(&buf, in(*state, "f"), &err), &err);
    assert_string_equal(buf.data, "ab");
    kfi_buf_deinit(&buf);
}

static void reading_reports_what_is_missing(void **state)
{
    kf_error err = {0};
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 100);
    assert_int_equal(kfi_file_read(&buf, in(*state, "missing"), &err), KF_INPUT);
    assert_non_null(strstr(err.msg, "missing"));
    assert_int_equal(kfi_file_read(&buf, *state, &err), KF_INPUT);
    assert_int_equal(err.os_errno, EISDIR);
    kfi_buf_deinit(&buf);
}

static kf_status expect_name(void *ctx, const char *name, kf_error *err)
{
    (void)err;
    if (ctx == NULL || strcmp(ctx, name) != 0) {
        fail_msg("'%s' stayed behind", name);
    }
    return KF_OK;
}

/* The directory holds nothing but this; NULL: nothing. */
static void assert_only(const char *directory, const char *name)
{
    kf_error err = {0};
    char copy[64] = "";
    (void)snprintf(copy, sizeof copy, "%s", name != NULL ? name : "");
    CHECK_OK(kfi_file_list(directory, expect_name, name != NULL ? copy : NULL, &err), &err);
}

static void a_file_appears_only_when_complete(void **state)
{
    kf_error err = {0};
    kfi_file_writer writer;
    put(in(*state, "f"), "old");
    CHECK_OK(kfi_file_writer_open(&writer, in(*state, "f"), NULL, &err), &err);
    CHECK_OK(kfi_file_writer_write(&writer, "ne", 2, &err), &err);
    assert_holds(in(*state, "f"), "old");
    CHECK_OK(kfi_file_writer_write(&writer, "w", 1, &err), &err);
    assert_int_equal(writer.n, 3);
    CHECK_OK(kfi_file_writer_commit(&writer, &err), &err);
    assert_holds(in(*state, "f"), "new");
    assert_only(*state, "f");
    kfi_file_writer_abort(&writer);
    assert_holds(in(*state, "f"), "new");
}

static void an_aborted_write_leaves_the_old_file(void **state)
{
    kf_error err = {0};
    kfi_file_writer writer;
    put(in(*state, "f"), "old");
    CHECK_OK(kfi_file_writer_open(&writer, in(*state, "f"), NULL, &err), &err);
    CHECK_OK(kfi_file_writer_write(&writer, "new", 3, &err), &err);
    kfi_file_writer_abort(&writer);
    kfi_file_writer_abort(&writer);
    assert_holds(in(*state, "f"), "old");
    assert_only(*state, "f");
}

static void refuses_to_write_where_it_cannot(void **state)
{
    kf_error err = {0};
    assert_int_equal(kfi_file_write(in(*state, "no/such/f"), "x", 1, &err), KF_IO);
    assert_int_equal(err.os_errno, ENOENT);
    assert_int_equal(mkdir(in(*state, "d"), 0700), 0);
    assert_int_equal(kfi_file_write(in(*state, "d"), "x", 1, &err), KF_IO);
    assert_int_equal(err.os_errno, EISDIR);
    assert_int_equal(symlink("nowhere", in(*state, "d/link")), 0);
    assert_int_equal(kfi_file_write(in(*state, "d/link"), "x", 1, &err), KF_IO);
    assert_true(kfi_file_is_link(in(*state, "d/link")));
    assert_only(*state, "d");
}

static void a_full_disk_is_reported_and_the_device_stays(void **state)
{
    (void)state;
    kf_error err = {0};
    struct stat info;
    if (!kfi_file_exists("/dev/full")) {
        print_message("skipped: /dev/full is not there\n");
        skip();
    }
    assert_int_equal(kfi_file_write("/dev/full", "x", 1, &err), KF_IO);
    assert_int_equal(err.os_errno, ENOSPC);
    assert_non_null(strstr(err.msg, "No space left"));
    CHECK_OK(kfi_file_write("/dev/null", "x", 1, &err), &err);
    assert_int_equal(lstat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    assert_int_equal(lstat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
}

static void a_pipe_is_written_and_stays(void **state)
{
    kf_error err = {0};
    char got[4] = "";
    assert_int_equal(mkfifo(in(*state, "p"), 0600), 0);
    const int fd = open(in(*state, "p"), O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    CHECK_OK(kfi_file_write(in(*state, "p"), "abc", 3, &err), &err);
    assert_int_equal(read(fd, got, 3), 3);
    assert_string_equal(got, "abc");
    assert_int_equal(close(fd), 0);
    struct stat info;
    assert_int_equal(lstat(in(*state, "p"), &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_only(*state, "p");
}

static void a_link_is_followed_and_stays(void **state)
{
    kf_error err = {0};
    assert_int_equal(mkdir(in(*state, "d"), 0700), 0);
    put(in(*state, "d/f"), "old");
    assert_int_equal(symlink("d/f", in(*state, "link")), 0);
    CHECK_OK(kfi_file_write(in(*state, "link"), "new", 3, &err), &err);
    assert_holds(in(*state, "d/f"), "new");
    assert_true(kfi_file_is_link(in(*state, "link")));
    assert_true(kfi_file_is_same(in(*state, "link"), in(*state, "d/f")));
}

static void one_place_is_one_file_also_before_it_is_there(void **state)
{
    put(in(*state, "f"), "here");
    assert_true(kfi_file_is_same(in(*state, "f"), in(*state, "./f")));
    assert_true(kfi_file_is_same(in(*state, "new"), in(*state, ".//new")));
    assert_true(kfi_file_is_same("no-such-file", "./no-such-file"));
    assert_false(kfi_file_is_same(in(*state, "new"), in(*state, "f")));
    assert_false(kfi_file_is_same(in(*state, "new"), in(*state, "newer")));
    assert_false(kfi_file_is_same(in(*state, "new"), "./new"));
    assert_false(kfi_file_is_same(in(*state, "none/new"), in(*state, "none/./new")));
}

static void nobodys_file_is_taken_for_a_temporary_one(void **state)
{
    kf_error err = {0};
    kfi_file_writer a;
    kfi_file_writer b;
    put(in(*state, "f.tmp"), "mine");
    CHECK_OK(kfi_file_writer_open(&a, in(*state, "f"), NULL, &err), &err);
    CHECK_OK(kfi_file_writer_open(&b, in(*state, "f"), NULL, &err), &err);
    CHECK_OK(kfi_file_writer_write(&a, "a", 1, &err), &err);
    CHECK_OK(kfi_file_writer_write(&b, "b", 1, &err), &err);
    CHECK_OK(kfi_file_writer_commit(&a, &err), &err);
    assert_holds(in(*state, "f"), "a");
    CHECK_OK(kfi_file_writer_commit(&b, &err), &err);
    assert_holds(in(*state, "f"), "b");
    assert_holds(in(*state, "f.tmp"), "mine");
}

static void a_replaced_file_keeps_its_mode(void **state)
{
    kf_error err = {0};
    struct stat info;
    put(in(*state, "f"), "old");
    assert_int_equal(chmod(in(*state, "f"), 0640), 0);
    CHECK_OK(kfi_file_write(in(*state, "f"), "new", 3, &err), &err);
    assert_int_equal(stat(in(*state, "f"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
}

/* A size limit cuts the write in the middle: the first part fits, the rest fails. */
static void a_write_cut_short_is_reported(void **state)
{
    kf_error err = {0};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit limit = {1000, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    char text[3000];
    memset(text, 'x', sizeof text);
    const kf_status st = kfi_file_write(in(*state, "f"), text, sizeof text, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(st, KF_IO);
    assert_int_equal(err.os_errno, EFBIG);
    assert_only(*state, NULL);
}

static void a_writer_without_memory_leaks_nothing(void **state)
{
    kf_error err = {0};
    for (size_t fail_at = 1;; fail_at++) {
        fixture_allocator a;
        fixture_allocator_init(&a, fail_at);
        kfi_file_writer writer;
        const kf_status st = kfi_file_writer_open(&writer, in(*state, "f"), &a.allocator, &err);
        kfi_file_writer_abort(&writer);
        assert_true(fixture_allocator_is_clean(&a));
        if (st == KF_OK) {
            assert_true(fail_at > 1);
            return;
        }
        assert_int_equal(st, KF_NOMEM);
    }
}

static void makes_directories_with_their_parents(void **state)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_make_directories(in(*state, "a/b//c/"), &err), &err);
    CHECK_OK(kfi_file_make_directories(in(*state, "a/b/c"), &err), &err);
    assert_true(kfi_file_is_directory(in(*state, "a/b/c")));
    put(in(*state, "f"), "x");
    assert_int_equal(kfi_file_make_directories(in(*state, "f/g"), &err), KF_IO);
    assert_int_equal(kfi_file_make_directories("", &err), KF_IO);
    assert_false(kfi_file_is_directory(in(*state, "f")));
    assert_true(kfi_file_exists(in(*state, "f")));
    assert_int_equal(symlink("nowhere", in(*state, "link")), 0);
    assert_int_equal(kfi_file_make_directories(in(*state, "link"), &err), KF_IO);
    assert_int_equal(err.os_errno, EEXIST); /* mkdir's reason, not that of looking after it */
}

static void a_directory_is_locked_by_one_at_a_time(void **state)
{
    kf_error err = {0};
    int one = -1;
    int other = -1;
    assert_int_equal(mkdir(in(*state, "d"), 0700), 0);
    CHECK_OK(kfi_file_lock_directory(&one, in(*state, "d"), &err), &err);
    assert_int_equal(kfi_file_lock_directory(&other, in(*state, "d"), &err), KF_RANGE);
    assert_int_equal(other, -1);
    CHECK_OK(kfi_file_rename(in(*state, "d"), in(*state, "e"), &err), &err);
    assert_int_equal(kfi_file_lock_directory(&other, in(*state, "e"), &err), KF_RANGE);
    assert_int_equal(kfi_file_lock_directory(&other, in(*state, "d"), &err), KF_IO);
    kfi_file_unlock(one);
    CHECK_OK(kfi_file_lock_directory(&other, in(*state, "e"), &err), &err);
    kfi_file_unlock(other);
    kfi_file_unlock(-1);
}

static void removes_a_tree_but_follows_no_link(void **state)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_make_directories(in(*state, "t/a/b"), &err), &err);
    CHECK_OK(kfi_file_make_directories(in(*state, "kept"), &err), &err);
    put(in(*state, "kept/f"), "x");
    put(in(*state, "t/a/b/f"), "x");
    assert_int_equal(symlink("../../kept", in(*state, "t/a/link")), 0);
    assert_int_equal(symlink("nowhere", in(*state, "t/dangling")), 0);
    CHECK_OK(kfi_file_remove_tree(in(*state, "t"), &err), &err);
    assert_false(kfi_file_exists(in(*state, "t")));
    assert_holds(in(*state, "kept/f"), "x");
    CHECK_OK(kfi_file_remove_tree(in(*state, "t"), &err), &err);
    CHECK_OK(kfi_file_remove_tree(in(*state, "kept/f"), &err), &err);
    assert_false(kfi_file_exists(in(*state, "kept/f")));
}

static void renames_over_an_existing_file(void **state)
{
    kf_error err = {0};
    put(in(*state, "a"), "new");
    put(in(*state, "b"), "old");
    CHECK_OK(kfi_file_rename(in(*state, "a"), in(*state, "b"), &err), &err);
    assert_holds(in(*state, "b"), "new");
    assert_int_equal(kfi_file_rename(in(*state, "a"), in(*state, "b"), &err), KF_IO);
}

typedef struct names {
    char text[256];
    const char *stop_at;
} names;

static kf_status append_name(void *ctx, const char *name, kf_error *err)
{
    names *n = ctx;
    (void)err;
    if (n->stop_at != NULL && strcmp(name, n->stop_at) == 0) {
        return KF_CANCELLED;
    }
    const size_t used = strlen(n->text);
    (void)snprintf(n->text + used, sizeof n->text - used, "%s ", name);
    return KF_OK;
}

static void lists_names_in_byte_order(void **state)
{
    kf_error err = {0};
    static const char *const files[] = {"b", "a10", "a2", ".hidden", "B", "\xC3\xA9"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        put(in(*state, files[i]), "");
    }
    names n = {0};
    CHECK_OK(kfi_file_list(*state, append_name, &n, &err), &err);
    assert_string_equal(n.text, ".hidden B a10 a2 b \xC3\xA9 ");
    names until = {.stop_at = "a10"};
    assert_int_equal(kfi_file_list(*state, append_name, &until, &err), KF_CANCELLED);
    assert_string_equal(until.text, ".hidden B ");
}

static void lists_an_empty_directory_and_refuses_a_missing_one(void **state)
{
    kf_error err = {0};
    names n = {0};
    CHECK_OK(kfi_file_list(*state, append_name, &n, &err), &err);
    assert_string_equal(n.text, "");
    assert_int_equal(kfi_file_list(in(*state, "missing"), append_name, &n, &err), KF_INPUT);
}

static void joins_and_splits_paths(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = kfi_path_join(NULL, cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        assert_string_equal(kfi_path_name(path), "b");
        kfi_free_text(NULL, path);
    }
    assert_string_equal(kfi_path_name("a/"), "");
}

static void tells_what_lies_in_a_directory(void **state)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_make_directories(in(*state, "c/d"), &err), &err);
    CHECK_OK(kfi_file_make_directories(in(*state, "cd"), &err), &err);
    put(in(*state, "c/d/f"), "x");
    assert_int_equal(symlink("c/d", in(*state, "to-d")), 0);
    assert_true(kfi_path_contains(in(*state, "c"), in(*state, "c")));
    assert_true(kfi_path_contains(in(*state, "c"), in(*state, "c/d/f")));
    assert_true(kfi_path_contains("/", in(*state, "c")));
    assert_true(kfi_path_contains(in(*state, "c"), in(*state, "to-d/f")));
    assert_true(kfi_path_contains(in(*state, "to-d"), in(*state, "c/d/f")));
    assert_false(kfi_path_contains(in(*state, "c"), in(*state, "cd")));
    assert_false(kfi_path_contains(in(*state, "c/d"), in(*state, "c")));
    assert_false(kfi_path_contains(in(*state, "c"), in(*state, "c/missing")));
}

static void tells_free_space_also_for_what_is_not_there_yet(void **state)
{
    const uint64_t here = kfi_file_free_space(*state);
    assert_true(here != UINT64_MAX);
    assert_true(kfi_file_free_space(in(*state, "not/yet")) != UINT64_MAX);
    assert_true(kfi_file_free_space("not-yet-made") != UINT64_MAX);
    assert_true(kfi_file_free_space("/not-yet-made") != UINT64_MAX);
    assert_true(kfi_file_free_space("") == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(maps_a_whole_file),
        IN_DIRECTORY(maps_an_empty_file_to_nothing),
        IN_DIRECTORY(refuses_to_map_what_is_no_file),
        IN_DIRECTORY(a_dropped_range_reads_the_same_again),
        cmocka_unit_test(bytes_of_somebody_else_are_left_alone),
        IN_DIRECTORY(reads_up_to_the_ceiling_and_no_further),
        IN_DIRECTORY(reading_appends),
        IN_DIRECTORY(reading_reports_what_is_missing),
        IN_DIRECTORY(a_file_appears_only_when_complete),
        IN_DIRECTORY(an_aborted_write_leaves_the_old_file),
        IN_DIRECTORY(refuses_to_write_where_it_cannot),
        cmocka_unit_test(a_full_disk_is_reported_and_the_device_stays),
        IN_DIRECTORY(a_pipe_is_written_and_stays),
        IN_DIRECTORY(a_link_is_followed_and_stays),
        IN_DIRECTORY(one_place_is_one_file_also_before_it_is_there),
        IN_DIRECTORY(nobodys_file_is_taken_for_a_temporary_one),
        IN_DIRECTORY(a_replaced_file_keeps_its_mode),
        IN_DIRECTORY(a_write_cut_short_is_reported),
        IN_DIRECTORY(a_writer_without_memory_leaks_nothing),
        IN_DIRECTORY(makes_directories_with_their_parents),
        IN_DIRECTORY(a_directory_is_locked_by_one_at_a_time),
        IN_DIRECTORY(removes_a_tree_but_follows_no_link),
        IN_DIRECTORY(renames_over_an_existing_file),
        IN_DIRECTORY(lists_names_in_byte_order),
        IN_DIRECTORY(lists_an_empty_directory_and_refuses_a_missing_one),
        cmocka_unit_test(joins_and_splits_paths),
        IN_DIRECTORY(tells_what_lies_in_a_directory),
        IN_DIRECTORY(tells_free_space_also_for_what_is_not_there_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
