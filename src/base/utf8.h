/* utf8.h - UTF-8: decoding, encoding, repair.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_UTF8_H
#define KFI_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define KFI_REPLACEMENT      0xFFFDu
#define KFI_REPLACEMENT_UTF8 "\xEF\xBF\xBD"

/* One decoded character. Invalid bytes decode as U+FFFD, one for each maximal subpart (Unicode 15,
 * section 3.9, "Substitution of Maximal Subparts"), as most decoders do. */
typedef struct kfi_utf8_char {
    uint32_t code;
    uint8_t n;  /* bytes taken, at least 1 */
    bool valid; /* false: code is the replacement */
    bool cut;   /* not valid only because the text ends inside the character */
} kfi_utf8_char;

/* Decodes the first character of n > 0 bytes. */
kfi_utf8_char kfi_utf8_decode(const char *text, size_t n);

/* Writes a code point below 0x110000; returns its 1 to 4 bytes. */
size_t kfi_utf8_encode(char dst[4], uint32_t code);

/* Start of the last character of n > 0 bytes of valid UTF-8. */
size_t kfi_utf8_last(const char *text, size_t n);

bool kfi_utf8_is_valid(const char *text, size_t n);

/* Appends text with every invalid part replaced; failure shows as dst->failed. */
void kfi_utf8_append_valid(kfi_buf *dst, const char *text, size_t n);

#endif /* KFI_BASE_UTF8_H */
