/* planes_inline.h - codes in a chunk of panel-16, in plain C.
 *
 * packed.h draws the bytes. A plane of `width` bits has `width` lines and holds 8 / width quads of
 * columns a line, so that quad 0 … 7 (columns 4 quad … 4 quad + 3) lies in line quad / (8 / width)
 * at bit (quad mod (8 / width)) width.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_PLANES_INLINE_H
#define KFI_KERNELS_PLANES_INLINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/packed.h"

/* Bits of the plane that begins where `left` bits of the code remain. */
static inline unsigned kfi_plane_width(unsigned left)
{
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* Byte of a chunk and bit in it where a plane that begins at code bit `shift` holds a weight. */
static inline size_t kfi_plane_byte(unsigned shift, unsigned width, size_t row, size_t col)
{
    return (shift + col / 4 / (8 / width)) * KFI_LINE_BYTES + 4 * row + col % 4;
}

static inline unsigned kfi_plane_bit(unsigned width, size_t col)
{
    return (unsigned)(col / 4 % (8 / width)) * width;
}

/* The code of a weight of a chunk: row 0 … 15, col 0 … 31. */
static inline uint8_t kfi_chunk_get(const uint8_t *chunk, unsigned bits, size_t row, size_t col)
{
    unsigned code = 0;
    for (unsigned shift = 0; shift < bits;) {
        const unsigned width = kfi_plane_width(bits - shift);
        const unsigned byte = chunk[kfi_plane_byte(shift, width, row, col)];
        code |= (byte >> kfi_plane_bit(width, col) & ((1u << width) - 1u)) << shift;
        shift += width;
    }
    return (uint8_t)code;
}

/* Sets the code of a weight, whatever it was. */
static inline void kfi_chunk_set(uint8_t *chunk, unsigned bits, size_t row, size_t col,
                                 unsigned code)
{
    for (unsigned shift = 0; shift < bits;) {
        const unsigned width = kfi_plane_width(bits - shift);
        const unsigned bit = kfi_plane_bit(width, col);
        const unsigned mask = (1u << width) - 1u;
        uint8_t *byte = chunk + kfi_plane_byte(shift, width, row, col);
        *byte = (uint8_t)((*byte & ~(mask << bit)) | (code >> shift & mask) << bit);
        shift += width;
    }
}

/* Sets the codes of a row and of columns 4 quad … 4 quad + 3, a byte each, where zeros are. They
 * lie side by side in every plane, so that one word carries all four: no bit leaves its byte. */
static inline void kfi_chunk_put_quad(uint8_t *chunk, unsigned bits, size_t row, size_t quad,
                                      const uint8_t codes[4])
{
    uint32_t all;
    memcpy(&all, codes, sizeof all);
    for (unsigned shift = 0; shift < bits;) {
        const unsigned width = kfi_plane_width(bits - shift);
        const uint32_t part = all >> shift & ((1u << width) - 1u) * 0x01010101u;
        uint8_t *place = chunk + kfi_plane_byte(shift, width, row, 4 * quad);
        uint32_t word;
        memcpy(&word, place, sizeof word);
        word |= part << kfi_plane_bit(width, 4 * quad);
        memcpy(place, &word, sizeof word);
        shift += width;
    }
}

#endif /* KFI_KERNELS_PLANES_INLINE_H */
