/* matmul_int8_avx512vnni.c - packed weights times int8 activations with vpdpbusd.
 *
 * A line of codes is the unsigned operand as it lies in memory (16 rows x 4 columns); four
 * activations of a token, broadcast to all rows, are the signed one:
 *
 *     line     r0: q0 q1 q2 q3 | r1: q0 q1 q2 q3 | … | r15: q0 q1 q2 q3
 *     token        x0 x1 x2 x3 |     x0 x1 x2 x3 | … |      x0 x1 x2 x3
 *     isum     r0 += Σ q x     | r1 += Σ q x     | … | r15 += Σ q x        one vpdpbusd
 *
 * More than a few tokens: two panels are unpacked once to bytes in scratch memory, and a tile of 6
 * tokens x 32 rows keeps 12 integer and 12 float sums in registers: 2 loads, 6 broadcasts and 12
 * vpdpbusd for every 4 columns.
 *
 * The zero of the codes is undone with the sum of the token's codes in the segment, either at its
 * end or, in the tile, by starting the integer sum there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdbool.h>

#include "kernels/x86/lanes_avx512.h"

#define TILE_TOKENS 6
#define FEW_TOKENS  16 /* with more, unpacking once to memory is faster */
#include "kernels/lanes/matmul_int8.h"
#include "kernels/x86/multiplied_avx512.h"

/* sum += line * word. Assembly, because gcc 12 spills accumulators around the intrinsic. */
INLINE ilanes dot(ilanes sum, bytes line, ilanes word_of_all)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(line), "v"(word_of_all));
    return sum;
}

INLINE ilanes dot_memory(ilanes sum, bytes line, const int8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(line), "m"(*(const word *)x));
    return sum;
}

/* ---- few tokens ---- */

/* A step waits four cycles, and two are done in each: few tokens have two chains of sums. */
INLINE bool has_two_chains(const int n_tokens)
{
    return n_tokens <= 4;
}

INLINE void dot_panel(const int n_tokens, const int kind, const bytes operands, ilanes *isum,
                      const uint8_t *codes, const token_tile *tile, size_t begin, size_t end)
{
    ilanes odd[TILE_TOKENS_MOST];
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        isum[t] = odd[t] = ilanes_set1(0);
    }
    for (size_t c = begin; c < end; c++) {
        const uint8_t *chunk = codes + c * chunk_bytes_of(kind);
        bytes q[8];
        prefetch_after(chunk, kind);
        unpack_chunk(q, chunk, kind, operands);
        UNROLL
        for (size_t quad = 0; quad < 8; quad++) {
            ilanes *sum = has_two_chains(n_tokens) && quad % 2 != 0 ? odd : isum;
            UNROLL
            for (int t = 0; t < n_tokens; t++) {
                const int8_t *x = tile->codes[t] + c * KFI_CHUNK_COLS + 4 * quad;
                sum[t] = dot_memory(sum[t], q[quad], x);
            }
        }
    }
    if (has_two_chains(n_tokens)) {
        UNROLL
        for (int t = 0; t < n_tokens; t++) {
            isum[t] = ilanes_add(isum[t], odd[t]);
        }
    }
}

INLINE int panel_tokens(const int kind)
{
    (void)kind;
    return 8;
}

#include "kernels/lanes/panel_product.h"

/* ---- tiles ---- */

/* isum += Σ q x over the chunks begin … end-1. */
INLINE void dot_tile(ilanes isum[TILE_TOKENS][TILE_PANELS], const int n_panels,
                     const uint8_t *const panels[TILE_PANELS], const token_tile *tile, size_t begin,
                     size_t end)
{
    for (size_t k = begin * KFI_CHUNK_COLS; k < end * KFI_CHUNK_COLS; k += 4) {
        bytes q[TILE_PANELS];
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            q[p] = bytes_load(panels[p] + k * KFI_PANEL_ROWS);
        }
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            const ilanes x = ilanes_set1(*(const word *)(tile->codes[t] + k));
            UNROLL
            for (int p = 0; p < n_panels; p++) {
                isum[t][p] = dot(isum[t][p], q[p], x);
            }
        }
    }
}

/* isum = -z Σ x, of floats of 6 bits an eighth of it. A zero that is the same for all rows costs no
 * vector product, which takes the place of a vpdpbusd. */
INLINE void start_sums(ilanes isum[TILE_TOKENS][TILE_PANELS], const kfi_packed *w, size_t i_panel,
                       const int n_panels, size_t group, const token_tile *tile, size_t begin,
                       size_t end)
{
    const bool is_e3m2 = w->format.element == KF_ELEMENT_E3M2;
    const bool is_uniform = w->format.zero != KF_ZERO_INTEGER;
    const int32_t zero = is_e3m2                            ? KFI_E3M2_ZERO / 8
                         : w->format.zero == KF_ZERO_OFFSET ? 0
                                                            : w->zero;
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        const int32_t sum_x = kfi_segment_sum(tile->sums[t], begin, end);
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            const size_t i_grid = panel_grid(w, i_panel + (size_t)p, group);
            isum[t][p] = is_uniform ? ilanes_set1(-zero * sum_x)
                                    : ilanes_mul(panel_zeros(w, i_grid), ilanes_set1(-sum_x));
        }
    }
}

/* Floats of 6 bits: the sums so far, of the high operands, count eight times, and those of the low
 * ones are added. */
