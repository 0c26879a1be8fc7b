/* bpe.c - byte-pair encoding of one word.
 *
 * The word is a doubly linked list of symbols; every pair that has a rule lies in a heap ordered by
 * (rank, position). The best candidate is taken again and again, until none is left:
 *
 *      h ⇄ e ⇄ l ⇄ l ⇄ o          heap: (l,l) 12   (e,l) 40   (l,o) 77 …
 *      h ⇄ e ⇄ ll ⇄ · ⇄ o         the symbol merged away stays as a hole; candidates that touch
 *                                  it, or whose pair has changed, are dropped when they come up
 *
 * Each merge adds at most two candidates, so that a word of n symbols costs O(n log n) however
 * hostile it is.
 *
 * Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units",
 * 2016, arXiv:1508.07909, section 3.2. Order of ties and staleness as in Hugging Face `tokenizers`:
 * a candidate counts as current as long as its pair still makes the same piece.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/bpe.h"

#include <string.h>

#include "base/fail.h"
#include "text/hash.h"
#include "text/unicode.h"

#define MAX_WORD ((size_t)1 << 30)
#define NOWHERE  UINT32_MAX

struct kfi_bpe_symbol {
    uint32_t id; /* KF_NO_TOKEN: a hole */
    uint32_t prev, next;
};

struct kfi_bpe_candidate {
    uint64_t order; /* rank << 32 | position of the left symbol: the smallest goes first */
    uint32_t id;    /* what the pair makes */
};

/* A short word and its ids, one cache line. n is 0 in an empty slot. */
#define CACHED_BYTES 30
#define CACHED_IDS   8
struct kfi_bpe_cached {
    uint8_t n, n_ids;
    char word[CACHED_BYTES];
    uint32_t ids[CACHED_IDS];
};

#define MAX_CACHE ((size_t)1 << 14)

void kfi_bpe_scratch_init(kfi_bpe_scratch *scratch, size_t n_text, const kf_allocator *alloc)
{
    *scratch = (kfi_bpe_scratch){.alloc = alloc};
    /* A slot for every eight bytes: a short prompt should not pay for clearing a megabyte. */
    size_t n_cache = 16;
    while (n_cache < MAX_CACHE && n_cache < n_text / 8) {
        n_cache *= 2;
    }
    scratch->cache = kfi_calloc(alloc, n_cache, sizeof *scratch->cache);
    scratch->n_cache = scratch->cache == NULL ? 0 : n_cache;
}

void kfi_bpe_scratch_deinit(kfi_bpe_scratch *scratch)
{
    const kf_allocator *alloc = scratch->alloc;
    kfi_free(alloc, scratch->symbols, scratch->capacity * sizeof *scratch->symbols);
    kfi_free(alloc, scratch->heap, 2 * scratch->capacity * sizeof *scratch->heap);
    kfi_free(alloc, scratch->cache, scratch->n_cache * sizeof *scratch->cache);
    *scratch = (kfi_bpe_scratch){.alloc = alloc};
}

static kf_status reserve(kfi_bpe_scratch *scratch, size_t n, kf_error *err)
{
    if (n >= MAX_WORD) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "word of %zu bytes, expected less than %zu", n,
                        MAX_WORD);
    }
    if (n <= scratch->capacity) {
        return KF_OK;
    }
    size_t capacity = 256;
    while (capacity < n) {
        capacity *= 2;
    }
    kfi_bpe_symbol *symbols = kfi_alloc(scratch->alloc, capacity * sizeof *symbols);
    kfi_bpe_candidate *heap = kfi_alloc(scratch->alloc, 2 * capacity * sizeof *heap);
    if (symbols == NULL || heap == NULL) {
        kfi_free(scratch->alloc, symbols, capacity * sizeof *symbols);
        kfi_free(scratch->alloc, heap, 2 * capacity * sizeof *heap);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "work on a word of %zu bytes", n);
    }
    kfi_free(scratch->alloc, scratch->symbols, scratch->capacity * sizeof *symbols);
    kfi_free(scratch->alloc, scratch->heap, 2 * scratch->capacity * sizeof *heap);
    scratch->symbols = symbols;
    scratch->heap = heap;
    scratch->capacity = capacity;
    return KF_OK;
}

