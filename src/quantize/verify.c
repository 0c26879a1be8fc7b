/* verify.c - checking a Kerf checkpoint whole.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/report.h"
#include "io/names.h"
#include "io/safetensors.h"
#include "model/checkpoint_names.h"
#include "quantize/identity.h"
#include "quantize/layer.h"
#include "quantize/recipe.h"

typedef struct verifying {
    const char *directory;
    const kf_callbacks *callbacks;
    kfi_report report;
    size_t done, total;
    kfi_config config;
    kf_recipe *recipe; /* that made it; NULL where this version cannot read it */
} verifying;

static kf_status check_cancelled(const verifying *v, kf_error *err)
{
    return kfi_report_cancelled(v->callbacks)
               ? kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled")
               : KF_OK;
}

/* ---- checksums ---- */

static kf_status check_file(void *ctx, const char *name, const kfi_json *member, kf_error *err)
{
    verifying *v = ctx;
    char hex[KFI_SHA256_HEX];
    KFI_TRY(check_cancelled(v, err));
    if (!kfi_json_is_string(member) || !kfi_is_plain_name((kfi_text){name, strlen(name)})) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, KFI_FILE_KERF ": file '%.60s' is malformed",
                        name);
    }
    char *path = kfi_path_join(NULL, v->directory, name);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
    }
    kf_status st = kfi_sha256_file(hex, path, err);
    if (st == KF_INPUT) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'%s' is missing", path);
    } else if (st == KF_OK && strcmp(hex, kfi_json_string(member, NULL)) != 0) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                      "'%s' has SHA-256 %s, " KFI_FILE_KERF " says %.64s", path, hex,
                      kfi_json_string(member, NULL));
    }
    kfi_free_text(NULL, path);
    kfi_report_progress(&v->report, "checksums", "files", ++v->done, v->total);
    return st;
}

/* kerf.json carries the hash of its own bytes at its end. Those of the first versions end with
 * their list of files. */
static kf_status check_document(const verifying *v, const kfi_buf *text, kf_error *err)
{
    static const char old_end[] = "\n  }\n}\n";
    static const char begin[] = KFI_KERF_TAIL_BEGIN;
    static const char end[] = KFI_KERF_TAIL_END;
    const size_t n_begin = sizeof begin - 1;
    const size_t n_end = sizeof end - 1;
    const size_t n_tail = n_begin + KFI_SHA256_HEX - 1 + n_end;
    const size_t n_old = sizeof old_end - 1;
    char hex[KFI_SHA256_HEX];
    if (text->n >= n_old && memcmp(text->data + text->n - n_old, old_end, n_old) == 0) {
        kfi_report_warn(v->callbacks, KFI_FILE_KERF " is of an early version, without a checksum "
                                                    "of its own: nothing says that it is whole");
        return KF_OK;
    }
    const char *tail = text->n >= n_tail ? text->data + text->n - n_tail : "";
    if (strncmp(tail, begin, n_begin) != 0 || strcmp(tail + n_tail - n_end, end) != 0) {
        return kfi_fail(err, KF_FORMAT, text->n, "it does not end with its checksum");
    }
    KFI_TRY(kfi_sha256_bytes(hex, text->data, text->n - n_tail, err));
    return memcmp(hex, tail + n_begin, KFI_SHA256_HEX - 1) == 0
               ? KF_OK
               : kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                          "its text has SHA-256 %s, its end says %.64s", hex, tail + n_begin);
}

/* Reads kerf.json and checks it by itself. */
static kf_status read_document(const verifying *v, kfi_json **root, const char *path, kf_error *err)
{
    kfi_buf text;
    kfi_buf_init(&text, NULL, KFI_DOCUMENT_MAX);
    kf_status st = kfi_file_read(&text, path, err);
    if (st == KF_OK) {
        st = check_document(v, &text, err);
        if (st == KF_OK) {
            st = kfi_json_parse(root, text.data, text.n, err);
        }
        if (st != KF_OK) {
            kfi_fail_prefix(err, "'%s': ", path);
        }
    }
    kfi_buf_deinit(&text);
    return st;
}

