/* tiny_kerf.c - tiny models as Kerf checkpoints.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_kerf.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/format.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "model/checkpoint_names.h"
#include "model/config.h"
#include "tiny_maps.h"
#include "tiny_sparse.h"
#include "tiny_write.h"

#define MAX_ENTRIES  96u
#define MAX_OUTLIERS 32u
#define TEXT_MAX     ((size_t)1 << 20)

tiny_kerf_options tiny_kerf_defaults(void)
{
    return (tiny_kerf_options){
        .format = "int4g64", .head = "int8g64", .activations = "int8tg64", .version = 1};
}

/* What goes into one file: tensors that are multiples of 64 bytes first, unless told otherwise. */
typedef struct file_entries {
    kfi_safetensors_entry all[MAX_ENTRIES];
    kfi_name names[MAX_ENTRIES];
    void *owned[MAX_ENTRIES]; /* packed bytes, columns */
    size_t n;
} file_entries;

static kfi_safetensors_entry *add_entry(file_entries *f, const char *name, kfi_dtype dtype,
                                        const void *data, size_t bytes)
{
    tiny_check(f->n < MAX_ENTRIES, "too many tensors");
    (void)snprintf(f->names[f->n].text, sizeof f->names[f->n].text, "%s", name);
    f->owned[f->n] = NULL;
    kfi_safetensors_entry *e = &f->all[f->n];
    *e = (kfi_safetensors_entry){
        .name = f->names[f->n].text, .dtype = dtype, .n_dims = 1, .data = data, .bytes = bytes};
    f->n++;
    return e;
}

static void add_plain(file_entries *f, const tiny_tensor *t)
{
    kfi_safetensors_entry *e =
        add_entry(f, t->name, KFI_DTYPE_F32, t->data, t->rows * t->cols * sizeof(float));
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

static void add_packed(file_entries *f, const tiny_tensor *t, const char *format_name)
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
        add_entry(f, kfi_name_packed(t->name).text, KFI_DTYPE_U8, packed, bytes);
    e->shape[0] = bytes;
    f->owned[f->n - 1] = packed;
}

/* ---- side paths ---- */

static size_t outlier(size_t i)
{
    return 3 * i + 1;
}

static float *new_floats(size_t n)
{
    float *floats = kfi_calloc(NULL, n, sizeof *floats);
    tiny_check(floats != NULL, "no memory");
    return floats;
}

static void *new_copy(const void *data, size_t bytes)
{
    void *copy = kfi_alloc(NULL, bytes);
    tiny_check(copy != NULL, "no memory");
    memcpy(copy, data, bytes);
    return copy;
}

