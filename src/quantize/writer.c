/* writer.c - a safetensors file a block, and one for the rest.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/writer.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "quantize/table.h"

#define ENTRIES_MAX  96u /* seven layers with twelve parts each, two norms */
#define METADATA_MAX (1u << 20)

size_t kfi_writer_file_count(const kfi_writer *writer)
{
    return kfi_model_config(writer->model)->n_layers + 1;
}

char *kfi_writer_path(const kfi_writer *writer, size_t i_file)
{
    const kfi_name name = kfi_name_file(i_file, kfi_writer_file_count(writer));
    return kfi_path_join(writer->worker.alloc, writer->directory, name.text);
}

/* The tensors of one file, packed ones first: their sizes are multiples of 64, so that all of them
 * are aligned. */
typedef struct contents {
    kfi_safetensors_entry entries[ENTRIES_MAX];
    kfi_name names[ENTRIES_MAX];
    void *owned[ENTRIES_MAX]; /* data made for the file, of entries[i].bytes */
    size_t n;
    kfi_buf reports; /* JSON list */
    kfi_json_writer writer;
    const kf_allocator *alloc;
} contents;

static void contents_init(contents *c, const kf_allocator *alloc)
{
    memset(c, 0, sizeof *c);
    c->alloc = alloc;
    kfi_buf_init(&c->reports, alloc, METADATA_MAX);
    kfi_json_writer_init(&c->writer, &c->reports, 0);
    kfi_json_begin_array(&c->writer);
}

static void contents_deinit(contents *c)
{
    for (size_t i = 0; i < c->n; i++) {
        kfi_free(c->alloc, c->owned[i], c->entries[i].bytes);
    }
    kfi_buf_deinit(&c->reports);
}

static kfi_safetensors_entry *add(contents *c, const char *name, kfi_dtype dtype, const void *data,
                                  size_t bytes)
{
    const size_t i = c->n++;
    (void)snprintf(c->names[i].text, sizeof c->names[i].text, "%s", name);
    c->entries[i] = (kfi_safetensors_entry){
        .name = c->names[i].text, .dtype = dtype, .n_dims = 1, .data = data, .bytes = bytes};
    c->entries[i].shape[0] = bytes / kfi_dtype_get(dtype)->block_bytes;
    return &c->entries[i];
}

static void add_matrix(contents *c, const char *name, kfi_dtype dtype, const void *data,
                       size_t rows, size_t cols)
{
    kfi_safetensors_entry *entry =
        add(c, name, dtype, data, rows * cols * kfi_dtype_get(dtype)->block_bytes);
    entry->n_dims = 2;
    entry->shape[0] = rows;
    entry->shape[1] = cols;
}

static void add_vector(contents *c, const char *name, const float *data, size_t n)
{
    if (data != NULL) {
        (void)add(c, name, KFI_DTYPE_F32, data, n * sizeof *data);
    }
}

static void add_array(contents *c, const char *name, kfi_dtype dtype, const void *data, size_t n)
{
    if (data != NULL) {
        (void)add(c, name, dtype, data, n * kfi_dtype_get(dtype)->block_bytes);
    }
}

/* What the input of a layer goes through. */
static void add_map(contents *c, const kfi_layer *layer)
{
    const kfi_online *o = &layer->linear.online;
    const char *name = layer->name.text;
    add_array(c, kfi_name_online(name, KFI_ONLINE_COLUMNS).text, KFI_DTYPE_U32, o->columns,
              o->n_outputs);
    add_array(c, kfi_name_online(name, KFI_ONLINE_SECOND).text, KFI_DTYPE_U32, o->second,
              o->n_outputs);
    add_array(c, kfi_name_online(name, KFI_ONLINE_SIGNS).text, KFI_DTYPE_I8, o->signs, o->n_inputs);
}

static void add_packed(contents *c, const kfi_layer *layer)
{
    (void)add(c, kfi_name_packed(layer->name.text).text, KFI_DTYPE_U8, layer->packed,
              layer->packed_bytes);
    for (size_t i = 0; i < KFI_PAIR_PARTS; i++) {
        const kfi_name part = kfi_name_side(layer->name.text, (kfi_side_part)i);
        if (layer->pair[i] != NULL) {
            (void)add(c, kfi_name_packed(part.text).text, KFI_DTYPE_U8, layer->pair[i],
                      layer->pair_bytes[i]);
        }
    }
    if (layer->outliers != NULL) {
        const kfi_name name = kfi_name_side(layer->name.text, KFI_SIDE_OUTLIERS);
        (void)add(c, kfi_name_packed(name.text).text, KFI_DTYPE_U8, layer->outliers,
                  layer->outliers_bytes);
    }
}

