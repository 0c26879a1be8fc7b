/* tokenizer.h - the inside of a tokenizer, and the readers that fill it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_TOKENIZER_H
#define KFI_TEXT_TOKENIZER_H

#include "text/bpe.h"
#include "text/jinja.h"
#include "text/pretokenize.h"
#include "text/vocabulary.h"

/* SentencePiece writes a space as U+2581, the lower one eighth block. */
#define KFI_SPACE   "\xE2\x96\x81"
#define KFI_SPACE_N ((size_t)3)

/* Where a SentencePiece model puts a space in front of a text. */
typedef enum kfi_space_prefix {
    KFI_SPACE_PREFIX_NEVER,
    KFI_SPACE_PREFIX_FIRST, /* only at the very start */
    KFI_SPACE_PREFIX_ALWAYS /* behind every special token too */
} kfi_space_prefix;

/* What a SentencePiece model does with spaces; all zero for byte-level BPE. */
typedef struct kfi_space_rule {
    bool escape; /* write U+2581 for a space, and back when decoding */
    kfi_space_prefix prefix;
    bool prefix_once; /* not in front of a text that begins with a space already (Metaspace) */
    bool split_each;  /* every U+2581 begins a word (Metaspace with split) */
    bool cut;         /* no piece has U+2581 behind another character: words may end in front of a
                         run of them, which changes nothing but the time */
} kfi_space_rule;

struct kf_tokenizer {
    const kf_allocator *alloc;
    kfi_arena arena; /* keys, pieces and the template */
    kfi_vocabulary vocabulary;
    kfi_bpe bpe;
    kfi_pretokenizer pretokenizer;
    bool nfc; /* text is put into normalization form C first */
    kfi_space_rule spaces;
    uint32_t bos, eos, padding; /* or KF_NO_TOKEN */
    bool adds_bos;
    uint32_t start;            /* see kf_tokenizer_start() */
    const char *chat_template; /* NUL-terminated, or NULL */
    kfi_jinja *chat;           /* parsed, or NULL */
    kf_error chat_error;       /* why it was not understood */
    const char *warning;       /* see kf_tokenizer_warning(); static */
    const char *source;        /* directory whose files kf_tokenizer_save() copies, or NULL */
    const char *notice;        /* text of the NOTICE file that it writes, or NULL */
};

/* An empty tokenizer to be filled by a reader. */
KF_NODISCARD kf_status kfi_tokenizer_new(kf_tokenizer **tokenizer, const kf_allocator *alloc,
                                         kf_error *err);

/* Sets one token from its text as written in the file: finds its key, its decoded piece and, for
 * the single bytes, its place in byte_ids. The model's kind (bpe.byte_level, spaces.escape) is set
 * before. */
KF_NODISCARD kf_status kfi_tokenizer_set_token(kf_tokenizer *tokenizer, size_t id, const char *text,
                                               size_t n, kfi_token_kind kind, kf_error *err);

/* Adds a merge whose two sides are written as in the file. */
KF_NODISCARD kf_status kfi_tokenizer_put_merge(kf_tokenizer *tokenizer, const char *left,
                                               size_t n_left, const char *right, size_t n_right,
                                               uint32_t rank, kf_error *err);

/* Marks control tokens that end an answer by their well-known names: for files that do not say. */
void kfi_tokenizer_mark_known_ends(kf_tokenizer *tokenizer);
void kfi_tokenizer_mark_end(kf_tokenizer *tokenizer, uint32_t id);

/* The last step of every reader: parses the chat template, finds the start token. */
KF_NODISCARD kf_status kfi_tokenizer_finish(kf_tokenizer *tokenizer, kf_error *err);

/* The readers. */
struct kfi_gguf;
KF_NODISCARD kf_status kfi_tokenizer_from_gguf(kf_tokenizer **tokenizer,
                                               const struct kfi_gguf *gguf,
                                               const kf_allocator *alloc, kf_error *err);
KF_NODISCARD kf_status kfi_tokenizer_from_directory(kf_tokenizer **tokenizer, const char *path,
                                                    const kf_allocator *alloc, kf_error *err);
KF_NODISCARD kf_status kfi_tokenizer_from_llama2c(kf_tokenizer **tokenizer, const char *path,
                                                  const kf_allocator *alloc, kf_error *err);

#endif /* KFI_TEXT_TOKENIZER_H */
