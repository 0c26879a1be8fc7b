/* http_file.c - GET into a file that resumes.
 *
 *     x.whl.part        what has come so far; only ever appended to
 *     x.whl.part.etag   the ETag it came with, written before its first byte
 *     x.whl             whole, checked and synced
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/report.h"
#include "io/http_transfer.h"
#include "io/sha256.h"

/* An attempt that brought this much was worth it: it does not count as failed. */
#define PROGRESS_BYTES ((uint64_t)1 << 20)

typedef struct download {
    kfi_http *http;
    const kfi_http_file *file;
    char *part, *sidecar; /* paths */
    int fd;               /* of part */
    uint64_t have;        /* bytes in part */
    uint64_t total;       /* or KFI_HTTP_SIZE_UNKNOWN */
    char etag[256];       /* of those bytes, "" = none */
    bool resumed;         /* part holds bytes of an earlier answer */
    char task[160];       /* for progress reports */
    uint64_t reported;    /* bytes at the last report */
    kfi_report report;
} download;

static kf_status disk_failed(const download *d, const char *what, kf_error *err)
{
    return kfi_fail_os(err, KF_IO, errno, "cannot %s '%s'", what, d->part);
}

/* Weak ETags ("W/...") stand for equal meaning, not equal bytes: halves must not be joined by
 * them. */
static bool is_strong_etag(const char *etag)
{
    const size_t n = strlen(etag);
    return n >= 2 && etag[0] == '"' && etag[n - 1] == '"';
}

static void read_sidecar(download *d)
{
    kfi_buf text;
    kfi_buf_init(&text, d->http->settings.alloc, sizeof d->etag - 1);
    d->etag[0] = '\0';
    if (kfi_file_exists(d->sidecar) && kfi_file_read(&text, d->sidecar, NULL) == KF_OK &&
        text.n > 0 && strlen(text.data) == text.n && is_strong_etag(text.data)) {
        memcpy(d->etag, text.data, text.n + 1);
    }
    kfi_buf_deinit(&text);
}

static kf_status open_part(download *d, kf_error *err)
{
    struct stat info;
    d->fd = open(d->part, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (d->fd < 0 || fstat(d->fd, &info) != 0) {
        return disk_failed(d, "open", err);
    }
    d->have = (uint64_t)info.st_size;
    read_sidecar(d);
    d->resumed = d->have > 0;
    return KF_OK;
}

/* Empties the file. etag belongs to what will come. */
static kf_status restart(download *d, const char *etag, kf_error *err)
{
    if (d->have > 0 && ftruncate(d->fd, 0) != 0) {
        return disk_failed(d, "empty", err);
    }
    d->have = 0;
    d->resumed = false;
    d->etag[0] = '\0';
    if (is_strong_etag(etag)) {
        memcpy(d->etag, etag, strlen(etag) + 1); /* of the same size: transfer's is 256 too */
        return kfi_file_write(d->sidecar, etag, strlen(etag), err);
    }
    if (unlink(d->sidecar) != 0 && errno != ENOENT) {
        return kfi_fail_os(err, KF_IO, errno, "cannot remove '%s'", d->sidecar);
    }
    return KF_OK;
}

static kf_status check_space(const download *d, uint64_t n, kf_error *err)
{
    const uint64_t available = kfi_file_free_space(d->part);
    if (n != KFI_HTTP_SIZE_UNKNOWN && available < n) {
        return kfi_fail(err, KF_IO, KF_NO_OFFSET,
                        "no space for '%s': %.1f MB needed, %.1f MB free; XDG_CACHE_HOME moves the "
                        "cache",
                        d->part, (double)n / 1e6, (double)available / 1e6);
    }
    return KF_OK;
}

static kf_status wrong_size(const download *d, uint64_t found, kf_error *err)
{
    return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                    "%s: the server's file has %" PRIu64 " bytes, its index says %" PRIu64,
                    d->file->name, found, d->file->size);
}

static kf_status begin_file(void *ctx, const kfi_transfer *transfer, kf_error *err)
{
    download *d = ctx;
    if (transfer->status == 206) {
        if (transfer->range_begin == 0 || transfer->range_first != d->have) {
            const uint64_t wanted = d->have;
            KFI_TRY(restart(d, "", err)); /* or the next call would fail in the same way */
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                            "%s: asked for bytes from %" PRIu64 " on, the server sends those from "
                            "%" PRIu64,
                            d->file->name, wanted, transfer->range_first);
        }
        d->total = transfer->range_total;
        d->resumed = true;
    } else {
        KFI_TRY(restart(d, transfer->etag, err));
        d->total = transfer->content_length;
    }
    if (d->file->size != KFI_HTTP_SIZE_UNKNOWN) {
        if (d->total != KFI_HTTP_SIZE_UNKNOWN && d->total != d->file->size) {
            return wrong_size(d, d->total, err);
        }
        d->total = d->file->size;
    }
    return check_space(d, transfer->content_length, err);
}

static kf_status write_file(void *ctx, const void *data, size_t n, kf_error *err)
{
    download *d = ctx;
    const char *next = data;
    if (d->file->size != KFI_HTTP_SIZE_UNKNOWN && n > d->file->size - d->have) {
        return wrong_size(d, d->have + n, err);
    }
    while (n > 0) {
        const ssize_t written = write(d->fd, next, n);
        if (written < 0 && errno != EINTR) {
            return disk_failed(d, "write", err);
        }
        if (written > 0) {
            next += written;
            n -= (size_t)written;
            d->have += (uint64_t)written;
        }
    }
    return KF_OK;
}

