/* safetensors.h - reader of .safetensors files and sharded checkpoints, and a writer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_SAFETENSORS_H
#define KFI_IO_SAFETENSORS_H

#include "base/file.h"
#include "io/tensor.h"

typedef struct kfi_safetensors kfi_safetensors;

/* Opens one .safetensors file, or a directory: its model.safetensors.index.json with every shard it
 * names, else its model.safetensors. Names in the index must be plain file names. KF_INPUT,
 * KF_FORMAT, KF_UNSUPPORTED, KF_NOMEM. */
KF_NODISCARD kf_status kfi_safetensors_open(kfi_safetensors **dst, const char *path,
                                            const kf_allocator *alloc, kf_error *err);
/* One file over bytes that the caller keeps. */
KF_NODISCARD kf_status kfi_safetensors_parse(kfi_safetensors **dst, const uint8_t *data, size_t n,
                                             const kf_allocator *alloc, kf_error *err);
void kfi_safetensors_close(kfi_safetensors *st);

const kfi_tensor_table *kfi_safetensors_tensors(const kfi_safetensors *st);
size_t kfi_safetensors_file_count(const kfi_safetensors *st);
const char *kfi_safetensors_file_name(const kfi_safetensors *st, size_t i_file);
const kfi_file_map *kfi_safetensors_map(const kfi_safetensors *st, size_t i_file);
/* A string of a file's "__metadata__", or NULL. */
const char *kfi_safetensors_metadata(const kfi_safetensors *st, size_t i_file, const char *key);

/* What to write: tensors in the given order, each with its data at hand. */
typedef struct kfi_safetensors_entry {
    const char *name;
    kfi_dtype dtype; /* only types that safetensors has */
    uint32_t n_dims;
    size_t shape[KFI_TENSOR_MAX_DIMS];
    const void *data;
    size_t bytes;
} kfi_safetensors_entry;

/* Writes one file, atomically. The header is padded so that the data begins at a multiple of 64
 * bytes; an entry is 64-byte aligned when all before it have sizes that are multiples of 64, so
 * give those first. metadata: n_metadata pairs key, value. */
KF_NODISCARD kf_status kfi_safetensors_write(const char *path, const kfi_safetensors_entry *entries,
                                             size_t n, const char *const *metadata,
                                             size_t n_metadata, const kf_allocator *alloc,
                                             kf_error *err);

#endif /* KFI_IO_SAFETENSORS_H */
