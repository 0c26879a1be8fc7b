/* merges.h - the merge rules of a BPE model: pair of ids → rank and merged id.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_MERGES_H
#define KFI_TEXT_MERGES_H

#include "text/vocabulary.h"

/* A rule; rank 0 is applied first. */
typedef struct kfi_merge {
    uint32_t left, right; /* left is KF_NO_TOKEN in a free slot */
    uint32_t rank;
    uint32_t id; /* what the two become */
} kfi_merge;

/* Open addressing over a power of two of slots, at most 2/3 full. Rules that were made to collide
 * are refused and a search ends at KFI_MERGES_MAX_PROBES, as in io/names.h; a million honest rules
 * need some 80. */
#define KFI_MERGES_MAX_PROBES 512u

typedef struct kfi_merges {
    const kf_allocator *alloc;
    kfi_merge *slots;
    size_t n_slots;
    size_t n; /* rules */
} kfi_merges;

/* An empty table with room for n rules. KF_NOMEM, KF_FORMAT beyond 2^30 rules. */
KF_NODISCARD kf_status kfi_merges_init(kfi_merges *merges, size_t n, const kf_allocator *alloc,
                                       kf_error *err);
void kfi_merges_deinit(kfi_merges *merges);

/* Adds a rule; a pair that is there already gets the later rank. No more than n of init. KF_FORMAT
 * where too many pairs have equal hashes. */
KF_NODISCARD kf_status kfi_merges_put(kfi_merges *merges, kfi_merge merge, kf_error *err);

/* The rule of a pair, or NULL. */
const kfi_merge *kfi_merges_find(const kfi_merges *merges, uint32_t left, uint32_t right);

/* Adds the rule of two pieces, given by their keys. KF_FORMAT where one of them or the merged piece
 * is not in the vocabulary. */
KF_NODISCARD kf_status kfi_merges_put_keys(kfi_merges *merges, const kfi_vocabulary *vocabulary,
                                           const char *left, size_t n_left, const char *right,
                                           size_t n_right, uint32_t rank, kf_error *err);

/* The rules of a SentencePiece model, which stores a score for each piece instead: every split of a
 * piece into two pieces is a rule; the piece's score orders them, highest first, then the ids of
 * piece, left and right part. scores has one value a token. */
KF_NODISCARD kf_status kfi_merges_from_scores(kfi_merges *merges, const kfi_vocabulary *vocabulary,
                                              const float *scores, const kf_allocator *alloc,
                                              kf_error *err);

/* The rules sorted by rank, merges->n of them; free with kfi_free(alloc, …, n * sizeof). NULL
 * without memory. */
kfi_merge *kfi_merges_sorted(const kfi_merges *merges, const kf_allocator *alloc);

#endif /* KFI_TEXT_MERGES_H */