static void report_file(void *ctx)
{
    download *d = ctx;
    if (d->have != d->reported) {
        d->reported = d->have;
        kfi_report_progress(&d->report, d->task, "bytes", d->have,
                            d->total == KFI_HTTP_SIZE_UNKNOWN ? 0 : d->total);
    }
}

/* True when the two halves are known to fit, or a hash will tell. */
static bool may_resume(const download *d)
{
    return d->have > 0 && (d->etag[0] != '\0' || d->file->sha256 != NULL);
}

/* 416: nothing lies behind what we have. Either that is the whole file, or the file has changed. */
static kf_status range_refused(download *d, kfi_transfer *transfer, kf_error *err)
{
    if (transfer->range_total == d->have) {
        return KF_OK;
    }
    KFI_TRY(restart(d, "", err));
    transfer->is_transient = true;
    return kfi_fail(err, KF_IO, KF_NO_OFFSET, "%s: the file on the server has changed",
                    d->file->name);
}

static kf_status run_attempt(download *d, kfi_transfer *transfer, kf_error *err)
{
    const bool resume = may_resume(d);
    transfer->range_begin = resume ? d->have : 0;
    transfer->if_range = resume && d->etag[0] != '\0' ? d->etag : NULL;
    KFI_TRY(kfi_transfer_run(d->http, transfer, err));
    if (transfer->status == 416 && resume) {
        return range_refused(d, transfer, err);
    }
    if (transfer->status / 100 != 2) {
        return kfi_transfer_refused(transfer, err);
    }
    return KF_OK;
}

static kf_status fetch(download *d, kf_error *err)
{
    kf_status st = KF_OK;
    bool progressed = false;
    kfi_http_retry retry = {0};
    kfi_transfer transfer = {.url = d->file->url, .sink = {begin_file, write_file, report_file, d}};
    if (d->file->size != KFI_HTTP_SIZE_UNKNOWN) {
        if (d->have == d->file->size) {
            return KF_OK; /* interrupted between the last byte and the new name */
        }
        if (d->have > d->file->size) {
            KFI_TRY(restart(d, "", err));
        }
    }
    do {
        const uint64_t before = d->have;
        st = run_attempt(d, &transfer, err);
        progressed = d->have >= before && d->have - before >= PROGRESS_BYTES;
    } while (kfi_http_again(d->http, &retry, &transfer, progressed, &st, err));
    if (st == KF_OK && d->file->size != KFI_HTTP_SIZE_UNKNOWN && d->have != d->file->size) {
        st = wrong_size(d, d->have, err);
    }
    report_file(d);
    return st;
}

static kf_status check_hash(download *d, bool *is_wrong, kf_error *err)
{
    char hex[KFI_SHA256_HEX];
    *is_wrong = false;
    if (d->file->sha256 == NULL) {
        return KF_OK;
    }
    KFI_TRY(kfi_sha256_file(hex, d->part, err));
    if (strcasecmp(hex, d->file->sha256) == 0) {
        return KF_OK;
    }
    *is_wrong = true;
    return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                    "%s: the index says sha256 %.16s..., the file has %.16s...; the download was "
                    "thrown away",
                    d->file->name, d->file->sha256, hex);
}

static kf_status finish(download *d, kf_error *err)
{
    if (fsync(d->fd) != 0) {
        return disk_failed(d, "sync", err);
    }
    KFI_TRY(kfi_file_rename(d->part, d->file->path, err));
    (void)unlink(d->sidecar);
    return KF_OK;
}

static kf_status fetch_checked(download *d, kf_error *err)
{
    bool is_wrong = false;
    KFI_TRY(open_part(d, err));
    KFI_TRY(fetch(d, err));
    kf_status st = check_hash(d, &is_wrong, err);
    if (is_wrong) {
        const bool was_resumed = d->resumed;
        KFI_TRY(restart(d, "", err));
        if (was_resumed) {
            KFI_TRY(fetch(d, err));
            st = check_hash(d, &is_wrong, err);
        }
        if (is_wrong) {
            (void)unlink(d->part);
            (void)unlink(d->sidecar);
        }
    }
    return st == KF_OK ? finish(d, err) : st;
}

kf_status kfi_http_download(kfi_http *http, const kfi_http_file *file, kf_error *err)
{
    const kf_allocator *alloc = http->settings.alloc;
    const size_t n = strlen(file->path);
    kf_status st = KF_OK;
    kf_error report = {0}; /* kept even where the caller wants none: warnings quote it */
    download d = {.http = http, .file = file, .fd = -1, .total = file->size};

    kfi_report_init(&d.report, http->settings.callbacks);
    (void)snprintf(d.task, sizeof d.task, "downloading %s", file->name);
    d.part = kfi_concat(alloc, file->path, n, ".part");
    d.sidecar = kfi_concat(alloc, file->path, n, ".part.etag");
    if (d.part == NULL || d.sidecar == NULL) {
        st = kfi_fail(&report, KF_NOMEM, KF_NO_OFFSET, "the names of '%s'", file->path);
        goto done;
    }
    st = fetch_checked(&d, &report);
done:
    if (d.fd >= 0) {
        (void)close(d.fd);
    }
    kfi_free_text(alloc, d.part);
    kfi_free_text(alloc, d.sidecar);
    if (st != KF_OK && err != NULL) {
        *err = report;
    }
    return st;
}
