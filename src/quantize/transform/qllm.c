/* qllm.c - QLLM: takes the largest channels apart, and puts similar ones together.
 *
 * Source: J. Liu, R. Gong, X. Wei, Z. Dong, J. Cai, B. Zhuang, "QLLM: Accurate and Efficient
 * Low-Bitwidth Quantization for Large Language Models", 2023, arXiv:2310.08041, sections 4.1 and
 * 4.2; its low-rank tuning is not here.
 *
 *     disassembly   a channel with max|x_i| > theta becomes T = ceil(max|x_i| / theta) copies of
 *                   x_i / T, each with the weights of x_i
 *     assembly      as many pairs of similar channels become one, x_i + x_j with (W_i + W_j) / 2,
 * so that the width stays:  D(i, j) = sum (x_i - x_j)^2 ||W_i - W_j||^2 / 4 is lost
 *
 * Disassembly changes nothing but the range; assembly is a loss. 1/T goes into the gains of the
 * norm in front, or into the rows of up; the copies and sums are gathered while running. Inputs of
 * q, k, v, of gate, up, and of down.
 *
 * What the paper leaves open, and ours: theta is searched per input over max|x| 2^(-k/2), to the
 * least sum of D and of what rounding the activations costs, sum over groups of
 * (max / q_max)^2 / 12 * sum ||W_c||^2 a token; the paper measures a block's output. Pairs are
 * chosen greedily between even and odd channels, each in one pair at most; the paper's matching
 * lets several channels join one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "linalg/matrix.h"
#include "quantize/method.h"
#include "quantize/recipe.h"

enum {
    KNOB_MOST,
    KNOB_GRID,
    KNOB_ASSEMBLY
};

static const kf_knob knobs[] = {
    {"most", "Channels that disassembly adds at most, as a part of the width.", NULL, 0.0, 0.25,
     "0.05"},
    {"grid", "How many thresholds are tried, each 0.71 of the one before.", NULL, 1.0, 32.0, "12"},
    {"assembly", "Merges as many similar channels, so that the width stays.", "false|true", 0, 0,
     "true"},
};

/* Columns, and with assembly those that join them, beside each layer but o. */
static uint64_t qllm_map_bytes(const kfi_config *config, const double *values)
{
    const bool assembles = values[KNOB_ASSEMBLY] > 0.5;
    const double n = (double)(5 * config->hidden + config->feed_forward);
    return (uint64_t)(n * (assembles ? 2.0 : 1.0 + values[KNOB_MOST])) * sizeof(uint32_t);
}

static void request_all(kfi_statistics_request *request, const double *values)
{
    (void)values;
    request->needs |= KFI_NEED_GRAM | KFI_NEED_MAX_ABS;
}

/* Two channels that become one. */
typedef struct pair {
    double loss;
    uint32_t a, b;
} pair;

/* What becomes of an input of n channels. */
typedef struct plan {
    uint32_t *copies; /* [n]: T */
    size_t n_added;   /* sum of T - 1 */
    pair *pairs;      /* [n_pairs], as many as are added, or none */
    size_t n_pairs;
    uint32_t *columns, *second; /* [n + n_added - n_pairs] */
    double cost;
} plan;

/* The search over one input. */
typedef struct surgery {
    const kfi_transform_job *job;
    const kfi_statistics *statistics;
    size_t i_step, n;
    size_t n_most; /* channels that may be added */
    kf_activation activation;
    float *similarity; /* [n][n]: W^T W, summed over the layers that read it */
    uint8_t *is_taken; /* [n]: by a pair */
    plan candidate, best;
} surgery;

static size_t plan_columns(const surgery *s)
{
    return s->n + s->n_most;
}

static void plan_end(plan *p, const surgery *s)
{
    const kf_allocator *alloc = s->job->alloc;
    kfi_free(alloc, p->copies, s->n * sizeof *p->copies);
    kfi_free(alloc, p->pairs, s->n * sizeof *p->pairs);
    kfi_free(alloc, p->columns, plan_columns(s) * sizeof *p->columns);
    kfi_free(alloc, p->second, plan_columns(s) * sizeof *p->second);
}

static bool plan_begin(plan *p, const surgery *s)
{
    const kf_allocator *alloc = s->job->alloc;
    p->copies = kfi_alloc(alloc, s->n * sizeof *p->copies);
    p->pairs = kfi_alloc(alloc, s->n * sizeof *p->pairs);
    p->columns = kfi_alloc(alloc, plan_columns(s) * sizeof *p->columns);
    p->second = kfi_alloc(alloc, plan_columns(s) * sizeof *p->second);
    return p->copies != NULL && p->pairs != NULL && p->columns != NULL && p->second != NULL;
}

static void surgery_end(surgery *s)
{
    plan_end(&s->candidate, s);
    plan_end(&s->best, s);
    kfi_free(s->job->alloc, s->similarity, s->n * s->n * sizeof *s->similarity);
    kfi_free(s->job->alloc, s->is_taken, s->n);
}

