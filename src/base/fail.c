/* fail.c - filling in a kf_error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

const char *kf_status_text(kf_status status)
{
    switch (status) {
#define STATUS_CASE(name, value, text)                                                             \
    case KF_##name:                                                                                \
        return text;
        KF_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

void kfi_fail_sanitize(char *msg, size_t capacity)
{
    const size_t n = strlen(msg);
    size_t i = 0;
    while (i < n) {
        const kfi_utf8_char c = kfi_utf8_decode(msg + i, n - i);
        if (c.cut && n + 1 == capacity) {
            msg[i] = '\0';
            return;
        }
        if (!c.valid || c.code < 0x20 || (c.code >= 0x7F && c.code < 0xA0)) {
            memset(msg + i, '?', c.n);
        }
        i += c.n;
    }
}

kf_status kfi_fail(kf_error *err, kf_status code, uint64_t offset, const char *format, ...)
{
    if (err != NULL) {
        va_list arguments;
        va_start(arguments, format);
        err->code = code;
        err->os_errno = 0;
        err->offset = offset;
        (void)vsnprintf(err->msg, sizeof err->msg, format, arguments);
        va_end(arguments);
        kfi_fail_sanitize(err->msg, sizeof err->msg);
    }
    return code;
}

kf_status kfi_fail_os(kf_error *err, kf_status code, int os_errno, const char *format, ...)
{
    if (err != NULL) {
        char text[96] = "";
        va_list arguments;
        va_start(arguments, format);
        err->code = code;
        err->os_errno = os_errno;
        err->offset = KF_NO_OFFSET;
        const int n = vsnprintf(err->msg, sizeof err->msg, format, arguments);
        va_end(arguments);
        if (strerror_r(os_errno, text, sizeof text) == 0 && n >= 0 && (size_t)n < sizeof err->msg) {
            (void)snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", text);
        }
        kfi_fail_sanitize(err->msg, sizeof err->msg);
    }
    return code;
}

void kfi_fail_prefix(kf_error *err, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    char old[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(err->msg, sizeof err->msg, format, arguments);
    va_end(arguments);
    if (n >= 0 && (size_t)n < sizeof err->msg) {
        (void)snprintf(err->msg + n, sizeof err->msg - (size_t)n, "%.*s", (int)sizeof old - 1, old);
    }
    kfi_fail_sanitize(err->msg, sizeof err->msg);
}
