/* table.h - embedding and head: matrices with a row a token of the vocabulary, read piecewise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_TABLE_H
#define KFI_QUANTIZE_TABLE_H

#include "quantize/layer.h"

/* Rows that are in memory as floats at a time. */
#define KFI_TABLE_PIECE_ROWS 4096u

/* KF_FORMAT: a value is not finite. Blocks are checked when their turn comes; a table would be
 * found out at the very end, and its rows stand in the calibration before. */
KF_NODISCARD kf_status kfi_table_check(kf_model *model, const char *name, const kf_allocator *alloc,
                                       kf_error *err);

/* Rows of the embedding as the checkpoint will hold them: dst [n][hidden]. Ids are checked. */
KF_NODISCARD kf_status kfi_table_embed(float *dst, const kfi_worker *worker, kf_model *model,
                                       const kfi_treatment *treatment, const uint32_t *ids,
                                       size_t n, kf_error *err);

/* A whole table of finite values, quantized. Not for kept ones: those are written as they are. */
KF_NODISCARD kf_status kfi_table_quantize(kfi_layer *layer, const kfi_worker *worker,
                                          kf_model *model, const char *name,
                                          const kfi_treatment *treatment, kf_error *err);

#endif /* KFI_QUANTIZE_TABLE_H */
