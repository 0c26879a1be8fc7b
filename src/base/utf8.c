/* utf8.c - UTF-8: decoding, encoding, repair.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/utf8.h"

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

size_t kfi_utf8_last(const char *text, size_t n)
{
    size_t i = n - 1;
    while (i > 0 && ((uint8_t)text[i] & 0xC0u) == 0x80u) {
        i--;
    }
    return i;
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
