/* tokenizer.c - opening, filling and asking a tokenizer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/tokenizer.h"

#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "io/gguf.h"
#include "text/byte_alphabet.h"
#include "text/chat.h"

/* A ceiling for the text of a vocabulary; the largest real ones have under 10 MB. */
#define MAX_ARENA ((size_t)1 << 30)
/* Longest side of a merge. */
#define MAX_SIDE 1024u

kf_status kfi_tokenizer_new(kf_tokenizer **tokenizer, const kf_allocator *alloc, kf_error *err)
{
    kf_tokenizer *t = kfi_calloc(alloc, 1, sizeof *t);
    *tokenizer = t;
    if (t == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "tokenizer of %zu bytes", sizeof *t);
    }
    t->alloc = alloc;
    kfi_arena_init(&t->arena, alloc, MAX_ARENA);
    t->pretokenizer = KFI_PRETOKENIZER_NONE;
    t->bpe.unknown = KF_NO_TOKEN;
    t->bos = KF_NO_TOKEN;
    t->eos = KF_NO_TOKEN;
    t->padding = KF_NO_TOKEN;
    t->start = KF_NO_TOKEN;
    return KF_OK;
}

void kf_tokenizer_free(kf_tokenizer *tokenizer)
{
    if (tokenizer == NULL) {
        return;
    }
    kfi_jinja_free(tokenizer->chat);
    kfi_vocabulary_deinit(&tokenizer->vocabulary);
    kfi_merges_deinit(&tokenizer->bpe.merges);
    kfi_arena_deinit(&tokenizer->arena);
    kfi_free(tokenizer->alloc, tokenizer, sizeof *tokenizer);
}

static kf_status no_room_for_token(size_t id, kf_error *err)
{
    return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of token %zu", id);
}

/* The bytes that a byte-level token stands for. */
static kf_status set_bytes(kf_tokenizer *t, kfi_token *token, size_t id, kf_error *err)
{
    char *bytes = kfi_arena_strndup(&t->arena, token->key, token->n_key);
    size_t n = 0;
    if (bytes == NULL) {
        return no_room_for_token(id, err);
    }
    const bool of_alphabet = kfi_alphabet_decode(bytes, &n, token->key, token->n_key);
    if (token->kind == KFI_TOKEN_USER) {
        if (!of_alphabet || n != token->n_key || memcmp(bytes, token->key, n) != 0) {
            token->flags |= KFI_TOKEN_PLAIN;
        }
        return KF_OK;
    }
    if (!of_alphabet) {
        token->flags |= KFI_TOKEN_PLAIN;
        return KF_OK;
    }
    token->key = bytes;
    token->n_key = (uint32_t)n;
    if (n == 1 && token->kind == KFI_TOKEN_NORMAL) {
        t->vocabulary.byte_ids[(unsigned char)bytes[0]] = (uint32_t)id;
    }
    return KF_OK;
}

/* A SentencePiece piece with spaces for U+2581. */
static kf_status unescape(kf_tokenizer *t, kfi_token *token, size_t id, kf_error *err)
{
    char *text = kfi_arena_strndup(&t->arena, token->key, token->n_key);
    if (text == NULL) {
        return no_room_for_token(id, err);
    }
    size_t n = 0;
    size_t i = 0;
    while (i < token->n_key) {
        if (token->n_key - i >= KFI_SPACE_N && memcmp(text + i, KFI_SPACE, KFI_SPACE_N) == 0) {
            text[n++] = ' ';
            i += KFI_SPACE_N;
        } else {
            text[n++] = text[i++];
        }
    }
    token->piece = text;
    token->n_piece = (uint32_t)n;
    return KF_OK;
}

static kf_status set_byte_token(kf_tokenizer *t, kfi_token *token, size_t id, kf_error *err)
{
    uint8_t byte = 0;
    if (!kfi_byte_token_parse(&byte, token->key, token->n_key)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "byte token %zu is '%.*s', expected '<0x00>' to '<0xFF>'", id,
                        (int)(token->n_key < 40 ? token->n_key : 40), token->key);
    }
    const char *piece = kfi_arena_strndup(&t->arena, (const char *)&byte, 1);
    if (piece == NULL) {
        return no_room_for_token(id, err);
    }
    token->piece = piece;
    token->n_piece = 1;
    t->vocabulary.byte_ids[byte] = (uint32_t)id;
    return KF_OK;
}

kf_status kfi_tokenizer_set_token(kf_tokenizer *tokenizer, size_t id, const char *text, size_t n,
                                  kfi_token_kind kind, kf_error *err)
{
    kfi_token *token = &tokenizer->vocabulary.tokens[id];
    const char *key = n > MAX_ARENA ? NULL : kfi_arena_strndup(&tokenizer->arena, text, n);
    if (key == NULL) {
        return no_room_for_token(id, err);
    }
    *token = (kfi_token){.key = key, .n_key = (uint32_t)n, .piece = "", .kind = (uint8_t)kind};
    if (kind == KFI_TOKEN_BYTE && !tokenizer->bpe.byte_level) {
        return set_byte_token(tokenizer, token, id, err);
    }
    if (tokenizer->bpe.byte_level &&
        (kind == KFI_TOKEN_NORMAL || kind == KFI_TOKEN_USER || kind == KFI_TOKEN_BYTE)) {
        token->kind = kind == KFI_TOKEN_BYTE ? KFI_TOKEN_NORMAL : (uint8_t)kind;
        KFI_TRY(set_bytes(tokenizer, token, id, err));
    }
    if (token->kind == KFI_TOKEN_NORMAL || token->kind == KFI_TOKEN_USER) {
        token->piece = token->key;
        token->n_piece = token->n_key;
        return tokenizer->spaces.escape ? unescape(tokenizer, token, id, err) : KF_OK;
    }
    return KF_OK;
}

