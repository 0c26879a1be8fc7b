/* safetensors_index.c - a checkpoint in several files: model.safetensors.index.json.
 *
 * Its "weight_map" names the file of each tensor. Names come from a stranger: only plain names in
 * the same directory are opened.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "io/safetensors_reader.h"

#define MAX_INDEX ((size_t)100 << 20)

/* The distinct files of a weight_map. */
typedef struct shard_list {
    kfi_arena *arena;
    const char *shards[KFI_SAFETENSORS_MAX_FILES];
    uint32_t slots[2 * KFI_SAFETENSORS_MAX_FILES];
    size_t n;
} shard_list;

static kfi_text shard_name(const void *items, size_t i)
{
    const char *name = ((const char *const *)items)[i];
    return (kfi_text){name, strlen(name)};
}

static kf_status add_shard(shard_list *list, const char *name, kf_error *err)
{
    kfi_names names = {list->shards, shard_name, list->slots, 2 * KFI_SAFETENSORS_MAX_FILES};
    if (kfi_names_find(&names, (kfi_text){name, strlen(name)}) != SIZE_MAX) {
        return KF_OK;
    }
    if (list->n == KFI_SAFETENSORS_MAX_FILES) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "weight_map names more than %u files",
                        KFI_SAFETENSORS_MAX_FILES);
    }
    list->shards[list->n] = kfi_arena_strndup(list->arena, name, strlen(name));
    if (list->shards[list->n] == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a file name");
    }
    if (kfi_names_add(&names, list->n) != KFI_NAMES_ADDED) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "weight_map: too many file names with equal hashes");
    }
    list->n++;
    return KF_OK;
}

static kf_status collect_shard(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    size_t n = 0;
    const char *name = kfi_json_is_string(member) ? kfi_json_string(member, &n) : "";
    if (!kfi_is_plain_name((kfi_text){name, n})) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "weight_map: '%s' is in '%s', which is no plain file name",
                        kfi_string_show(key).text, kfi_string_show(name).text);
    }
    return add_shard(ctx, name, err);
}

static kf_status check_place(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    const kfi_safetensors *st = ctx;
    const char *name = kfi_json_string(member, NULL);
    const kfi_tensor *tensor = kfi_tensor_find(&st->table, key);
    if (tensor == NULL || strcmp(st->files[tensor->i_file].name, name) != 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "weight_map: tensor '%s' is not in '%s', where it should be",
                        kfi_string_show(key).text, kfi_string_show(name).text);
    }
    return KF_OK;
}

/* Each entry is found in its file, and each tensor of a file has an entry. */
static kf_status check_index(kfi_safetensors *st, const kfi_json *map, kf_error *err)
{
    KFI_TRY(kfi_json_each(map, check_place, st, err));
    for (size_t i = 0; i < st->table.n; i++) {
        const kfi_tensor *tensor = &st->table.tensors[i];
        if (kfi_json_get(map, tensor->name) == NULL) {
            return kfi_fail(err, KF_FORMAT, tensor->offset,
                            "tensor '%s' of '%s' is not in the weight_map",
                            kfi_string_show(tensor->name).text, st->files[tensor->i_file].name);
        }
    }
    return KF_OK;
}

static kf_status open_shards(kfi_safetensors *st, const char *directory, const kfi_json *map,
                             kf_error *err)
{
    shard_list *list = kfi_calloc(st->alloc, 1, sizeof *list);
    if (list == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a list of files");
    }
    list->arena = &st->arena;
    kf_status status = kfi_json_each(map, collect_shard, list, err);
    if (status == KF_OK) {
        status = kfi_safetensors_new_files(st, list->n, err);
    }
    for (size_t i = 0; status == KF_OK && i < list->n; i++) {
        char *path = kfi_path_join(st->alloc, directory, list->shards[i]);
        status = path == NULL ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a file name")
                              : kfi_safetensors_open_file(st, i, path, err);
        kfi_free_text(st->alloc, path);
    }
    kfi_free(st->alloc, list, sizeof *list);
    return status;
}

kf_status kfi_safetensors_open_shards(kfi_safetensors *st, const char *directory,
                                      const char *index_path, kf_error *err)
{
    kfi_json *root = NULL;
    KFI_TRY(kfi_json_read(&root, index_path, MAX_INDEX, err));
    const kfi_json *map = kfi_json_get(root, "weight_map");
    kf_status status = KF_OK;
    if (!kfi_json_is_object(map)) {
        status = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s: it has no object \"weight_map\"",
                          kfi_path_name(index_path));
        goto done;
    }
    status = open_shards(st, directory, map, err);
    if (status != KF_OK) {
        goto done;
    }
    status = kfi_safetensors_join(st, err);
    if (status == KF_OK) {
        status = check_index(st, map, err);
    }
done:
    kfi_json_free(root);
    return status;
}