static kf_status surgery_begin(surgery *s, kf_error *err)
{
    const kf_allocator *alloc = s->job->alloc;
    bool ok = plan_begin(&s->candidate, s);
    ok = plan_begin(&s->best, s) && ok;
    s->is_taken = kfi_alloc(alloc, s->n);
    s->similarity = kfi_calloc(alloc, s->n * s->n, sizeof *s->similarity);
    if (!ok || s->is_taken == NULL || s->similarity == NULL) {
        surgery_end(s);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "surgery on %zu channels", s->n);
    }
    for (size_t role = kfi_step_first(s->i_step); role <= kfi_step_last(s->i_step); role++) {
        const kfi_linear *linear = &s->job->floats->block.linears[role];
        kfi_matrix_gram_add(s->job->pool, s->similarity, linear->weights, linear->cols,
                            linear->rows, s->n);
    }
    kfi_matrix_mirror(s->job->pool, s->similarity, s->n);
    return KF_OK;
}

/* Squared distance of rows i and j of a matrix whose Gram matrix is g. */
static double distance(const float *g, size_t n, size_t i, size_t j)
{
    return fmax((double)g[i * n + i] + (double)g[j * n + j] - 2.0 * (double)g[i * n + j], 0.0);
}

/* ---- disassembly ---- */

static void take_apart(plan *p, const surgery *s, double theta)
{
    p->n_added = 0;
    for (size_t c = 0; c < s->n; c++) {
        const double most = (double)s->statistics->max_abs[c];
        p->copies[c] = most > theta ? (uint32_t)ceil(most / theta) : 1;
        p->n_added += p->copies[c] - 1;
    }
}

/* ---- assembly ---- */

static int by_loss(const void *x, const void *y)
{
    const pair *a = x;
    const pair *b = y;
    if (a->loss < b->loss || a->loss > b->loss) {
        return a->loss < b->loss ? -1 : 1;
    }
    return a->a < b->a ? -1 : a->a > b->a;
}

/* The odd channel that loses least with the even channel a. */
static pair find_partner(const surgery *s, const plan *p, size_t a)
{
    pair best = {.loss = (double)INFINITY, .a = (uint32_t)a};
    for (size_t b = 1; b < s->n; b += 2) {
        if (p->copies[b] > 1) {
            continue;
        }
        const double loss =
            distance(s->statistics->gram, s->n, a, b) * distance(s->similarity, s->n, a, b) / 4.0;
        if (loss < best.loss) {
            best.loss = loss;
            best.b = (uint32_t)b;
        }
    }
    return best;
}

/* As many pairs as channels were added; false where there are too few. */
static bool put_together(plan *p, surgery *s)
{
    size_t n_found = 0;
    p->n_pairs = 0;
    for (size_t a = 0; a < s->n; a += 2) {
        if (p->copies[a] == 1) {
            p->pairs[n_found] = find_partner(s, p, a);
            n_found += isfinite(p->pairs[n_found].loss);
        }
    }
    qsort(p->pairs, n_found, sizeof *p->pairs, by_loss);
    memset(s->is_taken, 0, s->n);
    for (size_t i = 0; i < n_found && p->n_pairs < p->n_added; i++) {
        if (s->is_taken[p->pairs[i].b] == 0) {
            s->is_taken[p->pairs[i].b] = 1;
            p->pairs[p->n_pairs++] = p->pairs[i];
        }
    }
    return p->n_pairs == p->n_added;
}

/* ---- the columns that result ---- */

/* Copies go where the second channels of pairs were, the rest behind all others. */
static void lay_out(plan *p, const surgery *s)
{
    size_t n_columns = s->n;
    size_t i_free = 0;
    for (size_t c = 0; c < s->n; c++) {
        p->columns[c] = (uint32_t)c;
        p->second[c] = KFI_NO_COLUMN;
    }
    for (size_t i = 0; i < p->n_pairs; i++) {
        p->second[p->pairs[i].a] = p->pairs[i].b;
    }
    for (size_t c = 0; c < s->n; c++) {
        for (uint32_t i = 1; i < p->copies[c]; i++) {
            const size_t place = i_free < p->n_pairs ? p->pairs[i_free++].b : n_columns++;
            p->columns[place] = (uint32_t)c;
            p->second[place] = KFI_NO_COLUMN;
        }
    }
}

static size_t count_columns(const plan *p, const surgery *s)
{
    return s->n + p->n_added - p->n_pairs;
}

/* Column c: the largest input, and ||W_c||^2. */
static void column_of(double *most, double *norm, const plan *p, const surgery *s, size_t c)
{
    const size_t n = s->n;
    const size_t i = p->columns[c];
    const size_t j = p->second[c];
    *most = (double)s->statistics->max_abs[i] / (double)p->copies[i];
    *norm = (double)s->similarity[i * n + i];
    if (j != KFI_NO_COLUMN) {
        *most += (double)s->statistics->max_abs[j];
        *norm =
            (*norm + (double)s->similarity[j * n + j] + 2.0 * (double)s->similarity[i * n + j]) /
            4.0;
    }
}

