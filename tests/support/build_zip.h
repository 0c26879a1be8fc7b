/* build_zip.h - small zip archives in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_BUILD_ZIP_H
#define KERF_TESTS_BUILD_ZIP_H

#include <stdlib.h>
#include <zlib.h>

#include "build_gguf.h"

typedef struct zip_builder {
    kfi_buf file;
    kfi_buf directory;
    unsigned n;
} zip_builder;

static inline void put_u16(kfi_buf *buf, unsigned value)
{
    put_u8(buf, value & 255);
    put_u8(buf, value >> 8);
}

static inline void zip_begin(zip_builder *zip)
{
    kfi_buf_init(&zip->file, NULL, BUILD_MAX);
    kfi_buf_init(&zip->directory, NULL, BUILD_MAX);
    zip->n = 0;
}

/* From "flags" to "extra length": the fields that both headers share. */
static inline void zip_put_fields(kfi_buf *buf, unsigned method, uint32_t crc, size_t packed,
                                  size_t size, const char *name, unsigned extra)
{
    put_u16(buf, 0);
    put_u16(buf, method);
    put_u32(buf, 0); /* time, date */
    put_u32(buf, crc);
    put_u32(buf, (uint32_t)packed);
    put_u32(buf, (uint32_t)size);
    put_u16(buf, (unsigned)strlen(name));
    put_u16(buf, extra);
}

/* Raw deflate; aborts where zlib fails. */
static inline size_t zip_deflate(uint8_t *dst, size_t capacity, const void *data, size_t n)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        abort();
    }
    stream.next_in = (Bytef *)(uintptr_t)data;
    stream.avail_in = (uInt)n;
    stream.next_out = dst;
    stream.avail_out = (uInt)capacity;
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) {
        abort();
    }
    (void)deflateEnd(&stream);
    return capacity - stream.avail_out;
}

/* Adds a file of method 0 or 8, with an extra field in its local header as real tools write. */
static inline void zip_add(zip_builder *zip, const char *name, const void *data, size_t n,
                           unsigned method)
{
    const size_t capacity = n + n / 8 + 64;
    const size_t header = zip->file.n;
    uint8_t *packed = kfi_alloc(NULL, capacity);
    size_t n_packed = n;
    if (method == 8) {
        n_packed = zip_deflate(packed, capacity, data, n);
    } else {
        memcpy(packed, data, n);
    }
    const uint32_t crc = (uint32_t)crc32(0, data, (uInt)n);
    put_bytes(&zip->file, "PK\3\4\x14\0", 6);
    zip_put_fields(&zip->file, method, crc, n_packed, n, name, 4);
    put_bytes(&zip->file, name, strlen(name));
    put_bytes(&zip->file, "xx\0\0", 4);
    put_bytes(&zip->file, packed, n_packed);
    put_bytes(&zip->directory, "PK\1\2\x14\0\x14\0", 8);
    zip_put_fields(&zip->directory, method, crc, n_packed, n, name, 0);
    put_bytes(&zip->directory, "\0\0\0\0\0\0\0\0\0\0", 10); /* comment, disk, attributes */
    put_u32(&zip->directory, (uint32_t)header);
    put_bytes(&zip->directory, name, strlen(name));
    zip->n++;
    kfi_free(NULL, packed, capacity);
}

/* Appends directory, end record and comment; the result is zip->file. */
static inline void zip_end(zip_builder *zip, const char *comment)
{
    const size_t begin = zip->file.n;
    put_bytes(&zip->file, zip->directory.data == NULL ? "" : zip->directory.data, zip->directory.n);
    put_bytes(&zip->file, "PK\5\6\0\0\0\0", 8);
    put_u16(&zip->file, zip->n);
    put_u16(&zip->file, zip->n);
    put_u32(&zip->file, (uint32_t)zip->directory.n);
    put_u32(&zip->file, (uint32_t)begin);
    put_u16(&zip->file, (unsigned)strlen(comment));
    put_bytes(&zip->file, comment, strlen(comment));
    kfi_buf_deinit(&zip->directory);
}

/* A stored file, a deflated one and an empty one. */
static inline void build_sample_zip(kfi_buf *dst)
{
    zip_builder zip;
    char text[600];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = "kerf saw oak "[i % 13];
    }
    zip_begin(&zip);
    zip_add(&zip, "pkg/__init__.py", "x = 1\n", 6, 0);
    zip_add(&zip, "pkg/model.gguf", text, sizeof text, 8);
    zip_add(&zip, "pkg/empty", "", 0, 0);
    zip_end(&zip, "a comment");
    *dst = zip.file;
}

#endif /* KERF_TESTS_BUILD_ZIP_H */