static void add_outlier_columns(contents *c, const kfi_layer *layer)
{
    if (layer->outlier_columns != NULL) {
        (void)add(c, kfi_name_side(layer->name.text, KFI_SIDE_COLUMNS).text, KFI_DTYPE_U32,
                  layer->outlier_columns,
                  layer->linear.side.outliers.cols * sizeof *layer->outlier_columns);
    }
}

/* Columns and values together are a multiple of 4 bytes, so that what follows stays aligned. */
static void add_sparse(contents *c, const kfi_layer *layer)
{
    const kfi_sparse_part *s = &layer->sparse;
    const char *name = layer->name.text;
    add_array(c, kfi_name_side(name, KFI_SIDE_SPARSE_STARTS).text, KFI_DTYPE_U32, s->starts,
              layer->linear.rows + 1);
    add_array(c, kfi_name_side(name, KFI_SIDE_SPARSE_COLUMNS).text, KFI_DTYPE_U16, s->columns,
              s->n);
    add_array(c, kfi_name_side(name, KFI_SIDE_SPARSE_VALUES).text, KFI_DTYPE_F16, s->values, s->n);
}

/* A kept matrix: in the source's own half precision where it has one, which is exact. */
static kf_status add_kept(contents *c, const char *name, const char *source_format,
                          const float *weights, size_t rows, size_t cols, kf_error *err)
{
    const kfi_dtype dtype = kfi_kept_dtype(source_format);
    if (dtype == KFI_DTYPE_F32) {
        add_matrix(c, name, dtype, weights, rows, cols);
        return KF_OK;
    }
    const size_t n = rows * cols;
    uint16_t *halves = kfi_alloc(c->alloc, n * sizeof *halves);
    if (halves == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu kept weights", n);
    }
    for (size_t i = 0; i < n; i++) {
        halves[i] = dtype == KFI_DTYPE_F16 ? kfi_half_from_float(weights[i])
                                           : kfi_bfloat_from_float(weights[i]);
    }
    c->owned[c->n] = halves;
    add_matrix(c, name, dtype, halves, rows, cols);
    return KF_OK;
}

static kf_status write_contents(const kfi_writer *writer, contents *c, size_t i_file, kf_error *err)
{
    kfi_json_end_array(&c->writer);
    char *path = kfi_writer_path(writer, i_file);
    kf_status st = KF_OK;
    if (c->reports.failed || path == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "names of a file's tensors");
    } else {
        const char *const metadata[] = {"format", "kerf", KFI_METADATA_LAYERS, c->reports.data};
        st = kfi_safetensors_write(path, c->entries, c->n, metadata, 2, c->alloc, err);
    }
    kfi_free_text(c->alloc, path);
    return st;
}

/* ---- a block ---- */

static kf_status add_block(contents *c, const kfi_writer *writer, const kfi_block_result *result,
                           size_t i_layer, kf_error *err)
{
    const size_t hidden = kfi_model_config(writer->model)->hidden;
    const kfi_block *block = &result->block;
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_layer *layer = &result->layers[role];
        kfi_report_put(&c->writer, &layer->report);
        if (layer->packed != NULL) {
            add_packed(c, layer);
        }
    }
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        add_outlier_columns(c, &result->layers[role]);
        add_sparse(c, &result->layers[role]);
    }
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_layer *layer = &result->layers[role];
        const kfi_linear *linear = &layer->linear;
        if (layer->packed == NULL) {
            KFI_TRY(add_kept(c, layer->name.text, layer->report.format, linear->weights,
                             linear->rows, linear->cols, err));
        }
    }
    add_vector(c, kfi_name_attention_norm(i_layer).text, block->attention_norm, hidden);
    add_vector(c, kfi_name_mlp_norm(i_layer).text, block->mlp_norm, hidden);
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        add_vector(c, kfi_name_bias(i_layer, (kfi_linear_role)role).text, block->linears[role].bias,
                   block->linears[role].rows);
    }
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        add_map(c, &result->layers[role]);
    }
    return KF_OK;
}

kf_status kfi_writer_block(const kfi_writer *writer, const kfi_block_result *result, size_t i_layer,
                           kf_error *err)
{
    contents c;
    contents_init(&c, writer->worker.alloc);
    kf_status st = add_block(&c, writer, result, i_layer, err);
    if (st == KF_OK) {
        st = write_contents(writer, &c, i_layer, err);
    }
    contents_deinit(&c);
    return st;
}

/* ---- the rest ---- */

/* Embedding or head. */
typedef struct table {
    const char *name;
    kfi_treatment treatment;
    kfi_layer layer;
    float *kept; /* [rows][cols], where kept */
    size_t rows, cols;
} table;

static kf_status read_kept(table *t, const kfi_writer *writer, kf_error *err)
{
    const kf_allocator *alloc = writer->worker.alloc;
    t->kept = kfi_alloc(alloc, t->rows * t->cols * sizeof *t->kept);
    if (t->kept == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "tensor '%s'", t->name);
    }
    return kfi_model_read_rows(writer->model, t->name, 0, t->rows, t->kept, err);
}

