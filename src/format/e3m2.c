/* e3m2.c - floats of 6 bits: a sign, 3 bits of exponent, 2 of fraction.
 *
 *     w = s v,  v = -448 … 448 sixteen times the float (kernels/e3m2.h);  s > 0 an fp16
 *
 * Levels lie closer together at zero, so that a scale need not suit the small weights of a group
 * too. Root mean square error over that of the weights, 32 rows of 576 normal ones, range / least
 * squares: fp6e3m2row .0523 / .0510, fp6e3m2g64 .0504 / .0472, least squares alone int6row .0288;
 * with every sixteenth column eight times as large .0489 / .0477, .0364 / .0347 and .0753.
 *
 * Source: X. Wu, H. Xia, S. Youn et al., "ZeroQuant(4+2): Redefining LLMs Quantization with a New
 * FP6-Centric Strategy for Diverse Generative Tasks", 2023, arXiv:2312.08583, section 4. Different
 * from it: scales are fp16; by KFI_FIT_MSE the range is shrunk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "format/fit.h"

/* Finds the scale by which all weights are levels already (a source quantized before): the extreme
 * is one of them. */
static bool exact_grid(kfi_grid *grid, const kfi_fit_group *group, double extreme)
{
    for (int32_t q = group->levels.q_max; q >= 0; q--) {
        const double level = (double)kfi_level_of(group->levels, 0, (uint8_t)q);
        if (level <= 0.0) { /* the same with the other sign */
            continue;
        }
        *grid = (kfi_grid){.scale = kfi_fit_round_scale(extreme / level)};
        if ((double)grid->scale * level == extreme && kfi_fit_is_exact(group, grid)) { /* exact */
            return true;
        }
    }
    return false;
}

void kfi_e3m2_fit(kfi_grid *grid, kf_format format, const kfi_fit_group *group, const kfi_fit *fit)
{
    (void)format;
    const double extreme = fabs(kfi_fit_extreme(kfi_fit_range(group)));
    if (extreme == 0.0) { /* exact: an all-zero group */
        *grid = (kfi_grid){0};
        return;
    }
    if (exact_grid(grid, group, extreme)) {
        return;
    }
    *grid = (kfi_grid){.scale = kfi_fit_round_scale(extreme / KFI_E3M2_MOST)};
    if (fit->kind == KFI_FIT_MSE) {
        double error = kfi_fit_error(group, grid);
        for (int step = 1; step < fit->steps; step++) {
            const double scale = kfi_fit_shrunk(fit, step) * extreme / KFI_E3M2_MOST;
            const kfi_grid candidate = {.scale = kfi_fit_round_scale(scale)};
            kfi_fit_try(grid, &error, group, &candidate);
        }
    }
}
