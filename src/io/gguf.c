/* gguf.c - opening of GGUF files: the header and the cursor.
 *
 * Source: the GGUF specification, github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/gguf.h"

#include <string.h>

#include "io/bytes.h"
#include "io/gguf_reader.h"

/* The arena holds values, string arrays and tensors: each is at most four times its bytes in the
 * file. */
#define ARENA_MAX ((size_t)4 * KFI_GGUF_MAX_METADATA)

static kf_status fail_short(const kfi_gguf_cursor *cursor, const char *what, uint64_t n,
                            kf_error *err)
{
    if (cursor->n == KFI_GGUF_MAX_METADATA) {
        return kfi_fail(err, KF_FORMAT, cursor->at, "%s: metadata longer than %" PRIu64 " bytes",
                        what, KFI_GGUF_MAX_METADATA);
    }
    return kfi_fail(err, KF_FORMAT, cursor->at,
                    "%s: %" PRIu64 " bytes from byte %zu on, but the file ends at byte %zu", what,
                    n, cursor->at, cursor->n);
}

kf_status kfi_gguf_read_u32(uint32_t *dst, kfi_gguf_cursor *cursor, const char *what, kf_error *err)
{
    if (cursor->n - cursor->at < 4) {
        return fail_short(cursor, what, 4, err);
    }
    *dst = kfi_load_u32(cursor->data + cursor->at);
    cursor->at += 4;
    return KF_OK;
}

kf_status kfi_gguf_read_u64(uint64_t *dst, kfi_gguf_cursor *cursor, const char *what, kf_error *err)
{
    if (cursor->n - cursor->at < 8) {
        return fail_short(cursor, what, 8, err);
    }
    *dst = kfi_load_u64(cursor->data + cursor->at);
    cursor->at += 8;
    return KF_OK;
}

kf_status kfi_gguf_read_text(kfi_text *dst, kfi_gguf_cursor *cursor, uint64_t max, const char *what,
                             kf_error *err)
{
    const size_t begin = cursor->at;
    uint64_t n = 0;
    KFI_TRY(kfi_gguf_read_u64(&n, cursor, what, err));
    if (n > max) {
        return kfi_fail(err, KF_FORMAT, begin,
                        "%s: a string of %" PRIu64 " bytes, at most %" PRIu64 " are allowed", what,
                        n, max);
    }
    if (n > cursor->n - cursor->at) {
        return fail_short(cursor, what, n, err);
    }
    *dst = (kfi_text){(const char *)cursor->data + cursor->at, (size_t)n};
    cursor->at += (size_t)n;
    return KF_OK;
}

static kf_status check_version(uint32_t version, kf_error *err)
{
    if (version == 2 || version == 3) {
        return KF_OK;
    }
    if (version != 0 && (version & 0xFFFFu) == 0) {
        return kfi_fail(err, KF_UNSUPPORTED, 4,
                        "GGUF version 0x%08" PRIx32 ": a big-endian file; convert it to "
                        "little-endian",
                        version);
    }
    return kfi_fail(err, KF_UNSUPPORTED, 4, "GGUF version %" PRIu32 ", only 2 and 3 are read",
                    version);
}

static kf_status read_header(uint64_t *n_tensors, uint64_t *n_kv, kfi_gguf_cursor *cursor,
                             kf_error *err)
{
    if (cursor->n < 4 || memcmp(cursor->data, "GGUF", 4) != 0) {
        return kfi_fail(err, KF_FORMAT, 0, "not a GGUF file: it does not begin with \"GGUF\"");
    }
    cursor->at = 4;
    uint32_t version = 0;
    KFI_TRY(kfi_gguf_read_u32(&version, cursor, "version", err));
    KFI_TRY(check_version(version, err));
    KFI_TRY(kfi_gguf_read_u64(n_tensors, cursor, "number of tensors", err));
    if (*n_tensors > KFI_GGUF_MAX_TENSORS) {
        return kfi_fail(err, KF_FORMAT, 8,
                        "%" PRIu64 " tensors declared, at most %" PRIu64 " are allowed", *n_tensors,
                        KFI_GGUF_MAX_TENSORS);
    }
    KFI_TRY(kfi_gguf_read_u64(n_kv, cursor, "number of metadata keys", err));
    if (*n_kv > KFI_GGUF_MAX_KEYS) {
        return kfi_fail(err, KF_FORMAT, 16,
                        "%" PRIu64 " metadata keys declared, at most %" PRIu64 " are allowed",
                        *n_kv, KFI_GGUF_MAX_KEYS);
    }
    return KF_OK;
}

static kf_status parse(kfi_gguf *gguf, kf_error *err)
{
    kfi_gguf_cursor cursor = {gguf->map.data, gguf->map.size, 0};
    if (cursor.n > KFI_GGUF_MAX_METADATA) {
        cursor.n = KFI_GGUF_MAX_METADATA;
    }
    uint64_t n_tensors = 0;
    uint64_t n_kv = 0;
    KFI_TRY(read_header(&n_tensors, &n_kv, &cursor, err));
    KFI_TRY(kfi_gguf_read_metadata(gguf, &cursor, n_kv, err));
    return kfi_gguf_read_tensors(gguf, &cursor, n_tensors, err);
}

static kfi_gguf *new_object(const kf_allocator *alloc, kf_error *err)
{
    kfi_gguf *gguf = kfi_calloc(alloc, 1, sizeof *gguf);
    if (gguf == NULL) {
        (void)kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a reader");
        return NULL;
    }
    gguf->alloc = alloc;
    kfi_arena_init(&gguf->arena, alloc, ARENA_MAX);
    return gguf;
}

kf_status kfi_gguf_open(kfi_gguf **dst, const char *path, const kf_allocator *alloc, kf_error *err)
{
    *dst = NULL;
    kfi_gguf *gguf = new_object(alloc, err);
    if (gguf == NULL) {
        return KF_NOMEM;
    }
    kf_status status = kfi_file_map_open(&gguf->map, path, err);
    if (status != KF_OK) {
        goto done;
    }
    status = parse(gguf, err);
    if (status == KF_OK) {
        gguf->path = kfi_arena_strndup(&gguf->arena, path, strlen(path));
        if (gguf->path == NULL) {
            status = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a file name");
        }
    }
    if (status != KF_OK) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(path));
        goto done;
    }
    *dst = gguf;
    gguf = NULL;
done:
    kfi_gguf_close(gguf);
    return status;
}

kf_status kfi_gguf_parse(kfi_gguf **dst, const uint8_t *data, size_t n, const kf_allocator *alloc,
                         kf_error *err)
{
    *dst = NULL;
    kfi_gguf *gguf = new_object(alloc, err);
    if (gguf == NULL) {
        return KF_NOMEM;
    }
    gguf->map = (kfi_file_map){.data = data, .size = n};
    const kf_status status = parse(gguf, err);
    if (status != KF_OK) {
        kfi_gguf_close(gguf);
        return status;
    }
    *dst = gguf;
    return KF_OK;
}

void kfi_gguf_close(kfi_gguf *gguf)
{
    if (gguf == NULL) {
        return;
    }
    kfi_file_map_close(&gguf->map);
    kfi_arena_deinit(&gguf->arena);
    kfi_free(gguf->alloc, gguf, sizeof *gguf);
}

const kfi_tensor_table *kfi_gguf_tensors(const kfi_gguf *gguf)
{
    return &gguf->tensors;
}

const kfi_file_map *kfi_gguf_map(const kfi_gguf *gguf)
{
    return &gguf->map;
}
