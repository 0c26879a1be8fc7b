/* tensor.h - tensors as they lie in a foreign file: element types, shapes, decoding to float.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_TENSOR_H
#define KFI_IO_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "kerf/error.h"

/* KFI_DTYPE(constant, name, ggml id or -1, elements a block, bytes a block). The block types are
 * GGUF's, drawn in io/ggml_blocks.c. */
#define KFI_DTYPE_MAP(KFI_DTYPE)                                                                   \
    KFI_DTYPE(F32, "F32", 0, 1, 4)                                                                 \
    KFI_DTYPE(F16, "F16", 1, 1, 2)                                                                 \
    KFI_DTYPE(BF16, "BF16", 30, 1, 2)                                                              \
    KFI_DTYPE(F64, "F64", 28, 1, 8)                                                                \
    KFI_DTYPE(I8, "I8", 24, 1, 1)                                                                  \
    KFI_DTYPE(I16, "I16", 25, 1, 2)                                                                \
    KFI_DTYPE(I32, "I32", 26, 1, 4)                                                                \
    KFI_DTYPE(I64, "I64", 27, 1, 8)                                                                \
    KFI_DTYPE(U8, "U8", -1, 1, 1)                                                                  \
    KFI_DTYPE(U16, "U16", -1, 1, 2)                                                                \
    KFI_DTYPE(U32, "U32", -1, 1, 4)                                                                \
    KFI_DTYPE(U64, "U64", -1, 1, 8)                                                                \
    KFI_DTYPE(BOOL, "BOOL", -1, 1, 1)                                                              \
    KFI_DTYPE(F8_E4M3, "F8_E4M3", -1, 1, 1)                                                        \
    KFI_DTYPE(F8_E5M2, "F8_E5M2", -1, 1, 1)                                                        \
    KFI_DTYPE(F8_E8M0, "F8_E8M0", -1, 1, 1)                                                        \
    KFI_DTYPE(Q4_0, "Q4_0", 2, 32, 18)                                                             \
    KFI_DTYPE(Q4_1, "Q4_1", 3, 32, 20)                                                             \
    KFI_DTYPE(Q5_0, "Q5_0", 6, 32, 22)                                                             \
    KFI_DTYPE(Q5_1, "Q5_1", 7, 32, 24)                                                             \
    KFI_DTYPE(Q8_0, "Q8_0", 8, 32, 34)                                                             \
    KFI_DTYPE(Q2_K, "Q2_K", 10, 256, 84)                                                           \
    KFI_DTYPE(Q3_K, "Q3_K", 11, 256, 110)                                                          \
    KFI_DTYPE(Q4_K, "Q4_K", 12, 256, 144)                                                          \
    KFI_DTYPE(Q5_K, "Q5_K", 13, 256, 176)                                                          \
    KFI_DTYPE(Q6_K, "Q6_K", 14, 256, 210)

typedef enum kfi_dtype {
#define KFI_DTYPE_ENUM(constant, name, ggml_id, elements, bytes) KFI_DTYPE_##constant,
    KFI_DTYPE_MAP(KFI_DTYPE_ENUM)
#undef KFI_DTYPE_ENUM
    KFI_DTYPE_COUNT
} kfi_dtype;

typedef struct kfi_dtype_info {
    const char *name;
    int ggml_id;  /* -1: not in GGUF */
    size_t block; /* elements a block */
    size_t block_bytes;
} kfi_dtype_info;

const kfi_dtype_info *kfi_dtype_get(kfi_dtype dtype);
/* False when no such type is known. */
bool kfi_dtype_from_ggml(kfi_dtype *dtype, uint32_t ggml_id);
bool kfi_dtype_from_name(kfi_dtype *dtype, const char *name, size_t n);
/* True where kfi_tensor_decode can turn it into float. */
bool kfi_dtype_is_decodable(kfi_dtype dtype);

#define KFI_TENSOR_MAX_DIMS 4u

/* A tensor in a mapped file. Shape is in C order: shape[n_dims - 1] varies fastest (GGUF stores it
 * the other way). */
typedef struct kfi_tensor {
    const char *name; /* NUL-terminated, lives as long as the table */
    kfi_dtype dtype;
    uint32_t n_dims;
    size_t shape[KFI_TENSOR_MAX_DIMS]; /* 1 beyond n_dims */
    size_t n_elements;
    const uint8_t *data; /* in the map; no alignment is promised */
    size_t bytes;
    uint64_t offset; /* of data in its file */
    size_t i_file;   /* which file of a sharded checkpoint */
} kfi_tensor;

/* Bytes of n tensors, NULL where one is missing. */
static inline uint64_t kfi_tensors_bytes(const kfi_tensor *const *tensors, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += tensors[i] == NULL ? 0 : tensors[i]->bytes;
    }
    return bytes;
}

/* All tensors of a checkpoint, with lookup by name through a hash. */
typedef struct kfi_tensor_table {
    kfi_tensor *tensors;
    size_t n;
    uint32_t *slots; /* open addressing: index + 1 of a tensor, 0 = free */
    size_t n_slots;  /* power of two */
} kfi_tensor_table;

/* Builds the lookup over table->tensors; slots come from the arena. KF_FORMAT when a name occurs
 * twice. */
KF_NODISCARD kf_status kfi_tensor_table_index(kfi_tensor_table *table, kfi_arena *arena,
                                              kf_error *err);
/* NULL when there is none. */
const kfi_tensor *kfi_tensor_find(const kfi_tensor_table *table, const char *name);

/* Decodes n elements from element begin on (both multiples of the type's block) into float. Types
 * that are not decodable: KF_UNSUPPORTED. Cost O(n); reentrant; exact where float32 can hold the
 * value. */
KF_NODISCARD kf_status kfi_tensor_decode(float *dst, const kfi_tensor *tensor, size_t begin,
                                         size_t n, kf_error *err);

/* The block types whose elements lie on one grid a block: w = scale (code - zero) + offset, exactly
 * as decoding gives it. */
#define KFI_GRID_BLOCK 32u
typedef struct kfi_block_grid {
    uint8_t bits;
    uint8_t zero;
    bool has_offset;
} kfi_block_grid;

/* NULL for other types. */
const kfi_block_grid *kfi_block_grid_get(kfi_dtype dtype);
/* Codes and grid of one block of such a type. */
void kfi_block_read(uint8_t codes[KFI_GRID_BLOCK], float *scale, float *offset, kfi_dtype dtype,
                    const uint8_t *src);

/* n elements of a ggml block type (ggml_blocks.c); n is a multiple of the block. Used by
 * kfi_tensor_decode. */
void kfi_ggml_decode(float *dst, kfi_dtype dtype, const uint8_t *src, size_t n);

#endif /* KFI_IO_TENSOR_H */
