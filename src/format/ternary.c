/* ternary.c - weights -s, 0 and s in two bits.
 *
 *     w = s (q - 1),  q = 0, 1, 2,  s > 0
 *
 * The range of the weights, s = max|w|, makes zeros of nearly all of them. What errs least keeps
 * those above a threshold and takes their mean for s: for squares, with importance h,
 *
 *     s(t) = sum h |w| / sum h   over |w| > t,   and the best t is s / 2
 *
 * KFI_FIT_MSE tries thresholds up to four times the mean of |w|, then lets t and s follow each
 * other from the best one. Root mean square error over that of the weights, groups of 64, for
 * normal (Laplace) weights: range .716 (.729), this .4295 (.4937), the least there is .4295
 * (.4936).
 *
 * Source: F. Li, B. Liu, X. Wang, B. Zhang, J. Yan, "Ternary Weight Networks", 2016,
 * arXiv:1605.04711, section 2.2. There t is 0.7 times the mean of |w|.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "format/fit.h"

#define THRESHOLD_MOST 4.0 /* times the mean of |w| */
#define REFINEMENTS    4

static kfi_grid grid_of(double scale)
{
    return (kfi_grid){.scale = kfi_fit_round_scale(scale), .zero = 1};
}

/* Mean |w| of the weights above a threshold; 0 where none counts. */
static double mean_above(const kfi_fit_group *group, double threshold)
{
    double sum = 0.0;
    double weight = 0.0;
    for (size_t i = 0; i < group->n; i++) {
        const double w = fabs((double)group->weights[i]);
        if (w > threshold) {
            const double h = group->importance != NULL ? (double)group->importance[i] : 1.0;
            sum += h * w;
            weight += h;
        }
    }
    return weight > 0.0 ? sum / weight : 0.0;
}

static void try_scale(kfi_grid *best, double *best_error, const kfi_fit_group *group, double scale)
{
    const kfi_grid candidate = grid_of(scale);
    kfi_fit_try(best, best_error, group, &candidate);
}

static void search(kfi_grid *best, const kfi_fit_group *group, const kfi_fit *fit)
{
    double error = kfi_fit_error(group, best);
    const double most = THRESHOLD_MOST * mean_above(group, 0.0);
    for (int step = 0; step < fit->steps; step++) {
        const double scale = mean_above(group, most * (step + 1) / fit->steps);
        if (scale > 0.0) {
            try_scale(best, &error, group, scale);
        }
    }
    for (int i = 0; i < REFINEMENTS; i++) {
        const double scale = mean_above(group, 0.5 * (double)best->scale);
        if (scale > 0.0) {
            try_scale(best, &error, group, scale);
        }
    }
}

void kfi_ternary_fit(kfi_grid *grid, kf_format format, const kfi_fit_group *group,
                     const kfi_fit *fit)
{
    (void)format;
    const double extreme = fabs(kfi_fit_extreme(kfi_fit_range(group)));
    if (extreme == 0.0) { /* exact: an all-zero group */
        *grid = (kfi_grid){.zero = 1};
        return;
    }
    *grid = grid_of(extreme);
    if (fit->kind == KFI_FIT_MSE && !kfi_fit_is_exact(group, grid)) {
        search(grid, group, fit);
    }
}
