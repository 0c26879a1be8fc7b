/* checkpoint_llama2c.c - a llama2.c file behind the lookup by Hugging Face's names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "model/checkpoint.h"
#include "model/config.h"

kf_status kfi_checkpoint_load_llama2c(kfi_checkpoint *checkpoint, const char *path, kf_error *err)
{
    KFI_TRY(kfi_llama2c_open(&checkpoint->llama2c, path, checkpoint->alloc, err));
    checkpoint->container = "llama2.c";
    const kfi_llama2c_config *header = kfi_llama2c_get_config(checkpoint->llama2c);
    const kf_status st = kfi_config_from_llama2c(&checkpoint->config, header, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(path));
        return st;
    }
    KFI_TRY(kfi_checkpoint_take_table(checkpoint, kfi_llama2c_tensors(checkpoint->llama2c), err));
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        checkpoint->stored[i].map = kfi_llama2c_map(checkpoint->llama2c);
    }
    KFI_TRY(kfi_checkpoint_index(checkpoint, err));
    kfi_checkpoint_mark_permuted(checkpoint);
    return KF_OK;
}
