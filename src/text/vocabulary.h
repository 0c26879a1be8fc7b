/* vocabulary.h - the tokens of a model: their bytes, kinds, and how to find them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_VOCABULARY_H
#define KFI_TEXT_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "io/names.h"
#include "kerf/error.h"
#include "kerf/tokenizer.h"

/* Kinds, numbered as in GGUF (tokenizer.ggml.token_type). */
typedef enum kfi_token_kind {
    KFI_TOKEN_NORMAL = 1,
    KFI_TOKEN_UNKNOWN = 2,
    KFI_TOKEN_CONTROL = 3, /* steers the model; is not text */
    KFI_TOKEN_USER = 4,    /* text that is always one token */
    KFI_TOKEN_UNUSED = 5,  /* only a row of the embedding */
    KFI_TOKEN_BYTE = 6     /* "<0x41>": one byte, where no piece fits */
} kfi_token_kind;

#define KFI_TOKEN_END          (1u << 0) /* ends an answer */
#define KFI_TOKEN_STRIPS_LEFT  (1u << 1) /* takes the white space in front of it */
#define KFI_TOKEN_STRIPS_RIGHT (1u << 2) /* … behind it */
#define KFI_TOKEN_PLAIN                                                                            \
    (1u << 3) /* byte-level: its text is not its bytes in the alphabet, so                         \
                 that no word is ever equal to it */

/* A special token longer than this is refused: scanning costs O(longest) a byte of text. */
#define KFI_MAX_ADDED ((size_t)512)

typedef struct kfi_token {
    const char *key;   /* what a word is compared with: bytes, or text with U+2581 for spaces */
    const char *piece; /* what it decodes to */
    uint32_t n_key, n_piece;
    uint8_t kind; /* kfi_token_kind */
    uint8_t flags;
} kfi_token;

/* One that is searched in a text: CONTROL, UNKNOWN or USER, with a text of its own. */
bool kfi_token_is_added(const kfi_token *token);

/* Filled in three steps: init, set every id once, finish. Text lies in the caller's arena. */
typedef struct kfi_vocabulary {
    const kf_allocator *alloc;
    kfi_token *tokens;
    size_t n;
    kfi_names index;        /* from key to id: NORMAL and USER tokens */
    uint32_t byte_ids[256]; /* the token of each single byte, or KF_NO_TOKEN */
    uint32_t *added;        /* CONTROL, UNKNOWN and USER tokens, sorted by key */
    size_t n_added;
    uint32_t first[257]; /* added tokens that start with byte b: added[first[b]…first[b + 1] - 1] */
} kfi_vocabulary;

/* n tokens, all UNUSED and empty. KF_NOMEM; KF_FORMAT where n is 0 or beyond any model. */
KF_NODISCARD kf_status kfi_vocabulary_init(kfi_vocabulary *vocabulary, size_t n,
                                           const kf_allocator *alloc, kf_error *err);
void kfi_vocabulary_deinit(kfi_vocabulary *vocabulary);

/* Builds the indices once every token is set. KF_NOMEM; KF_UNSUPPORTED for an added token beyond
 * KFI_MAX_ADDED; KF_FORMAT for keys made to collide. */
KF_NODISCARD kf_status kfi_vocabulary_finish(kfi_vocabulary *vocabulary, kf_error *err);

/* The NORMAL or USER token with this key, or KF_NO_TOKEN; between equal keys the last id. */
uint32_t kfi_vocabulary_find(const kfi_vocabulary *vocabulary, const char *key, size_t n);

/* The longest added token that the text starts with, or KF_NO_TOKEN; control and unknown tokens
 * only where special is set. */
uint32_t kfi_vocabulary_match(const kfi_vocabulary *vocabulary, const char *text, size_t n,
                              bool special);

/* The added token with exactly this text, or KF_NO_TOKEN. */
uint32_t kfi_vocabulary_find_added(const kfi_vocabulary *vocabulary, const char *text, size_t n);

/* The byte of a token written "<0x41>". */
bool kfi_byte_token_parse(uint8_t *byte, const char *text, size_t n);

#endif /* KFI_TEXT_VOCABULARY_H */
