/* statistics.c - sums over the calibration tokens.
 *
 * The Gram matrix is summed in float: one product a call (a few hundred tokens), added to a float
 * sum. Against a sum in double the difference is some 1e-6 of the diagonal, four orders below the
 * damping that every user of the matrix adds (tests/unit/test_statistics.c holds it to that), and
 * it halves the memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/statistics.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "linalg/matrix.h"

bool kfi_statistics_request_equal(const kfi_statistics_request *a, const kfi_statistics_request *b)
{
    return a->needs == b->needs && a->prefix == b->prefix &&
           a->first_token_weight == b->first_token_weight && /* float ==: both were parsed */
           a->attention_least == b->attention_least;
}

kf_status kfi_statistics_init(kfi_statistics *statistics, size_t n,
                              const kfi_statistics_request *request, const kf_allocator *alloc,
                              kf_error *err)
{
    *statistics = (kfi_statistics){.alloc = alloc, .request = *request, .n = n};
    size_t n_square = 0;
    if (!kfi_mul_size(n, n, &n_square)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "a Gram matrix of %zu columns is too large",
                        n);
    }
    bool ok = true;
    if ((request->needs & KFI_NEED_GRAM) != 0) {
        statistics->gram = kfi_calloc(alloc, n_square, sizeof *statistics->gram);
        ok = ok && statistics->gram != NULL;
    }
    if ((request->needs & KFI_NEED_MEAN_SQUARE) != 0) {
        statistics->square_sum = kfi_calloc(alloc, n, sizeof *statistics->square_sum);
        ok = ok && statistics->square_sum != NULL;
    }
    if ((request->needs & KFI_NEED_MAX_ABS) != 0) {
        statistics->max_abs = kfi_calloc(alloc, n, sizeof *statistics->max_abs);
        ok = ok && statistics->max_abs != NULL;
    }
    if ((request->needs & KFI_NEED_MEAN_ABS) != 0) {
        statistics->abs_sum = kfi_calloc(alloc, n, sizeof *statistics->abs_sum);
        ok = ok && statistics->abs_sum != NULL;
    }
    if (request->attention_least > 0.0) {
        statistics->weighted =
            kfi_alloc(alloc, KFI_STATISTICS_TOKENS * n * sizeof *statistics->weighted);
        ok = ok && statistics->weighted != NULL;
    }
    if (!ok) {
        kfi_statistics_deinit(statistics);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "statistics of %zu inputs", n);
    }
    return KF_OK;
}

void kfi_statistics_deinit(kfi_statistics *statistics)
{
    const size_t n = statistics->n;
    kfi_free(statistics->alloc, statistics->gram, n * n * sizeof *statistics->gram);
    kfi_free(statistics->alloc, statistics->square_sum, n * sizeof *statistics->square_sum);
    kfi_free(statistics->alloc, statistics->max_abs, n * sizeof *statistics->max_abs);
    kfi_free(statistics->alloc, statistics->abs_sum, n * sizeof *statistics->abs_sum);
    kfi_free(statistics->alloc, statistics->weighted,
             KFI_STATISTICS_TOKENS * n * sizeof *statistics->weighted);
    *statistics = (kfi_statistics){0};
}

/* Everything but the Gram matrix. */
static void add_moments(kfi_statistics *statistics, const float *x, double weight)
{
    const size_t n = statistics->n;
    statistics->weight += weight;
    if (statistics->square_sum != NULL) {
        for (size_t i = 0; i < n; i++) {
            statistics->square_sum[i] += weight * (double)x[i] * (double)x[i];
        }
    }
    for (size_t i = 0; i < n && statistics->abs_sum != NULL; i++) {
        statistics->abs_sum[i] += weight * fabs((double)x[i]);
    }
    if (statistics->max_abs != NULL && weight > 0.0) {
        for (size_t i = 0; i < n; i++) {
            statistics->max_abs[i] = fmaxf(statistics->max_abs[i], fabsf(x[i]));
        }
    }
}

void kfi_statistics_add(kfi_statistics *statistics, kf_pool *pool, const float *x, size_t n_tokens)
{
    if (statistics->gram != NULL && n_tokens > 0) {
        kfi_matrix_gram_add(pool, statistics->gram, x, statistics->n, n_tokens, statistics->n);
    }
    for (size_t t = 0; t < n_tokens; t++) {
        add_moments(statistics, x + t * statistics->n, 1.0);
    }
}

void kfi_statistics_add_weighted(kfi_statistics *statistics, const float *x, double weight)
{
    const size_t n = statistics->n;
    for (size_t i = 0; i < n && statistics->gram != NULL; i++) {
        const float scaled = (float)weight * x[i];
        float *row = statistics->gram + i * n;
        for (size_t j = 0; j <= i; j++) {
            row[j] += scaled * x[j];
        }
    }
    add_moments(statistics, x, weight);
}

/* A token of weight r counts in the Gram matrix as one of weight 1 that is sqrt(r) as large. */
void kfi_statistics_add_each(kfi_statistics *statistics, kf_pool *pool, const float *x,
                             const float *weights, size_t n_tokens)
{
    const size_t n = statistics->n;
    assert(n_tokens <= KFI_STATISTICS_TOKENS);
    for (size_t t = 0; t < n_tokens; t++) {
        const float root = sqrtf(weights[t]);
        for (size_t i = 0; i < n; i++) {
            statistics->weighted[t * n + i] = root * x[t * n + i];
        }
        add_moments(statistics, x + t * n, (double)weights[t]);
    }
    if (statistics->gram != NULL && n_tokens > 0) {
        kfi_matrix_gram_add(pool, statistics->gram, statistics->weighted, n, n_tokens, n);
    }
}

void kfi_statistics_finish(kfi_statistics *statistics, kf_pool *pool)
{
    if (statistics->gram != NULL) {
        kfi_matrix_mirror(pool, statistics->gram, statistics->n);
    }
}
