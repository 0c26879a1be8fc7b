/* forward.h - the pieces of a block's forward pass, from which sessions and the quantizing pipeline
 * are built.
 *
 * A block is:   a = attention(q, k, v of norm(x));  x += o(a);  m = silu(gate(norm(x))) *
 * up(norm(x));  x += down(m)
 *
 * Every function works on n tokens (n <= workspace batch), all matrices row-major [token][feature].
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_FORWARD_H
#define KFI_MODEL_FORWARD_H

#include "model/model.h"

/* Scratch for batches up to `batch` tokens; everything is allocated once. */
typedef struct kfi_workspace kfi_workspace;
KF_NODISCARD kf_status kfi_workspace_new(kfi_workspace **workspace, const kfi_config *config,
                                         kf_pool *pool, size_t batch, const kf_allocator *alloc,
                                         kf_error *err);
void kfi_workspace_free(kfi_workspace *workspace);
/* Room for layers with side paths of up to this width (kfi_side_width()), if there is less yet.
 * KF_NOMEM: what there was stays. */
KF_NODISCARD kf_status kfi_workspace_reserve_side(kfi_workspace *workspace, size_t width,
                                                  kf_error *err);

/* Room for layers with single weights beside their matrix, if there is none yet. KF_NOMEM: what
 * there was stays. */
KF_NODISCARD kf_status kfi_workspace_reserve_panels(kfi_workspace *workspace, kf_error *err);

/* Room for layers with this map, and for those of a block with their side paths, if there is none
 * yet; whoever runs such layers asks for it before. KF_NOMEM; KF_UNSUPPORTED for a width without a
 * Hadamard matrix. */
KF_NODISCARD kf_status kfi_workspace_reserve_online(kfi_workspace *workspace,
                                                    const kfi_online *online, kf_error *err);
KF_NODISCARD kf_status kfi_workspace_reserve_block(kfi_workspace *workspace, const kfi_block *block,
                                                   kf_error *err);
/* And for a residual stream that is rotated, width being hidden. */
KF_NODISCARD kf_status kfi_workspace_reserve_rotation(kfi_workspace *workspace, size_t width,
                                                      kf_error *err);

/* Tokens whose keys lie together in the cache, see kernels.h. */
#define KFI_KV_PANEL ((size_t)KFI_PANEL_ROWS)

/* Tokens of a block of which the newest is kept in 8 bits, too. */
#define KFI_KV_NEWEST ((size_t)32)

/* KV cache of one layer: tokens in float32, [kv head][capacity] in the layout of kernels.h, and
 * behind the first n_exact of them tokens in codes, [kv head][packed_capacity] in that of
 * packed_kv.h. Without codes (packed.keys.bits 0) all tokens are in float32; with them all heads
 * are rotated by hadamard(), in both parts.
 *
 * With keeps_newest the tokens in codes are cut into blocks of KFI_KV_NEWEST, and a token sees
 * those of its own block in 8 bits: what is nearest weighs most. Later ones see their codes in
 * `packed`. Source: Liu et al., KIVI, arXiv:2402.02750, section 3.2, whose newest tokens are in
 * fp16 until their group is full; here all tokens have their codes at once.
 *
 * Keys have a part that hardly changes from token to token, in models with a bias of the keys
 * (Qwen2) many times what does change: it would take most of a code's range. In front of RoPE it
 * does not change at all. So the mean of the last KFI_KV_SAMPLE keys in float32, turned back to
 * where RoPE found them, is taken off every key that becomes codes, and what it is worth to a query
 * is added to the scores, exactly: see kfi_common_key. Source: Zhang et al., SageAttention,
 * arXiv:2410.02367, section 4.2, whose mean is over all keys behind RoPE; keys in front of RoPE:
 * Hooper et al., KVQuant, arXiv:2401.18079, section 3.2. A few of the first keys and the score of
 * the mean are ours. Keys of 8 bits without a bias do without: has_offsets. */
