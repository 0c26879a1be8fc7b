/* model.c - opening a model: every tensor in its place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "format/format.h"
#include "model/checkpoint_names.h"
#include "model/online.h"
#include "model/opened.h"
#include "model/side.h"

/* ---- looking at an open model ---- */

const kfi_config *kfi_model_config(const kf_model *model)
{
    return &model->checkpoint.config;
}

kf_pool *kfi_model_pool(const kf_model *model)
{
    return model->pool;
}

const kf_allocator *kfi_model_allocator(const kf_model *model)
{
    return model->alloc;
}

const char *kfi_model_path(const kf_model *model)
{
    return model->path;
}

bool kfi_model_reads(const kf_model *model, const char *path)
{
    const kfi_checkpoint *checkpoint = &model->checkpoint;
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        const kfi_file_map *map = checkpoint->stored[i].map;
        if (map != NULL && kfi_file_map_is(map, path)) {
            return true;
        }
    }
    return kfi_file_is_same(model->path, path);
}

const kfi_prefix *kfi_model_get_prefix(const kf_model *model)
{
    return &model->checkpoint.prefix;
}

const uint32_t *kf_model_prefix(const kf_model *model)
{
    return model->checkpoint.prefix.ids;
}

const int8_t *kfi_model_residual_signs(const kf_model *model)
{
    return model->checkpoint.residual_signs;
}

size_t kfi_model_side_width(const kf_model *model)
{
    return model->side_width;
}

const float *kfi_model_final_norm(const kf_model *model)
{
    return model->final_norm;
}

bool kfi_model_find(const kf_model *model, const char *name, size_t *rows, size_t *cols)
{
    const kfi_tensor *tensor = kfi_checkpoint_find(&model->checkpoint, name);
    return tensor != NULL && kfi_checkpoint_shape(&model->checkpoint, tensor, rows, cols);
}

kf_status kfi_model_read_rows(kf_model *model, const char *name, size_t row_begin, size_t n,
                              float *dst, kf_error *err)
{
    const kfi_tensor *tensor = kfi_checkpoint_find(&model->checkpoint, name);
    size_t rows = 0;
    size_t cols = 0;
    if (tensor == NULL || !kfi_checkpoint_shape(&model->checkpoint, tensor, &rows, &cols)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "there is no matrix or vector '%s'", name);
    }
    if (row_begin > rows || n > rows - row_begin) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "tensor '%s' has %zu rows", name, rows);
    }
    const kf_status st =
        kfi_checkpoint_read_rows(&model->checkpoint, tensor, row_begin, n, dst, err);
    kfi_checkpoint_drop(&model->checkpoint, tensor);
    return st;
}

void kfi_model_embed(const kf_model *model, float *dst, const uint32_t *ids, size_t n)
{
    const size_t hidden = model->checkpoint.config.hidden;
    for (size_t i = 0; i < n; i++) {
        /* Cannot fail: opening has checked type and shape. */
        (void)!kfi_checkpoint_read_rows(&model->checkpoint, model->embedding, ids[i], 1,
                                        dst + i * hidden, NULL);
    }
}

/* ---- opening ---- */

/* A vector as floats in the checkpoint's arena. */
static kf_status take_vector(const float **dst, kf_model *model, const char *name, kf_error *err)
{
    const kfi_tensor *tensor = kfi_checkpoint_find(&model->checkpoint, name);
    float *copy =
        kfi_arena_alloc(&model->checkpoint.arena, KFI_ALIGN, tensor->n_elements * sizeof(float));
    if (copy == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for tensor '%s'", name);
    }
    *dst = copy;
    return kfi_checkpoint_read_rows(&model->checkpoint, tensor, 0, 1, copy, err);
}

/* What the caller wants, else what an override names for this tensor, else the checkpoint's format
 * of packed matrices. */
