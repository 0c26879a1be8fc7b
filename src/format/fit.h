/* fit.h - what the number formats share when they choose a grid.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_FORMAT_FIT_H
#define KFI_FORMAT_FIT_H

#include <stdbool.h>

#include "format/format.h"

/* One group of weights and what an error there costs. */
typedef struct kfi_fit_group {
    const float *weights;
    const float *importance; /* n values, or NULL: all 1 */
    size_t n;
    kfi_levels levels;
    float exponent;
} kfi_fit_group;

typedef void kfi_fit_fn(kfi_grid *grid, kf_format format, const kfi_fit_group *group,
                        const kfi_fit *fit);

/* One function a row of formats.def. */
kfi_fit_fn kfi_int_fit;
kfi_fit_fn kfi_two_level_fit;
kfi_fit_fn kfi_mxint_fit;
kfi_fit_fn kfi_ternary_fit;
kfi_fit_fn kfi_codebook_fit;
kfi_fit_fn kfi_e3m2_fit;

/* Chooses the float32 of a row, and the multiplier of each group of it. */
void kfi_two_level_fit_row(kfi_grid *grids, kf_format format, const kfi_fit_group *row,
                           const kfi_fit *fit);

/* Group i of a row that is described as one. */
kfi_fit_group kfi_fit_group_of(const kfi_fit_group *row, kf_format format, size_t i);

/* Least and greatest weight, as double: their difference may overflow a float. */
typedef struct kfi_range {
    double low, high;
} kfi_range;

kfi_range kfi_fit_range(const kfi_fit_group *group);

/* The weight farthest from zero; of two equally far ones the positive. */
double kfi_fit_extreme(kfi_range range);

/* The part of the range that candidate `step` of fit->steps keeps: from 1 down to fit->shrink. */
double kfi_fit_shrunk(const kfi_fit *fit, int step);

/* Rounds a scale to what fp16 holds: never zero (2^-24 is the least) and never infinite. */
float kfi_fit_round_scale(double scale);

/* Sum of importance |w - w~|^exponent on a grid (kernels.h, grid_error). */
double kfi_fit_error(const kfi_fit_group *group, const kfi_grid *grid);

/* Takes candidate as the best grid if its error is below *best_error. */
void kfi_fit_try(kfi_grid *best, double *best_error, const kfi_fit_group *group,
                 const kfi_grid *candidate);

/* True when every weight is exactly a point of the grid. */
bool kfi_fit_is_exact(const kfi_fit_group *group, const kfi_grid *grid);

#endif /* KFI_FORMAT_FIT_H */