static void push_candidate(kfi_bpe_scratch *scratch, kfi_bpe_candidate candidate)
{
    size_t i = scratch->n_heap++;
    while (i > 0 && scratch->heap[(i - 1) / 2].order > candidate.order) {
        scratch->heap[i] = scratch->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    scratch->heap[i] = candidate;
}

static kfi_bpe_candidate pop_candidate(kfi_bpe_scratch *scratch)
{
    const kfi_bpe_candidate best = scratch->heap[0];
    const kfi_bpe_candidate last = scratch->heap[--scratch->n_heap];
    const size_t n = scratch->n_heap;
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < n && scratch->heap[child + 1].order < scratch->heap[child].order) {
            child++;
        }
        if (child >= n || scratch->heap[child].order >= last.order) {
            break;
        }
        scratch->heap[i] = scratch->heap[child];
        i = child;
    }
    scratch->heap[i] = last;
    return best;
}

static void push_symbol(kfi_bpe_scratch *scratch, uint32_t id)
{
    const uint32_t i = (uint32_t)scratch->n_symbols++;
    scratch->symbols[i] = (kfi_bpe_symbol){id, i == 0 ? NOWHERE : i - 1, i + 1};
}

static void push_bytes(kfi_bpe_scratch *scratch, const kfi_bpe *bpe,
                       const kfi_vocabulary *vocabulary, const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = vocabulary->byte_ids[(unsigned char)word[i]];
        const uint32_t symbol = id == KF_NO_TOKEN ? bpe->unknown : id;
        if (symbol != KF_NO_TOKEN) {
            push_symbol(scratch, symbol);
        }
    }
}

static bool has_all_bytes(const kfi_vocabulary *vocabulary, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (vocabulary->byte_ids[(unsigned char)text[i]] == KF_NO_TOKEN) {
            return false;
        }
    }
    return true;
}

/* Characters become their piece, else their bytes, else the unknown token. */
static void push_characters(kfi_bpe_scratch *scratch, const kfi_bpe *bpe,
                            const kfi_vocabulary *vocabulary, const char *word, size_t n)
{
    bool after_unknown = false;
    size_t i = 0;
    while (i < n) {
        const size_t n_char = kfi_utf8_decode(word + i, n - i).n;
        const uint32_t id = kfi_vocabulary_find(vocabulary, word + i, n_char);
        if (id != KF_NO_TOKEN) {
            push_symbol(scratch, id);
            after_unknown = false;
        } else if (bpe->byte_fallback && has_all_bytes(vocabulary, word + i, n_char)) {
            push_bytes(scratch, bpe, vocabulary, word + i, n_char);
            after_unknown = false;
        } else if (bpe->unknown != KF_NO_TOKEN && !(after_unknown && bpe->fuse_unknown)) {
            push_symbol(scratch, bpe->unknown);
            after_unknown = true;
        }
        i += n_char;
    }
}

/* Puts the pair of symbols (left, its next) into the heap, where it has a rule. */
static void consider(kfi_bpe_scratch *scratch, const kfi_merges *merges, uint32_t left)
{
    const kfi_bpe_symbol *symbol = &scratch->symbols[left];
    if (symbol->next == NOWHERE) {
        return;
    }
    const kfi_merge *merge = kfi_merges_find(merges, symbol->id, scratch->symbols[symbol->next].id);
    if (merge != NULL) {
        push_candidate(scratch, (kfi_bpe_candidate){(uint64_t)merge->rank << 32 | left, merge->id});
    }
}

/* The candidate's pair still stands and makes the same piece. */
static bool is_current(const kfi_bpe_scratch *scratch, const kfi_merges *merges, uint32_t left,
                       uint32_t id)
{
    const kfi_bpe_symbol *symbol = &scratch->symbols[left];
    if (symbol->id == KF_NO_TOKEN || symbol->next == NOWHERE) {
        return false;
    }
    const kfi_merge *merge = kfi_merges_find(merges, symbol->id, scratch->symbols[symbol->next].id);
    return merge != NULL && merge->id == id;
}

