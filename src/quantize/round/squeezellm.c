/* squeezellm.c - SqueezeLLM: the codebook of a tensor by weighted k-means, solved exactly.
 *
 * Source: S. Kim, C. Hooper, A. Gholami, Z. Dong, X. Li, S. Shen, M. W. Mahoney, K. Keutzer,
 * "SqueezeLLM: Dense-and-Sparse Quantization", 2023, arXiv:2306.07629, section 4.
 *
 * The entries t are those with the least sum h_c (w - s t)^2, each weight taking its nearest one.
 * h_c is the mean square of the weight's input, the diagonal of the Hessian of the layer's own
 * output error; the paper has the squared gradient of the model's loss, a matrix of its own.
 *
 * k-means on a line is solved exactly: weights lie in 2048 bins of x = w / s, each with sums of
 * h s^2 {1, x, x^2}, from which the cost of any run of bins follows at once. The best k runs of the
 * first j bins are the best k - 1 runs of the first i, and the run i ... j-1; the best i rises with
 * j, so that halving j finds all in k 2048 log 2048 steps (Wu 1991; Gronlund et al. 2017,
 * arXiv:1701.07204).
 *
 * Scales of groups and codebook are fitted in turns: s from the range first, then by the clip
 * search under h on the codebook so far. The turn with the least error is the one that stays.
 *
 * Dense and sparse (section 4.2): before that, the weights of the largest magnitude and those that
 * matter most are taken out and stay in 16 bits, in the paper 0.4 % and 0.05 % of all. They take no
 * part in codebook and scales.
 *
 * Differences from the paper: what matters most is w^2 h, what the output loses without the weight,
 * since h alone would be whole columns; one codebook a tensor, under scales of groups or rows, in
 * place of a codebook a row: a row's own levels would need sixteen tables in one line of the
 * kernels' shuffle; entries are whole 127ths.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/method.h"
#include "quantize/round/sparse.h"

#define N_BINS     2048u
#define ENTRY_MOST 127.0

enum {
    KNOB_TURNS,
    KNOB_SHRINK,
    KNOB_TOKENS, /* the first of KFI_TOKEN_N_KNOBS */
    KNOB_OUTLIERS = KNOB_TOKENS + KFI_TOKEN_N_KNOBS,
    KNOB_SENSITIVE
};

static const kf_knob knobs[] = {
    {"turns", "Times that codebook and scales are fitted to each other.", NULL, 1.0, 100.0, "4"},
    {"shrink", "Least part of a group's range that its scale may cover.", NULL, 0.1, 1.0, "0.45"},
    KFI_TOKEN_KNOBS,
    {"outliers", "Part of the weights that stay in 16 bits.", NULL, 0.0, 0.5, "0.0045"},
    {"sensitive", "Those of them that are chosen by what they matter, not by their magnitude.",
     NULL, 0.0, 0.5, "0.0005"},
};

/* ---- k-means on a line ---- */

/* Sums over the bins before one: of h s^2, of that times x, and times x^2. */
typedef struct bin_sums {
    double count, first, second;
} bin_sums;

typedef struct line {
    bin_sums before[N_BINS + 1]; /* after line_sum(); the sums of a bin itself until then */
    double cost[2][N_BINS + 1];  /* of the first j bins in k - 1 and in k runs */
    uint16_t start[KFI_TABLE_ENTRIES][N_BINS + 1]; /* where the last of k runs begins */
} line;

static void line_add(line *l, double x, double weight)
{
    const double place = (x + 1.0) * 0.5 * N_BINS;
    const size_t bin = (size_t)fmin(fmax(place, 0.0), N_BINS - 1.0);
    bin_sums *sums = &l->before[bin];
    sums->count += weight;
    sums->first += weight * x;
    sums->second += weight * x * x;
}

static void line_sum(line *l)
{
    bin_sums sum = {0};
    for (size_t i = 0; i <= N_BINS; i++) {
        const bin_sums own = l->before[i];
        l->before[i] = sum;
        sum.count += own.count;
        sum.first += own.first;
        sum.second += own.second;
    }
}

/* Of bins i ... j-1 as one run: their squared distance from their mean. */
static double run_cost(const line *l, size_t i, size_t j)
{
    const double count = l->before[j].count - l->before[i].count;
    const double first = l->before[j].first - l->before[i].first;
    const double second = l->before[j].second - l->before[i].second;
    return count > 0.0 ? fmax(second - first * first / count, 0.0) : 0.0;
}