static kf_status check_files(verifying *v, const kfi_json *root, kf_error *err)
{
    const kfi_json *files = kfi_json_get(root, "files");
    v->total = kfi_json_size(files);
    v->done = 0;
    return kfi_json_is_object(files) && v->total > 0
               ? kfi_json_each(files, check_file, v, err)
               : kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                          KFI_FILE_KERF " of '%s' names no files: not a finished checkpoint",
                          v->directory);
}

static kf_status check_checksums(verifying *v, kf_error *err)
{
    kfi_json *root = NULL;
    char *path = kfi_path_join(NULL, v->directory, KFI_FILE_KERF);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
    }
    kf_status st = read_document(v, &root, path, err);
    kfi_free_text(NULL, path);
    if (st == KF_OK) {
        st = check_files(v, root, err);
    }
    if (st == KF_OK && kfi_recipe_from_json(&v->recipe, kfi_json_get(root, "recipe"), "", 0, NULL,
                                            NULL) != KF_OK) {
        v->recipe = NULL; /* of a version to come */
    }
    kfi_json_free(root);
    return st;
}

/* ---- tensors ---- */

static kf_status check_packed(const kfi_tensor *tensor, kf_error *err)
{
    kfi_packed packed;
    const kf_status st = kfi_packed_open(&packed, tensor->data, tensor->bytes, true, err);
    if (st != KF_OK && err != NULL && err->offset != KF_NO_OFFSET) {
        err->offset += tensor->offset;
    }
    return st;
}

/* What the recipe keeps may hold anything that its source held. */
static bool is_kept(const verifying *v, const kfi_tensor *tensor)
{
    kfi_treatment treatment;
    if (v->recipe == NULL) {
        return false;
    }
    kfi_recipe_treatment(&treatment, v->recipe, &v->config, tensor->name);
    return treatment.keep;
}

static kf_status check_floats(const kfi_tensor *tensor, kf_error *err)
{
    float values[256];
    const size_t most = sizeof values / sizeof values[0];
    if (!kfi_dtype_is_decodable(tensor->dtype)) {
        return KF_OK; /* ids of the prefix: opening has checked them */
    }
    for (size_t begin = 0; begin < tensor->n_elements; begin += most) {
        const size_t n = tensor->n_elements - begin < most ? tensor->n_elements - begin : most;
        KFI_TRY(kfi_tensor_decode(values, tensor, begin, n, err));
        for (size_t i = 0; i < n; i++) {
            if (!isfinite(values[i])) {
                const size_t bytes = kfi_dtype_get(tensor->dtype)->block_bytes; /* of one */
                return kfi_fail(err, KF_FORMAT, tensor->offset + (begin + i) * bytes,
                                "element %zu is %s", begin + i,
                                isnan(values[i]) ? "NaN" : "infinite");
            }
        }
    }
    return KF_OK;
}

static kf_status check_tensors(verifying *v, kf_error *err)
{
    kfi_safetensors *file = NULL;
    KFI_TRY(kfi_safetensors_open(&file, v->directory, NULL, err));
    const kfi_tensor_table *table = kfi_safetensors_tensors(file);
    kf_status st = KF_OK;
    v->total = table->n;
    for (size_t i = 0; i < table->n && st == KF_OK; i++) {
        const kfi_tensor *tensor = &table->tensors[i];
        st = check_cancelled(v, err);
        if (st == KF_OK) {
            st = kfi_name_unpacked(tensor->name) > 0 ? check_packed(tensor, err)
                 : is_kept(v, tensor)                ? KF_OK
                                                     : check_floats(tensor, err);
            if (st != KF_OK) {
                kfi_fail_prefix(err, "'%s', tensor '%s': ",
                                kfi_safetensors_file_name(file, tensor->i_file), tensor->name);
            }
        }
        kfi_report_progress(&v->report, "tensors", "tensors", i + 1, v->total);
    }
    kfi_safetensors_close(file);
    return st;
}

