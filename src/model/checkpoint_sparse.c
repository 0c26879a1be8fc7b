/* checkpoint_sparse.c - the single weights beside a packed matrix, as files hold them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "io/tensor.h"
#include "model/checkpoint_names.h"

/* All three parts or none. */
static kf_status check_parts(const kfi_side_tensors *t, kf_error *err)
{
    const kfi_tensor *there = NULL;
    for (size_t i = KFI_SIDE_SPARSE_STARTS; i <= KFI_SIDE_SPARSE_VALUES; i++) {
        there = there == NULL ? t->found[i] : there;
    }
    for (size_t i = KFI_SIDE_SPARSE_STARTS; there != NULL && i <= KFI_SIDE_SPARSE_VALUES; i++) {
        if (t->found[i] == NULL) {
            return kfi_fail(err, KF_FORMAT, there->offset, "tensor '%s' has no '%s' beside it",
                            there->name, kfi_name_side(t->name, (kfi_side_part)i).text);
        }
    }
    return KF_OK;
}

/* A vector of n elements of a type, aligned to their size. */
static kf_status check_vector(const kfi_tensor *tensor, kfi_dtype dtype, size_t n, kf_error *err)
{
    const kfi_dtype_info *type = kfi_dtype_get(dtype);
    if (tensor->dtype == dtype && tensor->n_dims == 1 && tensor->n_elements == n &&
        (uintptr_t)tensor->data % type->block_bytes == 0) {
        return KF_OK;
    }
    return kfi_fail(err, KF_FORMAT, tensor->offset,
                    "tensor '%s' is not %s [%zu] at a multiple of %zu bytes", tensor->name,
                    type->name, n, type->block_bytes);
}

static kf_status check_starts(const kfi_tensor *tensor, size_t rows, size_t n, kf_error *err)
{
    const uint32_t *starts = (const uint32_t *)(const void *)tensor->data;
    for (size_t r = 0; r <= rows; r++) {
        const bool is_right = r == 0      ? starts[r] == 0
                              : r == rows ? starts[r] == n && starts[r - 1] <= n
                                          : starts[r] >= starts[r - 1];
        if (!is_right) {
            return kfi_fail(err, KF_FORMAT, tensor->offset + r * sizeof *starts,
                            "tensor '%s': element %zu is %" PRIu32
                            ", expected an ascending list from 0 to %zu",
                            tensor->name, r, starts[r], n);
        }
    }
    return KF_OK;
}

static kf_status check_columns(const kfi_tensor *tensor, const kfi_sparse *sparse, kf_error *err)
{
    for (size_t r = 0; r < sparse->rows; r++) {
        for (size_t i = sparse->starts[r]; i < sparse->starts[r + 1]; i++) {
            const uint16_t column = sparse->columns[i];
            if (column >= sparse->cols ||
                (i > sparse->starts[r] && column <= sparse->columns[i - 1])) {
                return kfi_fail(err, KF_FORMAT, tensor->offset + i * sizeof column,
                                "tensor '%s': element %zu is %u, expected columns below %zu in "
                                "ascending order in row %zu",
                                tensor->name, i, column, sparse->cols, r);
            }
        }
    }
    return KF_OK;
}

static kf_status check_values(const kfi_tensor *tensor, kf_error *err)
{
    const uint16_t *values = (const uint16_t *)(const void *)tensor->data;
    for (size_t i = 0; i < tensor->n_elements; i++) {
        if ((values[i] & 0x7C00u) == 0x7C00u) {
            return kfi_fail(err, KF_FORMAT, tensor->offset + i * sizeof *values,
                            "tensor '%s': element %zu is %s", tensor->name, i,
                            (values[i] & 0x03FFu) != 0 ? "NaN" : "infinite");
        }
    }
    return KF_OK;
}

kf_status kfi_sparse_open(kfi_sparse *sparse, const kfi_side_tensors *tensors, size_t rows,
                          size_t cols, kf_error *err)
{
    const kfi_tensor *starts = tensors->found[KFI_SIDE_SPARSE_STARTS];
    const kfi_tensor *columns = tensors->found[KFI_SIDE_SPARSE_COLUMNS];
    const kfi_tensor *values = tensors->found[KFI_SIDE_SPARSE_VALUES];
    *sparse = (kfi_sparse){.rows = rows, .cols = cols};
    KFI_TRY(check_parts(tensors, err));
    if (starts == NULL) {
        return KF_OK;
    }
    if (cols > KFI_SPARSE_COLS_MOST) {
        return kfi_fail(err, KF_UNSUPPORTED, starts->offset,
                        "tensor '%s' stands beside a matrix of %zu columns, at most %u",
                        starts->name, cols, KFI_SPARSE_COLS_MOST);
    }
    KFI_TRY(check_vector(starts, KFI_DTYPE_U32, rows + 1, err));
    KFI_TRY(check_vector(columns, KFI_DTYPE_U16, columns->n_elements, err));
    KFI_TRY(check_vector(values, KFI_DTYPE_F16, columns->n_elements, err));
    KFI_TRY(check_starts(starts, rows, columns->n_elements, err));
    sparse->columns = (const uint16_t *)(const void *)columns->data;
    sparse->values = (const uint16_t *)(const void *)values->data;
    sparse->starts = (const uint32_t *)(const void *)starts->data;
    KFI_TRY(check_columns(columns, sparse, err));
    return check_values(values, err);
}
