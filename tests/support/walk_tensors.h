/* walk_tensors.h - what must hold of every tensor table that a reader accepted, whatever the file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_WALK_TENSORS_H
#define KERF_TESTS_WALK_TENSORS_H

#include <stdlib.h>

#include "base/file.h"
#include "io/tensor.h"

static inline void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* Decodes all of a tensor, piece by piece; sanitizers watch the reads. */
static inline void decode_all(const kfi_tensor *tensor)
{
    float values[1024];
    for (size_t at = 0; at < tensor->n_elements; at += 1024) {
        const size_t left = tensor->n_elements - at;
        const kf_status status =
            kfi_tensor_decode(values, tensor, at, left < 1024 ? left : 1024, NULL);
        require(status == (kfi_dtype_is_decodable(tensor->dtype) ? KF_OK : KF_UNSUPPORTED));
        if (status != KF_OK) {
            return;
        }
    }
}

/* Each tensor is found by its name, lies in its file and is as long as its shape says. */
static inline void walk_tensor(const kfi_tensor_table *table, const kfi_tensor *tensor,
                               const kfi_file_map *map)
{
    const kfi_dtype_info *info = kfi_dtype_get(tensor->dtype);
    size_t n_elements = 1;
    require(kfi_tensor_find(table, tensor->name) == tensor);
    require(tensor->n_dims <= KFI_TENSOR_MAX_DIMS);
    for (size_t i = 0; i < KFI_TENSOR_MAX_DIMS; i++) {
        require(kfi_mul_size(n_elements, tensor->shape[i], &n_elements));
    }
    require(n_elements == tensor->n_elements);
    require(n_elements / info->block * info->block_bytes == tensor->bytes);
    require(tensor->offset <= map->size && tensor->bytes <= map->size - tensor->offset);
    require(tensor->data == map->data + tensor->offset);
    decode_all(tensor);
}

#endif /* KERF_TESTS_WALK_TENSORS_H */
