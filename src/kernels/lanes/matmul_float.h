/* matmul_float.h - packed weights times float activations.
 *
 *            TILE_PANELS x 16 rows                  a panel is unpacked once to floats q - z,
 *           ┌────────────────┐ column k             [column][16], and then serves all tokens,
 *   token 0 │ acc, sum       │ <- fma(w[k], x[k])   six at a time: for every column one load a
 *         … │                │                      panel, one broadcast and TILE_PANELS fma a
 *   token 5 └────────────────┘                      token
 *
 * Every lane goes through the steps of generic/matmul_float_generic.c in the same order.
 *
 * Included once by each matmul_float_VARIANT.c, after their lanes and VARIANT.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdbool.h>

#include "kernels/kernels_list.h"
#include "kernels/lanes/grid.h"
#include "kernels/lanes/names.h"
#include "kernels/lanes/unpack.h"

#define TILE_TOKENS 6

/* ---- unpacking ---- */

/* A line of codes as bytes, or of floats of 6 bits as two of them. */
typedef struct code_line {
    bytes codes[LINE_PARTS];
    bytes high[LINE_PARTS];
} code_line;

INLINE ilanes column_codes(const int kind, const code_line *line, unsigned c)
{
    const ilanes codes = line_column(line->codes, c);
    return kind == E3M2 ? ilanes_add(ilanes_shift_left(line_column(line->high, c), 3), codes)
                        : codes;
}

INLINE void unpack_floats_of(const int kind, float *dst, const kfi_packed *w, size_t i_panel)
{
    const size_t chunk_bytes = chunk_bytes_of(kind);
    const int only = kind == E3M2 ? E3M2_LOW : kind;
    const bytes operands = operands_of(only, w->table);
    const uint8_t *chunk = w->codes + i_panel * w->n_chunks * chunk_bytes;
    for (size_t i = 0; i < w->n_chunks; i++, chunk += chunk_bytes) {
        const size_t group = i * KFI_CHUNK_COLS / w->group;
        const ilanes zeros = panel_zeros(w, panel_grid(w, i_panel, group));
        bytes parts[LINE_PARTS][8];
        bytes high[LINE_PARTS][8];
        for (size_t part = 0; part < LINE_PARTS; part++) {
            const uint8_t *half = chunk + part * sizeof(bytes);
            unpack_chunk(parts[part], half, only, operands);
            if (kind == E3M2) {
                unpack_chunk(high[part], half, E3M2_HIGH, operands_of(E3M2_HIGH, NULL));
            }
        }
        for (size_t quad = 0; quad < 8; quad++) {
            code_line line;
            for (size_t part = 0; part < LINE_PARTS; part++) {
                line.codes[part] = parts[part][quad];
                line.high[part] = kind == E3M2 ? high[part][quad] : bytes_set1(0);
            }
            for (unsigned c = 0; c < 4; c++, dst += KFI_PANEL_ROWS) {
                const ilanes codes = column_codes(kind, &line, c);
                lanes_store(dst, lanes_of_int(ilanes_sub(codes, zeros)));
            }
        }
    }
}

static void unpack_floats(float *dst, const kfi_packed *w, size_t i_panel)
{
    FOR_KINDS(kind_of(w), unpack_floats_of, dst, w, i_panel)
}

/* ---- tiles ---- */

/* Six tokens; where fewer are left the last one stands in for the others. */
typedef struct float_tile {
    const float *x[TILE_TOKENS];
    float *y[TILE_TOKENS];
    size_t n_tokens;
} float_tile;

/* The column behind a group. */
INLINE size_t group_end(const kfi_packed *w, size_t group)
{
    return (group + 1) * w->group < w->cols ? (group + 1) * w->group : w->cols;
}

/* Column sums of x, which the offset of a format multiplies: ascending, as every row adds them. */
static void sum_columns(float sums[TILE_TOKENS], const float_tile *tile, size_t begin, size_t end)
{
    for (size_t t = 0; t < TILE_TOKENS; t++) {
        sums[t] = 0.0f;
    }
    for (size_t k = begin; k < end; k++) {
        for (size_t t = 0; t < TILE_TOKENS; t++) {
            sums[t] += tile->x[t][k];
        }
    }
}

/* The scales of a group of a panel. is_two_level is a constant: a choice among three kinds here
 * makes gcc 12 spill sums of the AVX-512 tile, which costs a third of its speed. */
INLINE lanes group_scales(const bool is_two_level, const kfi_packed *w, size_t i_panel,
                          size_t group)
{
    const size_t i_grid = panel_grid(w, i_panel, group);
    if (is_two_level) {
        return lanes_mul(panel_row_scales(w, i_panel), lanes_of_int(panel_multipliers(w, i_grid)));
    }
    return panel_scales(w, i_grid);
}

