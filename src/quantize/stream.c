/* stream.c - values of all calibration tokens, in memory or in an unlinked file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"

/* A file of so many bytes without a name; its space is taken at once, because a mapped page that
 * finds no space later ends the process. */
static kf_status open_nameless(int *fd, const char *spill, size_t bytes, const kf_allocator *alloc,
                               kf_error *err)
{
    char *path = kfi_path_join(alloc, spill, "kerf-stream-XXXXXX");
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
    }
    kf_status st = KF_OK;
    *fd = mkstemp(path);
    if (*fd < 0) {
        st = kfi_fail_os(err, KF_IO, errno, "cannot make a file in '%s'", spill);
    } else {
        (void)unlink(path);
        const int error = posix_fallocate(*fd, 0, (off_t)bytes);
        if (error != 0) {
            st = kfi_fail_os(err, KF_IO, error, "cannot take %zu bytes in '%s'", bytes, spill);
        }
    }
    kfi_free_text(alloc, path);
    return st;
}

static kf_status map_file(kfi_stream *stream, const char *spill, kf_error *err)
{
    int fd = -1;
    kf_status st = open_nameless(&fd, spill, stream->bytes, stream->alloc, err);
    if (st == KF_OK) {
        void *data = mmap(NULL, stream->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            st = kfi_fail_os(err, KF_IO, errno, "cannot map a file in '%s'", spill);
        } else {
            stream->data = data;
            stream->is_mapped = true;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return st;
}

kf_status kfi_stream_init(kfi_stream *stream, size_t n_tokens, size_t width, const char *spill,
                          const kf_allocator *alloc, kf_error *err)
{
    *stream = (kfi_stream){.alloc = alloc, .n_tokens = n_tokens, .width = width};
    size_t n = 0;
    if (!kfi_mul_size(n_tokens, width, &n) || !kfi_mul_size(n, sizeof(float), &stream->bytes) ||
        stream->bytes > PTRDIFF_MAX) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "a stream of %zu tokens is too large",
                        n_tokens);
    }
    if (stream->bytes == 0) {
        return KF_OK;
    }
    if (spill != NULL) {
        return map_file(stream, spill, err);
    }
    stream->data = kfi_alloc(alloc, stream->bytes);
    if (stream->data == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET,
                        "calibration stream of %zu bytes; --spill DIR keeps it in a file",
                        stream->bytes);
    }
    return KF_OK;
}

void kfi_stream_deinit(kfi_stream *stream)
{
    if (stream->is_mapped) {
        (void)munmap(stream->data, stream->bytes);
    } else if (stream->data != NULL) {
        kfi_free(stream->alloc, stream->data, stream->bytes);
    }
    *stream = (kfi_stream){0};
}
