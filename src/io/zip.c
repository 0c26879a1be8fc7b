/* zip.c - reads the members of a zip archive.
 *
 *   local header, name, extra, data        once a member
 *   central directory                      one entry a member: the truth about sizes and places
 *   end record "PK\5\6", comment           the last bytes: where the directory is
 *
 * Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.16; RFC 1951 (deflate).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/zip.h"

#include <string.h>
#include <zlib.h>

#include "base/fail.h"
#include "io/bytes.h"

#define END_BYTES    22u
#define ENTRY_BYTES  46u
#define LOCAL_BYTES  30u
#define MAX_COMMENT  65535u
#define PIECE_BYTES  ((size_t)64 << 10)
#define INPUT_BYTES  ((size_t)1 << 20)
#define STORED       0u
#define DEFLATED     8u
#define IS_ENCRYPTED 1u /* bit of the flags */

static bool has_signature(const uint8_t *at, uint8_t third, uint8_t fourth)
{
    return at[0] == 'P' && at[1] == 'K' && at[2] == third && at[3] == fourth;
}

/* The end record is the last one whose comment ends where the file ends. */
static bool find_end(size_t *at, const kfi_file_map *map)
{
    if (map->size < END_BYTES) {
        return false;
    }
    const size_t last = map->size - END_BYTES;
    const size_t first = last > MAX_COMMENT ? last - MAX_COMMENT : 0;
    for (size_t i = last + 1; i-- > first;) {
        const uint8_t *record = map->data + i;
        if (has_signature(record, 5, 6) && kfi_load_u16(record + 20) == last - i) {
            *at = i;
            return true;
        }
    }
    return false;
}

static kf_status read_end(kfi_zip *zip, kf_error *err)
{
    size_t at = 0;
    if (!find_end(&at, &zip->map)) {
        return kfi_fail(err, KF_FORMAT, zip->map.size,
                        "not a complete zip archive: it has no end record");
    }
    const uint8_t *record = zip->map.data + at;
    const uint32_t bytes = kfi_load_u32(record + 12);
    const uint32_t begin = kfi_load_u32(record + 16);
    const uint16_t n = kfi_load_u16(record + 10);
    if (n == UINT16_MAX || bytes == UINT32_MAX || begin == UINT32_MAX) {
        return kfi_fail(err, KF_UNSUPPORTED, at, "zip64 archives are not read");
    }
    if (kfi_load_u16(record + 4) != 0 || kfi_load_u16(record + 6) != 0 ||
        kfi_load_u16(record + 8) != n) {
        return kfi_fail(err, KF_UNSUPPORTED, at, "zip archives of several disks are not read");
    }
    if (begin > at || bytes > at - begin) {
        return kfi_fail(err, KF_FORMAT, at,
                        "zip directory of %" PRIu32 " bytes at byte %" PRIu32
                        " reaches into the end record at byte %zu",
                        bytes, begin, at);
    }
    zip->directory = begin;
    zip->directory_bytes = bytes;
    zip->n_members = n;
    return KF_OK;
}

kf_status kfi_zip_parse(kfi_zip *zip, const uint8_t *data, size_t n, kf_error *err)
{
    *zip = (kfi_zip){.map = {.data = data, .size = n}};
    return read_end(zip, err);
}

kf_status kfi_zip_open(kfi_zip *zip, const char *path, kf_error *err)
{
    *zip = (kfi_zip){.directory = 0};
    KFI_TRY(kfi_file_map_open(&zip->map, path, err));
    const kf_status status = read_end(zip, err);
    if (status != KF_OK) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(path));
        kfi_zip_close(zip);
    }
    return status;
}

void kfi_zip_close(kfi_zip *zip)
{
    kfi_file_map_close(&zip->map);
    *zip = (kfi_zip){.directory = 0};
}

