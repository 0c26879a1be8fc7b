/* encode.c - from text to ids: special tokens, normalization, words, BPE.
 *
 *   text ─valid UTF-8─▶ cut at added tokens ─▶ normalize each part ─▶ words ─▶ BPE ─▶ ids
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/buf.h"
#include "base/fail.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

/* One call of kf_tokenizer_encode(). */
typedef struct encoder {
    const kf_tokenizer *tokenizer;
    kfi_bpe_scratch scratch;
    kfi_buf normal; /* the normalized part */
    kfi_ids ids;
    bool special; /* special tokens written out are recognized */
} encoder;

static bool starts_with_space(const char *text, size_t n)
{
    return n >= KFI_SPACE_N && memcmp(text, KFI_SPACE, KFI_SPACE_N) == 0;
}

/* Length of the first word of SentencePiece text, see kfi_space_rule. */
static size_t space_word(kfi_space_rule rule, const char *text, size_t n)
{
    if (!rule.cut && !rule.split_each) {
        return n;
    }
    size_t i = 0;
    while (starts_with_space(text + i, n - i)) {
        i += KFI_SPACE_N;
        if (rule.split_each) {
            break;
        }
    }
    while (i < n && !starts_with_space(text + i, n - i)) {
        i++;
    }
    return i;
}

static kf_status encode_words(encoder *e, const char *text, size_t n, kf_error *err)
{
    const kf_tokenizer *t = e->tokenizer;
    size_t i = 0;
    while (i < n) {
        const size_t n_word = t->spaces.escape
                                  ? space_word(t->spaces, text + i, n - i)
                                  : kfi_pretokenize_next(t->pretokenizer, text + i, n - i);
        KFI_TRY(
            kfi_bpe_encode(&e->ids, &t->bpe, &t->vocabulary, &e->scratch, text + i, n_word, err));
        i += n_word;
    }
    return KF_OK;
}

static bool wants_prefix(kfi_space_rule rule, const char *text, size_t n, bool at_start)
{
    if (rule.prefix == KFI_SPACE_PREFIX_NEVER ||
        (rule.prefix == KFI_SPACE_PREFIX_FIRST && !at_start)) {
        return false;
    }
    return !rule.prefix_once || (text[0] != ' ' && !starts_with_space(text, n));
}

static void append_escaped(kfi_buf *dst, const char *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        const char *space = memchr(text + i, ' ', n - i);
        const size_t n_plain = space == NULL ? n - i : (size_t)(space - (text + i));
        (void)kfi_buf_append(dst, text + i, n_plain);
        i += n_plain;
        if (i < n) {
            (void)kfi_buf_append(dst, KFI_SPACE, KFI_SPACE_N);
            i++;
        }
    }
}

/* Encodes n > 0 bytes between two added tokens. */
static kf_status encode_part(encoder *e, const char *text, size_t n, bool at_start, kf_error *err)
{
    const kf_tokenizer *t = e->tokenizer;
    kfi_buf_clear(&e->normal);
    if (t->nfc && !kfi_unicode_is_plain(text, n)) {
        KFI_TRY(kfi_unicode_append_nfc(&e->normal, text, n, err));
        return encode_words(e, e->normal.data, e->normal.n, err);
    }
    if (!t->spaces.escape) {
        return encode_words(e, text, n, err);
    }
    if (wants_prefix(t->spaces, text, n, at_start)) {
        (void)kfi_buf_append(&e->normal, KFI_SPACE, KFI_SPACE_N);
    }
    append_escaped(&e->normal, text, n);
    if (e->normal.failed) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "normalized text of %zu bytes", n);
    }
    return encode_words(e, e->normal.data, e->normal.n, err);
}

