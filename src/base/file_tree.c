/* file_tree.c - directories: making, listing and removing them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

#define MAX_NAMES_BYTES ((size_t)64 << 20) /* of one directory */

kf_status kfi_file_make_directories(const char *path, kf_error *err)
{
    char part[4096];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        return kfi_fail(err, KF_IO, KF_NO_OFFSET, "path of %zu bytes, expected 1 to %zu", n,
                        sizeof part - 1);
    }
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        part[i] = '\0';
        const int failure = mkdir(part, 0777) == 0 ? 0 : errno; /* the next call sets errno too */
        if (failure != 0 && !kfi_file_is_directory(part)) {
            return kfi_fail_os(err, KF_IO, failure, "cannot make directory '%s'", part);
        }
        part[i] = path[i];
    }
    return KF_OK;
}

kf_status kfi_file_lock_directory(int *fd, const char *path, kf_error *err)
{
    struct stat locked;
    struct stat named;
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) {
        return kfi_fail_os(err, KF_IO, errno, "cannot open the directory '%s'", path);
    }
    const bool is_taken = flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    const bool is_same = fstat(*fd, &locked) == 0 && stat(path, &named) == 0 &&
                         locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
    if (!is_taken && is_same) {
        return KF_OK;
    }
    kfi_file_unlock(*fd);
    *fd = -1;
    return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "another process works in '%s'", path);
}

void kfi_file_unlock(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

static bool is_dot_name(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static kf_status remove_entry(int parent, const char *name, kf_error *err);

/* Removes all that is in the directory behind fd, and closes fd. */
static kf_status empty_directory(int fd, const char *name, kf_error *err)
{
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        const kf_status st = kfi_fail_os(err, KF_IO, errno, "cannot list '%s'", name);
        (void)close(fd);
        return st;
    }
    kf_status st = KF_OK;
    const struct dirent *entry = NULL;
    while (st == KF_OK && (entry = readdir(dir)) != NULL) {
        if (!is_dot_name(entry->d_name)) {
            st = remove_entry(dirfd(dir), entry->d_name, err);
        }
    }
    (void)closedir(dir);
    return st;
}

/* Works relative to the parent's descriptor, so that nobody can swap a directory for a link to
 * elsewhere while we descend. */
static kf_status remove_entry(int parent, const char *name, kf_error *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) {
        return KF_OK;
    }
    const int unlink_errno = errno; /* EISDIR on Linux, EPERM by POSIX, for a directory */
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) { /* nothing there, on a file system that is read only */
        return KF_OK;
    }
    if (fd < 0) {
        const int reason = errno == ENOTDIR || errno == ELOOP ? unlink_errno : errno;
        return kfi_fail_os(err, KF_IO, reason, "cannot remove '%s'", name);
    }
    KFI_TRY(empty_directory(fd, name, err));
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return kfi_fail_os(err, KF_IO, errno, "cannot remove directory '%s'", name);
    }
    return KF_OK;
}

kf_status kfi_file_remove_tree(const char *path, kf_error *err)
{
    return remove_entry(AT_FDCWD, path, err);
}

/* Appends every name and its NUL. */
static kf_status read_names(kfi_buf *names, size_t *n_names, DIR *dir, const char *path,
                            kf_error *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL && errno != 0) {
            return kfi_fail_os(err, KF_INPUT, errno, "cannot list '%s'", path);
        }
        if (entry == NULL) {
            return KF_OK;
        }
        if (is_dot_name(entry->d_name)) {
            continue;
        }
        if (!kfi_buf_append(names, entry->d_name, strlen(entry->d_name) + 1)) {
            return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to list '%s'", path);
        }
        (*n_names)++;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

kf_status kfi_file_list(const char *path,
                        kf_status (*visit)(void *ctx, const char *name, kf_error *err), void *ctx,
                        kf_error *err)
{
    kf_status st = KF_OK;
    size_t n = 0;
    const char **sorted = NULL;
    kfi_buf names;
    kfi_buf_init(&names, NULL, MAX_NAMES_BYTES);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        st = kfi_fail_os(err, KF_INPUT, errno, "cannot list '%s'", path);
        goto done;
    }
    st = read_names(&names, &n, dir, path, err);
    if (st != KF_OK) {
        goto done;
    }
    sorted = kfi_calloc(NULL, n, sizeof *sorted);
    if (sorted == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to list '%s'", path);
        goto done;
    }
    const char *name = names.data;
    for (size_t i = 0; i < n; i++) {
        sorted[i] = name;
        name += strlen(name) + 1;
    }
    qsort(sorted, n, sizeof *sorted, compare_names);
    for (size_t i = 0; i < n && st == KF_OK; i++) {
        st = visit(ctx, sorted[i], err);
    }
done:
    if (dir != NULL) {
        (void)closedir(dir);
    }
    kfi_free(NULL, sorted, n * sizeof *sorted);
    kfi_buf_deinit(&names);
    return st;
}
