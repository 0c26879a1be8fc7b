/* kerf/sampler.h - choosing the next token.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_SAMPLER_H
#define KERF_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "kerf/alloc.h"
#include "kerf/error.h"
#include "kerf/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A sampler: its options, its random state, the recent tokens; opaque. */
typedef struct kf_sampler kf_sampler;

/** Applied in this order: repetition penalty, temperature, top-k, top-p, min-p, draw. */
typedef struct kf_sampler_options {
    size_t size;               /**< sizeof(kf_sampler_options), set by the initialiser. */
    const kf_allocator *alloc; /**< Borrowed, or NULL. */
    float temperature;         /**< 0 = greedy (the first maximum); up to 100. */
    uint32_t top_k;            /**< Keep the k most likely; 0 = all. */
    float top_p;               /**< Keep the most likely until their sum reaches p; 1 = all. */
    float min_p; /**< Keep those with at least p times the greatest probability; 0 = all. */
    float repetition_penalty; /**< Divide positive logits, multiply negative ones of recent tokens;
                                 1 = off. */
    uint32_t repetition_window; /**< Tokens looked back, <= 65536. */
    uint64_t seed;              /**< Same seed, same logits: same tokens. */
} kf_sampler_options;

/** The defaults. */
#define KF_SAMPLER_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(kf_sampler_options), NULL, 0.8f, 40, 0.95f, 0.05f, 1.0f, 64, 0                      \
    }

/**
 * Makes a sampler for a vocabulary of n ids.
 *
 * @param[out] sampler  returned owned; free with kf_sampler_free()
 * @param      n        size of the vocabulary
 * @param[in]  options  borrowed, or NULL
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_RANGE    an option out of range, named
 * @retval KF_INVALID  options of another size than this library's
 * @retval KF_NOMEM
 * @see kf_sampler_free()
 */
KF_API KF_NODISCARD kf_status kf_sampler_new(kf_sampler **sampler, size_t n,
                                             const kf_sampler_options *options, kf_error *err);
/** Frees a sampler; NULL is fine. */
KF_API void kf_sampler_free(kf_sampler *sampler);

/** Tells the sampler of a token of the text so far (prompt or answer), for the repetition penalty.
 */
KF_API void kf_sampler_accept(kf_sampler *sampler, uint32_t id);

/**
 * Chooses the next id.
 *
 * @param         sampler  its random state moves on
 * @param[in,out] logits   n floats; changed
 * @return an id; ties are broken by the lower id; NaN logits count as minus infinity
 *
 * Cost: O(n), no allocation.
 */
KF_API uint32_t kf_sampler_next(kf_sampler *sampler, float *logits);

#ifdef __cplusplus
}
#endif
#endif /* KERF_SAMPLER_H */
