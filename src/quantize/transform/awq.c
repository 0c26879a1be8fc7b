/* awq.c - AWQ: scales up the input channels whose weights matter, so that they lose less in
 * rounding.
 *
 * Source: J. Lin, J. Tang, H. Tang, S. Yang, W.-M. Chen, W.-C. Wang, G. Xiao, X. Dang, C. Gan, S.
 * Han, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration", 2023,
 * arXiv:2306.00978, section 3.2, and the search of its code.
 *
 *     s_j = max(E|x_j|^r, 1e-4),  s /= sqrt(max s min s);   W' = W diag(s),  x' = diag(s)^-1 x
 *
 * r is searched over 0, 1/grid, ..., (grid - 1)/grid. 1/s goes into the gains of the norm in front
 * of q, k, v and of gate, up, and into the rows of up in front of down, so that nothing is computed
 * at run time. v in front of o is never scaled: with grouped-query attention several heads read
 * one row of v, and the exact prefix holds v as it is.
 *
 * The search minimises tr(E H E^T) of the layers that share the input, E = W - Q(W')/s on the
 * formats and grids of the recipe and H = sum x x^T. The authors minimise the error of a whole
 * module's output (attention, MLP); ours needs no forward pass a candidate. Their auto-clip is the
 * clip search of the rounding method here ("fit").
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/method.h"
#include "quantize/recipe.h"

#define SCALE_LEAST 1e-4

enum {
    KNOB_GRID
};

static const kf_knob knobs[] = {
    {"grid", "How many exponents r of the scales E|x|^r are tried.", NULL, 1.0, 100.0, "20"},
};

static void request_gram(kfi_statistics_request *request, const double *values)
{
    (void)values;
    request->needs |= KFI_NEED_GRAM | KFI_NEED_MEAN_ABS;
}

/* A search over the scales of one step's input. */
typedef struct search {
    const kfi_transform_job *job;
    size_t i_step, n;
    float *scales;         /* [n]: of the candidate */
    float *best;           /* [n] */
    kfi_statistics scaled; /* gram [n][n] = diag(s)^-1 H diag(s)^-1 */
    float *weights;        /* W diag(s) of one layer */
    size_t n_weights;      /* of the largest layer */
} search;

static void search_end(search *s)
{
    const kf_allocator *alloc = s->job->alloc;
    kfi_free(alloc, s->scales, s->n * sizeof *s->scales);
    kfi_free(alloc, s->best, s->n * sizeof *s->best);
    kfi_free(alloc, s->scaled.gram, s->n * s->n * sizeof *s->scaled.gram);
    kfi_free(alloc, s->weights, s->n_weights * sizeof *s->weights);
}

static kf_status search_begin(search *s, const kfi_transform_job *job, size_t i_step, kf_error *err)
{
    const kfi_statistics *statistics = job->statistics[i_step];
    const size_t n = statistics->n;
    *s = (search){.job = job, .i_step = i_step, .n = n};
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        const size_t n_weights = job->floats->block.linears[role].rows * n;
        s->n_weights = n_weights > s->n_weights ? n_weights : s->n_weights;
    }
    s->scales = kfi_alloc(job->alloc, n * sizeof *s->scales);
    s->best = kfi_alloc(job->alloc, n * sizeof *s->best);
    s->scaled = (kfi_statistics){.n = n, .weight = statistics->weight};
    s->scaled.gram = kfi_alloc(job->alloc, n * n * sizeof *s->scaled.gram);
    s->weights = kfi_alloc(job->alloc, s->n_weights * sizeof *s->weights);
    if (s->scales == NULL || s->best == NULL || s->scaled.gram == NULL || s->weights == NULL) {
        search_end(s);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a search over scales of %zu inputs", n);
    }
    return KF_OK;
}

/* The candidate of exponent r. */
static void make_scales(search *s, double r)
{
    const kfi_statistics *statistics = s->job->statistics[s->i_step];
    double least = (double)INFINITY;
    double most = 0.0;
    for (size_t c = 0; c < s->n; c++) {
        const double scale = fmax(pow(statistics->abs_sum[c] / statistics->weight, r), SCALE_LEAST);
        least = fmin(least, scale);
        most = fmax(most, scale);
        s->scales[c] = (float)scale;
    }
    for (size_t c = 0; c < s->n; c++) {
        s->scales[c] = (float)((double)s->scales[c] / sqrt(least * most));
    }
}

