/* gguf_tensors.c - the tensor list of a GGUF file, and the check of every place it names.
 *
 * Tensors lie in the order of the list, each padded to the alignment: the offset of one is the
 * padded end of the one before it. So none overlaps another, and no bytes hide between them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "io/bytes.h"
#include "io/gguf_reader.h"

#define DEFAULT_ALIGNMENT 32u

/* The smallest entry: an empty name, no dimension, a type and an offset. */
#define MIN_ENTRY_BYTES 24u

/* Ids of the public list that Kerf does not decode, and private ids of forks. */
typedef struct foreign_type {
    uint32_t first, last;
    const char *name;
} foreign_type;

static const foreign_type foreign_types[] = {
    {4, 5, "Q4_2 or Q4_3, removed from GGUF in 2023"},
    {9, 9, "Q8_1, an intermediate type"},
    {15, 15, "Q8_K, an intermediate type"},
    {16, 16, "IQ2_XXS"},
    {17, 17, "IQ2_XS"},
    {18, 18, "IQ3_XXS"},
    {19, 19, "IQ1_S"},
    {20, 20, "IQ4_NL"},
    {21, 21, "IQ3_S"},
    {22, 22, "IQ2_S"},
    {23, 23, "IQ4_XS"},
    {29, 29, "IQ1_M"},
    {31, 33, "a Q4_0 repacked for ARM, removed from GGUF in 2025"},
    {34, 34, "TQ1_0"},
    {35, 35, "TQ2_0"},
    {36, 36, "I2_S of BitNet and ik_llama.cpp"},
    {37, 38, "an IQ4_NL repacked for ARM, removed from GGUF in 2025"},
    {39, 39, "MXFP4"},
    {40, 40, "NVFP4"},
    {41, 41, "Q1_0"},
    {42, 42, "Q2_0"},
    {97, 99, "a private type of ik_llama.cpp"},
    {133, 158, "a private type of ik_llama.cpp"},
    {202, 399, "a private type of ik_llama.cpp"},
};

static const char *foreign_type_name(uint32_t id)
{
    for (size_t i = 0; i < sizeof foreign_types / sizeof *foreign_types; i++) {
        if (id >= foreign_types[i].first && id <= foreign_types[i].last) {
            return foreign_types[i].name;
        }
    }
    return NULL;
}

static kf_status read_alignment(uint64_t *dst, const kfi_gguf *gguf, kf_error *err)
{
    *dst = DEFAULT_ALIGNMENT;
    const kfi_gguf_value *value = kfi_gguf_find(gguf, "general.alignment");
    if (value == NULL) {
        return KF_OK;
    }
    if (value->type != KFI_GGUF_U32) {
        return kfi_fail(err, KF_FORMAT, value->offset,
                        "metadata key 'general.alignment' is %s, expected u32",
                        kfi_gguf_type_name(value->type));
    }
    const uint32_t alignment = kfi_load_u32(value->data);
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 ||
        alignment > KFI_GGUF_MAX_ALIGNMENT) {
        return kfi_fail(err, KF_FORMAT, value->offset,
                        "metadata key 'general.alignment' is %" PRIu32
                        ", expected a power of two up to %" PRIu64,
                        alignment, KFI_GGUF_MAX_ALIGNMENT);
    }
    *dst = alignment;
    return KF_OK;
}

static kf_status read_name(kfi_gguf *gguf, kfi_tensor *tensor, size_t i, kfi_gguf_cursor *cursor,
                           kf_error *err)
{
    char what[64];
    (void)snprintf(what, sizeof what, "name of tensor %zu of %zu", i + 1, gguf->tensors.n);
    const size_t begin = cursor->at;
    kfi_text name = {NULL, 0};
    KFI_TRY(kfi_gguf_read_text(&name, cursor, KFI_GGUF_MAX_NAME, what, err));
    if (name.n == 0 || memchr(name.data, 0, name.n) != NULL) {
        return kfi_fail(err, KF_FORMAT, begin, "%s: it is empty or holds a NUL", what);
    }
    tensor->name = kfi_arena_strndup(&gguf->arena, name.data, name.n);
    if (tensor->name == NULL) {
        return kfi_fail(err, KF_NOMEM, begin, "%s: no memory", what);
    }
    return KF_OK;
}

/* Dimensions, turned into C order, and their product. */
static kf_status read_shape(kfi_tensor *tensor, kfi_gguf_cursor *cursor, const char *what,
                            kf_error *err)
{
    KFI_TRY(kfi_gguf_read_u32(&tensor->n_dims, cursor, what, err));
    if (tensor->n_dims > KFI_TENSOR_MAX_DIMS) {
        return kfi_fail(err, KF_FORMAT, cursor->at - 4,
                        "%s has %" PRIu32 " dimensions, at most %u are allowed", what,
                        tensor->n_dims, KFI_TENSOR_MAX_DIMS);
    }
    for (uint32_t k = 0; k < KFI_TENSOR_MAX_DIMS; k++) {
        tensor->shape[k] = 1;
    }
    tensor->n_elements = 1;
    for (uint32_t k = 0; k < tensor->n_dims; k++) {
        uint64_t ne = 0;
        KFI_TRY(kfi_gguf_read_u64(&ne, cursor, what, err));
        /* The reference counts in int64: a product of 2^63 or more is refused there too. */
        if (ne == 0 || ne > INT64_MAX ||
            !kfi_mul_size(tensor->n_elements, (size_t)ne, &tensor->n_elements) ||
            tensor->n_elements > INT64_MAX) {
            return kfi_fail(err, KF_FORMAT, cursor->at - 8,
                            "%s: dimension %" PRIu32 " is %" PRIu64 ", which is zero or too large",
                            what, k, ne);
        }
        tensor->shape[tensor->n_dims - 1 - k] = (size_t)ne;
    }
    return KF_OK;
}

