/* fit_fixture.c - groups of weights to fit grids to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fit_fixture.h"

#include "check.h"

const kfi_fit fit_min_max = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1, .shrink = 1.0f};
const kfi_fit fit_mse = {.kind = KFI_FIT_MSE, .exponent = 2.0f, .steps = 80, .shrink = 0.2f};

kf_format fit_format(const char *name)
{
    kf_format format = {0};
    assert_int_equal(kf_format_parse(&format, name, NULL), KF_OK);
    return format;
}

void fit_weights(float *w, size_t n, kfi_rng *rng, float scale, float mean)
{
    for (size_t i = 0; i < n; i++) {
        w[i] = scale * kfi_rng_normal(rng) + mean;
    }
}

float fit_round_trip(const kfi_grid *grid, kf_format format, float w)
{
    return kfi_grid_decode(grid, kfi_format_levels(format, NULL),
                           kfi_grid_encode(grid, kfi_format_levels(format, NULL), w));
}

double fit_squared_error(const kfi_grid *grid, kf_format format, const float *w, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double e = (double)w[i] - (double)fit_round_trip(grid, format, w[i]);
        sum += e * e;
    }
    return sum;
}
