/* gathering.c - statistics of one input, for all layers that share it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/gathering.h"

#include "base/fail.h"

kfi_statistics *kfi_gathering_find(kfi_gathering *gathering, const kfi_statistics_request *request)
{
    for (size_t i = 0; i < gathering->n; i++) {
        if (kfi_statistics_request_equal(&gathering->sets[i].request, request)) {
            return &gathering->sets[i];
        }
    }
    return NULL;
}

kf_status kfi_gathering_want(kfi_gathering *gathering, size_t n,
                             const kfi_statistics_request *request, const kf_allocator *alloc,
                             kf_error *err)
{
    if (request->needs == 0 || kfi_gathering_find(gathering, request) != NULL) {
        return KF_OK;
    }
    KFI_TRY(kfi_statistics_init(&gathering->sets[gathering->n], n, request, alloc, err));
    gathering->n++;
    return KF_OK;
}

void kfi_gathering_prefix(kfi_gathering *gathering, const float *x, size_t n_tokens, size_t times)
{
    for (size_t i = 0; i < gathering->n; i++) {
        kfi_statistics *set = &gathering->sets[i];
        for (size_t t = 0; set->request.prefix && t < n_tokens; t++) {
            kfi_statistics_add_weighted(set, x + t * set->n, (double)times);
        }
    }
}

static void add_by_attention(kfi_statistics *set, kf_pool *pool, const float *x, size_t row,
                             size_t n_tokens, const kfi_concentration *concentration)
{
    float weights[KFI_STATISTICS_TOKENS];
    for (size_t t = 0; t < n_tokens; t += KFI_STATISTICS_TOKENS) {
        const size_t n =
            n_tokens - t < KFI_STATISTICS_TOKENS ? n_tokens - t : KFI_STATISTICS_TOKENS;
        kfi_concentration_weights(weights, concentration, row + t, n, set->request.attention_least);
        kfi_statistics_add_each(set, pool, x + t * set->n, weights, n);
    }
}

void kfi_gathering_add(kfi_gathering *gathering, kf_pool *pool, const float *x, size_t row,
                       size_t n_tokens, bool starts_window, const kfi_concentration *concentration)
{
    for (size_t i = 0; i < gathering->n; i++) {
        kfi_statistics *set = &gathering->sets[i];
        if (set->request.attention_least > 0.0) {
            add_by_attention(set, pool, x, row, n_tokens, concentration);
            continue;
        }
        const double weight = set->request.first_token_weight;
        const size_t n_weighted = starts_window && (weight < 1.0 || weight > 1.0) ? 1 : 0;
        if (n_weighted > 0) {
            kfi_statistics_add_weighted(set, x, weight);
        }
        kfi_statistics_add(set, pool, x + n_weighted * set->n, n_tokens - n_weighted);
    }
}

void kfi_gathering_finish(kfi_gathering *gathering, kf_pool *pool)
{
    for (size_t i = 0; i < gathering->n; i++) {
        kfi_statistics_finish(&gathering->sets[i], pool);
    }
}

void kfi_gathering_end(kfi_gathering *gathering)
{
    for (size_t i = 0; i < gathering->n; i++) {
        kfi_statistics_deinit(&gathering->sets[i]);
    }
    gathering->n = 0;
}
