/* layer.c - one matrix through its rounding method, measured and packed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/layer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/report.h"
#include "quantize/round/sparse.h"

void kfi_layer_deinit(kfi_layer *layer)
{
    const size_t n_outliers = layer->linear.side.outliers.cols;
    kfi_free(layer->alloc, layer->packed, layer->packed_bytes);
    for (size_t i = 0; i < KFI_PAIR_PARTS; i++) {
        kfi_free(layer->alloc, layer->pair[i], layer->pair_bytes[i]);
    }
    kfi_free(layer->alloc, layer->outliers, layer->outliers_bytes);
    kfi_free(layer->alloc, layer->outlier_columns, n_outliers * sizeof *layer->outlier_columns);
    const kfi_sparse_part *sparse = &layer->sparse;
    kfi_free(layer->alloc, sparse->starts, (layer->linear.rows + 1) * sizeof *sparse->starts);
    kfi_free(layer->alloc, sparse->columns, sparse->n * sizeof *sparse->columns);
    kfi_free(layer->alloc, sparse->values, sparse->n * sizeof *sparse->values);
    *layer = (kfi_layer){0};
}

void kfi_prepared_deinit(kfi_prepared *prepared, const kf_allocator *alloc)
{
    if (prepared->is_made && prepared->use.method->release != NULL) {
        prepared->use.method->release(prepared->shared, alloc);
    }
    *prepared = (kfi_prepared){0};
}

static kf_status prepare(kfi_prepared *prepared, const kfi_worker *worker,
                         const kfi_method_use *use, const kfi_statistics *statistics, kf_error *err)
{
    if (prepared->is_made && prepared->statistics == statistics &&
        prepared->use.method == use->method &&
        memcmp(prepared->use.knobs, use->knobs, sizeof use->knobs) == 0) {
        return KF_OK;
    }
    kfi_prepared_deinit(prepared, worker->alloc);
    if (use->method->prepare != NULL) {
        KFI_TRY(
            use->method->prepare(&prepared->shared, statistics, use->knobs, worker->alloc, err));
    }
    prepared->use = *use;
    prepared->statistics = statistics;
    prepared->is_made = true;
    return KF_OK;
}

kf_status kfi_check_finite(const char *name, const float *values, size_t n, uint64_t first_index,
                           kf_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            /* An index, not a byte: where it lies in the source depends on its type. */
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                            "tensor '%s': element %" PRIu64 " is %s; keep the tensor to quantize "
                            "the others",
                            name, first_index + i, isnan(values[i]) ? "NaN" : "infinite");
        }
    }
    return KF_OK;
}

static void warn_of_zero_rows(const kfi_worker *worker, const char *name, const kfi_linear *source)
{
    size_t n_zero = 0;
    size_t first = 0;
    for (size_t r = 0; r < source->rows; r++) {
        const float *row = source->weights + r * source->cols;
        size_t c = 0;
        while (c < source->cols && row[c] == 0.0f) { /* exact: zeros as stored */
            c++;
        }
        if (c == source->cols && n_zero++ == 0) {
            first = r;
        }
    }
    if (n_zero > 0) {
        kfi_report_warn(worker->callbacks,
                        "tensor '%s': %zu of %zu rows are all zero, from row %zu", name, n_zero,
                        source->rows, first);
    }
}

/* ---- packing ---- */

typedef struct packing {
    void *dst;
    const kfi_round_job *job;
    size_t n_panels, n_groups;
} packing;

#define PANELS_A_PIECE 2u

static void pack_panels(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const packing *p = ctx;
    const size_t begin = i_item * PANELS_A_PIECE;
    const size_t end = begin + PANELS_A_PIECE;
    const size_t first_row = begin * KFI_PANEL_ROWS;
    kfi_packed_write(p->dst, begin, end < p->n_panels ? end : p->n_panels,
                     p->job->codes + first_row * p->job->cols,
                     p->job->grids + first_row * p->n_groups);
}

