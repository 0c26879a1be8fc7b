/* format.h - fitting a grid to weights, and codes to and from panel-16.
 *
 * A quantizer works on plain arrays: one code a weight and one grid a row and group. Packing is the
 * last step.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_FORMAT_FORMAT_H
#define KFI_FORMAT_FORMAT_H

#include "base/alloc.h"
#include "base/round.h"
#include "kerf/format.h"
#include "kernels/kernels.h"

/* The grid of one group of one row: w = scale * (q - zero), or scale * q + offset. scale and offset
 * are exactly what the file will hold (already rounded to fp16 or a power of two). A two-level
 * scale is row_scale * multiplier, exactly, and row_scale the same in all groups of a row. */
typedef struct kfi_grid {
    float scale;
    float offset;       /* zero kind offset, else 0 */
    int32_t zero;       /* symmetric formats: 2^(bits-1); ternary 1; codebooks, floats: not used */
    float row_scale;    /* two-level scales, else 0 */
    int32_t multiplier; /* the same; it has a sign where the format is symmetric */
} kfi_grid;

/* What the codes of a tensor stand for, the same in all groups: their distance from the zero, the
 * entries of a codebook, w = scale * table[q], or the levels of floats of 6 bits (e3m2.h). */
typedef struct kfi_levels {
    int32_t q_max;       /* the greatest code */
    const int8_t *table; /* q_max + 1 entries, ascending (equal ones allowed); borrowed; or NULL */
    bool is_e3m2;
} kfi_levels;

/* The entries of a codebook that the format fixes, for ever (KFI_TABLE_ENTRIES, zeros behind
 * 2^bits); else NULL. */
const int8_t *kfi_format_table(kf_format format);
/* table: the entries of a format whose tensors have their own, of others not used. */
kfi_levels kfi_format_levels(kf_format format, const int8_t *table);

/* Learns the table of a format whose tensors have their own (KF_ELEMENT_CODEBOOK) from weights
 * [rows][cols] and the importance of columns, or NULL. Cost: one pass, no allocation. */
void kfi_format_learn(int8_t table[KFI_TABLE_ENTRIES], kf_format format, const float *weights,
                      const float *importance, size_t rows, size_t cols);

/* How a grid is chosen. */
typedef enum kfi_fit_kind {
    KFI_FIT_MIN_MAX, /* the range of the weights */
    KFI_FIT_MSE      /* shrink the range so that sum importance |w - w~|^exponent is least */
} kfi_fit_kind;

typedef struct kfi_fit {
    kfi_fit_kind kind;
    float exponent;      /* 2.0 … 4.0; GPTQ's code uses 2.4 */
    int steps;           /* candidates tried, e.g. 80 */
    float shrink;        /* least range tried, as a part of the full one, e.g. 0.2 */
    const int8_t *table; /* of a format whose tensors have their own; else not used */
} kfi_fit;

/* Columns of a group of this format in a row of cols (row: cols), and groups a row. */
size_t kfi_format_group(kf_format format, size_t cols);
size_t kfi_format_groups(kf_format format, size_t cols);

/* Fits the grid of one group of n finite weights; importance (n values >= 0) may be NULL. With
 * two-level scales grid->row_scale is given, and the multiplier is what is fitted. */
void kfi_format_fit(kfi_grid *grid, kf_format format, const float *weights, const float *importance,
                    size_t n, const kfi_fit *fit);

/* Fits the grids of a whole row, its groups in order; two-level scales: the row's scale too. */
void kfi_format_fit_row(kfi_grid *grids, kf_format format, const float *weights,
                        const float *importance, size_t cols, const kfi_fit *fit);

/* The code of the entry nearest to v, of two equally near ones the upper. q_max + 1 is a power of
 * two. */
static inline uint8_t kfi_table_nearest(kfi_levels levels, float v)
{
    int32_t code = 0;
    for (int32_t step = (levels.q_max + 1) / 2; step > 0; step /= 2) {
        const int32_t upper = code + step;
        const float middle = 0.5f * (float)(levels.table[upper - 1] + levels.table[upper]);
        code = v >= middle ? upper : code;
    }
    return (uint8_t)code;
}

