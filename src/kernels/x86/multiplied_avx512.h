/* multiplied_avx512.h - codes of a panel, unpacked once for many tokens to a byte each; those of
 * two-level scales are multiplied, too.
 *
 * m q fits a byte, so that an integer sum can go on over groups. Where m < 0 the bytes are
 * |m| (q_max - q), with the zero q_max - z. Zeros are undone with 16-bit products: |m| z below 256
 * times a segment's sum of codes, at most 128 * 127.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_X86_MULTIPLIED_AVX512_H
#define KFI_KERNELS_X86_MULTIPLIED_AVX512_H

#include "kernels/x86/lanes_avx512.h"

#include "kernels/lanes/grid.h"
#include "kernels/lanes/unpack.h"

/* Codes of a panel, a byte each. */
INLINE size_t unpacked_bytes(const kfi_packed *w)
{
    return w->n_chunks * KFI_CHUNK_COLS * KFI_PANEL_ROWS;
}

/* Its zeros, a 32-bit word a row and group. */
INLINE size_t multiplied_zero_bytes(const kfi_packed *w)
{
    return w->n_groups * KFI_LINE_BYTES;
}

INLINE void unpack_panel_of(const int kind, uint8_t *dst, const kfi_packed *w, size_t i_panel)
{
    const size_t chunk_bytes = chunk_bytes_of(kind);
    const bytes operands = operands_of(kind, w->table);
    const uint8_t *chunk = w->codes + i_panel * w->n_chunks * chunk_bytes;
    for (size_t c = 0; c < w->n_chunks; c++, chunk += chunk_bytes) {
        bytes q[8];
        unpack_chunk(q, chunk, kind, operands);
        UNROLL
        for (int quad = 0; quad < 8; quad++, dst += KFI_LINE_BYTES) {
            _mm512_storeu_si512(dst, q[quad]);
        }
    }
}

/* The same as kfi_unpack_panel() of generic/unpack_inline.h, but bytes: a panel as if it had 8
 * bits. Not for floats of 6 bits. */
static inline void unpack_panel(uint8_t *dst, const kfi_packed *w, size_t i_panel)
{
    FOR_KINDS(kind_of(w), unpack_panel_of, dst, w, i_panel);
}

/* The two operands of floats of 6 bits, one panel after the other. */
static inline void unpack_panel_e3m2(uint8_t *dst, const kfi_packed *w, size_t i_panel)
{
    unpack_panel_of(E3M2_HIGH, dst, w, i_panel);
    unpack_panel_of(E3M2_LOW, dst + unpacked_bytes(w), w, i_panel);
}

/* Unpacks a panel with two-level scales to the bytes |m| q, or |m| (q_max - q) where m < 0:
 * products of 16-bit words, of which neither byte carries. zeros: those of such codes, |m| z or |m|
 * (q_max - z), [group][16 rows]. */
INLINE void unpack_multiplied_of(const int bits, uint8_t *dst, uint8_t *zeros, const kfi_packed *w,
                                 size_t i_panel)
{
    const size_t chunk_bytes = (size_t)bits * KFI_LINE_BYTES;
    const uint8_t *chunk = w->codes + i_panel * w->n_chunks * chunk_bytes;
    for (size_t c = 0; c < w->n_chunks; c++, chunk += chunk_bytes) {
        const size_t group = c * KFI_CHUNK_COLS / w->group;
        const size_t i_grid = panel_grid(w, i_panel, group);
        const ilanes m = panel_multipliers(w, i_grid);
        const ilanes magnitude = _mm512_abs_epi32(m);
        const ilanes factors = ilanes_or(magnitude, ilanes_shift_left(magnitude, 16));
        const bytes flip =
            bytes_and(ilanes_shift_right_signed(m, 31), bytes_set1((1u << bits) - 1));
        const ilanes zero = bytes_xor(panel_zeros(w, i_grid), bytes_and(flip, ilanes_set1(0xFF)));
        bytes q[8];
        unpack_chunk(q, chunk, bits, operands_of(bits, w->table));
        UNROLL
        for (int quad = 0; quad < 8; quad++, dst += KFI_LINE_BYTES) {
            const words product = (words)bytes_xor(q[quad], flip) * (words)factors;
            _mm512_storeu_si512(dst, (bytes)product);
        }
        _mm512_storeu_si512(zeros + group * KFI_LINE_BYTES, ilanes_mul_words(zero, magnitude));
    }
}

static inline void unpack_multiplied(uint8_t *dst, uint8_t *zeros, const kfi_packed *w,
                                     size_t i_panel)
{
    FOR_BITS(w->format.bits, unpack_multiplied_of, dst, zeros, w, i_panel);
}

/* sum += words a · b, of which a's are below 256 and every second one is 0. */
INLINE ilanes dot_words(ilanes sum, ilanes a, ilanes b)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

#endif /* KFI_KERNELS_X86_MULTIPLIED_AVX512_H */
