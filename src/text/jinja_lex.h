/* jinja_lex.h - cutting a template into text and tags, and tags into tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_LEX_H
#define KFI_TEXT_JINJA_LEX_H

#include "text/jinja_value.h"

typedef enum kfi_jinja_token_kind {
    KFI_TOKEN_NAME,
    KFI_TOKEN_INTEGER,
    KFI_TOKEN_STRING,
    KFI_TOKEN_OPERATOR,
    KFI_TOKEN_END_OF_TAG
} kfi_jinja_token_kind;

typedef struct kfi_jinja_token {
    kfi_jinja_token_kind kind;
    kfi_jinja_text text; /* of a string: decoded */
    int64_t integer;
    size_t offset;
} kfi_jinja_token;

/* What stands behind a piece of text. */
typedef enum kfi_jinja_tag {
    KFI_TAG_NONE,    /* the end of the template */
    KFI_TAG_OUTPUT,  /* {{ */
    KFI_TAG_BLOCK,   /* {% */
    KFI_TAG_COMMENT, /* {# … #}, already skipped */
} kfi_jinja_tag;

typedef struct kfi_jinja_lexer {
    const char *text;
    size_t n;
    size_t at;
    kfi_arena *arena;
    kfi_jinja_tag tag;     /* the tag we are in */
    int braces;            /* open { of maps: a }} inside them ends nothing */
    bool line_starting;    /* the text begins a line */
    kfi_jinja_token token; /* the current one */
    kf_error *err;
} kfi_jinja_lexer;

void kfi_jinja_lexer_init(kfi_jinja_lexer *lexer, const char *text, size_t n, kfi_arena *arena,
                          kf_error *err);

/* Takes the text up to the next tag, with white space stripped as the tag asks, and enters it. */
KF_NODISCARD kf_status kfi_jinja_lexer_text(kfi_jinja_lexer *lexer, kfi_jinja_text *text,
                                            kfi_jinja_tag *tag);

/* Moves to the next token of the tag; its end leaves the tag. */
KF_NODISCARD kf_status kfi_jinja_lexer_next(kfi_jinja_lexer *lexer);

/* The current token is this name or operator. */
bool kfi_jinja_lexer_is_name(const kfi_jinja_lexer *lexer, const char *name);
bool kfi_jinja_lexer_is_operator(const kfi_jinja_lexer *lexer, const char *text);

#endif /* KFI_TEXT_JINJA_LEX_H */
