/* unpack_inline.h - a panel of codes as bytes, in plain C.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_UNPACK_INLINE_H
#define KFI_KERNELS_UNPACK_INLINE_H

#include "kernels/planes_inline.h"

/* Writes panel i as if it had 8 bits: line l holds columns 4l … 4l + 3, byte 4r + c. What codes of
 * a codebook stand for gets 128 added. */
static inline void kfi_unpack_panel(uint8_t *dst, const kfi_packed *w, size_t i_panel)
{
    const unsigned bits = w->format.bits;
    const size_t chunk_bytes = bits * KFI_LINE_BYTES;
    const uint8_t *chunk = w->codes + i_panel * w->n_chunks * chunk_bytes;
    for (size_t i = 0; i < w->n_chunks; i++, chunk += chunk_bytes) {
        for (size_t byte = 0; byte < 8 * KFI_LINE_BYTES; byte++) {
            const size_t row = byte % KFI_LINE_BYTES / 4;
            const size_t col = byte / KFI_LINE_BYTES * 4 + byte % 4;
            const uint8_t code = kfi_chunk_get(chunk, bits, row, col);
            *dst++ = w->table != NULL ? (uint8_t)(w->table[code] + KFI_TABLE_ZERO) : code;
        }
    }
}

#endif /* KFI_KERNELS_UNPACK_INLINE_H */