/* The code nearest to w (half to even); inline because GPTQ calls it for every weight. */
static inline uint8_t kfi_grid_encode(const kfi_grid *grid, kfi_levels levels, float w)
{
    const float q_max = (float)levels.q_max;
    if (levels.table != NULL || levels.is_e3m2) {
        const float steps = grid->scale == 0.0f ? 0.0f : w / grid->scale; /* exact: as below */
        return levels.is_e3m2 ? kfi_e3m2_code(kfi_e3m2_round(steps))
                              : kfi_table_nearest(levels, steps);
    }
    if (grid->scale == 0.0f) { /* exact: an all-zero group */
        return (uint8_t)grid->zero;
    }
    float q = (w - grid->offset) / grid->scale;
    q = q > KFI_STEPS_MOST ? KFI_STEPS_MOST : q < -KFI_STEPS_MOST ? -KFI_STEPS_MOST : q;
    q = kfi_round_half_even(q) + (float)grid->zero;
    return (uint8_t)(q < 0.0f ? 0.0f : q > q_max ? q_max : q);
}

/* What a code stands for, in steps of the scale. */
static inline int32_t kfi_level_of(kfi_levels levels, int32_t zero, uint8_t code)
{
    return levels.table != NULL ? levels.table[code]
           : levels.is_e3m2     ? kfi_e3m2_level(code)
                                : (int32_t)code - zero;
}

/* The value of a code. */
static inline float kfi_grid_decode(const kfi_grid *grid, kfi_levels levels, uint8_t code)
{
    return grid->scale * (float)kfi_level_of(levels, grid->zero, code) + grid->offset;
}

/* Packs a matrix: kfi_packed_begin writes the header (table: as kfi_format_levels() has it) and
 * zeroes padding, then kfi_packed_write the panels panel_begin … panel_end-1, in any order and in
 * parallel, from the codes [rows][cols] and grids [rows][groups] of those panels' rows. dst has
 * kf_format_bytes() bytes, 64-byte aligned. */
void kfi_packed_begin(void *dst, kf_format format, const int8_t *table, size_t rows, size_t cols);
void kfi_packed_write(void *dst, size_t panel_begin, size_t panel_end, const uint8_t *codes,
                      const kfi_grid *grids);

/* Reads a packed tensor in place: checks header, size, and that scales and offsets are finite
 * (offset = byte in data). KF_FORMAT, KF_UNSUPPORTED. data is borrowed by dst. full: also that
 * padding is zero and no code above the greatest (verify). */
KF_NODISCARD kf_status kfi_packed_open(kfi_packed *dst, const void *data, size_t n, bool full,
                                       kf_error *err);

/* Panels begin … end-1 of a matrix as a matrix of their own, which borrows its bytes. */
kfi_packed kfi_packed_panels(const kfi_packed *packed, size_t begin, size_t end);

/* Decodes n columns from column begin of one row into float. */
void kfi_packed_decode_row(float *dst, const kfi_packed *packed, size_t row, size_t begin,
                           size_t n);
/* What its codes stand for. */
kfi_levels kfi_packed_levels(const kfi_packed *packed);
/* Codes and grids of one row back (any of the two may be NULL). */
void kfi_packed_read_row(uint8_t *codes, kfi_grid *grids, const kfi_packed *packed, size_t row);

/* KF_INVALID for what kf_activation_parse() does not give: the kernels rely on its groups. */
KF_NODISCARD kf_status kfi_activation_check(kf_activation activation, kf_error *err);

static inline bool kfi_activation_is_same(kf_activation a, kf_activation b)
{
    return a.bits == b.bits && a.group == b.group && a.kind == b.kind && a.clip == b.clip;
}

static inline bool kfi_activation_is_float(kf_activation activation)
{
    return activation.bits == 32;
}

/* Whether the input of a layer becomes codes: else its products are those of floats. */
static inline bool kfi_activation_has_codes(kf_activation activation)
{
    return activation.bits < 32 && activation.kind != KF_ACTIVATION_FP8;
}

/* Columns that share a scale in a row of cols: a multiple of 32. */
static inline size_t kfi_activation_group(kf_activation activation, size_t cols)
{
    return activation.group == KF_GROUP_ROW ? kfi_round_up(cols, KFI_CHUNK_COLS) : activation.group;
}

/* How a row of cols becomes codes, in a format that has codes. */
kfi_quantizer kfi_activation_quantizer(kf_activation activation, size_t cols);

/* Whether it may have a clip. */
bool kfi_activation_clips(kf_activation activation);

/* What a packed head takes beside blocks that take this: 8 bits where they take fewer, as Atom and
 * QuaRot leave the head alone. */
kf_activation kfi_activation_of_head(kf_activation of_blocks);

/* What a format other than float makes of a row of cols, as floats; dst may be x. scratch: 2 bytes
 * a column, padded to 32 columns, for floats. For layers whose weights are not packed. */
void kfi_activation_round(const kfi_kernels *kernels, float *dst, const float *x, size_t cols,
                          kf_activation activation, void *scratch);

/* Bits a weight of this tensor, everything included. */
double kfi_packed_bits(const kfi_packed *packed);

#endif /* KFI_FORMAT_FORMAT_H */
