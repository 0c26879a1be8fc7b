/* unpack_inline.h - a panel of codes as words, in plain C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_UNPACK_INLINE_H
#define KFI_KERNELS_UNPACK_INLINE_H

#include "kernels/planes_inline.h"

/* What the products take for a code: it, or what it stands for with the zero added that they take
 * off. */
static inline int16_t kfi_unpacked_code(const kfi_packed *w, uint8_t code)
{
    const int32_t operand = w->table != NULL                       ? w->table[code] + KFI_TABLE_ZERO
                            : w->format.element == KF_ELEMENT_E3M2 ? kfi_e3m2_level(code) + w->zero
                                                                   : code;
    return (int16_t)operand;
}

/* Writes panel i in lines of 64: line l holds columns 4l … 4l + 3, number 4r + c those of row r. */
static inline void kfi_unpack_panel(int16_t *dst, const kfi_packed *w, size_t i_panel)
{
    const unsigned bits = w->format.bits;
    const size_t chunk_bytes = bits * KFI_LINE_BYTES;
    const uint8_t *chunk = w->codes + i_panel * w->n_chunks * chunk_bytes;
    for (size_t i = 0; i < w->n_chunks; i++, chunk += chunk_bytes) {
        for (size_t byte = 0; byte < 8 * KFI_LINE_BYTES; byte++) {
            const size_t row = byte % KFI_LINE_BYTES / 4;
            const size_t col = byte / KFI_LINE_BYTES * 4 + byte % 4;
            const uint8_t code = kfi_chunk_get(chunk, bits, row, col);
            *dst++ = kfi_unpacked_code(w, code);
        }
    }
}

#endif /* KFI_KERNELS_UNPACK_INLINE_H */
