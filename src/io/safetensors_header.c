/* safetensors_header.c - the JSON header of one safetensors file.
 *
 * Source: the safetensors format, github.com/huggingface/safetensors, README "Format", and the
 * order of checks of its reference implementation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/bytes.h"
#include "io/json_scan.h"
#include "io/safetensors_reader.h"

#define HEADER_BEGIN 8u

/* What visiting the members needs. */
typedef struct header_reader {
    kfi_safetensors_file *file;
    kfi_arena *arena;
    size_t i_file;
    const char *text; /* the header */
    size_t n;
} header_reader;

/* Byte of the file where a key stands, for messages: where its quoted name first occurs (names with
 * escapes are not found: then the begin of the header). */
static uint64_t place_of(const header_reader *reader, const char *key)
{
    const size_t n = strlen(key);
    for (size_t i = 0; i + n + 2 <= reader->n; i++) {
        const char *at = reader->text + i;
        if (at[0] == '"' && at[n + 1] == '"' && memcmp(at + 1, key, n) == 0) {
            return HEADER_BEGIN + i;
        }
    }
    return HEADER_BEGIN;
}

static kf_status fail_tensor(const header_reader *reader, const char *name, const char *what,
                             kf_error *err)
{
    return kfi_fail(err, KF_FORMAT, place_of(reader, name), "tensor '%s': %s",
                    kfi_string_show(name).text, what);
}

static kf_status fail_memory(const header_reader *reader, kf_error *err)
{
    return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a header of %zu bytes", reader->n);
}

/* A count that fits size_t; negative numbers were refused in the text already. */
static bool get_count(size_t *dst, const kfi_json *value)
{
    if (!kfi_json_is_integer(value) || kfi_json_integer(value) < 0) {
        return false;
    }
    *dst = (size_t)kfi_json_integer(value);
    return true;
}

static kf_status read_dtype(kfi_tensor *tensor, const header_reader *reader, const kfi_json *value,
                            kf_error *err)
{
    size_t n = 0;
    if (!kfi_json_is_string(value)) {
        return fail_tensor(reader, tensor->name, "its dtype is missing or no string", err);
    }
    const char *name = kfi_json_string(value, &n);
    if (!kfi_dtype_from_name(&tensor->dtype, name, n) || kfi_dtype_get(tensor->dtype)->block != 1) {
        return kfi_fail(err, KF_UNSUPPORTED, place_of(reader, tensor->name),
                        "tensor '%s': dtype '%s' is not read", kfi_string_show(tensor->name).text,
                        kfi_text_show((kfi_text){name, n}).text);
    }
    return KF_OK;
}

static kf_status read_shape(kfi_tensor *tensor, const header_reader *reader, const kfi_json *value,
                            kf_error *err)
{
    if (!kfi_json_is_array(value)) {
        return fail_tensor(reader, tensor->name, "its shape is missing or no array", err);
    }
    if (kfi_json_size(value) > KFI_TENSOR_MAX_DIMS) {
        return kfi_fail(err, KF_UNSUPPORTED, place_of(reader, tensor->name),
                        "tensor '%s' has %zu dimensions, at most %u are read",
                        kfi_string_show(tensor->name).text, kfi_json_size(value),
                        KFI_TENSOR_MAX_DIMS);
    }
    tensor->n_dims = (uint32_t)kfi_json_size(value);
    tensor->n_elements = 1;
    for (uint32_t i = 0; i < KFI_TENSOR_MAX_DIMS; i++) {
        tensor->shape[i] = 1;
        if (i < tensor->n_dims && !get_count(&tensor->shape[i], kfi_json_at(value, i))) {
            return fail_tensor(reader, tensor->name, "a dimension is no count", err);
        }
        if (!kfi_mul_size(tensor->n_elements, tensor->shape[i], &tensor->n_elements)) {
            return fail_tensor(reader, tensor->name, "its shape is too large", err);
        }
    }
    if (!kfi_mul_size(tensor->n_elements, kfi_dtype_get(tensor->dtype)->block_bytes,
                      &tensor->bytes)) {
        return fail_tensor(reader, tensor->name, "its shape is too large", err);
    }
    return KF_OK;
}

