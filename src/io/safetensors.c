/* safetensors.c - opening of safetensors files and checkpoints.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/safetensors.h"

#include <string.h>

#include "io/safetensors_reader.h"

/* A tensor takes some 110 bytes and its entry in a header some 50 at least: twice the headers of
 * many shards. */
#define ARENA_MAX ((size_t)2 << 30)

#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

static kfi_safetensors *new_object(const kf_allocator *alloc, kf_error *err)
{
    kfi_safetensors *st = kfi_calloc(alloc, 1, sizeof *st);
    if (st == NULL) {
        (void)kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a reader");
        return NULL;
    }
    st->alloc = alloc;
    kfi_arena_init(&st->arena, alloc, ARENA_MAX);
    return st;
}

kf_status kfi_safetensors_new_files(kfi_safetensors *st, size_t n, kf_error *err)
{
    st->files = kfi_arena_alloc(&st->arena, _Alignof(kfi_safetensors_file), n * sizeof *st->files);
    if (st->files == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for %zu files", n);
    }
    memset(st->files, 0, n * sizeof *st->files);
    st->n_files = n;
    return KF_OK;
}

kf_status kfi_safetensors_open_file(kfi_safetensors *st, size_t i_file, const char *path,
                                    kf_error *err)
{
    kfi_safetensors_file *file = &st->files[i_file];
    const char *name = kfi_path_name(path);
    file->name = kfi_arena_strndup(&st->arena, name, strlen(name));
    if (file->name == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a file name");
    }
    KFI_TRY(kfi_file_map_open(&file->map, path, err));
    const kf_status status = kfi_safetensors_read_header(file, i_file, &st->arena, err);
    if (status != KF_OK) {
        kfi_fail_prefix(err, "%s: ", name);
    }
    return status;
}

kf_status kfi_safetensors_join(kfi_safetensors *st, kf_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < st->n_files; i++) {
        n += st->files[i].n_tensors;
    }
    kfi_tensor *tensors = kfi_arena_alloc(&st->arena, _Alignof(kfi_tensor), n * sizeof(kfi_tensor));
    if (tensors == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for %zu tensors", n);
    }
    st->table = (kfi_tensor_table){.tensors = tensors, .n = n};
    for (size_t i = 0; i < st->n_files; i++) {
        const kfi_safetensors_file *file = &st->files[i];
        memcpy(tensors, file->tensors, file->n_tensors * sizeof *tensors);
        tensors += file->n_tensors;
    }
    return kfi_tensor_table_index(&st->table, &st->arena, err);
}

static kf_status open_single(kfi_safetensors *st, const char *path, kf_error *err)
{
    KFI_TRY(kfi_safetensors_new_files(st, 1, err));
    KFI_TRY(kfi_safetensors_open_file(st, 0, path, err));
    return kfi_safetensors_join(st, err);
}

static kf_status open_directory(kfi_safetensors *st, const char *path, kf_error *err)
{
    kf_status status = KF_OK;
    char *index = kfi_path_join(st->alloc, path, INDEX_NAME);
    char *single = kfi_path_join(st->alloc, path, SINGLE_NAME);
    if (index == NULL || single == NULL) {
        status = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a file name");
    } else if (kfi_file_exists(index)) {
        status = kfi_safetensors_open_shards(st, path, index, err);
    } else if (kfi_file_exists(single)) {
        status = open_single(st, single, err);
    } else {
        status = kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "'%s' holds neither %s nor %s", path,
                          SINGLE_NAME, INDEX_NAME);
    }
    kfi_free_text(st->alloc, index);
    kfi_free_text(st->alloc, single);
    return status;
}

kf_status kfi_safetensors_open(kfi_safetensors **dst, const char *path, const kf_allocator *alloc,
                               kf_error *err)
{
    *dst = NULL;
    kfi_safetensors *st = new_object(alloc, err);
    if (st == NULL) {
        return KF_NOMEM;
    }
    const kf_status status =
        kfi_file_is_directory(path) ? open_directory(st, path, err) : open_single(st, path, err);
    if (status != KF_OK) {
        kfi_safetensors_close(st);
        return status;
    }
    *dst = st;
    return KF_OK;
}

kf_status kfi_safetensors_parse(kfi_safetensors **dst, const uint8_t *data, size_t n,
                                const kf_allocator *alloc, kf_error *err)
{
    *dst = NULL;
    kfi_safetensors *st = new_object(alloc, err);
    if (st == NULL) {
        return KF_NOMEM;
    }
    kf_status status = kfi_safetensors_new_files(st, 1, err);
    if (status != KF_OK) {
        goto done;
    }
    st->files[0].name = "";
    st->files[0].map = (kfi_file_map){.data = data, .size = n};
    status = kfi_safetensors_read_header(&st->files[0], 0, &st->arena, err);
    if (status != KF_OK) {
        goto done;
    }
    status = kfi_safetensors_join(st, err);
    if (status != KF_OK) {
        goto done;
    }
    *dst = st;
    st = NULL;
done:
    kfi_safetensors_close(st);
    return status;
}

void kfi_safetensors_close(kfi_safetensors *st)
{
    if (st == NULL) {
        return;
    }
    for (size_t i = 0; i < st->n_files; i++) {
        kfi_file_map_close(&st->files[i].map);
    }
    kfi_arena_deinit(&st->arena);
    kfi_free(st->alloc, st, sizeof *st);
}

const kfi_tensor_table *kfi_safetensors_tensors(const kfi_safetensors *st)
{
    return &st->table;
}

size_t kfi_safetensors_file_count(const kfi_safetensors *st)
{
    return st->n_files;
}

const char *kfi_safetensors_file_name(const kfi_safetensors *st, size_t i_file)
{
    return st->files[i_file].name;
}

const kfi_file_map *kfi_safetensors_map(const kfi_safetensors *st, size_t i_file)
{
    return &st->files[i_file].map;
}

const char *kfi_safetensors_metadata(const kfi_safetensors *st, size_t i_file, const char *key)
{
    const kfi_safetensors_file *file = &st->files[i_file];
    for (size_t i = 0; i < file->n_metadata; i++) {
        if (strcmp(file->metadata[i].key, key) == 0) {
            return file->metadata[i].value;
        }
    }
    return NULL;
}
