/* round.c - what rounding methods share: fitting grids, nearest codes, and how far they are off.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/round/round.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "linalg/matrix.h"
#include "quantize/round/sparse.h"

static size_t grids_bytes(const kfi_round_job *job)
{
    return job->rows * kfi_format_groups(job->format, job->cols) * sizeof *job->grids;
}

kfi_levels kfi_round_levels(const kfi_round_job *job)
{
    return kfi_format_levels(job->format, job->table);
}

kf_status kfi_round_job_init(kfi_round_job *job, kf_error *err)
{
    size_t n = 0;
    if (kfi_mul_size(job->rows, job->cols, &n)) {
        job->codes = kfi_alloc(job->alloc, n);
        job->grids = kfi_alloc(job->alloc, grids_bytes(job));
    }
    bool ok = job->codes != NULL && job->grids != NULL;
    if (job->n_outliers > 0) {
        job->outlier_codes = kfi_alloc(job->alloc, job->rows * job->n_outliers);
        job->outlier_grids = kfi_alloc(job->alloc, job->rows * sizeof *job->outlier_grids);
        ok = ok && job->outlier_codes != NULL && job->outlier_grids != NULL;
    }
    if (!ok) {
        kfi_round_job_deinit(job);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "codes of %zu x %zu weights", job->rows,
                        job->cols);
    }
    return KF_OK;
}

void kfi_round_job_deinit(kfi_round_job *job)
{
    kfi_free(job->alloc, job->codes, job->rows * job->cols);
    kfi_free(job->alloc, job->grids, grids_bytes(job));
    kfi_free(job->alloc, job->outlier_codes, job->rows * job->n_outliers);
    kfi_free(job->alloc, job->outlier_grids, job->rows * sizeof *job->outlier_grids);
    job->codes = NULL;
    job->grids = NULL;
    job->outlier_codes = NULL;
    job->outlier_grids = NULL;
    kfi_sparse_clear(job);
}

void kfi_round_grid_read(kfi_round_grid *grid, const double *knobs)
{
    grid->fit.kind = knobs[0] > 0.5 ? KFI_FIT_MSE : KFI_FIT_MIN_MAX;
    grid->fit.exponent = (float)knobs[1];
    grid->fit.shrink = (float)knobs[2];
    /* Two hundredths a step. Of the error that a search in steps of one hundredth down to 0.2
     * leaves (the authors' 80 candidates) this misses 0.3 % at 4 bits and less below, in a third of
     * the time; no group of 64 normal or Laplace weights wanted less than 0.5. */
    grid->fit.steps = (int)lround((1.0 - knobs[2]) * 50.0) + 1;
    grid->importance = knobs[3] > 0.5 ? KFI_IMPORTANCE_MEAN_SQUARE : KFI_IMPORTANCE_NONE;
}

void kfi_round_grid_request(kfi_statistics_request *request, const double *knobs)
{
    kfi_round_grid grid;
    kfi_round_grid_read(&grid, knobs);
    if (grid.importance == KFI_IMPORTANCE_MEAN_SQUARE && grid.fit.kind == KFI_FIT_MSE) {
        request->needs |= KFI_NEED_MEAN_SQUARE;
    }
}

void kfi_token_request(kfi_statistics_request *request, const double *knobs)
{
    request->first_token_weight = knobs[0];
    request->prefix = knobs[1] > 0.5;
}

kf_status kfi_round_importance(float **importance, const kfi_round_grid *grid,
                               const kfi_statistics *statistics, size_t cols,
                               const kf_allocator *alloc, kf_error *err)
{
    *importance = NULL;
    if (grid->importance == KFI_IMPORTANCE_NONE || statistics == NULL) {
        return KF_OK;
    }
    float *dst = kfi_alloc(alloc, cols * sizeof *dst);
    if (dst == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "importance of %zu columns", cols);
    }
    const double weight = statistics->weight > 0.0 ? statistics->weight : 1.0;
    for (size_t c = 0; c < cols; c++) {
        const double sum = statistics->square_sum != NULL ? statistics->square_sum[c]
                                                          : (double)statistics->gram[c * cols + c];
        dst[c] = (float)(sum / weight);
    }
    *importance = dst;
    return KF_OK;
}

static size_t row_tasks(size_t rows)
{
    return (rows + KFI_ROUND_ROWS - 1) / KFI_ROUND_ROWS;
}

static size_t row_end(size_t rows, size_t i_task)
{
    const size_t end = (i_task + 1) * KFI_ROUND_ROWS;
    return end < rows ? end : rows;
}

typedef struct fit_context {
    kfi_round_job *job;
    kfi_fit fit;
    const float *importance;
    const uint8_t *dead;
    float *scratch; /* [threads][cols]: a row with 0 in its dead columns and those of outliers */
    size_t n_groups;
} fit_context;

static const float *live_weights(const fit_context *fit, float *scratch, const float *weights)
{
    const size_t n = fit->job->cols;
    const size_t first_outlier = n - fit->job->n_outliers;
    const bool has_dead = fit->dead != NULL && memchr(fit->dead, 1, n) != NULL;
    if (!has_dead && first_outlier == n) {
        return weights;
    }
    for (size_t i = 0; i < n; i++) {
        scratch[i] = i >= first_outlier || (has_dead && fit->dead[i] != 0) ? 0.0f : weights[i];
    }
    return scratch;
}

