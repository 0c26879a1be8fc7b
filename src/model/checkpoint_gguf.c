/* checkpoint_gguf.c - a GGUF behind the lookup by Hugging Face's names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "model/architecture.h"
#include "model/checkpoint.h"
#include "model/config.h"

static kf_status take_name(kfi_checkpoint *checkpoint, kf_error *err)
{
    kfi_text name = {NULL, 0};
    const kfi_gguf_value *value = kfi_gguf_find(checkpoint->gguf, "general.name");
    if (value == NULL || value->type != KFI_GGUF_STRING) {
        return KF_OK;
    }
    KFI_TRY(kfi_gguf_text(&name, checkpoint->gguf, "general.name", err));
    checkpoint->name = kfi_arena_strndup(&checkpoint->arena, name.data, name.n);
    if (checkpoint->name == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the model's name");
    }
    return KF_OK;
}

static kf_status rename_tensors(kfi_checkpoint *checkpoint, kf_error *err)
{
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        kfi_tensor *tensor = &checkpoint->table.tensors[i];
        const kfi_name name = kfi_name_from_gguf(checkpoint->config.architecture, tensor->name);
        if (name.text[0] != '\0') {
            tensor->name = kfi_arena_strndup(&checkpoint->arena, name.text, strlen(name.text));
        }
        if (tensor->name == NULL) {
            return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
        }
        checkpoint->stored[i].map = kfi_gguf_map(checkpoint->gguf);
    }
    return KF_OK;
}

kf_status kfi_checkpoint_load_gguf(kfi_checkpoint *checkpoint, const char *path, kf_error *err)
{
    KFI_TRY(kfi_gguf_open(&checkpoint->gguf, path, checkpoint->alloc, err));
    checkpoint->container = "GGUF";
    kf_status st = kfi_config_from_gguf(&checkpoint->config, checkpoint->gguf, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(path));
        return st;
    }
    KFI_TRY(take_name(checkpoint, err));
    KFI_TRY(kfi_checkpoint_take_table(checkpoint, kfi_gguf_tensors(checkpoint->gguf), err));
    KFI_TRY(rename_tensors(checkpoint, err));
    KFI_TRY(kfi_checkpoint_index(checkpoint, err));
    if (checkpoint->config.architecture->gguf_permuted) {
        kfi_checkpoint_mark_permuted(checkpoint);
    }
    return KF_OK;
}
