/* tiny_kerf_side.c - side paths of tiny Kerf checkpoints, right or wrong on purpose.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_kerf_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/format.h"
#include "io/safetensors.h"
#include "model/checkpoint_names.h"
#include "tiny_sparse.h"
#include "tiny_write.h"

#define MAX_OUTLIERS 32u

static size_t outlier(size_t i)
{
    return 3 * i + 1;
}

static tiny_tensor side_tensor(const tiny_tensor *t, kfi_side_part part, size_t rows, size_t cols)
{
    tiny_tensor side = {.rows = rows, .cols = cols, .data = tiny_new_floats(rows * cols)};
    (void)snprintf(side.name, sizeof side.name, "%s", kfi_name_side(t->name, part).text);
    return side;
}

static tiny_side_flaw flaw_of(const tiny_kerf_options *o, const tiny_tensor *t)
{
    return strcmp(t->name, "model.layers.0.mlp.down_proj.weight") == 0 ? o->flaw : TINY_SIDE_RIGHT;
}

/* Takes the columns of outliers out of the matrix: [rows][n]. */
static tiny_tensor take_outliers(tiny_tensor *t, size_t n, tiny_side_flaw flaw)
{
    const size_t rows = t->rows - (flaw == TINY_SIDE_OUTLIER_ROWS);
    tiny_tensor o = side_tensor(t, KFI_SIDE_OUTLIERS, rows, n);
    for (size_t r = 0; r < t->rows; r++) {
        for (size_t i = 0; i < n; i++) {
            float *w = &t->data[r * t->cols + outlier(i)];
            o.data[(r < rows ? r : 0) * n + i] = *w;
            *w = flaw == TINY_SIDE_NOT_ZERO ? *w : 0.0f;
        }
    }
    return o;
}

void tiny_add_columns(tiny_entries *f, const tiny_tensor *t, const tiny_kerf_options *o)
{
    const tiny_side_flaw flaw = flaw_of(o, t);
    uint32_t columns[MAX_OUTLIERS];
    const size_t n = o->n_outliers - (flaw == TINY_SIDE_FEW_COLUMNS);
    if (n == 0 || flaw == TINY_SIDE_NO_COLUMNS) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        columns[i] = (uint32_t)outlier(i);
    }
    columns[1] = flaw == TINY_SIDE_TWICE ? columns[0] : flaw == TINY_SIDE_UNSORTED ? 0 : columns[1];
    columns[n - 1] = flaw == TINY_SIDE_BEYOND ? (uint32_t)t->cols : columns[n - 1];
    kfi_safetensors_entry *e =
        tiny_add_entry(f, kfi_name_side(t->name, KFI_SIDE_COLUMNS).text,
                       flaw == TINY_SIDE_COLUMNS_F32 ? KFI_DTYPE_F32 : KFI_DTYPE_U32,
                       tiny_new_copy(columns, n * sizeof *columns), n * sizeof *columns);
    e->shape[0] = n;
    f->owned[f->n - 1] = (void *)(uintptr_t)e->data;
}

/* A is the first rows of the unit matrix, without the columns of outliers. */
static tiny_tensor make_a(const tiny_tensor *t, const tiny_kerf_options *o, size_t rank)
{
    tiny_tensor a =
        side_tensor(t, KFI_SIDE_LOW_RANK_A, rank, t->cols - (flaw_of(o, t) == TINY_SIDE_A_COLS));
    for (size_t r = 0; r < rank && r < a.cols; r++) {
        a.data[r * a.cols + r] = 1.0f;
    }
    for (size_t i = 0; i < o->n_outliers && outlier(i) < rank; i++) {
        a.data[outlier(i) * a.cols + outlier(i)] = 0.0f;
    }
    return a;
}

/* B is what rounding took from the first columns: original [rows][cols] is as it was before. */
static tiny_tensor make_b(const tiny_tensor *t, const tiny_kerf_options *o, size_t rank,
                          const float *original)
{
    const tiny_side_flaw flaw = flaw_of(o, t);
    tiny_tensor b = side_tensor(t, KFI_SIDE_LOW_RANK_B, t->rows - (flaw == TINY_SIDE_B_ROWS),
                                rank + (flaw == TINY_SIDE_B_COLS));
    for (size_t r = 0; r < b.rows; r++) {
        for (size_t k = 0; k < rank && k < t->cols; k++) {
            const size_t i = r * t->cols + k;
            b.data[r * b.cols + k] = original[i] - t->data[i];
        }
    }
    return b;
}

/* The first scale of a packed tensor becomes NaN. */
static void spoil_scale(void *bytes, size_t n)
{
    static const uint16_t nan = 0x7E00;
    kf_error err = {0};
    kfi_packed view;
    tiny_check(kfi_packed_open(&view, bytes, n, false, &err) == KF_OK, err.msg);
    const size_t offset = (size_t)((const uint8_t *)view.scales - (const uint8_t *)bytes);
    memcpy((uint8_t *)bytes + offset, &nan, sizeof nan);
}

