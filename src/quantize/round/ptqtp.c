/* ptqtp.c - PTQTP: a weight as the sum of two ternary planes, without data.
 *
 * Source: H. Xiao, R. Yang, Q. Yang, W. Xu, Z. Li, Y. Su, Z. Liu, H. Yang, N. Wong, "PTQTP:
 * Post-Training Quantization to Trit-Planes for Large Language Models", 2025, arXiv:2509.16989.
 *
 *     w~ = a_1 t_1 + a_2 t_2,   t of -1, 0, 1
 *
 * so that nine values stand for the weights of a group. By turns each weight takes the best of the
 * nine pairs, and the coefficients get their least squares.
 *
 * Here a_1 = s and a_2 = s r, with a scale s a group and one ratio r a tensor. That makes the nine
 * values a codebook (format cb16), so that every kernel runs them:
 *
 *     -1-r  -1  -1+r  -r  0  r  1-r  1  1+r        ascending up to r = 1/2
 *
 * s is then the least squares of its group and r that of the tensor, each with the other and the
 * planes held, so that no turn raises sum (w - w~)^2.
 *
 * Differences from the paper: a ratio a tensor instead of a group; no ridge, since sums of squares
 * are not ill-conditioned; r <= 1/2. The nine values take four bits, where two planes packed five
 * trits a byte take 3.2: here PTQTP saves nothing over a codebook of 16, and is for comparison.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "quantize/method.h"

#define N_VALUES   9
#define RATIO_MOST 0.5
#define ENTRY_MOST 127.0

enum {
    KNOB_TURNS
};

static const kf_knob knobs[] = {
    {"turns", "Most times that planes and coefficients are fitted to each other.", NULL, 1.0,
     1000.0, "50"},
};

/* The pairs (t_1, t_2) in the order of their values. */
static const int8_t pairs[N_VALUES][2] = {{-1, -1}, {-1, 0}, {-1, 1}, {0, -1}, {0, 0},
                                          {0, 1},   {1, -1}, {1, 0},  {1, 1}};

typedef struct row_sums {
    double error;           /* with the scales and the ratio so far */
    double product, square; /* of the ratio's least squares */
} row_sums;

typedef struct planes {
    kfi_round_job *job;
    size_t group, n_groups;
    double ratio;
    double *scales; /* [rows][n_groups] */
    row_sums *rows;
} planes;

static double value_of(double ratio, int i)
{
    return pairs[i][0] + ratio * pairs[i][1];
}

/* The pair whose value is nearest to x. */
static int nearest_pair(double ratio, double x)
{
    int best = 0;
    for (int i = 1; i < N_VALUES; i++) {
        if (x >= 0.5 * (value_of(ratio, i - 1) + value_of(ratio, i))) {
            best = i;
        }
    }
    return best;
}

/* One group: its planes under the scale and ratio that there are, a new scale, and what the ratio's
 * least squares gets from it. */
static void turn_group(const planes *p, const float *w, size_t n, double *scale, row_sums *sums)
{
    double product = 0.0; /* for the scale */
    double square = 0.0;
    double t_w = 0.0; /* sum t_2 w, sum t_2 t_1, sum t_2 t_2 */
    double t_first = 0.0;
    double t_second = 0.0;
    for (size_t i = 0; i < n; i++) {
        const int pair = nearest_pair(p->ratio, (double)w[i] / *scale);
        const double value = value_of(p->ratio, pair);
        const double e = (double)w[i] - *scale * value;
        sums->error += e * e;
        product += (double)w[i] * value;
        square += value * value;
        t_w += pairs[pair][1] * (double)w[i];
        t_first += pairs[pair][1] * pairs[pair][0];
        t_second += pairs[pair][1] * pairs[pair][1];
    }
    if (square > 0.0 && product > 0.0) {
        *scale = product / square;
    }
    sums->product += *scale * (t_w - *scale * t_first);
    sums->square += *scale * *scale * t_second;
}

static void turn_rows(void *ctx, size_t i_task, size_t i_thread)
{
    (void)i_thread;
    const planes *p = ctx;
    const kfi_round_job *job = p->job;
    const size_t end = (i_task + 1) * KFI_ROUND_ROWS;
    for (size_t r = i_task * KFI_ROUND_ROWS; r < job->rows && r < end; r++) {
        p->rows[r] = (row_sums){0};
        for (size_t g = 0; g < p->n_groups; g++) {
            const size_t first = g * p->group;
            const size_t n = job->cols - first < p->group ? job->cols - first : p->group;
            double *scale = &p->scales[r * p->n_groups + g];
            if (*scale > 0.0) {
                turn_group(p, job->weights + r * job->cols + first, n, scale, &p->rows[r]);
            }
        }
    }
}

