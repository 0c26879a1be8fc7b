/* forward.c - the pieces of a block between its linear layers, and the block.
 *
 * Each loop over tokens is cut into pieces for the pool; no token's result depends on the others of
 * its batch, so that any split and any batch give the same bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/forward.h"

#include "model/workspace.h"

#define TOKENS_A_PIECE 8

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
