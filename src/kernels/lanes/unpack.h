/* unpack.h - codes of a chunk as unsigned bytes in registers.
 *
 * Included after the lanes, whose `bytes` is one register: a line, or one of LINE_PARTS of it.
 * packed.h draws the planes. A part of a plane is shifted to its place in the code as 16-bit
 * words (there are no byte shifts) and masked, which also drops what came from the other byte.
 *
 * Registers for 64 codes a row of 16: 4 bits ½ shift + 1 and; 2 bits ¾ + 1; 3 bits 2 planes and an
 * or; a codebook 1 shuffle more.
 *
 * Functions get the `kind` of codes as a constant: the bits that are stored, or those with
 * LOOKED_UP, where a table of 16 bytes makes an operand of 8 bits of each code. Floats of 6 bits
 * (E3M2) are unpacked twice, as the two operands of e3m2.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_UNPACK_H
#define KFI_KERNELS_LANES_UNPACK_H

#include "kernels/lanes/unroll.h"
#include "kernels/packed.h"

/* Moves every 16-bit word by n bits, to the left where n > 0. */
INLINE bytes bytes_move(bytes x, int n)
{
    return n >= 0 ? (bytes)((words)x << n) : (bytes)((words)x >> -n);
}

/* Adds one plane of `width` bits, code bit `shift`, to the eight quads of a chunk. */
INLINE void unpack_plane(bytes q[8], const uint8_t *lines, const int width, const int shift)
{
    const bytes mask = bytes_set1(((1u << width) - 1u) << shift);
    const int per_line = 8 / width;
    UNROLL
    for (int quad = 0; quad < 8; quad++) {
        const bytes line = bytes_load(lines + quad / per_line * (int)KFI_LINE_BYTES);
        const bytes part = bytes_and(bytes_move(line, shift - quad % per_line * width), mask);
        q[quad] = shift == 0 ? part : bytes_or(q[quad], part);
    }
}

#define LOOKED_UP 16
#define E3M2      (2 * 16 + (int)KFI_E3M2_BITS)
#define E3M2_HIGH (3 * 16 + (int)KFI_E3M2_BITS)
#define E3M2_LOW  (4 * 16 + (int)KFI_E3M2_BITS)

INLINE int kind_of(const kfi_packed *w)
{
    return w->format.element == KF_ELEMENT_E3M2 ? E3M2
           : w->table != NULL                   ? w->format.bits + LOOKED_UP
                                                : w->format.bits;
}

INLINE int stored_bits(const int kind)
{
    return kind % LOOKED_UP;
}

/* Of the greater operand where there are two. */
INLINE int operand_bits(const int kind)
{
    return kind == E3M2_LOW ? 6 : kind >= E3M2 ? 7 : kind >= LOOKED_UP ? 8 : kind;
}

/* Bytes of a chunk in memory. */
INLINE size_t chunk_bytes_of(const int kind)
{
    return (size_t)stored_bits(kind) * KFI_LINE_BYTES;
}

/* The unsigned bytes that codes stand for by a table, in every 16 bytes of the register; not used
 * where they are not looked up. */
INLINE bytes operands_of(const int kind, const int8_t *table)
{
    if (kind < LOOKED_UP || kind == E3M2) {
        return bytes_set1(0);
    }
    if (kind > E3M2) {
        return bytes_repeat(kind == E3M2_HIGH ? kfi_e3m2_high : kfi_e3m2_low);
    }
    return bytes_xor(bytes_repeat((const uint8_t *)table), bytes_set1(KFI_TABLE_ZERO));
}

/* One of the operands of floats of 6 bits, whose upper plane stands in bits 6 (the sign) and 7 (the
 * table that the low bits are the place in). */
INLINE bytes e3m2_operand(const int kind, const bytes magnitudes, bytes q)
{
    const bytes places = kind == E3M2_HIGH ? bytes_xor(q, bytes_set1(0x80)) : q;
    const bytes part = bytes_negate(bytes_lookup_below(magnitudes, places), bytes_add(q, q));
    const unsigned zero = kind == E3M2_HIGH ? KFI_E3M2_HIGH_ZERO : KFI_E3M2_LOW_ZERO;
    return bytes_add(part, bytes_set1(zero));
}

