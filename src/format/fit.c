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
    const float whole = kfi_round_half_even(x - 0.5f);
    const float f = x - whole; /* 0 … 1 */
    const float p = 0.69301680f + f * (0.24150594f + f * (0.05178415f + f * 0.01369310f));
    return kfi_bits_float(kfi_float_bits(1.0f + f * p) + ((uint32_t)(int32_t)whole << 23));
}

/* |e|^exponent from e^2, without libm, whose last bits differ between its versions and could change
 * a file. */
static float error_power(float square, float exponent)
{
    const float floored =
        square > 0x1p-100f ? square : 0x1p-100f; /* far below any weight's error */
    const float power = 0.5f * exponent * fast_log2(floored);
    return fast_exp2(power < -125.0f ? -125.0f : power > 126.0f ? 126.0f : power);
}

/* Squared errors of n weights on a grid. Written without a branch, and with the reciprocal of the
 * scale, for compilers to turn it into vectors: the search spends all its time here. */
static void square_errors(float *squares, const float *weights, size_t n, const kfi_grid *grid,
                          int bits)
{
    const float q_max = (float)((1 << bits) - 1);
    const float zero = (float)grid->zero;
    const float inverse = grid->scale != 0.0f ? 1.0f / grid->scale : 0.0f; /* exact: no scale */
    const float limit = 1024.0f;
    for (size_t i = 0; i < n; i++) {
        float q = (weights[i] - grid->offset) * inverse;
        q = q > limit ? limit : q;
        q = q < -limit ? -limit : q;
        q = kfi_round_half_even(q) + zero;
        q = q > q_max ? q_max : q;
        q = q < 0.0f ? 0.0f : q;
        const float e = weights[i] - (grid->scale * (q - zero) + grid->offset);
        squares[i] = e * e;
    }
}

double kfi_fit_error(const kfi_fit_group *group, const kfi_grid *grid, double limit)
{
    float errors[WEIGHTS_A_LOOK];
    double sum = 0.0;
    for (size_t begin = 0; begin < group->n && sum <= limit; begin += WEIGHTS_A_LOOK) {
        const size_t rest = group->n - begin;
        const size_t n = rest < WEIGHTS_A_LOOK ? rest : WEIGHTS_A_LOOK;
        square_errors(errors, group->weights + begin, n, grid, group->bits);
        if (group->exponent != 2.0f) { /* exact: the common setting needs no power */
            for (size_t i = 0; i < n; i++) {
                errors[i] = error_power(errors[i], group->exponent);
            }
        }
        if (group->importance != NULL) {
            for (size_t i = 0; i < n; i++) {
                errors[i] *= group->importance[begin + i];
            }
        }
        float part = 0.0f;
        for (size_t i = 0; i < n; i++) {
            part += errors[i];
        }
        sum += (double)part;
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
