/* save_json.c - tokenizer.json of a tokenizer that came without one.
 *
 * The pre-tokenizer is the model's own, as published: a converter that leaves it out makes a
 * tokenizer that splits text in another way.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "text/byte_alphabet.h"
#include "text/save.h"
#include "text/unicode.h"

static void put_none(kfi_json_writer *w, const char *key)
{
    kfi_json_key(w, key);
    kfi_json_put_null(w);
}

static void begin_step(kfi_json_writer *w, const char *type)
{
    kfi_json_begin_object(w);
    kfi_json_member_text(w, "type", type);
}

static void begin_sequence(kfi_json_writer *w, const char *list)
{
    begin_step(w, "Sequence");
    kfi_json_key(w, list);
    kfi_json_begin_array(w);
}

static void end_sequence(kfi_json_writer *w)
{
    kfi_json_end_array(w);
    kfi_json_end_object(w);
}

/* The text of a token as a vocabulary has it: bytes in their alphabet, the rest as it is. */
static void append_text(kfi_buf *dst, const kf_tokenizer *t, uint32_t id)
{
    const kfi_token *token = &t->vocabulary.tokens[id];
    kfi_buf_clear(dst);
    if (!t->bpe.byte_level || (token->flags & KFI_TOKEN_PLAIN) != 0 ||
        token->kind != KFI_TOKEN_NORMAL) {
        kfi_utf8_append_valid(dst, token->key, token->n_key); /* as it will be read back */
        return;
    }
    for (size_t i = 0; i < token->n_key; i++) {
        char encoded[4];
        const uint32_t code = kfi_byte_to_char((uint8_t)token->key[i]);
        (void)kfi_buf_append(dst, encoded, kfi_utf8_encode(encoded, code));
    }
}

static void put_added_tokens(kfi_json_writer *w, const kf_tokenizer *t)
{
    kfi_json_key(w, "added_tokens");
    kfi_json_begin_array(w);
    for (size_t id = 0; id < t->vocabulary.n; id++) {
        const kfi_token *token = &t->vocabulary.tokens[id];
        if (!kfi_token_is_added(token)) {
            continue;
        }
        kfi_json_begin_object(w);
        kfi_json_member_integer(w, "id", (int64_t)id);
        kfi_json_key(w, "content");
        kfi_json_put_string(w, token->key, token->n_key);
        kfi_json_member_bool(w, "single_word", false);
        kfi_json_member_bool(w, "lstrip", (token->flags & KFI_TOKEN_STRIPS_LEFT) != 0);
        kfi_json_member_bool(w, "rstrip", (token->flags & KFI_TOKEN_STRIPS_RIGHT) != 0);
        kfi_json_member_bool(w, "normalized", false);
        kfi_json_member_bool(w, "special", token->kind != KFI_TOKEN_USER);
        kfi_json_end_object(w);
    }
    kfi_json_end_array(w);
}

static void put_pattern(kfi_json_writer *w, const char *kind, const char *pattern)
{
    kfi_json_key(w, "pattern");
    kfi_json_begin_object(w);
    kfi_json_member_text(w, kind, pattern);
    kfi_json_end_object(w);
}

static void put_replace(kfi_json_writer *w, const char *from, const char *to)
{
    begin_step(w, "Replace");
    put_pattern(w, "String", from);
    kfi_json_member_text(w, "content", to);
    kfi_json_end_object(w);
}

static void put_space_normalizers(kfi_json_writer *w, const kf_tokenizer *t)
{
    begin_sequence(w, "normalizers");
    if (t->spaces.prefix != KFI_SPACE_PREFIX_NEVER) {
        begin_step(w, "Prepend");
        kfi_json_member_text(w, "prepend", KFI_SPACE);
        kfi_json_end_object(w);
    }
    put_replace(w, " ", KFI_SPACE);
    end_sequence(w);
}

