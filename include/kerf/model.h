/* kerf/model.h - opening a checkpoint and running it.
 *
 * A model is read-only and shared; a session holds one sequence: its KV cache and work space.
 *
 *     kf_model_open(&model, path, &options, &err);
 *     kf_session_new(&session, model, NULL, &err);
 *     kf_session_begin(session, ids, n_ids, &n_used, &err);           stored prefix, if any
 *     kf_session_eval(session, ids + n_used, n_ids - n_used, &err);   prefill
 *     kf_session_logits(session, logits, last, 1, &err);
 *     …sample, kf_session_eval(session, &id, 1, &err), …
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_MODEL_H
#define KERF_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/alloc.h"
#include "kerf/callbacks.h"
#include "kerf/error.h"
#include "kerf/export.h"
#include "kerf/format.h"
#include "kerf/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An open checkpoint; opaque, read-only. */
typedef struct kf_model kf_model;
/** One sequence of a model: its KV cache and work space; opaque. */
typedef struct kf_session kf_session;

/** How the weights of a foreign checkpoint run. Those of a Kerf checkpoint always run packed. */
typedef enum kf_weights {
    KF_WEIGHTS_FLOAT = 0, /**< Decoded to float32: the reference for everything else. */
    KF_WEIGHTS_AUTO = 1,  /**< Packed where all linear layers of the blocks can be, else float. */
    KF_WEIGHTS_PACKED = 2 /**< Tensors of GGUF's types Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are brought
                             into the packed layout without loss and run on int8tg64 activations;
                             others are decoded. */
} kf_weights;

/** How to open a model; start from #KF_MODEL_OPTIONS_INIT. */
typedef struct kf_model_options {
    size_t size;                   /**< sizeof(kf_model_options), set by the initialiser. */
    const kf_allocator *alloc;     /**< Borrowed, or NULL. */
    const kf_callbacks *callbacks; /**< Borrowed, or NULL: kf_session_eval() can be cancelled. */
    kf_pool *pool; /**< Borrowed for the model's life; NULL works in the calling thread. */
    /** Bytes of float weights that a foreign checkpoint may keep decoded; what does not fit is
     * decoded block by block at every pass. 0 = half of kf_memory_available(). */
    uint64_t float_cache_bytes;
    /** Activations of all linear layers of the blocks, packed or not, and (with 8 bits where these
     * have fewer) of a packed head, in place of what the recipe says (float: reported W4A16),
     * borrowed for the call; NULL: the recipe's, and float where there is none. With float weights
     * the input is quantized, and its values are multiplied in float: so the loss of activations
     * alone is measured. */
    const kf_activation *activation;
    kf_weights weights; /**< Of a foreign checkpoint. */
} kf_model_options;

/** The defaults. */
#define KF_MODEL_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(kf_model_options), NULL, NULL, NULL, 0, NULL, KF_WEIGHTS_FLOAT                      \
    }

/** What a model is; strings are borrowed from it. */
typedef struct kf_model_info {
    const char *architecture; /**< "llama" or "qwen2". */
    const char *name;         /**< What the checkpoint calls itself, or "". */
    const char *source; /**< "GGUF, Q4_1 and Q8_0, dequantized to float32", "GGUF, Q4_0, packed",
                           "Kerf checkpoint, recipe gptq-w4", … */
    const char *activations; /**< "float" or the activation format of the blocks' linear layers in
                                use, "int4tg64 (clips differ)" where only that does, else
                                "mixed". */
    size_t n_layers;         /**< Transformer blocks. */
    size_t hidden;           /**< Width of the residual stream. */
    size_t feed_forward;     /**< Width inside the feed-forward layers. */
    size_t n_heads;          /**< Query heads. */
    size_t n_kv_heads;       /**< Key and value heads, a divisor of n_heads. */
    size_t head_dim;         /**< Width of a head. */
    size_t vocabulary;       /**< Token ids. */
    size_t context;          /**< Tokens that the model was made for. */
    bool tied;               /**< Embedding and head are one tensor. */
    bool is_kerf;            /**< A Kerf checkpoint: packed, runs packed. */
    size_t n_prefix;         /**< Tokens of the stored exact prefix, 0 = none. */
    uint64_t parameters;     /**< Weights, tied tensors once. */
    uint64_t bytes; /**< Stored bytes of all tensors, the prefix included, tied ones once. */
    double bits_per_weight;        /**< 8 bytes / parameters. */
    double bits_per_weight_linear; /**< The same over the linear layers of the blocks, with all they
                                      carry. */
} kf_model_info;

