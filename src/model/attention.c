/* attention.c - from the projections of a batch to its attention: rotating, storing, attending.
 *
 * How the work is split does not show in the result. Of a batch, one piece is a kv head and some
 * queries. A lone token has too few heads for the threads and much to read: its keys are split
 * too, at the fixed chunks that one thread would merge in the same order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "model/forward.h"
#include "model/rope.h"
#include "model/workspace.h"

/* Queries that one piece of a batch takes: enough to read each key once for many. */
#define QUERY_TOKENS 32
/* Pieces of a lone token for each thread, so that the last one to end is not long alone. */
#define PIECES_A_THREAD 3

typedef struct attending {
    kfi_workspace *workspace;
    float *dst, *q, *k;
    const float *v;
    kfi_kv *kv;
    size_t first, n;
    size_t n_chunks, chunks_a_piece; /* of a lone token */
} attending;

/* ---- rotating and storing ---- */

static void prepare_rope(kfi_workspace *w, size_t first, size_t n)
{
    if (w->rope_n >= n && w->rope_first == first) {
        return; /* made for an earlier block of this pass */
    }
    const size_t half = w->head_dim / 2;
    for (size_t t = 0; t < n; t++) {
        kfi_rope_angles(w->cosine + t * half, w->sine + t * half, w->rope_frequencies, half,
                        first + t);
    }
    w->rope_first = first;
    w->rope_n = n;
}

/* Rotates and stores the tokens of one panel of the cache, so that no two threads share one. */
static void rotate_and_store(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const attending *a = ctx;
    const kfi_workspace *w = a->workspace;
    const size_t half = w->head_dim / 2;
    const size_t panel = (a->first / KFI_KV_PANEL + i_item) * KFI_KV_PANEL;
    const size_t begin = panel < a->first ? 0 : panel - a->first;
    size_t end = panel + KFI_KV_PANEL - a->first;
    end = end < a->n ? end : a->n;
    for (size_t t = begin; t < end; t++) {
        const float *cosine = w->cosine + t * half;
        const float *sine = w->sine + t * half;
        w->kernels->rope(a->q + t * w->n_heads * w->head_dim, w->n_heads, w->head_dim, cosine,
                         sine);
        w->kernels->rope(a->k + t * w->n_kv_heads * w->head_dim, w->n_kv_heads, w->head_dim, cosine,
                         sine);
        const size_t kv_place = t * w->n_kv_heads * w->head_dim;
        kfi_kv_put(a->kv, a->first + t, a->k + kv_place, a->v + kv_place);
    }
}

/* ---- attending ---- */

/* The queries of n_tokens tokens from token `begin` of the batch that share a kv head, and the keys
 * and values of that head from token `first_key` on. */
static kfi_attention_args head_args(const attending *a, size_t i_head, size_t begin,
                                    size_t n_tokens, size_t first_key, size_t i_thread)
{
    const kfi_workspace *w = a->workspace;
    const kfi_kv *kv = a->kv;
    const size_t group = w->n_heads / w->n_kv_heads;
    const size_t width = w->n_heads * w->head_dim;
    const size_t place = begin * width + i_head * group * w->head_dim;
    const size_t kv_place = (i_head * kv->capacity + first_key) * kv->head_dim;
    return (kfi_attention_args){
        .dst = a->dst + place,
        .ld_dst = width,
        .q = a->q + place,
        .ld_q = width,
        .n_tokens = n_tokens,
        .n_heads = group,
        .head_dim = w->head_dim,
        .first = a->first + begin - first_key,
        .n_keys = a->first + a->n - first_key,
        .keys = kv->keys + kv_place,
        .values = kv->values + kv_place,
        .scale = 1.0f / sqrtf((float)w->head_dim),
        .scratch = kfi_workspace_scratch(w, i_thread),
    };
}