static void fit_outliers(const kfi_round_job *job, size_t row)
{
    const kfi_fit fit = {.kind = KFI_FIT_MIN_MAX};
    if (job->n_outliers > 0) {
        kfi_format_fit(&job->outlier_grids[row], KFI_ROUND_OUTLIERS,
                       job->weights + (row + 1) * job->cols - job->n_outliers, NULL,
                       job->n_outliers, &fit);
    }
}

static void fit_rows(void *ctx, size_t i_task, size_t i_thread)
{
    const fit_context *fit = ctx;
    const kfi_round_job *job = fit->job;
    float *scratch = fit->scratch + i_thread * job->cols;
    for (size_t r = i_task * KFI_ROUND_ROWS; r < row_end(job->rows, i_task); r++) {
        const float *weights = live_weights(fit, scratch, job->weights + r * job->cols);
        fit_outliers(job, r);
        kfi_format_fit_row(job->grids + r * fit->n_groups, job->format, weights, fit->importance,
                           job->cols, &fit->fit);
    }
}

bool kfi_round_wants_table(const kfi_round_job *job)
{
    return job->format.element == KF_ELEMENT_CODEBOOK && !job->has_table;
}

kf_status kfi_round_fit(kfi_round_job *job, const kfi_round_grid *grid, const uint8_t *dead,
                        kf_error *err)
{
    fit_context fit = {.job = job,
                       .fit = grid->fit,
                       .dead = dead,
                       .n_groups = kfi_format_groups(job->format, job->cols)};
    float *importance = NULL;
    KFI_TRY(kfi_round_importance(&importance, grid, job->statistics, job->cols, job->alloc, err));
    fit.importance = importance;
    fit.fit.table = job->table;
    if (kfi_round_wants_table(job)) {
        kfi_format_learn(job->table, job->format, job->weights, importance, job->rows, job->cols);
        job->has_table = true;
    }

    kf_status st = KF_OK;
    const size_t threads = kf_pool_threads(job->pool);
    const size_t scratch_bytes = threads * job->cols * sizeof *fit.scratch;
    fit.scratch = kfi_alloc(job->alloc, scratch_bytes);
    if (fit.scratch == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "scratch of %zu bytes", scratch_bytes);
    } else {
        kfi_pool_run(job->pool, fit_rows, &fit, row_tasks(job->rows));
    }
    kfi_free(job->alloc, fit.scratch, scratch_bytes);
    kfi_free(job->alloc, importance, job->cols * sizeof *importance);
    return st;
}

float kfi_round_outlier(const kfi_round_job *job, size_t row, size_t i, float value)
{
    const kfi_levels levels = kfi_format_levels(KFI_ROUND_OUTLIERS, NULL);
    const kfi_grid *grid = &job->outlier_grids[row];
    const uint8_t code = kfi_grid_encode(grid, levels, value);
    job->outlier_codes[row * job->n_outliers + i] = code;
    return kfi_grid_decode(grid, levels, code);
}

static void nearest_rows(void *ctx, size_t i_task, size_t i_thread)
{
    (void)i_thread;
    kfi_round_job *job = ctx;
    const kfi_levels levels = kfi_round_levels(job);
    const size_t group = kfi_format_group(job->format, job->cols);
    const size_t n_groups = kfi_format_groups(job->format, job->cols);
    const size_t first_outlier = job->cols - job->n_outliers;
    for (size_t r = i_task * KFI_ROUND_ROWS; r < row_end(job->rows, i_task); r++) {
        const kfi_grid *grids = &job->grids[r * n_groups];
        for (size_t c = 0; c < job->cols; c++) {
            const size_t i = r * job->cols + c;
            const float weight = c < first_outlier ? job->weights[i] : 0.0f;
            job->codes[i] = kfi_grid_encode(&grids[c / group], levels, weight);
        }
        for (size_t c = first_outlier; c < job->cols; c++) {
            (void)kfi_round_outlier(job, r, c - first_outlier, job->weights[r * job->cols + c]);
        }
    }
}

void kfi_round_nearest(kfi_round_job *job)
{
    kfi_pool_run(job->pool, nearest_rows, job, row_tasks(job->rows));
}

/* The four sums of a row; summed over rows in their order, so that threads change nothing. */
typedef struct row_sums {
    double error, weight, output_error, output;
} row_sums;

typedef struct measure_context {
    const kfi_round_job *job;
    const float *error; /* [rows][cols]: E, or NULL: of the job's codes */
    row_sums *rows;
    float *scratch; /* [threads][2][KFI_ROUND_ROWS][cols]: E, and E or W times H */
} measure_context;

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

