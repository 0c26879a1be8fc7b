/* gguf.h - reader of GGUF version 2 and 3, little-endian.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_GGUF_H
#define KFI_IO_GGUF_H

#include "base/file.h"
#include "io/names.h"
#include "io/tensor.h"

typedef struct kfi_gguf kfi_gguf;

/* Value types of metadata, numbered as in the file. */
typedef enum kfi_gguf_type {
    KFI_GGUF_U8 = 0,
    KFI_GGUF_I8 = 1,
    KFI_GGUF_U16 = 2,
    KFI_GGUF_I16 = 3,
    KFI_GGUF_U32 = 4,
    KFI_GGUF_I32 = 5,
    KFI_GGUF_F32 = 6,
    KFI_GGUF_BOOL = 7,
    KFI_GGUF_STRING = 8,
    KFI_GGUF_ARRAY = 9,
    KFI_GGUF_U64 = 10,
    KFI_GGUF_I64 = 11,
    KFI_GGUF_F64 = 12
} kfi_gguf_type;

/* One metadata value. */
typedef struct kfi_gguf_value {
    kfi_text key;
    kfi_gguf_type type;
    kfi_gguf_type element; /* type of the elements of an array */
    uint64_t n;            /* elements of an array, else 1 */
    const uint8_t *data;   /* first byte in the map: unaligned */
    uint64_t offset;       /* of data in the file */
    const kfi_text *texts; /* elements of a string array (n of them), else NULL */
} kfi_gguf_value;

/* Opens and checks everything but the tensors' contents. The file stays mapped.
 * KF_INPUT, KF_FORMAT (message names key or tensor; err->offset is the byte), KF_UNSUPPORTED
 * (version, unknown type id), KF_NOMEM. */
KF_NODISCARD kf_status kfi_gguf_open(kfi_gguf **gguf, const char *path, const kf_allocator *alloc,
                                     kf_error *err);
/* The same over bytes that the caller keeps (fuzzing, tests). */
KF_NODISCARD kf_status kfi_gguf_parse(kfi_gguf **gguf, const uint8_t *data, size_t n,
                                      const kf_allocator *alloc, kf_error *err);
void kfi_gguf_close(kfi_gguf *gguf);

const kfi_tensor_table *kfi_gguf_tensors(const kfi_gguf *gguf);
const kfi_file_map *kfi_gguf_map(const kfi_gguf *gguf);

/* Metadata: count, by index, by key (NULL when absent). */
size_t kfi_gguf_count(const kfi_gguf *gguf);
const kfi_gguf_value *kfi_gguf_at(const kfi_gguf *gguf, size_t i);
const kfi_gguf_value *kfi_gguf_find(const kfi_gguf *gguf, const char *key);

/* Typed reads. A missing key gives KF_FORMAT "…: metadata key 'k' is missing"; a wrong type or a
 * negative or too large number KF_FORMAT naming both types. Any integer type is taken where the
 * value fits. */
KF_NODISCARD kf_status kfi_gguf_u64(uint64_t *dst, const kfi_gguf *gguf, const char *key,
                                    kf_error *err);
KF_NODISCARD kf_status kfi_gguf_f64(double *dst, const kfi_gguf *gguf, const char *key,
                                    kf_error *err);
KF_NODISCARD kf_status kfi_gguf_bool(bool *dst, const kfi_gguf *gguf, const char *key,
                                     kf_error *err);
KF_NODISCARD kf_status kfi_gguf_text(kfi_text *dst, const kfi_gguf *gguf, const char *key,
                                     kf_error *err);
/* Element i of a numeric array as int64 or double; the caller has checked type and i < n. */
int64_t kfi_gguf_element_i64(const kfi_gguf_value *value, uint64_t i);
double kfi_gguf_element_f64(const kfi_gguf_value *value, uint64_t i);

#endif /* KFI_IO_GGUF_H */
