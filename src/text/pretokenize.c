/* pretokenize.c - splitting text into the words that BPE works on.
 *
 * The published patterns, written out by hand instead of handed to a regular expression engine: a
 * character is a letter, a numeral, white space or something else, and the first alternative that
 * matches decides. That is exact (engines differ in what \s and \p{L} hold), linear in the text and
 * needs no stack.
 *
 *   GPT-2    's|'t|'re|'ve|'m|'ll|'d
 *            | ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   SmolLM   every \p{N} by itself, then GPT-2 on the parts between them
 *   Llama 3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}
 *            | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *   Qwen2    as Llama 3 with \p{N} instead of \p{N}{1,3}
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/pretokenize.h"

#include <string.h>

#include "text/unicode.h"

#define LLAMA3_PATTERN(numerals)                                                                   \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numerals                         \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d"
                                   "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

typedef struct span {
    const char *text;
    size_t n;
} span;

/* The character at i: its class and length; length 0 at the end of the text. */
typedef struct peeked {
    kfi_char_class class;
    uint32_t code;
    size_t n;
} peeked;

static peeked peek(span s, size_t i)
{
    if (i >= s.n) {
        return (peeked){KFI_CHAR_OTHER, 0, 0};
    }
    const kfi_utf8_char c = kfi_utf8_decode(s.text + i, s.n - i);
    return (peeked){kfi_unicode_class(c.code), c.code, c.n};
}

/* End of the run of one class that starts at i. */
static size_t skip_class(span s, size_t i, kfi_char_class class)
{
    for (;;) {
        const peeked c = peek(s, i);
        if (c.n == 0 || c.class != class) {
            return i;
        }
        i += c.n;
    }
}

/* Length of 's 't 're 've 'm 'll 'd at the start of the text, else 0. Without case, U+017F (long s)
 * is an s too. */
static size_t contraction(span s, bool any_case)
{
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (s.n < 2 || s.text[0] != '\'') {
        return 0;
    }
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t n = strlen(endings[i]);
        size_t equal = 0;
        while (equal < n && 1 + equal < s.n) {
            const char c = s.text[1 + equal];
            const char lower = any_case && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
            if (lower != endings[i][equal]) {
                break;
            }
            equal++;
        }
        if (equal == n) {
            return 1 + n;
        }
    }
    return any_case && s.n >= 3 && memcmp(s.text + 1, "\xC5\xBF", 2) == 0 ? 3 : 0;
}

/* The alternatives for white space that both families share: \s+(?!\S)|\s+. The run ends at
 * `end`; its last character is left for the word behind it, unless nothing follows. */
static size_t space_word(span s, size_t end, bool at_end)
{
    if (at_end) {
        return end;
    }
    const size_t last = kfi_utf8_last(s.text, end);
    return last > 0 ? last : end;
}

