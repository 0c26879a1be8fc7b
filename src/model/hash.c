/* hash.c - a fingerprint of what a model computes with.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "io/sha256.h"
#include "model/opened.h"

/* Name, type and shape, so that equal bytes under another meaning differ. */
static void update_heading(kfi_sha256 *sha, const kfi_tensor *tensor)
{
    char line[128];
    kfi_sha256_update(sha, tensor->name, strlen(tensor->name) + 1);
    int n = snprintf(line, sizeof line, "%s", kfi_dtype_get(tensor->dtype)->name);
    for (uint32_t i = 0; i < tensor->n_dims && n > 0 && (size_t)n < sizeof line; i++) {
        n += snprintf(line + n, sizeof line - (size_t)n, " %zu", tensor->shape[i]);
    }
    kfi_sha256_update(sha, line, strlen(line) + 1);
}

kf_status kfi_model_hash(char hex[KFI_SHA256_HEX], const kf_model *model, kf_error *err)
{
    const kfi_checkpoint *checkpoint = &model->checkpoint;
    const kfi_config *c = &checkpoint->config;
    char line[256];
    kfi_sha256 sha;
    KFI_TRY(kfi_sha256_init(&sha, err));
    (void)snprintf(line, sizeof line, "%zu %zu %zu %.9g %.9g %d %.9g %.9g %.9g %zu %d", c->n_heads,
                   c->n_kv_heads, c->head_dim, (double)c->rms_epsilon, (double)c->rope_theta,
                   (int)c->rope_scaling, (double)c->rope_factor, (double)c->rope_low_frequency,
                   (double)c->rope_high_frequency, c->rope_original_context,
                   (int)model->float_activations);
    kfi_sha256_update(&sha, line, strlen(line) + 1);
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        const kfi_tensor *tensor = &checkpoint->table.tensors[i];
        update_heading(&sha, tensor);
        kfi_sha256_update(&sha, tensor->data, tensor->bytes);
        kfi_checkpoint_drop(checkpoint, tensor);
    }
    kfi_sha256_finish(&sha, hex);
    return KF_OK;
}
