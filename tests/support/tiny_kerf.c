/* tiny_kerf.c - tiny models as Kerf checkpoints.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_kerf.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "model/checkpoint_names.h"
#include "model/config.h"
#include "tiny_kerf_parts.h"
#include "tiny_maps.h"
#include "tiny_sparse.h"
#include "tiny_write.h"

#define TEXT_MAX ((size_t)1 << 20)

tiny_kerf_options tiny_kerf_defaults(void)
{
    return (tiny_kerf_options){
        .format = "int4g64", .head = "int8g64", .activations = "int8tg64", .version = 1};
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

static void add_tensors(tiny_entries *f, const tiny_model *model, const tiny_kerf_options *o,
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
            tiny_add_columns(f, t, o);
        }
        if (!packed && has_side && o->sparse) {
            tiny_add_sparse(f, t, has_map ? tiny_cols_behind_map(t) : t->cols, o);
        }
        if (!packed && has_map) {
            tiny_add_map(f, t, o);
        }
        if ((format != NULL) != packed) {
            continue;
        }
        if (has_map) {
            tiny_add_behind_map(f, t, o, format);
        } else if (!packed) {
            tiny_add_plain(f, t);
        } else if (has_side) {
            tiny_add_with_side(f, t, o);
        } else {
            tiny_add_packed(f, t, format);
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

static void add_prefix(tiny_entries *f, const tiny_model *model, const tiny_kerf_options *o)
{
    const size_t width = model->config.n_kv_heads * model->config.head_dim;
    const size_t bytes = model->config.n_layers * o->n_prefix * width * sizeof(float);
    const float *rows[] = {o->prefix_keys, o->prefix_values};
    static const char *const names[] = {KFI_TENSOR_PREFIX_KEYS, KFI_TENSOR_PREFIX_VALUES};
    for (size_t i = 0; i < 2; i++) {
        kfi_safetensors_entry *e = tiny_add_entry(f, names[i], KFI_DTYPE_F32, rows[i], bytes);
        e->n_dims = 3;
        e->shape[0] = model->config.n_layers;
        e->shape[1] = o->n_prefix;
        e->shape[2] = width;
    }
    kfi_safetensors_entry *e = tiny_add_entry(f, KFI_TENSOR_PREFIX_IDS, KFI_DTYPE_U32,
                                              o->prefix_ids, o->n_prefix * sizeof(uint32_t));
    e->shape[0] = o->n_prefix;
}

static void write_file(const char *path, tiny_entries *f, kfi_json_writer *index, size_t i_file,
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
        static tiny_entries f;
        f.n = 0;
        float odd[3] = {0};
        if (options->misaligned) {
            tiny_add_entry(&f,
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
            tiny_add_signs(&f, KFI_TENSOR_RESIDUAL_SIGNS, tiny_residual_signs(),
                           model->config.hidden,
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
