/* packed.c - matrices in panel-16: writing, opening, reading back.
 *
 * kernels/packed.h draws the bytes of the planes, layout.h the header.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "format/format.h"
#include "format/layout.h"
#include "kernels/grid_inline.h"
#include "kernels/planes_inline.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed tensors are little-endian and used in place"
#endif

/* Keeps every sum and product of sizes below far from overflow; real tensors are below 2^24. */
#define DIMENSION_MAX ((uint64_t)1 << 40)

static uint64_t padded_to_line(uint64_t n)
{
    return (n + KFI_LINE_BYTES - 1) / KFI_LINE_BYTES * KFI_LINE_BYTES;
}

/* A panel's row scales are one line. */
static uint64_t row_scale_bytes(kf_format format)
{
    return format.scale == KF_SCALE_TWO_LEVEL ? sizeof(float) : 0;
}

static uint64_t scale_bytes(kf_format format)
{
    return format.scale == KF_SCALE_FP16 ? 2 : 1;
}

static uint64_t zero_bytes(kf_format format)
{
    return format.zero == KF_ZERO_OFFSET ? 2 : format.zero == KF_ZERO_INTEGER ? 1 : 0;
}

kf_status kfi_layout_make(kfi_layout *layout, kf_format format, uint64_t rows, uint64_t cols,
                          kf_error *err)
{
    uint64_t codes = 0;
    uint64_t grids = 0;
    if (rows == 0 || cols == 0) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "empty matrix of %" PRIu64 " x %" PRIu64, rows,
                        cols);
    }
    if (rows > DIMENSION_MAX || cols > DIMENSION_MAX) {
        goto too_large;
    }
    const uint64_t group = kfi_format_group(format, cols);
    *layout = (kfi_layout){.n_panels = (rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS,
                           .n_chunks = (cols + KFI_CHUNK_COLS - 1) / KFI_CHUNK_COLS,
                           .n_groups = (cols + group - 1) / group,
                           .codes = KFI_HEADER_BYTES};
    if (__builtin_mul_overflow(layout->n_panels, layout->n_chunks * format.bits * KFI_LINE_BYTES,
                               &codes) ||
        __builtin_mul_overflow(layout->n_panels, layout->n_groups * KFI_PANEL_ROWS, &grids) ||
        codes > PTRDIFF_MAX / 4 || grids > PTRDIFF_MAX / 16) {
        goto too_large;
    }
    layout->row_scales = layout->codes + codes;
    layout->scales =
        layout->row_scales + layout->n_panels * KFI_PANEL_ROWS * row_scale_bytes(format);
    layout->scales_used = grids * scale_bytes(format);
    layout->zeros = layout->scales + padded_to_line(layout->scales_used);
    layout->zeros_used = grids * zero_bytes(format);
    layout->bytes = layout->zeros + padded_to_line(layout->zeros_used);
    return KF_OK;

too_large:
    return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "matrix of %" PRIu64 " x %" PRIu64 " is too large",
                    rows, cols);
}

static kf_format format_of(const kfi_packed_header *header)
{
    return (kf_format){.element = header->element,
                       .bits = header->bits,
                       .scale = header->scale,
                       .zero = header->zero,
                       .group = header->group};
}

/* Points a view at a packed tensor whose header is known to be good. */
static void view(kfi_packed *dst, const uint8_t *data, const kfi_packed_header *header,
                 const kfi_layout *layout)
{
    const kf_format format = format_of(header);
    *dst = (kfi_packed){.format = format,
                        .rows = header->rows,
                        .cols = header->cols,
                        .group = kfi_format_group(format, header->cols),
                        .n_panels = layout->n_panels,
                        .n_chunks = layout->n_chunks,
                        .n_groups = layout->n_groups,
                        .codes = data + layout->codes,
                        .row_scales = row_scale_bytes(format) != 0
                                          ? (const float *)(const void *)(data + layout->row_scales)
                                          : NULL,
                        .scales = data + layout->scales,
                        .zeros = zero_bytes(format) != 0 ? data + layout->zeros : NULL};
}

static size_t panel_bytes(const kfi_packed *packed)
{
    return packed->n_chunks * packed->format.bits * KFI_LINE_BYTES;
}

/* ---- writing ---- */

void kfi_packed_begin(void *dst, kf_format format, size_t rows, size_t cols)
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
    memcpy(header.magic, KFI_PACKED_MAGIC, sizeof header.magic);
    memcpy(bytes, &header, sizeof header);
    memset(bytes + layout.scales + layout.scales_used, 0,
           layout.zeros - layout.scales - layout.scales_used);
    memset(bytes + layout.zeros + layout.zeros_used, 0,
           layout.bytes - layout.zeros - layout.zeros_used);
}

