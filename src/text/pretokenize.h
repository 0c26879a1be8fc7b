/* pretokenize.h - splitting text into the words that BPE works on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_PRETOKENIZE_H
#define KFI_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

/* The published patterns, by the model that brought them. */
typedef enum kfi_pretokenizer {
    KFI_PRETOKENIZER_GPT2,
    KFI_PRETOKENIZER_SMOLLM, /* numerals one by one, then GPT-2 */
    KFI_PRETOKENIZER_LLAMA3, /* numerals in threes */
    KFI_PRETOKENIZER_QWEN2,  /* as Llama 3, numerals one by one */
    KFI_PRETOKENIZER_NONE    /* the whole text is one word */
} kfi_pretokenizer;

/* Length of the first word of n > 0 bytes of valid UTF-8. Cost: O(length of the word and of the
 * white space behind it). */
size_t kfi_pretokenize_next(kfi_pretokenizer kind, const char *text, size_t n);

/* Finds a pre-tokenizer by its name in GGUF metadata (tokenizer.ggml.pre). */
bool kfi_pretokenizer_by_name(kfi_pretokenizer *kind, const char *name, size_t n);

/* Finds a pre-tokenizer by its regular expression as published in tokenizer.json; text of n
 * bytes. */
bool kfi_pretokenizer_by_pattern(kfi_pretokenizer *kind, const char *pattern, size_t n);

/* The regular expression of a kind that has one, else NULL. */
const char *kfi_pretokenizer_pattern(kfi_pretokenizer kind);

#endif /* KFI_TEXT_PRETOKENIZE_H */
