/* gptq.h - GPTQ as a part of other methods.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_GPTQ_H
#define KFI_QUANTIZE_GPTQ_H

#include "quantize/method.h"

extern const kfi_method kfi_method_gptq;

/* Its knobs [KFI_KNOBS_MAX]: of a grid (KFI_ROUND_GRID_N_KNOBS), a damping, else its defaults. */
void kfi_gptq_knobs(double *knobs, const double *grid, double damping);
/* Codes and grids with such knobs; shared: of its prepare(), with the same. */
KF_NODISCARD kf_status kfi_gptq_round(kfi_round_job *job, const double *knobs, const void *shared,
                                      kf_error *err);

#endif /* KFI_QUANTIZE_GPTQ_H */
