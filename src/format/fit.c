/* fit.c - ranking grids by the error they leave.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "format/fit.h"

#include <math.h>

#include "base/half.h"

#define FP16_MAX       65504.0
#define FP16_LEAST     0x1p-24
#define WEIGHTS_A_LOOK 32 /* weights summed between two looks at the limit */

float kfi_fit_round_scale(double scale)
{
    const double sign = scale < 0.0 ? -1.0 : 1.0;
    const double magnitude = fmin(fmax(fabs(scale), FP16_LEAST), FP16_MAX);
    return kfi_half_to_float(kfi_half_from_float((float)(sign * magnitude)));
}

/* log2 of a positive normal float: its exponent plus a polynomial of the mantissa m in [1, 2) that
 * is exact at both ends; off by 2e-5 at most. */
static float fast_log2(float x)
{
    const uint32_t bits = kfi_float_bits(x);
    const float f = kfi_bits_float((bits & 0x007FFFFFu) | 0x3F800000u) - 1.0f;
    const float exponent = (float)((int32_t)(bits >> 23) - 127);
    const float p = 0.41502293f + f * (-0.19240058f + f * 0.04452859f);
    return exponent + f * (1.44194935f + f * (-0.70910029f + f * p));
}

/* 2^x for -126 < x < 127, relative error below 1e-5: the whole part goes to the exponent. */
static float fast_exp2(float x)
{
    const float whole = floorf(x);
    const float f = x - whole;
    const float p = 0.69301680f + f * (0.24150594f + f * (0.05178415f + f * 0.01369310f));
    return kfi_bits_float(kfi_float_bits(1.0f + f * p) + ((uint32_t)(int32_t)whole << 23));
}

/* |e|^exponent without libm, whose last bits differ between its versions and could change a file.
 */
static float error_power(float e, float exponent)
{
    const float square = e * e;
    if (exponent == 2.0f) { /* exact: the common setting */
        return square;
    }
    if (!(square > 0x1p-100f)) { /* far below any weight's error, and no logarithm */
        return 0.0f;
    }
    const float power = 0.5f * exponent * fast_log2(square);
    return fast_exp2(power < -125.0f ? -125.0f : power > 126.0f ? 126.0f : power);
}

double kfi_fit_error(const kfi_fit_group *group, const kfi_grid *grid, double limit)
{
    double sum = 0.0;
    for (size_t i = 0; i < group->n && sum <= limit;) {
        const size_t end = i + WEIGHTS_A_LOOK < group->n ? i + WEIGHTS_A_LOOK : group->n;
        for (; i < end; i++) {
            const float w = group->weights[i];
            const uint8_t code = kfi_grid_encode(grid, group->bits, w);
            const float e = error_power(w - kfi_grid_decode(grid, code), group->exponent);
            sum += (double)(group->importance != NULL ? group->importance[i] * e : e);
        }
    }
    return sum;
}

void kfi_fit_try(kfi_grid *best, double *best_error, const kfi_fit_group *group,
                 const kfi_grid *candidate)
{
    const double error = kfi_fit_error(group, candidate, *best_error);
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
