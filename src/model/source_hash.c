/* source_hash.c - a name for the content of a checkpoint, wherever it lies.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "model/config.h"
#include "model/opened.h"

/* What the weights mean: the configuration in Hugging Face's keys. */
static kf_status hash_config(kfi_sha256 *sha, const kf_model *model, kf_error *err)
{
    kfi_buf buf;
    kfi_json_writer writer;
    kfi_buf_init(&buf, model->alloc, 1u << 20);
    kfi_json_writer_init(&writer, &buf, 0);
    kfi_json_begin_object(&writer);
    kfi_config_write_json(&writer, &model->checkpoint.config);
    kfi_json_end_object(&writer);
    const bool ok = !buf.failed;
    if (ok) {
        kfi_sha256_update(sha, buf.data, buf.n);
    }
    kfi_buf_deinit(&buf);
    return ok ? KF_OK : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a configuration");
}

kf_status kfi_model_source_hash(const kf_model *model, char hex[KFI_SHA256_HEX], kf_error *err)
{
    const kfi_checkpoint *checkpoint = &model->checkpoint;
    kfi_sha256 sha;
    KFI_TRY(kfi_sha256_init(&sha, err));
    kf_status st = hash_config(&sha, model, err);
    for (size_t i = 0; i < checkpoint->table.n && st == KF_OK; i++) {
        const kfi_tensor *tensor = &checkpoint->table.tensors[i];
        const char *dtype = kfi_dtype_get(tensor->dtype)->name;
        kfi_sha256_update(&sha, tensor->name, strlen(tensor->name) + 1);
        kfi_sha256_update(&sha, dtype, strlen(dtype) + 1);
        for (size_t d = 0; d < KFI_TENSOR_MAX_DIMS; d++) {
            const uint64_t size = tensor->shape[d];
            kfi_sha256_update(&sha, &size, sizeof size);
        }
        kfi_sha256_update(&sha, tensor->data, tensor->bytes);
        kfi_checkpoint_drop(checkpoint, tensor);
    }
    if (st == KF_OK) {
        st = kfi_sha256_finish(&sha, hex, err);
    }
    kfi_sha256_deinit(&sha);
    return st;
}
