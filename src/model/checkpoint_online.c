/* checkpoint_online.c - what the inputs of layers go through, as a Kerf checkpoint holds it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "linalg/hadamard.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"

kf_status kfi_signs_open(const int8_t **signs, const kfi_tensor *tensor, size_t n, kf_error *err)
{
    const int8_t *values = (const int8_t *)(const void *)tensor->data;
    if (tensor->dtype != KFI_DTYPE_I8 || tensor->n_dims != 1 || tensor->n_elements != n) {
        return kfi_fail(err, KF_FORMAT, tensor->offset, "tensor '%s' is not I8 [%zu]", tensor->name,
                        n);
    }
    for (size_t i = 0; i < n; i++) {
        if (values[i] != 1 && values[i] != -1) {
            return kfi_fail(err, KF_FORMAT, tensor->offset + i,
                            "tensor '%s': element %zu is %d, expected 1 or -1", tensor->name, i,
                            (int)values[i]);
        }
    }
    const kf_status st = kfi_hadamard_check(n, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "tensor '%s': ", tensor->name);
        return st;
    }
    *signs = values;
    return KF_OK;
}

/* n columns below n_inputs, or KFI_NO_COLUMN where that may be. Read where they lie in the file. */
static kf_status open_columns(const uint32_t **columns, const kfi_tensor *tensor, size_t n,
                              size_t n_inputs, bool may_lack, kf_error *err)
{
    const uint32_t *values = (const uint32_t *)(const void *)tensor->data;
    if (tensor->dtype != KFI_DTYPE_U32 || tensor->n_dims != 1 || tensor->n_elements != n ||
        (uintptr_t)values % sizeof *values != 0) {
        return kfi_fail(err, KF_FORMAT, tensor->offset,
                        "tensor '%s' is not U32 [%zu] at a multiple of 4 bytes", tensor->name, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (values[i] >= n_inputs && !(may_lack && values[i] == KFI_NO_COLUMN)) {
            return kfi_fail(err, KF_FORMAT, tensor->offset + i * sizeof *values,
                            "tensor '%s': element %zu is %" PRIu32 ", expected a column below %zu",
                            tensor->name, i, values[i], n_inputs);
        }
    }
    *columns = values;
    return KF_OK;
}

/* What of its parts may stand together. */
static kf_status check_parts(const kfi_online_tensors *t, kf_error *err)
{
    const kfi_tensor *signs = t->found[KFI_ONLINE_SIGNS];
    const kfi_tensor *columns = t->found[KFI_ONLINE_COLUMNS];
    const kfi_tensor *second = t->found[KFI_ONLINE_SECOND];
    if (signs != NULL && columns != NULL) {
        return kfi_fail(err, KF_FORMAT, signs->offset, "tensor '%s' stands beside '%s'",
                        signs->name, columns->name);
    }
    if (second != NULL && columns == NULL) {
        const kfi_name name = kfi_name_online(t->name, KFI_ONLINE_COLUMNS);
        return kfi_fail(err, KF_FORMAT, second->offset, "tensor '%s' has no '%s' beside it",
                        second->name, name.text);
    }
    return KF_OK;
}

kf_status kfi_online_open(kfi_online *online, const kfi_online_tensors *tensors, size_t n_inputs,
                          kf_error *err)
{
    const kfi_tensor *signs = tensors->found[KFI_ONLINE_SIGNS];
    const kfi_tensor *columns = tensors->found[KFI_ONLINE_COLUMNS];
    const kfi_tensor *second = tensors->found[KFI_ONLINE_SECOND];
    *online = (kfi_online){0};
    KFI_TRY(check_parts(tensors, err));
    if (signs == NULL && columns == NULL) {
        return KF_OK;
    }
    online->n_inputs = online->n_outputs = n_inputs;
    if (signs != NULL) {
        return kfi_signs_open(&online->signs, signs, n_inputs, err);
    }
    if (columns->n_elements == 0 || columns->n_elements > KFI_COLUMNS_MOST * n_inputs) {
        return kfi_fail(err, KF_UNSUPPORTED, columns->offset,
                        "tensor '%s' has %" PRIu64 " columns, expected 1 to %zu", columns->name,
                        (uint64_t)columns->n_elements, KFI_COLUMNS_MOST * n_inputs);
    }
    online->n_outputs = columns->n_elements;
    KFI_TRY(open_columns(&online->columns, columns, online->n_outputs, n_inputs, false, err));
    return second == NULL
               ? KF_OK
               : open_columns(&online->second, second, online->n_outputs, n_inputs, true, err);
}

/* What there is of a matrix's map; nothing where the checkpoint's version knows none. */
static kfi_online_tensors find(const kfi_checkpoint *checkpoint, const char *name)
{
    kfi_online_tensors tensors = {.name = name};
    for (size_t i = 0; i < KFI_ONLINE_PARTS && checkpoint->has_online; i++) {
        tensors.found[i] =
            kfi_checkpoint_find(checkpoint, kfi_name_online(name, (kfi_online_part)i).text);
    }
    return tensors;
}

kf_status kfi_checkpoint_take_online(kfi_online *online, const kfi_checkpoint *checkpoint,
                                     const char *name, size_t n_inputs, kf_error *err)
{
    const kfi_online_tensors tensors = find(checkpoint, name);
    return kfi_online_open(online, &tensors, n_inputs, err);
}

uint64_t kfi_checkpoint_online_bytes(const kfi_checkpoint *checkpoint, const char *name)
{
    const kfi_online_tensors tensors = find(checkpoint, name);
    return kfi_tensors_bytes(tensors.found, KFI_ONLINE_PARTS);
}
