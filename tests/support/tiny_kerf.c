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
#include "model/checkpoint_names.h"
#include "model/config.h"
#include "tiny_write.h"

#define MAX_ENTRIES 64u
#define TEXT_MAX    ((size_t)1 << 20)

tiny_kerf_options tiny_kerf_defaults(void)
{
    return (tiny_kerf_options){
        .format = "int4g64", .head = "int8g64", .activations = "int8tg64", .version = 1};
}

/* What goes into one file: tensors that are multiples of 64 bytes first, unless told otherwise. */
typedef struct file_entries {
    kfi_safetensors_entry all[MAX_ENTRIES];
    kfi_name names[MAX_ENTRIES];
    void *owned[MAX_ENTRIES]; /* packed bytes */
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
        const tiny_tensor *t = &model->tensors[i];
        const char *format = format_of(o, t);
        if (!is_of_file(model, t, i_layer) || (format != NULL) != packed) {
            continue;
        }
        if (packed) {
            add_packed(f, t, format);
        } else {
            add_plain(f, t);
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
        write_file(path, &f, &w, i, n_files);
    }
    kfi_json_end_object(&w);
    kfi_json_end_object(&w);
    write_text(path, KFI_FILE_INDEX, &index);
    write_config(path, model, options);
}
