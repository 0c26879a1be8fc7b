/* http_transfer.c - one attempt of a request, over libcurl.
 *
 * Redirects are followed here and not by libcurl, so that each hop is looked at before a byte goes
 * out: how many there were, whether encryption would be given up, and whether the next server is
 * the one that the password is for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/http_transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/report.h"

/* One hop on its way. */
typedef struct hop {
    kfi_http *http;
    kfi_transfer *transfer;
    bool begun;
    bool stalled;
    double last_byte;      /* clock when the last one came */
    kf_status sink_status; /* of the sink, when it ended the transfer */
    kf_error *err;
    char curl_text[CURL_ERROR_SIZE];
} hop;

kf_status kfi_http_open(kfi_http **dst, const kfi_http_settings *settings, kf_error *err)
{
    *dst = NULL;
    kfi_http *http = kfi_calloc(settings->alloc, 1, sizeof *http);
    if (http == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "HTTP client of %zu bytes", sizeof *http);
    }
    http->settings = *settings;
    /* Counted, and thread-safe since libcurl 7.84: every client holds one. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        kfi_free(settings->alloc, http, sizeof *http);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "libcurl does not start");
    }
    http->curl = curl_easy_init();
    *dst = http;
    if (http->curl == NULL) {
        kfi_http_close(http);
        *dst = NULL;
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a handle of libcurl");
    }
    return KF_OK;
}

void kfi_http_close(kfi_http *http)
{
    if (http == NULL) {
        return;
    }
    const kf_allocator *alloc = http->settings.alloc;
    curl_easy_cleanup(http->curl);
    curl_global_cleanup();
    kfi_free(alloc, http, sizeof *http);
}

static bool is_success(long status)
{
    return status >= 200 && status < 300;
}

static bool is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* ---- callbacks ---- */

static size_t on_header(char *data, size_t size, size_t n_items, void *ctx)
{
    hop *h = ctx;
    h->last_byte = kfi_clock_seconds();
    kfi_transfer_header(h->transfer, data, size * n_items);
    return size * n_items;
}

static void read_numbers(hop *h)
{
    curl_off_t number = -1;
    kfi_transfer *t = h->transfer;
    (void)curl_easy_getinfo(h->http->curl, CURLINFO_RESPONSE_CODE, &t->status);
    if (curl_easy_getinfo(h->http->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &number) == CURLE_OK &&
        number >= 0) {
        t->content_length = (uint64_t)number;
    }
    number = 0;
    if (curl_easy_getinfo(h->http->curl, CURLINFO_RETRY_AFTER, &number) == CURLE_OK && number > 0) {
        t->retry_after = number > 3600 ? 3600 : (unsigned)number;
    }
}

static kf_status begin_body(hop *h)
{
    h->begun = true;
    return h->transfer->sink.begin(h->transfer->sink.ctx, h->transfer, h->err);
}

static size_t on_body(char *data, size_t size, size_t n_items, void *ctx)
{
    hop *h = ctx;
    const size_t n = size * n_items;

    h->last_byte = kfi_clock_seconds();
    if (!h->begun) { /* the head does not change while the body comes */
        read_numbers(h);
    }
    if (!is_success(h->transfer->status)) {
        return n; /* a page that explains an error: the status says enough */
    }
    if (!h->begun) {
        h->sink_status = begin_body(h);
    }
    if (h->sink_status == KF_OK) {
        h->sink_status = h->transfer->sink.write(h->transfer->sink.ctx, data, n, h->err);
    }
    return h->sink_status == KF_OK ? n : CURL_WRITEFUNC_ERROR;
}

/* Called about once a second, and more often while bytes come. libcurl's own limit (LOW_SPEED_TIME)
 * goes by an average over five seconds, which would add those to each stall. */
static int on_progress(void *ctx, curl_off_t total, curl_off_t done, curl_off_t up_total,
                       curl_off_t up_done)
{
    hop *h = ctx;
    (void)total;
    (void)done;
    (void)up_total;
    (void)up_done;
    if (h->transfer->sink.progress != NULL) {
        h->transfer->sink.progress(h->transfer->sink.ctx);
    }
    h->stalled = kfi_clock_seconds() - h->last_byte >= h->http->settings.limits.stall_seconds;
    return h->stalled || kfi_report_cancelled(h->http->settings.callbacks) ? 1 : 0;
}

/* ---- one hop ---- */

static bool set_login(CURL *curl, const kfi_http_settings *s, const char *url)
{
    char user[KFI_URL_MAX]; /* any that an address can hold: tokens have thousands of digits */
    char password[KFI_URL_MAX];
    bool ok = true;
    if (s->login_url == NULL || !kfi_url_is_same_origin(s->login_url, url)) {
        return true;
    }
    if (s->bearer != NULL) {
        ok = curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
             curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, s->bearer) == CURLE_OK;
    } else if (kfi_url_login(s->login_url, user, password, sizeof user)) {
        ok = curl_easy_setopt(curl, CURLOPT_USERNAME, user) == CURLE_OK &&
             curl_easy_setopt(curl, CURLOPT_PASSWORD, password) == CURLE_OK;
    }
    return ok;
}

/* What the user names is trusted instead of the system's, not besides: so both options are set. */
static bool set_certificates(CURL *curl, const char *path)
{
    if (path == NULL) {
        return true;
    }
    const bool is_directory = kfi_file_is_directory(path);
    return curl_easy_setopt(curl, CURLOPT_CAPATH, is_directory ? path : NULL) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CAINFO, is_directory ? NULL : path) == CURLE_OK;
}

