/* names.h - reading the names of formats, piece by piece.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_FORMAT_NAMES_H
#define KFI_FORMAT_NAMES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Takes a prefix off a text: true and *text behind it, or false. */
static inline bool kfi_name_take(const char **text, const char *prefix)
{
    const size_t n = strlen(prefix);
    if (strncmp(*text, prefix, n) != 0) {
        return false;
    }
    *text += n;
    return true;
}

/* Takes the number of bits, a digit, off a text. A name tells them where its kind leaves a choice.
 */
static inline bool kfi_name_take_bits(const char **text, uint8_t *bits, uint8_t least, uint8_t most)
{
    *bits = least;
    if (least == most) {
        return true;
    }
    if ((*text)[0] < '0' + least || (*text)[0] > '0' + most) {
        return false;
    }
    *bits = (uint8_t)((*text)[0] - '0');
    (*text)++;
    return true;
}

#endif /* KFI_FORMAT_NAMES_H */
