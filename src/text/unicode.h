/* unicode.h - character classes, normalization form C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_UNICODE_H
#define KFI_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "kerf/error.h"

/* What the pre-tokenizers ask about a character: \p{L}, \p{N}, \s, or none of them. */
typedef enum kfi_char_class {
    KFI_CHAR_LETTER,
    KFI_CHAR_NUMBER,
    KFI_CHAR_SPACE,
    KFI_CHAR_OTHER
} kfi_char_class;

kfi_char_class kfi_unicode_class(uint32_t code);

/* The simple case mappings: one character to one. */
uint32_t kfi_unicode_upper(uint32_t code);
uint32_t kfi_unicode_lower(uint32_t code);

/* True where the text is certainly its own normalization form C: no character from U+0300 on. */
bool kfi_unicode_is_plain(const char *text, size_t n);

/* Appends the normalization form C of valid UTF-8, as of Unicode 9.0: what tokenizers with NFC were
 * trained with (nfc.c). KF_NOMEM. */
KF_NODISCARD kf_status kfi_unicode_append_nfc(kfi_buf *dst, const char *text, size_t n,
                                              kf_error *err);

#endif /* KFI_TEXT_UNICODE_H */
