/* writer_json.c - the index, config.json and kerf.json of a checkpoint, made from its files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "model/config.h"
#include "quantize/writer.h"

/* ---- reports ---- */

void kfi_report_put(kfi_json_writer *writer, const kf_layer_report *report)
{
    kfi_json_begin_object(writer);
    kfi_json_member_text(writer, "tensor", report->tensor);
    kfi_json_member_text(writer, "format", report->format);
    kfi_json_member_text(writer, "method", report->method);
    kfi_json_member_text(writer, "activations", report->activations);
    kfi_json_member_integer(writer, "rows", (int64_t)report->rows);
    kfi_json_member_integer(writer, "cols", (int64_t)report->cols);
    kfi_json_member_number(writer, "bits_per_weight", report->bits_per_weight);
    kfi_json_member_number(writer, "weight_error", report->weight_error);
    kfi_json_member_number(writer, "output_error", report->output_error);
    kfi_json_member_number(writer, "nearest_error", report->nearest_error);
    kfi_json_member_bool(writer, "exact", report->exact);
    if (report->repair != NULL) {
        kfi_json_member_text(writer, "repair", report->repair);
        kfi_json_member_integer(writer, "rank", (int64_t)report->rank);
        kfi_json_member_number(writer, "unrepaired_error", report->unrepaired_error);
    }
    kfi_json_end_object(writer);
}

static uint64_t count_of(const kfi_json *object, const char *key)
{
    const kfi_json *member = kfi_json_get(object, key);
    return kfi_json_is_integer(member) ? (uint64_t)kfi_json_integer(member) : 0;
}

kf_status kfi_report_read(kf_layer_report *report, const kfi_json *object, kf_error *err)
{
    const kfi_json *exact = kfi_json_get(object, "exact");
    *report = (kf_layer_report){
        .tensor = kfi_json_get_text(object, "tensor"),
        .format = kfi_json_get_text(object, "format"),
        .method = kfi_json_get_text(object, "method"),
        .activations = kfi_json_get_text(object, "activations"),
        .rows = count_of(object, "rows"),
        .cols = count_of(object, "cols"),
        .bits_per_weight = kfi_json_get_number(object, "bits_per_weight", (double)NAN),
        .weight_error = kfi_json_get_number(object, "weight_error", (double)NAN),
        .output_error = kfi_json_get_number(object, "output_error", (double)NAN),
        .nearest_error = kfi_json_get_number(object, "nearest_error", (double)NAN),
        .exact = kfi_json_is_bool(exact) && kfi_json_bool(exact),
        .repair = kfi_json_get_text(object, "repair"),
        .rank = count_of(object, "rank"),
        .unrepaired_error = kfi_json_get_number(object, "unrepaired_error", (double)NAN),
    };
    if (report->tensor == NULL || report->format == NULL || report->method == NULL ||
        report->activations == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "a layer's report is malformed");
    }
    return KF_OK;
}

kf_status kfi_reports_open(kfi_json **list, const kfi_safetensors *file, kf_error *err)
{
    const char *text = kfi_safetensors_metadata(file, 0, KFI_METADATA_LAYERS);
    if (text == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "no \"%s\" in its metadata",
                        KFI_METADATA_LAYERS);
    }
    return kfi_json_parse(list, text, strlen(text), err);
}

/* ---- files ---- */

typedef kf_status file_task(void *ctx, const char *name, const kfi_safetensors *file,
                            kf_error *err);

/* Opens the checkpoint's files one after the other. */
static kf_status each_file(const kfi_writer *writer, file_task *task, void *ctx, kf_error *err)
{
    const size_t n_files = kfi_writer_file_count(writer);
    for (size_t i = 0; i < n_files; i++) {
        const kfi_name name = kfi_name_file(i, n_files);
        kfi_safetensors *file = NULL;
        char *path = kfi_writer_path(writer, i);
        if (path == NULL) {
            return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
        }
        kf_status st = kfi_safetensors_open(&file, path, writer->worker.alloc, err);
        if (st == KF_OK) {
            st = task(ctx, name.text, file, err);
        }
        kfi_safetensors_close(file);
        kfi_free_text(writer->worker.alloc, path);
        KFI_TRY(st);
    }
    return KF_OK;
}

/* Writes a finished buffer as DIRECTORY/name and frees it. */
static kf_status write_document(const kfi_writer *writer, const char *name, kfi_buf *buf,
                                kf_error *err)
{
    kf_status st = KF_OK;
    char *path = kfi_path_join(writer->worker.alloc, writer->directory, name);
    (void)kfi_buf_append_byte(buf, '\n');
    if (path == NULL || buf->failed) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of %s", name);
    } else {
        st = kfi_file_write(path, buf->data, buf->n, err);
    }
    kfi_free_text(writer->worker.alloc, path);
    kfi_buf_deinit(buf);
    return st;
}

/* ---- totals ---- */

