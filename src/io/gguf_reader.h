/* gguf_reader.h - what the parts of the GGUF reader share: a cursor over the file, and the object.
 *
 *   "GGUF" version:u32 n_tensors:u64 n_kv:u64          header
 *   key:string type:u32 value                           n_kv times
 *   name:string n_dims:u32 ne[n_dims]:u64 type:u32 offset:u64      n_tensors times
 *   padding to general.alignment, then the tensors      offset counts from here
 *
 * A string is n:u64 and n bytes. Every count is compared with the bytes that are left before
 * anything is allocated for it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_GGUF_READER_H
#define KFI_IO_GGUF_READER_H

#include "base/fail.h"
#include "io/gguf.h"

/* Ceilings: far above any real file, low enough that a hostile one costs little. */
#define KFI_GGUF_MAX_METADATA  ((uint64_t)256 << 20) /* header, metadata and tensor list */
#define KFI_GGUF_MAX_KEYS      UINT64_C(65536)
#define KFI_GGUF_MAX_TENSORS   UINT64_C(1000000)
#define KFI_GGUF_MAX_STRING    ((uint64_t)64 << 20)
#define KFI_GGUF_MAX_KEY       UINT64_C(65535)
#define KFI_GGUF_MAX_ARRAY     ((uint64_t)1 << 24)
#define KFI_GGUF_MAX_NAME      UINT64_C(63)
#define KFI_GGUF_MAX_ALIGNMENT UINT64_C(1048576)

/* Reads forward; n is the end of what metadata may use, at ≤ n always. */
typedef struct kfi_gguf_cursor {
    const uint8_t *data;
    size_t n;
    size_t at;
} kfi_gguf_cursor;

struct kfi_gguf {
    const kf_allocator *alloc;
    kfi_arena arena;
    kfi_file_map map;
    const char *path; /* for messages; NULL over bytes */
    kfi_gguf_value *values;
    size_t n_values;
    uint32_t *slots;
    size_t n_slots;
    kfi_tensor_table tensors;
};

/* What is read next, for messages: "metadata key 'x'", "tensor 7 of 210". */
kf_status kfi_gguf_read_u32(uint32_t *dst, kfi_gguf_cursor *cursor, const char *what,
                            kf_error *err);
kf_status kfi_gguf_read_u64(uint64_t *dst, kfi_gguf_cursor *cursor, const char *what,
                            kf_error *err);
/* A string of at most max bytes. */
kf_status kfi_gguf_read_text(kfi_text *dst, kfi_gguf_cursor *cursor, uint64_t max, const char *what,
                             kf_error *err);

/* n_kv pairs into gguf->values, keys unique. */
KF_NODISCARD kf_status kfi_gguf_read_metadata(kfi_gguf *gguf, kfi_gguf_cursor *cursor,
                                              uint64_t n_kv, kf_error *err);
/* The tensor list, then the check of every place against the file. */
KF_NODISCARD kf_status kfi_gguf_read_tensors(kfi_gguf *gguf, kfi_gguf_cursor *cursor,
                                             uint64_t n_tensors, kf_error *err);

/* "u32", "string", …; "unknown" for a number that is none. */
const char *kfi_gguf_type_name(uint32_t type);

#endif /* KFI_IO_GGUF_READER_H */