static void add_low_rank(tiny_entries *f, tiny_tensor *t, const tiny_kerf_options *o,
                         const float *original)
{
    const tiny_side_flaw flaw = flaw_of(o, t);
    const size_t rank = flaw == TINY_SIDE_WIDE ? 513 : o->rank;
    tiny_tensor a = make_a(t, o, rank);
    tiny_tensor b = make_b(t, o, rank, original);
    tiny_add_part(f, &a, flaw == TINY_SIDE_A_IN_FLOAT ? NULL : "int8g32");
    if (flaw == TINY_SIDE_NAN_SCALE) {
        spoil_scale(f->owned[f->n - 1], f->all[f->n - 1].bytes);
    }
    if (flaw != TINY_SIDE_NO_B) {
        tiny_add_part(f, &b, "int8row");
    }
    for (size_t r = 0; r < t->rows && flaw == TINY_SIDE_RIGHT; r++) {
        for (size_t k = 0; k < rank; k++) {
            t->data[r * t->cols + k] += b.data[r * b.cols + k] * a.data[k * a.cols + k];
        }
    }
    kfi_free(NULL, a.data, 0);
    kfi_free(NULL, b.data, 0);
}

static bool is_outlier(size_t column, size_t n_outliers)
{
    return column % 3 == 1 && column / 3 < n_outliers;
}

static void init_sparse(tiny_sparse *s, const tiny_tensor *t, size_t cols,
                        const tiny_kerf_options *o)
{
    const bool any = flaw_of(o, t) == TINY_SPARSE_IN_OUTLIERS;
    tiny_sparse_init(s, t->rows, cols, is_outlier, any ? 0 : o->n_outliers);
}

static void fold_sparse(tiny_tensor *t, const tiny_kerf_options *o)
{
    static tiny_sparse s;
    init_sparse(&s, t, t->cols, o);
    tiny_sparse_fold(t, &s);
}

void tiny_add_with_side(tiny_entries *f, tiny_tensor *t, const tiny_kerf_options *o)
{
    tiny_tensor outliers = {.data = NULL};
    if (o->n_outliers > 0) {
        outliers = take_outliers(t, o->n_outliers, flaw_of(o, t));
    }
    float *original = tiny_new_copy(t->data, t->rows * t->cols * sizeof(float));
    tiny_add_part(f, t, flaw_of(o, t) == TINY_SIDE_KEPT_MATRIX ? NULL : o->format);
    if (o->rank > 0) {
        add_low_rank(f, t, o, original);
    }
    if (o->n_outliers > 0) {
        tiny_add_part(f, &outliers, "int8row");
        for (size_t r = 0; r < outliers.rows; r++) {
            for (size_t i = 0; i < o->n_outliers; i++) {
                t->data[r * t->cols + outlier(i)] = outliers.data[r * outliers.cols + i];
            }
        }
    }
    if (o->sparse) {
        fold_sparse(t, o);
    }
    kfi_free(NULL, outliers.data, 0);
    kfi_free(NULL, original, 0);
}

/* Row 0 has weights in columns 0, 9, 18, …, row 1 in 7, 16, …, row 4 none. */
static void spoil_sparse(tiny_sparse *s, tiny_side_flaw flaw)
{
    s->starts[0] = flaw == TINY_SPARSE_FIRST_1;
    s->starts[2] = flaw == TINY_SPARSE_FALLING ? s->starts[1] - 1
                   : flaw == TINY_SPARSE_FAR   ? (uint32_t)s->n + 1
                                               : s->starts[2];
    s->starts[s->rows] -= flaw == TINY_SPARSE_LEFT;
    s->columns[2] = flaw == TINY_SPARSE_BEYOND     ? (uint16_t)s->cols
                    : flaw == TINY_SPARSE_TWICE    ? s->columns[1]
                    : flaw == TINY_SPARSE_UNSORTED ? 0
                                                   : s->columns[2];
    s->values[3] = flaw == TINY_SPARSE_NAN        ? 0x7E00
                   : flaw == TINY_SPARSE_INFINITE ? 0xFC00
                                                  : s->values[3];
}

void tiny_add_sparse(tiny_entries *f, const tiny_tensor *t, size_t cols, const tiny_kerf_options *o)
{
    static tiny_sparse s;
    const tiny_side_flaw flaw = flaw_of(o, t);
    init_sparse(&s, t, cols, o);
    spoil_sparse(&s, flaw);
    (void)tiny_add_copy(f, kfi_name_side(t->name, KFI_SIDE_SPARSE_STARTS).text,
                        flaw == TINY_SPARSE_STARTS_F32 ? KFI_DTYPE_F32 : KFI_DTYPE_U32, s.starts,
                        s.rows + 1 - (flaw == TINY_SPARSE_FEW_STARTS));
    (void)tiny_add_copy(f, kfi_name_side(t->name, KFI_SIDE_SPARSE_COLUMNS).text,
                        flaw == TINY_SPARSE_COLUMNS_U32 ? KFI_DTYPE_U32 : KFI_DTYPE_U16, s.columns,
                        s.n);
    if (flaw != TINY_SPARSE_NO_VALUES) {
        (void)tiny_add_copy(f, kfi_name_side(t->name, KFI_SIDE_SPARSE_VALUES).text, KFI_DTYPE_F16,
                            s.values, s.n - (flaw == TINY_SPARSE_FEW_VALUES ? 2 : 0));
    }
}