/* Reads the directory entry at *at and steps over it. */
static kf_status read_entry(kfi_zip_member *dst, const kfi_zip *zip, size_t *at, kf_error *err)
{
    const size_t end = zip->directory + zip->directory_bytes;
    const uint8_t *entry = zip->map.data + *at;
    if (end - *at < ENTRY_BYTES || !has_signature(entry, 1, 2)) {
        return kfi_fail(err, KF_FORMAT, *at, "zip directory entry at byte %zu is damaged", *at);
    }
    const size_t name_n = kfi_load_u16(entry + 28);
    const size_t n = ENTRY_BYTES + name_n + kfi_load_u16(entry + 30) + kfi_load_u16(entry + 32);
    if (n > end - *at) {
        return kfi_fail(err, KF_FORMAT, *at, "zip directory entry at byte %zu is cut off", *at);
    }
    const uint32_t packed = kfi_load_u32(entry + 20);
    const uint32_t size = kfi_load_u32(entry + 24);
    const uint32_t header = kfi_load_u32(entry + 42);
    if (packed == UINT32_MAX || size == UINT32_MAX || header == UINT32_MAX) {
        return kfi_fail(err, KF_UNSUPPORTED, *at, "zip64 archives are not read");
    }
    *dst = (kfi_zip_member){
        .name = {(const char *)entry + ENTRY_BYTES, name_n},
        .size = size,
        .packed = packed,
        .header = header,
        .crc = kfi_load_u32(entry + 16),
        .method = kfi_load_u16(entry + 10),
        .is_encrypted = (kfi_load_u16(entry + 8) & IS_ENCRYPTED) != 0,
    };
    *at += n;
    return KF_OK;
}

kf_status kfi_zip_each(const kfi_zip *zip,
                       kf_status (*visit)(void *ctx, const kfi_zip_member *member, kf_error *err),
                       void *ctx, kf_error *err)
{
    size_t at = zip->directory;
    for (size_t i = 0; i < zip->n_members; i++) {
        kfi_zip_member member;
        KFI_TRY(read_entry(&member, zip, &at, err));
        KFI_TRY(visit(ctx, &member, err));
    }
    return KF_OK;
}

/* Finds the packed bytes behind the local header, which must name the same file. */
static kf_status locate(const uint8_t **data, const kfi_zip *zip, const kfi_zip_member *member,
                        kf_error *err)
{
    const kfi_shown name = kfi_text_show(member->name);
    if (member->header > zip->directory || zip->directory - member->header < LOCAL_BYTES ||
        !has_signature(zip->map.data + member->header, 3, 4)) {
        return kfi_fail(err, KF_FORMAT, member->header, "'%s': no zip header at byte %zu",
                        name.text, member->header);
    }
    const uint8_t *local = zip->map.data + member->header;
    const size_t left = zip->directory - member->header - LOCAL_BYTES;
    const size_t name_n = kfi_load_u16(local + 26);
    const size_t skip = name_n + kfi_load_u16(local + 28);
    if (skip > left || name_n != member->name.n ||
        memcmp(local + LOCAL_BYTES, member->name.data, name_n) != 0) {
        return kfi_fail(err, KF_FORMAT, member->header,
                        "'%s': its zip header at byte %zu names another file", name.text,
                        member->header);
    }
    if (member->packed > left - skip) {
        return kfi_fail(err, KF_FORMAT, member->header,
                        "'%s': %zu packed bytes, but only %zu are left", name.text, member->packed,
                        left - skip);
    }
    *data = local + LOCAL_BYTES + skip;
    return KF_OK;
}

/* Where extraction stands. */
typedef struct extraction {
    const kfi_zip_member *member;
    const char *name; /* as it is shown */
    const uint8_t *data;
    kfi_zip_sink *sink;
    void *ctx;
    uint64_t n_written;
    uint32_t crc;
} extraction;

static kf_status put(extraction *state, const uint8_t *data, size_t n, kf_error *err)
{
    if (n > state->member->size - state->n_written) {
        return kfi_fail(err, KF_FORMAT, state->member->header,
                        "'%s': more data than the %" PRIu64 " bytes that the archive declares",
                        state->name, state->member->size);
    }
    state->crc = (uint32_t)crc32_z(state->crc, data, n);
    state->n_written += n;
    return n == 0 ? KF_OK : state->sink(state->ctx, data, n, err);
}

static kf_status copy_stored(extraction *state, kf_error *err)
{
    for (size_t at = 0; at < state->member->packed; at += PIECE_BYTES) {
        const size_t left = state->member->packed - at;
        KFI_TRY(put(state, state->data + at, left < PIECE_BYTES ? left : PIECE_BYTES, err));
    }
    return KF_OK;
}

