/* workspace.c - all the memory that a pass over a batch needs, in one block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/workspace.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "model/rope.h"

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* A layout pass: first with memory NULL to count, then to hand out the pieces. */
typedef struct cutter {
    unsigned char *memory;
    size_t used;
    bool overflow;
} cutter;

static void *cut(cutter *c, size_t n, size_t size)
{
    size_t bytes = 0;
    if (!kfi_mul_size(n, size, &bytes) || bytes > SIZE_MAX / 2 - KFI_ALIGN ||
        c->used > SIZE_MAX / 2 - kfi_round_up(bytes, KFI_ALIGN)) {
        c->overflow = true;
        return NULL;
    }
    void *piece = c->memory == NULL ? NULL : c->memory + c->used;
    c->used += kfi_round_up(bytes, KFI_ALIGN);
    return piece;
}

static float *cut_floats(cutter *c, size_t rows, size_t cols)
{
    return cut(c, rows, cols * sizeof(float));
}

/* What inputs of linear layers become, by the widest one. */
static void lay_out_inputs(kfi_workspace *w, cutter *c, bool has_maps)
{
    const size_t padded = kfi_round_up(w->input_width, KFI_CHUNK_COLS);
    const size_t n_chunks = padded / KFI_CHUNK_COLS;
    w->codes = cut(c, w->batch, padded);
    w->scales = cut_floats(c, w->batch, n_chunks);
    w->sums = cut(c, w->batch, n_chunks * sizeof(int32_t));
    w->rounded = cut_floats(c, w->batch, w->input_width);
    w->panels = w->has_panels
                    ? cut_floats(c, kfi_round_up(w->batch, KFI_TOKEN_PANEL), w->input_width)
                    : NULL;
    w->scratch_bytes = kfi_round_up(most(kfi_matmul_scratch_bytes(w->input_width),
                                         most(kfi_attention_scratch_bytes(w->head_dim),
                                              kfi_attention_packed_scratch_bytes(w->head_dim))),
                                    KFI_ALIGN);
    w->scratch = cut(c, kf_pool_threads(w->pool), w->scratch_bytes);
    w->online.mapped = has_maps ? cut_floats(c, w->batch, w->input_width) : NULL;
}

static void lay_out(kfi_workspace *w, cutter *c)
{
    const size_t q_width = w->n_heads * w->head_dim;
    const size_t kv_width = w->n_kv_heads * w->head_dim;
    w->buffers = (kfi_buffers){
        .normed = cut_floats(c, w->batch, w->hidden),
        .q = cut_floats(c, w->batch, q_width),
        .k = cut_floats(c, w->batch, kv_width),
        .v = cut_floats(c, w->batch, kv_width),
        .attention = cut_floats(c, w->batch, q_width),
        .gate = cut_floats(c, w->batch, w->feed_forward),
        .up = cut_floats(c, w->batch, w->feed_forward),
        .hidden = cut_floats(c, w->batch, w->hidden),
    };
    const size_t n_threads = kf_pool_threads(w->pool);
    w->states =
        cut(c, n_threads * KFI_QUERY_TOKENS * (w->n_heads / w->n_kv_heads), sizeof *w->states);
    /* The batch, what its first token's block has in front of it, and the end of its last block. */
    w->newest_capacity = kfi_round_up(w->batch, KFI_KV_NEWEST) + KFI_KV_NEWEST;
    w->newest = cut(c, w->n_kv_heads * w->newest_capacity,
                    2 * (kfi_packed_kv_cols(w->head_dim) + sizeof(uint16_t)));
    w->rope_frequencies = cut(c, w->head_dim / 2, sizeof(double));
    w->cosine = cut_floats(c, w->batch, w->head_dim / 2);
    w->sine = cut_floats(c, w->batch, w->head_dim / 2);
    w->turned_offsets = cut_floats(c, 1, kv_width);
    w->offset_turns = cut_floats(c, 1, w->head_dim);
    w->offset_weights = cut_floats(c, w->batch, q_width);
    w->head_piece = cut_floats(c, KFI_HEAD_ROWS, w->hidden);
}

