/* forward.c - the pieces of a block between its linear layers, and the block.
 *
 * Each loop over tokens is cut into pieces for the pool; no token's result depends on the others of
 * its batch, so that any split and any batch give the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/forward.h"

#include <math.h>

#include "model/rope.h"
#include "model/workspace.h"

#define TOKENS_A_PIECE 8
/* Queries that one piece of attention takes: enough to read each key once for many. */
#define QUERY_TOKENS 32

/* ---- norm, silu, residual ---- */

typedef struct elementwise {
    const kfi_workspace *workspace;
    float *dst;
    const float *a, *b;
    size_t width;
    kfi_split split;
} elementwise;

static void norm_tokens(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const elementwise *e = ctx;
    const size_t end = kfi_split_begin(&e->split, i_item + 1);
    for (size_t t = kfi_split_begin(&e->split, i_item); t < end; t++) {
        e->workspace->kernels->rms_norm(e->dst + t * e->width, e->a + t * e->width, e->b, e->width,
                                        e->workspace->rms_epsilon);
    }
}

void kfi_norm_forward(kfi_workspace *workspace, float *dst, const float *x, const float *weight,
                      size_t n)
{
    elementwise e = {
        .workspace = workspace, .dst = dst, .a = x, .b = weight, .width = workspace->hidden};
    e.split = kfi_split_make(workspace->pool, n, TOKENS_A_PIECE, 4);
    kfi_pool_run(workspace->pool, norm_tokens, &e, e.split.n_pieces);
}

static void silu_tokens(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const elementwise *e = ctx;
    const size_t begin = kfi_split_begin(&e->split, i_item) * e->width;
    const size_t end = kfi_split_begin(&e->split, i_item + 1) * e->width;
    e->workspace->kernels->silu_mul(e->dst + begin, e->a + begin, e->b + begin, end - begin);
}

void kfi_silu_forward(kfi_workspace *workspace, float *dst, const float *gate, const float *up,
                      size_t n)
{
    elementwise e = {
        .workspace = workspace, .dst = dst, .a = gate, .b = up, .width = workspace->feed_forward};
    e.split = kfi_split_make(workspace->pool, n, TOKENS_A_PIECE, 4);
    kfi_pool_run(workspace->pool, silu_tokens, &e, e.split.n_pieces);
}

static void add_values(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const elementwise *e = ctx;
    const size_t begin = kfi_split_begin(&e->split, i_item);
    const size_t end = kfi_split_begin(&e->split, i_item + 1);
    e->workspace->kernels->add(e->dst + begin, e->a + begin, end - begin);
}

void kfi_residual_add(kfi_workspace *workspace, float *x, const float *y, size_t n_values)
{
    elementwise e = {.workspace = workspace, .dst = x, .a = y};
    e.split = kfi_split_make(workspace->pool, n_values, 16384, 4);
    kfi_pool_run(workspace->pool, add_values, &e, e.split.n_pieces);
}

/* ---- attention ---- */

typedef struct attending {
    kfi_workspace *workspace;
    float *dst, *q, *k;
    const float *v;
    kfi_kv *kv;
    size_t first, n;
} attending;

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

/* One kv head and up to QUERY_TOKENS queries; the last ones first, since they see the most keys. */
static void attend(void *ctx, size_t i_item, size_t i_thread)
{
    const attending *a = ctx;
    const kfi_workspace *w = a->workspace;
    const kfi_kv *kv = a->kv;
    const size_t n_tiles = (a->n + QUERY_TOKENS - 1) / QUERY_TOKENS;
    const size_t i_head = i_item % kv->n_kv_heads;
    const size_t begin = (n_tiles - 1 - i_item / kv->n_kv_heads) * QUERY_TOKENS;
    const size_t n_tokens = a->n - begin < QUERY_TOKENS ? a->n - begin : QUERY_TOKENS;
    const size_t group = w->n_heads / w->n_kv_heads;
    const size_t width = w->n_heads * w->head_dim;
    const size_t place = begin * width + i_head * group * w->head_dim;
    const kfi_attention_args args = {
        .dst = a->dst + place,
        .ld_dst = width,
        .q = a->q + place,
        .ld_q = width,
        .n_tokens = n_tokens,
        .n_heads = group,
        .head_dim = w->head_dim,
        .first = a->first + begin,
        .keys = kv->keys + i_head * kv->capacity * kv->head_dim,
        .values = kv->values + i_head * kv->capacity * kv->head_dim,
        .scale = 1.0f / sqrtf((float)w->head_dim),
        .scratch = kfi_workspace_scratch(w, i_thread),
    };
    w->kernels->attention(&args);
}

void kfi_attention_forward(kfi_workspace *workspace, float *dst, float *q, float *k, const float *v,
                           kfi_kv *kv, size_t first, size_t n)
{
    attending a = {workspace, dst, q, k, v, kv, first, n};
    prepare_rope(workspace, first, n);
    const size_t n_panels = (first + n - 1) / KFI_KV_PANEL - first / KFI_KV_PANEL + 1;
    kfi_pool_run(workspace->pool, rotate_and_store, &a, n_panels);
    const size_t n_tiles = (n + QUERY_TOKENS - 1) / QUERY_TOKENS;
    kfi_pool_run(workspace->pool, attend, &a, n_tiles * kv->n_kv_heads);
}

/* ---- the block ---- */

void kfi_block_forward(kfi_workspace *workspace, const kfi_block *block, float *x, kfi_kv *kv,
                       size_t first, size_t n)
{
    kfi_buffers *b = &workspace->buffers;
    const kfi_linear *l = block->linears;
    const kfi_linear *const qkv[] = {&l[KFI_LINEAR_Q], &l[KFI_LINEAR_K], &l[KFI_LINEAR_V]};
    float *const qkv_ys[] = {b->q, b->k, b->v};
    kfi_norm_forward(workspace, b->normed, x, block->attention_norm, n);
    kfi_linear_forward_shared(workspace, qkv, qkv_ys, 3, b->normed, n);
    kfi_attention_forward(workspace, b->attention, b->q, b->k, b->v, kv, first, n);
    kfi_linear_forward(workspace, &l[KFI_LINEAR_O], b->normed, b->attention, n);
    kfi_residual_add(workspace, x, b->normed, n * workspace->hidden);

    const kfi_linear *const gate_up[] = {&l[KFI_LINEAR_GATE], &l[KFI_LINEAR_UP]};
    float *const gate_up_ys[] = {b->gate, b->up};
    kfi_norm_forward(workspace, b->normed, x, block->mlp_norm, n);
    kfi_linear_forward_shared(workspace, gate_up, gate_up_ys, 2, b->normed, n);
    kfi_silu_forward(workspace, b->gate, b->gate, b->up, n);
    kfi_linear_forward(workspace, &l[KFI_LINEAR_DOWN], b->normed, b->gate, n);
    kfi_residual_add(workspace, x, b->normed, n * workspace->hidden);
}