/* The pair [begin, end) must be as long as the shape says; where it lies is checked when all are
 * known. */
static kf_status read_offsets(kfi_tensor *tensor, const header_reader *reader,
                              const kfi_json *value, kf_error *err)
{
    size_t begin = 0;
    size_t end = 0;
    if (!kfi_json_is_array(value) || kfi_json_size(value) != 2 ||
        !get_count(&begin, kfi_json_at(value, 0)) || !get_count(&end, kfi_json_at(value, 1))) {
        return fail_tensor(reader, tensor->name, "its data_offsets are no pair of counts", err);
    }
    if (end < begin || end - begin != tensor->bytes) {
        return kfi_fail(err, KF_FORMAT, place_of(reader, tensor->name),
                        "tensor '%s': data_offsets [%zu, %zu], its shape needs %zu bytes",
                        kfi_string_show(tensor->name).text, begin, end, tensor->bytes);
    }
    tensor->offset = begin;
    return KF_OK;
}

static kf_status read_pair(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    header_reader *reader = ctx;
    size_t n = 0;
    if (!kfi_json_is_string(member)) {
        return kfi_fail(err, KF_FORMAT, place_of(reader, key), "__metadata__: '%s' is no string",
                        kfi_string_show(key).text);
    }
    const char *value = kfi_json_string(member, &n);
    kfi_safetensors_pair *pair = &reader->file->metadata[reader->file->n_metadata];
    pair->key = kfi_arena_strndup(reader->arena, key, strlen(key));
    pair->value = kfi_arena_strndup(reader->arena, value, n);
    if (pair->key == NULL || pair->value == NULL) {
        return fail_memory(reader, err);
    }
    reader->file->n_metadata++;
    return KF_OK;
}

static kf_status read_metadata(header_reader *reader, const kfi_json *member, kf_error *err)
{
    if (!kfi_json_is_object(member)) {
        return kfi_fail(err, KF_FORMAT, place_of(reader, "__metadata__"),
                        "__metadata__ is no object");
    }
    reader->file->metadata =
        kfi_arena_alloc(reader->arena, _Alignof(kfi_safetensors_pair),
                        kfi_json_size(member) * sizeof *reader->file->metadata);
    if (reader->file->metadata == NULL) {
        return fail_memory(reader, err);
    }
    return kfi_json_each(member, read_pair, reader, err);
}

static kf_status read_member(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    header_reader *reader = ctx;
    if (strcmp(key, "__metadata__") == 0) {
        return read_metadata(reader, member, err);
    }
    kfi_tensor *tensor = &reader->file->tensors[reader->file->n_tensors];
    *tensor = (kfi_tensor){.i_file = reader->i_file};
    tensor->name = kfi_arena_strndup(reader->arena, key, strlen(key));
    if (tensor->name == NULL) {
        return fail_memory(reader, err);
    }
    if (key[0] == '\0' || !kfi_json_is_object(member)) {
        return fail_tensor(reader, key, "its name is empty or its entry no object", err);
    }
    KFI_TRY(read_dtype(tensor, reader, kfi_json_get(member, "dtype"), err));
    KFI_TRY(read_shape(tensor, reader, kfi_json_get(member, "shape"), err));
    KFI_TRY(read_offsets(tensor, reader, kfi_json_get(member, "data_offsets"), err));
    reader->file->n_tensors++;
    return KF_OK;
}

