/* int.c - integers of 2 to 8 bits with an fp16 scale: symmetric, with a zero point, or an offset.
 *
 *     none     w = s (q - 2^(b-1))      s may be negative
 *     integer  w = s (q - z)            z = 0 … 255
 *     offset   w = s q + o              o an fp16
 *
 * The symmetric grid has one step more below zero than above. A signed scale puts the weight of
 * largest magnitude on that step, so that nothing is clipped and the step is the smallest possible.
 * Root mean square error over that of the weights, scale from the range of a group of 64:
 *
 *                          normal                      Laplace
 *     bits          2      3      4      8      2      3      4      8
 *     m / (h - 1)  .7196  .2518  .1079  .0059  .7263  .3168  .1412  .0078
 *     m / (h - .5) .5121  .2206  .1031  .0061  .5783  .2817  .1351  .0080
 *     -extreme / h .3949  .1921  .0951  .0059  .4614  .2447  .1243  .0078
 *     zero point   .4574  .1953  .0912  .0054  .5034  .2366  .1126  .0066
 *                                              m = max|w|, h = 2^(b-1)
 *
 * and with the range shrunk for the least squared error (80 steps):
 *
 *     +s, m/(h-1)  .3784  .1898  .0950  .0059  .4382  .2415  .1254  .0077
 *     both signs   .3514  .1764  .0901  .0059  .3996  .2217  .1183  .0079
 *     zero point   .3554  .1762  .0874  .0054  .4024  .2157  .1087  .0066
 *
 * Ranges that do not reach zero are not widened to it where a zero of 0 … 255 can do without: at 4
 * bits a group four deviations below zero errs by .0913 instead of .1216, eight by .0909 instead of
 * .1980.
 *
 * Weights that were on a grid before are found to be: all 3 317 760 blocks of a SmolLM2 in Q4_1
 * (with offsets), as many in Q4_0, and 7 870 464 of a Qwen2.5 in Q5_0 come back bit for bit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/half.h"
#include "format/fit.h"

#define OFFSET_MAX 65504.0 /* of fp16 */

/* Two-level scales keep |q - zero| within the codes. */
static double zero_max(kf_format format)
{
    return format.scale == KF_SCALE_TWO_LEVEL ? (double)((1 << format.bits) - 1) : 255.0;
}

/* The grid of a range, for each zero kind. */
static kfi_grid symmetric_grid(kfi_range r, int bits)
{
    const double extreme = kfi_fit_extreme(r);
    const int32_t half = (int32_t)1 << (bits - 1);
    return (kfi_grid){.scale = kfi_fit_round_scale(-extreme / half), .zero = half};
}

/* The range may lie on one side of zero as far as the greatest zero reaches; what it does not reach
 * takes a larger scale, and a range above zero is widened down to it. */
static kfi_grid integer_grid(kfi_range r, kf_format format)
{
    const double steps = (double)((1 << format.bits) - 1);
    const double low = fmin(r.low, 0.0);
    const double scale = fmax((r.high - low) / steps, -low / zero_max(format));
    kfi_grid grid = {.scale = kfi_fit_round_scale(scale)};
    const double zero = nearbyint(-low / (double)grid.scale);
    grid.zero = (int32_t)fmin(zero, zero_max(format));
    return grid;
}

/* The greatest fp16 not above x: with the offset there, no weight lies below the grid. */
static float half_below(double x)
{
    const double clamped = fmin(fmax(x, -OFFSET_MAX), OFFSET_MAX);
    uint16_t half = kfi_half_from_float((float)clamped);
    if ((double)kfi_half_to_float(half) > clamped) {
        half = (half & 0x7FFFu) == 0 ? 0x8001u : (uint16_t)(half & 0x8000u ? half + 1 : half - 1);
    }
    return kfi_half_to_float(half);
}

/* The scale comes from the rounded offset, so that the greatest weight is still the last point. */
static kfi_grid offset_grid(kfi_range r, int bits)
{
    const double steps = (double)((1 << bits) - 1);
    const float offset = half_below(r.low);
    const double scale = fmax(r.high - (double)offset, 0.0) / steps;
    return (kfi_grid){.scale = kfi_fit_round_scale(scale), .offset = offset};
}

static kfi_grid range_grid(kfi_range r, kf_format format)
{
    switch (format.zero) {
    case KF_ZERO_INTEGER:
        return integer_grid(r, format);
    case KF_ZERO_OFFSET:
        return offset_grid(r, format.bits);
    default:
        return symmetric_grid(r, format.bits);
    }
}

/* A range shrunk around its middle (offset), or towards zero. */
static kfi_range shrink(kfi_range r, kf_format format, double f)
{
    if (format.zero == KF_ZERO_OFFSET) {
        const double middle = 0.5 * (r.low + r.high);
        return (kfi_range){middle + f * (r.low - middle), middle + f * (r.high - middle)};
    }
    return (kfi_range){f * r.low, f * r.high};
}