/* Fills cost and start of k runs for the first low ... high bins, whose last run begins between
 * from and to. Depth: log2 of the bins. */
static void fill(line *l, size_t k, size_t low, size_t high, size_t from, size_t to)
{
    const double *less = l->cost[(k + 1) % 2];
    const size_t middle = (low + high) / 2;
    const size_t last = to < middle ? to : middle;
    double best = (double)INFINITY;
    size_t best_i = from;
    for (size_t i = from; i <= last; i++) {
        const double cost = less[i] + run_cost(l, i, middle);
        if (cost < best) {
            best = cost;
            best_i = i;
        }
    }
    l->cost[k % 2][middle] = best;
    l->start[k][middle] = (uint16_t)best_i;
    if (middle > low) {
        fill(l, k, low, middle - 1, from, best_i);
    }
    if (middle < high) {
        fill(l, k, middle + 1, high, best_i, to);
    }
}

/* The means of the n best runs, ascending; a run without weight takes its neighbour's. */
static void line_solve(double *means, line *l, size_t n)
{
    for (size_t j = 0; j <= N_BINS; j++) {
        l->cost[0][j] = run_cost(l, 0, j);
        l->start[0][j] = 0;
    }
    for (size_t k = 1; k < n; k++) {
        fill(l, k, 0, N_BINS, 0, N_BINS);
    }
    size_t end = N_BINS;
    double next = 1.0;
    for (size_t k = n; k-- > 0;) {
        const size_t begin = l->start[k][end];
        const double count = l->before[end].count - l->before[begin].count;
        next = count > 0.0 ? (l->before[end].first - l->before[begin].first) / count : next;
        means[k] = next;
        end = begin;
    }
}

/* ---- a tensor ---- */

typedef struct clustering {
    kfi_round_job *job;
    const float *importance; /* [cols], or NULL */
    kfi_round_grid grid;
    size_t group, n_groups;
    line *line;
} clustering;

static double importance_of(const clustering *c, size_t col)
{
    return c->importance != NULL ? (double)c->importance[col] : 1.0;
}

static bool stands_beside(const clustering *c, size_t row, size_t col)
{
    const uint8_t *marks = c->job->sparse.marks;
    return marks != NULL && marks[row * c->job->cols + col] != 0;
}

static double largest(const float *w, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)w[i]));
    }
    return most;
}

/* Gathers the weights of a row over the scales that its grids have, or over each group's largest.
 */
static void gather_row(const clustering *c, size_t row, bool has_grids)
{
    const kfi_round_job *job = c->job;
    const float *w = job->weights + row * job->cols;
    for (size_t g = 0; g < c->n_groups; g++) {
        const size_t first = g * c->group;
        const size_t n = job->cols - first < c->group ? job->cols - first : c->group;
        const double scale = has_grids
                                 ? ENTRY_MOST * (double)job->grids[row * c->n_groups + g].scale
                                 : largest(w + first, n);
        for (size_t i = first; i < first + n && scale != 0.0; i++) { /* exact: nothing there */
            if (stands_beside(c, row, i)) {
                continue;
            }
            line_add(c->line, (double)w[i] / scale, importance_of(c, i) * scale * scale);
        }
    }
}

static void learn(const clustering *c, bool has_grids)
{
    kfi_round_job *job = c->job;
    const size_t n = (size_t)1 << job->format.bits;
    double means[KFI_TABLE_ENTRIES];
    memset(c->line, 0, sizeof *c->line);
    for (size_t r = 0; r < job->rows; r++) {
        gather_row(c, r, has_grids);
    }
    line_sum(c->line);
    line_solve(means, c->line, n);
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(means[i]));
    }
    memset(job->table, 0, sizeof job->table);
    for (size_t i = 0; i < n && most > 0.0; i++) {
        job->table[i] = (int8_t)lround(ENTRY_MOST * means[i] / most);
    }
    job->has_table = true;
}

/* Sum h (w - w~)^2 of what stands in the matrix. */
static double weighted_error(const clustering *c)
{
    const kfi_round_job *job = c->job;
    const kfi_levels levels = kfi_round_levels(job);
    double sum = 0.0;
    for (size_t r = 0; r < job->rows; r++) {
        for (size_t col = 0; col < job->cols; col++) {
            const size_t i = r * job->cols + col;
            const kfi_grid *grid = &job->grids[r * c->n_groups + col / c->group];
            const double e =
                (double)job->weights[i] - (double)kfi_grid_decode(grid, levels, job->codes[i]);
            sum += stands_beside(c, r, col) ? 0.0 : importance_of(c, col) * e * e;
        }
    }
    return sum;
}