static bool add_header(struct curl_slist **headers, const char *name, const char *value)
{
    char line[640];
    const int n = snprintf(line, sizeof line, "%s: %s", name, value);
    if (n < 0 || (size_t)n >= sizeof line) {
        return false;
    }
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (longer == NULL) {
        return false;
    }
    *headers = longer;
    return true;
}

static bool set_request(CURL *curl, const kfi_transfer *t, struct curl_slist **headers)
{
    char range[32];
    bool ok = true;
    if (t->accept != NULL) {
        ok = ok && add_header(headers, "Accept", t->accept);
    }
    if (t->range_begin > 0) {
        (void)snprintf(range, sizeof range, "bytes=%" PRIu64 "-", t->range_begin);
        ok = ok && add_header(headers, "Range", range);
        if (t->if_range != NULL) {
            ok = ok && add_header(headers, "If-Range", t->if_range);
        }
    }
    if (t->may_compress) {
        ok = ok && curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "") == CURLE_OK;
    }
    return ok && curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers) == CURLE_OK;
}

static bool set_callbacks(CURL *curl, hop *h)
{
    return curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, h->curl_text) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HEADERDATA, h) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, h) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFODATA, h) == CURLE_OK;
}

/* Signals, netrc: the library leaves a caller's signals alone; pip reads ~/.netrc, so do we. */
static bool set_conduct(CURL *curl, const kfi_http_settings *s)
{
    return curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "kerf") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)s->limits.connect_seconds) ==
               CURLE_OK &&
           (s->proxy == NULL || curl_easy_setopt(curl, CURLOPT_PROXY, s->proxy) == CURLE_OK);
}

/* Whether a failure may be gone at the next try. Who gets no connection at all is told at once:
 * most likely there is no network; after a first answer it may just be interrupted. */
static bool is_transient_code(CURLcode code, bool has_answered)
{
    switch (code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: /* of the connection */
    case CURLE_SSL_CONNECT_ERROR:
        return has_answered;
    default:
        return false;
    }
}

static const char *advice(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
        return "; offline, or behind a proxy that https_proxy should name?";
    case CURLE_COULDNT_RESOLVE_PROXY:
        return "; check https_proxy";
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return "; set SSL_CERT_FILE to the certificates to trust";
    default:
        return "";
    }
}

static kf_status hop_failed(hop *h, CURLcode code, const char *url, kf_error *err)
{
    char shown[KFI_SHOWN_URL];
    if (h->sink_status != KF_OK) {
        return h->sink_status; /* the sink has said why */
    }
    if (code == CURLE_OUT_OF_MEMORY) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "libcurl");
    }
    kfi_url_show(shown, sizeof shown, url);
    if (h->stalled) {
        h->transfer->is_transient = true;
        return kfi_fail(err, KF_IO, KF_NO_OFFSET, "%s: no data for %u s", shown,
                        h->http->settings.limits.stall_seconds);
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled while downloading");
    }
    h->transfer->is_transient = is_transient_code(code, h->http->has_answered);
    return kfi_fail(err, KF_IO, KF_NO_OFFSET, "%s: %.80s%s", shown,
                    h->curl_text[0] != '\0' ? h->curl_text : curl_easy_strerror(code),
                    advice(code));
}

/* Asks one server; *next becomes the address of a redirect. */
static kf_status run_hop(hop *h, const char *url, char next[KFI_URL_MAX], kf_error *err)
{
    CURL *curl = h->http->curl;
    const kfi_http_settings *s = &h->http->settings;
    struct curl_slist *headers = NULL;
    char *location = NULL;
    kf_status st = KF_OK;

    next[0] = '\0';
    kfi_transfer_forget(h->transfer);
    curl_easy_reset(curl); /* keeps the connections */
    if (!set_conduct(curl, s) || !set_callbacks(curl, h) ||
        !set_certificates(curl, s->certificates) || !set_login(curl, s, url) ||
        !set_request(curl, h->transfer, &headers) ||
        curl_easy_setopt(curl, CURLOPT_URL, url) != CURLE_OK) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "options of libcurl");
        goto done;
    }
    const CURLcode code = curl_easy_perform(curl);
    read_numbers(h);
    h->http->has_answered = h->http->has_answered || h->transfer->status != 0;
    if (code != CURLE_OK) {
        st = hop_failed(h, code, url, err);
        goto done;
    }
    if (is_success(h->transfer->status) && !h->begun) {
        st = begin_body(h);
        goto done;
    }
    if (is_redirect(h->transfer->status) &&
        curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location) == CURLE_OK && location != NULL) {
        st = kfi_url_resolve(next, NULL, location, err);
    }
done:
    curl_slist_free_all(headers);
    return st;
}

kf_status kfi_transfer_run(kfi_http *http, kfi_transfer *transfer, kf_error *err)
{
    char next[KFI_URL_MAX];
    char shown[KFI_SHOWN_URL];
    const unsigned max_redirects = http->settings.limits.n_redirects;

    transfer->is_transient = false;
    KFI_TRY(kfi_url_resolve(transfer->final_url, NULL, transfer->url, err));
    for (unsigned n_redirects = 0;; n_redirects++) {
        hop h = {.http = http,
                 .transfer = transfer,
                 .last_byte = kfi_clock_seconds(),
                 .sink_status = KF_OK,
                 .err = err};
        KFI_TRY(run_hop(&h, transfer->final_url, next, err));
        if (next[0] == '\0') {
            return KF_OK;
        }
        kfi_url_show(shown, sizeof shown, transfer->url);
        if (n_redirects == max_redirects) {
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s: more than %u redirects", shown,
                            max_redirects);
        }
        if (kfi_url_is_downgrade(transfer->final_url, next)) {
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                            "%s: refused a redirect from https to http", shown);
        }
        memcpy(transfer->final_url, next, sizeof next);
    }
}