/* One kv head and up to QUERY_TOKENS queries; the last ones first, since they see the most keys. */
static void attend_queries(void *ctx, size_t i_item, size_t i_thread)
{
    const attending *a = ctx;
    const size_t n_kv_heads = a->kv->n_kv_heads;
    const size_t n_tiles = (a->n + QUERY_TOKENS - 1) / QUERY_TOKENS;
    const size_t begin = (n_tiles - 1 - i_item / n_kv_heads) * QUERY_TOKENS;
    const size_t n_tokens = a->n - begin < QUERY_TOKENS ? a->n - begin : QUERY_TOKENS;
    const kfi_attention_args args = head_args(a, i_item % n_kv_heads, begin, n_tokens, 0, i_thread);
    a->workspace->kernels->attention(&args);
}

/* A lone token, one kv head and some chunks of its keys. */
static void attend_chunks(void *ctx, size_t i_item, size_t i_thread)
{
    const attending *a = ctx;
    const kfi_workspace *w = a->workspace;
    const size_t i_head = i_item % a->kv->n_kv_heads;
    const size_t begin = i_item / a->kv->n_kv_heads * a->chunks_a_piece;
    const size_t end =
        begin + a->chunks_a_piece < a->n_chunks ? begin + a->chunks_a_piece : a->n_chunks;
    for (size_t i = begin; i < end; i++) {
        kfi_attention_args args = head_args(a, i_head, 0, 1, i * KFI_ATTENTION_CHUNK, i_thread);
        const size_t row = i * w->n_heads + i_head * args.n_heads;
        args.dst = a->kv->chunk_results + row * w->head_dim;
        args.state = a->kv->chunk_states + row;
        args.n_keys = args.n_keys < KFI_ATTENTION_CHUNK ? args.n_keys : KFI_ATTENTION_CHUNK;
        w->kernels->attention(&args);
    }
}

static void attend_lone_token(attending *a)
{
    const kfi_workspace *w = a->workspace;
    const size_t n_pieces =
        (PIECES_A_THREAD * kf_pool_threads(w->pool) + w->n_kv_heads - 1) / w->n_kv_heads;
    a->chunks_a_piece = (a->n_chunks + n_pieces - 1) / n_pieces;
    kfi_pool_run(w->pool, attend_chunks, a,
                 (a->n_chunks + a->chunks_a_piece - 1) / a->chunks_a_piece * w->n_kv_heads);
    for (size_t h = 0; h < w->n_heads; h++) {
        const kfi_attention_merge_args merge = {.dst = a->dst + h * w->head_dim,
                                                .results = a->kv->chunk_results + h * w->head_dim,
                                                .ld = w->n_heads * w->head_dim,
                                                .states = a->kv->chunk_states + h,
                                                .n_states = w->n_heads,
                                                .n = a->n_chunks,
                                                .head_dim = w->head_dim};
        w->kernels->attention_merge(&merge);
    }
}

void kfi_attention_forward(kfi_workspace *workspace, float *dst, float *q, float *k, const float *v,
                           kfi_kv *kv, size_t first, size_t n)
{
    attending a = {.workspace = workspace,
                   .dst = dst,
                   .q = q,
                   .k = k,
                   .v = v,
                   .kv = kv,
                   .first = first,
                   .n = n};
    prepare_rope(workspace, first, n);
    const size_t n_panels = (first + n - 1) / KFI_KV_PANEL - first / KFI_KV_PANEL + 1;
    kfi_pool_run(workspace->pool, rotate_and_store, &a, n_panels);
    a.n_chunks = (first + n + KFI_ATTENTION_CHUNK - 1) / KFI_ATTENTION_CHUNK;
    if (n == 1 && a.n_chunks > 1 && kv->chunk_results != NULL &&
        kf_pool_threads(workspace->pool) > 1) {
        attend_lone_token(&a);
        return;
    }
    const size_t n_tiles = (n + QUERY_TOKENS - 1) / QUERY_TOKENS;
    kfi_pool_run(workspace->pool, attend_queries, &a, n_tiles * kv->n_kv_heads);
}
