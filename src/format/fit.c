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

kfi_range kfi_fit_range(const kfi_fit_group *group)
{
    kfi_range r = {(double)group->weights[0], (double)group->weights[0]};
    for (size_t i = 1; i < group->n; i++) {
        const double w = (double)group->weights[i];
        r.low = w < r.low ? w : r.low;
        r.high = w > r.high ? w : r.high;
    }
    return r;
}

double kfi_fit_extreme(kfi_range range)
{
    return -range.low > range.high ? range.low : range.high;
}

double kfi_fit_shrunk(const kfi_fit *fit, int step)
{
    return 1.0 - (1.0 - (double)fit->shrink) * step / (fit->steps > 1 ? fit->steps - 1 : 1);
}

double kfi_fit_error(const kfi_fit_group *group, const kfi_grid *grid)
{
    const kfi_grid_error_args args = {.weights = group->weights,
                                      .importance = group->importance,
                                      .n = group->n,
                                      .scale = grid->scale,
                                      .offset = grid->offset,
                                      .zero = grid->zero,
                                      .q_max = group->levels.q_max,
                                      .table = group->levels.table,
                                      .is_e3m2 = group->levels.is_e3m2,
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
        if (kfi_grid_decode(grid, group->levels, kfi_grid_encode(grid, group->levels, w)) !=
            w) { /* bit for bit */
            return false;
        }
    }
    return true;
}
