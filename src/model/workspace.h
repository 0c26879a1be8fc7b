/* workspace.h - the inside of a workspace, for this room.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_WORKSPACE_H
#define KFI_MODEL_WORKSPACE_H

#include "base/threads.h"
#include "model/online.h"
#include "model/side.h"

struct kfi_workspace {
    const kf_allocator *alloc;
    kf_pool *pool;
    const kfi_kernels *kernels;
    size_t batch;
    size_t hidden, feed_forward, n_heads, n_kv_heads, head_dim;
    float rms_epsilon;
    kfi_buffers buffers;

    /* The quantized input of linear layers. */
    int8_t *codes;
    float *scales;
    int32_t *sums;
    float *panels;  /* the same by kfi_token_panels, where has_panels */
    float *rounded; /* [batch][widest input], where the format has no codes or the weights none */

    /* One piece of scratch a thread, `scratch_bytes` apart. */
    unsigned char *scratch;
    size_t scratch_bytes;

    /* States of a piece of attention, [thread][KFI_QUERY_TOKENS * n_heads / n_kv_heads]. */
    kfi_attention_state *states;

    /* The newest tokens of a batch in 8 bits, [kv head][newest_capacity], see forward.h. */
    void *newest;
    size_t newest_capacity;

    /* Rotary tables of the positions rope_first … rope_first + rope_n - 1, [position][head_dim /
     * 2]; the same for every block of a pass. */
    double *rope_frequencies;
    float *cosine, *sine;
    size_t rope_first, rope_n;

    /* Of a cache with codes: its layer's offsets, as RoPE turns them at offset_position, what it
     * turns them by, [cosine, sine][head_dim / 2], and their weights, [batch][n_heads * head_dim].
     */
    float *turned_offsets, *offset_turns, *offset_weights;
    size_t offset_position;

    float *head_piece; /* [KFI_HEAD_ROWS][hidden]: decoded rows of a head that is not in memory */

    void *memory; /* all of the above in one block, but for what inputs become */
    size_t memory_bytes;

    size_t input_width; /* of the widest input, behind its map */
    bool has_panels;    /* of tokens, for layers with single weights */
    void *input_memory; /* scratch, what inputs become, and online.mapped */
    size_t input_bytes;

    kfi_online_space online;

    kfi_side_space side;
};

/* side.c */
void kfi_workspace_free_side(kfi_workspace *workspace);
/* online.c */
void kfi_workspace_free_online(kfi_workspace *workspace);
/* Room for inputs of this width behind their map. KF_NOMEM: what there was stays. */
KF_NODISCARD kf_status kfi_workspace_reserve_mapped(kfi_workspace *workspace, size_t width,
                                                    kf_error *err);

/* Queries that one piece of attention takes: enough to read each key once for many. */
#define KFI_QUERY_TOKENS 32u

/* Rows of the head that are decoded together where it is not in memory. */
#define KFI_HEAD_ROWS 4096u

static inline void *kfi_workspace_scratch(const kfi_workspace *workspace, size_t i_thread)
{
    return workspace->scratch + i_thread * workspace->scratch_bytes;
}

static inline kfi_attention_state *kfi_workspace_states(const kfi_workspace *workspace,
                                                        size_t i_thread)
{
    return workspace->states +
           i_thread * KFI_QUERY_TOKENS * (workspace->n_heads / workspace->n_kv_heads);
}

#endif /* KFI_MODEL_WORKSPACE_H */
