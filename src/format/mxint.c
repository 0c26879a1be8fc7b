/* mxint.c - symmetric integers of 2 to 8 bits whose scale is a power of two, one byte a group.
 *
 *     w = 2^(e - 127) (q - 2^(b-1)),  e = 0 … 254
 *
 * With 8 bits and groups of 32 this is MXINT8: there an element is a two's complement number of
 * which 6 bits are a fraction, so that our exponent is theirs less b - 2.
 *
 * Source: Open Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0, 2023,
 * sections 5.3.4 and 6.3. Different from it: other widths and groups; the most negative code is
 * used; by KFI_FIT_MSE the exponents around the specified one compete.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "format/fit.h"

#define EXPONENT_BIAS 127
#define EXPONENT_MAX  127 /* the byte 255 would be NaN */

static kfi_grid grid_of(int exponent, int bits)
{
    const int clamped = exponent < -EXPONENT_BIAS ? -EXPONENT_BIAS
                        : exponent > EXPONENT_MAX ? EXPONENT_MAX
                                                  : exponent;
    return (kfi_grid){.scale = ldexpf(1.0f, clamped), .zero = (int32_t)1 << (bits - 1)};
}

void kfi_mxint_fit(kfi_grid *grid, kf_format format, const kfi_fit_group *group, const kfi_fit *fit)
{
    float extreme = 0.0f;
    for (size_t i = 0; i < group->n; i++) {
        extreme = fmaxf(extreme, fabsf(group->weights[i]));
    }
    if (extreme == 0.0f) { /* exact: an all-zero group */
        *grid = grid_of(-EXPONENT_BIAS, format.bits);
        return;
    }
    const int specified = ilogbf(extreme) - (format.bits - 2);
    *grid = grid_of(specified, format.bits);
    if (fit->kind == KFI_FIT_MSE) {
        double error = kfi_fit_error(group, grid);
        for (int exponent = specified + 1; exponent >= specified - 3; exponent--) {
            const kfi_grid candidate = grid_of(exponent, format.bits);
            kfi_fit_try(grid, &error, group, &candidate);
        }
    }
}
