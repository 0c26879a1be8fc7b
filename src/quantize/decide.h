/* decide.h - whether an exact prefix pays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_DECIDE_H
#define KFI_QUANTIZE_DECIDE_H

#include "quantize/identity.h"
#include "quantize/pipeline.h"

/* Fills choice from what the recipe says and the caller offers. "auto" quantizes the model twice in
 * memory, on a few windows without and with the start token, and compares the loss of windows that
 * were held back; without calibration text, or where it is too short for that, it is "none".
 * Any other prefix is offered: see kfi_plan_check(). */
KF_NODISCARD kf_status kfi_decide_prefix(kfi_prefix_choice *choice, kf_model *model,
                                         const kf_recipe *recipe, const kfi_worker *worker,
                                         const kf_quantize_options *options, kf_error *err);

/* Tokens that one of the two trials moves through the model; 0 where there will be none. */
size_t kfi_decide_tokens(kf_model *model, const kf_recipe *recipe,
                         const kf_quantize_options *options);

#endif /* KFI_QUANTIZE_DECIDE_H */