/* The first added token in text[from…n - 1], or KF_NO_TOKEN; its place in *at. */
static uint32_t find_added(const encoder *e, const char *text, size_t from, size_t n, size_t *at)
{
    const kfi_vocabulary *v = &e->tokenizer->vocabulary;
    for (size_t i = from; i < n; i++) {
        const unsigned char byte = (unsigned char)text[i];
        if (v->first[byte] == v->first[byte + 1]) {
            continue;
        }
        const uint32_t id = kfi_vocabulary_match(v, text + i, n - i, e->special);
        if (id != KF_NO_TOKEN) {
            *at = i;
            return id;
        }
    }
    *at = n;
    return KF_NO_TOKEN;
}

static size_t strip_left(const char *text, size_t from, size_t to)
{
    while (to > from) {
        const size_t i = from + kfi_utf8_last(text + from, to - from);
        if (kfi_unicode_class(kfi_utf8_decode(text + i, to - i).code) != KFI_CHAR_SPACE) {
            break;
        }
        to = i;
    }
    return to;
}

static size_t strip_right(const char *text, size_t from, size_t n)
{
    while (from < n) {
        const kfi_utf8_char c = kfi_utf8_decode(text + from, n - from);
        if (kfi_unicode_class(c.code) != KFI_CHAR_SPACE) {
            break;
        }
        from += c.n;
    }
    return from;
}

static kf_status encode_text(encoder *e, const char *text, size_t n, kf_error *err)
{
    const kfi_vocabulary *v = &e->tokenizer->vocabulary;
    size_t start = 0;
    while (start < n) {
        size_t at = 0;
        const uint32_t id = find_added(e, text, start, n, &at);
        const uint8_t flags = id == KF_NO_TOKEN ? 0 : v->tokens[id].flags;
        const size_t end = (flags & KFI_TOKEN_STRIPS_LEFT) != 0 ? strip_left(text, start, at) : at;
        if (end > start) {
            KFI_TRY(encode_part(e, text + start, end - start, start == 0, err));
        }
        if (id == KF_NO_TOKEN) {
            break;
        }
        kfi_ids_push(&e->ids, id);
        start = at + v->tokens[id].n_key;
        if ((flags & KFI_TOKEN_STRIPS_RIGHT) != 0) {
            start = strip_right(text, start, n);
        }
    }
    return KF_OK;
}

static kf_status encode_any(encoder *e, const char *text, size_t n, kf_error *err)
{
    if (kfi_utf8_is_valid(text, n)) {
        return encode_text(e, text, n, err);
    }
    kfi_buf valid;
    kfi_buf_init(&valid, e->tokenizer->alloc, SIZE_MAX / 2);
    kfi_utf8_append_valid(&valid, text, n);
    const kf_status st = valid.failed
                             ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "copy of %zu bytes of text", n)
                             : encode_text(e, valid.data, valid.n, err);
    kfi_buf_deinit(&valid);
    return st;
}

kf_status kf_tokenizer_encode(uint32_t *ids, size_t ids_n, size_t *n, const kf_tokenizer *tokenizer,
                              const char *text, size_t text_n, uint32_t flags, kf_error *err)
{
    encoder e = {.tokenizer = tokenizer,
                 .ids = {ids, ids == NULL ? 0 : ids_n, 0},
                 .special = (flags & KF_ENCODE_SPECIAL) != 0};
    kfi_bpe_scratch_init(&e.scratch, text_n, tokenizer->alloc);
    kfi_buf_init(&e.normal, tokenizer->alloc, SIZE_MAX / 2);
    if ((flags & KF_ENCODE_ADD_BOS) != 0 && tokenizer->adds_bos && tokenizer->bos != KF_NO_TOKEN) {
        kfi_ids_push(&e.ids, tokenizer->bos);
    }
    kf_status st = encode_any(&e, text, text_n, err);
    kfi_buf_deinit(&e.normal);
    kfi_bpe_scratch_deinit(&e.scratch);
    *n = st == KF_OK ? e.ids.n : 0;
    if (st == KF_OK && ids != NULL && e.ids.n > ids_n) {
        st = kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "text has %zu tokens, room for %zu", e.ids.n,
                      ids_n);
    }
    return st;
}
