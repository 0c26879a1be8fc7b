/* vocabulary.c - the tokens of a model: their bytes, kinds, and how to find them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

/* Ids are 32 bits and the largest vocabularies have under 2^19 tokens. */
#define MAX_TOKENS ((size_t)1 << 26)

kf_status kfi_vocabulary_init(kfi_vocabulary *vocabulary, size_t n, const kf_allocator *alloc,
                              kf_error *err)
{
    *vocabulary = (kfi_vocabulary){.alloc = alloc};
    memset(vocabulary->byte_ids, 0xFF, sizeof vocabulary->byte_ids); /* KF_NO_TOKEN */
    if (n == 0 || n > MAX_TOKENS) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "vocabulary of %zu tokens, expected 1 to %zu",
                        n, MAX_TOKENS);
    }
    vocabulary->tokens = kfi_calloc(alloc, n, sizeof *vocabulary->tokens);
    if (vocabulary->tokens == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "vocabulary of %zu tokens", n);
    }
    vocabulary->n = n;
    for (size_t i = 0; i < n; i++) {
        vocabulary->tokens[i] = (kfi_token){.key = "", .piece = "", .kind = KFI_TOKEN_UNUSED};
    }
    return KF_OK;
}

void kfi_vocabulary_deinit(kfi_vocabulary *vocabulary)
{
    const kf_allocator *alloc = vocabulary->alloc;
    kfi_free(alloc, vocabulary->tokens, vocabulary->n * sizeof *vocabulary->tokens);
    kfi_free(alloc, vocabulary->index.slots,
             vocabulary->index.n_slots * sizeof *vocabulary->index.slots);
    kfi_free(alloc, vocabulary->added, vocabulary->n_added * sizeof *vocabulary->added);
    *vocabulary = (kfi_vocabulary){.alloc = alloc};
}

bool kfi_token_is_added(const kfi_token *token)
{
    return token->n_key > 0 && (token->kind == KFI_TOKEN_CONTROL ||
                                token->kind == KFI_TOKEN_UNKNOWN || token->kind == KFI_TOKEN_USER);
}

static bool is_indexed(const kfi_token *token)
{
    return token->n_key > 0 && (token->flags & KFI_TOKEN_PLAIN) == 0 &&
           (token->kind == KFI_TOKEN_NORMAL || token->kind == KFI_TOKEN_USER);
}

static bool has_key(const kfi_token *token, const char *key, size_t n)
{
    return token->n_key == n && memcmp(token->key, key, n) == 0;
}

static kfi_text key_of(const void *tokens, size_t i)
{
    const kfi_token *token = (const kfi_token *)tokens + i;
    return (kfi_text){token->key, token->n_key};
}

static kf_status build_index(kfi_vocabulary *vocabulary, kf_error *err)
{
    const size_t n_slots = kfi_names_slots(vocabulary->n);
    uint32_t *slots = kfi_calloc(vocabulary->alloc, n_slots, sizeof *slots);
    if (slots == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "index of %zu tokens", vocabulary->n);
    }
    vocabulary->index = (kfi_names){vocabulary->tokens, key_of, slots, n_slots};
    for (size_t i = vocabulary->n; i-- > 0;) { /* the last of equal keys stays */
        if (is_indexed(&vocabulary->tokens[i]) &&
            kfi_names_add(&vocabulary->index, i) == KFI_NAMES_CROWDED) {
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                            "token %zu: too many tokens with equal hashes", i);
        }
    }
    return KF_OK;
}

/* One added token while sorting: qsort has no context argument. */
typedef struct sorted_token {
    const kfi_token *token;
    uint32_t id;
} sorted_token;

static int compare_keys(const void *a, const void *b)
{
    const sorted_token *x = a;
    const sorted_token *y = b;
    const size_t n = x->token->n_key < y->token->n_key ? x->token->n_key : y->token->n_key;
    const int order = memcmp(x->token->key, y->token->key, n);
    if (order != 0) {
        return order;
    }
    if (x->token->n_key != y->token->n_key) {
        return x->token->n_key < y->token->n_key ? -1 : 1;
    }
    return x->id < y->id ? -1 : 1;
}

static kf_status gather_added(sorted_token *sorted, const kfi_vocabulary *vocabulary, kf_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < vocabulary->n; i++) {
        const kfi_token *token = &vocabulary->tokens[i];
        if (!kfi_token_is_added(token)) {
            continue;
        }
        if (token->n_key > KFI_MAX_ADDED) {
            return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                            "special token %zu has %u bytes, expected at most %zu", i, token->n_key,
                            KFI_MAX_ADDED);
        }
        sorted[n++] = (sorted_token){token, (uint32_t)i};
    }
    qsort(sorted, n, sizeof *sorted, compare_keys);
    return KF_OK;
}

