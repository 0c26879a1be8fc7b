/* byte_alphabet.h - the printable alphabet in which byte-level BPE writes its bytes.
 *
 * GPT-2 gives each of the 256 bytes a printable character, so that pieces can be kept as text: the
 * printable bytes of Latin-1 stand for themselves, the other 68 become U+0100, U+0101, … in order.
 * A space is U+0120 'Ġ', a line feed U+010A 'Ċ'.
 *
 * Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.2.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_BYTE_ALPHABET_H
#define KFI_TEXT_BYTE_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character of a byte. */
uint32_t kfi_byte_to_char(uint8_t byte);

/* The byte of a character; false where it stands for none. */
bool kfi_char_to_byte(uint8_t *byte, uint32_t code);

/* Reads text of the alphabet as bytes into dst, which has room for n; returns their number. False
 * where the text holds a character that is not of the alphabet, or is not UTF-8. */
bool kfi_alphabet_decode(char *dst, size_t *n_dst, const char *text, size_t n);

#endif /* KFI_TEXT_BYTE_ALPHABET_H */
