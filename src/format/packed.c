/* packed.c - codes and grids to panel-16 and back.
 *
 * kernels/packed.h draws the bytes of the planes, layout.h the header. packed_open.c opens what
 * comes from a file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "format/format.h"
#include "format/layout.h"
#include "kernels/grid_inline.h"
#include "kernels/planes_inline.h"

kfi_packed kfi_packed_panels(const kfi_packed *packed, size_t begin, size_t end)
{
    const size_t row = begin * KFI_PANEL_ROWS;
    const size_t row_end = end * KFI_PANEL_ROWS;
    const size_t index = kfi_packed_grid_index(packed, row, 0);
    const size_t scale_bytes = packed->format.scale == KF_SCALE_FP16 ? 2 : 1;
    const size_t zero_bytes = packed->format.zero == KF_ZERO_OFFSET ? 2 : 1;
    assert(begin < end && end <= packed->n_panels);
    kfi_packed part = *packed;
    part.rows = (row_end < packed->rows ? row_end : packed->rows) - row;
    part.n_panels = end - begin;
    part.codes += kfi_layout_chunk(packed, row, 0);
    part.scales = (const uint8_t *)packed->scales + index * scale_bytes;
    part.row_scales = packed->row_scales == NULL ? NULL : packed->row_scales + row;
    part.zeros = packed->zeros == NULL ? NULL : (const uint8_t *)packed->zeros + index * zero_bytes;
    return part;
}

/* ---- writing ---- */

void kfi_packed_begin(void *dst, kf_format format, const int8_t *table, size_t rows, size_t cols)
{
    kfi_layout layout = {0};
    uint8_t *const bytes = dst;
    const kf_status st = kfi_layout_make(&layout, format, rows, cols, NULL);
    assert(st == KF_OK && kfi_format_is_known(format));
    (void)st;
    kfi_packed_header header = {.version = KFI_PACKED_VERSION,
                                .element = format.element,
                                .bits = format.bits,
                                .scale = format.scale,
                                .zero = format.zero,
                                .group = format.group,
                                .rows = rows,
                                .cols = cols};
    const kfi_levels levels = kfi_format_levels(format, table);
    memcpy(header.magic, KFI_PACKED_MAGIC, sizeof header.magic);
    if (levels.table != NULL) {
        memcpy(header.table, levels.table, (size_t)levels.q_max + 1);
    }
    memcpy(bytes, &header, sizeof header);
    memset(bytes + layout.scales + layout.scales_used, 0,
           layout.zeros - layout.scales - layout.scales_used);
    memset(bytes + layout.zeros + layout.zeros_used, 0,
           layout.bytes - layout.zeros - layout.zeros_used);
}

static void write_quad(uint8_t *plane, const kfi_packed *packed, size_t row, size_t col,
                       const uint8_t codes[4])
{
    kfi_chunk_put_quad(plane + kfi_layout_chunk(packed, row, col), packed->format.bits,
                       row % KFI_PANEL_ROWS, col % KFI_CHUNK_COLS / 4, codes);
}

/* The codes are those of the panel's rows. */
static void write_panel_codes(uint8_t *plane, const kfi_packed *packed, size_t first_row,
                              const uint8_t *codes)
{
    const size_t left = packed->rows - first_row;
    const size_t n_rows = left < KFI_PANEL_ROWS ? left : KFI_PANEL_ROWS;
    const size_t n_rest = packed->cols % 4;
    memset(plane + kfi_layout_chunk(packed, first_row, 0), 0,
           packed->n_chunks * packed->format.bits * KFI_LINE_BYTES);
    for (size_t row = first_row; row < first_row + n_rows; row++, codes += packed->cols) {
        for (size_t c = 0; c + 4 <= packed->cols; c += 4) {
            write_quad(plane, packed, row, c, codes + c);
        }
        if (n_rest > 0) {
            uint8_t rest[4] = {0};
            memcpy(rest, codes + packed->cols - n_rest, n_rest);
            write_quad(plane, packed, row, packed->cols - n_rest, rest);
        }
    }
}

static uint8_t exponent_byte(float scale)
{
    return (uint8_t)(kfi_float_bits(scale) >> 23); /* the subnormal 2^-127 has the exponent 0 */
}

static void write_grid(uint8_t *scales, uint8_t *zeros, kf_format format, size_t index,
                       const kfi_grid *grid)
{
    switch (format.scale) {
    case KF_SCALE_TWO_LEVEL:
        scales[index] = (uint8_t)grid->multiplier;
        break;
    case KF_SCALE_POWER_OF_TWO:
        scales[index] = exponent_byte(grid->scale);
        break;
    default: {
        const uint16_t half = kfi_half_from_float(grid->scale);
        memcpy(scales + 2 * index, &half, sizeof half);
    }
    }
    if (format.zero == KF_ZERO_OFFSET) {
        const uint16_t half = kfi_half_from_float(grid->offset);
        memcpy(zeros + 2 * index, &half, sizeof half);
    } else if (format.zero == KF_ZERO_INTEGER) {
        zeros[index] = (uint8_t)grid->zero;
    }
}

