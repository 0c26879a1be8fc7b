/* tiny_kerf_parts.h - what stands beside the matrices of a tiny Kerf checkpoint.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_KERF_PARTS_H
#define KERF_TESTS_TINY_KERF_PARTS_H

#include "tiny_entries.h"
#include "tiny_kerf.h"

/* ---- tiny_kerf_side.c ---- */

/* Where the columns stand: behind all packed tensors. */
void tiny_add_columns(tiny_entries *f, const tiny_tensor *t, const tiny_kerf_options *o);
/* A packed matrix with its side paths; the tensor's data become what all of it computes. */
void tiny_add_with_side(tiny_entries *f, tiny_tensor *t, const tiny_kerf_options *o);
/* Where single weights stand: behind all packed tensors, columns and values in a multiple of 4
 * bytes. */
void tiny_add_sparse(tiny_entries *f, const tiny_tensor *t, size_t cols,
                     const tiny_kerf_options *o);

/* ---- tiny_kerf_map.c ---- */

void tiny_add_signs(tiny_entries *f, const char *name, const int8_t *signs, size_t n,
                    tiny_map_flaw flaw);
/* Where the parts of a map stand: behind all packed tensors. */
void tiny_add_map(tiny_entries *f, const tiny_tensor *t, const tiny_kerf_options *o);
size_t tiny_cols_behind_map(const tiny_tensor *t);
/* A layer's matrix behind its map; the tensor's data become what both compute. */
void tiny_add_behind_map(tiny_entries *f, tiny_tensor *t, const tiny_kerf_options *o,
                         const char *format);

#endif /* KERF_TESTS_TINY_KERF_PARTS_H */
