/* clip_search.c - trying clips of activations on some tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/clip_search.h"

#include <string.h>

#include "base/fail.h"
#include "format/format.h"
#include "linalg/matrix.h"

/* Percent: 100, 95, … 50. */
#define CLIP_STEP 5u

/* ---- the sample ---- */

kf_status kfi_clip_sample_init(kfi_clip_sample *sample, size_t n_tokens, size_t width,
                               const kf_allocator *alloc, kf_error *err)
{
    const size_t stride = (n_tokens + KFI_CLIP_TOKENS - 1) / KFI_CLIP_TOKENS;
    *sample = (kfi_clip_sample){.alloc = alloc, .width = width, .stride = stride};
    sample->capacity = stride == 0 ? 0 : (n_tokens + stride - 1) / stride;
    if (sample->capacity == 0) {
        return KF_OK;
    }
    sample->x = kfi_calloc(alloc, sample->capacity * width, sizeof *sample->x);
    return sample->x != NULL
               ? KF_OK
               : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a sample of %zu tokens", sample->capacity);
}

void kfi_clip_sample_deinit(kfi_clip_sample *sample)
{
    kfi_free(sample->alloc, sample->x, sample->capacity * sample->width * sizeof *sample->x);
    *sample = (kfi_clip_sample){0};
}

void kfi_clip_sample_add(kfi_clip_sample *sample, const float *x, size_t first, size_t n)
{
    for (size_t i = 0; i < n && sample->stride > 0; i++) {
        if ((first + i) % sample->stride == 0 && sample->n < sample->capacity) {
            memcpy(sample->x + sample->n * sample->width, x + i * sample->width,
                   sample->width * sizeof *x);
            sample->n++;
        }
    }
}

/* ---- the search ---- */

/* Memory of a search. */
typedef struct trial {
    float *errors;  /* x - x^, [n][width] */
    float *outputs; /* of one layer, [n][most rows] */
    void *scratch;  /* of kfi_activation_round() */
    size_t errors_bytes, outputs_bytes, scratch_bytes;
} trial;

static kf_status trial_init(trial *t, const kfi_clip_job *job, kf_error *err)
{
    const size_t n = job->sample->n;
    size_t most_rows = 0;
    for (size_t i = 0; i < job->n_linears; i++) {
        most_rows = job->linears[i]->rows > most_rows ? job->linears[i]->rows : most_rows;
    }
    *t = (trial){.errors_bytes = n * job->sample->width * sizeof(float),
                 .outputs_bytes = n * most_rows * sizeof(float),
                 .scratch_bytes = 2 * kfi_round_up(job->sample->width, KFI_CHUNK_COLS)};
    t->errors = kfi_alloc(job->alloc, t->errors_bytes);
    t->outputs = kfi_alloc(job->alloc, t->outputs_bytes);
    t->scratch = kfi_alloc(job->alloc, t->scratch_bytes);
    return t->errors != NULL && t->outputs != NULL && t->scratch != NULL
               ? KF_OK
               : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a search of clips over %zu tokens", n);
}

static void trial_deinit(trial *t, const kf_allocator *alloc)
{
    kfi_free(alloc, t->errors, t->errors_bytes);
    kfi_free(alloc, t->outputs, t->outputs_bytes);
    kfi_free(alloc, t->scratch, t->scratch_bytes);
}

/* What rounding takes off the inputs. */
static void make_errors(const trial *t, const kfi_clip_sample *sample, kf_activation activation)
{
    const kfi_kernels *kernels = kfi_kernels_get();
    for (size_t i = 0; i < sample->n; i++) {
        const float *x = sample->x + i * sample->width;
        float *errors = t->errors + i * sample->width;
        kfi_activation_round(kernels, errors, x, sample->width, activation, t->scratch);
        for (size_t k = 0; k < sample->width; k++) {
            errors[k] = x[k] - errors[k];
        }
    }
}

/* What outputs [n][rows] that should be 0 count for. */
static double error_of_outputs(const float *y, size_t n, size_t rows, size_t n_blocks)
{
    double sum = 0.0;
    for (size_t r = 0; r < rows; r++) {
        double squares = 0.0;
        double total = 0.0;
        for (size_t t = 0; t < n; t++) {
            const double e = (double)y[t * rows + r];
            squares += e * e;
            total += e;
        }
        sum += squares + ((double)n_blocks - 1.0) * total * total / (double)n;
    }
    return sum;
}

static double error_of_layers(const trial *t, const kfi_clip_job *job)
{
    double sum = 0.0;
    for (size_t i = 0; i < job->n_linears; i++) {
        const kfi_linear *linear = job->linears[i];
        const kfi_gemm product = {.kind = KFI_GEMM_NT,
                                  .m = job->sample->n,
                                  .n = linear->rows,
                                  .k = linear->cols,
                                  .a = t->errors,
                                  .ld_a = linear->cols,
                                  .b = linear->weights,
                                  .ld_b = linear->cols,
                                  .c = t->outputs,
                                  .ld_c = linear->rows};
        kfi_matrix_multiply(job->pool, &product);
        sum += error_of_outputs(t->outputs, job->sample->n, linear->rows, job->n_blocks);
    }
    return sum;
}

kf_status kfi_clip_search(uint8_t *clip, const kfi_clip_job *job, kf_error *err)
{
    trial t;
    double least = 0.0;
    *clip = 0;
    if (job->sample->n == 0) {
        return KF_OK;
    }
    const kf_status st = trial_init(&t, job, err);
    for (unsigned percent = 100; percent >= KF_CLIP_LEAST && st == KF_OK; percent -= CLIP_STEP) {
        kf_activation tried = job->activation;
        tried.clip = percent == 100 ? 0 : (uint8_t)percent;
        make_errors(&t, job->sample, tried);
        const double error = error_of_layers(&t, job);
        if (percent == 100 || error < least) {
            least = error;
            *clip = tried.clip;
        }
    }
    trial_deinit(&t, job->alloc);
    return st;
}
