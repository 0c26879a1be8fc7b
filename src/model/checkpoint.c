/* checkpoint.c - opening any container, and reading its tensors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/checkpoint.h"

#include <assert.h>
#include <string.h>

#include "base/fail.h"
#include "format/format.h"
#include "model/checkpoint_names.h"

/* Names, tables and the copied vectors: far above what a model of the largest shape needs. */
#define ARENA_CEILING ((size_t)1 << 30)

kf_status kfi_checkpoint_take_table(kfi_checkpoint *checkpoint, const kfi_tensor_table *source,
                                    kf_error *err)
{
    size_t bytes = 0;
    if (!kfi_mul_size(source->n, sizeof(kfi_tensor), &bytes)) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
    }
    kfi_tensor *tensors = kfi_arena_alloc(&checkpoint->arena, _Alignof(kfi_tensor), bytes);
    kfi_stored *stored =
        kfi_arena_alloc(&checkpoint->arena, _Alignof(kfi_stored), source->n * sizeof(kfi_stored));
    if (tensors == NULL || stored == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
    }
    if (source->n > 0) {
        memcpy(tensors, source->tensors, bytes);
        memset(stored, 0, source->n * sizeof(kfi_stored));
    }
    checkpoint->table = (kfi_tensor_table){.tensors = tensors, .n = source->n};
    checkpoint->stored = stored;
    return KF_OK;
}

kf_status kfi_checkpoint_index(kfi_checkpoint *checkpoint, kf_error *err)
{
    return kfi_tensor_table_index(&checkpoint->table, &checkpoint->arena, err);
}

const kfi_tensor *kfi_checkpoint_find(const kfi_checkpoint *checkpoint, const char *name)
{
    return kfi_tensor_find(&checkpoint->table, name);
}

const kfi_stored *kfi_checkpoint_stored(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor)
{
    return &checkpoint->stored[tensor - checkpoint->table.tensors];
}

void kfi_checkpoint_mark_permuted(kfi_checkpoint *checkpoint)
{
    const kfi_config *config = &checkpoint->config;
    for (size_t i = 0; i < config->n_layers; i++) {
        const kfi_name q = kfi_name_weight(i, KFI_LINEAR_Q);
        const kfi_name k = kfi_name_weight(i, KFI_LINEAR_K);
        const kfi_tensor *found[] = {kfi_checkpoint_find(checkpoint, q.text),
                                     kfi_checkpoint_find(checkpoint, k.text)};
        const size_t n_heads[] = {config->n_heads, config->n_kv_heads};
        for (size_t j = 0; j < 2; j++) {
            if (found[j] != NULL) {
                checkpoint->stored[found[j] - checkpoint->table.tensors].permuted_heads =
                    n_heads[j];
            }
        }
    }
}

bool kfi_checkpoint_shape(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor, size_t *rows,
                          size_t *cols)
{
    const kfi_packed *packed = &kfi_checkpoint_stored(checkpoint, tensor)->packed;
    if (packed->codes != NULL) {
        *rows = packed->rows;
        *cols = packed->cols;
        return true;
    }
    if (tensor->n_dims != 1 && tensor->n_dims != 2) {
        return false;
    }
    *rows = tensor->n_dims == 2 ? tensor->shape[0] : 1;
    *cols = tensor->shape[tensor->n_dims - 1];
    return true;
}

const char *kfi_checkpoint_format(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor)
{
    const kfi_stored *stored = kfi_checkpoint_stored(checkpoint, tensor);
    return stored->packed_format[0] != '\0' ? stored->packed_format
                                            : kfi_dtype_get(tensor->dtype)->name;
}

/* Of a head that is stored for neighbouring pairs: the rows of a rotary pair, half a head apart
 * here, are neighbours there. */
size_t kfi_checkpoint_stored_row(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor,
                                 size_t row)
{
    const size_t n_heads = kfi_checkpoint_stored(checkpoint, tensor)->permuted_heads;
    if (n_heads == 0) {
        return row;
    }
    const size_t head_dim = tensor->shape[0] / n_heads;
    const size_t i = row % head_dim;
    const size_t half = head_dim / 2;
    return row - i + 2 * (i % half) + i / half;
}

kf_status kfi_checkpoint_read_rows(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor,
                                   size_t row_begin, size_t n, float *dst, kf_error *err)
{
    const kfi_stored *stored = kfi_checkpoint_stored(checkpoint, tensor);
    size_t rows = 0;
    size_t cols = 0;
    const bool is_matrix = kfi_checkpoint_shape(checkpoint, tensor, &rows, &cols);
    assert(is_matrix && row_begin <= rows && n <= rows - row_begin);
    if (!is_matrix) {
        return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET, "tensor '%s' is no matrix", tensor->name);
    }
    if (stored->packed.codes != NULL) {
        for (size_t i = 0; i < n; i++) {
            kfi_packed_decode_row(dst + i * cols, &stored->packed, row_begin + i, 0, cols);
        }
        return KF_OK;
    }
    if (stored->permuted_heads == 0) {
        return kfi_tensor_decode(dst, tensor, row_begin * cols, n * cols, err);
    }
    for (size_t i = 0; i < n; i++) {
        const size_t row = kfi_checkpoint_stored_row(checkpoint, tensor, row_begin + i);
        KFI_TRY(kfi_tensor_decode(dst + i * cols, tensor, row * cols, cols, err));
    }
    return KF_OK;
}

