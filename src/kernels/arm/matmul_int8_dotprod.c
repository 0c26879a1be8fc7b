/* matmul_int8_dotprod.c - packed weights times int8 activations with sdot.
 *
 * sdot multiplies signed bytes and adds four products to 32 bits. A quarter of a line (4 rows x 4
 * columns) is one operand, four activations broadcast to all rows the other. Codes of up to 7 bits
 * are signed bytes as they are; of 8 bits q - 128 is one, and 128 of each activation comes to it as
 * twice 64.
 *
 * A tile of 4 tokens x 16 rows keeps 16 registers of sums beside 8 of codes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdbool.h>

#include "kernels/arm/lanes_neon.h"

#include "kernels/lanes/matmul_int8.h"

INLINE int8x16_t broadcast(const int8_t *x)
{
    return vreinterpretq_s8_s32(vdupq_n_s32(*(const word *)x));
}

/* sum + Σ q x of four rows and columns. */
INLINE int32x4_t dot(const int bits, int32x4_t sum, bytes q, int8x16_t x)
{
    if (bits < 8) {
        return vdotq_s32(sum, vreinterpretq_s8_u8(q), x);
    }
    const int8x16_t half = vdupq_n_s8(64);
    const int8x16_t centred = vreinterpretq_s8_u8(bytes_xor(q, bytes_set1(0x80)));
    return vdotq_s32(vdotq_s32(vdotq_s32(sum, centred, x), half, x), half, x);
}

INLINE void dot_panel(const int n_tokens, const int kind, const bytes operands, ilanes *isum,
                      const uint8_t *codes, const token_tile *tile, size_t begin, size_t end)
{
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        isum[t] = ilanes_set1(0);
    }
    for (size_t c = begin; c < end; c++) {
        UNROLL
        for (size_t part = 0; part < LINE_PARTS; part++) {
            bytes q[8];
            unpack_chunk(q, codes + c * chunk_bytes_of(kind) + part * sizeof(bytes), kind,
                         operands);
            UNROLL
            for (int t = 0; t < n_tokens; t++) {
                const int8_t *x = tile->codes[t] + c * KFI_CHUNK_COLS;
                UNROLL
                for (int quad = 0; quad < 8; quad++) {
                    isum[t].val[part] = dot(operand_bits(kind), isum[t].val[part], q[quad],
                                            broadcast(x + 4 * quad));
                }
            }
        }
    }
}

INLINE int panel_tokens(const int kind)
{
    (void)kind;
    return 4;
}

#include "kernels/lanes/panel_product.h"

void kfi_matmul_int8_dotprod(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                             size_t panel_end, const kfi_activations *x, void *scratch)
{
    (void)scratch;
    multiply_panels(y, ld_y, w, panel_begin, panel_end, x);
}
