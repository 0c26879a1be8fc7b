/* online.c - inputs of linear layers and the residual stream, rotated or gathered while running.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/online.h"

#include <assert.h>
#include <string.h>

#include "base/fail.h"
#include "model/workspace.h"

/* Tokens that are worth a hand-over to the pool. */
#define TOKENS_A_PIECE 4

static bool same_array(const void *a, const void *b, size_t bytes)
{
    return a == b || (a != NULL && b != NULL && memcmp(a, b, bytes) == 0);
}

bool kfi_online_is_same(const kfi_online *a, const kfi_online *b)
{
    return a->n_inputs == b->n_inputs && a->n_outputs == b->n_outputs &&
           same_array(a->signs, b->signs, a->n_inputs) &&
           same_array(a->columns, b->columns, a->n_outputs * sizeof *a->columns) &&
           same_array(a->second, b->second, a->n_outputs * sizeof *a->second);
}

/* ---- memory ---- */

static const kfi_hadamard *find_hadamard(const kfi_workspace *workspace, size_t n)
{
    const kfi_online_space *s = &workspace->online;
    for (size_t i = 0; i < s->n_hadamards; i++) {
        if (s->hadamards[i].n == n) {
            return &s->hadamards[i];
        }
    }
    return NULL;
}

kf_status kfi_workspace_reserve_rotation(kfi_workspace *workspace, size_t width, kf_error *err)
{
    kfi_online_space *s = &workspace->online;
    if (find_hadamard(workspace, width) != NULL) {
        return KF_OK;
    }
    assert(s->n_hadamards < KFI_ROTATED_WIDTHS);
    KFI_TRY(kfi_hadamard_init(&s->hadamards[s->n_hadamards], width, workspace->alloc, err));
    s->n_hadamards++;
    return KF_OK;
}

kf_status kfi_workspace_reserve_online(kfi_workspace *workspace, const kfi_online *online,
                                       kf_error *err)
{
    if (!kfi_online_is_set(online)) {
        return KF_OK;
    }
    KFI_TRY(kfi_workspace_reserve_mapped(workspace, online->n_outputs, err));
    return online->signs == NULL ? KF_OK
                                 : kfi_workspace_reserve_rotation(workspace, online->n_inputs, err);
}

kf_status kfi_workspace_reserve_block(kfi_workspace *workspace, const kfi_block *block,
                                      kf_error *err)
{
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        const kfi_linear *linear = &block->linears[role];
        KFI_TRY(kfi_workspace_reserve_online(workspace, &linear->online, err));
        KFI_TRY(kfi_workspace_reserve_side(workspace, kfi_side_width(&linear->side), err));
        if (linear->side.sparse.starts != NULL) {
            KFI_TRY(kfi_workspace_reserve_panels(workspace, err));
        }
    }
    return KF_OK;
}

void kfi_workspace_free_online(kfi_workspace *workspace)
{
    for (size_t i = 0; i < workspace->online.n_hadamards; i++) {
        kfi_hadamard_deinit(&workspace->online.hadamards[i]);
    }
}

/* ---- maps ---- */

typedef struct mapping {
    const kfi_workspace *workspace;
    const kfi_online *online;
    kfi_rotation rotation;
    float *dst;
    const float *x;
    kfi_split split;
} mapping;

static void gather(float *dst, const kfi_online *online, const float *x)
{
    for (size_t c = 0; c < online->n_outputs; c++) {
        dst[c] = x[online->columns[c]];
    }
    for (size_t c = 0; online->second != NULL && c < online->n_outputs; c++) {
        if (online->second[c] != KFI_NO_COLUMN) {
            dst[c] += x[online->second[c]];
        }
    }
}

static void map_tokens(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const mapping *m = ctx;
    const kfi_online *online = m->online;
    const size_t end = kfi_split_begin(&m->split, i_item + 1);
    for (size_t t = kfi_split_begin(&m->split, i_item); t < end; t++) {
        float *dst = m->dst + t * online->n_outputs;
        const float *x = m->x + t * online->n_inputs;
        if (online->columns != NULL) {
            gather(dst, online, x);
            continue;
        }
        memcpy(dst, x, online->n_inputs * sizeof *x);
        m->workspace->kernels->rotate(dst, &m->rotation);
    }
}

void kfi_online_forward(kfi_workspace *workspace, const kfi_online *online, float *dst,
                        const float *x, size_t n_tokens)
{
    mapping m = {.workspace = workspace, .online = online, .dst = dst, .x = x};
    if (online->signs != NULL) {
        m.rotation =
            kfi_hadamard_forward(find_hadamard(workspace, online->n_inputs), online->signs);
    }
    m.split = kfi_split_make(workspace->pool, n_tokens, TOKENS_A_PIECE, 4);
    kfi_pool_run(workspace->pool, map_tokens, &m, m.split.n_pieces);
}

const float *kfi_online_input(kfi_workspace *workspace, const kfi_online *online, const float *x,
                              size_t n)
{
    if (!kfi_online_is_set(online)) {
        return x;
    }
    kfi_online_forward(workspace, online, workspace->online.mapped, x, n);
    return workspace->online.mapped;
}

/* ---- the residual stream ---- */

void kfi_residual_rotate(kfi_workspace *workspace, const int8_t *signs, float *x, size_t n)
{
    if (signs != NULL) {
        const kfi_hadamard *h = find_hadamard(workspace, workspace->hidden);
        const kfi_rotation rotation = kfi_hadamard_forward(h, signs);
        kfi_hadamard_rows(workspace->pool, &rotation, x, n);
    }
}

void kfi_residual_restore(kfi_workspace *workspace, const int8_t *signs, float *x, size_t n)
{
    if (signs != NULL) {
        const kfi_hadamard *h = find_hadamard(workspace, workspace->hidden);
        const kfi_rotation rotation = kfi_hadamard_back(h, signs);
        kfi_hadamard_rows(workspace->pool, &rotation, x, n);
    }
}
