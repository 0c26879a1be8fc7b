/* build_tokenizer.h - small tokenizers as GGUF metadata in memory, right or wrong on purpose.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_BUILD_TOKENIZER_H
#define KERF_TESTS_BUILD_TOKENIZER_H

#include <stdio.h>

#include "build_gguf.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#define LEFT_OUT UINT32_MAX

/* A byte-level model: the 256 bytes are tokens 0…255, merge i makes token 256 + i, then `extra`.
 * Fields that spoil the file are 0 in a sound one. */
typedef struct tokenizer_spec {
    const char *model; /* "gpt2" when NULL */
    const char *pre;   /* key left out when NULL */
    const char *chat;
    const char *licence;       /* key left out when NULL */
    const char *const *merges; /* "left right", in the byte alphabet */
    size_t n_merges;
    const char *const *extra; /* special tokens */
    const int *extra_kinds;
    size_t n_extra;
    uint32_t bos, eos;
    bool add_bos;
    size_t n_kinds_missing; /* token_type shorter than tokens */
    uint32_t kind_element;  /* element type of token_type; I32 when 0 */
    uint32_t text_element;  /* element type of tokens; STRING when 0 */
} tokenizer_spec;

static const char *const small_merges[] = {
    "h e", "l l", "he ll", "hell o", "\xC4\xA0 w", "o r", "\xC4\xA0w or", "l d", "\xC4\xA0wor ld",
};
static const char *const small_extra[] = {"<s>", "<|im_start|>", "<|im_end|>", "<tool>", "<pad>"};
static const int small_kinds[] = {3, 3, 3, 4, 5};
/* Ids of what small_spec makes. */
enum {
    SMALL_HE = 256,
    SMALL_HELLO = 259,
    SMALL_SPACE_WORLD = 264,
    SMALL_BOS = 265,
    SMALL_IM_START = 266,
    SMALL_IM_END = 267,
    SMALL_TOOL = 268,
    SMALL_PAD = 269,
    SMALL_N = 270
};

static inline tokenizer_spec small_spec(void)
{
    return (tokenizer_spec){.pre = "gpt-2",
                            .merges = small_merges,
                            .n_merges = 9,
                            .extra = small_extra,
                            .extra_kinds = small_kinds,
                            .n_extra = 5,
                            .bos = SMALL_BOS,
                            .eos = SMALL_IM_END,
                            .add_bos = true};
}

static inline void put_byte_token(kfi_buf *buf, uint8_t byte)
{
    char text[5] = {0};
    (void)kfi_utf8_encode(text, kfi_byte_to_char(byte));
    put_string(buf, text);
}

/* "left right" without its space. */
static inline void put_merged(kfi_buf *buf, const char *merge)
{
    const char *space = strchr(merge, ' ');
    char joined[64];
    (void)snprintf(joined, sizeof joined, "%.*s%s", (int)(space - merge), merge, space + 1);
    put_string(buf, joined);
}

static inline void put_tokens(kfi_buf *buf, const tokenizer_spec *spec)
{
    const size_t n = 256 + spec->n_merges + spec->n_extra;
    if (spec->text_element != 0) {
        gguf_key_array(buf, "tokenizer.ggml.tokens", spec->text_element, 1);
        put_u64(buf, 0);
        return;
    }
    gguf_key_array(buf, "tokenizer.ggml.tokens", KFI_GGUF_STRING, n);
    for (unsigned b = 0; b < 256; b++) {
        put_byte_token(buf, (uint8_t)b);
    }
    for (size_t i = 0; i < spec->n_merges; i++) {
        put_merged(buf, spec->merges[i]);
    }
    for (size_t i = 0; i < spec->n_extra; i++) {
        put_string(buf, spec->extra[i]);
    }
}

static inline void put_kinds(kfi_buf *buf, const tokenizer_spec *spec)
{
    const size_t n_plain = 256 + spec->n_merges;
    const size_t n = n_plain + spec->n_extra - spec->n_kinds_missing;
    const uint32_t element = spec->kind_element != 0 ? spec->kind_element : KFI_GGUF_I32;
    gguf_key_array(buf, "tokenizer.ggml.token_type", element, n);
    for (size_t i = 0; i < n; i++) {
        put_u32(buf, i < n_plain ? 1 : (uint32_t)spec->extra_kinds[i - n_plain]);
    }
}

