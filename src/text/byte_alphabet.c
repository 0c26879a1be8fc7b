/* byte_alphabet.c - the printable alphabet in which byte-level BPE writes its bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/byte_alphabet.h"

#include "text/unicode.h"

/* The unprintable bytes are three ranges, which lie one after the other from U+0100 on:
 *   0x00…0x20 → U+0100…U+0120   0x7F…0xA0 → U+0121…U+0142   0xAD → U+0143 */
#define SECOND_RANGE 0x121u
#define THIRD_RANGE  0x143u

uint32_t kfi_byte_to_char(uint8_t byte)
{
    if (byte <= 0x20) {
        return 0x100u + byte;
    }
    if (byte >= 0x7F && byte <= 0xA0) {
        return SECOND_RANGE + (byte - 0x7Fu);
    }
    return byte == 0xAD ? THIRD_RANGE : byte;
}

bool kfi_char_to_byte(uint8_t *byte, uint32_t code)
{
    uint32_t value = code;
    if (code == THIRD_RANGE) {
        value = 0xAD;
    } else if (code >= SECOND_RANGE && code < THIRD_RANGE) {
        value = code - SECOND_RANGE + 0x7F;
    } else if (code >= 0x100 && code < SECOND_RANGE) {
        value = code - 0x100;
    } else if (code > 0xFF || kfi_byte_to_char((uint8_t)code) != code) {
        return false;
    }
    *byte = (uint8_t)value;
    return true;
}

bool kfi_alphabet_decode(char *dst, size_t *n_dst, const char *text, size_t n)
{
    size_t used = 0;
    size_t i = 0;
    while (i < n) {
        const kfi_utf8_char c = kfi_utf8_decode(text + i, n - i);
        uint8_t byte = 0;
        if (!c.valid || !kfi_char_to_byte(&byte, c.code)) {
            return false;
        }
        dst[used++] = (char)byte;
        i += c.n;
    }
    *n_dst = used;
    return true;
}