/** One stored tensor, as `kerf info` lists it. */
typedef struct kf_model_tensor {
    const char *name;                  /**< Borrowed from the model. */
    char format[KF_FORMAT_NAME_BYTES]; /**< "int4g64", "Q4_1", "F32". */
    uint64_t rows;                     /**< Outputs of a linear layer; a vector has one row. */
    uint64_t cols;                     /**< Inputs. */
    uint64_t bytes;                    /**< As stored, everything included. */
} kf_model_tensor;

/**
 * Opens a checkpoint: a .gguf, a directory of safetensors with config.json (Hugging Face or Kerf),
 * or a llama2.c .bin.
 *
 * Weights stay in the mapped file. Those of a Kerf checkpoint run packed as they lie there; those
 * of a foreign one are decoded to float32 (see float_cache_bytes) or, where options.weights says
 * so, packed in memory and their pages of the file dropped.
 *
 * @param[out] model    returned owned; close with kf_model_close()
 * @param[in]  path     borrowed
 * @param[in]  options  borrowed, or NULL
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK           every tensor is there, with the shape the architecture expects
 * @retval KF_INPUT        nothing readable there
 * @retval KF_FORMAT       malformed; the message names file, tensor or key, and err->offset the
 * byte
 * @retval KF_UNSUPPORTED  an architecture, RoPE scaling or format that is not implemented, named
 * @retval KF_NOMEM        no memory
 * @retval KF_INVALID      options of another size than this library's
 *
 * Cost: O(tensors), weights are read when first used; O(weights) where they are packed. Threads: a
 * model opened without a pool may be
 * shared by sessions in several threads; one with a pool is used by one thread at a time.
 */
KF_API KF_NODISCARD kf_status kf_model_open(kf_model **model, const char *path,
                                            const kf_model_options *options, kf_error *err);

/** The names of the shapes that kf_model_open_random() knows, "smollm2-135m", "tinyllama-1.1b", …;
 * NULL past the end; static. */
KF_API const char *kf_model_shape(size_t i);

/** A model of random weights; start from #KF_RANDOM_OPTIONS_INIT. */
typedef struct kf_random_options {
    size_t size;              /**< sizeof(kf_random_options), set by the initialiser. */
    const char *shape;        /**< A name that kf_model_shape() gives, borrowed for the call. */
    kf_format weights;        /**< Of the linear layers of blocks; not float. */
    kf_format head;           /**< Of embedding and head, one tensor where the shape ties them. */
    kf_activation activation; /**< Of the linear layers and the head. */
    uint64_t seed;            /**< Same seed, same weights, for every number of threads. */
    size_t rank;     /**< Of a low-rank pair of 8 bits beside every linear layer; 0: none, <= 512 */
    size_t outliers; /**< Input columns of every linear layer with weights and activations of 8 bits
                        of their own; 0: none, <= 512 and no more than the layer has. */
} kf_random_options;

/** int4g64 with a head of int8g64, activations int8tg64; a shape has to be named. */
#define KF_RANDOM_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(kf_random_options), NULL, {KF_ELEMENT_INT, 4, KF_SCALE_FP16, KF_ZERO_NONE, 64},     \
            {KF_ELEMENT_INT, 8, KF_SCALE_FP16, KF_ZERO_NONE, 64}, {8, 64, 0, 0}, 0, 0, 0           \
    }

/**
 * Makes a model of a known shape with random weights, to measure the speed of a shape in a format
 * without a checkpoint of it.
 *
 * Weights are drawn in the packed layout, a panel of 16 rows at a time, and are nowhere in float.
 * Codes are uniform and symmetric about zero, scales such that a matrix neither shrinks nor
 * amplifies: the model says nothing, but its activations are of the usual size.
 *
 * @param[out] model    returned owned; close with kf_model_close()
 * @param[in]  random   shape, formats and seed, borrowed for the call
 * @param[in]  options  borrowed, or NULL; `weights` and `float_cache_bytes` are of no use here
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_INVALID      no such shape (the message lists them), a format or activations that have
 *                         no name, or options of another size than this library's
 * @retval KF_RANGE        a rank or number of outliers beyond its bounds
 * @retval KF_UNSUPPORTED  a format that is float
 * @retval KF_NOMEM        the packed weights are larger than the memory that is available
 * @retval KF_CANCELLED    by the options' callbacks
 *
 * Cost: O(weights), about a second for 10^9 of them and two threads; memory is that of the packed
 * model and a panel a thread. Threads: as kf_model_open(). Numerics: bit-identical everywhere.
 */
KF_API KF_NODISCARD kf_status kf_model_open_random(kf_model **model,
                                                   const kf_random_options *random,
                                                   const kf_model_options *options, kf_error *err);

/** Closes a model; its sessions must be freed before. NULL is fine. */
KF_API void kf_model_close(kf_model *model);

