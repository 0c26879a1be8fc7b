/* layer.h - one matrix quantized: the packed bytes, what runs them, and what was lost.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_LAYER_H
#define KFI_QUANTIZE_LAYER_H

#include "io/tensor.h"
#include "model/checkpoint_names.h"
#include "quantize/recipe.h"

/* KFI_SIDE_LOW_RANK_A and …_B. */
#define KFI_PAIR_PARTS 2u

typedef struct kfi_layer {
    const kf_allocator *alloc;
    kfi_name name;     /* Hugging Face's, of the weight */
    kfi_linear linear; /* what runs: packed, or the source's floats where kept */
    void *packed;      /* [packed_bytes], owned; NULL: kept, or borrowed from a file */
    size_t packed_bytes;
    void *pair[KFI_PAIR_PARTS]; /* A and B of its side path, packed, owned; NULL: none */
    size_t pair_bytes[KFI_PAIR_PARTS];
    void *outliers; /* [outliers_bytes], owned: packed columns of outliers, or NULL */
    size_t outliers_bytes;
    uint32_t *outlier_columns; /* [linear.side.outliers.cols], owned */
    kfi_sparse_part sparse;    /* starts, columns and values of linear.side.sparse, owned */
    char format[KF_FORMAT_NAME_BYTES];
    char activations[KF_FORMAT_NAME_BYTES];
    kf_layer_report report; /* its strings are static or point into this struct: do not copy it */
} kfi_layer;

void kfi_layer_deinit(kfi_layer *layer);

/* What a method made of an input's statistics, kept for the next layer with the same input. */
typedef struct kfi_prepared {
    kfi_method_use use;
    const kfi_statistics *statistics;
    void *shared;
    bool is_made;
} kfi_prepared;

void kfi_prepared_deinit(kfi_prepared *prepared, const kf_allocator *alloc);

/* Who does the work. */
typedef struct kfi_worker {
    kf_pool *pool;
    const kf_allocator *alloc;
    const kf_callbacks *callbacks;
    bool is_trial; /* only the result counts: errors are not measured, nothing is warned of */
} kfi_worker;

/* A matrix of the source and what the recipe says of it. */
typedef struct kfi_layer_source {
    const char *name;         /* Hugging Face's */
    const kfi_linear *linear; /* float weights */
    const char *format;       /* as the source stores it: "Q4_1", "BF16" */
    size_t n_outliers;        /* the last columns, where the matrix is quantized */
    kfi_treatment treatment;
} kfi_layer_source;

/* Quantizes a matrix, or keeps it. statistics: of its input, or NULL. KF_FORMAT for a weight that
 * is NaN or infinite. */
KF_NODISCARD kf_status kfi_layer_quantize(kfi_layer *layer, const kfi_worker *worker,
                                          const kfi_layer_source *source,
                                          const kfi_statistics *statistics, kfi_prepared *prepared,
                                          kf_error *err);

/* What the pairs of a matrix would gain, had it the greatest rank that its repair allows: gains
 * [that rank], of the relative error of outputs, or where no Gram matrix is there of weights. It is
 * rounded for it as it will be. As kfi_layer_quantize(). */
KF_NODISCARD kf_status kfi_layer_gains(double *gains, const kfi_worker *worker,
                                       const kfi_layer_source *source,
                                       const kfi_statistics *statistics, kfi_prepared *prepared,
                                       kf_error *err);

/* Fills layer->packed and layer->linear.packed from a job's codes and grids, and what belongs to
 * its outliers; takes over its single weights. KF_UNSUPPORTED: the format has no exact zero, which
 * the matrix needs there. */
KF_NODISCARD kf_status kfi_layer_pack(kfi_layer *layer, kfi_round_job *job, kf_error *err);
/* A job's codes and grids as a packed matrix: *dst of *bytes, returned owned, and what opens it. */
KF_NODISCARD kf_status kfi_job_pack(void **dst, size_t *bytes, kfi_packed *packed,
                                    const kfi_round_job *job, kf_error *err);

/* ---- layer_repair.c ---- */

/* Runs the treatment's repair on a job that prepared's method has rounded: packs the pair into the
 * layer and, unless it is a trial, measures what is left. The job's codes may be others then. A
 * rank of 0 is no repair. */
KF_NODISCARD kf_status kfi_layer_repair(kfi_layer *layer, kfi_round_job *job,
                                        const kfi_method_use *repair, const kfi_prepared *prepared,
                                        bool is_trial, kf_error *err);
/* gains [the greatest rank] = what the pairs take off `error`, the relative one of the job. */
KF_NODISCARD kf_status kfi_repair_gains(double *gains, kfi_round_job *job,
                                        const kfi_method_use *repair, const kfi_prepared *prepared,
                                        double error, kf_error *err);

/* The type that holds a kept tensor without loss: F16 or BF16 where the source has it, else F32. */
kfi_dtype kfi_kept_dtype(const char *source_format);

/* The method that a kept matrix reports. */
#define KFI_METHOD_KEEP "keep"

/* What a kept matrix reports, float activations among it; name is borrowed. */
kf_layer_report kfi_report_kept(const char *name, const char *source_format, size_t rows,
                                size_t cols);

/* Refuses NaN and infinity, naming tensor and index: KF_FORMAT. */
KF_NODISCARD kf_status kfi_check_finite(const char *name, const float *values, size_t n,
                                        uint64_t first_index, kf_error *err);

#endif /* KFI_QUANTIZE_LAYER_H */