INLINE void dot_low(ilanes isum[TILE_TOKENS][TILE_PANELS], const kfi_packed *w, const int n_panels,
                    const uint8_t *const panels[TILE_PANELS], const token_tile *tile, size_t begin,
                    size_t end)
{
    const uint8_t *low[TILE_PANELS];
    UNROLL
    for (int p = 0; p < n_panels; p++) {
        low[p] = panels[p] + unpacked_bytes(w);
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            isum[t][p] = ilanes_shift_left(isum[t][p], 3);
        }
    }
    dot_tile(isum, n_panels, low, tile, begin, end);
}

INLINE void multiply_tile(const bool is_e3m2, const kfi_packed *w, size_t i_panel,
                          const int n_panels, const uint8_t *const panels[TILE_PANELS],
                          const token_tile *tile, const kfi_segments *segments)
{
    lanes acc[TILE_TOKENS][TILE_PANELS];
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            acc[t][p] = lanes_zero();
        }
    }
    for (size_t s = 0; s < segments->n; s++) {
        const size_t begin = kfi_segment_begin(segments, s);
        const size_t end = kfi_segment_end(segments, s, w->n_chunks);
        const size_t group = s >> segments->weight_shift;
        const size_t group_x = s >> segments->token_shift;
        ilanes isum[TILE_TOKENS][TILE_PANELS];
        start_sums(isum, w, i_panel, n_panels, group, tile, begin, end);
        dot_tile(isum, n_panels, panels, tile, begin, end);
        if (is_e3m2) {
            dot_low(isum, w, n_panels, panels, tile, begin, end);
        }
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            const size_t i_grid = panel_grid(w, i_panel + (size_t)p, group);
            const lanes scales = panel_scales(w, i_grid);
            UNROLL
            for (int t = 0; t < TILE_TOKENS; t++) {
                const float scale_x = tile->scales[t][group_x];
                acc[t][p] = add_segment(acc[t][p], isum[t][p], scales, scale_x);
            }
            if (w->format.zero == KF_ZERO_OFFSET) {
                UNROLL
                for (int t = 0; t < TILE_TOKENS; t++) {
                    const int32_t sum_x = kfi_segment_sum(tile->sums[t], begin, end);
                    acc[t][p] = add_offset(acc[t][p], w, i_grid, sum_x, tile->scales[t][group_x]);
                }
            }
        }
    }
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            const size_t panel = i_panel + (size_t)p;
            if ((size_t)t < tile->n_tokens) {
                lanes_store_n(tile->y[t] + panel * KFI_PANEL_ROWS, acc[t][p], panel_rows(w, panel));
            }
        }
    }
}

/* Every kind of tile as a function of its own, so that each has the registers to itself. */
static void multiply_pair(const kfi_packed *w, size_t i_panel,
                          const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                          const kfi_segments *segments)
{
    multiply_tile(false, w, i_panel, TILE_PANELS, panels, tile, segments);
}

static void multiply_one(const kfi_packed *w, size_t i_panel,
                         const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                         const kfi_segments *segments)
{
    multiply_tile(false, w, i_panel, 1, panels, tile, segments);
}

static void multiply_pair_e3m2(const kfi_packed *w, size_t i_panel,
                               const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                               const kfi_segments *segments)
{
    multiply_tile(true, w, i_panel, TILE_PANELS, panels, tile, segments);
}

static void multiply_one_e3m2(const kfi_packed *w, size_t i_panel,
                              const uint8_t *const panels[TILE_PANELS], const token_tile *tile,
                              const kfi_segments *segments)
{
    multiply_tile(true, w, i_panel, 1, panels, tile, segments);
}

static void multiply_tokens(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                            size_t panel_end, const kfi_activations *x, uint8_t *scratch)
{
    const kfi_segments segments = kfi_segments_make(w, x);
    const bool is_e3m2 = w->format.element == KF_ELEMENT_E3M2;
    const size_t panel_bytes = (is_e3m2 ? 2 : 1) * unpacked_bytes(w);
    const uint8_t *const panels[TILE_PANELS] = {scratch, scratch + panel_bytes};
    for (size_t i = panel_begin; i < panel_end; i += TILE_PANELS) {
        const bool is_pair = panel_end - i >= TILE_PANELS;
        for (size_t p = 0; p < (is_pair ? TILE_PANELS : 1); p++) {
            (is_e3m2 ? unpack_panel_e3m2 : unpack_panel)(scratch + p * panel_bytes, w, i + p);
        }
        for (size_t t = 0; t < x->n_tokens; t += TILE_TOKENS) {
            const token_tile tile = tile_make(y, ld_y, x, t, TILE_TOKENS);
            if (is_pair) {
                (is_e3m2 ? multiply_pair_e3m2 : multiply_pair)(w, i, panels, &tile, &segments);
            } else {
                (is_e3m2 ? multiply_one_e3m2 : multiply_one)(w, i, panels, &tile, &segments);
            }
        }
    }
}

#include "kernels/x86/two_level_avx512vnni.h"

void kfi_matmul_int8_avx512vnni(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                                size_t panel_end, const kfi_activations *x, void *scratch)
{
    if (x->n_tokens <= FEW_TOKENS) {
        multiply_panels(y, ld_y, w, panel_begin, panel_end, x);
    } else if (w->format.scale == KF_SCALE_TWO_LEVEL) {
        multiply_tokens_two_level(y, ld_y, w, panel_begin, panel_end, x, scratch);
    } else {
        multiply_tokens(y, ld_y, w, panel_begin, panel_end, x, scratch);
    }
}