INLINE void unpack_e3m2(bytes q[8], const uint8_t *chunk, const int kind, const bytes magnitudes)
{
    unpack_plane(q, chunk, 4, 0);
    unpack_plane(q, chunk + 4 * (int)KFI_LINE_BYTES, 2, 6);
    UNROLL
    for (int quad = 0; quad < 8; quad++) {
        q[quad] = e3m2_operand(kind, magnitudes, q[quad]);
    }
}

/* The eight quads of a chunk (columns 4 quad … 4 quad + 3) as operands; kind is a constant of the
 * caller, `operands` what operands_of() gives. */
INLINE void unpack_chunk(bytes q[8], const uint8_t *chunk, const int kind, const bytes operands)
{
    const int bits = stored_bits(kind);
    if (kind >= E3M2) {
        unpack_e3m2(q, chunk, kind, operands);
        return;
    }
    if (bits == 8) {
        UNROLL
        for (int quad = 0; quad < 8; quad++) {
            q[quad] = bytes_load(chunk + quad * (int)KFI_LINE_BYTES);
        }
        return;
    }
    const int pairs = bits >= 4 ? 4 : 0; /* code bit where the 2-bit plane begins */
    if (bits >= 4) {
        unpack_plane(q, chunk, 4, 0);
    }
    if ((bits & 2) != 0) {
        unpack_plane(q, chunk + pairs * (int)KFI_LINE_BYTES, 2, pairs);
    }
    if ((bits & 1) != 0) {
        unpack_plane(q, chunk + (bits - 1) * (int)KFI_LINE_BYTES, 1, bits - 1);
    }
    if (kind >= LOOKED_UP) {
        UNROLL
        for (int quad = 0; quad < 8; quad++) {
            q[quad] = bytes_lookup(operands, q[quad]);
        }
    }
}

/* Runs F(bits, …) with bits a constant. */
#define FOR_BITS(bits, F, ...)                                                                     \
    switch (bits) {                                                                                \
    case 2:                                                                                        \
        F(2, __VA_ARGS__);                                                                         \
        break;                                                                                     \
    case 3:                                                                                        \
        F(3, __VA_ARGS__);                                                                         \
        break;                                                                                     \
    case 4:                                                                                        \
        F(4, __VA_ARGS__);                                                                         \
        break;                                                                                     \
    case 5:                                                                                        \
        F(5, __VA_ARGS__);                                                                         \
        break;                                                                                     \
    case 6:                                                                                        \
        F(6, __VA_ARGS__);                                                                         \
        break;                                                                                     \
    case 7:                                                                                        \
        F(7, __VA_ARGS__);                                                                         \
        break;                                                                                     \
    default:                                                                                       \
        F(8, __VA_ARGS__);                                                                         \
        break;                                                                                     \
    }

/* Runs F(kind, …) with kind a constant. */
#define FOR_KINDS(kind, F, ...)                                                                    \
    switch (kind) {                                                                                \
    case LOOKED_UP + 2:                                                                            \
        F(LOOKED_UP + 2, __VA_ARGS__);                                                             \
        break;                                                                                     \
    case LOOKED_UP + 3:                                                                            \
        F(LOOKED_UP + 3, __VA_ARGS__);                                                             \
        break;                                                                                     \
    case LOOKED_UP + 4:                                                                            \
        F(LOOKED_UP + 4, __VA_ARGS__);                                                             \
        break;                                                                                     \
    case E3M2:                                                                                     \
        F(E3M2, __VA_ARGS__);                                                                      \
        break;                                                                                     \
    default:                                                                                       \
        FOR_BITS(kind, F, __VA_ARGS__)                                                             \
        break;                                                                                     \
    }

#endif /* KFI_KERNELS_LANES_UNPACK_H */