static kf_status make_table(table *t, const kfi_writer *writer, const char *name, kf_error *err)
{
    const kfi_config *config = kfi_model_config(writer->model);
    *t = (table){.name = name, .rows = config->vocabulary, .cols = config->hidden};
    kfi_recipe_treatment(&t->treatment, writer->recipe, config, name);
    return t->treatment.keep ? read_kept(t, writer, err)
                             : kfi_table_quantize(&t->layer, &writer->worker, writer->model, name,
                                                  &t->treatment, err);
}

static void free_table(table *t, const kf_allocator *alloc)
{
    kfi_free(alloc, t->kept, t->rows * t->cols * sizeof *t->kept);
    kfi_layer_deinit(&t->layer);
}

/* What a kept table reports. */
static kf_layer_report report_of(const table *t, const kfi_writer *writer)
{
    if (t->kept == NULL) {
        return t->layer.report;
    }
    return kfi_report_kept(t->name, kfi_model_source_format(writer->model, t->name), t->rows,
                           t->cols);
}

static kf_status add_table(contents *c, const kfi_writer *writer, const table *t,
                           const kf_quantize_options *options, kf_error *err)
{
    const kf_layer_report report = report_of(t, writer);
    kfi_report_put(&c->writer, &report);
    if (options->layer != NULL) {
        options->layer(options->ctx, &report);
    }
    if (t->kept == NULL) {
        add_packed(c, &t->layer);
        return KF_OK;
    }
    return add_kept(c, t->name, kfi_model_source_format(writer->model, t->name), t->kept, t->rows,
                    t->cols, err);
}

static void add_prefix(contents *c, const kfi_writer *writer, const kfi_prefix_run *prefix)
{
    const kfi_config *config = kfi_model_config(writer->model);
    const size_t shape[3] = {config->n_layers, prefix->n, config->n_kv_heads * config->head_dim};
    const size_t bytes = shape[0] * shape[1] * shape[2] * sizeof(float);
    if (prefix->n == 0) {
        return;
    }
    kfi_safetensors_entry *keys =
        add(c, KFI_TENSOR_PREFIX_KEYS, KFI_DTYPE_F32, prefix->keys, bytes);
    kfi_safetensors_entry *values =
        add(c, KFI_TENSOR_PREFIX_VALUES, KFI_DTYPE_F32, prefix->values, bytes);
    keys->n_dims = values->n_dims = 3;
    memcpy(keys->shape, shape, sizeof shape);
    memcpy(values->shape, shape, sizeof shape);
    (void)add(c, KFI_TENSOR_PREFIX_IDS, KFI_DTYPE_U32, prefix->ids, prefix->n * sizeof(uint32_t));
}

static kf_status add_rest(contents *c, const kfi_writer *writer, const table *tables,
                          size_t n_tables, const kfi_prefix_run *prefix,
                          const kf_quantize_options *options, kf_error *err)
{
    for (size_t pass = 0; pass < 2; pass++) { /* packed ones first */
        for (size_t i = 0; i < n_tables; i++) {
            if ((tables[i].kept != NULL) == (pass == 1)) {
                KFI_TRY(add_table(c, writer, &tables[i], options, err));
            }
        }
    }
    add_vector(c, KFI_TENSOR_FINAL_NORM, kfi_model_final_norm(writer->model),
               kfi_model_config(writer->model)->hidden);
    add_prefix(c, writer, prefix);
    add_array(c, KFI_TENSOR_RESIDUAL_SIGNS, KFI_DTYPE_I8, writer->residual_signs,
              kfi_model_config(writer->model)->hidden);
    return KF_OK;
}

kf_status kfi_writer_rest(const kfi_writer *writer, const kfi_prefix_run *prefix,
                          const kf_quantize_options *options, kf_error *err)
{
    static const char *const names[] = {KFI_TENSOR_EMBEDDING, KFI_TENSOR_HEAD};
    const kfi_config *config = kfi_model_config(writer->model);
    const size_t n_tables = config->tied ? 1 : 2;
    const size_t i_file = config->n_layers;
    table tables[2] = {0};
    contents c;
    contents_init(&c, writer->worker.alloc);
    kf_status st = KF_OK;
    for (size_t i = 0; i < n_tables && st == KF_OK; i++) {
        st = make_table(&tables[i], writer, names[i], err);
    }
    if (st == KF_OK) {
        st = add_rest(&c, writer, tables, n_tables, prefix, options, err);
    }
    if (st == KF_OK) {
        st = write_contents(writer, &c, i_file, err);
    }
    contents_deinit(&c);
    free_table(&tables[0], writer->worker.alloc);
    free_table(&tables[1], writer->worker.alloc);
    return st;
}
