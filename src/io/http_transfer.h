/* http_transfer.h - one attempt of a request; shared by the files of the HTTP client.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_HTTP_TRANSFER_H
#define KFI_IO_HTTP_TRANSFER_H

#include <stdbool.h>

#include "io/http.h"

#define KFI_SHOWN_URL 112u /* bytes of an address in a message of 240 */

struct kfi_http {
    kfi_http_settings settings;
    void *curl;        /* CURL * */
    bool has_answered; /* some server has: the network is there */
};

typedef struct kfi_transfer kfi_transfer;

/* Where the body goes. begin is called once, before the first byte (or at the end of an empty
 * body), only for an answer 2xx; both end the transfer by any status but KF_OK. */
typedef struct kfi_transfer_sink {
    kf_status (*begin)(void *ctx, const kfi_transfer *transfer, kf_error *err);
    kf_status (*write)(void *ctx, const void *data, size_t n, kf_error *err);
    void (*progress)(void *ctx); /* some times a second; may be NULL */
    void *ctx;
} kfi_transfer_sink;

struct kfi_transfer {
    /* What to ask for. */
    const char *url;
    const char *accept;   /* or NULL */
    bool may_compress;    /* the body is decoded on the way */
    uint64_t range_begin; /* 0 = the whole */
    const char *if_range; /* an ETag for If-Range, or NULL */
    kfi_transfer_sink sink;

    /* What came. */
    char final_url[KFI_URL_MAX];
    char content_type[128];
    char etag[256];          /* with its quotes; "" = none */
    char reason[128];        /* what the server says about an error, or "" */
    long status;             /* 200, 206, 404 ..., or 0 where no answer came */
    uint64_t content_length; /* of this answer's body as sent, or KFI_HTTP_SIZE_UNKNOWN */
    uint64_t range_first;    /* Content-Range of a 206 */
    uint64_t range_total;    /* size of the whole file by Content-Range, 206 and 416 */
    unsigned retry_after;    /* seconds the server asks to wait, or 0 */
    bool is_transient;       /* after a failure: another attempt may do */
};

/* Runs one attempt, redirects included. KF_OK: an answer came and, where it is 2xx, went into the
 * sink to its end; transfer->status says which. Else the sink's status, KF_IO, KF_FORMAT (bad
 * redirects) or KF_CANCELLED. */
KF_NODISCARD kf_status kfi_transfer_run(kfi_http *http, kfi_transfer *transfer, kf_error *err);

/* http_answer.c: forgets the answer before; notes one line of the next one's head. */
void kfi_transfer_forget(kfi_transfer *transfer);
void kfi_transfer_header(kfi_transfer *transfer, const char *line, size_t n);

/* The failure that an answer other than 2xx stands for; sets is_transient. */
kf_status kfi_transfer_refused(kfi_transfer *transfer, kf_error *err);

/* Counts attempts. */
typedef struct kfi_http_retry {
    unsigned n_failed;
} kfi_http_retry;

/* After a failed attempt: waits and returns true where another is to be made. st is that attempt's
 * status and err its report; where the user cancels meanwhile, *st becomes KF_CANCELLED. progressed
 * starts the count again. */
bool kfi_http_again(kfi_http *http, kfi_http_retry *retry, const kfi_transfer *transfer,
                    bool progressed, kf_status *st, kf_error *err);

#endif /* KFI_IO_HTTP_TRANSFER_H */