void kfi_checkpoint_drop(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor)
{
    const kfi_file_map *map = kfi_checkpoint_stored(checkpoint, tensor)->map;
    if (map != NULL) {
        kfi_file_map_drop(map, tensor->offset, tensor->bytes);
    }
}

bool kfi_config_has_bias(const kfi_config *config, kfi_linear_role role)
{
    return config->architecture->qkv_bias && role <= KFI_LINEAR_V;
}

void kfi_config_linear_shape(const kfi_config *config, kfi_linear_role role, size_t *rows,
                             size_t *cols)
{
    const size_t hidden = config->hidden;
    const size_t q_rows = config->n_heads * config->head_dim;
    const size_t kv_rows = config->n_kv_heads * config->head_dim;
    const size_t shapes[KFI_LINEAR_COUNT][2] = {
        [KFI_LINEAR_Q] = {q_rows, hidden},
        [KFI_LINEAR_K] = {kv_rows, hidden},
        [KFI_LINEAR_V] = {kv_rows, hidden},
        [KFI_LINEAR_O] = {hidden, q_rows},
        [KFI_LINEAR_GATE] = {config->feed_forward, hidden},
        [KFI_LINEAR_UP] = {config->feed_forward, hidden},
        [KFI_LINEAR_DOWN] = {hidden, config->feed_forward},
    };
    *rows = shapes[role][0];
    *cols = shapes[role][1];
}

static kf_status each_of_block(const kfi_config *config, size_t i_layer, kfi_needed_fn *visit,
                               void *ctx, kf_error *err)
{
    const size_t hidden = config->hidden;
    KFI_TRY(visit(ctx, kfi_name_attention_norm(i_layer).text, 1, hidden, err));
    KFI_TRY(visit(ctx, kfi_name_mlp_norm(i_layer).text, 1, hidden, err));
    for (kfi_linear_role role = 0; role < KFI_LINEAR_COUNT; role++) {
        size_t rows = 0;
        size_t cols = 0;
        kfi_config_linear_shape(config, role, &rows, &cols);
        KFI_TRY(visit(ctx, kfi_name_weight(i_layer, role).text, rows, cols, err));
        if (kfi_config_has_bias(config, role)) {
            KFI_TRY(visit(ctx, kfi_name_bias(i_layer, role).text, 1, rows, err));
        }
    }
    return KF_OK;
}

kf_status kfi_config_each_tensor(const kfi_config *config, kfi_needed_fn *visit, void *ctx,
                                 kf_error *err)
{
    KFI_TRY(visit(ctx, KFI_TENSOR_EMBEDDING, config->vocabulary, config->hidden, err));
    for (size_t i = 0; i < config->n_layers; i++) {
        KFI_TRY(each_of_block(config, i, visit, ctx, err));
    }
    KFI_TRY(visit(ctx, KFI_TENSOR_FINAL_NORM, 1, config->hidden, err));
    if (!config->tied) {
        KFI_TRY(visit(ctx, KFI_TENSOR_HEAD, config->vocabulary, config->hidden, err));
    }
    return KF_OK;
}

/* Columns of a matrix whose input has n_inputs values: those of its map, where that has its own. */
static kf_status count_cols(size_t *cols, const kfi_checkpoint *checkpoint, const char *name,
                            size_t n_inputs, kf_error *err)
{
    kfi_online online;
    *cols = n_inputs;
    if (checkpoint->has_online && kfi_name_is_linear(name)) {
        KFI_TRY(kfi_checkpoint_take_online(&online, checkpoint, name, n_inputs, err));
        *cols = online.n_outputs > 0 ? online.n_outputs : n_inputs;
    }
    return KF_OK;
}

static kf_status check_needed(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    const kfi_checkpoint *checkpoint = ctx;
    const kfi_tensor *tensor = kfi_checkpoint_find(checkpoint, name);
    if (tensor == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "tensor '%s' is missing", name);
    }
    KFI_TRY(count_cols(&cols, checkpoint, name, cols, err));
    size_t found_rows = 0;
    size_t found_cols = 0;
    if (!kfi_checkpoint_shape(checkpoint, tensor, &found_rows, &found_cols) || found_rows != rows ||
        found_cols != cols) {
        return kfi_fail(err, KF_FORMAT, tensor->offset,
                        "tensor '%s' is %zu x %zu in %" PRIu32 " dimensions, expected %zu x %zu",
                        name, found_rows, found_cols, tensor->n_dims, rows, cols);
    }
    if (kfi_checkpoint_stored(checkpoint, tensor)->packed.codes == NULL) {
        if (!kfi_dtype_is_decodable(tensor->dtype)) {
            return kfi_fail(err, KF_UNSUPPORTED, tensor->offset,
                            "tensor '%s' has type %s, which cannot be decoded", name,
                            kfi_dtype_get(tensor->dtype)->name);
        }
        if (cols % kfi_dtype_get(tensor->dtype)->block != 0) {
            return kfi_fail(err, KF_FORMAT, tensor->offset,
                            "rows of tensor '%s' are %zu long, no multiple of %s's block", name,
                            cols, kfi_dtype_get(tensor->dtype)->name);
        }
    }
    return KF_OK;
}