static tiny_tensor side_tensor(const tiny_tensor *t, kfi_side_part part, size_t rows, size_t cols)
{
    tiny_tensor side = {.rows = rows, .cols = cols, .data = new_floats(rows * cols)};
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

/* Where the columns stand: behind all packed tensors. */
static void add_columns(file_entries *f, const tiny_tensor *t, const tiny_kerf_options *o)
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
        add_entry(f, kfi_name_side(t->name, KFI_SIDE_COLUMNS).text,
                  flaw == TINY_SIDE_COLUMNS_F32 ? KFI_DTYPE_F32 : KFI_DTYPE_U32,
                  new_copy(columns, n * sizeof *columns), n * sizeof *columns);
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

static void add_part(file_entries *f, const tiny_tensor *part, const char *format)
{
    if (format == NULL) {
        add_plain(f, part);
        f->all[f->n - 1].data = f->owned[f->n - 1] =
            new_copy(part->data, part->rows * part->cols * sizeof(float));
    } else {
        add_packed(f, part, format);
    }
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

static void add_low_rank(file_entries *f, tiny_tensor *t, const tiny_kerf_options *o,
                         const float *original)
{
    const tiny_side_flaw flaw = flaw_of(o, t);
    const size_t rank = flaw == TINY_SIDE_WIDE ? 513 : o->rank;
    tiny_tensor a = make_a(t, o, rank);
    tiny_tensor b = make_b(t, o, rank, original);
    add_part(f, &a, flaw == TINY_SIDE_A_IN_FLOAT ? NULL : "int8g32");
    if (flaw == TINY_SIDE_NAN_SCALE) {
        spoil_scale(f->owned[f->n - 1], f->all[f->n - 1].bytes);
    }
    if (flaw != TINY_SIDE_NO_B) {
        add_part(f, &b, "int8row");
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

/* A packed matrix with its side paths; the tensor's data become what all of it computes. */
static void add_with_side(file_entries *f, tiny_tensor *t, const tiny_kerf_options *o)
{
    tiny_tensor outliers = {.data = NULL};
    if (o->n_outliers > 0) {
        outliers = take_outliers(t, o->n_outliers, flaw_of(o, t));
    }
    float *original = new_copy(t->data, t->rows * t->cols * sizeof(float));
    add_part(f, t, flaw_of(o, t) == TINY_SIDE_KEPT_MATRIX ? NULL : o->format);
    if (o->rank > 0) {
        add_low_rank(f, t, o, original);
    }
    if (o->n_outliers > 0) {
        add_part(f, &outliers, "int8row");
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

static kfi_safetensors_entry *add_copy(file_entries *f, const char *name, kfi_dtype dtype,
                                       const void *data, size_t n)
{
    const size_t bytes = n * kfi_dtype_get(dtype)->block_bytes;
    kfi_safetensors_entry *e = add_entry(f, name, dtype, new_copy(data, bytes), bytes);
    e->shape[0] = n;
    f->owned[f->n - 1] = (void *)(uintptr_t)e->data;
    return e;
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

/* Where single weights stand: behind all packed tensors, columns and values in a multiple of 4
 * bytes. */
static void add_sparse(file_entries *f, const tiny_tensor *t, size_t cols,
                       const tiny_kerf_options *o)
{
    static tiny_sparse s;
    const tiny_side_flaw flaw = flaw_of(o, t);
    init_sparse(&s, t, cols, o);
    spoil_sparse(&s, flaw);
    (void)add_copy(f, kfi_name_side(t->name, KFI_SIDE_SPARSE_STARTS).text,
                   flaw == TINY_SPARSE_STARTS_F32 ? KFI_DTYPE_F32 : KFI_DTYPE_U32, s.starts,
                   s.rows + 1 - (flaw == TINY_SPARSE_FEW_STARTS));
    (void)add_copy(f, kfi_name_side(t->name, KFI_SIDE_SPARSE_COLUMNS).text,
                   flaw == TINY_SPARSE_COLUMNS_U32 ? KFI_DTYPE_U32 : KFI_DTYPE_U16, s.columns, s.n);
    if (flaw != TINY_SPARSE_NO_VALUES) {
        (void)add_copy(f, kfi_name_side(t->name, KFI_SIDE_SPARSE_VALUES).text, KFI_DTYPE_F16,
                       s.values, s.n - (flaw == TINY_SPARSE_FEW_VALUES ? 2 : 0));
    }
}

/* ---- maps ---- */

static tiny_map_flaw map_flaw_of(const tiny_kerf_options *o, const tiny_tensor *t)
{
    const bool is_flawed = strcmp(t->name, "model.layers.0.mlp.down_proj.weight") == 0 ||
                           strcmp(t->name, "model.layers.0.self_attn.q_proj.weight") == 0;
    return is_flawed && o->map_flaw < TINY_MAP_FEW_RESIDUAL_SIGNS ? o->map_flaw : TINY_MAP_RIGHT;
}

static void add_signs(file_entries *f, const char *name, const int8_t *signs, size_t n,
                      tiny_map_flaw flaw)
{
    int8_t copy[TINY_MAP_MOST];
    memcpy(copy, signs, n);
    copy[3] = flaw == TINY_MAP_SIGN_0 ? 0 : flaw == TINY_MAP_RESIDUAL_SIGN_2 ? 2 : copy[3];
    n -= flaw == TINY_MAP_FEW_SIGNS || flaw == TINY_MAP_FEW_RESIDUAL_SIGNS;
    (void)add_copy(f, name, flaw == TINY_MAP_SIGNS_U32 ? KFI_DTYPE_U32 : KFI_DTYPE_I8, copy,
                   flaw == TINY_MAP_SIGNS_U32 ? n / 4 : n);
}

/* Where the parts of a map stand: behind all packed tensors. */
static void add_map(file_entries *f, const tiny_tensor *t, const tiny_kerf_options *o)
{
    static tiny_map map;
    const tiny_map_flaw flaw = map_flaw_of(o, t);
    tiny_map_init(&map, t);
    const kfi_online *online = &map.online;
    const kfi_name columns = kfi_name_online(t->name, KFI_ONLINE_COLUMNS);
    const kfi_name second = kfi_name_online(t->name, KFI_ONLINE_SECOND);
    size_t n = online->n_outputs;
    if (online->signs != NULL) {
        add_signs(f, kfi_name_online(t->name, KFI_ONLINE_SIGNS).text, online->signs, n, flaw);
    }
    if (online->columns != NULL || flaw == TINY_MAP_BOTH) {
        map.columns[2] = flaw == TINY_MAP_BEYOND ? (uint32_t)t->cols : map.columns[2];
        n = flaw == TINY_MAP_FEW_COLUMNS  ? n - 1
            : flaw == TINY_MAP_NO_COLUMNS ? 0
            : flaw == TINY_MAP_WIDE       ? 5 * t->cols
                                          : n;
        (void)add_copy(f, columns.text,
                       flaw == TINY_MAP_COLUMNS_F32 ? KFI_DTYPE_F32 : KFI_DTYPE_U32, map.columns,
                       n);
    }
    if (online->second != NULL || flaw == TINY_MAP_LONE_SECOND) {
        (void)add_copy(f, second.text, KFI_DTYPE_U32, map.second, online->n_outputs);
    }
}

static size_t cols_behind_map(const tiny_tensor *t)
{
    static tiny_map map;
    tiny_map_init(&map, t);
    return map.online.n_outputs;
}

/* A layer's matrix behind its map; the tensor's data become what both compute. */
static void add_behind_map(file_entries *f, tiny_tensor *t, const tiny_kerf_options *o,
                           const char *format)
{
    static tiny_map map;
    tiny_map_init(&map, t);
    tiny_tensor behind = tiny_map_spread(&map, t);
    if (format == NULL) {
        add_part(f, &behind, NULL);
    } else {
        add_with_side(f, &behind, o);
    }
    tiny_map_fold(t, &map, &behind);
    kfi_free(NULL, behind.data, 0);
}

/* ---- files ---- */

static bool is_of_layer(const tiny_tensor *t, size_t i_layer)
{
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "model.layers.%zu.", i_layer);
    return strncmp(t->name, prefix, strlen(prefix)) == 0;
}

/* Tensors of a block, or with i_layer = n_layers all that belong to none. */
static bool is_of_file(const tiny_model *model, const tiny_tensor *t, size_t i_layer)
{
    const bool of_a_block = strncmp(t->name, "model.layers.", 13) == 0;
    return i_layer < model->config.n_layers ? is_of_layer(t, i_layer) : !of_a_block;
}

static const char *format_of(const tiny_kerf_options *o, const tiny_tensor *t)
{
    if (t->rows == 1 || (o->kept != NULL && strcmp(o->kept, t->name) == 0)) {
        return NULL;
    }
    return strncmp(t->name, "model.layers.", 13) == 0 ? o->format : o->head;
}

static void add_tensors(file_entries *f, const tiny_model *model, const tiny_kerf_options *o,
                        size_t i_layer, bool packed)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        tiny_tensor *t = &model->tensors[i];
        const char *format = format_of(o, t);
        const bool has_side = is_of_layer(t, i_layer) && format != NULL;
        const bool has_map = o->maps && is_of_layer(t, i_layer) && t->rows > 1;
        if (!is_of_file(model, t, i_layer)) {
            continue;
        }
        if (!packed && has_side) {
            add_columns(f, t, o);
        }
        if (!packed && has_side && o->sparse) {
            add_sparse(f, t, has_map ? cols_behind_map(t) : t->cols, o);
        }
        if (!packed && has_map) {
            add_map(f, t, o);
        }
        if ((format != NULL) != packed) {
            continue;
        }
        if (has_map) {
            add_behind_map(f, t, o, format);
        } else if (!packed) {
            add_plain(f, t);
        } else if (has_side) {
            add_with_side(f, t, o);
        } else {
            add_packed(f, t, format);
        }
    }
}

/* Gains would not commute with the rotation. */
static void set_gains_to_1(tiny_model *model)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        const tiny_tensor *t = &model->tensors[i];
        for (size_t k = 0; strstr(t->name, "_layernorm") != NULL && k < t->cols; k++) {
            t->data[k] = 1.0f;
        }
    }
}

static void fold_residual(tiny_model *model)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        if (strstr(model->tensors[i].name, "_proj.weight") != NULL) {
            tiny_residual_fold(&model->tensors[i], model->config.hidden);
        }
    }
}

