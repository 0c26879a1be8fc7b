/* layout.c - the planes of a packed tensor: their sizes, and a view of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "format/layout.h"

#include "base/fail.h"
#include "format/format.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed tensors are little-endian and used in place"
#endif

/* Keeps every sum and product of sizes below far from overflow; real tensors are below 2^24. */
#define DIMENSION_MAX ((uint64_t)1 << 40)

static uint64_t padded_to_line(uint64_t n)
{
    return (n + KFI_LINE_BYTES - 1) / KFI_LINE_BYTES * KFI_LINE_BYTES;
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
    *layout =
        (kfi_layout){.n_panels = (rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS,
                     .n_chunks = (cols + KFI_CHUNK_COLS - 1) / KFI_CHUNK_COLS,
                     .n_groups = (cols + group - 1) / group,
                     .row_scale_bytes = format.scale == KF_SCALE_TWO_LEVEL ? sizeof(float) : 0,
                     .scale_bytes = format.scale == KF_SCALE_FP16 ? 2 : 1,
                     .zero_bytes = format.zero == KF_ZERO_OFFSET    ? 2
                                   : format.zero == KF_ZERO_INTEGER ? 1
                                                                    : 0,
                     .codes = KFI_HEADER_BYTES};
    if (__builtin_mul_overflow(layout->n_panels, layout->n_chunks * format.bits * KFI_LINE_BYTES,
                               &codes) ||
        __builtin_mul_overflow(layout->n_panels, layout->n_groups * KFI_PANEL_ROWS, &grids) ||
        codes > PTRDIFF_MAX / 4 || grids > PTRDIFF_MAX / 16) {
        goto too_large;
    }
    layout->row_scales = layout->codes + codes;
    layout->scales =
        layout->row_scales + layout->n_panels * KFI_PANEL_ROWS * layout->row_scale_bytes;
    layout->scales_used = grids * layout->scale_bytes;
    layout->zeros = layout->scales + padded_to_line(layout->scales_used);
    layout->zeros_used = grids * layout->zero_bytes;
    layout->bytes = layout->zeros + padded_to_line(layout->zeros_used);
    return KF_OK;

too_large:
    return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "matrix of %" PRIu64 " x %" PRIu64 " is too large",
                    rows, cols);
}

kf_format kfi_layout_format(const kfi_packed_header *header)
{
    return (kf_format){.element = header->element,
                       .bits = header->bits,
                       .scale = header->scale,
                       .zero = header->zero,
                       .group = header->group};
}

void kfi_layout_view(kfi_packed *dst, const uint8_t *data, const kfi_packed_header *header,
                     const kfi_layout *layout)
{
    const kf_format format = kfi_layout_format(header);
    *dst = (kfi_packed){.format = format,
                        .rows = header->rows,
                        .cols = header->cols,
                        .group = kfi_format_group(format, header->cols),
                        .n_panels = layout->n_panels,
                        .n_chunks = layout->n_chunks,
                        .n_groups = layout->n_groups,
                        .codes = data + layout->codes,
                        .row_scales = layout->row_scale_bytes != 0
                                          ? (const float *)(const void *)(data + layout->row_scales)
                                          : NULL,
                        .scales = data + layout->scales,
                        .zeros = layout->zero_bytes != 0 ? data + layout->zeros : NULL,
                        .zero = kfi_format_zero(format)};
    if (kfi_element_has_table(format.element)) {
        dst->table = (const int8_t *)data + offsetof(kfi_packed_header, table);
    }
}