/* What rounding the columns and merging the pairs costs over all tokens. */
static double cost_of(const plan *p, const surgery *s)
{
    const size_t n_columns = count_columns(p, s);
    const size_t group = s->activation.group == KF_GROUP_ROW ? n_columns : s->activation.group;
    const double q_max = (double)((1u << (s->activation.bits - 1)) - 1);
    double cost = 0.0;
    for (size_t begin = 0; begin < n_columns; begin += group) {
        double most = 0.0;
        double norms = 0.0;
        for (size_t c = begin; c < n_columns && c < begin + group; c++) {
            double column_most = 0.0;
            double norm = 0.0;
            column_of(&column_most, &norm, p, s, c);
            most = fmax(most, column_most);
            norms += norm;
        }
        cost += most * most / (q_max * q_max) / 12.0 * norms * s->statistics->weight;
    }
    for (size_t i = 0; i < p->n_pairs; i++) {
        cost += p->pairs[i].loss;
    }
    return cost;
}

/* ---- one input ---- */

/* False: this threshold adds too many channels. */
static bool try_threshold(surgery *s, double theta)
{
    plan *p = &s->candidate;
    take_apart(p, s, theta);
    if (p->n_added > s->n_most) {
        return false;
    }
    p->n_pairs = 0;
    if (s->job->knobs[KNOB_ASSEMBLY] > 0.5 && !put_together(p, s)) {
        return false;
    }
    lay_out(p, s);
    p->cost = cost_of(p, s);
    if (p->cost < s->best.cost) {
        const plan better = *p;
        *p = s->best;
        s->best = better;
    }
    return true;
}

static kf_status apply(const surgery *s, kf_error *err)
{
    const plan *p = &s->best;
    float *divisors = kfi_alloc(s->job->alloc, s->n * sizeof *divisors);
    if (divisors == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "divisors of %zu channels", s->n);
    }
    for (size_t c = 0; c < s->n; c++) {
        divisors[c] = (float)p->copies[c];
    }
    kfi_float_block_divide_input(s->job->floats, s->i_step, divisors);
    kfi_free(s->job->alloc, divisors, s->n * sizeof *divisors);
    return kfi_float_block_gather(s->job->floats, s->i_step, p->columns,
                                  p->n_pairs > 0 ? p->second : NULL, count_columns(p, s), err);
}

static kf_status operate(surgery *s, kf_error *err)
{
    double most = 0.0;
    for (size_t c = 0; c < s->n; c++) {
        most = fmax(most, (double)s->statistics->max_abs[c]);
    }
    s->best.cost = (double)INFINITY;
    const size_t n_grid = (size_t)s->job->knobs[KNOB_GRID];
    bool fits = true;
    for (size_t i = 0; i <= n_grid && fits; i++) {
        fits = try_threshold(s, most * exp2(-0.5 * (double)i)); /* the first takes none apart */
    }
    return s->best.n_added > 0 ? apply(s, err) : KF_OK;
}

/* The format of the inputs of the layers that are quantized; false where none is. */
static bool find_activation(kf_activation *activation, const kfi_transform_job *job, size_t i_step)
{
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        if (!job->treatments[role]->keep && job->treatments[role]->activations.bits <= 8) {
            *activation = job->treatments[role]->activations;
            return true;
        }
    }
    return false;
}

static kf_status qllm_transform(kfi_transform_job *job, kf_error *err)
{
    static const kfi_step steps[] = {KFI_STEP_QKV, KFI_STEP_GATE_UP, KFI_STEP_DOWN};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        surgery s = {.job = job, .i_step = steps[i], .statistics = job->statistics[steps[i]]};
        s.n = s.statistics->n;
        s.n_most = (size_t)(job->knobs[KNOB_MOST] * (double)s.n);
        if (!find_activation(&s.activation, job, steps[i])) {
            continue;
        }
        KFI_TRY(surgery_begin(&s, err));
        const kf_status st = operate(&s, err);
        surgery_end(&s);
        KFI_TRY(st);
    }
    return KF_OK;
}

const kfi_method kfi_method_qllm = {
    .about = {.name = "qllm",
              .stage = "transform",
              .summary = "Takes the largest channels apart into copies, and merges similar ones.",
              .paper = "J. Liu, R. Gong, X. Wei, Z. Dong, J. Cai, B. Zhuang, QLLM: Accurate and "
                       "Efficient Low-Bitwidth Quantization for Large Language Models, 2023, "
                       "arXiv:2310.08041",
              .statistics = "gram, max abs",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_TRANSFORM,
    .maps_inputs = true,
    .map_bytes = qllm_map_bytes,
    .request = request_all,
    .transform = qllm_transform,
};