static void add_prefix(file_entries *f, const tiny_model *model, const tiny_kerf_options *o)
{
    const size_t width = model->config.n_kv_heads * model->config.head_dim;
    const size_t bytes = model->config.n_layers * o->n_prefix * width * sizeof(float);
    const float *rows[] = {o->prefix_keys, o->prefix_values};
    static const char *const names[] = {KFI_TENSOR_PREFIX_KEYS, KFI_TENSOR_PREFIX_VALUES};
    for (size_t i = 0; i < 2; i++) {
        kfi_safetensors_entry *e = add_entry(f, names[i], KFI_DTYPE_F32, rows[i], bytes);
        e->n_dims = 3;
        e->shape[0] = model->config.n_layers;
        e->shape[1] = o->n_prefix;
        e->shape[2] = width;
    }
    kfi_safetensors_entry *e = add_entry(f, KFI_TENSOR_PREFIX_IDS, KFI_DTYPE_U32, o->prefix_ids,
                                         o->n_prefix * sizeof(uint32_t));
    e->shape[0] = o->n_prefix;
}

static void write_file(const char *path, file_entries *f, kfi_json_writer *index, size_t i_file,
                       size_t n_files)
{
    kf_error err = {0};
    const kfi_name name = kfi_name_file(i_file, n_files);
    char file[700];
    (void)snprintf(file, sizeof file, "%s/%s", path, name.text);
    tiny_check(kfi_safetensors_write(file, f->all, f->n, NULL, 0, NULL, &err) == KF_OK, err.msg);
    for (size_t i = 0; i < f->n; i++) {
        kfi_json_key(index, f->names[i].text);
        kfi_json_put_text(index, name.text);
        kfi_free(NULL, f->owned[i], 0);
    }
}

