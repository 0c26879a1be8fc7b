/* kerf/eval.h - what a model lost: perplexity, and divergence from a reference.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_EVAL_H
#define KERF_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/alloc.h"
#include "kerf/callbacks.h"
#include "kerf/error.h"
#include "kerf/export.h"
#include "kerf/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What to measure; start from #KF_EVAL_OPTIONS_INIT. */
typedef struct kf_eval_options {
    size_t size;                   /**< sizeof(kf_eval_options), set by the initialiser. */
    const kf_allocator *alloc;     /**< Borrowed, or NULL. */
    const kf_callbacks *callbacks; /**< Borrowed, or NULL. */
    size_t window;                 /**< Tokens a window, >= 2. */
    size_t windows;                /**< Only the first so many; 0 = all. */
    const uint32_t
        *start;          /**< Tokens put in front of every window, computed by the model itself;
                              borrowed, NULL = nothing. A stored prefix in use takes their place. */
    size_t n_start;      /**< Number of them. */
    bool no_prefix;      /**< Do not use the stored prefix of a checkpoint. */
    kf_model *reference; /**< Also compare with this model, borrowed; NULL = no comparison. It runs
                            with the same tokens in front as the model. */
    const char *reference_file; /**< Final hidden states of the reference, saved before: its forward
                                   pass is skipped; NULL = compute. */
    const char *save_reference; /**< Save this model's final hidden states here; NULL = do not. */
    const char
        *logits; /**< Write all logits as .npy [tokens][vocabulary] here (large); NULL = do not. */
    kf_kv kv;    /**< How the model keeps keys and values; the reference keeps them in float32. */
    size_t kv_exact; /**< Tokens of a window from the first one on that stay in float32 anyway. */
} kf_eval_options;

/** The defaults. */
#define KF_EVAL_OPTIONS_INIT                                                                       \
    {                                                                                              \
        sizeof(kf_eval_options), NULL, NULL, 2048, 0, NULL, 0, false, NULL, NULL, NULL, NULL,      \
            KF_KV_F32, 0                                                                           \
    }

/** Bands that a result has room for: one for each power of two of a position. */
#define KF_EVAL_BANDS 32

/** The scored tokens of all windows that have so many tokens of their window in front of them. The
 * first tokens of a sequence carry far more of the error than others. */
typedef struct kf_eval_band {
    size_t first;           /**< Least number of tokens in front: a power of two. */
    size_t last;            /**< Greatest number: up to the next power of two. */
    size_t tokens;          /**< Scored tokens of the band in all windows. */
    double loss;            /**< Their mean negative log-likelihood. */
    double loss_difference; /**< Its mean difference to the reference's; NaN without one. */
    double kl_mean;         /**< Their mean KL(reference || model); NaN without one. */
} kf_eval_band;

/** What was measured. Members of the comparison are NaN without a reference. */
typedef struct kf_eval_result {
    size_t tokens;        /**< Scored tokens: window - 1 a window. */
    size_t windows;       /**< Windows measured. */
    double loss;          /**< Mean negative log-likelihood, nats a token. */
    double loss_se;       /**< Its standard error, from the window means; NaN for one window. */
    double perplexity;    /**< exp(loss) */
    double perplexity_se; /**< perplexity * loss_se */
    double reference_perplexity; /**< On the same tokens. */
    double loss_difference;      /**< loss - reference loss */
    double loss_difference_se;   /**< Paired: from the window means of the difference. */
    double kl_mean;              /**< KL(reference || model), nats a token. */
    double kl_median;            /**< Half of the tokens have less. */
    double kl_99;                /**< 99 of 100 have less. */
    double kl_max;               /**< The worst token. */
    double top1;                 /**< Part of tokens with the same most likely next token. */
    double seconds;              /**< Forward passes of this model and its head. */
    double tokens_per_second;    /**< tokens / seconds */
    kf_kv kv;                    /**< How the model kept keys and values. */
    double kv_bits;              /**< Bits of each of them, everything included, in one window. */
    size_t n_prefix; /**< Tokens of the stored prefix that stood in front of each window. */
    size_t n_bands;  /**< Number of #bands: the last one ends with the window. */
    kf_eval_band bands[KF_EVAL_BANDS]; /**< By position in the window, ascending. */
} kf_eval_result;

/**
 * Measures perplexity over non-overlapping windows of a text, and the divergence from a reference.
 *
 * A window's first token is not scored; the last partial window is dropped. Each window is its own
 * sequence.
 *
 * @param[out] result   the figures
 * @param      model    borrowed
 * @param[in]  ids      the whole text, tokenized once, without a BOS; borrowed
 * @param      n        number of ids
 * @param[in]  options  borrowed, or NULL
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_RANGE      fewer ids than a window; window above the model's context; an id outside
 * the vocabulary; a file to be written is one that is read, or both are one file
 * @retval KF_INVALID    reference_file without reference, or no such kv
 * @retval KF_UNSUPPORTED  what kf_session_new() says of kv
 * @retval KF_FORMAT     the reference has another vocabulary; reference_file belongs to another
 * model, text, start or window
 * @retval KF_INPUT, KF_IO, KF_NOMEM, KF_CANCELLED
 *
 * Cost: one forward pass of the text (two with a reference), logits in pieces of some megabytes.
 * Threads: the models' pools. Numerics: sums in double in the order of the text.
 */
KF_API KF_NODISCARD kf_status kf_eval(kf_eval_result *result, kf_model *model, const uint32_t *ids,
                                      size_t n, const kf_eval_options *options, kf_error *err);

/** How far a model's residual stream is from a reference's behind one block: means over tokens of
 * ||x - x_ref|| / ||x_ref||, by the token's position in its window. */
typedef struct kf_residual_error {
    double first;                /**< The first token, which all later ones attend to. */
    double others;               /**< All others. */
    double bands[KF_EVAL_BANDS]; /**< The others apart: bands[i] is of tokens 2^i … 2^(i+1) - 1,
                                    counted from 0; NaN behind the window's end. */
} kf_residual_error;

/**
 * Measures where the error is born: by block and by position in the window.
 *
 * Model and reference run over the same windows, and the residual stream behind each block is
 * compared token by token. The error of a block contains that of all blocks before it. Tokens that
 * stand in front of a window are not compared.
 *
 * @param[out] errors    [n_layers], one a block
 * @param      n_layers  blocks of the model
 * @param      model     borrowed
 * @param[in]  ids       as kf_eval()
 * @param      n         number of ids
 * @param[in]  options   as kf_eval(), with a reference; files that it names are not used
 * @param[out] err       failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_INVALID    no reference, another number of blocks, options of another size
 * @retval KF_FORMAT     the reference has another shape
 * @retval KF_RANGE, KF_UNSUPPORTED, KF_NOMEM, KF_CANCELLED  as kf_eval()
 *
 * Cost: a forward pass of both without their heads; memory for the reference's stream of 128 tokens
 * behind each block. Threads: the models' pools. Numerics: sums in double in the order of the text.
 */
KF_API KF_NODISCARD kf_status kf_eval_residual(kf_residual_error *errors, size_t n_layers,
                                               kf_model *model, const uint32_t *ids, size_t n,
                                               const kf_eval_options *options, kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_EVAL_H */
