/* codebook.c - codes that stand for the entries of a small table.
 *
 *     w = s t[q],  t of signed bytes, ascending;  s an fp16 that may be negative
 *
 * NormalFloat: quantiles of the normal distribution on both sides of a zero, so that each code is
 * as likely as the others for weights of normal distribution and known extremes. For b bits
 *
 *     d = 1 - (1 / 2^(b+1) + 1 / (2^(b+1) - 2)) / 2
 *     t = F^-1(p) / F^-1(d),  p in equal steps from 1 - d to 1/2, 2^(b-1) - 1 of them,
 *                             and from there to d, 2^(b-1) of them
 *
 * E2M1: the 4-bit float of one mantissa bit, doubled; its two zeros are equal entries.
 *
 * Root mean square error over that of the same 25 600 normal weights, groups of 64, range / least
 * squares: nf4 .0892 / .0840, int4 .0942 / .0896; least squares alone: fp4e2m1 .0990, nf3 .1702,
 * int3 .1756, nf2 .3617, int2 .3483. A codebook of the tensor's own (learn.c) has .0812, .1670 and
 * .3332 with 16, 8 and 4 entries.
 *
 * Source: T. Dettmers, A. Pagnoni, A. Holtzman, L. Zettlemoyer, "QLoRA: Efficient Finetuning of
 * Quantized LLMs", 2023, arXiv:2305.14314, section 3 and its code (4 bits); H. Guo, P. Greengard,
 * E. P. Xing, Y. Kim, "LQ-LoRA", 2023, arXiv:2311.12023 (other widths). Different from them:
 * entries are rounded to 1/127, scales to fp16, and are not quantized again; the scale takes the
 * sign that errs less; by KFI_FIT_MSE the range is shrunk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <math.h>

#include "format/fit.h"

static const int8_t nf2[KFI_TABLE_ENTRIES] = {-127, 0, 55, 127};
static const int8_t nf3[KFI_TABLE_ENTRIES] = {-127, -68, -31, 0, 23, 49, 79, 127};
static const int8_t nf4[KFI_TABLE_ENTRIES] = {-127, -88, -67, -50, -36, -23, -12, 0,
                                              10,   20,  31,  43,  56,  71,  92,  127};
static const int8_t e2m1[KFI_TABLE_ENTRIES] = {-12, -8, -6, -4, -3, -2, -1, 0,
                                               0,   1,  2,  3,  4,  6,  8,  12};

const int8_t *kfi_format_table(kf_format format)
{
    switch (format.element) {
    case KF_ELEMENT_NF:
        return format.bits == 2 ? nf2 : format.bits == 3 ? nf3 : nf4;
    case KF_ELEMENT_E2M1:
        return e2m1;
    default:
        return NULL;
    }
}

/* The least scale by which the table reaches from low to high, of its own sign. */
static double reach(kfi_levels levels, kfi_range r)
{
    const double first = (double)levels.table[0];
    const double last = (double)levels.table[levels.q_max];
    const double above = last > 0.0 ? r.high / last : 0.0;
    const double below = first < 0.0 ? r.low / first : 0.0;
    return fmax(above, below);
}

static kfi_range mirrored(kfi_range r)
{
    return (kfi_range){-r.high, -r.low};
}

/* Upside down the table is the same. */
static bool is_symmetric(kfi_levels levels)
{
    for (int32_t q = 0; q <= levels.q_max; q++) {
        if (levels.table[q] != -levels.table[levels.q_max - q]) {
            return false;
        }
    }
    return true;
}

/* Finds the scale by which all weights are entries already (a source quantized before): the extreme
 * is one of them. */
static bool exact_grid(kfi_grid *grid, const kfi_fit_group *group, double extreme)
{
    for (int32_t q = group->levels.q_max; q >= 0; q--) {
        const double entry = (double)group->levels.table[q];
        if (entry == 0.0) { /* exact: a whole number */
            continue;
        }
        *grid = (kfi_grid){.scale = kfi_fit_round_scale(extreme / entry)};
        if ((double)grid->scale * entry == extreme && kfi_fit_is_exact(group, grid)) { /* exact */
            return true;
        }
    }
    return false;
}

/* Tries n parts of the range, the whole one first, with both signs of the scale: entries lie closer
 * on one side of zero, and learned ones may reach little on the other. */
static void search(kfi_grid *best, const kfi_fit_group *group, const kfi_fit *fit, int n)
{
    const kfi_range r = kfi_fit_range(group);
    const bool symmetric = is_symmetric(group->levels);
    const double up = reach(group->levels, r);
    const double down = reach(group->levels, mirrored(r));
    *best = (kfi_grid){.scale = kfi_fit_round_scale(up)};
    double error = kfi_fit_error(group, best);
    for (int step = 0; step < n; step++) {
        const double part = kfi_fit_shrunk(fit, step);
        const kfi_grid candidate = {.scale = kfi_fit_round_scale(part * up)};
        kfi_fit_try(best, &error, group, &candidate);
        if (!symmetric) {
            const kfi_grid other = {.scale = kfi_fit_round_scale(-part * down)};
            kfi_fit_try(best, &error, group, &other);
        }
    }
}

void kfi_codebook_fit(kfi_grid *grid, kf_format format, const kfi_fit_group *group,
                      const kfi_fit *fit)
{
    (void)format;
    const double extreme = kfi_fit_extreme(kfi_fit_range(group));
    assert(group->levels.table != NULL);
    if (extreme == 0.0) { /* exact: an all-zero group */
        *grid = (kfi_grid){0};
        return;
    }
    if (!exact_grid(grid, group, extreme)) {
        search(grid, group, fit, fit->kind == KFI_FIT_MSE ? fit->steps : 1);
    }
}
