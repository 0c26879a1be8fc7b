/* safetensors_reader.h - what the parts of the safetensors reader share.
 *
 *   N:u64   header: N bytes of JSON, maybe padded with spaces   data: to the end of the file
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_SAFETENSORS_READER_H
#define KFI_IO_SAFETENSORS_READER_H

#include "base/fail.h"
#include "io/json.h"
#include "io/names.h"
#include "io/safetensors.h"

#define KFI_SAFETENSORS_MAX_HEADER UINT64_C(100000000) /* as the reference */
#define KFI_SAFETENSORS_MAX_FILES  4096u

typedef struct kfi_safetensors_pair {
    const char *key;
    const char *value;
} kfi_safetensors_pair;

typedef struct kfi_safetensors_file {
    const char *name; /* "" over bytes */
    kfi_file_map map;
    kfi_safetensors_pair *metadata;
    size_t n_metadata;
    kfi_tensor *tensors; /* by offset */
    size_t n_tensors;
} kfi_safetensors_file;

struct kfi_safetensors {
    const kf_allocator *alloc;
    kfi_arena arena;
    kfi_safetensors_file *files;
    size_t n_files;
    kfi_tensor_table table; /* those of all files, in the order of the files */
};

/* Reads the header of file->map; tensors and strings go to the arena. */
KF_NODISCARD kf_status kfi_safetensors_read_header(kfi_safetensors_file *file, size_t i_file,
                                                   kfi_arena *arena, kf_error *err);

/* Room for n files. */
KF_NODISCARD kf_status kfi_safetensors_new_files(kfi_safetensors *st, size_t n, kf_error *err);
/* Maps path as file i of st->files and reads its header. */
KF_NODISCARD kf_status kfi_safetensors_open_file(kfi_safetensors *st, size_t i_file,
                                                 const char *path, kf_error *err);
/* Makes st->table of the tensors of all files; a name in two of them is refused. */
KF_NODISCARD kf_status kfi_safetensors_join(kfi_safetensors *st, kf_error *err);

/* All of a sharded checkpoint: opens every file that the index names in directory, joins them, and
 * checks that each tensor is where the index says and that there is no other. */
KF_NODISCARD kf_status kfi_safetensors_open_shards(kfi_safetensors *st, const char *directory,
                                                   const char *index_path, kf_error *err);

#endif /* KFI_IO_SAFETENSORS_READER_H */
