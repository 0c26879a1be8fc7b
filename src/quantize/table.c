/* table.c - embedding and head, rounded in pieces of rows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/report.h"

static kf_status job_init(kfi_round_job *job, const kfi_worker *worker,
                          const kfi_treatment *treatment, size_t rows, size_t cols, kf_error *err)
{
    *job = (kfi_round_job){.rows = rows,
                           .cols = cols,
                           .format = treatment->weights,
                           .knobs = kfi_treatment_round(treatment)->knobs,
                           .pool = worker->pool,
                           .alloc = worker->alloc};
    return kfi_round_job_init(job, err);
}

/* A codebook of the table's own is learned from its first piece: so rows can be rounded by
 * themselves, and are what the whole table will hold. */
static kf_status learn(kfi_round_job *job, kf_model *model, const char *name, kf_error *err)
{
    size_t rows = 0;
    size_t cols = 0;
    if (!kfi_round_wants_table(job)) {
        return KF_OK;
    }
    if (!kfi_model_find(model, name, &rows, &cols)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "there is no tensor '%s'", name);
    }
    rows = rows < KFI_TABLE_PIECE_ROWS ? rows : KFI_TABLE_PIECE_ROWS;
    float *weights = kfi_alloc(job->alloc, rows * cols * sizeof *weights);
    if (weights == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu rows of a table", rows);
    }
    const kf_status st = kfi_model_read_rows(model, name, 0, rows, weights, err);
    if (st == KF_OK) {
        kfi_format_learn(job->table, job->format, weights, NULL, rows, cols);
        job->has_table = true;
    }
    kfi_free(job->alloc, weights, rows * cols * sizeof *weights);
    return st;
}

static void decode_rows(float *dst, const kfi_round_job *job)
{
    const kfi_levels levels = kfi_round_levels(job);
    const size_t group = kfi_format_group(job->format, job->cols);
    const size_t n_groups = kfi_format_groups(job->format, job->cols);
    for (size_t r = 0; r < job->rows; r++) {
        for (size_t c = 0; c < job->cols; c++) {
            const size_t i = r * job->cols + c;
            dst[i] = kfi_grid_decode(&job->grids[r * n_groups + c / group], levels, job->codes[i]);
        }
    }
}

kf_status kfi_table_embed(float *dst, const kfi_worker *worker, kf_model *model,
                          const kfi_treatment *treatment, const uint32_t *ids, size_t n,
                          kf_error *err)
{
    const size_t hidden = kfi_model_config(model)->hidden;
    kfi_model_embed(model, dst, ids, n);
    if (treatment->keep) {
        return KF_OK;
    }
    kfi_round_job job;
    kf_status st = job_init(&job, worker, treatment, n, hidden, err);
    if (st == KF_OK) {
        st = learn(&job, model, KFI_TENSOR_EMBEDDING, err);
    }
    if (st == KF_OK) {
        job.weights = dst;
        st = kfi_treatment_round(treatment)->method->round(&job, NULL, err);
    }
    if (st == KF_OK) {
        decode_rows(dst, &job);
    }
    kfi_round_job_deinit(&job);
    return st;
}

kf_status kfi_table_check(kf_model *model, const char *name, const kf_allocator *alloc,
                          kf_error *err)
{
    size_t rows = 0;
    size_t cols = 0;
    if (!kfi_model_find(model, name, &rows, &cols)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "there is no tensor '%s'", name);
    }
    const size_t piece_bytes = KFI_TABLE_PIECE_ROWS * cols * sizeof(float);
    float *weights = kfi_alloc(alloc, piece_bytes);
    if (weights == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu bytes of a table", piece_bytes);
    }
    kf_status st = KF_OK;
    for (size_t begin = 0; begin < rows && st == KF_OK; begin += KFI_TABLE_PIECE_ROWS) {
        const size_t n = rows - begin < KFI_TABLE_PIECE_ROWS ? rows - begin : KFI_TABLE_PIECE_ROWS;
        st = kfi_model_read_rows(model, name, begin, n, weights, err);
        if (st == KF_OK) {
            st = kfi_check_finite(name, weights, n * cols, begin * cols, err);
        }
    }
    kfi_free(alloc, weights, piece_bytes);
    return st;
}

typedef struct table_sums {
    double error, weight;
    size_t n_zero_rows;
} table_sums;