static void search(kfi_grid *best, double *best_error, kf_format format, const kfi_fit_group *group,
                   kfi_range r, const kfi_fit *fit)
{
    for (int step = 0; *best_error > 0.0 && step < fit->steps; step++) {
        const kfi_range shrunk = shrink(r, format, kfi_fit_shrunk(fit, step));
        const kfi_grid candidate = range_grid(shrunk, format);
        kfi_fit_try(best, best_error, group, &candidate);
        if (format.zero == KF_ZERO_NONE) {
            const kfi_range mirrored = {-shrunk.high, -shrunk.low};
            const kfi_grid other = range_grid(mirrored, format);
            kfi_fit_try(best, best_error, group, &other);
        }
    }
}

/* Every weight minus base is a multiple of step, to what float32 rounding of such a sum allows. */
static bool are_multiples(const kfi_fit_group *group, double base, double step)
{
    const double tolerance = 1.0 / 64.0;
    const double inverse = 1.0 / step;
    for (size_t i = 0; i < group->n; i++) {
        const double q = ((double)group->weights[i] - base) * inverse;
        if (fabs(q - nearbyint(q)) > tolerance) {
            return false;
        }
    }
    return true;
}

/* The grid of a step that may hold all weights exactly: symmetric, or with the least zero. */
static bool exact_at_step(kfi_grid *grid, kf_format format, const kfi_fit_group *group, kfi_range r,
                          float step)
{
    const double zero = format.zero == KF_ZERO_NONE ? (double)(1 << (format.bits - 1))
                                                    : fmax(-r.low / (double)step, 0.0);
    *grid = (kfi_grid){.scale = step, .zero = (int32_t)fmin(nearbyint(zero), zero_max(format))};
    return kfi_fit_is_exact(group, grid);
}

/* The same with an offset: the least weight may be any code c of 0 … c_max. */
static bool exact_with_offset(kfi_grid *grid, const kfi_fit_group *group, kfi_range r, float step,
                              int c_max)
{
    for (int c = 0; c <= c_max; c++) {
        const double offset = r.low - c * (double)step;
        if (fabs(offset) > OFFSET_MAX) {
            return false;
        }
        *grid = (kfi_grid){.scale = step};
        grid->offset = kfi_half_to_float(kfi_half_from_float((float)offset));
        if (kfi_fit_is_exact(group, grid)) {
            return true;
        }
    }
    return false;
}

/* Finds the grid that weights already lie on (a source quantized before), if there is one: the
 * range, or for a symmetric grid the extreme, is then a whole number of steps. */
static bool exact_grid(kfi_grid *grid, kf_format format, const kfi_fit_group *group, kfi_range r)
{
    const bool symmetric = format.zero == KF_ZERO_NONE;
    const bool offset = format.zero == KF_ZERO_OFFSET;
    const double extreme = kfi_fit_extreme(r);
    const double span = symmetric ? -extreme : r.high - r.low;
    const int n_max = symmetric ? 1 << (format.bits - 1) : (1 << format.bits) - 1;
    for (int n = n_max; n > 0; n--) {
        const float step = kfi_fit_round_scale(span / n);
        if (are_multiples(group, offset ? r.low : 0.0, (double)step) &&
            (offset ? exact_with_offset(grid, group, r, step, n_max - n)
                    : exact_at_step(grid, format, group, r, step))) {
            return true;
        }
    }
    return false;
}

/* The fp16 step of which a distance is a multiple up to n_max, or just the distance rounded. */
static float step_of(double distance, int n_max, int *n)
{
    for (*n = 1; *n <= n_max; (*n)++) {
        const float step = kfi_fit_round_scale(distance / *n);
        if ((double)step * *n == distance) { /* exact */
            return step;
        }
    }
    *n = 1;
    return kfi_fit_round_scale(distance);
}

/* Weights that are all the same number w: a few steps of the grid make it, or with an offset what
 * the offset's rounding leaves of it. */
static kfi_grid constant_grid(double w, kf_format format)
{
    const bool symmetric = format.zero == KF_ZERO_NONE;
    const float offset = format.zero == KF_ZERO_OFFSET ? half_below(w) : 0.0f;
    const double rest = w - (double)offset;
    const int half = 1 << (format.bits - 1);
    kfi_grid grid = {.offset = offset, .zero = symmetric ? half : 0};
    if (rest != 0.0) { /* exact: the scale of a zero group stays 0 */
        int n = 0;
        grid.scale = step_of(fabs(rest), symmetric ? half - 1 : 2 * half - 1, &n);
        grid.zero = format.zero == KF_ZERO_INTEGER && w < 0.0 ? n : grid.zero;
    }
    return grid;
}

void kfi_int_fit(kfi_grid *grid, kf_format format, const kfi_fit_group *group, const kfi_fit *fit)
{
    const kfi_range r = kfi_fit_range(group);
    if (r.low == r.high && fabs(r.low) <= OFFSET_MAX) { /* exact: all weights are one number */
        *grid = constant_grid(r.low, format);
        return;
    }
    if (exact_grid(grid, format, group, r)) {
        return;
    }
    *grid = range_grid(r, format);
    if (fit->kind == KFI_FIT_MSE) {
        double error = kfi_fit_error(group, grid);
        search(grid, &error, format, group, r, fit);
    }
}