static kf_activation activation_of(const kf_model *model, const char *name, bool is_packed)
{
    const kfi_checkpoint *checkpoint = &model->checkpoint;
    kf_activation activation = is_packed ? checkpoint->activation : (kf_activation){.bits = 32};
    if (model->activation != NULL) {
        return *model->activation;
    }
    const kfi_json *override = kfi_json_get(checkpoint->activation_overrides, name);
    if (override != NULL &&
        (is_packed ||
         checkpoint->overrides_kept)) { /* parsed once already when the checkpoint was opened */
        (void)!kf_activation_parse(&activation, kfi_json_string(override, NULL), NULL);
    }
    return activation;
}

static void take_linear(kfi_linear *linear, const kf_model *model, const kfi_tensor *tensor)
{
    const kfi_checkpoint *checkpoint = &model->checkpoint;
    linear->packed = kfi_checkpoint_stored(checkpoint, tensor)->packed;
    linear->activation = activation_of(model, tensor->name, linear->packed.codes != NULL);
    (void)kfi_checkpoint_shape(checkpoint, tensor, &linear->rows, &linear->cols);
}

static kf_status take_side(kfi_linear *linear, kf_model *model, const char *name, kf_error *err)
{
    KFI_TRY(
        kfi_checkpoint_take_side(&linear->side, &model->checkpoint, name, &linear->packed, err));
    const size_t width = kfi_side_width(&linear->side);
    model->side_width = width > model->side_width ? width : model->side_width;
    return KF_OK;
}

/* Layers with the same map share it, so that running them need not compare. */
static kf_status take_online(kfi_block *block, kfi_linear_role role, const kf_model *model,
                             const char *name, kf_error *err)
{
    kfi_linear *linear = &block->linears[role];
    size_t rows = 0;
    size_t n_inputs = 0;
    kfi_config_linear_shape(&model->checkpoint.config, role, &rows, &n_inputs);
    KFI_TRY(kfi_checkpoint_take_online(&linear->online, &model->checkpoint, name, n_inputs, err));
    if (role > 0 && kfi_online_is_same(&linear->online, &linear[-1].online)) {
        linear->online = linear[-1].online;
    }
    return KF_OK;
}

static kf_status take_block(kf_model *model, size_t i_layer, kf_error *err)
{
    kfi_block *block = &model->blocks[i_layer];
    const kfi_config *config = &model->checkpoint.config;
    KFI_TRY(take_vector(&block->attention_norm, model, kfi_name_attention_norm(i_layer).text, err));
    KFI_TRY(take_vector(&block->mlp_norm, model, kfi_name_mlp_norm(i_layer).text, err));
    for (kfi_linear_role role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_name name = kfi_name_weight(i_layer, role);
        const kfi_tensor *tensor = kfi_checkpoint_find(&model->checkpoint, name.text);
        model->sources[i_layer].linears[role] = tensor;
        take_linear(&block->linears[role], model, tensor);
        KFI_TRY(take_online(block, role, model, name.text, err));
        KFI_TRY(take_side(&block->linears[role], model, name.text, err));
        if (kfi_config_has_bias(config, role)) {
            KFI_TRY(take_vector(&block->linears[role].bias, model,
                                kfi_name_bias(i_layer, role).text, err));
        }
    }
    return KF_OK;
}

static kf_status take_tensors(kf_model *model, kf_error *err)
{
    const kfi_config *config = &model->checkpoint.config;
    model->blocks = kfi_calloc(model->alloc, config->n_layers, sizeof *model->blocks);
    model->sources = kfi_calloc(model->alloc, config->n_layers, sizeof *model->sources);
    if (model->blocks == NULL || model->sources == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for %zu blocks", config->n_layers);
    }
    for (size_t i = 0; i < config->n_layers; i++) {
        KFI_TRY(take_block(model, i, err));
    }
    KFI_TRY(take_vector(&model->final_norm, model, KFI_TENSOR_FINAL_NORM, err));
    model->embedding = kfi_checkpoint_find(&model->checkpoint, KFI_TENSOR_EMBEDDING);
    model->head_tensor =
        config->tied ? model->embedding : kfi_checkpoint_find(&model->checkpoint, KFI_TENSOR_HEAD);
    take_linear(&model->head, model, model->head_tensor);
    if (model->head.packed.codes == NULL) { /* may be multiplied in pieces, see head.c */
        model->head.activation = (kf_activation){.bits = 32};
    } else if (model->activation != NULL) {
        model->head.activation = kfi_activation_of_head(*model->activation);
    }
    return KF_OK;
}