/* A numeral ends the text that SmolLM's second step sees. */
static size_t gpt2_next(span s, bool single_numerals)
{
    const size_t short_form = contraction(s, false);
    if (short_form > 0) {
        return short_form;
    }
    const peeked first = peek(s, 0);
    if (single_numerals && first.class == KFI_CHAR_NUMBER) {
        return first.n;
    }
    const peeked second = first.code == ' ' ? peek(s, 1) : first;
    const bool joins = second.n > 0 && second.class != KFI_CHAR_SPACE &&
                       !(single_numerals && second.class == KFI_CHAR_NUMBER);
    if (joins) {
        return skip_class(s, first.code == ' ' ? 1 : 0, second.class);
    }
    const size_t end = skip_class(s, 0, KFI_CHAR_SPACE);
    const bool at_numeral = single_numerals && peek(s, end).class == KFI_CHAR_NUMBER;
    return space_word(s, end, end == s.n || at_numeral);
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

static size_t skip_newlines(span s, size_t i)
{
    while (i < s.n && is_newline(s.text[i])) {
        i++;
    }
    return i;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ : the run up to its last line end, where it has one. */
static size_t llama3_space(span s)
{
    const size_t end = skip_class(s, 0, KFI_CHAR_SPACE);
    for (size_t i = end; i > 0; i--) {
        if (is_newline(s.text[i - 1])) {
            return i;
        }
    }
    return space_word(s, end, end == s.n);
}

static size_t llama3_numerals(span s, size_t most)
{
    size_t i = 0;
    for (size_t count = 0; count < most; count++) {
        const peeked c = peek(s, i);
        if (c.n == 0 || c.class != KFI_CHAR_NUMBER) {
            break;
        }
        i += c.n;
    }
    return i;
}

static size_t llama3_next(span s, size_t most_numerals)
{
    const size_t short_form = contraction(s, true);
    if (short_form > 0) {
        return short_form;
    }
    const peeked first = peek(s, 0);
    if (first.class == KFI_CHAR_LETTER) {
        return skip_class(s, 0, KFI_CHAR_LETTER);
    }
    if (first.class == KFI_CHAR_NUMBER) {
        return llama3_numerals(s, most_numerals);
    }
    const peeked second = peek(s, first.n);
    if (!is_newline(s.text[0]) && second.n > 0 && second.class == KFI_CHAR_LETTER) {
        return skip_class(s, first.n, KFI_CHAR_LETTER);
    }
    if (first.class == KFI_CHAR_OTHER) {
        return skip_newlines(s, skip_class(s, 0, KFI_CHAR_OTHER));
    }
    if (first.code == ' ' && second.n > 0 && second.class == KFI_CHAR_OTHER) {
        return skip_newlines(s, skip_class(s, 1, KFI_CHAR_OTHER));
    }
    return llama3_space(s);
}

size_t kfi_pretokenize_next(kfi_pretokenizer kind, const char *text, size_t n)
{
    const span s = {text, n};
    switch (kind) {
    case KFI_PRETOKENIZER_GPT2:
        return gpt2_next(s, false);
    case KFI_PRETOKENIZER_SMOLLM:
        return gpt2_next(s, true);
    case KFI_PRETOKENIZER_LLAMA3:
        return llama3_next(s, 3);
    case KFI_PRETOKENIZER_QWEN2:
        return llama3_next(s, 1);
    case KFI_PRETOKENIZER_NONE:
        break;
    }
    return n;
}

bool kfi_pretokenizer_by_name(kfi_pretokenizer *kind, const char *name, size_t n)
{
    static const struct {
        const char *name;
        kfi_pretokenizer kind;
    } names[] = {
        {"gpt-2", KFI_PRETOKENIZER_GPT2},
        {"gpt2", KFI_PRETOKENIZER_GPT2},
        {"default", KFI_PRETOKENIZER_GPT2},
        {"smollm", KFI_PRETOKENIZER_SMOLLM},
        {"llama-bpe", KFI_PRETOKENIZER_LLAMA3},
        {"llama3", KFI_PRETOKENIZER_LLAMA3},
        {"llama-v3", KFI_PRETOKENIZER_LLAMA3},
        {"qwen2", KFI_PRETOKENIZER_QWEN2},
        {"deepseek-r1-qwen", KFI_PRETOKENIZER_QWEN2},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i].name) == n && memcmp(names[i].name, name, n) == 0) {
            *kind = names[i].kind;
            return true;
        }
    }
    return false;
}

const char *kfi_pretokenizer_pattern(kfi_pretokenizer kind)
{
    switch (kind) {
    case KFI_PRETOKENIZER_GPT2:
        return gpt2_pattern;
    case KFI_PRETOKENIZER_LLAMA3:
        return LLAMA3_PATTERN("\\p{N}{1,3}");
    case KFI_PRETOKENIZER_QWEN2:
        return LLAMA3_PATTERN("\\p{N}");
    case KFI_PRETOKENIZER_SMOLLM:
    case KFI_PRETOKENIZER_NONE:
        break;
    }
    return NULL;
}

bool kfi_pretokenizer_by_pattern(kfi_pretokenizer *kind, const char *pattern, size_t n)
{
    static const kfi_pretokenizer kinds[] = {KFI_PRETOKENIZER_GPT2, KFI_PRETOKENIZER_LLAMA3,
                                             KFI_PRETOKENIZER_QWEN2};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const char *known = kfi_pretokenizer_pattern(kinds[i]);
        if (strlen(known) == n && memcmp(known, pattern, n) == 0) {
            *kind = kinds[i];
            return true;
        }
    }
    return false;
}