static void join(kfi_bpe_scratch *scratch, uint32_t left, uint32_t id)
{
    kfi_bpe_symbol *symbols = scratch->symbols;
    const uint32_t right = symbols[left].next;
    symbols[left].id = id;
    symbols[left].next = symbols[right].next;
    symbols[right].id = KF_NO_TOKEN;
    if (symbols[left].next != NOWHERE) {
        symbols[symbols[left].next].prev = left;
    }
}

static void merge_all(kfi_bpe_scratch *scratch, const kfi_merges *merges)
{
    scratch->n_heap = 0;
    scratch->symbols[scratch->n_symbols - 1].next = NOWHERE;
    for (uint32_t i = 0; i + 1 < scratch->n_symbols; i++) {
        consider(scratch, merges, i);
    }
    while (scratch->n_heap > 0) {
        const kfi_bpe_candidate best = pop_candidate(scratch);
        const uint32_t left = (uint32_t)best.order;
        if (!is_current(scratch, merges, left, best.id)) {
            continue;
        }
        join(scratch, left, best.id);
        if (scratch->symbols[left].prev != NOWHERE) {
            consider(scratch, merges, scratch->symbols[left].prev);
        }
        consider(scratch, merges, left);
    }
}

static kf_status encode_uncached(kfi_ids *ids, const kfi_bpe *bpe, const kfi_vocabulary *vocabulary,
                                 kfi_bpe_scratch *scratch, const char *word, size_t n,
                                 kf_error *err)
{
    if (bpe->whole_words_first) {
        const uint32_t id = kfi_vocabulary_find(vocabulary, word, n);
        if (id != KF_NO_TOKEN) {
            kfi_ids_push(ids, id);
            return KF_OK;
        }
    }
    KFI_TRY(reserve(scratch, n, err));
    scratch->n_symbols = 0;
    if (bpe->byte_level) {
        push_bytes(scratch, bpe, vocabulary, word, n);
    } else {
        push_characters(scratch, bpe, vocabulary, word, n);
    }
    if (scratch->n_symbols == 0) {
        return KF_OK;
    }
    merge_all(scratch, &bpe->merges);
    for (uint32_t i = 0; i != NOWHERE; i = scratch->symbols[i].next) {
        kfi_ids_push(ids, scratch->symbols[i].id);
    }
    return KF_OK;
}

static void push_all(kfi_ids *ids, const uint32_t *found, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        kfi_ids_push(ids, found[i]);
    }
}

kf_status kfi_bpe_encode(kfi_ids *ids, const kfi_bpe *bpe, const kfi_vocabulary *vocabulary,
                         kfi_bpe_scratch *scratch, const char *word, size_t n, kf_error *err)
{
    if (n == 0) {
        return KF_OK;
    }
    if (n > CACHED_BYTES || scratch->n_cache == 0) {
        return encode_uncached(ids, bpe, vocabulary, scratch, word, n, err);
    }
    kfi_bpe_cached *slot =
        &scratch->cache[(size_t)kfi_hash_bytes(word, n) & (scratch->n_cache - 1)];
    if (slot->n != n || memcmp(slot->word, word, n) != 0) {
        uint32_t found[CACHED_BYTES]; /* a word has no more ids than bytes */
        kfi_ids found_ids = {found, CACHED_BYTES, 0};
        KFI_TRY(encode_uncached(&found_ids, bpe, vocabulary, scratch, word, n, err));
        if (found_ids.n > CACHED_IDS) {
            push_all(ids, found, found_ids.n);
            return KF_OK;
        }
        slot->n = (uint8_t)n;
        slot->n_ids = (uint8_t)found_ids.n;
        memcpy(slot->word, word, n);
        memcpy(slot->ids, found, found_ids.n * sizeof *found);
    }
    push_all(ids, slot->ids, slot->n_ids);
    return KF_OK;
}