static inline void build_tokenizer_gguf(kfi_buf *buf, const tokenizer_spec *spec)
{
    const uint64_t n_kv = 5 + (spec->pre != NULL) + (spec->chat != NULL) +
                          2 * (spec->licence != NULL) + (spec->bos != LEFT_OUT) +
                          (spec->eos != LEFT_OUT);
    gguf_begin(buf, 3, 0, n_kv);
    gguf_key_text(buf, "tokenizer.ggml.model", spec->model != NULL ? spec->model : "gpt2");
    if (spec->pre != NULL) {
        gguf_key_text(buf, "tokenizer.ggml.pre", spec->pre);
    }
    if (spec->chat != NULL) {
        gguf_key_text(buf, "tokenizer.chat_template", spec->chat);
    }
    if (spec->licence != NULL) {
        gguf_key_text(buf, "general.license", spec->licence);
        gguf_key_text(buf, "general.license.link", "https://example.org/terms");
    }
    put_tokens(buf, spec);
    put_kinds(buf, spec);
    gguf_key_array(buf, "tokenizer.ggml.merges", KFI_GGUF_STRING, spec->n_merges);
    for (size_t i = 0; i < spec->n_merges; i++) {
        put_string(buf, spec->merges[i]);
    }
    gguf_key(buf, "tokenizer.ggml.add_bos_token", KFI_GGUF_BOOL);
    put_u8(buf, spec->add_bos);
    if (spec->bos != LEFT_OUT) {
        gguf_key_u32(buf, "tokenizer.ggml.bos_token_id", spec->bos);
    }
    if (spec->eos != LEFT_OUT) {
        gguf_key_u32(buf, "tokenizer.ggml.eos_token_id", spec->eos);
    }
    put_padding(buf, 32);
}

/* A SentencePiece model: <unk> <s> </s>, the 256 byte tokens from 3 on, then the pieces from 259
 * on, whose scores fall. */
static inline void build_spm_gguf(kfi_buf *buf, const char *const *pieces, size_t n_pieces,
                                  uint32_t score_element)
{
    const size_t n = 259 + n_pieces;
    gguf_begin(buf, 3, 0, 7);
    gguf_key_text(buf, "tokenizer.ggml.model", "llama");
    gguf_key_array(buf, "tokenizer.ggml.tokens", KFI_GGUF_STRING, n);
    put_string(buf, "<unk>");
    put_string(buf, "<s>");
    put_string(buf, "</s>");
    for (unsigned b = 0; b < 256; b++) {
        char text[8];
        (void)snprintf(text, sizeof text, "<0x%02X>", b);
        put_string(buf, text);
    }
    for (size_t i = 0; i < n_pieces; i++) {
        put_string(buf, pieces[i]);
    }
    gguf_key_array(buf, "tokenizer.ggml.token_type", KFI_GGUF_I32, n);
    for (size_t i = 0; i < n; i++) {
        put_u32(buf, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    }
    gguf_key_array(buf, "tokenizer.ggml.scores", score_element, n);
    for (size_t i = 0; i < n; i++) {
        put_f32(buf, i < 259 ? 0.0F : -(float)(i - 259));
    }
    gguf_key_u32(buf, "tokenizer.ggml.bos_token_id", 1);
    gguf_key_u32(buf, "tokenizer.ggml.eos_token_id", 2);
    gguf_key_u32(buf, "tokenizer.ggml.unknown_token_id", 0);
    put_padding(buf, 32);
}

/* Reads a tokenizer from the bytes in buf, which it frees. */
static inline kf_status read_tokenizer(kf_tokenizer **tokenizer, kfi_buf *buf,
                                       const kf_allocator *alloc, kf_error *err)
{
    kfi_gguf *gguf = NULL;
    *tokenizer = NULL;
    kf_status st = kfi_gguf_parse(&gguf, (const uint8_t *)buf->data, buf->n, alloc, err);
    if (st == KF_OK) {
        st = kfi_tokenizer_from_gguf(tokenizer, gguf, alloc, err);
    }
    kfi_gguf_close(gguf);
    kfi_buf_deinit(buf);
    return st;
}

#endif /* KERF_TESTS_BUILD_TOKENIZER_H */
