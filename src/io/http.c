/* http.c - GET into memory, and the patience shared by all requests.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/http.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/report.h"
#include "io/http_transfer.h"

#define MAX_PAUSE_MS 60000u

/* Sleeps in slices, so that a user who gives up is heard. False when cancelled. */
static bool pause_for(const kf_callbacks *callbacks, unsigned ms)
{
    const double end = kfi_clock_seconds() + ms / 1000.0;
    for (double left = ms / 1000.0; left > 0; left = end - kfi_clock_seconds()) {
        if (kfi_report_cancelled(callbacks)) {
            return false;
        }
        const long slice = left < 0.05 ? (long)(left * 1e9) : 50000000L;
        (void)nanosleep(&(struct timespec){0, slice}, NULL);
    }
    return true;
}

static unsigned pause_before_next(const kfi_http_limits *limits, unsigned n_failed,
                                  unsigned retry_after)
{
    unsigned ms = limits->pause_ms;
    for (unsigned i = 1; i < n_failed && ms < MAX_PAUSE_MS; i++) {
        ms *= 2;
    }
    if (retry_after > 0 && retry_after > ms / 1000) {
        ms = retry_after > MAX_PAUSE_MS / 1000 ? MAX_PAUSE_MS : 1000 * retry_after;
    }
    return ms < MAX_PAUSE_MS ? ms : MAX_PAUSE_MS;
}

bool kfi_http_again(kfi_http *http, kfi_http_retry *retry, const kfi_transfer *transfer,
                    bool progressed, kf_status *st, kf_error *err)
{
    const kfi_http_settings *s = &http->settings;
    if (*st == KF_OK || !transfer->is_transient) {
        return false;
    }
    retry->n_failed = progressed ? 1 : retry->n_failed + 1;
    if (retry->n_failed >= s->limits.n_attempts) {
        if (retry->n_failed > 1) {
            kfi_fail_prefix(err, "after %u attempts: ", retry->n_failed);
        }
        return false;
    }
    const unsigned ms = pause_before_next(&s->limits, retry->n_failed, transfer->retry_after);
    if (err != NULL) {
        kfi_report_warn(s->callbacks, "%s; trying again in %.1f s (%u of %u)", err->msg,
                        ms / 1000.0, retry->n_failed + 1, s->limits.n_attempts);
    }
    if (!pause_for(s->callbacks, ms)) {
        *st = kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled while waiting to try again");
        return false;
    }
    return true;
}

static kf_status begin_memory(void *ctx, const kfi_transfer *transfer, kf_error *err)
{
    kfi_buf *body = ctx;
    if (transfer->content_length != KFI_HTTP_SIZE_UNKNOWN && transfer->content_length > body->max) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "the server sends %" PRIu64 " bytes where at most %zu are taken",
                        transfer->content_length, body->max);
    }
    return KF_OK;
}

static kf_status write_memory(void *ctx, const void *data, size_t n, kf_error *err)
{
    kfi_buf *body = ctx;
    if (n > body->max - body->n) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "the server sends more than the %zu bytes that are taken", body->max);
    }
    if (!kfi_buf_append(body, data, n)) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "an answer of %zu bytes", body->n + n);
    }
    return KF_OK;
}

kf_status kfi_http_get(kfi_http *http, kfi_buf *body, kfi_http_answer *answer, const char *url,
                       const char *accept, kf_error *err)
{
    kf_status st = KF_OK;
    kf_error report = {0}; /* kept even where the caller wants none: warnings quote it */
    kfi_http_retry retry = {0};
    kfi_transfer transfer = {.url = url,
                             .accept = accept,
                             .may_compress = true,
                             .sink = {begin_memory, write_memory, NULL, body}};
    do {
        kfi_buf_clear(body);
        st = kfi_transfer_run(http, &transfer, &report);
        if (st == KF_OK && transfer.status / 100 != 2) {
            st = kfi_transfer_refused(&transfer, &report);
        }
    } while (kfi_http_again(http, &retry, &transfer, false, &st, &report));
    memcpy(answer->url, transfer.final_url, sizeof answer->url);
    memcpy(answer->content_type, transfer.content_type, sizeof answer->content_type);
    if (st != KF_OK && err != NULL) {
        *err = report;
    }
    return st;
}
