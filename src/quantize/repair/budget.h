/* budget.h - ranks of a block's low-rank pairs by what they gain for their bytes.
 *
 * Layer l without a pair has the relative error e_l = tr(E R E^T) / tr(W R W^T), and pair i of it,
 * the i-th singular value sigma_i of E F (repair.h), takes g_l[i] = sigma_i^2 / tr(W R W^T) off.
 * The ranks k_l are to make
 *
 *     sum over l of (e_l - sum over i < k_l of g_l[i])   least,   sum over l of bytes_l(k_l) <=
 * budget
 *
 * Greedily: A is stored in panels of 16 rows and B in chunks of 32 columns, so that every layer
 * offers 16 and 32 more ranks at a time (at the end as many as there are). Of all offers that still
 * fit, the one of the largest gain a byte is taken; of equal ones that of the layer with the least
 * rank, then of the first one, then the smaller one. It ends where no offer fits, or none gains.
 *
 * Source: ours. That the spectrum of E F is what a pair takes off the error: C. Zhang, J. T. H.
 * Wong, C. Xiao, G. A. Constantinides, Y. Zhao, "QERA", 2024, arXiv:2410.06040, theorem 1.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_BUDGET_H
#define KFI_QUANTIZE_BUDGET_H

#include "kerf/error.h"
#include "kerf/format.h"

#include <stddef.h>
#include <stdint.h>

/* A layer that may get a pair. */
typedef struct kfi_budget_layer {
    const double *gains; /* [most], >= 0, falling; borrowed */
    size_t most;         /* the greatest rank */
    size_t rows, cols;
    kf_format factors; /* of A and B */
    size_t rank;       /* made; 0: no pair */
} kfi_budget_layer;

/* Bytes of A [rank][cols] and B [rows][rank] as they are stored; 0 for rank 0. KF_RANGE. */
KF_NODISCARD kf_status kfi_pair_bytes(uint64_t *bytes, kf_format factors, size_t rows, size_t cols,
                                      size_t rank, kf_error *err);

/* Chooses the ranks; *spent is what they take, at most budget. KF_RANGE: a layer's shape.
 * Cost: n^2 most / 16 steps. */
KF_NODISCARD kf_status kfi_budget_spend(uint64_t *spent, kfi_budget_layer *layers, size_t n,
                                        uint64_t budget, kf_error *err);

#endif /* KFI_QUANTIZE_BUDGET_H */