static void put_normalizer(kfi_json_writer *w, const kf_tokenizer *t)
{
    kfi_json_key(w, "normalizer");
    if (t->spaces.escape) {
        put_space_normalizers(w, t);
    } else if (t->nfc) {
        begin_step(w, "NFC");
        kfi_json_end_object(w);
    } else {
        kfi_json_put_null(w);
    }
}

static void put_byte_level(kfi_json_writer *w, bool pattern)
{
    begin_step(w, "ByteLevel");
    kfi_json_member_bool(w, "add_prefix_space", false);
    kfi_json_member_bool(w, "trim_offsets", true);
    kfi_json_member_bool(w, "use_regex", pattern);
    kfi_json_end_object(w);
}

static void put_split(kfi_json_writer *w, const char *pattern)
{
    begin_step(w, "Split");
    put_pattern(w, "Regex", pattern);
    kfi_json_member_text(w, "behavior", "Isolated");
    kfi_json_member_bool(w, "invert", false);
    kfi_json_end_object(w);
}

static void put_pretokenizer(kfi_json_writer *w, const kf_tokenizer *t)
{
    kfi_json_key(w, "pre_tokenizer");
    switch (t->pretokenizer) {
    case KFI_PRETOKENIZER_GPT2:
        put_byte_level(w, true);
        break;
    case KFI_PRETOKENIZER_SMOLLM:
        begin_sequence(w, "pretokenizers");
        begin_step(w, "Digits");
        kfi_json_member_bool(w, "individual_digits", true);
        kfi_json_end_object(w);
        put_byte_level(w, true);
        end_sequence(w);
        break;
    case KFI_PRETOKENIZER_LLAMA3:
    case KFI_PRETOKENIZER_QWEN2:
        begin_sequence(w, "pretokenizers");
        put_split(w, kfi_pretokenizer_pattern(t->pretokenizer));
        put_byte_level(w, false);
        end_sequence(w);
        break;
    case KFI_PRETOKENIZER_NONE:
        kfi_json_put_null(w);
        break;
    }
}

/* One side of a TemplateProcessing: BOS, then the texts A and, for a pair, B. */
static void put_template(kfi_json_writer *w, const char *key, const kfi_token *bos,
                         const char *texts)
{
    kfi_json_key(w, key);
    kfi_json_begin_array(w);
    for (size_t i = 0; texts[i] != '\0'; i++) {
        const bool special = texts[i] == '^';
        kfi_json_begin_object(w);
        kfi_json_key(w, special ? "SpecialToken" : "Sequence");
        kfi_json_begin_object(w);
        kfi_json_key(w, "id");
        kfi_json_put_string(w, special ? bos->key : texts + i, special ? bos->n_key : 1);
        kfi_json_member_integer(w, "type_id", texts[0] == '^' && i >= 2 ? 1 : 0);
        kfi_json_end_object(w);
        kfi_json_end_object(w);
    }
    kfi_json_end_array(w);
}

static void put_processor(kfi_json_writer *w, const kf_tokenizer *t)
{
    kfi_json_key(w, "post_processor");
    if (!t->adds_bos) {
        kfi_json_put_null(w);
        return;
    }
    const kfi_token *bos = &t->vocabulary.tokens[t->bos];
    begin_step(w, "TemplateProcessing");
    put_template(w, "single", bos, "^A");
    put_template(w, "pair", bos, "^A^B");
    kfi_json_key(w, "special_tokens");
    kfi_json_begin_object(w);
    kfi_json_key_n(w, bos->key, bos->n_key);
    kfi_json_begin_object(w);
    kfi_json_key(w, "id");
    kfi_json_put_string(w, bos->key, bos->n_key);
    kfi_json_key(w, "ids");
    kfi_json_begin_array(w);
    kfi_json_put_integer(w, (int64_t)t->bos);
    kfi_json_end_array(w);
    kfi_json_key(w, "tokens");
    kfi_json_begin_array(w);
    kfi_json_put_string(w, bos->key, bos->n_key);
    kfi_json_end_array(w);
    kfi_json_end_object(w);
    kfi_json_end_object(w);
    kfi_json_end_object(w);
}

