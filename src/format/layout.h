/* layout.h - the header of a packed tensor, and where its planes lie.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_FORMAT_LAYOUT_H
#define KFI_FORMAT_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "kerf/error.h"
#include "kerf/format.h"
#include "kernels/packed.h"

/* The first 64 bytes of a packed tensor, little-endian; drawn in docs/FORMAT.md. */
typedef struct kfi_packed_header {
    uint8_t magic[8];      /* "KERFPK16" */
    uint32_t version;      /* 1 */
    uint8_t element;       /* kf_element */
    uint8_t bits;          /* 2 … 8 */
    uint8_t scale;         /* kf_scale_kind */
    uint8_t zero;          /* kf_zero_kind */
    uint32_t group;        /* columns, or 0: the row */
    uint32_t reserved_one; /* 0 */
    uint64_t rows;
    uint64_t cols;
    int8_t table[16];        /* codebooks: 2^bits entries, ascending; the others, and else: 0 */
    uint8_t reserved_two[8]; /* 0 */
} kfi_packed_header;
_Static_assert(sizeof(kfi_packed_header) == 64, "the header is one line");

#define KFI_PACKED_MAGIC   "KERFPK16"
#define KFI_PACKED_VERSION 1u

/* Sizes in units of the format and bytes from the header's first. */
typedef struct kfi_layout {
    uint64_t n_panels, n_chunks, n_groups;
    size_t row_scale_bytes;                    /* of a row; 0: the scales have one level */
    size_t scale_bytes, zero_bytes;            /* of a row and group; zeros: 0 where none are */
    uint64_t codes, row_scales, scales, zeros; /* offset of each plane */
    uint64_t scales_used, zeros_used;          /* bytes of it before its padding to 64 */
    uint64_t bytes;                            /* of the whole tensor */
} kfi_layout;

/* KF_RANGE: rows or cols is 0, or a product overflows (also beyond what fits in memory). */
KF_NODISCARD kf_status kfi_layout_make(kfi_layout *layout, kf_format format, uint64_t rows,
                                       uint64_t cols, kf_error *err);

/* The format that a header names, known or not. */
kf_format kfi_layout_format(const kfi_packed_header *header);

/* Points a view at a packed tensor whose header is known to be good. data is borrowed. */
void kfi_layout_view(kfi_packed *dst, const uint8_t *data, const kfi_packed_header *header,
                     const kfi_layout *layout);

/* Where the chunk of a weight begins in the plane of codes. */
static inline size_t kfi_layout_chunk(const kfi_packed *packed, size_t row, size_t col)
{
    const size_t i_chunk = row / KFI_PANEL_ROWS * packed->n_chunks + col / KFI_CHUNK_COLS;
    return i_chunk * packed->format.bits * KFI_LINE_BYTES;
}

/* One of the formats that formats.def gives. */
bool kfi_format_is_known(kf_format format);

#endif /* KFI_FORMAT_LAYOUT_H */
