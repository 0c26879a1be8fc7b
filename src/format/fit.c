/* fit.c - ranking grids by the error they leave.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "format/fit.h"

#include <math.h>

#include "base/half.h"
#include "kernels/kernels.h"

#define FP16_MAX   65504.0
#define FP16_LEAST 0x1p-24

float kfi_fit_round_scale(double scale)
{
    const double sign = scale < 0.0 ? -1.0 : 1.0;
    const double magnitude = fmin(fmax(fabs(scale), FP16_LEAST), FP16_MAX);
    return kfi_half_to_float(kfi_half_from_float((float)(sign * magnitude)));
}

kfi_fit_group kfi_fit_group_of(const kfi_fit_group *row, kf_format format, size_t i)
{
    const size_t group = kfi_format_group(format, row->n);
    const size_t begin = i * group;
    kfi_fit_group part = *row;
    part.weights += begin;
    part.importance = row->importance != NULL ? row->importance + begin : NULL;
    part.n = row->n - begin < group ? row->n - begin : group;
    return part;
}

double kfi_fit_error(const kfi_fit_group *group, const kfi_grid *grid)
{
    const kfi_grid_error_args args = {.weights = group->weights,
                                      .importance = group->importance,
                                      .n = group->n,
                                      .scale = grid->scale,
                                      .offset = grid->offset,
                                      .zero = grid->zero,
                                      .q_max = (1 << group->bits) - 1,
                                      .exponent = group->exponent};
    return (double)kfi_kernels_get()->grid_error(&args);
}

void kfi_fit_try(kfi_grid *best, double *best_error, const kfi_fit_group *group,
                 const kfi_grid *candidate)
{
    const double error = kfi_fit_error(group, candidate);
    if (error < *best_error) {
        *best_error = error;
        *best = *candidate;
    }
}

bool kfi_fit_is_exact(const kfi_fit_group *group, const kfi_grid *grid)
{
    for (size_t i = 0; i < group->n; i++) {
        const float w = group->weights[i];
        if (kfi_grid_decode(grid, kfi_grid_encode(grid, group->bits, w)) != w) { /* bit for bit */
            return false;
        }
    }
    return true;
}