static void fill_first(kfi_vocabulary *vocabulary)
{
    size_t i = 0;
    for (size_t b = 0; b < 257; b++) {
        while (i < vocabulary->n_added &&
               (unsigned char)vocabulary->tokens[vocabulary->added[i]].key[0] < b) {
            i++;
        }
        vocabulary->first[b] = (uint32_t)i;
    }
}

static kf_status build_added(kfi_vocabulary *vocabulary, kf_error *err)
{
    kf_status st = KF_OK;
    size_t n = 0;
    for (size_t i = 0; i < vocabulary->n; i++) {
        n += kfi_token_is_added(&vocabulary->tokens[i]);
    }
    sorted_token *sorted = kfi_calloc(vocabulary->alloc, n, sizeof *sorted);
    uint32_t *added = kfi_calloc(vocabulary->alloc, n, sizeof *added);
    if (sorted == NULL || added == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu special tokens", n);
        goto done;
    }
    st = gather_added(sorted, vocabulary, err);
    if (st != KF_OK) {
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        added[i] = sorted[i].id;
    }
    vocabulary->added = added;
    vocabulary->n_added = n;
    added = NULL; /* ownership moved to the vocabulary */
    fill_first(vocabulary);
done:
    kfi_free(vocabulary->alloc, added, n * sizeof *added);
    kfi_free(vocabulary->alloc, sorted, n * sizeof *sorted);
    return st;
}

kf_status kfi_vocabulary_finish(kfi_vocabulary *vocabulary, kf_error *err)
{
    KFI_TRY(build_index(vocabulary, err));
    return build_added(vocabulary, err);
}

uint32_t kfi_vocabulary_find(const kfi_vocabulary *vocabulary, const char *key, size_t n)
{
    const size_t id = kfi_names_find(&vocabulary->index, (kfi_text){key, n});
    return id == SIZE_MAX ? KF_NO_TOKEN : (uint32_t)id;
}

/* Narrows the range of added tokens, all equal in their first `depth` bytes, to those whose next
 * byte is `byte`: two binary searches. Tokens that end at `depth` sort first and drop out. */
static void narrow(const kfi_vocabulary *vocabulary, size_t *low, size_t *high, size_t depth,
                   unsigned char byte)
{
    size_t bounds[2];
    for (size_t side = 0; side < 2; side++) {
        size_t a = *low;
        size_t b = *high;
        while (a < b) {
            const size_t middle = a + (b - a) / 2;
            const kfi_token *token = &vocabulary->tokens[vocabulary->added[middle]];
            const int next = token->n_key > depth ? (unsigned char)token->key[depth] : -1;
            if (next < byte + (int)side) {
                a = middle + 1;
            } else {
                b = middle;
            }
        }
        bounds[side] = a;
    }
    *low = bounds[0];
    *high = bounds[1];
}

uint32_t kfi_vocabulary_match(const kfi_vocabulary *vocabulary, const char *text, size_t n,
                              bool special)
{
    uint32_t found = KF_NO_TOKEN;
    if (n == 0) {
        return found;
    }
    size_t low = vocabulary->first[(unsigned char)text[0]];
    size_t high = vocabulary->first[(unsigned char)text[0] + 1];
    for (size_t depth = 1; low < high; depth++) {
        const uint32_t id = vocabulary->added[low];
        const kfi_token *token = &vocabulary->tokens[id];
        if (token->n_key == depth && (special || token->kind == KFI_TOKEN_USER)) {
            found = id;
        }
        if (depth == n) {
            break;
        }
        narrow(vocabulary, &low, &high, depth, (unsigned char)text[depth]);
    }
    return found;
}

uint32_t kfi_vocabulary_find_added(const kfi_vocabulary *vocabulary, const char *text, size_t n)
{
    const uint32_t id = kfi_vocabulary_match(vocabulary, text, n, true);
    return id != KF_NO_TOKEN && has_key(&vocabulary->tokens[id], text, n) ? id : KF_NO_TOKEN;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool kfi_byte_token_parse(uint8_t *byte, const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return false;
    }
    const int high = hex_digit(text[3]);
    const int low = hex_digit(text[4]);
    if (high < 0 || low < 0) {
        return false;
    }
    *byte = (uint8_t)(high * 16 + low);
    return true;
}
