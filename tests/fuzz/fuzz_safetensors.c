/* fuzz_safetensors.c - safetensors files. Accepted tensors fill the data section: no hole, no
 * overlap.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "io/safetensors.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_safetensors *st = NULL;
    kf_error err = {0};
    if (kfi_safetensors_parse(&st, data, n, NULL, &err) != KF_OK) {
        require(err.code != KF_OK && err.msg[0] != '\0');
        return 0;
    }
    const kfi_tensor_table *table = kfi_safetensors_tensors(st);
    for (size_t i = 0; i < table->n; i++) {
        const kfi_tensor *tensor = &table->tensors[i];
        walk_tensor(table, tensor, kfi_safetensors_map(st, tensor->i_file));
        require(tensor->offset + tensor->bytes ==
                (i + 1 < table->n ? table->tensors[i + 1].offset : n));
    }
    const char *format = kfi_safetensors_metadata(st, 0, "format");
    require(format == NULL || strlen(format) < n);
    kfi_safetensors_close(st);
    return 0;
}
