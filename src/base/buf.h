/* buf.h - a growing byte buffer with a ceiling.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_BUF_H
#define KFI_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"

/* data[n] is always a NUL once anything was appended, so that text can be read as a string. After a
 * failed append the buffer is unchanged and failed is set; later appends fail too, so that a caller
 * may check once at the end. */
typedef struct kfi_buf {
    const kf_allocator *alloc;
    char *data;
    size_t n;
    size_t capacity;
    size_t max; /* appending beyond this fails */
    bool failed;
} kfi_buf;

void kfi_buf_init(kfi_buf *buf, const kf_allocator *alloc, size_t max);
void kfi_buf_deinit(kfi_buf *buf);

bool kfi_buf_reserve(kfi_buf *buf, size_t n_more);
bool kfi_buf_append(kfi_buf *buf, const void *bytes, size_t n);
bool kfi_buf_append_text(kfi_buf *buf, const char *text);
bool kfi_buf_append_byte(kfi_buf *buf, unsigned char byte);
bool kfi_buf_printf(kfi_buf *buf, const char *format, ...) KF_PRINTF(2, 3);

/* Empties without freeing. */
void kfi_buf_clear(kfi_buf *buf);

#endif /* KFI_BASE_BUF_H */
