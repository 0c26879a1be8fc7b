/* checkpoint_hf.c - a directory of safetensors with config.json, Hugging Face's or Kerf's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"
#include "model/config.h"

#define CONFIG_CEILING ((size_t)1 << 20)

static kf_status read_config(kfi_checkpoint *checkpoint, const char *directory, kf_error *err)
{
    char *path = kfi_path_join(checkpoint->alloc, directory, KFI_FILE_CONFIG);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a path");
    }
    kf_status st = kfi_json_read(&checkpoint->json, path, CONFIG_CEILING, err);
    if (st == KF_RANGE) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s is larger than %zu bytes", path,
                      CONFIG_CEILING);
    } else if (st == KF_OK) {
        st = kfi_config_from_json(&checkpoint->config, checkpoint->json, err);
        if (st != KF_OK) {
            kfi_fail_prefix(err, "%s: ", KFI_FILE_CONFIG);
        }
    }
    kfi_free_text(checkpoint->alloc, path);
    return st;
}

/* Models quantized by other tools hold codes under other names: say so, not "tensor missing". */
static kf_status load_quantized(kfi_checkpoint *checkpoint, const kfi_json *quantization,
                                kf_error *err)
{
    const kfi_json *method = kfi_json_get(quantization, KFI_KEY_METHOD);
    const char *name = kfi_json_is_string(method) ? kfi_json_string(method, NULL) : "";
    if (strcmp(name, KFI_QUANTIZATION_METHOD) != 0) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "%s: '%s' is '%.40s': only checkpoints quantized by Kerf can be read",
                        KFI_FILE_CONFIG, KFI_KEY_METHOD, name);
    }
    return kfi_checkpoint_load_kerf(checkpoint, quantization, err);
}

kf_status kfi_checkpoint_load_hf(kfi_checkpoint *checkpoint, const char *directory, kf_error *err)
{
    KFI_TRY(read_config(checkpoint, directory, err));
    KFI_TRY(kfi_safetensors_open(&checkpoint->safetensors, directory, checkpoint->alloc, err));
    const kfi_tensor_table *tensors = kfi_safetensors_tensors(checkpoint->safetensors);
    KFI_TRY(kfi_checkpoint_take_table(checkpoint, tensors, err));
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        checkpoint->stored[i].map =
            kfi_safetensors_map(checkpoint->safetensors, checkpoint->table.tensors[i].i_file);
    }
    checkpoint->container = "safetensors";
    const kfi_json *name = kfi_json_get(checkpoint->json, "_name_or_path");
    if (kfi_json_is_string(name)) {
        checkpoint->name = kfi_path_name(kfi_json_string(name, NULL));
    }
    const kfi_json *quantization = kfi_json_get(checkpoint->json, KFI_KEY_QUANTIZATION);
    if (quantization != NULL && !kfi_json_is_null(quantization)) {
        return load_quantized(checkpoint, quantization, err);
    }
    return kfi_checkpoint_index(checkpoint, err);
}