/** Describes a model. */
KF_API void kf_model_get_info(const kf_model *model, kf_model_info *info);

/** Returns the number of stored tensors. */
KF_API size_t kf_model_tensor_count(const kf_model *model);
/** Describes the i-th stored tensor, i < kf_model_tensor_count(). */
KF_API void kf_model_get_tensor(const kf_model *model, size_t i, kf_model_tensor *tensor);

/** The stored prefix's token ids (info.n_prefix of them), borrowed; NULL when none. */
KF_API const uint32_t *kf_model_prefix(const kf_model *model);

/**
 * How a session keeps keys and values.
 *
 * KvM: keys as codes of K bits and values of M, each token and head with one fp16 scale. Before
 * that a head is rotated, queries and keys alike, values there and their sums back, by the
 * normalised Walsh-Hadamard matrix: it spreads a head's outliers over all its numbers and changes
 * no score. A head whose size is no power of two is rotated in blocks of the greatest one that
 * divides it (96: 32; 80: 16), which spreads less. A stored prefix and the 8 tokens behind it stay
 * in float32. Where keys have a bias (Qwen2) or less than 8 bits, the mean of these 8 keys, taken
 * in front of RoPE, is kept out of the codes; what it is worth to a query is added exactly.
 *
 * Source: Ashkboos et al., "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", 2024,
 * arXiv:2404.00456: its cache of keys after RoPE and of values. Here scales are symmetric, one a
 * token and head, and values are rotated while running, not in the weights.
 */
typedef enum kf_kv {
    KF_KV_F32 = 0,     /**< float32, exact. */
    KF_KV_AUTO = 1,    /**< What the checkpoint's recipe names; else K8V8 for a model whose linear
                            layers run packed and on quantized activations, beside whose rounding
                            that of the cache disappears, and F32 for all others. Always F32 for
                            heads of more than 512. */
    KF_KV_Q8 = 2,      /**< The best that we measured of at most 8.5 bits a value: K8V8. */
    KF_KV_Q4 = 3,      /**< Of 4.5 bits: K5V3FN. */
    KF_KV_Q3 = 4,      /**< Of 3.5 bits: K4V2FN. */
    KF_KV_K4V4 = 0x44, /**< 4 bits; with a head of 64, 4.25 a value with its scale. */
    KF_KV_K8V4 = 0x84, /**< 6.25 a value. */
    KF_KV_K8V8 = 0x88, /**< 8.25 a value. */
    KF_KV_FITTED = 0x100, /**< Added to widths, F: up to 4 bits have the levels that are best for
                               normal numbers (Lloyd and Max); scales are those at which the codes
                               are nearest to a key, and at which they are as long as a value. */
    KF_KV_NEWEST =
        0x200 /**< Added to widths, N: a token sees those of its own block of 32 in 8 bits. */
} kf_kv;

/** The cache KvM with keys of @p k bits and values of @p v, 2 to 8 each. */
#define KF_KV_WIDTHS(k, v) ((kf_kv)(16 * (k) + (v)))

/** Returns "f32", "auto", "q4", "k8v4", "k4v2fn" and their like, static; NULL for a number that is
 * no cache. */
KF_API const char *kf_kv_name(kf_kv kv);

/**
 * Finds a cache by its name.
 *
 * @param[out] kv    what kf_kv_name() calls so; unchanged on failure
 * @param[in]  name  borrowed
 * @param[out] err   failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_INVALID  no such cache
 */
KF_API KF_NODISCARD kf_status kf_kv_parse(kf_kv *kv, const char *name, kf_error *err);

/** How to run; start from #KF_SESSION_OPTIONS_INIT. */
typedef struct kf_session_options {
    size_t size;     /**< sizeof(kf_session_options), set by the initialiser. */
    size_t context;  /**< Room for tokens; 0 = the model's. */
    size_t batch;    /**< Most tokens computed together; 0 = 512. More are split. */
    bool no_prefix;  /**< Do not use the stored prefix. */
    kf_kv kv;        /**< How keys and values are kept. */
    size_t kv_exact; /**< Tokens from the first one on that stay in float32 whatever kv says. */
} kf_session_options;

/** The defaults. */
#define KF_SESSION_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(kf_session_options), 0, 0, false, KF_KV_F32, 0                                      \
    }

/**
 * Makes an empty session with all the memory it will ever need.
 *
 * @param[out] session  returned owned; free with kf_session_free()
 * @param      model    borrowed for the session's life
 * @param[in]  options  borrowed, or NULL
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_NOMEM
 * @retval KF_RANGE    context above the model's, or batch above 65536
 * @retval KF_INVALID  options of another size than this library's, or no such kv
 * @retval KF_UNSUPPORTED  keys and values as codes for heads of more than 512
 *
 * Cost: allocates 2 * n_layers * n_kv_heads * head_dim * 4 bytes a token of context (as codes: 2 to
 * 8 bits a number and 2 bytes a head), and work space for a batch.
 * @see kf_session_free()
 */
