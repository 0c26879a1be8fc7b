/* url.c - http and https addresses, over libcurl's parser.
 *
 * Addresses come from an index, a redirect or the environment, so they are taken apart by the same
 * parser that later connects: two parsers that disagree about where the host ends are a known way
 * to send a password to the wrong one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/fail.h"

static CURLU *url_parse(const char *url)
{
    CURLU *parsed = curl_url();
    if (parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK) {
        curl_url_cleanup(parsed);
        parsed = NULL;
    }
    return parsed;
}

/* A part as a string to be freed with curl_free, or NULL. */
static char *url_part(CURLU *parsed, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    if (parsed == NULL || curl_url_get(parsed, part, &text, flags) != CURLUE_OK) {
        return NULL;
    }
    return text;
}

static bool is_web_scheme(const char *scheme)
{
    return scheme != NULL && (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
}

kf_status kfi_url_resolve(char *dst, const char *base, const char *link, kf_error *err)
{
    kf_status st = KF_OK;
    char *scheme = NULL;
    char *url = NULL;
    CURLU *parsed = base != NULL ? url_parse(base) : curl_url();

    if (parsed == NULL || curl_url_set(parsed, CURLUPART_URL, link, 0) != CURLUE_OK ||
        curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'%.100s' is not an http or https address",
                      link);
        goto done;
    }
    scheme = url_part(parsed, CURLUPART_SCHEME, 0);
    url = url_part(parsed, CURLUPART_URL, 0);
    if (!is_web_scheme(scheme) || url == NULL) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'%.100s' is not an http or https address",
                      link);
        goto done;
    }
    if (strlen(url) >= KFI_URL_MAX) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                      "an address of %zu characters, at most %u are taken: '%.60s...'", strlen(url),
                      KFI_URL_MAX - 1, url);
        goto done;
    }
    memcpy(dst, url, strlen(url) + 1);
done:
    curl_free(scheme);
    curl_free(url);
    curl_url_cleanup(parsed);
    return st;
}

static bool is_same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *text_a = url_part(a, part, CURLU_DEFAULT_PORT);
    char *text_b = url_part(b, part, CURLU_DEFAULT_PORT);
    const bool same = text_a != NULL && text_b != NULL && strcasecmp(text_a, text_b) == 0;
    curl_free(text_a);
    curl_free(text_b);
    return same;
}

bool kfi_url_is_same_origin(const char *a, const char *b)
{
    CURLU *parsed_a = url_parse(a);
    CURLU *parsed_b = url_parse(b);
    const bool same = is_same_part(parsed_a, parsed_b, CURLUPART_SCHEME) &&
                      is_same_part(parsed_a, parsed_b, CURLUPART_HOST) &&
                      is_same_part(parsed_a, parsed_b, CURLUPART_PORT);
    curl_url_cleanup(parsed_a);
    curl_url_cleanup(parsed_b);
    return same;
}

static bool is_https(const char *url)
{
    CURLU *parsed = url_parse(url);
    char *scheme = url_part(parsed, CURLUPART_SCHEME, 0);
    const bool result = scheme != NULL && strcasecmp(scheme, "https") == 0;
    curl_free(scheme);
    curl_url_cleanup(parsed);
    return result;
}

bool kfi_url_is_downgrade(const char *from, const char *to)
{
    return is_https(from) && !is_https(to);
}

bool kfi_url_login(const char *url, char *user, char *password, size_t n)
{
    CURLU *parsed = url_parse(url);
    char *text_user = url_part(parsed, CURLUPART_USER, CURLU_URLDECODE);
    char *text_password = url_part(parsed, CURLUPART_PASSWORD, CURLU_URLDECODE);
    bool found = text_user != NULL;

    if (found) {
        const int n_user = snprintf(user, n, "%s", text_user);
        const int n_password =
            snprintf(password, n, "%s", text_password != NULL ? text_password : "");
        found = n_user >= 0 && (size_t)n_user < n && n_password >= 0 && (size_t)n_password < n;
    }
    curl_free(text_user);
    curl_free(text_password);
    curl_url_cleanup(parsed);
    return found;
}

void kfi_url_show(char *dst, size_t n, const char *url)
{
    CURLU *parsed = url_parse(url);
    char *text = NULL;

    if (parsed != NULL) {
        (void)curl_url_set(parsed, CURLUPART_USER, NULL, 0);
        (void)curl_url_set(parsed, CURLUPART_PASSWORD, NULL, 0);
        (void)curl_url_set(parsed, CURLUPART_QUERY, NULL, 0);
        text = url_part(parsed, CURLUPART_URL, 0);
    }
    const char *shown = text != NULL ? text : "(unreadable address)";
    const size_t length = strlen(shown);
    if (length < n) {
        memcpy(dst, shown, length + 1);
    } else {
        const size_t head = (n - 4) / 2;
        const size_t tail = n - 4 - head;
        (void)snprintf(dst, n, "%.*s...%s", (int)head, shown, shown + length - tail);
    }
    curl_free(text);
    curl_url_cleanup(parsed);
}

bool kfi_url_append_escaped(kfi_buf *buf, const char *text, bool keep_slashes)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (const char *p = text; *p != '\0'; p++) {
        if (strchr(plain, *p) != NULL || (keep_slashes && *p == '/')) {
            (void)kfi_buf_append_byte(buf, (unsigned char)*p);
        } else {
            (void)kfi_buf_printf(buf, "%%%02X", (unsigned)(unsigned char)*p);
        }
    }
    return !buf->failed;
}
