/* concentration.c - column sums of attention, one task a head.
 *
 * Keys lie in panels [head_dim][16], which is how a product wants its second operand: the scores of
 * some queries come panel by panel, then a softmax over what each query sees, and its weights are
 * added to the sums of the keys. Heads are added up in their order, so that threads change nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/concentration.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "linalg/matrix.h"

static size_t scores_n(const kfi_concentration *c)
{
    return c->n_threads * KFI_CONCENTRATION_ROWS * c->capacity;
}

kf_status kfi_concentration_init(kfi_concentration *c, size_t n_heads, const kfi_kv *kv,
                                 const kf_pool *pool, size_t n_windows, size_t length,
                                 const kf_allocator *alloc, kf_error *err)
{
    *c = (kfi_concentration){.alloc = alloc,
                             .n_heads = n_heads,
                             .capacity = kv->capacity,
                             .n_threads = kf_pool_threads(pool),
                             .n_windows = n_windows,
                             .length = length};
    c->heads = kfi_calloc(alloc, n_heads * c->capacity, sizeof *c->heads);
    c->scores = kfi_calloc(alloc, scores_n(c), sizeof *c->scores);
    c->parts = kfi_calloc(alloc, n_windows * length, sizeof *c->parts);
    c->means = kfi_calloc(alloc, n_windows, sizeof *c->means);
    if (c->heads == NULL || c->scores == NULL || c->parts == NULL || c->means == NULL) {
        kfi_concentration_deinit(c);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "attention that %zu tokens get",
                        n_windows * length);
    }
    return KF_OK;
}

void kfi_concentration_deinit(kfi_concentration *c)
{
    kfi_free(c->alloc, c->heads, c->n_heads * c->capacity * sizeof *c->heads);
    kfi_free(c->alloc, c->scores, scores_n(c) * sizeof *c->scores);
    kfi_free(c->alloc, c->parts, c->n_windows * c->length * sizeof *c->parts);
    kfi_free(c->alloc, c->means, c->n_windows * sizeof *c->means);
    *c = (kfi_concentration){0};
}

/* ---- one batch of queries ---- */

typedef struct giving {
    const kfi_concentration *c;
    const kfi_kv *kv;
    const float *q;
    size_t first, n;
} giving;

/* The scores of n queries of a head with the first n_keys keys; rows of `capacity`. */
static void score(const giving *g, float *scores, size_t i_head, size_t i_query, size_t n,
                  size_t n_keys)
{
    const kfi_kv *kv = g->kv;
    const size_t width = g->c->n_heads * kv->head_dim;
    const size_t i_kv_head = i_head / (g->c->n_heads / kv->n_kv_heads);
    const float *keys = kv->keys + i_kv_head * kv->capacity * kv->head_dim;
    for (size_t k = 0; k < n_keys; k += KFI_KV_PANEL) {
        const kfi_gemm product = {.kind = KFI_GEMM_NN,
                                  .m = n,
                                  .n = KFI_KV_PANEL,
                                  .k = kv->head_dim,
                                  .a = g->q + i_query * width + i_head * kv->head_dim,
                                  .ld_a = width,
                                  .b = keys + k * kv->head_dim,
                                  .ld_b = KFI_KV_PANEL,
                                  .c = scores + k,
                                  .ld_c = g->c->capacity};
        kfi_matrix_multiply(NULL, &product);
    }
}

/* Adds the softmax of a query's n scores to the sums of its keys. */
static void give(double *sums, float *scores, size_t n, float scale)
{
    float most = scores[0];
    float sum = 0.0f;
    for (size_t k = 1; k < n; k++) {
        most = scores[k] > most ? scores[k] : most;
    }
    for (size_t k = 0; k < n; k++) {
        scores[k] = expf(scale * (scores[k] - most));
        sum += scores[k];
    }
    for (size_t k = 0; k < n; k++) {
        sums[k] += (double)(scores[k] / sum);
    }
}

static void give_head(void *ctx, size_t i_head, size_t i_thread)
{
    const giving *g = ctx;
    const kfi_concentration *c = g->c;
    const float scale = 1.0f / sqrtf((float)g->kv->head_dim);
    float *scores = c->scores + i_thread * KFI_CONCENTRATION_ROWS * c->capacity;
    for (size_t i = 0; i < g->n; i += KFI_CONCENTRATION_ROWS) {
        const size_t n = kfi_least(g->n - i, KFI_CONCENTRATION_ROWS);
        score(g, scores, i_head, i, n, g->first + i + n);
        for (size_t t = 0; t < n; t++) {
            give(c->heads + i_head * c->capacity, scores + t * c->capacity, g->first + i + t + 1,
                 scale);
        }
    }
}

void kfi_concentration_add(kfi_concentration *c, kf_pool *pool, const kfi_kv *kv, const float *q,
                           size_t first, size_t n)
{
    giving g = {c, kv, q, first, n};
    kfi_pool_run(pool, give_head, &g, c->n_heads);
}

void kfi_concentration_end(kfi_concentration *c, size_t i_window, size_t n_prefix)
{
    float *parts = c->parts + i_window * c->length;
    double low = (double)INFINITY;
    double high = 0.0;
    double sum = 0.0;
    for (size_t t = 0; t < c->length; t++) {
        double mass = 0.0;
        for (size_t h = 0; h < c->n_heads; h++) {
            mass += c->heads[h * c->capacity + n_prefix + t];
        }
        parts[t] = (float)mass;
        low = fmin(low, mass);
        high = fmax(high, mass);
    }
    for (size_t t = 0; t < c->length; t++) {
        parts[t] = high > low ? (float)(((double)parts[t] - low) / (high - low)) : 1.0f;
        sum += (double)parts[t];
    }
    c->means[i_window] = (float)(sum / (double)c->length);
    memset(c->heads, 0, c->n_heads * c->capacity * sizeof *c->heads);
}

void kfi_concentration_weights(float *dst, const kfi_concentration *c, size_t row, size_t n,
                               double least_part)
{
    const double mean = least_part + (1.0 - least_part) * (double)c->means[row / c->length];
    for (size_t t = 0; t < n; t++) {
        dst[t] = (float)((least_part + (1.0 - least_part) * (double)c->parts[row + t]) / mean);
    }
}