kf_status kfi_tokenizer_put_merge(kf_tokenizer *tokenizer, const char *left, size_t n_left,
                                  const char *right, size_t n_right, uint32_t rank, kf_error *err)
{
    char left_bytes[MAX_SIDE];
    char right_bytes[MAX_SIDE];
    kfi_merges *merges = &tokenizer->bpe.merges;
    if (n_left > MAX_SIDE || n_right > MAX_SIDE) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "merge %u has a side beyond %u bytes", rank,
                        MAX_SIDE);
    }
    if (!tokenizer->bpe.byte_level) {
        return kfi_merges_put_keys(merges, &tokenizer->vocabulary, left, n_left, right, n_right,
                                   rank, err);
    }
    if (!kfi_alphabet_decode(left_bytes, &n_left, left, n_left) ||
        !kfi_alphabet_decode(right_bytes, &n_right, right, n_right)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "merge %u has a character that stands for no byte", rank);
    }
    return kfi_merges_put_keys(merges, &tokenizer->vocabulary, left_bytes, n_left, right_bytes,
                               n_right, rank, err);
}

void kfi_tokenizer_mark_end(kf_tokenizer *tokenizer, uint32_t id)
{
    if (id < tokenizer->vocabulary.n) {
        tokenizer->vocabulary.tokens[id].flags |= KFI_TOKEN_END;
    }
}

void kfi_tokenizer_mark_known_ends(kf_tokenizer *tokenizer)
{
    static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "<|im_end|>",
                                        "<|eot_id|>",    "<|eom_id|>",      "<|end|>",
                                        "<end_of_turn>"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        kfi_tokenizer_mark_end(tokenizer, kfi_vocabulary_find_added(&tokenizer->vocabulary,
                                                                    names[i], strlen(names[i])));
    }
}

/* True where no piece has U+2581 behind another character, see kfi_space_rule. */
static bool spaces_only_lead(const kfi_vocabulary *vocabulary)
{
    for (size_t id = 0; id < vocabulary->n; id++) {
        const kfi_token *token = &vocabulary->tokens[id];
        bool other = false;
        size_t i = 0;
        while (token->kind == KFI_TOKEN_NORMAL && i < token->n_key) {
            const bool space = token->n_key - i >= KFI_SPACE_N &&
                               memcmp(token->key + i, KFI_SPACE, KFI_SPACE_N) == 0;
            if (space && other) {
                return false;
            }
            other = !space;
            i += space ? KFI_SPACE_N : 1;
        }
    }
    return true;
}

kf_status kfi_tokenizer_finish(kf_tokenizer *tokenizer, kf_error *err)
{
    const kfi_vocabulary *vocabulary = &tokenizer->vocabulary;
    /* A space without a piece would be part of a run of unknown characters. */
    tokenizer->spaces.cut =
        tokenizer->spaces.escape && !tokenizer->bpe.whole_words_first &&
        kfi_vocabulary_find(vocabulary, KFI_SPACE, KFI_SPACE_N) != KF_NO_TOKEN &&
        spaces_only_lead(vocabulary);
    kfi_tokenizer_mark_end(tokenizer, tokenizer->eos);
    KFI_TRY(kfi_tokenizer_parse_chat(tokenizer, err));
    return kfi_tokenizer_find_start(tokenizer, err);
}

static bool is_gguf(const char *path)
{
    kfi_file_map map = {0};
    if (kfi_file_map_open(&map, path, NULL) != KF_OK) {
        return false;
    }
    const bool found = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    kfi_file_map_close(&map);
    return found;
}

static kf_status open_gguf(kf_tokenizer **tokenizer, const char *path, const kf_allocator *alloc,
                           kf_error *err)
{
    kfi_gguf *gguf = NULL;
    KFI_TRY(kfi_gguf_open(&gguf, path, alloc, err));
    const kf_status st = kfi_tokenizer_from_gguf(tokenizer, gguf, alloc, err);
    kfi_gguf_close(gguf);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", path);
    }
    return st;
}

kf_status kf_tokenizer_open(kf_tokenizer **tokenizer, const char *path, const kf_allocator *alloc,
                            kf_error *err)
{
    *tokenizer = NULL;
    if (kfi_file_is_directory(path)) {
        return kfi_tokenizer_from_directory(tokenizer, path, alloc, err);
    }
    if (!kfi_file_exists(path)) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "'%s' is not there", path);
    }
    return is_gguf(path) ? open_gguf(tokenizer, path, alloc, err)
                         : kfi_tokenizer_from_llama2c(tokenizer, path, alloc, err);
}

size_t kf_tokenizer_count(const kf_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.n;
}

const char *kf_tokenizer_piece(const kf_tokenizer *tokenizer, uint32_t id, size_t *n)
{
    if (id >= tokenizer->vocabulary.n) {
        *n = 0;
        return "";
    }
    *n = tokenizer->vocabulary.tokens[id].n_piece;
    return tokenizer->vocabulary.tokens[id].piece;
}

uint32_t kf_tokenizer_bos(const kf_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

bool kf_tokenizer_adds_bos(const kf_tokenizer *tokenizer)
{
    return tokenizer->adds_bos;
}

const char *kf_tokenizer_warning(const kf_tokenizer *tokenizer)
{
    return tokenizer->warning;
}

bool kf_tokenizer_is_end(const kf_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->vocabulary.n &&
           (tokenizer->vocabulary.tokens[id].flags & KFI_TOKEN_END) != 0;
}

uint32_t kf_tokenizer_start(const kf_tokenizer *tokenizer)
{
    return tokenizer->start;
}