typedef struct kfi_kv {
    size_t capacity; /* tokens in float32, a multiple of KFI_KV_PANEL */
    size_t n_kv_heads, head_dim;
    float *keys;
    float *values;
    size_t n_exact;         /* tokens in float32 */
    size_t n_exact_least;   /* that were asked for */
    size_t packed_capacity; /* tokens in codes, a multiple of KFI_KV_BLOCK */
    kfi_packed_kv packed;   /* of the first kv head */
    float *offsets;         /* [kv head][head_dim], taken off the keys in codes, in front of RoPE */
    /* Turns of kfi_common_key, shared by all layers. */
    const float *chunk_turns, *token_turns;
    bool has_offsets, keeps_newest;
    size_t newest_capacity; /* tokens in `newest` */
    kfi_packed_kv newest;   /* [kv head][newest_capacity]: the block of token n_put - 1 */
    size_t n_put;           /* tokens, of the last pass */
    /* Room for what the query heads of a lone token gather from each chunk of keys, shared by all
     * layers: [chunk][n_heads][head_dim] and [chunk][n_heads]. NULL: one thread a kv head. */
    float *chunk_results;
    kfi_attention_state *chunk_states;
} kfi_kv;

/* Tokens in float32 behind a stored prefix, in front of those in codes. */
#define KFI_KV_SAMPLE ((size_t)8)

/* Tokens in float32 of a cache with codes, behind a stored prefix of n. */
static inline size_t kfi_kv_exact_of(const kfi_kv *kv, size_t n)
{
    return n + KFI_KV_SAMPLE > kv->n_exact_least ? n + KFI_KV_SAMPLE : kv->n_exact_least;
}

/* Bytes of both parts and the offsets, by the shape alone; of whole panels, a multiple of 64. */
size_t kfi_kv_layer_bytes(const kfi_kv *kv);
/* Sets the pointers into memory of that size; where there are codes, clears the float32 part and
 * sets n_exact for a cache without a prefix. */
void kfi_kv_lay_out(kfi_kv *kv, void *memory);
/* The same for the codes of n tokens of all heads; returns what comes behind them. */
void *kfi_kv_lay_out_packed(kfi_packed_kv *packed, void *memory, size_t n);
static inline bool kfi_kv_is_packed(const kfi_kv *kv)
{
    return kv->packed.keys.bits != 0;
}
/* How many of the first n tokens are in float32. */
static inline size_t kfi_kv_n_float(const kfi_kv *kv, size_t n)
{
    return kfi_kv_is_packed(kv) && n > kv->n_exact ? kv->n_exact : n;
}
/* Tokens t with the same (t - shift) / KFI_KV_BLOCK share memory: they are put by one thread. */
static inline size_t kfi_kv_shift(const kfi_kv *kv)
{
    return kfi_kv_is_packed(kv) ? kv->n_exact % KFI_KV_BLOCK : 0;
}
/* First token of the block that a token in codes lies in. */
static inline size_t kfi_kv_block_start(const kfi_kv *kv, size_t position)
{
    return position - (position - kv->n_exact) % KFI_KV_NEWEST;
}
/* How many of the tokens in `packed` a query at this position, behind those in float32, reads. */
static inline size_t kfi_kv_n_packed(const kfi_kv *kv, size_t position)
{
    return (kv->keeps_newest ? kfi_kv_block_start(kv, position) : position + 1) - kv->n_exact;
}

/* Puts one token's key (after RoPE) and value, [n_kv_heads][head_dim] each and rotated where there
 * are codes, at a position. Positions are put in ascending order; those in codes after the offsets,
 * which are taken off already. */
void kfi_kv_put(kfi_kv *kv, size_t position, const float *key, const float *value);
/* Puts one that is in codes into a cache of newest tokens as well, at token i of its first kv head;
 * the heads are `capacity` tokens apart. */
void kfi_kv_put_newest(const kfi_kv *kv, const kfi_packed_kv *newest, size_t capacity, size_t i,
                       const float *key, const float *value);
/* Makes `newest` what a pass that begins at this position, in the middle of a block, finds: where
 * the last pass ended in another block, of the codes that are left of this one. */
void kfi_kv_find_newest(const kfi_kv *kv, size_t position);
/* Copies one block of every kv head, from token `from` of src to token `to` of dst, whole blocks.
 */
void kfi_kv_copy_newest(const kfi_packed_kv *dst, size_t dst_capacity, size_t to,
                        const kfi_packed_kv *src, size_t src_capacity, size_t from,
                        size_t n_kv_heads);