static kf_status sum_file(void *ctx, const char *name, const kfi_safetensors *file, kf_error *err)
{
    (void)name;
    (void)err;
    kfi_totals *totals = ctx;
    const kfi_tensor_table *table = kfi_safetensors_tensors(file);
    for (size_t i = 0; i < table->n; i++) {
        totals->bytes += table->tensors[i].bytes;
        totals->linear_bytes +=
            kfi_name_is_linear(table->tensors[i].name) ? table->tensors[i].bytes : 0;
    }
    return KF_OK;
}

kf_status kfi_writer_totals(kfi_totals *totals, const kfi_writer *writer, kf_error *err)
{
    kf_model_info info;
    kf_model_get_info(writer->model, &info);
    *totals = (kfi_totals){.parameters = info.parameters};
    KFI_TRY(each_file(writer, sum_file, totals, err));
    totals->bits_per_weight = 8.0 * (double)totals->bytes / (double)totals->parameters;
    totals->bits_per_weight_linear =
        8.0 * (double)totals->linear_bytes / (double)kfi_model_linear_parameters(writer->model);
    return KF_OK;
}

/* ---- index ---- */

static kf_status index_file(void *ctx, const char *name, const kfi_safetensors *file, kf_error *err)
{
    (void)err;
    const kfi_tensor_table *table = kfi_safetensors_tensors(file);
    for (size_t i = 0; i < table->n; i++) {
        kfi_json_member_text(ctx, table->tensors[i].name, name);
    }
    return KF_OK;
}

kf_status kfi_writer_index(const kfi_writer *writer, const kfi_totals *totals, kf_error *err)
{
    kfi_buf buf;
    kfi_json_writer json;
    kfi_buf_init(&buf, writer->worker.alloc, KFI_DOCUMENT_MAX);
    kfi_json_writer_init(&json, &buf, 2);
    kfi_json_begin_object(&json);
    kfi_json_key(&json, "metadata");
    kfi_json_begin_object(&json);
    kfi_json_member_integer(&json, "total_size", (int64_t)totals->bytes);
    kfi_json_end_object(&json);
    kfi_json_key(&json, "weight_map");
    kfi_json_begin_object(&json);
    const kf_status st = each_file(writer, index_file, &json, err);
    if (st != KF_OK) {
        kfi_buf_deinit(&buf);
        return st;
    }
    kfi_json_end_object(&json);
    kfi_json_end_object(&json);
    return write_document(writer, KFI_FILE_INDEX, &buf, err);
}

/* ---- config.json ---- */

/* Activations of a file's matrices that are not what a reader takes without being told. */
typedef struct overriding {
    kfi_json_writer *json;
    const char *packed; /* what it takes for packed ones; for kept ones float */
} overriding;

static void put_override(const overriding *o, const kf_layer_report *report)
{
    const bool is_kept = strcmp(report->method, KFI_METHOD_KEEP) == 0;
    if (strcmp(report->activations, is_kept ? "float" : o->packed) != 0) {
        kfi_json_member_text(o->json, report->tensor, report->activations);
    }
}

static kf_status put_overrides(void *ctx, const char *name, const kfi_safetensors *file,
                               kf_error *err)
{
    kfi_json *list = NULL;
    kf_status st = kfi_reports_open(&list, file, err);
    for (size_t i = 0; st == KF_OK && i < kfi_json_size(list); i++) {
        kf_layer_report report;
        st = kfi_report_read(&report, kfi_json_at(list, i), err);
        if (st == KF_OK) {
            put_override(ctx, &report);
        }
    }
    kfi_json_free(list);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", name);
    }
    return st;
}

static int64_t version_of_tensor(const char *name)
{
    const kfi_side_part part = kfi_name_side_part(name);
    return part >= KFI_SIDE_SPARSE_STARTS && part < KFI_SIDE_PARTS ? KFI_CHECKPOINT_VERSION_SPARSE
           : kfi_name_online_part(name) < KFI_ONLINE_PARTS ||
                   strcmp(name, KFI_TENSOR_RESIDUAL_SIGNS) == 0
               ? KFI_CHECKPOINT_VERSION_INPUTS
           : part < KFI_SIDE_PARTS ? KFI_CHECKPOINT_VERSION_SIDE
                                   : KFI_CHECKPOINT_VERSION;
}

/* The oldest version whose readers understand what the files hold. */
static kf_status raise_version(void *ctx, const char *name, const kfi_safetensors *file,
                               kf_error *err)
{
    (void)name;
    (void)err;
    int64_t *version = ctx;
    const kfi_tensor_table *table = kfi_safetensors_tensors(file);
    for (size_t i = 0; i < table->n; i++) {
        const int64_t needed = version_of_tensor(table->tensors[i].name);
        *version = needed > *version ? needed : *version;
    }
    return KF_OK;
}