kf_status kfi_job_pack(void **dst, size_t *bytes, kfi_packed *packed, const kfi_round_job *job,
                       kf_error *err)
{
    uint64_t n = 0;
    KFI_TRY(kf_format_bytes(&n, job->format, job->rows, job->cols, err));
    *dst = n <= SIZE_MAX ? kfi_alloc(job->alloc, (size_t)n) : NULL;
    if (*dst == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "packed weights of %" PRIu64 " bytes", n);
    }
    *bytes = (size_t)n;
    packing p = {*dst, job, (job->rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS,
                 kfi_format_groups(job->format, job->cols)};
    kfi_packed_begin(*dst, job->format, job->table, job->rows, job->cols);
    kfi_pool_run(job->pool, pack_panels, &p, (p.n_panels + PANELS_A_PIECE - 1) / PANELS_A_PIECE);
    return kfi_packed_open(packed, *dst, *bytes, false, err);
}

static kf_status check_zeros(const kfi_round_job *job, kf_error *err)
{
    const kfi_levels levels = kfi_round_levels(job);
    const size_t group = kfi_format_group(job->format, job->cols);
    const size_t n_groups = kfi_format_groups(job->format, job->cols);
    for (size_t r = 0; r < job->rows; r++) {
        for (size_t c = job->cols - job->n_outliers; c < job->cols; c++) {
            const kfi_grid *grid = &job->grids[r * n_groups + c / group];
            /* exact: what stands here would count twice */
            if (kfi_grid_decode(grid, levels, job->codes[r * job->cols + c]) != 0.0f) {
                char name[KF_FORMAT_NAME_BYTES];
                kf_format_name(name, job->format);
                return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                                "format %s has no exact zero for columns of outliers", name);
            }
        }
    }
    return KF_OK;
}

static kf_status pack_outliers(kfi_layer *layer, const kfi_round_job *job, kf_error *err)
{
    const size_t n = job->n_outliers;
    const kfi_round_job outliers = {.rows = job->rows,
                                    .cols = n,
                                    .format = KFI_ROUND_OUTLIERS,
                                    .pool = job->pool,
                                    .alloc = job->alloc,
                                    .codes = job->outlier_codes,
                                    .grids = job->outlier_grids};
    KFI_TRY(check_zeros(job, err));
    kfi_side_paths *side = &layer->linear.side;
    KFI_TRY(
        kfi_job_pack(&layer->outliers, &layer->outliers_bytes, &side->outliers, &outliers, err));
    layer->outlier_columns = kfi_alloc(job->alloc, n * sizeof *layer->outlier_columns);
    if (layer->outlier_columns == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu columns of outliers", n);
    }
    for (size_t i = 0; i < n; i++) {
        layer->outlier_columns[i] = (uint32_t)(job->cols - n + i);
    }
    side->columns = layer->outlier_columns;
    return KF_OK;
}

/* They change their owner. */
static void take_sparse(kfi_layer *layer, kfi_round_job *job)
{
    if (job->sparse.n > 0) {
        layer->sparse = job->sparse;
        job->sparse = (kfi_sparse_part){0};
        layer->linear.side.sparse = (kfi_sparse){job->rows, job->cols, layer->sparse.starts,
                                                 layer->sparse.columns, layer->sparse.values};
    }
}

kf_status kfi_layer_pack(kfi_layer *layer, kfi_round_job *job, kf_error *err)
{
    take_sparse(layer, job);
    KFI_TRY(kfi_job_pack(&layer->packed, &layer->packed_bytes, &layer->linear.packed, job, err));
    return job->n_outliers > 0 ? pack_outliers(layer, job, err) : KF_OK;
}

/* ---- rounding ---- */

/* Rounds to the nearest on the method's own kind of grid: what it is compared with. */
static kf_status measure_nearest(kfi_layer *layer, kfi_round_job *job, const kfi_method *method,
                                 kf_error *err)
{
    kfi_round_grid grid;
    kfi_round_error error = {0};
    method->grid(&grid, job->knobs);
    KFI_TRY(kfi_round_fit(job, &grid, NULL, err));
    job->is_fitted = true;
    kfi_round_nearest(job);
    KFI_TRY(kfi_round_measure(&error, job, err));
    layer->report.nearest_error = error.output;
    layer->report.exact = error.error_sum == 0.0; /* exact: every weight came back */
    return KF_OK;
}

