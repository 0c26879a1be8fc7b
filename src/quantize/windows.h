/* windows.h - which pieces of the calibration text are used.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_WINDOWS_H
#define KFI_QUANTIZE_WINDOWS_H

#include <stddef.h>
#include <stdint.h>

/* Pieces of a text of token ids, all of the same length. */
typedef struct kfi_windows {
    const uint32_t *ids; /* the whole text, borrowed */
    const size_t *offsets;
    size_t n, length;
} kfi_windows;

/* Draws n offsets in begin … end - length, each by itself, so that windows may overlap. The text
 * [begin, end) holds at least one window. */
void kfi_windows_draw(size_t *offsets, size_t n, size_t begin, size_t end, size_t length,
                      uint64_t seed);

#endif /* KFI_QUANTIZE_WINDOWS_H */