static void write_text(const char *path, const char *name, kfi_buf *buf)
{
    kf_error err = {0};
    char file[700];
    (void)snprintf(file, sizeof file, "%s/%s", path, name);
    tiny_check(!buf->failed && kfi_file_write(file, buf->data, buf->n, &err) == KF_OK, file);
    kfi_buf_deinit(buf);
}

static void write_config(const char *path, const tiny_model *model, const tiny_kerf_options *o)
{
    kfi_buf buf;
    kfi_json_writer w;
    kfi_buf_init(&buf, NULL, TEXT_MAX);
    kfi_json_writer_init(&w, &buf, 0);
    kfi_json_begin_object(&w);
    kfi_config_write_json(&w, &model->config);
    (void)kfi_buf_printf(&buf,
                         ",\"quantization_config\":{\"quant_method\":\"kerf\",\"format_version\":%d"
                         ",\"recipe\":\"rtn-tiny\",\"activations\":\"%s\"%s}}",
                         o->version, o->activations, o->more == NULL ? "" : o->more);
    write_text(path, KFI_FILE_CONFIG, &buf);
}

void tiny_kerf_write(const char *path, tiny_model *model, const tiny_kerf_options *options)
{
    kf_error err = {0};
    kfi_buf index;
    kfi_json_writer w;
    tiny_check(kfi_file_make_directories(path, &err) == KF_OK, err.msg);
    kfi_buf_init(&index, NULL, TEXT_MAX);
    kfi_json_writer_init(&w, &index, 0);
    kfi_json_begin_object(&w);
    kfi_json_key(&w, "weight_map");
    kfi_json_begin_object(&w);
    const size_t n_files = model->config.n_layers + 1;
    if (options->rotated) {
        set_gains_to_1(model);
    }
    for (size_t i = 0; i < n_files; i++) {
        static file_entries f;
        f.n = 0;
        float odd[3] = {0};
        if (options->misaligned) {
            add_entry(&f,
                      i == 0   ? "odd.0"
                      : i == 1 ? "odd.1"
                               : "odd.2",
                      KFI_DTYPE_F32, odd, sizeof odd)
                ->shape[0] = 3;
        }
        add_tensors(&f, model, options, i, true);
        add_tensors(&f, model, options, i, false);
        if (i + 1 == n_files && options->n_prefix > 0) {
            add_prefix(&f, model, options);
        }
        if (i + 1 == n_files && options->rotated) {
            const tiny_map_flaw flaw = options->map_flaw;
            add_signs(&f, KFI_TENSOR_RESIDUAL_SIGNS, tiny_residual_signs(), model->config.hidden,
                      flaw >= TINY_MAP_FEW_RESIDUAL_SIGNS ? flaw : TINY_MAP_RIGHT);
        }
        write_file(path, &f, &w, i, n_files);
    }
    if (options->rotated) {
        fold_residual(model);
    }
    kfi_json_end_object(&w);
    kfi_json_end_object(&w);
    write_text(path, KFI_FILE_INDEX, &index);
    write_config(path, model, options);
}

void tiny_kerf_write_sums(const char *path)
{
    char file[1024];
    char hex[KFI_SHA256_HEX];
    char text[256];
    kf_error err = {0};
    (void)snprintf(file, sizeof file, "%s/%s", path, KFI_FILE_INDEX);
    tiny_check(kfi_sha256_file(hex, file, &err) == KF_OK, err.msg);
    (void)snprintf(file, sizeof file, "%s/kerf.json", path);
    const int n =
        snprintf(text, sizeof text, "{\"files\": {\"%s\": \"%s\"\n  }\n}\n", KFI_FILE_INDEX, hex);
    tiny_check(kfi_file_write(file, text, (size_t)n, &err) == KF_OK, err.msg);
}