KF_API KF_NODISCARD kf_status kf_session_new(kf_session **session, kf_model *model,
                                             const kf_session_options *options, kf_error *err);
/** Frees a session; NULL is fine. */
KF_API void kf_session_free(kf_session *session);

/**
 * Starts a new sequence with the model's stored prefix in the cache.
 *
 * Where the prompt's ids begin with the prefix (or a part of it), that part is taken from the
 * cache; else the prefix's first token is put in front. Without a prefix (or with no_prefix) the
 * session is simply empty.
 *
 * @param      session  what it held is forgotten
 * @param[in]  ids      the prompt, borrowed; may be NULL with n = 0
 * @param      n        number of ids
 * @param[out] n_used   how many of ids are already in the cache: go on with ids + *n_used
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_RANGE  the session's context is shorter than the part of the prefix that is used
 * @retval KF_NOMEM  decoding a block's weights
 *
 * Cost: copies the prefix; where it is the whole prompt its last token is computed too, so that
 * kf_session_hidden() has its state.
 */
KF_API KF_NODISCARD kf_status kf_session_begin(kf_session *session, const uint32_t *ids, size_t n,
                                               size_t *n_used, kf_error *err);

/** Tokens in the cache, the prefix included. */
KF_API size_t kf_session_position(const kf_session *session);
/** How its keys and values are kept; never KF_KV_AUTO. */
KF_API kf_kv kf_session_kv(const kf_session *session);
/** Room for tokens. */
KF_API size_t kf_session_context(const kf_session *session);
/** Forgets all tokens from @p position on; position <= kf_session_position(). */
KF_API void kf_session_truncate(kf_session *session, size_t position);

/**
 * Computes n more tokens.
 *
 * @param      session  gets the tokens
 * @param[in]  ids      token ids, borrowed
 * @param      n        any number that fits; n = 0 does nothing
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK     their hidden states can be asked for
 * @retval KF_RANGE  an id outside the vocabulary (err->offset is its index), or the context is
 * full: nothing was computed
 * @retval KF_CANCELLED  by the model's callbacks, between two batches; the finished batches stay
 * @retval KF_NOMEM  decoding a block's weights
 *
 * Cost: 2 * parameters operations a token. No allocation when the weights are packed or cached.
 * Numerics: the same tokens give the same bits for every number of threads; for packed weights also
 * for every batch.
 */
KF_API KF_NODISCARD kf_status kf_session_eval(kf_session *session, const uint32_t *ids, size_t n,
                                              kf_error *err);

/**
 * The final hidden states (after the last norm) of the last batch of the last kf_session_eval().
 *
 * @param      session  after kf_session_eval()
 * @param[out] n        tokens it holds: those of the last batch (min(n, batch) at most)
 * @return [n][hidden] floats, borrowed until the next call
 */
KF_API const float *kf_session_hidden(const kf_session *session, size_t *n);

/**
 * Computes logits from final hidden states, through the model's head.
 *
 * @param      session  lends its work space
 * @param[out] logits   [n][vocabulary] floats
 * @param[in]  hidden   [n][hidden] floats, as kf_session_hidden() gave them
 * @param      n        number of tokens, <= batch; keep it small, logits are large
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_RANGE  n above the batch
 * @retval KF_NOMEM
 *
 * Cost: 2 * vocabulary * hidden operations a token.
 */
KF_API KF_NODISCARD kf_status kf_session_head(kf_session *session, float *logits,
                                              const float *hidden, size_t n, kf_error *err);

/** Bytes of weights read for one decoded token: what memory bandwidth is spent on. */
KF_API uint64_t kf_model_bytes_per_token(const kf_model *model);
/** Operations in products with weights for one token, its logits included: 2 a weight. */
KF_API uint64_t kf_model_operations_per_token(const kf_model *model);
/** Bytes of keys and values read for one decoded token with so many tokens in the cache. */
KF_API uint64_t kf_session_kv_bytes(const kf_session *session, size_t n_tokens);
/** Bits that a number of keys and values takes with so many tokens (> 0) in the cache, everything
 * included: scales, offsets, the exact first tokens, and the newest ones in 8 bits beside their
 * codes. */
KF_API double kf_session_kv_bits(const kf_session *session, size_t n_tokens);

#ifdef __cplusplus
}
#endif
#endif /* KERF_MODEL_H */
