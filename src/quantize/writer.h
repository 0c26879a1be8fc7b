/* writer.h - the files of a checkpoint that is being made.
 *
 * File i holds block i; the last one embedding, head, final norm and prefix. Each carries the
 * reports of its layers in its metadata ("kerf.layers"), so that kerf.json is made from the files
 * alone: the same whether they were written in one run or in several.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_WRITER_H
#define KFI_QUANTIZE_WRITER_H

#include "io/safetensors.h"
#include "quantize/identity.h"
#include "quantize/pipeline.h"

typedef struct kfi_writer {
    const char *directory; /* OUT.partial, borrowed */
    kf_model *model;
    const kf_recipe *recipe;
    kfi_worker worker;
    const int8_t
        *residual_signs; /* [hidden], of a stream that the blocks expect rotated; or NULL */
} kfi_writer;

KF_NODISCARD kf_status kfi_writer_block(const kfi_writer *writer, const kfi_block_result *result,
                                        size_t i_layer, kf_error *err);
/* The last file; each table's report goes to options->layer. */
KF_NODISCARD kf_status kfi_writer_rest(const kfi_writer *writer, const kfi_prefix_run *prefix,
                                       const kf_quantize_options *options, kf_error *err);

/* ---- writer_json.c ---- */

/* What the files hold, summed up. */
typedef struct kfi_totals {
    uint64_t bytes, linear_bytes, parameters;
    double bits_per_weight, bits_per_weight_linear;
} kfi_totals;

/* Sums over the tensors of all files: reads every file's header, so call it once. */
KF_NODISCARD kf_status kfi_writer_totals(kfi_totals *totals, const kfi_writer *writer,
                                         kf_error *err);
KF_NODISCARD kf_status kfi_writer_index(const kfi_writer *writer, const kfi_totals *totals,
                                        kf_error *err);
KF_NODISCARD kf_status kfi_writer_config(const kfi_writer *writer, kf_error *err);
/* kerf.json: the identity, the layers, and the SHA-256 of every other file of the directory. */
KF_NODISCARD kf_status kfi_writer_kerf(const kfi_writer *writer, const kfi_totals *totals,
                                       const kfi_identity *identity, kf_error *err);

/* The reports of a file's layers as a JSON list, from its metadata. */
#define KFI_METADATA_LAYERS "kerf.layers"
/* KF_FORMAT without one; *list is freed with kfi_json_free(). */
KF_NODISCARD kf_status kfi_reports_open(kfi_json **list, const kfi_safetensors *file,
                                        kf_error *err);
void kfi_report_put(kfi_json_writer *writer, const kf_layer_report *report);
/* Back from one object of that list; strings are borrowed from it. KF_FORMAT. */
KF_NODISCARD kf_status kfi_report_read(kf_layer_report *report, const kfi_json *object,
                                       kf_error *err);

/* "DIRECTORY/model-0000i-of-0000n.safetensors", owned by the caller: kfi_free_text. NULL without
 * memory. */
char *kfi_writer_path(const kfi_writer *writer, size_t i_file);
size_t kfi_writer_file_count(const kfi_writer *writer);

/* ---- resume.c ---- */

/* Blocks that are finished, counted from the first. */
size_t kfi_resume_count(const kfi_writer *writer);

/* A finished block, mapped. */
typedef struct kfi_resumed {
    kfi_safetensors *file;
    kfi_block block;
} kfi_resumed;

/* Opens block i and checks it whole; its layers go to options->layer. */
KF_NODISCARD kf_status kfi_resume_open(kfi_resumed *resumed, const kfi_writer *writer,
                                       size_t i_layer, const kf_quantize_options *options,
                                       kf_error *err);
void kfi_resume_close(kfi_resumed *resumed);

#endif /* KFI_QUANTIZE_WRITER_H */
