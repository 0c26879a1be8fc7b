/* two_level.c - integers whose scales are a float32 a row times a small integer a group.
 *
 *     w = S m (q - z),  |m| (2^b - 1) <= 255,  S a float32 of 16 significant bits
 *
 * A byte a group instead of two; and since |m (q - z)| <= 255, kernels may go on in integers over
 * all groups of a row. The product of S with such an integer is exact in float32.
 *
 *     bits        2   3   4   5   6   7   8
 *     |m| up to  85  36  17   8   4   2   1
 *
 * First every group gets the grid of an fp16 scale (int.c, ternary.c), s. Some S are tried that
 * make the m of the row's largest |s| an integer, and each group takes the one of the two m around
 * s / S that errs less. The S with the least error in all wins. Codes are made for the scale that
 * came out, S m.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "format/two_level.h"

#include <math.h>

#include "base/half.h"

int kfi_two_level_most(int bits)
{
    return 255 / ((1 << bits) - 1);
}

/* The scales of fp16 grids are far from the ends of float32. */
float kfi_two_level_round_scale(double scale)
{
    return kfi_bits_float((kfi_float_bits((float)scale) + 0x80u) & 0xFFFFFF00u);
}

kfi_grid kfi_two_level_grid(const kfi_grid *own, float row_scale, int multiplier, kf_format format)
{
    const double q_max = (double)((1 << format.bits) - 1);
    kfi_grid grid = {.scale = row_scale * (float)multiplier,
                     .zero = own->zero,
                     .row_scale = row_scale,
                     .multiplier = multiplier};
    if (format.zero == KF_ZERO_INTEGER && multiplier != 0) {
        const double stretch = (double)own->scale / (double)grid.scale;
        const double zero = 0.5 * q_max + ((double)own->zero - 0.5 * q_max) * stretch;
        grid.zero = (int32_t)fmin(fmax(nearbyint(zero), 0.0), q_max);
    }
    return grid;
}

/* The better one of the two multipliers around a group's own scale; returns its error. */
static double fit_multiplier(kfi_grid *grid, const kfi_grid *own, float row_scale, kf_format format,
                             const kfi_fit_group *group)
{
    const double most = (double)kfi_two_level_most(format.bits);
    const double wanted = row_scale > 0.0f ? fabs((double)own->scale) / (double)row_scale : 0.0;
    const int sign = own->scale < 0.0f ? -1 : 1;
    const int below = (int)fmin(floor(wanted), most);
    const int above = (int)fmin(ceil(wanted), most);
    *grid = kfi_two_level_grid(own, row_scale, sign * below, format);
    double error = kfi_fit_error(group, grid);
    if (above != below) {
        const kfi_grid candidate = kfi_two_level_grid(own, row_scale, sign * above, format);
        kfi_fit_try(grid, &error, group, &candidate);
    }
    return error;
}

void kfi_two_level_fit_own(kfi_grid *own, kf_format format, const kfi_fit_group *group,
                           const kfi_fit *fit)
{
    if (format.element == KF_ELEMENT_TERNARY) {
        kfi_ternary_fit(own, format, group, fit);
    } else {
        kfi_int_fit(own, format, group, fit);
    }
}

void kfi_two_level_fit(kfi_grid *grid, kf_format format, const kfi_fit_group *group,
                       const kfi_fit *fit)
{
    kfi_grid own = {0};
    const float row_scale = grid->row_scale;
    kfi_two_level_fit_own(&own, format, group, fit);
    (void)fit_multiplier(grid, &own, row_scale, format, group);
}

/* The multipliers that the largest scale of a row may get, in sixteenths of the greatest. Above 16
 * that group is clipped: only for a search that clips anyway. */
static const int largest_sixteenths[] = {16, 15, 14, 13, 12, 11, 10, 9, 20, 24};
#define N_LARGEST       (sizeof largest_sixteenths / sizeof largest_sixteenths[0])
#define N_LARGEST_UNCUT 8u

static double row_error(const kfi_grid *own, float row_scale, kf_format format,
                        const kfi_fit_group *row)
{
    const size_t n_groups = kfi_format_groups(format, row->n);
    double sum = 0.0;
    for (size_t g = 0; g < n_groups; g++) {
        const kfi_fit_group group = kfi_fit_group_of(row, format, g);
        kfi_grid grid = {0};
        sum += fit_multiplier(&grid, &own[g], row_scale, format, &group);
    }
    return sum;
}

static float choose_row_scale(const kfi_grid *own, kf_format format, const kfi_fit_group *row,
                              const kfi_fit *fit)
{
    const size_t n_groups = kfi_format_groups(format, row->n);
    const size_t n_tried = fit->kind == KFI_FIT_MSE ? N_LARGEST : N_LARGEST_UNCUT;
    double most = 0.0;
    for (size_t g = 0; g < n_groups; g++) {
        most = fmax(most, fabs((double)own[g].scale));
    }
    float best = 0.0f;
    double best_error = (double)INFINITY;
    double last = 0.0;
    for (size_t i = 0; i < n_tried; i++) {
        const double largest =
            nearbyint(kfi_two_level_most(format.bits) * largest_sixteenths[i] / 16.0);
        if (largest == last) { /* exact: both are whole numbers */
            continue;
        }
        const float row_scale = kfi_two_level_round_scale(most / largest);
        const double error = row_error(own, row_scale, format, row);
        if (error < best_error) {
            best_error = error;
            best = row_scale;
        }
        last = largest;
    }
    return best;
}

void kfi_two_level_fit_row(kfi_grid *grids, kf_format format, const kfi_fit_group *row,
                           const kfi_fit *fit)
{
    const size_t n_groups = kfi_format_groups(format, row->n);
    for (size_t g = 0; g < n_groups; g++) {
        const kfi_fit_group group = kfi_fit_group_of(row, format, g);
        kfi_two_level_fit_own(&grids[g], format, &group, fit);
    }
    const float row_scale = choose_row_scale(grids, format, row, fit);
    for (size_t g = 0; g < n_groups; g++) {
        const kfi_fit_group group = kfi_fit_group_of(row, format, g);
        const kfi_grid own = grids[g];
        (void)fit_multiplier(&grids[g], &own, row_scale, format, &group);
    }
}