static void put_space_decoder(kfi_json_writer *w, const kf_tokenizer *t)
{
    begin_sequence(w, "decoders");
    put_replace(w, KFI_SPACE, " ");
    begin_step(w, "ByteFallback");
    kfi_json_end_object(w);
    begin_step(w, "Fuse");
    kfi_json_end_object(w);
    if (t->spaces.prefix != KFI_SPACE_PREFIX_NEVER) {
        begin_step(w, "Strip");
        kfi_json_member_text(w, "content", " ");
        kfi_json_member_integer(w, "start", 1);
        kfi_json_member_integer(w, "stop", 0);
        kfi_json_end_object(w);
    }
    end_sequence(w);
}

static void put_decoder(kfi_json_writer *w, const kf_tokenizer *t)
{
    kfi_json_key(w, "decoder");
    if (t->spaces.escape) {
        put_space_decoder(w, t);
    } else {
        put_byte_level(w, true);
    }
}

/* A token that the vocabulary may name. */
typedef struct entry {
    const char *text; /* in an arena */
    size_t n_text;
    uint32_t id;
    int preference; /* among tokens of equal text */
} entry;

/* The token that words are looked up to, then the one that is found as an added token: with these
 * in the vocabulary a text has the same ids again. Ties go to the last, as in other loaders. */
static int preference_of(const kf_tokenizer *t, uint32_t id)
{
    const kfi_token *token = &t->vocabulary.tokens[id];
    if (token->kind == KFI_TOKEN_BYTE ||
        kfi_vocabulary_find(&t->vocabulary, token->key, token->n_key) == id) {
        return 2;
    }
    return kfi_vocabulary_find_added(&t->vocabulary, token->key, token->n_key) == id ? 1 : 0;
}

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a;
    const entry *y = b;
    const size_t n = x->n_text < y->n_text ? x->n_text : y->n_text;
    const int order = memcmp(x->text, y->text, n);
    if (order != 0) {
        return order;
    }
    if (x->n_text != y->n_text) {
        return x->n_text < y->n_text ? -1 : 1;
    }
    if (x->preference != y->preference) {
        return x->preference > y->preference ? -1 : 1;
    }
    return x->id > y->id ? -1 : 1;
}

/* Fills entries, sorted; gives their number, or SIZE_MAX without memory. */
static size_t list_entries(entry *entries, const kf_tokenizer *t, kfi_arena *texts)
{
    size_t n = 0;
    kfi_buf text;
    kfi_buf_init(&text, t->alloc, SIZE_MAX / 2);
    for (uint32_t id = 0; id < t->vocabulary.n; id++) {
        const kfi_token *token = &t->vocabulary.tokens[id];
        if (token->kind == KFI_TOKEN_UNUSED || token->n_key == 0) {
            continue;
        }
        append_text(&text, t, id);
        const char *copy = text.failed ? NULL : kfi_arena_strndup(texts, text.data, text.n);
        if (copy == NULL) {
            n = SIZE_MAX;
            break;
        }
        entries[n++] = (entry){copy, text.n, id, preference_of(t, id)};
    }
    kfi_buf_deinit(&text);
    if (n != SIZE_MAX) {
        qsort(entries, n, sizeof *entries, compare_entries);
    }
    return n;
}

/* named[id]: the vocabulary has this token. Its keys are unique, and a GGUF's tokens need not be:
 * of equal texts one stays. False without memory. */