/* Runs zlib until the stream ends; buffer has PIECE_BYTES. */
static kf_status inflate_all(extraction *state, z_stream *stream, uint8_t *buffer, kf_error *err)
{
    size_t n_left = state->member->packed;
    int result = Z_OK;
    stream->next_in = (Bytef *)(uintptr_t)state->data; /* zlib only reads it */
    while (result != Z_STREAM_END) {
        if (stream->avail_in == 0) {
            stream->avail_in = (uInt)(n_left < INPUT_BYTES ? n_left : INPUT_BYTES);
            n_left -= stream->avail_in;
        }
        stream->next_out = buffer;
        stream->avail_out = (uInt)PIECE_BYTES;
        result = inflate(stream, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR) {
            return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to inflate '%s'", state->name);
        }
        if (result != Z_OK && result != Z_STREAM_END) { /* Z_BUF_ERROR: the input ended early */
            return kfi_fail(err, KF_FORMAT, state->member->header,
                            "'%s': its deflate stream is damaged behind byte %" PRIu64, state->name,
                            state->n_written);
        }
        KFI_TRY(put(state, buffer, PIECE_BYTES - stream->avail_out, err));
    }
    if (stream->avail_in != 0 || n_left != 0) {
        return kfi_fail(err, KF_FORMAT, state->member->header,
                        "'%s': its deflate stream ends before its %zu packed bytes do", state->name,
                        state->member->packed);
    }
    return KF_OK;
}

static kf_status inflate_member(extraction *state, const kf_allocator *alloc, kf_error *err)
{
    z_stream stream = {0};
    uint8_t *buffer = kfi_alloc(alloc, PIECE_BYTES);
    if (buffer == NULL || inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
        kfi_free(alloc, buffer, PIECE_BYTES);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to inflate '%s'", state->name);
    }
    const kf_status status = inflate_all(state, &stream, buffer, err);
    (void)inflateEnd(&stream);
    kfi_free(alloc, buffer, PIECE_BYTES);
    return status;
}

static kf_status check_result(const extraction *state, kf_error *err)
{
    const kfi_zip_member *member = state->member;
    if (state->n_written != member->size) {
        return kfi_fail(err, KF_FORMAT, member->header,
                        "'%s': %" PRIu64 " bytes, the archive declares %" PRIu64, state->name,
                        state->n_written, member->size);
    }
    if (state->crc != member->crc) {
        return kfi_fail(err, KF_FORMAT, member->header,
                        "'%s': CRC %08" PRIx32 ", the archive declares %08" PRIx32, state->name,
                        state->crc, member->crc);
    }
    return KF_OK;
}

kf_status kfi_zip_extract(const kfi_zip *zip, const kfi_zip_member *member, kfi_zip_sink *sink,
                          void *ctx, const kf_allocator *alloc, kf_error *err)
{
    const kfi_shown name = kfi_text_show(member->name);
    if (member->is_encrypted || (member->method != STORED && member->method != DEFLATED)) {
        return kfi_fail(err, KF_UNSUPPORTED, member->header,
                        "'%s' is %s (zip method %d), only stored and deflated files are read",
                        name.text, member->is_encrypted ? "encrypted" : "packed otherwise",
                        member->method);
    }
    extraction state = {.member = member, .name = name.text, .sink = sink, .ctx = ctx};
    KFI_TRY(locate(&state.data, zip, member, err));
    if (member->method == STORED) {
        KFI_TRY(copy_stored(&state, err));
    } else {
        KFI_TRY(inflate_member(&state, alloc, err));
    }
    return check_result(&state, err);
}

/* The sink of kfi_zip_extract_file. */
typedef struct file_sink {
    kfi_file_writer *writer;
    kfi_sha256 sha;
} file_sink;

static kf_status write_piece(void *ctx, const void *data, size_t n, kf_error *err)
{
    file_sink *sink = ctx;
    kfi_sha256_update(&sink->sha, data, n);
    return kfi_file_writer_write(sink->writer, data, n, err);
}

kf_status kfi_zip_extract_file(kfi_file_writer *writer, char hex[KFI_SHA256_HEX],
                               const kfi_zip *zip, const kfi_zip_member *member, kf_error *err)
{
    file_sink sink = {.writer = writer};
    KFI_TRY(kfi_sha256_init(&sink.sha, err));
    const kf_status st = kfi_zip_extract(zip, member, write_piece, &sink, writer->alloc, err);
    if (st != KF_OK) {
        kfi_sha256_deinit(&sink.sha);
        return st;
    }
    return kfi_sha256_finish(&sink.sha, hex, err);
}
