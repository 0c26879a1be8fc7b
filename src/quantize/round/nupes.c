/* nupes.c - the power grid of PowerQuant and NUPES: |w|^a in equal steps, a found by a search.
 *
 * Source: E. Yvinec, A. Dapogny, K. Bailly, "NUPES: Non-Uniform Post-Training Quantization via
 * Power Exponent Search", 2023, arXiv:2308.05600; the data-free search is that of their
 * "PowerQuant", 2023, arXiv:2301.09858.
 *
 * With b bits, K = 2^(b-1) - 1 and m = max|w| of a group a weight is
 *
 *     w~ = sign(q) m (|q| / K)^(1/a),   q = -K ... K
 *
 * a = 1 is a uniform grid; below 1 its points lie closer at zero. a is the one of a tensor with the
 * least sum (w - w~)^2, by a search over golden sections.
 *
 * The grid is the codebook of the tensor (formats cb4, cb8, cb16), so that every kernel runs it:
 * entries are whole 127ths, and the code that b bits have beyond 2 K + 1 is a second zero.
 * Differences from the paper: a weight takes the nearest point, where the paper rounds |w|^a, and
 * errs by more; groups; the second, gradient-driven half of NUPES is not here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/method.h"

#define ENTRY_MOST 127.0

enum {
    KNOB_LEAST,
    KNOB_MOST,
    KNOB_STEPS
};

static const kf_knob knobs[] = {
    {"least", "The least power that the search tries.", NULL, 0.2, 1.0, "0.4"},
    {"most", "The greatest power that the search tries.", NULL, 0.2, 2.0, "1.1"},
    {"steps", "Powers that the search tries; each but the second narrows the interval by 0.618.",
     NULL, 2.0, 100.0, "10"},
};

/* Entries of the grid of one power, ascending. */
static void power_table(int8_t table[KFI_TABLE_ENTRIES], int bits, double power)
{
    const int n = 1 << bits;
    const int most = n / 2 - 1;
    memset(table, 0, KFI_TABLE_ENTRIES);
    for (int q = 1; q <= most; q++) {
        const double part = pow((double)q / most, 1.0 / power);
        const int8_t entry = (int8_t)lround(ENTRY_MOST * part);
        table[n / 2 + q] = entry;
        table[n / 2 - 1 - q] = (int8_t)-entry;
    }
}

static void nupes_grid(kfi_round_grid *grid, const double *values)
{
    (void)values;
    *grid = (kfi_round_grid){.fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1}};
}

/* Rounds with the grid of one power. */
static kf_status round_with(kfi_round_job *job, double power, kf_error *err)
{
    kfi_round_grid grid;
    nupes_grid(&grid, job->knobs);
    power_table(job->table, job->format.bits, power);
    job->has_table = true;
    KFI_TRY(kfi_round_fit(job, &grid, NULL, err));
    kfi_round_nearest(job);
    return KF_OK;
}

static kf_status error_of(double *error, kfi_round_job *job, double power, kf_error *err)
{
    kfi_round_error measured = {0};
    kfi_round_job plain = *job; /* weights only count */
    plain.statistics = NULL;
    KFI_TRY(round_with(&plain, power, err));
    KFI_TRY(kfi_round_measure(&measured, &plain, err));
    *error = measured.error_sum;
    return KF_OK;
}

/* Two inner points of [low, high], of which one is reused at each step. */
static kf_status search(double *power, kfi_round_job *job, kf_error *err)
{
    const double golden = 0.5 * (sqrt(5.0) - 1.0);
    double low = job->knobs[KNOB_LEAST];
    double high = job->knobs[KNOB_MOST];
    double x[2] = {high - golden * (high - low), low + golden * (high - low)};
    double error[2] = {0.0, 0.0};
    KFI_TRY(error_of(&error[0], job, x[0], err));
    KFI_TRY(error_of(&error[1], job, x[1], err));
    for (int i = 2; i < (int)job->knobs[KNOB_STEPS]; i++) {
        const bool left = error[0] <= error[1]; /* the minimum lies left of x[1] */
        const size_t kept = left ? 0 : 1;
        const size_t made = 1 - kept;
        low = left ? low : x[0];
        high = left ? x[1] : high;
        x[made] = x[kept];
        error[made] = error[kept];
        x[kept] = left ? high - golden * (high - low) : low + golden * (high - low);
        KFI_TRY(error_of(&error[kept], job, x[kept], err));
    }
    *power = error[0] <= error[1] ? x[0] : x[1];
    return KF_OK;
}

static kf_status nupes_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    double power = 0.0;
    if (job->format.element != KF_ELEMENT_CODEBOOK) {
        char name[KF_FORMAT_NAME_BYTES];
        kf_format_name(name, job->format);
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "nupes makes a codebook, expected cb4, cb8 or cb16 and not %s", name);
    }
    if (job->knobs[KNOB_LEAST] >= job->knobs[KNOB_MOST]) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "nupes.least is %g, nupes.most %g",
                        job->knobs[KNOB_LEAST], job->knobs[KNOB_MOST]);
    }
    KFI_TRY(search(&power, job, err));
    return round_with(job, power, err);
}

const kfi_method kfi_method_nupes = {
    .about = {.name = "nupes",
              .stage = "round",
              .summary = "Rounds to a grid of powers, whose exponent is searched for each tensor.",
              .paper = "E. Yvinec, A. Dapogny, K. Bailly, NUPES: Non-Uniform Post-Training "
                       "Quantization via Power Exponent Search, 2023, arXiv:2308.05600",
              .statistics = "none",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .grid = nupes_grid,
    .is_whole = true,
    .round = nupes_round,
};
