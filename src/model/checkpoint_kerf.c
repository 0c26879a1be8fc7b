/* checkpoint_kerf.c - what a Kerf checkpoint has beside Hugging Face's: packed tensors, activation
 * formats, the exact prefix.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "format/format.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"

#define MAX_PREFIX ((size_t)1 << 16)

static kf_status parse_activation(kf_activation *activation, const kfi_json *value, const char *key,
                                  kf_error *err)
{
    if (!kfi_json_is_string(value)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s: '%s' is not the name of a format",
                        KFI_FILE_CONFIG, key);
    }
    if (kf_activation_parse(activation, kfi_json_string(value, NULL), err) != KF_OK) {
        kfi_fail_prefix(err, "%s: '%s': ", KFI_FILE_CONFIG, key);
        if (err != NULL) {
            err->code = KF_FORMAT; /* the user typed nothing: the file is wrong */
        }
        return KF_FORMAT;
    }
    return KF_OK;
}

static kf_status read_kv(kfi_checkpoint *checkpoint, const kfi_json *value, kf_error *err)
{
    kf_error reason = {0};
    if (value == NULL) { /* of a version that did not write it */
        return KF_OK;
    }
    if (!kfi_json_is_string(value)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s: '%s' is not the name of a KV cache",
                        KFI_FILE_CONFIG, KFI_KEY_KV);
    }
    return kf_kv_parse(&checkpoint->kv, kfi_json_string(value, NULL), &reason) == KF_OK
               ? KF_OK
               : kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s: '%s': %s", KFI_FILE_CONFIG, KFI_KEY_KV,
                          reason.msg);
}

static kf_status check_override(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    (void)ctx;
    kf_activation activation;
    return parse_activation(&activation, member, key, err);
}

static kf_status read_settings(kfi_checkpoint *checkpoint, const kfi_json *quantization,
                               kf_error *err)
{
    const kfi_json *version = kfi_json_get(quantization, KFI_KEY_VERSION);
    const int64_t number = kfi_json_is_integer(version) ? kfi_json_integer(version) : 0;
    if (number < KFI_CHECKPOINT_VERSION || number > KFI_CHECKPOINT_VERSION_MOST) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "%s: '%s' is not %d to %d, those that this version of Kerf reads",
                        KFI_FILE_CONFIG, KFI_KEY_VERSION, KFI_CHECKPOINT_VERSION,
                        KFI_CHECKPOINT_VERSION_MOST);
    }
    checkpoint->has_side_paths = number >= KFI_CHECKPOINT_VERSION_SIDE;
    checkpoint->has_sparse = number >= KFI_CHECKPOINT_VERSION_SPARSE;
    checkpoint->has_online = number >= KFI_CHECKPOINT_VERSION_INPUTS;
    checkpoint->overrides_kept = number >= KFI_CHECKPOINT_VERSION_INPUTS;
    KFI_TRY(parse_activation(&checkpoint->activation,
                             kfi_json_get(quantization, KFI_KEY_ACTIVATIONS), KFI_KEY_ACTIVATIONS,
                             err));
    const kfi_json *overrides = kfi_json_get(quantization, KFI_KEY_ACTIVATION_OVERRIDES);
    if (overrides != NULL) {
        if (!kfi_json_is_object(overrides)) {
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s: '%s' is not an object",
                            KFI_FILE_CONFIG, KFI_KEY_ACTIVATION_OVERRIDES);
        }
        KFI_TRY(kfi_json_each(overrides, check_override, NULL, err));
        checkpoint->activation_overrides = overrides;
    }
    KFI_TRY(read_kv(checkpoint, kfi_json_get(quantization, KFI_KEY_KV), err));
    const kfi_json *recipe = kfi_json_get(quantization, KFI_KEY_RECIPE);
    if (kfi_json_is_string(recipe)) {
        checkpoint->recipe = kfi_json_string(recipe, NULL);
    }
    return KF_OK;
}

/* Opens NAME.packed in place and gives it the tensor's own name. */
static kf_status take_packed(kfi_checkpoint *checkpoint, size_t i_tensor, kf_error *err)
{
    kfi_tensor *tensor = &checkpoint->table.tensors[i_tensor];
    const size_t n = kfi_name_unpacked(tensor->name);
    if (n == 0) {
        return KF_OK;
    }
    if (tensor->dtype != KFI_DTYPE_U8) {
        return kfi_fail(err, KF_FORMAT, tensor->offset, "tensor '%s' has type %s, expected U8",
                        tensor->name, kfi_dtype_get(tensor->dtype)->name);
    }
    if ((uintptr_t)tensor->data % KFI_ALIGN != 0) {
        return kfi_fail(err, KF_FORMAT, tensor->offset,
                        "tensor '%s' begins at byte %" PRIu64 ", not at a multiple of %u: packed "
                        "weights run in place",
                        tensor->name, tensor->offset, KFI_ALIGN);
    }
    kfi_stored *stored = &checkpoint->stored[i_tensor];
    const kf_status st = kfi_packed_open(&stored->packed, tensor->data, tensor->bytes, false, err);
    if (st != KF_OK) {
        if (err != NULL && err->offset != KF_NO_OFFSET) {
            err->offset += tensor->offset;
        }
        kfi_fail_prefix(err, "tensor '%s': ", tensor->name);
        return st;
    }
    kf_format_name(stored->packed_format, stored->packed.format);
    tensor->name = kfi_arena_strndup(&checkpoint->arena, tensor->name, n);
    if (tensor->name == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
    }
    return KF_OK;
}

