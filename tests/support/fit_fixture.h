/* fit_fixture.h - groups of weights to fit grids to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_FIT_FIXTURE_H
#define KERF_TESTS_FIT_FIXTURE_H

#include <stddef.h>

#include "base/rng.h"
#include "format/format.h"

#define FIT_GROUP_MAX 128

/* The whole range; the range of least error. */
extern const kfi_fit fit_min_max, fit_mse;

kf_format fit_format(const char *name);
/* n normal weights. */
void fit_weights(float *w, size_t n, kfi_rng *rng, float scale, float mean);
/* What a weight is read back as. */
float fit_round_trip(const kfi_grid *grid, kf_format format, float w);
double fit_squared_error(const kfi_grid *grid, kf_format format, const float *w, size_t n);

#endif /* KERF_TESTS_FIT_FIXTURE_H */