static kf_status read_dtype(kfi_tensor *tensor, kfi_gguf_cursor *cursor, const char *what,
                            kf_error *err)
{
    uint32_t id = 0;
    KFI_TRY(kfi_gguf_read_u32(&id, cursor, what, err));
    if (!kfi_dtype_from_ggml(&tensor->dtype, id)) {
        const char *name = foreign_type_name(id);
        return kfi_fail(err, KF_UNSUPPORTED, cursor->at - 4,
                        "%s has the type id %" PRIu32 " (%s), which is not read", what, id,
                        name != NULL ? name : "unknown");
    }
    const kfi_dtype_info *info = kfi_dtype_get(tensor->dtype);
    const size_t row = tensor->n_dims > 0 ? tensor->shape[tensor->n_dims - 1] : 1;
    if (row % info->block != 0) {
        return kfi_fail(err, KF_FORMAT, cursor->at - 4,
                        "%s: rows of %zu elements, %s needs a multiple of %zu", what, row,
                        info->name, info->block);
    }
    if (!kfi_mul_size(tensor->n_elements / info->block, info->block_bytes, &tensor->bytes)) {
        return kfi_fail(err, KF_FORMAT, cursor->at - 4, "%s: %zu elements of %s are too many", what,
                        tensor->n_elements, info->name);
    }
    return KF_OK;
}

/* One entry; *end is the padded end of the tensors before it, and then of this one. */
static kf_status read_entry(kfi_gguf *gguf, size_t i, uint64_t alignment, uint64_t *end,
                            kfi_gguf_cursor *cursor, kf_error *err)
{
    kfi_tensor *tensor = &gguf->tensors.tensors[i];
    char what[96];
    KFI_TRY(read_name(gguf, tensor, i, cursor, err));
    (void)snprintf(what, sizeof what, "tensor '%s'", kfi_string_show(tensor->name).text);
    KFI_TRY(read_shape(tensor, cursor, what, err));
    KFI_TRY(read_dtype(tensor, cursor, what, err));
    KFI_TRY(kfi_gguf_read_u64(&tensor->offset, cursor, what, err));
    if (tensor->offset != *end) {
        return kfi_fail(err, KF_FORMAT, cursor->at - 8,
                        "%s: offset %" PRIu64 ", expected %" PRIu64 " behind the tensors before it",
                        what, tensor->offset, *end);
    }
    if (tensor->bytes > gguf->map.size || *end > gguf->map.size - tensor->bytes) {
        return kfi_fail(err, KF_FORMAT, cursor->at - 8,
                        "%s: %zu bytes at offset %" PRIu64 ", but the file has only %zu", what,
                        tensor->bytes, tensor->offset, gguf->map.size);
    }
    /* Both fit in the file, the padding in a MiB: no overflow. */
    *end = (*end + tensor->bytes + alignment - 1) / alignment * alignment;
    return KF_OK;
}

/* Turns offsets in the data section into places in the file. */
static kf_status place_tensors(kfi_gguf *gguf, uint64_t data_begin, kf_error *err)
{
    const uint64_t size = gguf->map.size;
    for (size_t i = 0; i < gguf->tensors.n; i++) {
        kfi_tensor *tensor = &gguf->tensors.tensors[i];
        if (data_begin > size || tensor->offset + tensor->bytes > size - data_begin) {
            return kfi_fail(err, KF_FORMAT, size,
                            "tensor '%s': %zu bytes at byte %" PRIu64
                            " reach past the end of the file, %" PRIu64 " bytes",
                            kfi_string_show(tensor->name).text, tensor->bytes,
                            data_begin + tensor->offset, size);
        }
        tensor->offset += data_begin;
        tensor->data = gguf->map.data + tensor->offset;
    }
    return KF_OK;
}

kf_status kfi_gguf_read_tensors(kfi_gguf *gguf, kfi_gguf_cursor *cursor, uint64_t n_tensors,
                                kf_error *err)
{
    uint64_t alignment = 0;
    KFI_TRY(read_alignment(&alignment, gguf, err));
    const size_t left = cursor->n - cursor->at;
    if (n_tensors > left / MIN_ENTRY_BYTES) {
        return kfi_fail(err, KF_FORMAT, 8,
                        "%" PRIu64 " tensors declared, but only %zu bytes are left", n_tensors,
                        left);
    }
    kfi_tensor_table *table = &gguf->tensors;
    const size_t n = (size_t)n_tensors;
    table->tensors =
        kfi_arena_alloc(&gguf->arena, _Alignof(kfi_tensor), n * sizeof *table->tensors);
    if (table->tensors == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for %zu tensors", n);
    }
    memset(table->tensors, 0, n * sizeof *table->tensors);
    table->n = n;
    uint64_t end = 0;
    for (size_t i = 0; i < n; i++) {
        KFI_TRY(read_entry(gguf, i, alignment, &end, cursor, err));
    }
    KFI_TRY(place_tensors(gguf, (cursor->at + alignment - 1) / alignment * alignment, err));
    return kfi_tensor_table_index(table, &gguf->arena, err);
}
