/* tiny_entries.c - the tensors of one file of a tiny checkpoint.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_entries.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/format.h"
#include "io/safetensors.h"
#include "model/checkpoint_names.h"
#include "tiny_write.h"

kfi_safetensors_entry *tiny_add_entry(tiny_entries *f, const char *name, kfi_dtype dtype,
                                      const void *data, size_t bytes)
{
    tiny_check(f->n < TINY_ENTRIES_MAX, "too many tensors");
    (void)snprintf(f->names[f->n].text, sizeof f->names[f->n].text, "%s", name);
    f->owned[f->n] = NULL;
    kfi_safetensors_entry *e = &f->all[f->n];
    *e = (kfi_safetensors_entry){
        .name = f->names[f->n].text, .dtype = dtype, .n_dims = 1, .data = data, .bytes = bytes};
    f->n++;
    return e;
}

void tiny_add_plain(tiny_entries *f, const tiny_tensor *t)
{
    kfi_safetensors_entry *e =
        tiny_add_entry(f, t->name, KFI_DTYPE_F32, t->data, t->rows * t->cols * sizeof(float));
    e->n_dims = t->rows == 1 ? 1 : 2;
    e->shape[0] = t->rows == 1 ? t->cols : t->rows;
    e->shape[1] = t->rows == 1 ? 1 : t->cols;
}

/* Rounds every group to its nearest grid; the tensor's data become what is stored. */
static void encode(uint8_t *codes, kfi_grid *grids, kf_format format, const tiny_tensor *t)
{
    const kfi_levels levels = kfi_format_levels(format, NULL);
    const size_t group = kfi_format_group(format, t->cols);
    const size_t n_groups = kfi_format_groups(format, t->cols);
    const kfi_fit fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1, .shrink = 1.0f};
    for (size_t r = 0; r < t->rows; r++) {
        float *row = t->data + r * t->cols;
        kfi_format_fit_row(grids + r * n_groups, format, row, NULL, t->cols, &fit);
        for (size_t k = 0; k < t->cols; k++) {
            const kfi_grid *grid = &grids[r * n_groups + k / group];
            const uint8_t code = kfi_grid_encode(grid, levels, row[k]);
            codes[r * t->cols + k] = code;
            row[k] = kfi_grid_decode(grid, levels, code);
        }
    }
}

void tiny_add_packed(tiny_entries *f, const tiny_tensor *t, const char *format_name)
{
    kf_error err = {0};
    kf_format format;
    uint64_t bytes = 0;
    tiny_check(kf_format_parse(&format, format_name, &err) == KF_OK, err.msg);
    tiny_check(kf_format_bytes(&bytes, format, t->rows, t->cols, &err) == KF_OK, err.msg);
    uint8_t *codes = kfi_alloc(NULL, t->rows * t->cols);
    kfi_grid *grids = kfi_alloc(NULL, t->rows * kfi_format_groups(format, t->cols) * sizeof *grids);
    void *packed = kfi_alloc(NULL, bytes);
    tiny_check(codes != NULL && grids != NULL && packed != NULL, "no memory");
    encode(codes, grids, format, t);
    kfi_packed_begin(packed, format, NULL, t->rows, t->cols);
    kfi_packed_write(packed, 0, (t->rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS, codes, grids);
    kfi_free(NULL, codes, 0);
    kfi_free(NULL, grids, 0);
    kfi_safetensors_entry *e =
        tiny_add_entry(f, kfi_name_packed(t->name).text, KFI_DTYPE_U8, packed, bytes);
    e->shape[0] = bytes;
    f->owned[f->n - 1] = packed;
}

float *tiny_new_floats(size_t n)
{
    float *floats = kfi_calloc(NULL, n, sizeof *floats);
    tiny_check(floats != NULL, "no memory");
    return floats;
}

void *tiny_new_copy(const void *data, size_t bytes)
{
    void *copy = kfi_alloc(NULL, bytes);
    tiny_check(copy != NULL, "no memory");
    memcpy(copy, data, bytes);
    return copy;
}

void tiny_add_part(tiny_entries *f, const tiny_tensor *part, const char *format)
{
    if (format == NULL) {
        tiny_add_plain(f, part);
        f->all[f->n - 1].data = f->owned[f->n - 1] =
            tiny_new_copy(part->data, part->rows * part->cols * sizeof(float));
    } else {
        tiny_add_packed(f, part, format);
    }
}

kfi_safetensors_entry *tiny_add_copy(tiny_entries *f, const char *name, kfi_dtype dtype,
                                     const void *data, size_t n)
{
    const size_t bytes = n * kfi_dtype_get(dtype)->block_bytes;
    kfi_safetensors_entry *e = tiny_add_entry(f, name, dtype, tiny_new_copy(data, bytes), bytes);
    e->shape[0] = n;
    f->owned[f->n - 1] = (void *)(uintptr_t)e->data;
    return e;
}