/* Codes and grids, and what they lose. */
static kf_status round_job(kfi_layer *layer, kfi_round_job *job, const kfi_worker *worker,
                           const kfi_method_use *use, kfi_prepared *prepared, kf_error *err)
{
    kfi_round_error error = {0};
    KFI_TRY(prepare(prepared, worker, use, job->statistics, err));
    const bool has_nearest =
        job->statistics != NULL && job->statistics->gram != NULL && !worker->is_trial;
    if (has_nearest) {
        KFI_TRY(measure_nearest(layer, job, use->method, err));
    }
    KFI_TRY(use->method->round(job, prepared->shared, err));
    if (worker->is_trial) {
        return KF_OK;
    }
    KFI_TRY(kfi_round_measure(&error, job, err));
    layer->report.weight_error = error.weight;
    layer->report.output_error = error.output;
    if (!has_nearest) {
        layer->report.exact = error.error_sum == 0.0; /* exact: every weight came back */
    }
    return KF_OK;
}

static kf_status make_layer(kfi_layer *layer, kfi_round_job *job, const kfi_worker *worker,
                            const kfi_treatment *treatment, kfi_prepared *prepared, kf_error *err)
{
    const kfi_method_use *repair = kfi_treatment_repair(treatment);
    KFI_TRY(round_job(layer, job, worker, kfi_treatment_round(treatment), prepared, err));
    if (repair != NULL) {
        KFI_TRY(kfi_layer_repair(layer, job, repair, prepared, worker->is_trial, err));
    }
    return kfi_layer_pack(layer, job, err);
}

static kfi_round_job job_of(const kfi_worker *worker, const kfi_layer_source *source,
                            const kfi_statistics *statistics)
{
    const kfi_method_use *use = kfi_treatment_round(&source->treatment);
    kfi_round_job job = {.weights = source->linear->weights,
                         .rows = source->linear->rows,
                         .cols = source->linear->cols,
                         .n_outliers = source->n_outliers,
                         .takes_sparse = true,
                         .format = source->treatment.weights,
                         .statistics = statistics,
                         .knobs = use->knobs,
                         .pool = worker->pool,
                         .alloc = worker->alloc,
                         .loss = (double)NAN};
    if (use->method->format != NULL) {
        use->method->format(&job.format, job.weights, job.rows, job.cols, job.knobs);
    }
    return job;
}

static kf_status quantize(kfi_layer *layer, const kfi_worker *worker,
                          const kfi_layer_source *source, const kfi_statistics *statistics,
                          kfi_prepared *prepared, kf_error *err)
{
    kfi_round_job job = job_of(worker, source, statistics);
    kf_format_name(layer->format, job.format);
    KFI_TRY(kfi_round_job_init(&job, err));
    const kf_status st = make_layer(layer, &job, worker, &source->treatment, prepared, err);
    kfi_round_job_deinit(&job);
    return st;
}

static kf_status find_gains(double *gains, kfi_round_job *job, const kfi_worker *worker,
                            const kfi_treatment *treatment, kfi_prepared *prepared, kf_error *err)
{
    const kfi_method_use *use = kfi_treatment_round(treatment);
    kfi_round_error error = {0};
    KFI_TRY(prepare(prepared, worker, use, job->statistics, err));
    KFI_TRY(use->method->round(job, prepared->shared, err));
    KFI_TRY(kfi_round_measure(&error, job, err));
    return kfi_repair_gains(gains, job, kfi_treatment_repair(treatment), prepared,
                            isnan(error.output) ? error.weight : error.output, err);
}

kf_status kfi_layer_gains(double *gains, const kfi_worker *worker, const kfi_layer_source *source,
                          const kfi_statistics *statistics, kfi_prepared *prepared, kf_error *err)
{
    const kfi_linear *linear = source->linear;
    KFI_TRY(kfi_check_finite(source->name, linear->weights, linear->rows * linear->cols, 0, err));
    kfi_round_job job = job_of(worker, source, statistics);
    kf_status st = kfi_round_job_init(&job, err);
    if (st == KF_OK) {
        st = find_gains(gains, &job, worker, &source->treatment, prepared, err);
        kfi_round_job_deinit(&job);
    }
    if (st != KF_OK) {
        kfi_fail_prefix(err, "tensor '%s': ", source->name);
    }
    return st;
}