static kf_status round_on_table(const clustering *c, kf_error *err)
{
    KFI_TRY(kfi_round_fit(c->job, &c->grid, NULL, err));
    kfi_round_nearest(c->job);
    return KF_OK;
}

static kf_status take_turns(const clustering *c, kf_error *err)
{
    kfi_round_job *job = c->job;
    int8_t best[KFI_TABLE_ENTRIES] = {0};
    double best_error = (double)INFINITY;
    bool is_best = false;
    for (int turn = 0; turn < (int)job->knobs[KNOB_TURNS]; turn++) {
        learn(c, turn > 0);
        KFI_TRY(round_on_table(c, err));
        const double error = weighted_error(c);
        is_best = error < best_error;
        if (is_best) {
            best_error = error;
            memcpy(best, job->table, sizeof best);
        }
    }
    if (is_best) {
        return KF_OK;
    }
    memcpy(job->table, best, sizeof best);
    return round_on_table(c, err);
}

static void squeezellm_grid(kfi_round_grid *grid, const double *values)
{
    *grid = (kfi_round_grid){.fit = {.kind = KFI_FIT_MSE,
                                     .exponent = 2.0f,
                                     .steps = 1 + (int)lround((1.0 - values[KNOB_SHRINK]) * 50.0),
                                     .shrink = (float)values[KNOB_SHRINK]},
                             .importance = KFI_IMPORTANCE_MEAN_SQUARE};
}

static void squeezellm_request(kfi_statistics_request *request, const double *values)
{
    request->needs |= KFI_NEED_MEAN_SQUARE;
    kfi_token_request(request, values + KNOB_TOKENS);
}

static double squeezellm_sparse(const double *values)
{
    return fmax(values[KNOB_OUTLIERS], values[KNOB_SENSITIVE]);
}

static kf_status take_outliers(kfi_round_job *job, const float *importance, kf_error *err)
{
    const double all = squeezellm_sparse(job->knobs);
    const double sensitive = importance != NULL ? job->knobs[KNOB_SENSITIVE] : 0.0;
    const kfi_sparse_rule rules[] = {
        {.fraction = all - sensitive, .score = kfi_sparse_magnitude},
        {.fraction = sensitive, .score = kfi_sparse_sensitivity, .ctx = importance}};
    return kfi_sparse_begin(job, rules, 2, err);
}

static kf_status squeezellm_round(kfi_round_job *job, const void *shared, kf_error *err)
{
    (void)shared;
    float *importance = NULL;
    clustering c = {.job = job,
                    .group = kfi_format_group(job->format, job->cols),
                    .n_groups = kfi_format_groups(job->format, job->cols)};
    if (job->format.element != KF_ELEMENT_CODEBOOK) {
        char name[KF_FORMAT_NAME_BYTES];
        kf_format_name(name, job->format);
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "squeezellm makes a codebook, expected cb4, cb8 or cb16 and not %s", name);
    }
    squeezellm_grid(&c.grid, job->knobs);
    KFI_TRY(
        kfi_round_importance(&importance, &c.grid, job->statistics, job->cols, job->alloc, err));
    c.importance = importance;
    c.line = kfi_alloc(job->alloc, sizeof *c.line);
    kf_status st = c.line == NULL
                       ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "bins of %zu bytes", sizeof *c.line)
                       : take_outliers(job, importance, err);
    if (st == KF_OK) {
        st = take_turns(&c, err);
    }
    if (st == KF_OK) {
        kfi_sparse_end(job);
    }
    kfi_free(job->alloc, c.line, sizeof *c.line);
    kfi_free(job->alloc, importance, job->cols * sizeof *importance);
    return st;
}

const kfi_method kfi_method_squeezellm = {
    .about = {.name = "squeezellm",
              .stage = "round",
              .summary = "A codebook a tensor by exact weighted k-means; outliers stay in 16 bits.",
              .paper = "S. Kim, C. Hooper, A. Gholami et al., SqueezeLLM: Dense-and-Sparse "
                       "Quantization, 2023, arXiv:2306.07629",
              .statistics = "mean square",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .sparse = squeezellm_sparse,
    .request = squeezellm_request,
    .grid = squeezellm_grid,
    .round = squeezellm_round,
};
