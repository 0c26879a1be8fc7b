/* http.h - GET over HTTP and HTTPS: into memory, or into a file that resumes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_HTTP_H
#define KFI_IO_HTTP_H

#include <stdint.h>

#include "base/buf.h"
#include "io/url.h"
#include "kerf/callbacks.h"
#include "kerf/error.h"

/* How patient a client is. */
typedef struct kfi_http_limits {
    unsigned connect_seconds; /* until a connection stands */
    unsigned stall_seconds;   /* without a byte, before the connection is given up */
    unsigned n_attempts;      /* in a row; one that brings 1 MiB of a file starts the count again */
    unsigned pause_ms;        /* before the first repetition; doubles with each */
    unsigned n_redirects;
} kfi_http_limits;

#define KFI_HTTP_LIMITS_DEFAULT                                                                    \
    {                                                                                              \
        15, 30, 5, 500, 10                                                                         \
    }

/* All strings are borrowed for the life of the client and may be NULL. */
typedef struct kfi_http_settings {
    const kf_allocator *alloc;
    const kf_callbacks *callbacks;
    kfi_http_limits limits;
    const char *certificates; /* file or directory; NULL = the system's */
    const char *proxy;        /* NULL = https_proxy, http_proxy, all_proxy and no_proxy */
    /* Requests to this address's scheme, host and port carry its user and password, or the bearer
     * token; nothing else does, whatever redirects or links say. */
    const char *login_url;
    const char *bearer;
} kfi_http_settings;

/* A client: one connection at a time, kept open between requests. Not to be shared by threads. */
typedef struct kfi_http kfi_http;

KF_NODISCARD kf_status kfi_http_open(kfi_http **dst, const kfi_http_settings *settings,
                                     kf_error *err);
void kfi_http_close(kfi_http *http);

/* What was received, besides the body. */
typedef struct kfi_http_answer {
    char url[KFI_URL_MAX]; /* of the last redirect: what relative links start from */
    char content_type[128];
} kfi_http_answer;

/* Fetches url into body (emptied before; its max is the ceiling). accept is the header of that
 * name, or NULL.
 * KF_INPUT: the server says that there is no such thing (404, 410) or that this user may not have
 * it (401, 403). KF_IO: no connection, a stall, 429 or 5xx, each after all repetitions. KF_FORMAT:
 * redirects without end or to plain http, a body above the ceiling. KF_CANCELLED, KF_NOMEM. */
KF_NODISCARD kf_status kfi_http_get(kfi_http *http, kfi_buf *body, kfi_http_answer *answer,
                                    const char *url, const char *accept, kf_error *err);

/* A file to fetch. */
typedef struct kfi_http_file {
    const char *url;
    const char *path;   /* final name, in a directory that exists */
    const char *name;   /* what messages and progress reports call it */
    const char *sha256; /* 64 digits, or NULL where the server's index names none */
    uint64_t size;      /* as the index says, or KFI_HTTP_SIZE_UNKNOWN */
} kfi_http_file;

#define KFI_HTTP_SIZE_UNKNOWN UINT64_MAX

/* Fetches a file, which appears under its name when it is whole, of the named size and hash, and
 * synced. Until then it is PATH.part, beside it PATH.part.etag, and a later call goes on where it
 * ended: with If-Range where the server gave a strong ETag, else only where a hash will tell
 * whether the two halves belong together. A resumed file with the wrong hash is fetched once more
 * from the beginning.
 * Statuses as kfi_http_get, KF_FORMAT also for a wrong size or hash, KF_IO also for the disk. */
KF_NODISCARD kf_status kfi_http_download(kfi_http *http, const kfi_http_file *file, kf_error *err);

#endif /* KFI_IO_HTTP_H */