/* Makes the offsets: to be called when position n_exact - 1 has been put. frequencies [head_dim /
 * 2] are RoPE's. */
void kfi_kv_put_offsets(kfi_kv *kv, const double *frequencies);
/* Copies the stored prefix (its first n tokens) of a layer into positions 0 … n-1, in float32, and
 * sets n_exact to the end of the sample behind it. */
void kfi_kv_put_prefix(kfi_kv *kv, const kfi_prefix *prefix, size_t i_layer, size_t n);

/* y[n][rows] = x W^T + bias. A layer sends x through its map, where it has one, and quantizes it by
 * its activation format; where its weights are float, they are multiplied by what the codes stand
 * for. x and y must not overlap. */
void kfi_linear_forward(kfi_workspace *workspace, const kfi_linear *linear, float *y,
                        const float *x, size_t n);
/* Several layers that share their input: it is quantized once. ys[i] gets linears[i]'s result. */
void kfi_linear_forward_shared(kfi_workspace *workspace, const kfi_linear *const *linears,
                               float *const *ys, size_t n_linears, const float *x, size_t n);

/* dst [n_tokens][n_outputs] = what the map makes of x [n_tokens][n_inputs]; it is not an empty one.
 */
void kfi_online_forward(kfi_workspace *workspace, const kfi_online *online, float *dst,
                        const float *x, size_t n_tokens);

/* Rotates x [n][hidden] in place, and back, by the signs of kfi_model_residual_signs(); NULL:
 * leaves it as it is. */
void kfi_residual_rotate(kfi_workspace *workspace, const int8_t *signs, float *x, size_t n);
void kfi_residual_restore(kfi_workspace *workspace, const int8_t *signs, float *x, size_t n);

/* dst = RMSNorm of x, n tokens. */
void kfi_norm_forward(kfi_workspace *workspace, float *dst, const float *x, const float *weight,
                      size_t n);
/* Rotates q and k of n tokens at positions first …, stores k and v in the cache, attends: dst
 * [n][n_heads * head_dim]. q [n][n_heads * head_dim] and k and v [n][n_kv_heads * head_dim] are
 * changed. */
void kfi_attention_forward(kfi_workspace *workspace, float *dst, float *q, float *k, float *v,
                           kfi_kv *kv, size_t first, size_t n);
/* dst = silu(gate) * up; n tokens of feed_forward values. */
void kfi_silu_forward(kfi_workspace *workspace, float *dst, const float *gate, const float *up,
                      size_t n);
/* x += y */
void kfi_residual_add(kfi_workspace *workspace, float *x, const float *y, size_t n_values);

/* A whole block on x [n][hidden] in place, tokens at positions first …; what sessions call. */
void kfi_block_forward(kfi_workspace *workspace, const kfi_block *block, float *x, kfi_kv *kv,
                       size_t first, size_t n);

/* Sees the residual stream of a session behind each block, in the order of blocks and batches: x
 * [n][hidden], borrowed for the call. block NULL: nobody does. */
typedef struct kfi_watch {
    void (*block)(void *ctx, size_t i_layer, const float *x, size_t n);
    void *ctx;
} kfi_watch;
void kfi_session_watch(kf_session *session, const kfi_watch *watch);

/* Logits [n][vocabulary] from normalised hidden states; decodes the head piecewise when it is not
 * in memory. */
KF_NODISCARD kf_status kfi_head_forward(kf_model *model, kfi_workspace *workspace, float *logits,
                                        const float *hidden, size_t n, kf_error *err);

/* Buffers of the workspace that callers may use between calls. */
typedef struct kfi_buffers {
    float *normed;    /* [batch][hidden] */
    float *q;         /* [batch][n_heads * head_dim] */
    float *k, *v;     /* [batch][n_kv_heads * head_dim] */
    float *attention; /* [batch][n_heads * head_dim] */
    float *gate, *up; /* [batch][feed_forward] */
    float *hidden;    /* [batch][hidden] */
} kfi_buffers;
kfi_buffers *kfi_workspace_buffers(kfi_workspace *workspace);

#endif /* KFI_MODEL_FORWARD_H */
