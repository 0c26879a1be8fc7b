/* two_level.h - the pieces of two-level scales, for methods that choose them by other errors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_FORMAT_TWO_LEVEL_H
#define KFI_FORMAT_TWO_LEVEL_H

#include "format/fit.h"

/* The greatest |m| of codes of so many bits. */
int kfi_two_level_most(int bits);
/* To 16 significant bits, half away from zero: what a file holds of a row's scale. */
float kfi_two_level_round_scale(double scale);
/* The grid of a group with an fp16 scale, within the zeros that two-level scales allow. */
void kfi_two_level_fit_own(kfi_grid *own, kf_format format, const kfi_fit_group *group,
                           const kfi_fit *fit);
/* That grid made to one with a multiplier. A range keeps its middle. */
kfi_grid kfi_two_level_grid(const kfi_grid *own, float row_scale, int multiplier, kf_format format);

#endif /* KFI_FORMAT_TWO_LEVEL_H */