void kfi_round_error_rows(float *dst, const kfi_round_job *job, size_t begin, size_t end)
{
    const kfi_levels levels = kfi_round_levels(job);
    const size_t group = kfi_format_group(job->format, job->cols);
    const size_t n_groups = kfi_format_groups(job->format, job->cols);
    const size_t first_outlier = job->cols - job->n_outliers;
    const kfi_levels outlier_levels = kfi_format_levels(KFI_ROUND_OUTLIERS, NULL);
    for (size_t r = begin; r < end; r++) {
        float *row = dst;
        for (size_t c = 0; c < first_outlier; c++) {
            const size_t i = r * job->cols + c;
            *dst++ = job->weights[i] -
                     kfi_grid_decode(&job->grids[r * n_groups + c / group], levels, job->codes[i]);
        }
        for (size_t i = 0; i < job->n_outliers; i++) {
            const uint8_t code = job->outlier_codes[r * job->n_outliers + i];
            *dst++ = job->weights[r * job->cols + first_outlier + i] -
                     kfi_grid_decode(&job->outlier_grids[r], outlier_levels, code);
        }
        kfi_sparse_subtract_row(row, job, r);
    }
}

static void measure_rows(void *ctx, size_t i_task, size_t i_thread)
{
    const measure_context *measure = ctx;
    const kfi_round_job *job = measure->job;
    const size_t cols = job->cols;
    const size_t begin = i_task * KFI_ROUND_ROWS;
    const size_t n = row_end(job->rows, i_task) - begin;
    float *e = measure->scratch + i_thread * 2 * KFI_ROUND_ROWS * cols;
    float *product = e + KFI_ROUND_ROWS * cols;
    const float *w = job->weights + begin * cols;
    row_sums *rows = measure->rows + begin;

    if (measure->error != NULL) {
        memcpy(e, measure->error + begin * cols, n * cols * sizeof *e);
    } else {
        kfi_round_error_rows(e, job, begin, begin + n);
    }
    for (size_t r = 0; r < n; r++) {
        rows[r].error = dot(e + r * cols, e + r * cols, cols);
        rows[r].weight = dot(w + r * cols, w + r * cols, cols);
    }
    if (job->statistics == NULL || job->statistics->gram == NULL) {
        return;
    }
    kfi_gemm times_gram = {.kind = KFI_GEMM_NN,
                           .m = n,
                           .n = cols,
                           .k = cols,
                           .a = e,
                           .ld_a = cols,
                           .b = job->statistics->gram,
                           .ld_b = cols,
                           .c = product,
                           .ld_c = cols};
    kfi_matrix_multiply(NULL, &times_gram);
    for (size_t r = 0; r < n; r++) {
        rows[r].output_error = dot(e + r * cols, product + r * cols, cols);
    }
    if (job->output > 0.0) {
        return;
    }
    times_gram.a = w;
    kfi_matrix_multiply(NULL, &times_gram);
    for (size_t r = 0; r < n; r++) {
        rows[r].output = dot(w + r * cols, product + r * cols, cols);
    }
}

static double ratio(double part, double whole)
{
    return whole > 0.0 ? part / whole : part > 0.0 ? (double)INFINITY : 0.0;
}

kf_status kfi_round_measure(kfi_round_error *error, kfi_round_job *job, kf_error *err)
{
    return kfi_round_measure_matrix(error, job, NULL, err);
}

kf_status kfi_round_measure_matrix(kfi_round_error *error, kfi_round_job *job, const float *e,
                                   kf_error *err)
{
    kf_status st = KF_OK;
    const size_t threads = kf_pool_threads(job->pool);
    const size_t scratch_bytes = threads * 2 * KFI_ROUND_ROWS * job->cols * sizeof(float);
    measure_context measure = {.job = job, .error = e};
    measure.rows = kfi_calloc(job->alloc, job->rows, sizeof *measure.rows);
    measure.scratch = kfi_alloc(job->alloc, scratch_bytes);
    if (measure.rows == NULL || measure.scratch == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "error sums of %zu rows", job->rows);
        goto done;
    }
    kfi_pool_run(job->pool, measure_rows, &measure, row_tasks(job->rows));
    row_sums sum = {0};
    for (size_t r = 0; r < job->rows; r++) {
        sum.error += measure.rows[r].error;
        sum.weight += measure.rows[r].weight;
        sum.output_error += measure.rows[r].output_error;
        sum.output += measure.rows[r].output;
    }
    error->error_sum = sum.error;
    error->weight_sum = sum.weight;
    error->weight = ratio(sum.error, sum.weight);
    const bool has_gram = job->statistics != NULL && job->statistics->gram != NULL;
    job->output = job->output > 0.0 ? job->output : sum.output;
    error->output = has_gram ? ratio(sum.output_error, job->output) : (double)NAN;
done:
    kfi_free(job->alloc, measure.scratch, scratch_bytes);
    kfi_free(job->alloc, measure.rows, job->rows * sizeof *measure.rows);
    return st;
}

kf_status kfi_round_rtn(kfi_round_job *job, const void *shared, kf_error *err)
{
    kfi_round_grid grid;
    (void)shared;
    kfi_round_grid_read(&grid, job->knobs);
    KFI_TRY(kfi_round_fit(job, &grid, NULL, err));
    kfi_round_nearest(job);
    return KF_OK;
}