static kf_status check_prefix_shape(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor,
                                    const char *name, size_t n, kf_error *err)
{
    const kfi_config *config = &checkpoint->config;
    if (tensor == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "tensor '%s' is missing", name);
    }
    const size_t width = config->n_kv_heads * config->head_dim;
    if (tensor->dtype != KFI_DTYPE_F32 || tensor->n_dims != 3 ||
        tensor->shape[0] != config->n_layers || tensor->shape[1] != n ||
        tensor->shape[2] != width) {
        return kfi_fail(err, KF_FORMAT, tensor->offset, "tensor '%s' is not F32 [%zu][%zu][%zu]",
                        name, config->n_layers, n, width);
    }
    return KF_OK;
}

/* Copies one of the prefix's two tensors: it may lie unaligned, and an infinity in it would reach
 * every token. */
static kf_status copy_prefix(const float **dst, kfi_checkpoint *checkpoint, const char *name,
                             size_t n, kf_error *err)
{
    const kfi_tensor *tensor = kfi_checkpoint_find(checkpoint, name);
    KFI_TRY(check_prefix_shape(checkpoint, tensor, name, n, err));
    float *copy = kfi_arena_alloc(&checkpoint->arena, KFI_ALIGN, tensor->bytes);
    if (copy == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the prefix");
    }
    KFI_TRY(kfi_tensor_decode(copy, tensor, 0, tensor->n_elements, err));
    for (size_t i = 0; i < tensor->n_elements; i++) {
        if (!isfinite(copy[i])) {
            return kfi_fail(err, KF_FORMAT, tensor->offset + i * sizeof(float),
                            "tensor '%s': element %zu is not finite", name, i);
        }
    }
    *dst = copy;
    return KF_OK;
}

static kf_status read_prefix(kfi_checkpoint *checkpoint, kf_error *err)
{
    const kfi_tensor *ids = kfi_checkpoint_find(checkpoint, KFI_TENSOR_PREFIX_IDS);
    if (ids == NULL) {
        return KF_OK;
    }
    const size_t n = ids->n_elements;
    if (ids->dtype != KFI_DTYPE_U32 || ids->n_dims != 1 || n == 0 || n > MAX_PREFIX ||
        n >= checkpoint->config.context) {
        return kfi_fail(err, KF_FORMAT, ids->offset,
                        "tensor '%s' is not U32 [n] with n below the context", ids->name);
    }
    uint32_t *copy = kfi_arena_alloc(&checkpoint->arena, KFI_ALIGN, n * sizeof(uint32_t));
    if (copy == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the prefix");
    }
    memcpy(copy, ids->data, n * sizeof(uint32_t));
    for (size_t i = 0; i < n; i++) {
        if (copy[i] >= checkpoint->config.vocabulary) {
            return kfi_fail(err, KF_FORMAT, ids->offset + i * sizeof(uint32_t),
                            "tensor '%s': id %" PRIu32 " is outside the vocabulary of %zu",
                            ids->name, copy[i], checkpoint->config.vocabulary);
        }
    }
    checkpoint->prefix.ids = copy;
    KFI_TRY(copy_prefix(&checkpoint->prefix.keys, checkpoint, KFI_TENSOR_PREFIX_KEYS, n, err));
    KFI_TRY(copy_prefix(&checkpoint->prefix.values, checkpoint, KFI_TENSOR_PREFIX_VALUES, n, err));
    checkpoint->prefix.n = n;
    return KF_OK;
}

static kf_status read_residual_signs(kfi_checkpoint *checkpoint, kf_error *err)
{
    const kfi_tensor *tensor = kfi_checkpoint_find(checkpoint, KFI_TENSOR_RESIDUAL_SIGNS);
    return tensor == NULL || !checkpoint->has_online
               ? KF_OK
               : kfi_signs_open(&checkpoint->residual_signs, tensor, checkpoint->config.hidden,
                                err);
}

kf_status kfi_checkpoint_load_kerf(kfi_checkpoint *checkpoint, const kfi_json *quantization,
                                   kf_error *err)
{
    checkpoint->container = "Kerf checkpoint";
    checkpoint->is_kerf = true;
    KFI_TRY(read_settings(checkpoint, quantization, err));
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        KFI_TRY(take_packed(checkpoint, i, err));
    }
    KFI_TRY(kfi_checkpoint_index(checkpoint, err));
    KFI_TRY(read_residual_signs(checkpoint, err));
    return read_prefix(checkpoint, err);
}