static void write_quad(uint8_t *panel, unsigned bits, size_t row, size_t col,
                       const uint8_t codes[4])
{
    uint8_t *chunk = panel + col / KFI_CHUNK_COLS * bits * KFI_LINE_BYTES;
    kfi_chunk_put_quad(chunk, bits, row, col % KFI_CHUNK_COLS / 4, codes);
}

/* The codes are those of the panel's rows. */
static void write_panel_codes(uint8_t *panel, const kfi_packed *packed, size_t first_row,
                              const uint8_t *codes)
{
    const unsigned bits = packed->format.bits;
    const size_t left = packed->rows - first_row;
    const size_t n_rows = left < KFI_PANEL_ROWS ? left : KFI_PANEL_ROWS;
    const size_t n_rest = packed->cols % 4;
    memset(panel, 0, panel_bytes(packed));
    for (size_t r = 0; r < n_rows; r++, codes += packed->cols) {
        for (size_t c = 0; c + 4 <= packed->cols; c += 4) {
            write_quad(panel, bits, r, c, codes + c);
        }
        if (n_rest > 0) {
            uint8_t rest[4] = {0};
            memcpy(rest, codes + packed->cols - n_rest, n_rest);
            write_quad(panel, bits, r, packed->cols - n_rest, rest);
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
    const kf_format format = format_of(&header);
    const kf_status st = kfi_layout_make(&layout, format, header.rows, header.cols, NULL);
    assert(st == KF_OK && panel_begin <= panel_end && panel_end <= layout.n_panels);
    (void)st;
    view(&packed, bytes, &header, &layout);
    for (size_t p = panel_begin; p < panel_end; p++) {
        const size_t first_row = p * KFI_PANEL_ROWS;
        const size_t skipped = (p - panel_begin) * KFI_PANEL_ROWS;
        write_panel_codes(bytes + layout.codes + p * panel_bytes(&packed), &packed, first_row,
                          codes + skipped * packed.cols);
        write_panel_grids(bytes + layout.scales, bytes + layout.zeros, &packed, first_row,
                          grids + skipped * packed.n_groups);
        if (packed.row_scales != NULL) {
            write_row_scales(bytes + layout.row_scales, &packed, first_row,
                             grids + skipped * packed.n_groups);
        }
    }
}

/* ---- opening ---- */

#define HEADER_OFFSET(member) offsetof(kfi_packed_header, member)

static bool is_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static kf_status check_header(const kfi_packed_header *h, kf_error *err)
{
    if (memcmp(h->magic, KFI_PACKED_MAGIC, sizeof h->magic) != 0) {
        return kfi_fail(err, KF_FORMAT, 0, "not a packed tensor: no '%s' at its beginning",
                        KFI_PACKED_MAGIC);
    }
    if (h->version != KFI_PACKED_VERSION) {
        return kfi_fail(err, KF_UNSUPPORTED, HEADER_OFFSET(version),
                        "packed tensor of version %" PRIu32 ", this program reads version %u",
                        h->version, KFI_PACKED_VERSION);
    }
    const kf_format format = format_of(h);
    if (!kfi_format_is_known(format)) {
        return kfi_fail(err, KF_UNSUPPORTED, HEADER_OFFSET(element),
                        "packed tensor of unknown format: element %u, %u bits, scale kind %u, "
                        "zero kind %u, group %" PRIu32,
                        h->element, h->bits, h->scale, h->zero, h->group);
    }
    if (h->reserved_one != 0 || !is_zero(h->reserved_two, sizeof h->reserved_two)) {
        return kfi_fail(err, KF_UNSUPPORTED, HEADER_OFFSET(reserved_one),
                        "packed tensor with reserved header bytes that are not zero");
    }
    return KF_OK;
}

/* Scales and offsets must be finite: one infinity would make NaN of a whole row. */
static kf_status check_halves(const uint8_t *data, uint64_t offset, uint64_t used, const char *what,
                              kf_error *err)
{
    for (uint64_t i = offset; i < offset + used; i += 2) {
        if ((data[i + 1] & 0x7Cu) == 0x7Cu) {
            return kfi_fail(err, KF_FORMAT, i, "%s that is not finite", what);
        }
    }
    return KF_OK;
}

static kf_status check_exponents(const uint8_t *data, uint64_t offset, uint64_t used, kf_error *err)
{
    for (uint64_t i = offset; i < offset + used; i++) {
        if (data[i] == 0xFFu) {
            return kfi_fail(err, KF_FORMAT, i, "scale exponent 255 that is not a number");
        }
    }
    return KF_OK;
}

/* Two-level scales: a row's is finite and has no more than 16 significant bits; a multiplier keeps
 * its product with every code in a byte, and a zero lies among the codes. */
static kf_status check_row_scales(const uint8_t *data, const kfi_layout *layout, kf_error *err)
{
    for (uint64_t i = layout->row_scales; i < layout->scales; i += sizeof(float)) {
        if (data[i] != 0 || ((data[i + 3] & 0x7Fu) == 0x7Fu && (data[i + 2] & 0x80u) != 0)) {
            return kfi_fail(err, KF_FORMAT, i,
                            "row scale that is not finite or has more than 16 significant bits");
        }
    }
    return KF_OK;
}

static kf_status check_multipliers(const uint8_t *data, const kfi_layout *layout, kf_format format,
                                   kf_error *err)
{
    const int q_max = (1 << format.bits) - 1;
    for (uint64_t i = layout->scales; i < layout->scales + layout->scales_used; i++) {
        const int multiplier = (int8_t)data[i];
        if ((multiplier < 0 ? -multiplier : multiplier) * q_max > 255) {
            return kfi_fail(err, KF_FORMAT, i,
                            "multiplier %d, of which the product with %d is above 255", multiplier,
                            q_max);
        }
    }
    for (uint64_t i = layout->zeros; i < layout->zeros + layout->zeros_used; i++) {
        if (data[i] > q_max) {
            return kfi_fail(err, KF_FORMAT, i, "zero %d above the greatest code, %d", data[i],
                            q_max);
        }
    }
    return KF_OK;
}

static kf_status check_grids(const uint8_t *data, const kfi_layout *layout, kf_format format,
                             kf_error *err)
{
    switch (format.scale) {
    case KF_SCALE_TWO_LEVEL:
        KFI_TRY(check_row_scales(data, layout, err));
        return check_multipliers(data, layout, format, err);
    case KF_SCALE_POWER_OF_TWO:
        return check_exponents(data, layout->scales, layout->scales_used, err);
    default:
        KFI_TRY(check_halves(data, layout->scales, layout->scales_used, "scale", err));
        return format.zero == KF_ZERO_OFFSET
                   ? check_halves(data, layout->zeros, layout->zeros_used, "offset", err)
                   : KF_OK;
    }
}

/* The bytes from the first that are used to the last that are stored are 0. */
static kf_status check_tail(const uint8_t *data, uint64_t begin, uint64_t end, kf_error *err)
{
    if (!is_zero(data + begin, end - begin)) {
        return kfi_fail(err, KF_FORMAT, begin, "padding behind a plane that is not zero");
    }
    return KF_OK;
}

static kf_status check_padding_row(const kfi_packed *packed, const uint8_t *data, size_t row,
                                   kf_error *err)
{
    if (packed->row_scales != NULL) {
        const uint8_t *scale = (const uint8_t *)&packed->row_scales[row];
        if (!is_zero(scale, sizeof(float))) {
            return kfi_fail(err, KF_FORMAT, (uint64_t)(scale - data),
                            "row scale of a row of padding that is not zero");
        }
    }
    for (size_t g = 0; g < packed->n_groups; g++) {
        const size_t index = kfi_packed_grid_index(packed, row, g);
        const size_t n_scale = scale_bytes(packed->format);
        const size_t n_zero = zero_bytes(packed->format);
        const uint8_t *scale = (const uint8_t *)packed->scales + index * n_scale;
        if (!is_zero(scale, n_scale) ||
            (n_zero != 0 && !is_zero((const uint8_t *)packed->zeros + index * n_zero, n_zero))) {
            return kfi_fail(err, KF_FORMAT, (uint64_t)(scale - data),
                            "scale or zero of a row of padding that is not zero");
        }
    }
    return KF_OK;
}

/* Codes of padding: all columns of the rows behind the last, the columns behind the last of the
 * others. */
static kf_status check_padding_codes(const kfi_packed *packed, const uint8_t *data, size_t row,
                                     kf_error *err)
{
    const unsigned bits = packed->format.bits;
    const uint8_t *panel = packed->codes + row / KFI_PANEL_ROWS * panel_bytes(packed);
    for (size_t c = row < packed->rows ? packed->cols : 0; c < packed->n_chunks * KFI_CHUNK_COLS;
         c++) {
        const uint8_t *chunk = panel + c / KFI_CHUNK_COLS * bits * KFI_LINE_BYTES;
        if (kfi_chunk_get(chunk, bits, row % KFI_PANEL_ROWS, c % KFI_CHUNK_COLS) != 0) {
            return kfi_fail(err, KF_FORMAT, (uint64_t)(chunk - data),
                            "code of padding (row %zu, column %zu) that is not zero", row, c);
        }
    }
    return KF_OK;
}

static kf_status check_padding(const kfi_packed *packed, const uint8_t *data,
                               const kfi_layout *layout, kf_error *err)
{
    KFI_TRY(check_tail(data, layout->scales + layout->scales_used, layout->zeros, err));
    KFI_TRY(check_tail(data, layout->zeros + layout->zeros_used, layout->bytes, err));
    for (size_t row = 0; row < packed->n_panels * KFI_PANEL_ROWS; row++) {
        KFI_TRY(check_padding_codes(packed, data, row, err));
        if (row >= packed->rows) {
            KFI_TRY(check_padding_row(packed, data, row, err));
        }
    }
    return KF_OK;
}

kf_status kfi_packed_open(kfi_packed *dst, const void *data, size_t n, bool full, kf_error *err)
{
    const uint8_t *const bytes = data;
    kfi_packed_header header;
    kfi_layout layout = {0};
    kf_error range = {0};
    if (n < sizeof header) {
        return kfi_fail(err, KF_FORMAT, n, "packed tensor of %zu bytes, its header alone has %zu",
                        n, sizeof header);
    }
    if ((uintptr_t)data % KFI_LINE_BYTES != 0) {
        return kfi_fail(err, KF_FORMAT, 0, "packed tensor that is not aligned to %u bytes",
                        KFI_LINE_BYTES);
    }
    memcpy(&header, bytes, sizeof header);
    KFI_TRY(check_header(&header, err));
    const kf_format format = format_of(&header);
    if (kfi_layout_make(&layout, format, header.rows, header.cols, &range) != KF_OK) {
        return kfi_fail(err, KF_FORMAT, HEADER_OFFSET(rows), "packed tensor: %s", range.msg);
    }
    if (layout.bytes != n) {
        return kfi_fail(err, KF_FORMAT, n < layout.bytes ? n : layout.bytes,
                        "packed tensor of %zu bytes, its shape %" PRIu64 " x %" PRIu64
                        " needs %" PRIu64,
                        n, header.rows, header.cols, layout.bytes);
    }
    KFI_TRY(check_grids(bytes, &layout, format, err));
    kfi_packed packed = {0};
    view(&packed, bytes, &header, &layout);
    if (full) {
        KFI_TRY(check_padding(&packed, bytes, &layout, err));
    }
    *dst = packed;
    return KF_OK;
}

/* ---- reading back ---- */

static kfi_grid read_grid(const kfi_packed *packed, size_t row, size_t group)
{
    const size_t index = kfi_packed_grid_index(packed, row, group);
    kfi_grid grid = {.scale = kfi_packed_scale(packed, row, group),
                     .offset = kfi_packed_offset(packed, index),
                     .zero = kfi_packed_zero(packed, index)};
    if (packed->row_scales != NULL) {
        grid.row_scale = kfi_packed_row_scale(packed, row);
        grid.multiplier = kfi_packed_multiplier(packed, index);
    }
    return grid;
}

static uint8_t read_code(const kfi_packed *packed, size_t row, size_t col)
{
    const unsigned bits = packed->format.bits;
    const uint8_t *chunk = packed->codes + row / KFI_PANEL_ROWS * panel_bytes(packed) +
                           col / KFI_CHUNK_COLS * bits * KFI_LINE_BYTES;
    return kfi_chunk_get(chunk, bits, row % KFI_PANEL_ROWS, col % KFI_CHUNK_COLS);
}

void kfi_packed_decode_row(float *dst, const kfi_packed *packed, size_t row, size_t begin, size_t n)
{
    assert(row < packed->rows && begin <= packed->cols && n <= packed->cols - begin);
    for (size_t i = 0; i < n;) {
        const size_t group = (begin + i) / packed->group;
        const size_t end = (group + 1) * packed->group - begin;
        const kfi_grid grid = read_grid(packed, row, group);
        for (; i < n && i < end; i++) {
            dst[i] = kfi_grid_decode(&grid, read_code(packed, row, begin + i));
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
