/* resume.c - finished blocks of an interrupted run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "quantize/writer.h"

size_t kfi_resume_count(const kfi_writer *writer)
{
    const size_t n_layers = kfi_model_config(writer->model)->n_layers;
    size_t n = 0;
    bool exists = true;
    while (n < n_layers && exists) {
        char *path = kfi_writer_path(writer, n);
        exists = path != NULL && kfi_file_exists(path);
        kfi_free_text(writer->worker.alloc, path);
        n += exists;
    }
    return n;
}

void kfi_resume_close(kfi_resumed *resumed)
{
    kfi_safetensors_close(resumed->file);
    *resumed = (kfi_resumed){0};
}

static const kfi_tensor *find(const kfi_safetensors *file, const char *name)
{
    return kfi_tensor_find(kfi_safetensors_tensors(file), name);
}

/* Floats of a block that transforms changed: the writer puts them as they are. */
static kf_status take_floats(const float **dst, const kfi_safetensors *file, const char *name,
                             size_t n, kf_error *err)
{
    const kfi_tensor *tensor = find(file, name);
    if (tensor == NULL || tensor->dtype != KFI_DTYPE_F32 || tensor->n_elements != n ||
        (uintptr_t)tensor->data % sizeof(float) != 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "tensor '%s' is missing, or not %zu F32",
                        name, n);
    }
    *dst = (const float *)(const void *)tensor->data;
    return KF_OK;
}

/* The activations that the run before gave a matrix: a searched clip is known from there only. */
static kf_status take_activation(kf_activation *activation, const kfi_json *reports,
                                 const char *name, kf_error *err)
{
    for (size_t i = 0; i < kfi_json_size(reports); i++) {
        kf_layer_report report;
        KFI_TRY(kfi_report_read(&report, kfi_json_at(reports, i), err));
        if (strcmp(report.tensor, name) == 0) {
            return kf_activation_parse(activation, report.activations, err);
        }
    }
    return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "no report of tensor '%s'", name);
}

/* What the input of a layer goes through; its matrix has the columns behind that. */
static kf_status take_map(kfi_linear *linear, const kfi_safetensors *file, const char *name,
                          kf_error *err)
{
    kfi_online_tensors tensors = {.name = name};
    for (size_t i = 0; i < KFI_ONLINE_PARTS; i++) {
        tensors.found[i] = find(file, kfi_name_online(name, (kfi_online_part)i).text);
    }
    KFI_TRY(kfi_online_open(&linear->online, &tensors, linear->cols, err));
    linear->cols = linear->online.n_outputs > 0 ? linear->online.n_outputs : linear->cols;
    return KF_OK;
}

static kf_status open_packed(kfi_packed *packed, const kfi_tensor *tensor, kf_error *err)
{
    const kf_status st = kfi_packed_open(packed, tensor->data, tensor->bytes, true, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "tensor '%s': ", tensor->name);
    }
    return st;
}

/* All side paths that stand beside a packed matrix, checked as a reader of the checkpoint does. */
static kf_status take_side(kfi_linear *linear, const kfi_safetensors *file, const char *name,
                           kf_error *err)
{
    kfi_side_paths *side = &linear->side;
    kfi_side_tensors tensors = {.name = name};
    kfi_packed *const packed[] = {&side->low_rank_a, &side->low_rank_b, &side->outliers};
    const size_t n_packed = sizeof packed / sizeof packed[0];
    for (size_t i = 0; i < KFI_SIDE_PARTS; i++) {
        kfi_name part = kfi_name_side(name, (kfi_side_part)i);
        part = i < n_packed ? kfi_name_packed(part.text) : part;
        tensors.found[i] = find(file, part.text);
        if (i < n_packed && tensors.found[i] != NULL) {
            KFI_TRY(open_packed(packed[i], tensors.found[i], err));
        }
    }
    return kfi_side_check(side, &tensors, &linear->packed, err);
}

/* The recipe says how wide side paths are, but of single weights, whose number is the weights' own.
 * Under a budget its rank is the most that a pair may have. */
static kf_status check_side(const kfi_linear *linear, const kfi_writer *writer,
                            const kfi_treatment *treatment, const char *name, kf_error *err)
{
    const kfi_repair_plan plan = kfi_treatment_pair(treatment, linear->rows, linear->cols);
    const size_t rank = linear->side.low_rank_a.rows;
    const size_t n_outliers = kfi_recipe_outliers(writer->recipe, linear->cols);
    if (rank > plan.rank || (rank < plan.rank && plan.budget <= 0.0)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "tensor '%s' has rank %zu, expected %zu",
                        kfi_name_side(name, KFI_SIDE_LOW_RANK_A).text, rank, plan.rank);
    }
    return linear->side.outliers.cols == n_outliers
               ? KF_OK
               : kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "tensor '%s' has %zu columns, expected %zu",
                          kfi_name_side(name, KFI_SIDE_OUTLIERS).text, linear->side.outliers.cols,
                          n_outliers);
}

