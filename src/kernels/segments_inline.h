/* segments_inline.h - the pieces of a row that share one weight scale and one activation scale.
 *
 * Groups are 32, 64 or 128 columns, or a whole row, so that the finer one always divides the other
 * and a segment is the finer. One piece is cut shorter than a row of more than 32 768 columns: its
 * sum of 255 * 127 a column, and as much again for the zero, then fits 32 bits.
 *
 * Levels of e3m2.h are as good as 10 bits: half as many columns.
 *
 * With two-level scales a sum goes on over the segments of one activation scale, and over 65 536
 * columns at most: |m (q - z) x| <= 255 * 127 a column fits too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_SEGMENTS_INLINE_H
#define KFI_KERNELS_SEGMENTS_INLINE_H

#include <stddef.h>

#include "kernels/kernels.h"

#define KFI_SEGMENT_COLS_MAX      32768u
#define KFI_SEGMENT_COLS_MAX_E3M2 16384u /* (8 * 112 + 32) * 127 a column */
#define KFI_SUM_COLS_MAX          65536u

typedef struct kfi_segments {
    size_t n;              /* in a row */
    size_t n_chunks;       /* of 32 columns in each but perhaps the last */
    unsigned weight_shift; /* segment >> shift = group of the weights */
    unsigned token_shift;  /* segment >> shift = group of the activations */
    size_t n_a_sum;        /* segments that one integer sum takes with two-level scales */
} kfi_segments;

/* log2 of how many segments a group has; a group of the whole row takes all of them. */
static inline unsigned kfi_segment_shift(size_t group, size_t cols_padded, size_t segment)
{
    unsigned shift = 0;
    if (group >= cols_padded) {
        return 63; /* any segment >> 63 is group 0 */
    }
    while (segment << shift < group) {
        shift++;
    }
    return shift;
}

static inline kfi_segments kfi_segments_make(const kfi_packed *w, const kfi_activations *x)
{
    const size_t most =
        w->format.element == KF_ELEMENT_E3M2 ? KFI_SEGMENT_COLS_MAX_E3M2 : KFI_SEGMENT_COLS_MAX;
    size_t cols = w->group < x->group ? w->group : x->group;
    cols = cols < most ? cols : most;
    cols = cols < x->cols_padded ? cols : x->cols_padded;
    const size_t sum_cols = x->group < KFI_SUM_COLS_MAX ? x->group : KFI_SUM_COLS_MAX;
    return (kfi_segments){
        .n = (x->cols_padded + cols - 1) / cols,
        .n_chunks = cols / KFI_CHUNK_COLS,
        .weight_shift = kfi_segment_shift(w->group, x->cols_padded, cols),
        .token_shift = kfi_segment_shift(x->group, x->cols_padded, cols),
        .n_a_sum = (sum_cols + cols - 1) / cols,
    };
}

/* Chunks of segment i. */
static inline size_t kfi_segment_begin(const kfi_segments *s, size_t i)
{
    return i * s->n_chunks;
}

static inline size_t kfi_segment_end(const kfi_segments *s, size_t i, size_t n_chunks_of_row)
{
    const size_t end = (i + 1) * s->n_chunks;
    return end < n_chunks_of_row ? end : n_chunks_of_row;
}

/* The segment behind the last of the sum that begins with segment i. */
static inline size_t kfi_segment_sum_end(const kfi_segments *s, size_t i)
{
    return s->n - i < s->n_a_sum ? s->n : i + s->n_a_sum;
}

/* Sum of a token's codes in a range of chunks. Most segments have two or four: there the loop that
 * compilers make of this for vectors costs as much as a fifth of a product. */
static inline int32_t kfi_segment_sum(const int32_t *sums, size_t begin, size_t end)
{
    int32_t sum = 0;
    if (end - begin <= 4) {
        for (size_t c = begin; c < end; c++) {
            sum += sums[c];
            __asm__("" : "+r"(sum)); /* one by one */
        }
        return sum;
    }
    for (size_t c = begin; c < end; c++) {
        sum += sums[c];
    }
    return sum;
}

#endif /* KFI_KERNELS_SEGMENTS_INLINE_H */