kf_status kfi_writer_config(const kfi_writer *writer, kf_error *err)
{
    char activations[KF_FORMAT_NAME_BYTES];
    kfi_buf buf;
    kfi_json_writer json;
    int64_t version =
        writer->recipe->act_kept ? KFI_CHECKPOINT_VERSION_INPUTS : KFI_CHECKPOINT_VERSION;
    KFI_TRY(each_file(writer, raise_version, &version, err));
    kf_activation_name(activations, kfi_recipe_activations(writer->recipe));
    kfi_buf_init(&buf, writer->worker.alloc, KFI_DOCUMENT_MAX);
    kfi_json_writer_init(&json, &buf, 2);
    kfi_json_begin_object(&json);
    kfi_config_write_json(&json, kfi_model_config(writer->model));
    kfi_json_key(&json, KFI_KEY_QUANTIZATION);
    kfi_json_begin_object(&json);
    kfi_json_member_text(&json, KFI_KEY_METHOD, KFI_QUANTIZATION_METHOD);
    kfi_json_member_integer(&json, KFI_KEY_VERSION, version);
    kfi_json_member_text(&json, KFI_KEY_RECIPE, kf_recipe_name(writer->recipe));
    kfi_json_member_text(&json, KFI_KEY_ACTIVATIONS, activations);
    kfi_json_member_text(&json, KFI_KEY_KV, kf_kv_name(writer->recipe->kv));
    kfi_json_key(&json, KFI_KEY_ACTIVATION_OVERRIDES);
    kfi_json_begin_object(&json);
    overriding overrides = {&json, activations};
    const kf_status st = each_file(writer, put_overrides, &overrides, err);
    if (st != KF_OK) {
        kfi_buf_deinit(&buf);
        return st;
    }
    kfi_json_end_object(&json);
    kfi_json_end_object(&json);
    kfi_json_end_object(&json);
    return write_document(writer, KFI_FILE_CONFIG, &buf, err);
}

/* ---- kerf.json ---- */

static kf_status layers_of_file(void *ctx, const char *name, const kfi_safetensors *file,
                                kf_error *err)
{
    kfi_json *list = NULL;
    const kf_status st = kfi_reports_open(&list, file, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", name);
        return st;
    }
    for (size_t i = 0; i < kfi_json_size(list); i++) {
        kfi_json_put_value(ctx, kfi_json_at(list, i));
    }
    kfi_json_free(list);
    return KF_OK;
}

typedef struct listing {
    const kfi_writer *writer;
    kfi_json_writer *json;
} listing;

static kf_status put_checksum(void *ctx, const char *name, kf_error *err)
{
    const listing *l = ctx;
    const kf_allocator *alloc = l->writer->worker.alloc;
    if (strcmp(name, KFI_FILE_KERF) == 0 || strcmp(name, KFI_FILE_RESUME) == 0) {
        return KF_OK;
    }
    char *path = kfi_path_join(alloc, l->writer->directory, name);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
    }
    char hex[KFI_SHA256_HEX];
    const kf_status st = kfi_sha256_file(hex, path, err);
    if (st == KF_OK) {
        kfi_json_member_text(l->json, name, hex);
    }
    kfi_free_text(alloc, path);
    return st;
}

static kf_status put_kerf(kfi_json_writer *json, const kfi_writer *writer, const kfi_totals *totals,
                          const kfi_identity *identity, kf_error *err)
{
    listing list = {writer, json};
    kfi_json_begin_object(json);
    kfi_identity_put(json, identity);
    kfi_json_member_integer(json, "parameters", (int64_t)totals->parameters);
    kfi_json_member_integer(json, "bytes", (int64_t)totals->bytes);
    kfi_json_member_number(json, "bits_per_weight", totals->bits_per_weight);
    kfi_json_member_number(json, "bits_per_weight_linear", totals->bits_per_weight_linear);
    kfi_json_key(json, "tensors");
    kfi_json_begin_array(json);
    KFI_TRY(each_file(writer, layers_of_file, json, err));
    kfi_json_end_array(json);
    kfi_json_key(json, "files");
    kfi_json_begin_object(json);
    KFI_TRY(kfi_file_list(writer->directory, put_checksum, &list, err));
    kfi_json_end_object(json);
    return KF_OK;
}

/* Closes the document with the hash of what it says so far: see identity.h. */
static kf_status put_tail(kfi_json_writer *json, kf_error *err)
{
    char hex[KFI_SHA256_HEX];
    if (!json->buf->failed) {
        KFI_TRY(kfi_sha256_bytes(hex, json->buf->data, json->buf->n, err));
        kfi_json_member_text(json, "sha256", hex);
    }
    kfi_json_end_object(json);
    return KF_OK;
}

kf_status kfi_writer_kerf(const kfi_writer *writer, const kfi_totals *totals,
                          const kfi_identity *identity, kf_error *err)
{
    kfi_buf buf;
    kfi_json_writer json;
    kfi_buf_init(&buf, writer->worker.alloc, KFI_DOCUMENT_MAX);
    kfi_json_writer_init(&json, &buf, 2);
    kf_status st = put_kerf(&json, writer, totals, identity, err);
    if (st == KF_OK) {
        st = put_tail(&json, err);
    }
    if (st != KF_OK) {
        kfi_buf_deinit(&buf);
        return st;
    }
    return write_document(writer, KFI_FILE_KERF, &buf, err);
}
