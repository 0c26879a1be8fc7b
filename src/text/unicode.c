/* unicode.c - character classes and case.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/unicode.h"

#include <utf8proc.h>

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
