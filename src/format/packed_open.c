/* packed_open.c - a packed tensor opened in place, once its bytes are checked.
 *
 * They come from a file and may say anything. Kernels rely on what is checked here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "format/format.h"
#include "format/layout.h"
#include "kernels/grid_inline.h"
#include "kernels/planes_inline.h"

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

/* The entries of a codebook: those that its format fixes, or ascending ones of its own. */
static kf_status check_table(const kfi_packed_header *h, kf_format format, kf_error *err)
{
    const size_t n = kfi_element_has_table(format.element) ? (size_t)1 << format.bits : 0;
    const int8_t *fixed = kfi_format_table(format);
    if (!is_zero((const uint8_t *)h->table + n, sizeof h->table - n)) {
        return kfi_fail(err, KF_UNSUPPORTED, HEADER_OFFSET(table) + n,
                        "packed tensor with reserved header bytes that are not zero");
    }
    if (fixed != NULL && memcmp(h->table, fixed, n) != 0) {
        return kfi_fail(err, KF_FORMAT, HEADER_OFFSET(table),
                        "codebook with other entries than its format's");
    }
    for (size_t i = 1; i < n; i++) {
        if (h->table[i] < h->table[i - 1]) {
            return kfi_fail(err, KF_FORMAT, HEADER_OFFSET(table) + i,
                            "codebook whose entry %zu, %d, is below the one before", i,
                            h->table[i]);
        }
    }
    return KF_OK;
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
    const kf_format format = kfi_layout_format(h);
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
    return check_table(h, format, err);
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

static kf_status check_padding_row(const kfi_packed *packed, const uint8_t *data,
                                   const kfi_layout *layout, size_t row, kf_error *err)
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
        const size_t n_scale = layout->scale_bytes;
        const size_t n_zero = layout->zero_bytes;
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
    for (size_t c = row < packed->rows ? packed->cols : 0; c < packed->n_chunks * KFI_CHUNK_COLS;
         c++) {
        const uint8_t *chunk = packed->codes + kfi_layout_chunk(packed, row, c);
        if (kfi_chunk_get(chunk, bits, row % KFI_PANEL_ROWS, c % KFI_CHUNK_COLS) != 0) {
            return kfi_fail(err, KF_FORMAT, (uint64_t)(chunk - data),
                            "code of padding (row %zu, column %zu) that is not zero", row, c);
        }
    }
    return KF_OK;
}

/* Ternary codes have a value more than weights: it reads as 2 s. */
static kf_status check_codes(const kfi_packed *packed, const uint8_t *data, kf_error *err)
{
    const unsigned bits = packed->format.bits;
    const int32_t q_max = kfi_packed_levels(packed).q_max;
    if (q_max == (1 << bits) - 1) {
        return KF_OK;
    }
    for (size_t row = 0; row < packed->rows; row++) {
        for (size_t c = 0; c < packed->cols; c++) {
            const uint8_t *chunk = packed->codes + kfi_layout_chunk(packed, row, c);
            const uint8_t code =
                kfi_chunk_get(chunk, bits, row % KFI_PANEL_ROWS, c % KFI_CHUNK_COLS);
            if (code > q_max) {
                return kfi_fail(err, KF_FORMAT, (uint64_t)(chunk - data),
                                "code %d (row %zu, column %zu) above the greatest, %d", code, row,
                                c, (int)q_max);
            }
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
            KFI_TRY(check_padding_row(packed, data, layout, row, err));
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
    const kf_format format = kfi_layout_format(&header);
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
    kfi_layout_view(&packed, bytes, &header, &layout);
    if (full) {
        KFI_TRY(check_padding(&packed, bytes, &layout, err));
        KFI_TRY(check_codes(&packed, bytes, err));
    }
    *dst = packed;
    return KF_OK;
}