static void write_panel_grids(uint8_t *scales, uint8_t *zeros, const kfi_packed *packed,
                              size_t first_row, const kfi_grid *grids)
{
    static const kfi_grid padding = {0};
    for (size_t g = 0; g < packed->n_groups; g++) {
        for (size_t row = first_row; row < first_row + KFI_PANEL_ROWS; row++) {
            const size_t index = kfi_packed_grid_index(packed, row, g);
            const kfi_grid *grid =
                row < packed->rows ? &grids[(row - first_row) * packed->n_groups + g] : &padding;
            write_grid(scales, zeros, packed->format, index, grid);
        }
    }
}

static void write_row_scales(uint8_t *row_scales, const kfi_packed *packed, size_t first_row,
                             const kfi_grid *grids)
{
    for (size_t row = first_row; row < first_row + KFI_PANEL_ROWS; row++) {
        const float scale =
            row < packed->rows ? grids[(row - first_row) * packed->n_groups].row_scale : 0.0f;
        memcpy(row_scales + row * sizeof scale, &scale, sizeof scale);
    }
}

void kfi_packed_write(void *dst, size_t panel_begin, size_t panel_end, const uint8_t *codes,
                      const kfi_grid *grids)
{
    uint8_t *const bytes = dst;
    kfi_packed packed = {0};
    kfi_packed_header header;
    kfi_layout layout = {0};
    memcpy(&header, bytes, sizeof header);
    const kf_format format = kfi_layout_format(&header);
    const kf_status st = kfi_layout_make(&layout, format, header.rows, header.cols, NULL);
    assert(st == KF_OK && panel_begin <= panel_end && panel_end <= layout.n_panels);
    (void)st;
    kfi_layout_view(&packed, bytes, &header, &layout);
    for (size_t p = panel_begin; p < panel_end; p++) {
        const size_t first_row = p * KFI_PANEL_ROWS;
        const size_t skipped = (p - panel_begin) * KFI_PANEL_ROWS;
        write_panel_codes(bytes + layout.codes, &packed, first_row, codes + skipped * packed.cols);
        write_panel_grids(bytes + layout.scales, bytes + layout.zeros, &packed, first_row,
                          grids + skipped * packed.n_groups);
        if (packed.row_scales != NULL) {
            write_row_scales(bytes + layout.row_scales, &packed, first_row,
                             grids + skipped * packed.n_groups);
        }
    }
}

/* ---- reading back ---- */

static kfi_grid read_grid(const kfi_packed *packed, size_t row, size_t group)
{
    const size_t index = kfi_packed_grid_index(packed, row, group);
    kfi_grid grid = {.scale = kfi_packed_scale(packed, row, group),
                     .offset = kfi_packed_offset(packed, index),
                     .zero = kfi_element_is_integer(packed->format.element)
                                 ? kfi_packed_zero(packed, index)
                                 : 0};
    if (packed->row_scales != NULL) {
        grid.row_scale = kfi_packed_row_scale(packed, row);
        grid.multiplier = kfi_packed_multiplier(packed, index);
    }
    return grid;
}

static uint8_t read_code(const kfi_packed *packed, size_t row, size_t col)
{
    return kfi_chunk_get(packed->codes + kfi_layout_chunk(packed, row, col), packed->format.bits,
                         row % KFI_PANEL_ROWS, col % KFI_CHUNK_COLS);
}

kfi_levels kfi_packed_levels(const kfi_packed *packed)
{
    return kfi_format_levels(packed->format, packed->table);
}

void kfi_packed_decode_row(float *dst, const kfi_packed *packed, size_t row, size_t begin, size_t n)
{
    const kfi_levels levels = kfi_packed_levels(packed);
    assert(row < packed->rows && begin <= packed->cols && n <= packed->cols - begin);
    for (size_t i = 0; i < n;) {
        const size_t group = (begin + i) / packed->group;
        const size_t end = (group + 1) * packed->group - begin;
        const kfi_grid grid = read_grid(packed, row, group);
        for (; i < n && i < end; i++) {
            dst[i] = kfi_grid_decode(&grid, levels, read_code(packed, row, begin + i));
        }
    }
}

void kfi_packed_read_row(uint8_t *codes, kfi_grid *grids, const kfi_packed *packed, size_t row)
{
    assert(row < packed->rows);
    for (size_t c = 0; codes != NULL && c < packed->cols; c++) {
        codes[c] = read_code(packed, row, c);
    }
    for (size_t g = 0; grids != NULL && g < packed->n_groups; g++) {
        grids[g] = read_grid(packed, row, g);
    }
}

double kfi_packed_bits(const kfi_packed *packed)
{
    uint64_t bytes = 0;
    if (kf_format_bytes(&bytes, packed->format, packed->rows, packed->cols, NULL) != KF_OK) {
        return 0.0; /* not a tensor that kfi_packed_open() gave */
    }
    return 8.0 * (double)bytes / ((double)packed->rows * (double)packed->cols);
}
