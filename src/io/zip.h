/* zip.h - reads the members of a zip archive: stored or deflated, checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_ZIP_H
#define KFI_IO_ZIP_H

#include "base/file.h"
#include "io/names.h"
#include "io/sha256.h"

/* An archive in memory; plain data, nothing to free but the map. */
typedef struct kfi_zip {
    kfi_file_map map;
    size_t directory; /* first byte of the central directory */
    size_t directory_bytes;
    size_t n_members;
} kfi_zip;

/* One entry of the central directory. */
typedef struct kfi_zip_member {
    kfi_text name;     /* in the map; not NUL-terminated, may hold any byte */
    uint64_t size;     /* bytes when extracted */
    size_t packed;     /* bytes in the archive */
    size_t header;     /* place of its local header */
    uint32_t crc;      /* of the extracted bytes */
    uint16_t method;   /* 0 stored, 8 deflated */
    bool is_encrypted; /* refused by extraction */
} kfi_zip_member;

/* Maps an archive and finds its directory. KF_INPUT, KF_FORMAT, KF_UNSUPPORTED (zip64, several
 * disks). */
KF_NODISCARD kf_status kfi_zip_open(kfi_zip *zip, const char *path, kf_error *err);
/* The same over bytes that the caller keeps. */
KF_NODISCARD kf_status kfi_zip_parse(kfi_zip *zip, const uint8_t *data, size_t n, kf_error *err);
void kfi_zip_close(kfi_zip *zip);

/* Members in the order of the directory, each checked before it is shown; stops at the first
 * failure. KF_FORMAT, KF_UNSUPPORTED (zip64), what visit returns. */
KF_NODISCARD kf_status kfi_zip_each(const kfi_zip *zip,
                                    kf_status (*visit)(void *ctx, const kfi_zip_member *member,
                                                       kf_error *err),
                                    void *ctx, kf_error *err);

/* Where extracted bytes go; a failure ends the extraction and is returned. */
typedef kf_status kfi_zip_sink(void *ctx, const void *data, size_t n, kf_error *err);

/* Hands the member's bytes to sink, in order, in pieces of at most 64 KiB; never more than
 * member->size. Size and CRC are checked at the end, so what was handed out counts only when this
 * returns KF_OK. KF_FORMAT, KF_UNSUPPORTED (method, encryption), KF_NOMEM, what sink returns. */
KF_NODISCARD kf_status kfi_zip_extract(const kfi_zip *zip, const kfi_zip_member *member,
                                       kfi_zip_sink *sink, void *ctx, const kf_allocator *alloc,
                                       kf_error *err);

/* Extracts to an open file writer, and gives the SHA-256 of what was written. The caller commits or
 * aborts the writer. */
KF_NODISCARD kf_status kfi_zip_extract_file(kfi_file_writer *writer, char hex[KFI_SHA256_HEX],
                                            const kfi_zip *zip, const kfi_zip_member *member,
                                            kf_error *err);

#endif /* KFI_IO_ZIP_H */
