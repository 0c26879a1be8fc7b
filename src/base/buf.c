/* buf.c - a growing byte buffer with a ceiling.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kfi_buf_init(kfi_buf *buf, const kf_allocator *alloc, size_t max)
{
    *buf = (kfi_buf){.alloc = alloc, .max = max};
}

void kfi_buf_deinit(kfi_buf *buf)
{
    kfi_free(buf->alloc, buf->data, buf->capacity);
    kfi_buf_init(buf, buf->alloc, buf->max);
}

bool kfi_buf_reserve(kfi_buf *buf, size_t n_more)
{
    size_t needed = 0;
    if (buf->failed || n_more > buf->max - buf->n || !kfi_add_size(buf->n + n_more, 1, &needed)) {
        buf->failed = true;
        return false;
    }
    if (needed <= buf->capacity) {
        return true;
    }
    /* Twice as much each time, and at last all that the ceiling allows: n bytes are copied about
     * twice, however small the pieces. */
    size_t capacity = buf->capacity < 32 ? 64 : 2 * buf->capacity;
    if (buf->capacity > buf->max / 2) {
        capacity = buf->max + 1;
    }
    if (capacity < needed) {
        capacity = needed;
    }
    char *data = kfi_alloc(buf->alloc, capacity);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    if (buf->n > 0) {
        memcpy(data, buf->data, buf->n);
    }
    data[buf->n] = '\0'; /* whoever only reserves still has a string */
    kfi_free(buf->alloc, buf->data, buf->capacity);
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

bool kfi_buf_append(kfi_buf *buf, const void *bytes, size_t n)
{
    if (!kfi_buf_reserve(buf, n)) {
        return false;
    }
    if (n > 0) {
        memcpy(buf->data + buf->n, bytes, n);
    }
    buf->n += n;
    buf->data[buf->n] = '\0';
    return true;
}

bool kfi_buf_append_text(kfi_buf *buf, const char *text)
{
    return kfi_buf_append(buf, text, strlen(text));
}

bool kfi_buf_append_byte(kfi_buf *buf, unsigned char byte)
{
    return kfi_buf_append(buf, &byte, 1);
}

bool kfi_buf_printf(kfi_buf *buf, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (n < 0 || !kfi_buf_reserve(buf, (size_t)n)) {
        buf->failed = true;
        return false;
    }
    va_start(arguments, format);
    (void)vsnprintf(buf->data + buf->n, (size_t)n + 1, format, arguments);
    va_end(arguments);
    buf->n += (size_t)n;
    return true;
}

void kfi_buf_clear(kfi_buf *buf)
{
    buf->n = 0;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
    buf->failed = false;
}