/* acc += scale * sum over the group's columns, for n_panels (a constant) panels. */
INLINE void multiply_group(lanes acc[TILE_TOKENS][TILE_PANELS], const bool is_two_level,
                           const kfi_packed *w, size_t i_panel, const int n_panels,
                           const float *const panels[TILE_PANELS], const float_tile *tile,
                           size_t group)
{
    const size_t end = group_end(w, group);
    lanes sum[TILE_TOKENS][TILE_PANELS];
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            sum[t][p] = lanes_zero();
        }
    }
    for (size_t k = group * w->group; k < end; k++) {
        lanes weights[TILE_PANELS];
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            weights[p] = lanes_load(panels[p] + k * KFI_PANEL_ROWS);
        }
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            const lanes x = lanes_set1(tile->x[t][k]);
            UNROLL
            for (int p = 0; p < n_panels; p++) {
                sum[t][p] = lanes_fma(weights[p], x, sum[t][p]);
            }
        }
    }
    UNROLL
    for (int p = 0; p < n_panels; p++) {
        const lanes scales = group_scales(is_two_level, w, i_panel + (size_t)p, group);
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            acc[t][p] = lanes_fma(sum[t][p], scales, acc[t][p]);
        }
    }
}

INLINE void add_offsets(lanes acc[TILE_TOKENS][TILE_PANELS], const kfi_packed *w, size_t i_panel,
                        const int n_panels, const float_tile *tile, size_t group)
{
    float sums[TILE_TOKENS];
    sum_columns(sums, tile, group * w->group, group_end(w, group));
    UNROLL
    for (int p = 0; p < n_panels; p++) {
        const lanes offsets = panel_offsets(w, panel_grid(w, i_panel + (size_t)p, group));
        UNROLL
        for (int t = 0; t < TILE_TOKENS; t++) {
            acc[t][p] = lanes_fma(lanes_set1(sums[t]), offsets, acc[t][p]);
        }
    }
}

INLINE void multiply_tile(const bool is_two_level, const kfi_packed *w, size_t i_panel,
                          const int n_panels, const float *const panels[TILE_PANELS],
                          const float_tile *tile)
{
    lanes acc[TILE_TOKENS][TILE_PANELS];
    UNROLL
    for (int t = 0; t < TILE_TOKENS; t++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            acc[t][p] = lanes_zero();
        }
    }
    for (size_t group = 0; group < w->n_groups; group++) {
        multiply_group(acc, is_two_level, w, i_panel, n_panels, panels, tile, group);
        if (w->format.zero == KF_ZERO_OFFSET) {
            add_offsets(acc, w, i_panel, n_panels, tile, group);
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

/* Every kind of tile as a function of its own: each is a few hundred instructions. */
static void multiply_one(const kfi_packed *w, size_t i_panel,
                         const float *const panels[TILE_PANELS], const float_tile *tile)
{
    multiply_tile(false, w, i_panel, 1, panels, tile);
}

static void multiply_pair(const kfi_packed *w, size_t i_panel,
                          const float *const panels[TILE_PANELS], const float_tile *tile)
{
    multiply_tile(false, w, i_panel, TILE_PANELS, panels, tile);
}

static void multiply_one_two_level(const kfi_packed *w, size_t i_panel,
                                   const float *const panels[TILE_PANELS], const float_tile *tile)
{
    multiply_tile(true, w, i_panel, 1, panels, tile);
}

static void multiply_pair_two_level(const kfi_packed *w, size_t i_panel,
                                    const float *const panels[TILE_PANELS], const float_tile *tile)
{
    multiply_tile(true, w, i_panel, TILE_PANELS, panels, tile);
}

void KERNEL_NAME(matmul_float)(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                               size_t panel_end, const kfi_float_activations *x, void *scratch)
{
    const bool is_two_level = w->format.scale == KF_SCALE_TWO_LEVEL;
    const size_t n_tokens = x->n_tokens;
    const size_t panel_floats = w->n_chunks * KFI_CHUNK_COLS * KFI_PANEL_ROWS;
    const float *panels[TILE_PANELS];
    for (size_t i = panel_begin; i < panel_end; i += TILE_PANELS) {
        const size_t left = panel_end - i;
        const size_t n_panels = left < TILE_PANELS ? left : TILE_PANELS;
        for (size_t p = 0; p < n_panels; p++) {
            panels[p] = (float *)scratch + p * panel_floats;
            unpack_floats((float *)scratch + p * panel_floats, w, i + p);
        }
        for (size_t t = 0; t < n_tokens; t += TILE_TOKENS) {
            float_tile tile = {.n_tokens = n_tokens - t < TILE_TOKENS ? n_tokens - t : TILE_TOKENS};
            for (size_t k = 0; k < TILE_TOKENS; k++) {
                const size_t token = t + (k < tile.n_tokens ? k : tile.n_tokens - 1);
                tile.x[k] = x->x + token * x->ld;
                tile.y[k] = y + token * ld_y;
            }
            if (n_panels == TILE_PANELS) {
                (is_two_level ? multiply_pair_two_level : multiply_pair)(w, i, panels, &tile);
            } else {
                (is_two_level ? multiply_one_two_level : multiply_one)(w, i, panels, &tile);
            }
        }
    }
}