kfi_dtype kfi_kept_dtype(const char *source_format)
{
    return strcmp(source_format, "F16") == 0    ? KFI_DTYPE_F16
           : strcmp(source_format, "BF16") == 0 ? KFI_DTYPE_BF16
                                                : KFI_DTYPE_F32;
}

kf_layer_report kfi_report_kept(const char *name, const char *source_format, size_t rows,
                                size_t cols)
{
    const kfi_dtype_info *dtype = kfi_dtype_get(kfi_kept_dtype(source_format));
    return (kf_layer_report){.tensor = name,
                             .format = dtype->name,
                             .method = KFI_METHOD_KEEP,
                             .activations = "float",
                             .rows = rows,
                             .cols = cols,
                             .bits_per_weight = 8.0 * (double)dtype->block_bytes,
                             .output_error = (double)NAN,
                             .nearest_error = (double)NAN,
                             .unrepaired_error = (double)NAN};
}

/* Of the map that its input goes through: in the file every layer has its own. */
static double map_bits(const kfi_linear *linear)
{
    const kfi_online *online = &linear->online;
    const size_t bytes = (online->signs != NULL ? online->n_inputs : 0) +
                         (online->columns != NULL ? online->n_outputs * sizeof(uint32_t) : 0) +
                         (online->second != NULL ? online->n_outputs * sizeof(uint32_t) : 0);
    return 8.0 * (double)bytes / ((double)linear->rows * (double)linear->cols);
}

/* With everything that stands beside the packed matrix. */
static double bits_of(const kfi_layer *layer)
{
    const kfi_linear *linear = &layer->linear;
    const size_t n_outliers = linear->side.outliers.cols;
    const double bytes =
        (double)(layer->pair_bytes[0] + layer->pair_bytes[1] + layer->outliers_bytes +
                 n_outliers * sizeof *layer->outlier_columns +
                 kfi_sparse_bytes(layer->sparse.n, linear->rows));
    return kfi_packed_bits(&linear->packed) +
           8.0 * bytes / ((double)linear->rows * (double)linear->cols);
}

static kf_status change(kfi_layer *layer, const kfi_worker *worker, const kfi_layer_source *source,
                        const kfi_statistics *statistics, kfi_prepared *prepared, kf_error *err)
{
    const kfi_linear *linear = source->linear;
    KFI_TRY(kfi_check_finite(source->name, linear->weights, linear->rows * linear->cols, 0, err));
    if (!worker->is_trial) {
        warn_of_zero_rows(worker, source->name, linear);
    }
    layer->linear.weights = NULL;
    layer->report.method = kfi_treatment_round(&source->treatment)->method->about.name;
    const kf_status st = quantize(layer, worker, source, statistics, prepared, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "tensor '%s': ", source->name);
        return st;
    }
    layer->report.bits_per_weight = bits_of(layer);
    return KF_OK;
}

kf_status kfi_layer_quantize(kfi_layer *layer, const kfi_worker *worker,
                             const kfi_layer_source *source, const kfi_statistics *statistics,
                             kfi_prepared *prepared, kf_error *err)
{
    const double start = kfi_clock_seconds();
    *layer = (kfi_layer){.alloc = worker->alloc, .linear = *source->linear};
    layer->linear.activation = source->treatment.activations;
    kf_activation_name(layer->activations, source->treatment.activations);
    (void)snprintf(layer->name.text, sizeof layer->name.text, "%s", source->name);
    layer->report = (kf_layer_report){.tensor = layer->name.text,
                                      .format = layer->format,
                                      .rows = source->linear->rows,
                                      .cols = source->linear->cols,
                                      .output_error = (double)NAN,
                                      .nearest_error = (double)NAN,
                                      .unrepaired_error = (double)NAN};
    if (source->treatment.keep) {
        layer->report = kfi_report_kept(layer->name.text, source->format, source->linear->rows,
                                        source->linear->cols);
    } else {
        const kf_status st = change(layer, worker, source, statistics, prepared, err);
        if (st != KF_OK) {
            kfi_layer_deinit(layer);
            return st;
        }
    }
    layer->report.bits_per_weight += map_bits(source->linear);
    layer->report.activations = layer->activations;
    layer->report.seconds = kfi_clock_seconds() - start;
    return KF_OK;
}
