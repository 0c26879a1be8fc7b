/* http_answer.c - what the head of an answer says.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fail.h"
#include "io/http_transfer.h"

void kfi_transfer_forget(kfi_transfer *t)
{
    t->content_type[0] = t->etag[0] = t->reason[0] = '\0';
    t->status = 0;
    t->content_length = t->range_total = KFI_HTTP_SIZE_UNKNOWN;
    t->range_first = 0;
    t->retry_after = 0;
}

static uint64_t parse_length(const char *text)
{
    char *end = NULL;
    if (*text < '0' || *text > '9') {
        return KFI_HTTP_SIZE_UNKNOWN;
    }
    return strtoull(text, &end, 10);
}

/* "bytes 100-199/200", "bytes 100-199/ *" (without the space) or "bytes * /200". */
static void parse_content_range(kfi_transfer *t, const char *value)
{
    const char *slash = strchr(value, '/');
    if (strncasecmp(value, "bytes ", 6) != 0 || slash == NULL) {
        return;
    }
    t->range_first = value[6] == '*' ? 0 : parse_length(value + 6);
    t->range_total = parse_length(slash + 1);
}

/* The value when the line is this header, else NULL. */
static const char *header_value(const char *line, const char *name)
{
    const size_t n = strlen(name);
    if (strncasecmp(line, name, n) != 0 || line[n] != ':') {
        return NULL;
    }
    return line + n + 1 + strspn(line + n + 1, " \t");
}

static void copy_header(char *dst, size_t n, const char *value)
{
    if (strlen(value) < n) { /* one too long is as good as none */
        memcpy(dst, value, strlen(value) + 1);
    }
}

void kfi_transfer_header(kfi_transfer *t, const char *data, size_t n)
{
    char line[512];
    const char *value = NULL;

    while (n > 0 && isspace((unsigned char)data[n - 1])) {
        n--;
    }
    if (n >= sizeof line) {
        return;
    }
    memcpy(line, data, n);
    line[n] = '\0';
    if (strncmp(line, "HTTP/", 5) == 0) { /* also behind a 100 Continue */
        kfi_transfer_forget(t);
        const char *code = strchr(line, ' ');
        const char *words = code != NULL ? strchr(code + 1, ' ') : NULL;
        copy_header(t->reason, sizeof t->reason, words != NULL ? words + 1 : "");
    } else if ((value = header_value(line, "content-type")) != NULL) {
        copy_header(t->content_type, sizeof t->content_type, value);
    } else if ((value = header_value(line, "etag")) != NULL) {
        copy_header(t->etag, sizeof t->etag, value);
    } else if ((value = header_value(line, "content-range")) != NULL) {
        parse_content_range(t, value);
    } else if ((value = header_value(line, "x-error-message")) != NULL) { /* Hugging Face */
        copy_header(t->reason, sizeof t->reason, value);
    }
}

/* What a user can do about a status. */
static const char *status_advice(long status)
{
    switch (status) {
    case 401:
    case 403:
        return "; no permission: is a token or password missing?";
    case 404:
    case 410:
        return "; no such thing there";
    case 429:
        return "; too many requests: try later";
    default:
        return status >= 500 ? "; trouble on their side: try later" : "";
    }
}

kf_status kfi_transfer_refused(kfi_transfer *transfer, kf_error *err)
{
    char shown[KFI_SHOWN_URL];
    const long status = transfer->status;
    const bool missing = status == 401 || status == 403 || status == 404 || status == 410;

    transfer->is_transient = status == 408 || status == 425 || status == 429 || status >= 500;
    kfi_url_show(shown, sizeof shown, transfer->final_url);
    return kfi_fail(
        err, missing ? KF_INPUT : KF_IO, KF_NO_OFFSET, "%s: the server says %ld%s%.60s%s", shown,
        status, transfer->reason[0] != '\0' ? " " : "", transfer->reason, status_advice(status));
}
