/* plan.h - what a recipe will make of a model: checks before any work, and the dry run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_PLAN_H
#define KFI_QUANTIZE_PLAN_H

#include "quantize/recipe.h"

/* Refuses what cannot be done. KF_UNSUPPORTED: a Kerf checkpoint as the source, a method that needs
 * statistics for embedding or head; KF_INVALID: no calibration text where a method needs it, no
 * start token where the recipe asks for a prefix; KF_RANGE: a text shorter than a window, an id
 * outside the vocabulary, a window longer than the context, a pattern that matches no tensor;
 * KF_FORMAT: embedding, head or final norm with a value that is not finite, unless the recipe keeps
 * it. */
KF_NODISCARD kf_status kfi_plan_check(kf_model *model, const kf_recipe *recipe,
                                      const kf_quantize_options *options, kf_error *err);

/* Sizes exactly, but for a method that keeps fewer single weights than it may; time and memory as
 * estimates. The time is that of a small piece of the real work, measured here. */
KF_NODISCARD kf_status kfi_plan_estimate(kf_quantize_result *result, kf_model *model,
                                         const kf_recipe *recipe,
                                         const kf_quantize_options *options, kf_error *err);

#endif /* KFI_QUANTIZE_PLAN_H */
