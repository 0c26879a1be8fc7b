/* build_wheel.h - zip archives of stored members for tests.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_BUILD_WHEEL_H
#define KERF_TESTS_BUILD_WHEEL_H

#include <assert.h>
#include <string.h>

#include <zlib.h>

#include "base/buf.h"

typedef struct wheel_member {
    const char *name;
    const char *text; /* its content */
} wheel_member;

static inline void wheel_put(kfi_buf *buf, unsigned long value, unsigned n_bytes)
{
    for (unsigned i = 0; i < n_bytes; i++) {
        (void)kfi_buf_append_byte(buf, (unsigned char)(value >> (8 * i)));
    }
}

/* The 26 bytes that local header and directory entry share: version to the name's length. */
static inline void wheel_put_common(kfi_buf *buf, const wheel_member *member)
{
    const unsigned long n = strlen(member->text);
    wheel_put(buf, 20, 2); /* version */
    wheel_put(buf, 0, 2);  /* flags */
    wheel_put(buf, 0, 2);  /* stored */
    wheel_put(buf, 0, 4);  /* time, date */
    wheel_put(buf, crc32(0, (const unsigned char *)member->text, (unsigned)n), 4);
    wheel_put(buf, n, 4);
    wheel_put(buf, n, 4);
    wheel_put(buf, strlen(member->name), 2);
    wheel_put(buf, 0, 2); /* extra */
}

/* Appends a whole archive to an empty buffer. */
static inline void wheel_build(kfi_buf *buf, const wheel_member *members, size_t n)
{
    unsigned long places[16];
    assert(n <= 16 && buf->n == 0);
    for (size_t i = 0; i < n; i++) {
        places[i] = buf->n;
        wheel_put(buf, 0x04034B50, 4);
        wheel_put_common(buf, &members[i]);
        (void)kfi_buf_append_text(buf, members[i].name);
        (void)kfi_buf_append_text(buf, members[i].text);
    }
    const unsigned long directory = buf->n;
    for (size_t i = 0; i < n; i++) {
        wheel_put(buf, 0x02014B50, 4);
        wheel_put(buf, 20, 2);
        wheel_put_common(buf, &members[i]);
        wheel_put(buf, 0, 2); /* comment */
        wheel_put(buf, 0, 2); /* disk */
        wheel_put(buf, 0, 2); /* attributes */
        wheel_put(buf, 0, 4);
        wheel_put(buf, places[i], 4);
        (void)kfi_buf_append_text(buf, members[i].name);
    }
    const unsigned long directory_bytes = buf->n - directory;
    wheel_put(buf, 0x06054B50, 4);
    wheel_put(buf, 0, 4);
    wheel_put(buf, n, 2);
    wheel_put(buf, n, 2);
    wheel_put(buf, directory_bytes, 4);
    wheel_put(buf, directory, 4);
    wheel_put(buf, 0, 2);
    assert(!buf->failed);
}

#endif /* KERF_TESTS_BUILD_WHEEL_H */
