/* fuzz_shards.c - a directory of safetensors: the index and the files that it names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bundle.h"
#include "io/names.h"
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const names[BUNDLE_NAMES] = {
        "model.safetensors.index.json", "model.safetensors", "1.safetensors", "2.safetensors", "3"};
    char path[256];
    kfi_safetensors *st = NULL;
    kf_error err = {0};
    (void)bundle_unpack(names, data, n);
    bundle_path(path, "");
    if (kfi_safetensors_open(&st, path, NULL, &err) != KF_OK) {
        require(st == NULL && err.code != KF_OK && err.msg[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < kfi_safetensors_file_count(st); i++) {
        const char *name = kfi_safetensors_file_name(st, i);
        require(kfi_is_plain_name((kfi_text){name, strlen(name)}));
        require(kfi_safetensors_map(st, i)->size > 0);
        (void)kfi_safetensors_metadata(st, i, "format");
    }
    const kfi_tensor_table *table = kfi_safetensors_tensors(st);
    for (size_t i = 0; i < table->n; i++) {
        const kfi_tensor *tensor = &table->tensors[i];
        require(tensor->i_file < kfi_safetensors_file_count(st));
        walk_tensor(table, tensor, kfi_safetensors_map(st, tensor->i_file));
    }
    kfi_safetensors_close(st);
    return 0;
}