/* The columns of outliers are 0 in the matrix: else they would count twice with float activations,
 * and once with others. */
static kf_status check_zero_columns(const kfi_packed *matrix, const kfi_side_paths *side,
                                    const char *name, kf_error *err)
{
    const size_t n = side->outliers.codes == NULL ? 0 : side->outliers.cols;
    for (size_t r = 0; matrix->codes != NULL && r < matrix->rows; r++) {
        for (size_t i = 0; i < n; i++) {
            float value = 0.0f;
            kfi_packed_decode_row(&value, matrix, r, side->columns[i], 1);
            if (value != 0.0f) { /* exact: code and zero are the same, or the scale is 0 */
                return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                                "tensor '%s': row %zu is not 0 in column %" PRIu32
                                ", which is one of outliers",
                                name, r, side->columns[i]);
            }
        }
    }
    return KF_OK;
}

static kf_status check_zero_sparse(const kfi_side_paths *side, const char *name, kf_error *err)
{
    const size_t n_outliers = side->outliers.codes == NULL ? 0 : side->outliers.cols;
    const kfi_sparse *s = &side->sparse;
    for (size_t r = 0; s->starts != NULL && n_outliers > 0 && r < s->rows; r++) {
        size_t k = 0; /* both ascend */
        for (size_t i = s->starts[r]; i < s->starts[r + 1]; i++) {
            while (k < n_outliers && side->columns[k] < s->columns[i]) {
                k++;
            }
            if (k < n_outliers && side->columns[k] == s->columns[i]) {
                return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                                "tensor '%s': row %zu has a weight in column %u, which is one of "
                                "outliers",
                                name, r, s->columns[i]);
            }
        }
    }
    return KF_OK;
}

static kf_status check_side_paths(kf_model *model, kf_error *err)
{
    const size_t n_layers =
        kfi_model_side_width(model) == 0 ? 0 : kfi_model_config(model)->n_layers;
    for (size_t i = 0; i < n_layers; i++) {
        const kfi_block *block = NULL;
        KFI_TRY(kfi_model_block(model, i, &block, err));
        for (kfi_linear_role role = 0; role < KFI_LINEAR_COUNT; role++) {
            const kfi_linear *linear = &block->linears[role];
            const kfi_name name = kfi_name_weight(i, role);
            KFI_TRY(check_zero_columns(&linear->packed, &linear->side, name.text, err));
            KFI_TRY(check_zero_columns(&linear->side.low_rank_a, &linear->side,
                                       kfi_name_side(name.text, KFI_SIDE_LOW_RANK_A).text, err));
            KFI_TRY(check_zero_sparse(&linear->side,
                                      kfi_name_side(name.text, KFI_SIDE_SPARSE_COLUMNS).text, err));
        }
    }
    return KF_OK;
}

/* Every tensor that the architecture needs, with its shape; and that it is Kerf's. */
static kf_status check_model(verifying *v, kf_error *err)
{
    kf_model *model = NULL;
    kf_model_info info;
    const char *path = v->directory;
    KFI_TRY(kf_model_open(&model, path, NULL, err));
    v->config = *kfi_model_config(model);
    kf_model_get_info(model, &info);
    kf_status st = KF_OK;
    if (!info.is_kerf) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'%s' is no Kerf checkpoint", path);
    } else {
        st = check_side_paths(model, err);
    }
    kf_model_close(model);
    return st;
}

kf_status kf_verify(const char *path, const kf_callbacks *callbacks, kf_error *err)
{
    verifying v = {.directory = path, .callbacks = callbacks};
    kfi_report_init(&v.report, callbacks);
    if (!kfi_file_is_directory(path)) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "'%s' is no directory", path);
    }
    kf_status st = check_checksums(&v, err);
    if (st == KF_OK) {
        st = check_model(&v, err);
    }
    if (st == KF_OK) {
        st = check_tensors(&v, err);
    }
    kf_recipe_free(v.recipe);
    return st;
}
