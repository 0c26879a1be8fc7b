/* attention.c - from the projections of a batch to its attention: rotating, storing, attending.
 *
 * Where the cache has codes, every head is also rotated by hadamard(): queries and keys, which
 * changes no score, and values, which is undone when they are summed.
 *
 * How the work is split does not show in the result. Of a batch, one piece is a kv head and some
 * queries. A lone token has too few heads for the threads and much to read: its keys are split
 * too, at the fixed chunks that one thread would merge in the same order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/attention_inline.h"
#include "model/common_key.h"
#include "model/forward.h"
#include "model/rope.h"
#include "model/workspace.h"

/* Pieces of a lone token for each thread, so that the last one to end is not long alone. */
#define PIECES_A_THREAD 3

_Static_assert(KFI_KV_BLOCK % KFI_KV_PANEL == 0, "tokens that share memory, in both parts");

typedef struct attending {
    kfi_workspace *workspace;
    float *dst, *q, *k, *v;
    kfi_kv *kv;
    size_t first, n;
    size_t first_block;              /* of the batch, that is put now */
    size_t n_chunks, chunks_a_piece; /* of a lone token */
    /* Where the cache keeps newest tokens: those that this batch sees, its own ones behind those
     * that were there. Token newest_first is the first; none where that is SIZE_MAX. */
    kfi_packed_kv newest;
    size_t newest_capacity, newest_first;
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

/* What keys in codes share, as RoPE turns it at the first of them. */
static void turn_offsets(const attending *a)
{
    kfi_workspace *w = a->workspace;
    const size_t half = w->head_dim / 2;
    float *turns = w->offset_turns;
    if (w->offset_position != a->kv->n_exact) {
        w->offset_position = a->kv->n_exact;
        kfi_rope_angles(turns, turns + half, w->rope_frequencies, half, w->offset_position);
    }
    memcpy(w->turned_offsets, a->kv->offsets,
           w->n_kv_heads * w->head_dim * sizeof *w->turned_offsets);
    w->kernels->rope(w->turned_offsets, w->n_kv_heads, w->head_dim, turns, turns + half);
}

/* Takes it off the keys of a token that becomes codes, in front of RoPE, and weighs it for the
 * queries, behind RoPE. */
static void take_offsets(const kfi_workspace *w, const attending *a, size_t t, float *k,
                         const float *q)
{
    const size_t dim = w->head_dim;
    const size_t group = w->n_heads / w->n_kv_heads;
    float *weights = w->offset_weights + t * w->n_heads * dim;
    for (size_t i = 0; i < w->n_kv_heads * dim; i++) {
        k[i] -= a->kv->offsets[i];
    }
    for (size_t h = 0; h < w->n_kv_heads; h++) {
        kfi_common_weigh(weights + h * group * dim, q + h * group * dim, group,
                         w->turned_offsets + h * dim, dim);
    }
}

/* A token's heads into their places for the cache: by its position, and to be cut to codes. */
static void rotate(const kfi_workspace *w, const attending *a, size_t t)
{
    const bool is_coded = a->first + t >= kfi_kv_n_float(a->kv, a->first + t + 1);
    const size_t half = w->head_dim / 2;
    const float *cosine = w->cosine + t * half;
    const float *sine = w->sine + t * half;
    float *q = a->q + t * w->n_heads * w->head_dim;
    float *k = a->k + t * w->n_kv_heads * w->head_dim;
    w->kernels->rope(q, w->n_heads, w->head_dim, cosine, sine);
    if (is_coded && a->kv->has_offsets) {
        take_offsets(w, a, t, k, q);
    }
    w->kernels->rope(k, w->n_kv_heads, w->head_dim, cosine, sine);
    if (kfi_kv_is_packed(a->kv)) {
        w->kernels->hadamard(q, w->n_heads, w->head_dim);
        w->kernels->hadamard(k, w->n_kv_heads, w->head_dim);
        w->kernels->hadamard(a->v + t * w->n_kv_heads * w->head_dim, w->n_kv_heads, w->head_dim);
    }
}

/* Where the batch begins, counted in the cache's blocks. */
static size_t block_start(const attending *a)
{
    return a->first + KFI_KV_BLOCK - kfi_kv_shift(a->kv);
}

/* Rotates and stores the tokens of one block of the cache, so that no two threads share one. */
static void rotate_and_store(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const attending *a = ctx;
    const kfi_workspace *w = a->workspace;
    const size_t start = block_start(a);
    const size_t block = (a->first_block + i_item) * KFI_KV_BLOCK;
    const size_t begin = block < start ? 0 : block - start;
    size_t end = block + KFI_KV_BLOCK - start;
    end = end < a->n ? end : a->n;
    for (size_t t = begin; t < end; t++) {
        const size_t kv_place = t * w->n_kv_heads * w->head_dim;
        rotate(w, a, t);
        kfi_kv_put(a->kv, a->first + t, a->k + kv_place, a->v + kv_place);
        if (a->first + t >= a->newest_first) {
            kfi_kv_put_newest(a->kv, &a->newest, a->newest_capacity, a->first + t - a->newest_first,
                              a->k + kv_place, a->v + kv_place);
        }
    }
}

/* Blocks begin … end-1, counted as block_start() does. */
static void put_blocks(attending *a, size_t begin, size_t end)
{
    a->first_block = begin;
    kfi_pool_run(a->workspace->pool, rotate_and_store, a, end - begin);
}

/* The keys in float32 first where there are some: those in codes want their offsets. */
static void put_all(attending *a)
{
    const size_t start = block_start(a);
    const size_t begin = start / KFI_KV_BLOCK;
    const size_t end = (start + a->n - 1) / KFI_KV_BLOCK + 1;
    const size_t n_float = kfi_kv_n_float(a->kv, a->first + a->n);
    const bool is_complete = a->kv->has_offsets && n_float == a->kv->n_exact;
    if (!is_complete || a->first >= n_float) {
        if (is_complete) {
            turn_offsets(a);
        }
        put_blocks(a, begin, end);
        return;
    }
    const size_t border = (start + n_float - a->first) / KFI_KV_BLOCK;
    put_blocks(a, begin, border);
    kfi_kv_put_offsets(a->kv, a->workspace->rope_frequencies);
    turn_offsets(a);
    put_blocks(a, border, end);
}

/* ---- newest tokens ---- */

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* A batch within one block works where the layer keeps it; a longer one in the work space, behind
 * the block in which it begins. */
static void begin_newest(attending *a)
{
    const kfi_workspace *w = a->workspace;
    kfi_kv *kv = a->kv;
    const size_t first = most(a->first, kv->n_exact);
    a->newest_first = SIZE_MAX;
    if (!kv->keeps_newest || first >= a->first + a->n) {
        return;
    }
    a->newest_first = kfi_kv_block_start(kv, first);
    a->newest = kv->newest;
    a->newest_capacity = kv->newest_capacity;
    if (first > a->newest_first) {
        kfi_kv_find_newest(kv, first);
    }
    if (a->first + a->n > a->newest_first + KFI_KV_NEWEST) {
        a->newest_capacity = w->newest_capacity;
        (void)kfi_kv_lay_out_packed(&a->newest, w->newest, w->n_kv_heads * a->newest_capacity);
        kfi_kv_copy_newest(&a->newest, a->newest_capacity, 0, &kv->newest, kv->newest_capacity, 0,
                           w->n_kv_heads);
    }
}

/* Leaves the last token's block to the next pass. */
static void end_newest(const attending *a)
{
    kfi_kv *kv = a->kv;
    const size_t end = a->first + a->n;
    kv->n_put = end;
    if (a->newest_first != SIZE_MAX && a->newest.keys.codes != kv->newest.keys.codes) {
        kfi_kv_copy_newest(&kv->newest, kv->newest_capacity, 0, &a->newest, a->newest_capacity,
                           kfi_kv_block_start(kv, end - 1) - a->newest_first, kv->n_kv_heads);
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

/* What keys in codes share, for those from token `first_key` of them on: a multiple of the panel.
 * Where this is in a chunk, fewer tokens than are left of it are meant. */
static kfi_common_key common_of(const attending *a, size_t i_head, size_t begin, size_t first_key)
{
    const kfi_workspace *w = a->workspace;
    const size_t head = begin * w->n_heads + i_head * (w->n_heads / w->n_kv_heads);
    const size_t in_chunk = first_key % KFI_ATTENTION_CHUNK;
    if (!a->kv->has_offsets) {
        return (kfi_common_key){0};
    }
    return (kfi_common_key){.weights = w->offset_weights + head * w->head_dim,
                            .chunk_turns =
                                a->kv->chunk_turns + first_key / KFI_ATTENTION_CHUNK * w->head_dim,
                            .token_turns = a->kv->token_turns + in_chunk * w->head_dim};
}

/* The same of the keys and values in codes, from their token `first_key` on: those of `packed` that
 * all these queries read. */
static kfi_attention_args packed_args(const attending *a, size_t i_head, size_t begin,
                                      size_t n_tokens, size_t first_key, size_t i_thread)
{
    const kfi_kv *kv = a->kv;
    const size_t n_front = kv->n_exact + first_key;
    kfi_attention_args args = head_args(a, i_head, begin, n_tokens, 0, i_thread);
    args.first -= n_front;
    args.n_keys = kfi_kv_n_packed(kv, a->first + begin + n_tokens - 1) - first_key;
    args.kv = kfi_packed_kv_from(&kv->packed, i_head * kv->packed_capacity + first_key);
    args.common = common_of(a, i_head, begin, first_key);
    return args;
}

/* The same of the newest keys and values: those of the block of all these queries. */
static kfi_attention_args newest_args(const attending *a, size_t i_head, size_t begin,
                                      size_t n_tokens, size_t i_thread)
{
    kfi_attention_args args = head_args(a, i_head, begin, n_tokens, 0, i_thread);
    const size_t start = kfi_kv_block_start(a->kv, a->first + begin);
    args.first -= start;
    args.n_keys = args.first + n_tokens;
    args.kv = kfi_packed_kv_from(&a->newest, i_head * a->newest_capacity + start - a->newest_first);
    args.common = common_of(a, i_head, begin, start - a->kv->n_exact);
    return args;
}

/* Queries behind the exact tokens, of one block where newest tokens are kept: the exact ones first,
 * then those in codes. */
static void attend_packed(const attending *a, size_t i_head, size_t begin, size_t n_tokens,
                          size_t i_thread)
{
    const kfi_kernels *kernels = a->workspace->kernels;
    kfi_attention_state *states = kfi_workspace_states(a->workspace, i_thread);
    kfi_attention_args packed = packed_args(a, i_head, begin, n_tokens, 0, i_thread);
    kfi_attention_args exact = head_args(a, i_head, begin, n_tokens, 0, i_thread);
    exact.n_keys = a->kv->n_exact;
    exact.state = packed.state = states;
    packed.continues = true;
    kernels->attention(&exact);
    if (packed.n_keys > 0) {
        kernels->attention_packed(&packed);
    }
    if (a->kv->keeps_newest) {
        kfi_attention_args newest = newest_args(a, i_head, begin, n_tokens, i_thread);
        newest.state = states;
        newest.continues = true;
        kernels->attention_packed(&newest);
    }
    for (size_t i = 0; i < n_tokens * packed.n_heads; i++) {
        float *dst = kfi_attention_result(&packed, i);
        const kfi_attention_merge_args end = {
            .dst = dst, .results = dst, .states = &states[i], .n = 1, .head_dim = packed.head_dim};
        kernels->attention_merge(&end);
    }
}

/* Queries begin … end-1, block by block where newest tokens are kept. */
static void attend_blocks(const attending *a, size_t i_head, size_t begin, size_t end,
                          size_t i_thread)
{
    while (begin < end) {
        size_t n = end - begin;
        if (a->kv->keeps_newest) {
            const size_t start = kfi_kv_block_start(a->kv, a->first + begin);
            n = kfi_least(n, start + KFI_KV_NEWEST - a->first - begin);
        }
        attend_packed(a, i_head, begin, n, i_thread);
        begin += n;
    }
}

/* Queries of a cache with codes. Those within the exact tokens see nothing else. */
static void attend_rotated(const attending *a, size_t i_head, size_t begin, size_t n_tokens,
                           size_t i_thread)
{
    const kfi_workspace *w = a->workspace;
    const size_t first = a->first + begin;
    const size_t n_float = kfi_kv_n_float(a->kv, first + n_tokens);
    const size_t n_front = n_float > first ? n_float - first : 0;
    const kfi_attention_args all = head_args(a, i_head, begin, n_tokens, 0, i_thread);
    if (n_front > 0) {
        const kfi_attention_args front = head_args(a, i_head, begin, n_front, 0, i_thread);
        w->kernels->attention(&front);
    }
    attend_blocks(a, i_head, begin + n_front, begin + n_tokens, i_thread);
    for (size_t t = 0; t < n_tokens; t++) {
        w->kernels->hadamard(all.dst + t * all.ld_dst, all.n_heads, all.head_dim);
    }
}

/* One kv head and up to KFI_QUERY_TOKENS queries; the last ones first, since they see the most
 * keys. */
static void attend_queries(void *ctx, size_t i_item, size_t i_thread)
{
    const attending *a = ctx;
    const size_t n_kv_heads = a->kv->n_kv_heads;
    const size_t i_head = i_item % n_kv_heads;
    const size_t n_tiles = (a->n + KFI_QUERY_TOKENS - 1) / KFI_QUERY_TOKENS;
    const size_t begin = (n_tiles - 1 - i_item / n_kv_heads) * KFI_QUERY_TOKENS;
    const size_t n_tokens = a->n - begin < KFI_QUERY_TOKENS ? a->n - begin : KFI_QUERY_TOKENS;
    if (kfi_kv_is_packed(a->kv)) {
        attend_rotated(a, i_head, begin, n_tokens, i_thread);
    } else {
        const kfi_attention_args args = head_args(a, i_head, begin, n_tokens, 0, i_thread);
        a->workspace->kernels->attention(&args);
    }
}

/* ---- a lone token ---- */

static size_t count_chunks(size_t n_keys)
{
    return (n_keys + KFI_ATTENTION_CHUNK - 1) / KFI_ATTENTION_CHUNK;
}

/* Chunk i of a lone token's keys: those in float32, in codes, and the newest. */
static void attend_chunk(const attending *a, size_t i_head, size_t i, size_t i_thread)
{
    const kfi_workspace *w = a->workspace;
    const size_t n_float = kfi_kv_n_float(a->kv, a->first + 1);
    const size_t n_float_chunks = count_chunks(n_float);
    const size_t row = i * w->n_heads + i_head * (w->n_heads / w->n_kv_heads);
    float *dst = a->kv->chunk_results + row * w->head_dim;
    kfi_attention_state *state = a->kv->chunk_states + row;
    if (i < n_float_chunks) {
        const size_t begin = i * KFI_ATTENTION_CHUNK;
        kfi_attention_args args = head_args(a, i_head, 0, 1, begin, i_thread);
        args.dst = dst;
        args.state = state;
        args.n_keys = kfi_least(n_float - begin, KFI_ATTENTION_CHUNK);
        w->kernels->attention(&args);
    } else {
        const bool is_newest = a->kv->keeps_newest && i + 1 == a->n_chunks;
        const size_t begin = (i - n_float_chunks) * KFI_ATTENTION_CHUNK;
        kfi_attention_args args = is_newest ? newest_args(a, i_head, 0, 1, i_thread)
                                            : packed_args(a, i_head, 0, 1, begin, i_thread);
        args.dst = dst;
        args.state = state;
        args.n_keys = kfi_least(args.n_keys, KFI_ATTENTION_CHUNK);
        w->kernels->attention_packed(&args);
    }
}

/* A lone token, one kv head and some chunks of its keys. */
static void attend_chunks(void *ctx, size_t i_item, size_t i_thread)
{
    const attending *a = ctx;
    const size_t begin = i_item / a->kv->n_kv_heads * a->chunks_a_piece;
    const size_t end = kfi_least(begin + a->chunks_a_piece, a->n_chunks);
    for (size_t i = begin; i < end; i++) {
        attend_chunk(a, i_item % a->kv->n_kv_heads, i, i_thread);
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
        const kfi_attention_merge_args merge = {
            .dst = a->dst + h * w->head_dim,
            .results = a->kv->chunk_results + h * w->head_dim,
            .ld = w->n_heads * w->head_dim,
            .states = a->kv->chunk_states + h,
            .n_states = w->n_heads,
            .n = a->n_chunks,
            .head_dim = w->head_dim,
        };
        w->kernels->attention_merge(&merge);
    }
    if (kfi_kv_is_packed(a->kv)) {
        w->kernels->hadamard(a->dst, w->n_heads, w->head_dim);
    }
}

/* ---- the whole ---- */

/* How many pieces the keys of a lone token have. */
static size_t count_all_chunks(const attending *a)
{
    const size_t n_float = kfi_kv_n_float(a->kv, a->first + 1);
    if (n_float > a->first) {
        return count_chunks(n_float);
    }
    return count_chunks(n_float) + count_chunks(kfi_kv_n_packed(a->kv, a->first)) +
           a->kv->keeps_newest;
}

void kfi_attention_forward(kfi_workspace *workspace, float *dst, float *q, float *k, float *v,
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
    begin_newest(&a);
    put_all(&a);
    a.n_chunks = count_all_chunks(&a);
    if (n == 1 && a.n_chunks > 1 && kv->chunk_results != NULL) {
        attend_lone_token(&a);
    } else {
        const size_t n_tiles = (n + KFI_QUERY_TOKENS - 1) / KFI_QUERY_TOKENS;
        kfi_pool_run(workspace->pool, attend_queries, &a, n_tiles * kv->n_kv_heads);
    }
    end_newest(&a);
}