/* The pieces for inputs of this width, with panels of tokens or without, in place of those there
 * are. */
static kf_status allocate_inputs(kfi_workspace *w, size_t width, bool has_maps, bool has_panels,
                                 kf_error *err)
{
    kfi_workspace wider = *w;
    cutter count = {NULL, 0, false};
    wider.input_width = width;
    wider.has_panels = has_panels;
    lay_out_inputs(&wider, &count, has_maps);
    wider.input_bytes = count.used;
    wider.input_memory = count.overflow ? NULL : kfi_alloc(w->alloc, count.used);
    if (wider.input_memory == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET,
                        "no memory for inputs of %zu tokens, %zu wide, %zu bytes", w->batch, width,
                        count.used);
    }
    cutter hand_out = {wider.input_memory, 0, false};
    lay_out_inputs(&wider, &hand_out, has_maps);
    kfi_free(w->alloc, w->input_memory, w->input_bytes);
    *w = wider;
    return KF_OK;
}

kf_status kfi_workspace_reserve_mapped(kfi_workspace *workspace, size_t width, kf_error *err)
{
    if (workspace->online.mapped != NULL && width <= workspace->input_width) {
        return KF_OK;
    }
    return allocate_inputs(workspace, most(width, workspace->input_width), true,
                           workspace->has_panels, err);
}

kf_status kfi_workspace_reserve_panels(kfi_workspace *workspace, kf_error *err)
{
    return workspace->has_panels ? KF_OK
                                 : allocate_inputs(workspace, workspace->input_width,
                                                   workspace->online.mapped != NULL, true, err);
}

kf_status kfi_workspace_new(kfi_workspace **workspace, const kfi_config *config, kf_pool *pool,
                            size_t batch, const kf_allocator *alloc, kf_error *err)
{
    kfi_workspace *w = kfi_calloc(alloc, 1, sizeof *w);
    if (w == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a work space");
    }
    w->alloc = alloc;
    w->pool = pool;
    w->kernels = kfi_kernels_get();
    w->batch = batch;
    w->hidden = config->hidden;
    w->feed_forward = config->feed_forward;
    w->n_heads = config->n_heads;
    w->n_kv_heads = config->n_kv_heads;
    w->head_dim = config->head_dim;
    w->rms_epsilon = config->rms_epsilon;
    cutter count = {NULL, 0, false};
    lay_out(w, &count);
    if (!count.overflow) {
        w->memory = kfi_alloc(alloc, count.used);
        w->memory_bytes = count.used;
    }
    if (w->memory == NULL) {
        kfi_workspace_free(w);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET,
                        "no memory for the work space of %zu tokens, %zu bytes", batch, count.used);
    }
    cutter hand_out = {w->memory, 0, false};
    lay_out(w, &hand_out);
    const size_t widest = most(most(w->hidden, w->feed_forward), w->n_heads * w->head_dim);
    const kf_status st = allocate_inputs(w, widest, false, false, err);
    if (st != KF_OK) {
        kfi_workspace_free(w);
        return st;
    }
    for (size_t i = 0; i < w->head_dim / 2; i++) {
        w->rope_frequencies[i] = kfi_rope_frequency(config, i);
    }
    w->offset_position = SIZE_MAX; /* none yet */
    *workspace = w;
    return KF_OK;
}

void kfi_workspace_free(kfi_workspace *workspace)
{
    if (workspace == NULL) {
        return;
    }
    kfi_workspace_free_side(workspace);
    kfi_workspace_free_online(workspace);
    kfi_free(workspace->alloc, workspace->input_memory, workspace->input_bytes);
    kfi_free(workspace->alloc, workspace->memory, workspace->memory_bytes);
    kfi_free(workspace->alloc, workspace, sizeof *workspace);
}

kfi_buffers *kfi_workspace_buffers(kfi_workspace *workspace)
{
    return &workspace->buffers;
}