/* The scale by which the greatest of the nine values is the greatest weight. */
static void begin(planes *p)
{
    const kfi_round_job *job = p->job;
    for (size_t i = 0; i < job->rows * p->n_groups; i++) {
        const size_t first = i % p->n_groups * p->group;
        const size_t n = job->cols - first < p->group ? job->cols - first : p->group;
        const float *w = job->weights + i / p->n_groups * job->cols + first;
        double most = 0.0;
        for (size_t k = 0; k < n; k++) {
            most = fmax(most, fabs((double)w[k]));
        }
        p->scales[i] = most / (1.0 + p->ratio);
    }
}

static void take_turns(planes *p, int n_turns)
{
    const kfi_round_job *job = p->job;
    double last = (double)INFINITY;
    p->ratio = 1.0 / 3.0; /* nine even steps */
    begin(p);
    for (int turn = 0; turn < n_turns; turn++) {
        row_sums sum = {0};
        kfi_pool_run(job->pool, turn_rows, p, (job->rows + KFI_ROUND_ROWS - 1) / KFI_ROUND_ROWS);
        for (size_t r = 0; r < job->rows; r++) {
            sum.error += p->rows[r].error;
            sum.product += p->rows[r].product;
            sum.square += p->rows[r].square;
        }
        if (sum.square > 0.0) {
            p->ratio = fmin(fmax(sum.product / sum.square, 0.0), RATIO_MOST);
        }
        if (sum.error >= last * (1.0 - 1e-6)) {
            return;
        }
        last = sum.error;
    }
}

/* The codebook and grids that hold what the turns found; the entries that nine values leave over
 * repeat the first and the last. */
static void write_grids(const planes *p)
{
    kfi_round_job *job = p->job;
    for (int i = 0; i < (int)KFI_TABLE_ENTRIES; i++) {
        const int pair = i < 3 ? 0 : i - 3 < N_VALUES ? i - 3 : N_VALUES - 1;
        const double part = value_of(p->ratio, pair) / (1.0 + p->ratio);
        job->table[i] = (int8_t)lround(ENTRY_MOST * part);
    }
    job->has_table = true;
    for (size_t i = 0; i < job->rows * p->n_groups; i++) {
        const float scale = (float)(p->scales[i] * (1.0 + p->ratio) / ENTRY_MOST);
        job->grids[i] = (kfi_grid){.scale = kfi_half_to_float(kfi_half_from_float(scale))};
    }
}

static kf_status ptqtp_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    kf_status st = KF_OK;
    planes p = {.job = job,
                .group = kfi_format_group(job->format, job->cols),
                .n_groups = kfi_format_groups(job->format, job->cols)};
    if (job->format.element != KF_ELEMENT_CODEBOOK || job->format.bits != 4) {
        char name[KF_FORMAT_NAME_BYTES];
        kf_format_name(name, job->format);
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "ptqtp makes a codebook of 9 values, expected cb16 and not %s", name);
    }
    const size_t scales_bytes = job->rows * p.n_groups * sizeof *p.scales;
    p.scales = kfi_alloc(job->alloc, scales_bytes);
    p.rows = kfi_alloc(job->alloc, job->rows * sizeof *p.rows);
    if (p.scales == NULL || p.rows == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "scales of %zu rows", job->rows);
    } else {
        take_turns(&p, (int)job->knobs[KNOB_TURNS]);
        write_grids(&p);
        kfi_round_nearest(job);
    }
    kfi_free(job->alloc, p.rows, job->rows * sizeof *p.rows);
    kfi_free(job->alloc, p.scales, scales_bytes);
    return st;
}

static void ptqtp_grid(kfi_round_grid *grid, const double *values)
{
    (void)values;
    *grid = (kfi_round_grid){.fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1}};
}

const kfi_method kfi_method_ptqtp = {
    .about = {.name = "ptqtp",
              .stage = "round",
              .summary = "Two ternary planes, fitted by turns to their coefficients.",
              .paper = "H. Xiao et al., PTQTP: Post-Training Quantization to Trit-Planes for Large "
                       "Language Models, 2025, arXiv:2509.16989",
              .statistics = "none",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .grid = ptqtp_grid,
    .is_whole = true,
    .round = ptqtp_round,
};