static void count_zero_rows(table_sums *sums, const float *weights, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++) {
        size_t c = 0;
        while (c < cols && weights[r * cols + c] == 0.0f) { /* exact: zeros as stored */
            c++;
        }
        sums->n_zero_rows += c == cols;
    }
}

/* Rounds rows begin … begin + n - 1 into their place in the whole's codes and grids. */
static kf_status round_piece(const kfi_round_job *whole, const kfi_method *method, float *weights,
                             size_t begin, size_t n, table_sums *sums, kf_error *err)
{
    const size_t n_groups = kfi_format_groups(whole->format, whole->cols);
    kfi_round_error error = {0};
    kfi_round_job piece = *whole;
    piece.rows = n;
    piece.weights = weights;
    piece.codes = whole->codes + begin * whole->cols;
    piece.grids = whole->grids + begin * n_groups;
    KFI_TRY(method->round(&piece, NULL, err));
    KFI_TRY(kfi_round_measure(&error, &piece, err));
    sums->error += error.error_sum;
    sums->weight += error.weight_sum;
    return KF_OK;
}

static kf_status round_table(const kfi_round_job *whole, kf_model *model, const char *name,
                             const kfi_method *method, table_sums *sums, kf_error *err)
{
    const size_t piece_bytes = KFI_TABLE_PIECE_ROWS * whole->cols * sizeof(float);
    float *weights = kfi_alloc(whole->alloc, piece_bytes);
    if (weights == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu bytes of a table", piece_bytes);
    }
    kf_status st = KF_OK;
    for (size_t begin = 0; begin < whole->rows && st == KF_OK; begin += KFI_TABLE_PIECE_ROWS) {
        const size_t n =
            whole->rows - begin < KFI_TABLE_PIECE_ROWS ? whole->rows - begin : KFI_TABLE_PIECE_ROWS;
        st = kfi_model_read_rows(model, name, begin, n, weights, err);
        if (st == KF_OK) {
            count_zero_rows(sums, weights, n, whole->cols);
            st = round_piece(whole, method, weights, begin, n, sums, err);
        }
    }
    kfi_free(whole->alloc, weights, piece_bytes);
    return st;
}

static void report(kfi_layer *layer, const kfi_worker *worker, const kfi_method *method,
                   const table_sums *sums, double seconds)
{
    const double error = sums->weight > 0.0 ? sums->error / sums->weight : 0.0;
    layer->report = (kf_layer_report){.tensor = layer->name.text,
                                      .activations = layer->activations,
                                      .format = layer->format,
                                      .method = method->about.name,
                                      .rows = layer->linear.rows,
                                      .cols = layer->linear.cols,
                                      .bits_per_weight = kfi_packed_bits(&layer->linear.packed),
                                      .weight_error = error,
                                      .output_error = (double)NAN,
                                      .nearest_error = (double)NAN,
                                      .exact = error == 0.0, /* exact: all came back */
                                      .seconds = seconds};
    if (sums->n_zero_rows > 0) {
        kfi_report_warn(worker->callbacks, "tensor '%s': %zu of %zu rows are all zero",
                        layer->name.text, sums->n_zero_rows, layer->linear.rows);
    }
}

kf_status kfi_table_quantize(kfi_layer *layer, const kfi_worker *worker, kf_model *model,
                             const char *name, const kfi_treatment *treatment, kf_error *err)
{
    const double start = kfi_clock_seconds();
    const kfi_method *method = kfi_treatment_round(treatment)->method;
    *layer = (kfi_layer){.alloc = worker->alloc, .linear.activation = treatment->activations};
    (void)snprintf(layer->name.text, sizeof layer->name.text, "%s", name);
    kf_format_name(layer->format, treatment->weights);
    kf_activation_name(layer->activations, treatment->activations);
    if (!kfi_model_find(model, name, &layer->linear.rows, &layer->linear.cols)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "there is no tensor '%s'", name);
    }
    table_sums sums = {0};
    kfi_round_job whole;
    kf_status st = job_init(&whole, worker, treatment, layer->linear.rows, layer->linear.cols, err);
    if (st == KF_OK) {
        st = learn(&whole, model, name, err);
    }
    if (st == KF_OK) {
        st = round_table(&whole, model, name, method, &sums, err);
    }
    if (st == KF_OK) {
        st = kfi_layer_pack(layer, &whole, err);
    }
    kfi_round_job_deinit(&whole);
    if (st != KF_OK) {
        kfi_layer_deinit(layer);
        return st;
    }
    report(layer, worker, method, &sums, kfi_clock_seconds() - start);
    return KF_OK;
}
