/* merges.c - the merge rules of a BPE model: pair of ids → rank and merged id.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/merges.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "text/hash.h"
#include "text/unicode.h"

#define MAX_MERGES ((size_t)1 << 30)
/* Splitting a piece costs O(n^2); SentencePiece's own limit is 16 characters. */
#define MAX_SCORED_PIECE 512u
#define MAX_KEY          1024u

kf_status kfi_merges_init(kfi_merges *merges, size_t n, const kf_allocator *alloc, kf_error *err)
{
    *merges = (kfi_merges){.alloc = alloc};
    if (n > MAX_MERGES) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%zu merges, expected at most %zu", n,
                        MAX_MERGES);
    }
    size_t n_slots = 16;
    while (n_slots < n + n / 2 + 1) {
        n_slots *= 2;
    }
    merges->slots = kfi_alloc(alloc, n_slots * sizeof *merges->slots);
    if (merges->slots == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "table of %zu merges", n);
    }
    memset(merges->slots, 0xFF, n_slots * sizeof *merges->slots); /* KF_NO_TOKEN */
    merges->n_slots = n_slots;
    return KF_OK;
}

void kfi_merges_deinit(kfi_merges *merges)
{
    kfi_free(merges->alloc, merges->slots, merges->n_slots * sizeof *merges->slots);
    *merges = (kfi_merges){.alloc = merges->alloc};
}

/* The slot of a pair, or the free one where it belongs; NULL where neither is near. */
static kfi_merge *slot_of(const kfi_merges *merges, uint32_t left, uint32_t right)
{
    const size_t mask = merges->n_slots - 1;
    size_t i = (size_t)kfi_hash_u64((uint64_t)left << 32 | right) & mask;
    for (size_t n_probes = 0; n_probes < KFI_MERGES_MAX_PROBES; n_probes++) {
        kfi_merge *slot = &merges->slots[i];
        if (slot->left == KF_NO_TOKEN || (slot->left == left && slot->right == right)) {
            return slot;
        }
        i = (i + 1) & mask;
    }
    return NULL;
}

kf_status kfi_merges_put(kfi_merges *merges, kfi_merge merge, kf_error *err)
{
    kfi_merge *slot = slot_of(merges, merge.left, merge.right);
    if (slot == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "merge %u: too many merges with equal hashes",
                        merge.rank);
    }
    merges->n += slot->left == KF_NO_TOKEN;
    *slot = merge;
    return KF_OK;
}

const kfi_merge *kfi_merges_find(const kfi_merges *merges, uint32_t left, uint32_t right)
{
    const kfi_merge *slot = slot_of(merges, left, right);
    return slot == NULL || slot->left == KF_NO_TOKEN ? NULL : slot;
}

kf_status kfi_merges_put_keys(kfi_merges *merges, const kfi_vocabulary *vocabulary,
                              const char *left, size_t n_left, const char *right, size_t n_right,
                              uint32_t rank, kf_error *err)
{
    char joined[MAX_KEY];
    if (n_left > sizeof joined || n_right > sizeof joined - n_left) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "merge %u makes a piece beyond %zu bytes",
                        rank, sizeof joined);
    }
    memcpy(joined, left, n_left);
    memcpy(joined + n_left, right, n_right);
    const kfi_merge merge = {.left = kfi_vocabulary_find(vocabulary, left, n_left),
                             .right = kfi_vocabulary_find(vocabulary, right, n_right),
                             .rank = rank,
                             .id = kfi_vocabulary_find(vocabulary, joined, n_left + n_right)};
    if (merge.left == KF_NO_TOKEN || merge.right == KF_NO_TOKEN || merge.id == KF_NO_TOKEN) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "merge %u joins '%.*s' and '%.*s', but '%.*s' is not in the vocabulary",
                        rank, (int)n_left, left, (int)n_right, right,
                        (int)(merge.left == KF_NO_TOKEN    ? n_left
                              : merge.right == KF_NO_TOKEN ? n_right
                                                           : n_left + n_right),
                        merge.left == KF_NO_TOKEN    ? left
                        : merge.right == KF_NO_TOKEN ? right
                                                     : joined);
    }
    return kfi_merges_put(merges, merge, err);
}

