/* checkpoint_side.c - the side paths of a packed layer, as a Kerf checkpoint holds them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"

/* Read where they lie in the file. */
static const uint32_t *columns_of(const kfi_tensor *tensor)
{
    return tensor == NULL ? NULL : (const uint32_t *)(const void *)tensor->data;
}

/* Both of two tensors or none. */
static kf_status check_pair(const kfi_side_tensors *t, kfi_side_part a, kfi_side_part b,
                            kf_error *err)
{
    if ((t->found[a] == NULL) == (t->found[b] == NULL)) {
        return KF_OK;
    }
    const kfi_side_part lone = t->found[a] != NULL ? a : b;
    const kfi_name name = kfi_name_side(t->name, lone == a ? b : a);
    return kfi_fail(err, KF_FORMAT, t->found[lone]->offset, "tensor '%s' has no '%s' beside it",
                    t->found[lone]->name, name.text);
}

static kf_status check_shape(const kfi_tensor *tensor, const kfi_packed *packed, size_t rows,
                             size_t cols, kf_error *err)
{
    if (packed->codes == NULL) {
        return kfi_fail(err, KF_FORMAT, tensor->offset, "tensor '%s' is not packed", tensor->name);
    }
    if (packed->rows != rows || packed->cols != cols) {
        return kfi_fail(err, KF_FORMAT, tensor->offset,
                        "tensor '%s' is %zu x %zu, expected %zu x %zu", tensor->name, packed->rows,
                        packed->cols, rows, cols);
    }
    return KF_OK;
}

static kf_status check_width(const kfi_tensor *tensor, size_t width, kf_error *err)
{
    return width <= KFI_SIDE_MOST
               ? KF_OK
               : kfi_fail(err, KF_UNSUPPORTED, tensor->offset,
                          "tensor '%s' has a rank or number of outliers of %zu, at most %u",
                          tensor->name, width, KFI_SIDE_MOST);
}

static kf_status check_low_rank(const kfi_side_tensors *t, const kfi_side_paths *side,
                                const kfi_packed *matrix, kf_error *err)
{
    const kfi_packed *a = &side->low_rank_a;
    if (t->found[KFI_SIDE_LOW_RANK_A] == NULL) {
        return KF_OK;
    }
    KFI_TRY(check_shape(t->found[KFI_SIDE_LOW_RANK_A], a, a->rows, matrix->cols, err));
    KFI_TRY(check_width(t->found[KFI_SIDE_LOW_RANK_A], a->rows, err));
    return check_shape(t->found[KFI_SIDE_LOW_RANK_B], &side->low_rank_b, matrix->rows, a->rows,
                       err);
}

static kf_status check_columns(const kfi_tensor *tensor, size_t n, size_t cols, kf_error *err)
{
    const uint32_t *columns = columns_of(tensor);
    if (tensor->dtype != KFI_DTYPE_U32 || tensor->n_dims != 1 || tensor->n_elements != n ||
        (uintptr_t)tensor->data % sizeof *columns != 0) {
        return kfi_fail(err, KF_FORMAT, tensor->offset,
                        "tensor '%s' is not U32 [%zu] at a multiple of 4 bytes", tensor->name, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (columns[i] >= cols || (i > 0 && columns[i] <= columns[i - 1])) {
            return kfi_fail(err, KF_FORMAT, tensor->offset + i * sizeof *columns,
                            "tensor '%s': element %zu is %" PRIu32
                            ", expected columns below %zu in ascending order",
                            tensor->name, i, columns[i], cols);
        }
    }
    return KF_OK;
}

static kf_status check_outliers(const kfi_side_tensors *t, const kfi_side_paths *side,
                                const kfi_packed *matrix, kf_error *err)
{
    const kfi_packed *outliers = &side->outliers;
    if (t->found[KFI_SIDE_OUTLIERS] == NULL) {
        return KF_OK;
    }
    KFI_TRY(check_shape(t->found[KFI_SIDE_OUTLIERS], outliers, matrix->rows, outliers->cols, err));
    KFI_TRY(check_width(t->found[KFI_SIDE_OUTLIERS], outliers->cols, err));
    return check_columns(t->found[KFI_SIDE_COLUMNS], outliers->cols, matrix->cols, err);
}

kf_status kfi_side_check(kfi_side_paths *side, const kfi_side_tensors *tensors,
                         const kfi_packed *matrix, kf_error *err)
{
    KFI_TRY(check_pair(tensors, KFI_SIDE_LOW_RANK_A, KFI_SIDE_LOW_RANK_B, err));
    KFI_TRY(check_pair(tensors, KFI_SIDE_OUTLIERS, KFI_SIDE_COLUMNS, err));
    for (size_t i = 0; i < KFI_SIDE_PARTS; i++) {
        if (tensors->found[i] != NULL && matrix->codes == NULL) {
            return kfi_fail(err, KF_FORMAT, tensors->found[i]->offset,
                            "tensor '%s' stands beside a matrix that is not packed",
                            tensors->found[i]->name);
        }
    }
    KFI_TRY(check_low_rank(tensors, side, matrix, err));
    KFI_TRY(check_outliers(tensors, side, matrix, err));
    side->columns = columns_of(tensors->found[KFI_SIDE_COLUMNS]);
    return kfi_sparse_open(&side->sparse, tensors, matrix->rows, matrix->cols, err);
}

/* What there is of a matrix's side paths; nothing of what the checkpoint's version does not know.
 */
static kfi_side_tensors find(const kfi_checkpoint *checkpoint, const char *name)
{
    kfi_side_tensors tensors = {.name = name};
    for (size_t i = 0; i < KFI_SIDE_PARTS; i++) {
        if (i < KFI_SIDE_SPARSE_STARTS ? checkpoint->has_side_paths : checkpoint->has_sparse) {
            tensors.found[i] =
                kfi_checkpoint_find(checkpoint, kfi_name_side(name, (kfi_side_part)i).text);
        }
    }
    return tensors;
}

kf_status kfi_checkpoint_take_side(kfi_side_paths *side, const kfi_checkpoint *checkpoint,
                                   const char *name, const kfi_packed *matrix, kf_error *err)
{
    const kfi_side_tensors tensors = find(checkpoint, name);
    kfi_packed *const views[] = {&side->low_rank_a, &side->low_rank_b, &side->outliers};
    *side = (kfi_side_paths){.columns = NULL};
    for (size_t i = 0; i < KFI_SIDE_COLUMNS; i++) {
        if (tensors.found[i] != NULL) {
            *views[i] = kfi_checkpoint_stored(checkpoint, tensors.found[i])->packed;
        }
    }
    return kfi_side_check(side, &tensors, matrix, err);
}

uint64_t kfi_checkpoint_side_bytes(const kfi_checkpoint *checkpoint, const char *name)
{
    const kfi_side_tensors tensors = find(checkpoint, name);
    return kfi_tensors_bytes(tensors.found, KFI_SIDE_PARTS);
}