/* From an open checkpoint to a model. */
static kf_status build(kf_model *model, const kf_model_options *options, kf_error *err)
{
    KFI_TRY(take_tensors(model, err));
    KFI_TRY(kfi_model_account(model, err));
    uint64_t cache_bytes = options->float_cache_bytes;
    if (cache_bytes == 0) {
        cache_bytes = kf_memory_available() / 2;
    }
    return kfi_residency_init(model, cache_bytes, err);
}

static void free_blocks(kf_model *model)
{
    const size_t n_layers = model->checkpoint.config.n_layers;
    kfi_free(model->alloc, model->blocks, n_layers * sizeof *model->blocks);
    kfi_free(model->alloc, model->sources, n_layers * sizeof *model->sources);
    kfi_checkpoint_close(&model->checkpoint);
    kfi_free_text(model->alloc, model->path);
    kfi_free(model->alloc, model, sizeof *model);
}

/* A model with its options, and nothing in it. */
static kf_status model_new(kf_model **model, const kf_model_options *options, const char *path,
                           kf_error *err)
{
    *model = NULL;
    if (options->size != sizeof *options) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "options of %zu bytes, expected %zu",
                        options->size, sizeof *options);
    }
    if (options->activation != NULL) {
        KFI_TRY(kfi_activation_check(*options->activation, err));
    }
    kf_model *m = kfi_calloc(options->alloc, 1, sizeof *m);
    char *copy = kfi_strndup(options->alloc, path, strlen(path));
    if (m == NULL || copy == NULL) {
        kfi_free(options->alloc, m, sizeof *m);
        kfi_free_text(options->alloc, copy);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a model");
    }
    m->alloc = options->alloc;
    m->callbacks = options->callbacks;
    m->pool = options->pool;
    m->activation = options->activation;
    m->path = copy;
    *model = m;
    return KF_OK;
}

/* Builds it from its checkpoint, whose opening gave this status, or frees it. */
static kf_status model_finish(kf_model **model, const kf_model_options *options, kf_status st,
                              kf_error *err)
{
    if (st == KF_OK) {
        st = build(*model, options, err);
    }
    if (st != KF_OK) {
        free_blocks(*model);
        *model = NULL;
    }
    return st;
}

kf_status kf_model_open(kf_model **model, const char *path, const kf_model_options *options,
                        kf_error *err)
{
    const kf_model_options defaults = KF_MODEL_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    KFI_TRY(model_new(model, options, path, err));
    kfi_checkpoint *checkpoint = &(*model)->checkpoint;
    kf_status st = kfi_checkpoint_open(checkpoint, path, options->alloc, err);
    if (st == KF_OK && options->weights != KF_WEIGHTS_FLOAT && !checkpoint->is_kerf) {
        const bool only_if_all = options->weights == KF_WEIGHTS_AUTO;
        st = kfi_checkpoint_pack(checkpoint, options->pool, only_if_all, err);
    }
    return model_finish(model, options, st, err);
}

kf_status kf_model_open_random(kf_model **model, const kf_random_options *random,
                               const kf_model_options *options, kf_error *err)
{
    const kf_model_options defaults = KF_MODEL_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    *model = NULL;
    if (random->size != sizeof *random) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "options of %zu bytes, expected %zu",
                        random->size, sizeof *random);
    }
    KFI_TRY(model_new(model, options, "random weights", err));
    const kfi_random_tools tools = {.pool = options->pool, .callbacks = options->callbacks};
    const kf_status st =
        kfi_checkpoint_open_random(&(*model)->checkpoint, random, &tools, options->alloc, err);
    return model_finish(model, options, st, err);
}

void kf_model_close(kf_model *model)
{
    if (model == NULL) {
        return;
    }
    kfi_residency_deinit(model);
    free_blocks(model);
}