static bool choose_named(bool *named, const kf_tokenizer *t)
{
    kfi_arena texts;
    kfi_arena_init(&texts, t->alloc, SIZE_MAX / 2);
    const size_t bytes = t->vocabulary.n * sizeof(entry);
    entry *entries = kfi_alloc(t->alloc, bytes);
    const size_t n = entries == NULL ? SIZE_MAX : list_entries(entries, t, &texts);
    for (size_t i = 0; i < n && n != SIZE_MAX; i++) {
        const entry *last = i == 0 ? NULL : &entries[i - 1];
        named[entries[i].id] = last == NULL || last->n_text != entries[i].n_text ||
                               memcmp(last->text, entries[i].text, last->n_text) != 0;
    }
    kfi_free(t->alloc, entries, bytes);
    kfi_arena_deinit(&texts);
    return n != SIZE_MAX;
}

static void put_vocab(kfi_json_writer *w, const kf_tokenizer *t, kfi_buf *text)
{
    const size_t n = t->vocabulary.n;
    bool *named = kfi_calloc(t->alloc, n, sizeof *named);
    if (named == NULL || !choose_named(named, t)) {
        kfi_free(t->alloc, named, n * sizeof *named);
        w->buf->failed = true;
        return;
    }
    kfi_json_key(w, "vocab");
    kfi_json_begin_object(w);
    for (uint32_t id = 0; id < n; id++) {
        if (named[id]) {
            append_text(text, t, id);
            kfi_json_key_n(w, text->data, text->n);
            kfi_json_put_integer(w, (int64_t)id);
        }
    }
    kfi_json_end_object(w);
    kfi_free(t->alloc, named, n * sizeof *named);
}

/* Merges as [left, right]: a piece may hold a space. */
static void put_merges(kfi_json_writer *w, const kf_tokenizer *t, kfi_buf *text)
{
    const size_t n = t->bpe.merges.n;
    kfi_merge *sorted = kfi_merges_sorted(&t->bpe.merges, t->alloc);
    if (sorted == NULL) {
        w->buf->failed = true;
        return;
    }
    kfi_json_key(w, "merges");
    kfi_json_begin_array(w);
    for (size_t i = 0; i < n; i++) {
        kfi_json_begin_array(w);
        append_text(text, t, sorted[i].left);
        kfi_json_put_string(w, text->data, text->n);
        append_text(text, t, sorted[i].right);
        kfi_json_put_string(w, text->data, text->n);
        kfi_json_end_array(w);
    }
    kfi_json_end_array(w);
    kfi_free(t->alloc, sorted, n * sizeof *sorted);
}

static void put_model(kfi_json_writer *w, const kf_tokenizer *t)
{
    kfi_buf text; /* of one token */
    kfi_buf_init(&text, t->alloc, SIZE_MAX / 2);
    kfi_json_key(w, "model");
    begin_step(w, "BPE");
    put_none(w, "dropout");
    kfi_json_key(w, "unk_token");
    if (t->bpe.unknown != KF_NO_TOKEN) {
        append_text(&text, t, t->bpe.unknown);
        kfi_json_put_string(w, text.data, text.n);
    } else {
        kfi_json_put_null(w);
    }
    put_none(w, "continuing_subword_prefix");
    put_none(w, "end_of_word_suffix");
    kfi_json_member_bool(w, "fuse_unk", t->bpe.fuse_unknown);
    kfi_json_member_bool(w, "byte_fallback", t->bpe.byte_fallback);
    kfi_json_member_bool(w, "ignore_merges", t->bpe.whole_words_first);
    put_vocab(w, t, &text);
    put_merges(w, t, &text);
    kfi_json_end_object(w);
    w->buf->failed = w->buf->failed || text.failed;
    kfi_buf_deinit(&text);
}

void kfi_tokenizer_write_json(kfi_json_writer *writer, const kf_tokenizer *tokenizer)
{
    kfi_json_begin_object(writer);
    kfi_json_member_text(writer, "version", "1.0");
    put_none(writer, "truncation");
    put_none(writer, "padding");
    put_added_tokens(writer, tokenizer);
    put_normalizer(writer, tokenizer);
    put_pretokenizer(writer, tokenizer);
    put_processor(writer, tokenizer);
    put_decoder(writer, tokenizer);
    put_model(writer, tokenizer);
    kfi_json_end_object(writer);
}