/* One split of a piece, with what orders it. */
typedef struct scored_merge {
    float score;
    kfi_merge merge;
} scored_merge;

static int compare_scored(const void *a, const void *b)
{
    const scored_merge *x = a;
    const scored_merge *y = b;
    if (x->score > y->score || x->score < y->score) {
        return x->score > y->score ? -1 : 1;
    }
    if (x->merge.id != y->merge.id) {
        return x->merge.id < y->merge.id ? -1 : 1;
    }
    if (x->merge.left != y->merge.left) {
        return x->merge.left < y->merge.left ? -1 : 1;
    }
    return x->merge.right < y->merge.right ? -1 : x->merge.right > y->merge.right;
}

/* Counts the splits of one piece and, where dst is given, writes them. */
static size_t split_piece(scored_merge *dst, const kfi_vocabulary *vocabulary, uint32_t id,
                          float score)
{
    const kfi_token *token = &vocabulary->tokens[id];
    size_t n = 0;
    if (token->kind != KFI_TOKEN_NORMAL || token->n_key > MAX_SCORED_PIECE ||
        kfi_vocabulary_find(vocabulary, token->key, token->n_key) != id) {
        return 0; /* the last one: another piece of the same text takes its place */
    }
    for (size_t i = 1; i < token->n_key; i++) {
        if (((unsigned char)token->key[i] & 0xC0u) == 0x80u) {
            continue; /* inside a character */
        }
        const uint32_t left = kfi_vocabulary_find(vocabulary, token->key, i);
        const uint32_t right = kfi_vocabulary_find(vocabulary, token->key + i, token->n_key - i);
        if (left == KF_NO_TOKEN || right == KF_NO_TOKEN ||
            vocabulary->tokens[left].kind != KFI_TOKEN_NORMAL ||
            vocabulary->tokens[right].kind != KFI_TOKEN_NORMAL) {
            continue;
        }
        if (dst != NULL) {
            dst[n] = (scored_merge){score, {left, right, 0, id}};
        }
        n++;
    }
    return n;
}

kf_status kfi_merges_from_scores(kfi_merges *merges, const kfi_vocabulary *vocabulary,
                                 const float *scores, const kf_allocator *alloc, kf_error *err)
{
    kf_status st = KF_OK;
    size_t n = 0;
    for (size_t id = 0; id < vocabulary->n; id++) {
        n += split_piece(NULL, vocabulary, (uint32_t)id, scores[id]);
    }
    scored_merge *sorted = kfi_calloc(alloc, n, sizeof *sorted);
    if (sorted == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu merges", n);
    }
    size_t filled = 0;
    for (size_t id = 0; id < vocabulary->n; id++) {
        filled += split_piece(sorted + filled, vocabulary, (uint32_t)id, scores[id]);
    }
    qsort(sorted, n, sizeof *sorted, compare_scored);
    st = kfi_merges_init(merges, n, alloc, err);
    for (size_t i = 0; st == KF_OK && i < n; i++) {
        sorted[i].merge.rank = (uint32_t)i;
        st = kfi_merges_put(merges, sorted[i].merge, err);
    }
    kfi_free(alloc, sorted, n * sizeof *sorted);
    return st;
}

static int compare_ranks(const void *a, const void *b)
{
    const kfi_merge *x = a;
    const kfi_merge *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

kfi_merge *kfi_merges_sorted(const kfi_merges *merges, const kf_allocator *alloc)
{
    kfi_merge *sorted = kfi_calloc(alloc, merges->n, sizeof *sorted);
    if (sorted == NULL) {
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < merges->n_slots; i++) {
        if (merges->slots[i].left != KF_NO_TOKEN) {
            sorted[n++] = merges->slots[i];
        }
    }
    qsort(sorted, n, sizeof *sorted, compare_ranks);
    return sorted;
}