/* A bias that the architecture does not add would be left out in silence: some files of Llama's
 * name have them. */
static kf_status refuse_other_biases(const kfi_checkpoint *checkpoint, kf_error *err)
{
    const kfi_config *config = &checkpoint->config;
    for (size_t i = 0; i < config->n_layers; i++) {
        for (kfi_linear_role role = 0; role < KFI_LINEAR_COUNT; role++) {
            const kfi_name name = kfi_name_bias(i, role);
            const kfi_tensor *tensor = kfi_checkpoint_find(checkpoint, name.text);
            if (tensor != NULL && !kfi_config_has_bias(config, role)) {
                return kfi_fail(err, KF_UNSUPPORTED, tensor->offset,
                                "tensor '%s': a bias there is not implemented for %s", name.text,
                                config->architecture->name);
            }
        }
    }
    return KF_OK;
}

static kf_status check_tensors(kfi_checkpoint *checkpoint, kf_error *err)
{
    KFI_TRY(kfi_config_each_tensor(&checkpoint->config, check_needed, checkpoint, err));
    return refuse_other_biases(checkpoint, err);
}

static kf_status is_gguf(bool *result, const char *path, kf_error *err)
{
    kfi_file_map map;
    KFI_TRY(kfi_file_map_open(&map, path, err));
    *result = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    kfi_file_map_close(&map);
    return KF_OK;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static kf_status load(kfi_checkpoint *checkpoint, const char *path, kf_error *err)
{
    if (kfi_file_is_directory(path)) {
        return kfi_checkpoint_load_hf(checkpoint, path, err);
    }
    bool gguf = false;
    KFI_TRY(is_gguf(&gguf, path, err));
    if (gguf || ends_with(path, ".gguf")) {
        return kfi_checkpoint_load_gguf(checkpoint, path, err);
    }
    if (ends_with(path, ".bin")) {
        return kfi_checkpoint_load_llama2c(checkpoint, path, err);
    }
    if (ends_with(path, ".safetensors")) {
        const char *name = kfi_path_name(path);
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "'%s' is only the weights: give the directory that also has its "
                        "config.json, '%.*s'",
                        path, name == path ? 1 : (int)(name - path), name == path ? "." : path);
    }
    return kfi_fail(err, KF_FORMAT, 0,
                    "'%s' is no model: expected a GGUF file, a directory with config.json and "
                    "safetensors, or a llama2.c .bin",
                    path);
}

static void begin(kfi_checkpoint *checkpoint, const kf_allocator *alloc)
{
    *checkpoint = (kfi_checkpoint){.alloc = alloc, .name = "", .recipe = "", .kv = KF_KV_AUTO};
    checkpoint->activation = (kf_activation){.bits = 32};
    kfi_arena_init(&checkpoint->arena, alloc, ARENA_CEILING);
}

/* What loading gave, if it went well and all tensors are there; else all is closed. */
static kf_status finish(kfi_checkpoint *checkpoint, kf_status st, const char *name, kf_error *err)
{
    if (st == KF_OK) {
        st = check_tensors(checkpoint, err);
        if (st != KF_OK) {
            kfi_fail_prefix(err, "%s: ", name);
        }
    }
    if (st != KF_OK) {
        kfi_checkpoint_close(checkpoint);
    }
    return st;
}

kf_status kfi_checkpoint_open(kfi_checkpoint *checkpoint, const char *path,
                              const kf_allocator *alloc, kf_error *err)
{
    begin(checkpoint, alloc);
    return finish(checkpoint, load(checkpoint, path, err), kfi_path_name(path), err);
}

kf_status kfi_checkpoint_open_random(kfi_checkpoint *checkpoint, const kf_random_options *options,
                                     const kfi_random_tools *tools, const kf_allocator *alloc,
                                     kf_error *err)
{
    begin(checkpoint, alloc);
    const kf_status st = kfi_checkpoint_load_random(checkpoint, options, tools, err);
    return finish(checkpoint, st, "random weights", err);
}

void kfi_checkpoint_close(kfi_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        kfi_free(checkpoint->alloc, checkpoint->stored[i].memory,
                 checkpoint->stored[i].memory_bytes);
    }
    kfi_json_free(checkpoint->json);
    kfi_gguf_close(checkpoint->gguf);
    kfi_safetensors_close(checkpoint->safetensors);
    kfi_llama2c_close(checkpoint->llama2c);
    kfi_arena_deinit(&checkpoint->arena);
    *checkpoint = (kfi_checkpoint){.alloc = NULL};
}