static int compare_places(const void *a, const void *b)
{
    const kfi_tensor *x = a;
    const kfi_tensor *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    if (x->bytes != y->bytes) { /* empty tensors come before the one that begins where they are */
        return x->bytes < y->bytes ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

/* Tensors must fill the data from its begin to the end of the file: no hole in which something
 * could hide, no overlap by which a small file asks for much memory. */
static kf_status place_tensors(const header_reader *reader, kf_error *err)
{
    kfi_safetensors_file *file = reader->file;
    const uint64_t data_begin = HEADER_BEGIN + reader->n;
    const uint64_t data_bytes = file->map.size - data_begin;
    uint64_t end = 0;
    if (file->n_tensors > 1) {
        qsort(file->tensors, file->n_tensors, sizeof *file->tensors, compare_places);
    }
    for (size_t i = 0; i < file->n_tensors; i++) {
        kfi_tensor *tensor = &file->tensors[i];
        if (tensor->offset != end || tensor->bytes > data_bytes - end) {
            return kfi_fail(
                err, KF_FORMAT, place_of(reader, tensor->name),
                "tensor '%s': %zu bytes at offset %" PRIu64 ", expected at %" PRIu64 " of %" PRIu64,
                kfi_string_show(tensor->name).text, tensor->bytes, tensor->offset, end, data_bytes);
        }
        end += tensor->bytes;
        tensor->offset += data_begin;
        tensor->data = file->map.data + tensor->offset;
    }
    if (end != data_bytes) {
        return kfi_fail(err, KF_FORMAT, data_begin + end,
                        "tensors end at byte %" PRIu64 ", the file has %zu bytes", data_begin + end,
                        file->map.size);
    }
    return KF_OK;
}

static kf_status read_members(header_reader *reader, const kfi_json *root, kf_error *err)
{
    reader->file->tensors = kfi_arena_alloc(reader->arena, _Alignof(kfi_tensor),
                                            kfi_json_size(root) * sizeof(kfi_tensor));
    if (reader->file->tensors == NULL) {
        return fail_memory(reader, err);
    }
    KFI_TRY(kfi_json_each(root, read_member, reader, err));
    return place_tensors(reader, err);
}

/* Finds the header and refuses what jansson would let pass: text before the brace, "-0". */
static kf_status find_header(header_reader *reader, kf_error *err)
{
    const kfi_file_map *map = &reader->file->map;
    if (map->size < HEADER_BEGIN + 2) {
        return kfi_fail(err, KF_FORMAT, map->size, "not a safetensors file: only %zu bytes",
                        map->size);
    }
    const uint64_t n = kfi_load_u64(map->data);
    if (n > KFI_SAFETENSORS_MAX_HEADER || n > map->size - HEADER_BEGIN) {
        return kfi_fail(err, KF_FORMAT, 0,
                        "not a safetensors file: a header of %" PRIu64
                        " bytes, %zu are left and %" PRIu64 " allowed",
                        n, map->size - HEADER_BEGIN, KFI_SAFETENSORS_MAX_HEADER);
    }
    reader->text = (const char *)map->data + HEADER_BEGIN;
    reader->n = (size_t)n;
    if (n == 0 || reader->text[0] != '{') {
        return kfi_fail(err, KF_FORMAT, HEADER_BEGIN,
                        "not a safetensors file: its header does not begin with '{'");
    }
    const size_t minus = kfi_json_find_minus(reader->text, reader->n);
    if (minus < reader->n) {
        return kfi_fail(err, KF_FORMAT, HEADER_BEGIN + minus, "a negative number in the header");
    }
    return KF_OK;
}

kf_status kfi_safetensors_read_header(kfi_safetensors_file *file, size_t i_file, kfi_arena *arena,
                                      kf_error *err)
{
    header_reader reader = {.file = file, .arena = arena, .i_file = i_file};
    kfi_json *root = NULL;
    KFI_TRY(find_header(&reader, err));
    kf_status status = kfi_json_parse(&root, reader.text, reader.n, err);
    if (status != KF_OK) {
        if (err != NULL && err->offset != KF_NO_OFFSET) {
            err->offset += HEADER_BEGIN;
        }
        kfi_fail_prefix(err, "header: ");
        return status;
    }
    status = read_members(&reader, root, err);
    kfi_json_free(root);
    return status;
}
