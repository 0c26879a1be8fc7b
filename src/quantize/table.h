/* table.h - embedding and head: matrices with a row a token of the vocabulary, read piecewise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_TABLE_H
#define KFI_QUANTIZE_TABLE_H

#include "quantize/layer.h"

/* Rows that are in memory as floats at a time. */
#define KFI_TABLE_PIECE_ROWS 4096u

/* Rows of the embedding as the checkpoint will hold them: dst [n][hidden]. Ids are checked. */
KF_NODISCARD kf_status kfi_table_embed(float *dst, const kfi_worker *worker, kf_model *model,
                                       const kfi_treatment *treatment, const uint32_t *ids,
                                       size_t n, kf_error *err);

/* A whole table, quantized. Not for kept ones: those are written as they are. */
KF_NODISCARD kf_status kfi_table_quantize(kfi_layer *layer, const kfi_worker *worker,
                                          kf_model *model, const char *name,
                                          const kfi_treatment *treatment, kf_error *err);

#endif /* KFI_QUANTIZE_TABLE_H */