static void scale_gram(void *ctx, size_t i_row, size_t i_thread)
{
    (void)i_thread;
    const search *s = ctx;
    const float *row = s->job->statistics[s->i_step]->gram + i_row * s->n;
    float *dst = s->scaled.gram + i_row * s->n;
    for (size_t c = 0; c < s->n; c++) {
        dst[c] = row[c] / (s->scales[i_row] * s->scales[c]);
    }
}

/* tr(E H E^T) of a layer whose columns are scaled. */
static kf_status measure_layer(double *sum, const search *s, size_t role, kf_error *err)
{
    const kfi_linear *linear = &s->job->floats->block.linears[role];
    const kfi_treatment *treatment = s->job->treatments[role];
    const kfi_method_use *use = kfi_treatment_round(treatment);
    kfi_round_grid grid;
    kfi_round_error error = {0};
    kfi_round_job job = {.weights = s->weights,
                         .rows = linear->rows,
                         .cols = linear->cols,
                         .format = treatment->weights,
                         .statistics = &s->scaled,
                         .knobs = use->knobs,
                         .pool = s->job->pool,
                         .alloc = s->job->alloc};
    for (size_t i = 0; i < linear->rows * linear->cols; i++) {
        s->weights[i] = linear->weights[i] * s->scales[i % s->n];
    }
    use->method->grid(&grid, use->knobs);
    KFI_TRY(kfi_round_job_init(&job, err));
    kf_status st = kfi_round_fit(&job, &grid, NULL, err);
    if (st == KF_OK) {
        kfi_round_nearest(&job);
        st = kfi_round_measure(&error, &job, err);
        *sum += error.output * job.output;
    }
    kfi_round_job_deinit(&job);
    return st;
}

/* The same of all layers that read the input and are quantized. */
static kf_status measure_step(double *sum, search *s, kf_error *err)
{
    *sum = 0.0;
    kfi_pool_run(s->job->pool, scale_gram, s, s->n);
    for (size_t role = kfi_step_first(s->i_step); role <= kfi_step_last(s->i_step); role++) {
        if (!s->job->treatments[role]->keep) {
            KFI_TRY(measure_layer(sum, s, role, err));
        }
    }
    return KF_OK;
}

static kf_status find_best(search *s, kf_error *err)
{
    const size_t n_grid = (size_t)s->job->knobs[KNOB_GRID];
    double least = (double)INFINITY;
    for (size_t i = 0; i < n_grid; i++) {
        double sum = 0.0;
        make_scales(s, (double)i / (double)n_grid);
        KFI_TRY(measure_step(&sum, s, err));
        if (sum < least || i == 0) { /* r = 0 leaves all as it is */
            least = sum;
            memcpy(s->best, s->scales, s->n * sizeof *s->best);
        }
    }
    return KF_OK;
}

static kf_status scale_step(const kfi_transform_job *job, size_t i_step, kf_error *err)
{
    search s;
    KFI_TRY(search_begin(&s, job, i_step, err));
    const kf_status st = find_best(&s, err);
    if (st == KF_OK) {
        kfi_float_block_smooth(job->floats, i_step, s.best);
    }
    search_end(&s);
    return st;
}

/* Scaling one input changes no other one, so that the statistics hold for all three. */
static kf_status awq_transform(kfi_transform_job *job, kf_error *err)
{
    static const kfi_step steps[] = {KFI_STEP_QKV, KFI_STEP_GATE_UP, KFI_STEP_DOWN};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        KFI_TRY(scale_step(job, steps[i], err));
    }
    return KF_OK;
}

static double awq_fits(const double *values)
{
    return values[KNOB_GRID];
}

/* Of W and of E, for each candidate. */
static double awq_products(const double *values)
{
    return 2.0 * values[KNOB_GRID];
}

const kfi_method kfi_method_awq = {
    .about = {.name = "awq",
              .stage = "transform",
              .summary = "Scales up input channels by their size, as far as that lowers the error.",
              .paper = "J. Lin, J. Tang, H. Tang, S. Yang, et al., AWQ: Activation-aware Weight "
                       "Quantization for LLM Compression and Acceleration, 2023, arXiv:2306.00978",
              .statistics = "gram, mean abs",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_TRANSFORM,
    .request = request_gram,
    .products = awq_products,
    .fits = awq_fits,
    .transform = awq_transform,
};
