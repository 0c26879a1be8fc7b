/* output_fit.h - grids of groups by the error of the layer's output, for several methods.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_OUTPUT_FIT_H
#define KFI_QUANTIZE_OUTPUT_FIT_H

#include "quantize/round/round.h"

/* Which ranges of a group are tried. */
typedef enum kfi_output_range {
    KFI_OUTPUT_RANGE_SCALED, /* part times both ends of the range */
    KFI_OUTPUT_RANGE_CUT     /* the range of the weights cut off at part times the largest |w| */
} kfi_output_range;

typedef struct kfi_output_fit {
    kfi_output_range range;
    double first, last; /* parts; first is tried first, and wins where errors are equal */
    size_t steps;       /* 2 … 128, evenly from first to last */
} kfi_output_fit;

#define KFI_OUTPUT_FIT_STEPS_MOST 128u

/* Fits job->grids: of the candidates for a group that with the least e H_gg e^T, e the group's
 * errors and H_gg its square of the Gram matrix: the error of the outputs if all other groups were
 * exact. Scales of two levels get the grid of one level. The codebook must be there.
 * Cost: steps * rows * cols * group multiplications. KF_NOMEM. */
KF_NODISCARD kf_status kfi_output_fit_groups(kfi_round_job *job, const kfi_output_fit *fit,
                                             kf_error *err);

#endif /* KFI_QUANTIZE_OUTPUT_FIT_H */
