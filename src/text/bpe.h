/* bpe.h - byte-pair encoding of one word.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_BPE_H
#define KFI_TEXT_BPE_H

#include "text/merges.h"
#include "text/vocabulary.h"

/* What a word starts as and how far it goes. */
typedef struct kfi_bpe {
    kfi_merges merges;
    bool byte_level;        /* symbols are bytes; else characters */
    bool byte_fallback;     /* a character without a piece becomes its bytes' tokens */
    bool fuse_unknown;      /* neighbouring unknown characters become one unknown token */
    bool whole_words_first; /* a word that is a piece is not split ("ignore_merges") */
    uint32_t unknown;       /* for what nothing else fits; KF_NO_TOKEN drops it */
} kfi_bpe;

/* Where ids go: counted always, written while there is room. */
typedef struct kfi_ids {
    uint32_t *data;
    size_t room;
    size_t n;
} kfi_ids;

static inline void kfi_ids_push(kfi_ids *ids, uint32_t id)
{
    if (ids->n < ids->room) {
        ids->data[ids->n] = id;
    }
    ids->n++;
}

typedef struct kfi_bpe_symbol kfi_bpe_symbol;
typedef struct kfi_bpe_candidate kfi_bpe_candidate;
typedef struct kfi_bpe_cached kfi_bpe_cached;

/* Working memory of one encoding, so that the model itself stays read-only: symbols and candidates
 * for the longest word so far, and a cache of short words. */
typedef struct kfi_bpe_scratch {
    const kf_allocator *alloc;
    kfi_bpe_symbol *symbols;
    kfi_bpe_candidate *heap;
    size_t capacity; /* symbols; candidates are twice as many */
    size_t n_symbols, n_heap;
    kfi_bpe_cached *cache; /* direct-mapped; NULL without memory for it or use */
    size_t n_cache;        /* a power of two, or 0 */
} kfi_bpe_scratch;

/* Prepares for a text of about n_text bytes. */
void kfi_bpe_scratch_init(kfi_bpe_scratch *scratch, size_t n_text, const kf_allocator *alloc);
void kfi_bpe_scratch_deinit(kfi_bpe_scratch *scratch);

/* Appends the ids of one word of n bytes. KF_NOMEM; KF_RANGE from 1 GiB on. Cost: O(n log n). */
KF_NODISCARD kf_status kfi_bpe_encode(kfi_ids *ids, const kfi_bpe *bpe,
                                      const kfi_vocabulary *vocabulary, kfi_bpe_scratch *scratch,
                                      const char *word, size_t n, kf_error *err);

#endif /* KFI_TEXT_BPE_H */
