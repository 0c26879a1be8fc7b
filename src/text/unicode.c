/* unicode.c - UTF-8 and character classes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/unicode.h"

#include <utf8proc.h>

/* The lead byte decides the length and what the second byte may be; so overlong forms, surrogates
 * and code points beyond U+10FFFF end at their first impossible byte. */
typedef struct lead_rule {
    uint8_t n;         /* bytes of the character, 0 for an impossible lead */
    uint8_t low, high; /* range of the second byte */
} lead_rule;

static lead_rule rule_of_lead(uint8_t lead)
{
    if (lead >= 0xC2 && lead <= 0xDF) {
        return (lead_rule){2, 0x80, 0xBF};
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        return (lead_rule){3, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF};
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        return (lead_rule){4, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF};
    }
    return (lead_rule){0, 0, 0};
}

kfi_utf8_char kfi_utf8_decode(const char *text, size_t n)
{
    const uint8_t *bytes = (const uint8_t *)text;
    if (bytes[0] < 0x80) {
        return (kfi_utf8_char){bytes[0], 1, true, false};
    }
    const lead_rule rule = rule_of_lead(bytes[0]);
    if (rule.n == 0) {
        return (kfi_utf8_char){KFI_REPLACEMENT, 1, false, false};
    }
    uint32_t code = bytes[0] & (0x7Fu >> rule.n);
    for (uint8_t i = 1; i < rule.n; i++) {
        const uint8_t low = i == 1 ? rule.low : 0x80;
        const uint8_t high = i == 1 ? rule.high : 0xBF;
        if (i >= n || bytes[i] < low || bytes[i] > high) {
            return (kfi_utf8_char){KFI_REPLACEMENT, i, false, i >= n};
        }
        code = code << 6 | (bytes[i] & 0x3Fu);
    }
    return (kfi_utf8_char){code, rule.n, true, false};
}

size_t kfi_utf8_encode(char dst[4], uint32_t code)
{
    if (code < 0x80) {
        dst[0] = (char)code;
        return 1;
    }
    const size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        dst[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    dst[0] = (char)((0xF00u >> n & 0xF0u) | code);
    return n;
}

bool kfi_utf8_is_valid(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        const kfi_utf8_char c = kfi_utf8_decode(text + i, n - i);
        if (!c.valid) {
            return false;
        }
        i += c.n;
    }
    return true;
}

void kfi_utf8_append_valid(kfi_buf *dst, const char *text, size_t n)
{
    size_t start = 0; /* of the valid part not yet copied */
    size_t i = 0;
    while (i < n) {
        const kfi_utf8_char c = kfi_utf8_decode(text + i, n - i);
        if (!c.valid) {
            (void)kfi_buf_append(dst, text + start, i - start);
            (void)kfi_buf_append_text(dst, KFI_REPLACEMENT_UTF8);
            start = i + c.n;
        }
        i += c.n;
    }
    (void)kfi_buf_append(dst, text + start, n - start);
}

/* The property White_Space, which \s means in the published patterns. */
static bool is_white_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

kfi_char_class kfi_unicode_class(uint32_t code)
{
    if ((code | 0x20) >= 'a' && (code | 0x20) <= 'z') {
        return KFI_CHAR_LETTER;
    }
    if (is_white_space(code)) {
        return KFI_CHAR_SPACE;
    }
    if (code < 0x80) {
        return code >= '0' && code <= '9' ? KFI_CHAR_NUMBER : KFI_CHAR_OTHER;
    }
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return KFI_CHAR_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return KFI_CHAR_NUMBER;
    default:
        return KFI_CHAR_OTHER;
    }
}

uint32_t kfi_unicode_upper(uint32_t code)
{
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)code);
}

uint32_t kfi_unicode_lower(uint32_t code)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
}
