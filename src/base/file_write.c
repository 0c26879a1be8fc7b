/* file_write.c - files that appear under their name only when complete.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"

static void writer_free(kfi_file_writer *writer)
{
    kfi_free_text(writer->alloc, writer->path);
    kfi_free_text(writer->alloc, writer->temporary);
    writer->path = NULL;
    writer->temporary = NULL;
}

kf_status kfi_file_writer_open(kfi_file_writer *writer, const char *path, const kf_allocator *alloc,
                               kf_error *err)
{
    *writer = (kfi_file_writer){.alloc = alloc, .fd = -1};
    const size_t n = strlen(path);
    writer->path = kfi_strndup(alloc, path, n);
    writer->temporary = kfi_concat(alloc, path, n, ".tmp");
    if (writer->path == NULL || writer->temporary == NULL) {
        writer_free(writer);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to write '%s'", path);
    }
    writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        const kf_status st =
            kfi_fail_os(err, KF_IO, errno, "cannot create '%s'", writer->temporary);
        writer_free(writer);
        return st;
    }
    return KF_OK;
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
            return kfi_fail_os(err, KF_IO, errno, "cannot write '%s'", writer->temporary);
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

kf_status kfi_file_writer_commit(kfi_file_writer *writer, kf_error *err)
{
    kf_status st = KF_OK;
    if (fsync(writer->fd) != 0) {
        st = kfi_fail_os(err, KF_IO, errno, "cannot sync '%s'", writer->temporary);
    }
    if (close(writer->fd) != 0 && st == KF_OK) {
        st = kfi_fail_os(err, KF_IO, errno, "cannot close '%s'", writer->temporary);
    }
    writer->fd = -1;
    if (st == KF_OK) {
        st = kfi_file_rename(writer->temporary, writer->path, err);
    }
    if (st != KF_OK) {
        (void)unlink(writer->temporary);
    }
    writer_free(writer);
    return st;
}

void kfi_file_writer_abort(kfi_file_writer *writer)
{
    if (writer->temporary == NULL) {
        return;
    }
    if (writer->fd >= 0) {
        (void)close(writer->fd);
        writer->fd = -1;
    }
    (void)unlink(writer->temporary);
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