static kf_status take_packed(kfi_linear *linear, const kfi_safetensors *file, const char *name,
                             kf_error *err)
{
    const kfi_name full = kfi_name_packed(name);
    const kfi_tensor *tensor = find(file, full.text);
    if (tensor == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "tensor '%s' is missing", full.text);
    }
    KFI_TRY(open_packed(&linear->packed, tensor, err));
    linear->weights = NULL;
    return linear->packed.rows == linear->rows && linear->packed.cols == linear->cols
               ? KF_OK
               : kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                          "tensor '%s': %zu x %zu weights, expected %zu x %zu", tensor->name,
                          linear->packed.rows, linear->packed.cols, linear->rows, linear->cols);
}

static kf_status take_layer(kfi_linear *linear, const kfi_writer *writer,
                            const kfi_safetensors *file, const char *name, kf_error *err)
{
    kfi_treatment treatment;
    kfi_recipe_treatment(&treatment, writer->recipe, kfi_model_config(writer->model), name);
    if (treatment.keep) { /* the source's own weights, unless they are transformed */
        return kfi_recipe_transform(writer->recipe, 0) == NULL
                   ? KF_OK
                   : take_floats(&linear->weights, file, name, linear->rows * linear->cols, err);
    }
    KFI_TRY(take_packed(linear, file, name, err));
    KFI_TRY(take_side(linear, file, name, err));
    return check_side(linear, writer, &treatment, name, err);
}

static kf_status take_norms(kfi_block *block, const kfi_writer *writer, const kfi_safetensors *file,
                            size_t i_layer, kf_error *err)
{
    const size_t hidden = kfi_model_config(writer->model)->hidden;
    if (kfi_recipe_transform(writer->recipe, 0) == NULL) { /* the source's own */
        return KF_OK;
    }
    KFI_TRY(take_floats(&block->attention_norm, file, kfi_name_attention_norm(i_layer).text, hidden,
                        err));
    return take_floats(&block->mlp_norm, file, kfi_name_mlp_norm(i_layer).text, hidden, err);
}

static kf_status pass_report(const kfi_json *object, const kf_quantize_options *options,
                             kf_error *err)
{
    kf_layer_report report;
    KFI_TRY(kfi_report_read(&report, object, err));
    if (options->layer != NULL) {
        options->layer(options->ctx, &report);
    }
    return KF_OK;
}

static kf_status pass_reports(const kfi_json *reports, const kf_quantize_options *options,
                              kf_error *err)
{
    for (size_t i = 0; i < kfi_json_size(reports); i++) {
        KFI_TRY(pass_report(kfi_json_at(reports, i), options, err));
    }
    return KF_OK;
}

static kf_status take_layers(kfi_resumed *resumed, const kfi_writer *writer, size_t i_layer,
                             const kfi_json *reports, kf_error *err)
{
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_name name = kfi_name_weight(i_layer, (kfi_linear_role)role);
        kfi_linear *linear = &resumed->block.linears[role];
        KFI_TRY(take_activation(&linear->activation, reports, name.text, err));
        KFI_TRY(take_map(linear, resumed->file, name.text, err));
        KFI_TRY(take_layer(linear, writer, resumed->file, name.text, err));
    }
    return KF_OK;
}

static kf_status take_block(kfi_resumed *resumed, const kfi_writer *writer, size_t i_layer,
                            const kf_quantize_options *options, kf_error *err)
{
    const kfi_block *source = NULL;
    kfi_json *reports = NULL;
    KFI_TRY(kfi_model_block(writer->model, i_layer, &source, err));
    resumed->block = *source;
    KFI_TRY(kfi_reports_open(&reports, resumed->file, err));
    kf_status st = take_layers(resumed, writer, i_layer, reports, err);
    if (st == KF_OK) {
        st = take_norms(&resumed->block, writer, resumed->file, i_layer, err);
    }
    if (st == KF_OK) {
        st = pass_reports(reports, options, err);
    }
    kfi_json_free(reports);
    return st;
}

kf_status kfi_resume_open(kfi_resumed *resumed, const kfi_writer *writer, size_t i_layer,
                          const kf_quantize_options *options, kf_error *err)
{
    *resumed = (kfi_resumed){0};
    char *path = kfi_writer_path(writer, i_layer);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
    }
    kf_status st = kfi_safetensors_open(&resumed->file, path, writer->worker.alloc, err);
    if (st == KF_OK) {
        st = take_block(resumed, writer, i_layer, options, err);
    }
    if (st != KF_OK) {
        kfi_fail_prefix(err, "'%s': ", path);
        kfi_resume_close(resumed);
    }
    kfi_free_text(writer->worker.alloc, path);
    return st;
}
