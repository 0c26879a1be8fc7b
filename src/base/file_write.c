/* file_write.c - files that appear under their name only when complete.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

#define MOST_NAMES 1000u /* of temporary files that a process may leave behind beside one */

static void writer_free(kfi_file_writer *writer)
{
    kfi_free_text(writer->alloc, writer->path);
    kfi_free_text(writer->alloc, writer->temporary);
    writer->path = NULL;
    writer->temporary = NULL;
}

/* What messages call it. */
static const char *name_of(const kfi_file_writer *writer)
{
    return writer->temporary != NULL ? writer->temporary : writer->path;
}

static kf_status no_memory(const char *path, kf_error *err)
{
    return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to write '%s'", path);
}

/* A device, a pipe: nothing that could be replaced. */
static kf_status open_directly(kfi_file_writer *writer, const char *path, kf_error *err)
{
    writer->path = kfi_strndup(writer->alloc, path, strlen(path));
    if (writer->path == NULL) {
        return no_memory(path, err);
    }
    writer->fd = open(path, O_WRONLY | O_CLOEXEC);
    return writer->fd >= 0 ? KF_OK : kfi_fail_os(err, KF_IO, errno, "cannot write '%s'", path);
}

/* A link stays, and the file it leads to is written. */
static kf_status resolve(kfi_file_writer *writer, const char *path, kf_error *err)
{
    char target[PATH_MAX];
    if (kfi_file_is_link(path)) {
        if (realpath(path, target) == NULL) {
            return kfi_fail_os(err, KF_IO, errno, "cannot follow the link '%s'", path);
        }
        path = target;
    }
    writer->path = kfi_strndup(writer->alloc, path, strlen(path));
    return writer->path != NULL ? KF_OK : no_memory(path, err);
}

/* Creates a file of a name that nobody has. */
static kf_status create_beside(kfi_file_writer *writer, kf_error *err)
{
    for (unsigned i = 0; i < MOST_NAMES; i++) {
        char suffix[64];
        (void)snprintf(suffix, sizeof suffix, ".%ld-%u.tmp", (long)getpid(), i);
        writer->temporary = kfi_concat(writer->alloc, writer->path, strlen(writer->path), suffix);
        if (writer->temporary == NULL) {
            return no_memory(writer->path, err);
        }
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd >= 0) {
            return KF_OK;
        }
        if (errno != EEXIST) {
            break;
        }
        kfi_free_text(writer->alloc, writer->temporary);
        writer->temporary = NULL;
    }
    return kfi_fail_os(err, KF_IO, errno, "cannot create '%s'", name_of(writer));
}

static kf_status open_beside(kfi_file_writer *writer, const char *path, const struct stat *old,
                             kf_error *err)
{
    KFI_TRY(resolve(writer, path, err));
    KFI_TRY(create_beside(writer, err));
    if (old != NULL && fchmod(writer->fd, old->st_mode & 07777) != 0) {
        const kf_status st =
            kfi_fail_os(err, KF_IO, errno, "cannot set the mode of '%s'", writer->temporary);
        (void)close(writer->fd);
        (void)unlink(writer->temporary);
        return st;
    }
    return KF_OK;
}

kf_status kfi_file_writer_open(kfi_file_writer *writer, const char *path, const kf_allocator *alloc,
                               kf_error *err)
{
    struct stat info;
    *writer = (kfi_file_writer){.alloc = alloc, .fd = -1};
    const bool exists = stat(path, &info) == 0;
    const kf_status st = exists && !S_ISREG(info.st_mode)
                             ? open_directly(writer, path, err)
                             : open_beside(writer, path, exists ? &info : NULL, err);
    if (st != KF_OK) {
        writer_free(writer);
        writer->fd = -1;
    }
    return st;
}

kf_status kfi_file_writer_write(kfi_file_writer *writer, const void *data, size_t n, kf_error *err)
{
    const char *next = data;
    while (n > 0) {
        const ssize_t written = write(writer->fd, next, n);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return kfi_fail_os(err, KF_IO, errno, "cannot write '%s'", name_of(writer));
        }
        next += written;
        n -= (size_t)written;
        writer->n += (uint64_t)written;
    }
    return KF_OK;
}

/* A new name is only safe against a power cut when its directory is synced too. Some file systems
 * cannot sync a directory (EINVAL); they get the name right by themselves. */
static kf_status sync_directory_of(const char *path, kf_error *err)
{
    char directory[4096];
    const char *slash = strrchr(path, '/');
    const size_t n = slash == NULL ? 0 : (size_t)(slash - path) + (slash == path);
    if (n >= sizeof directory) {
        return kfi_fail(err, KF_IO, KF_NO_OFFSET, "path of %zu bytes is too long", n);
    }
    memcpy(directory, path, n);
    directory[n] = '\0';
    const int fd = open(n == 0 ? "." : directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return kfi_fail_os(err, KF_IO, errno, "cannot open the directory of '%s'", path);
    }
    kf_status st = KF_OK;
    if (fsync(fd) != 0 && errno != EINVAL) {
        st = kfi_fail_os(err, KF_IO, errno, "cannot sync the directory of '%s'", path);
    }
    (void)close(fd);
    return st;
}

kf_status kfi_file_rename(const char *from, const char *to, kf_error *err)
{
    if (rename(from, to) != 0) {
        return kfi_fail_os(err, KF_IO, errno, "cannot rename '%s' to '%s'", from, to);
    }
    return sync_directory_of(to, err);
}

/* A device or pipe cannot be synced. */
static bool is_synced(const kfi_file_writer *writer)
{
    return fsync(writer->fd) == 0 ||
           (writer->temporary == NULL && (errno == EINVAL || errno == ENOTSUP || errno == EROFS));
}

kf_status kfi_file_writer_commit(kfi_file_writer *writer, kf_error *err)
{
    kf_status st = KF_OK;
    if (!is_synced(writer)) {
        st = kfi_fail_os(err, KF_IO, errno, "cannot sync '%s'", name_of(writer));
    }
    if (close(writer->fd) != 0 && st == KF_OK) {
        st = kfi_fail_os(err, KF_IO, errno, "cannot close '%s'", name_of(writer));
    }
    writer->fd = -1;
    if (st == KF_OK && writer->temporary != NULL) {
        st = kfi_file_rename(writer->temporary, writer->path, err);
    }
    if (st != KF_OK && writer->temporary != NULL) {
        (void)unlink(writer->temporary);
    }
    writer_free(writer);
    return st;
}

void kfi_file_writer_abort(kfi_file_writer *writer)
{
    if (writer->path == NULL) {
        return;
    }
    if (writer->fd >= 0) {
        (void)close(writer->fd);
        writer->fd = -1;
    }
    if (writer->temporary != NULL) {
        (void)unlink(writer->temporary);
    }
    writer_free(writer);
}

kf_status kfi_file_write(const char *path, const void *data, size_t n, kf_error *err)
{
    kfi_file_writer writer;
    KFI_TRY(kfi_file_writer_open(&writer, path, NULL, err));
    const kf_status st = kfi_file_writer_write(&writer, data, n, err);
    if (st != KF_OK) {
        kfi_file_writer_abort(&writer);
        return st;
    }
    return kfi_file_writer_commit(&writer, err);
}
