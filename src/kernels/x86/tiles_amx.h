/* tiles_amx.h - the eight tile registers of AMX.
 *
 * A tile is 16 rows of 64 bytes, here always all of it:
 *
 *     A  16 tokens x 64 columns of signed codes         row t:  x[t][0…63]
 *     B  64 columns x 16 rows of unsigned codes         row k:  a line of panel-16 (packed.h),
 *                                                               columns 4k … 4k+3 of 16 rows
 *     C  16 tokens x 16 rows of 32-bit sums             C += A B, wrapping around
 *
 * Tile numbers are literal. The instructions are assembly with all memory as operand: the
 * intrinsics of gcc 12 say of a configuration that its first 8 bytes are read, and of a tile's
 * memory nothing, so that stores before them may be dropped. No compiler keeps a value of its own
 * in a tile, and so none is declared as overwritten; no flag of a compiler is needed either.
 *
 * Who configures tiles releases them: a thread that sleeps with them would keep the processor from
 * its deeper rest, and every switch to another would save 8 KiB.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_X86_TILES_AMX_H
#define KFI_KERNELS_X86_TILES_AMX_H

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#define TILE_ROWS 16
#define TILE_COLS 64 /* bytes */

/* What ldtilecfg reads: palette 1, shapes of the eight tiles, zeros for those it has not. */
typedef struct tile_config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

_Static_assert(sizeof(tile_config) == 64, "as the processor reads it");

#define EIGHT(x) (x), (x), (x), (x), (x), (x), (x), (x)
static const alignas(64) tile_config full_tiles = {
    .palette = 1, .row_bytes = {EIGHT(TILE_COLS)}, .rows = {EIGHT(TILE_ROWS)}};
#undef EIGHT

static inline void tiles_configure(const tile_config *config)
{
    __asm__ volatile("ldtilecfg %0" : : "m"(*config) : "memory");
}

static inline void tiles_release(void)
{
    __asm__ volatile("tilerelease" : : : "memory");
}

/* Tile i = 0. */
#define TILE_ZERO(i) __asm__ volatile("tilezero %%tmm" #i : : : "memory")

/* Tile i, its rows `stride` bytes apart, from and to memory. */
#define TILE_LOAD(i, src, stride)                                                                  \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #i                                               \
                     :                                                                             \
                     : "r"((const void *)(src)), "r"((size_t)(stride))                             \
                     : "memory")
#define TILE_STORE(i, dst, stride)                                                                 \
    __asm__ volatile("tilestored %%tmm" #i ", (%0,%1,1)"                                           \
                     :                                                                             \
                     : "r"((void *)(dst)), "r"((size_t)(stride))                                   \
                     : "memory")

/* c += a b, a signed and b unsigned. */
#define TILE_DOT(c, a, b)                                                                          \
    __asm__ volatile("tdpbsud %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")

#endif /* KFI_KERNELS_X86_TILES_AMX_H */
