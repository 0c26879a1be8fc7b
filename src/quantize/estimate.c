/* estimate.c - the dry run: sizes to the byte (single weights and QLLM's maps: at most), memory and
 * time as estimates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "model/checkpoint_names.h"
#include "quantize/clip_search.h"
#include "quantize/decide.h"
#include "quantize/plan.h"
#include "quantize/repair/budget.h"
#include "quantize/round/sparse.h"
#include "quantize/table.h"

/* What the work costs in full-precision forwards of one token (the Gram matrix of a token is about
 * half of one, a packed pass less than one), and in fits of a grid. Solving and measuring a layer
 * of n inputs are some 4 n^2 multiplications a row: as many as 4 n tokens take. */
#define PASSES_PER_FORWARD 2.5
#define PASSES_A_TRANSFORM 1.5 /* that asks for statistics */
#define PASS_THAT_WEIGHS   1.0 /* tokens, by the attention that they get */
#define SOLVER_TOKENS      4.0
/* A repair multiplies E with R and with itself, 2 n^2 a row, and reduces a matrix of the smaller
 * side, at a fraction of the speed. */
#define REPAIR_TOKENS   8.0
#define FITS_CALIBRATED 2.0
#define FITS_PLAIN      3.0 /* with rounding, measuring and packing */
/* Hashing the source, writing, syncing and hashing the files. */
#define FILE_BYTES_A_SECOND 5e8
/* Of prefix=auto; they measure no errors. */
#define TRIALS 2.0
/* Files beside the tensors: configuration, index, reports. */
#define DOCUMENT_BYTES_A_LAYER 4096u
#define PROBE_TOKENS           256u

typedef struct estimate {
    kf_model *model;
    const kf_recipe *recipe;
    const kf_quantize_options *options;
    const kfi_config *config;
    const kf_allocator *alloc;
    uint64_t bytes, linear_bytes, block_bytes;
    uint64_t pair_bytes; /* that blocks so far leave of their budgets */
    uint64_t table_memory;
    size_t n_tokens, n_trial_tokens; /* of the calibration, of one trial */
} estimate;

static bool transforms(const estimate *e)
{
    return kfi_recipe_transform(e->recipe, 0) != NULL;
}

/* Embedding and head are never transformed. */
static kfi_dtype kept_dtype(const estimate *e, const char *name)
{
    const bool is_table =
        strcmp(name, KFI_TENSOR_EMBEDDING) == 0 || strcmp(name, KFI_TENSOR_HEAD) == 0;
    return transforms(e) && !is_table ? KFI_DTYPE_F32
                                      : kfi_kept_dtype(kfi_model_source_format(e->model, name));
}

static kf_status matrix_bytes(uint64_t *bytes, const estimate *e, const char *name,
                              const kfi_treatment *treatment, size_t *rows, size_t *cols,
                              kf_error *err)
{
    if (!kfi_model_find(e->model, name, rows, cols)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "there is no tensor '%s'", name);
    }
    if (!treatment->keep) {
        return kf_format_bytes(bytes, treatment->weights, *rows, *cols, err);
    }
    *bytes = (uint64_t)*rows * *cols * kfi_dtype_get(kept_dtype(e, name))->block_bytes;
    return KF_OK;
}

/* Low-rank pairs of a block: of ranks that are given, and under a budget of the greatest ranks and
 * what the budget gives. */
typedef struct pairs {
    uint64_t given, greatest;
    double allowed_bits;
} pairs;

static kf_status add_pair(pairs *sum, const kfi_treatment *treatment, size_t rows, size_t cols,
                          kf_error *err)
{
    const kfi_repair_plan pair = kfi_treatment_pair(treatment, rows, cols);
    uint64_t bytes = 0;
    KFI_TRY(kfi_pair_bytes(&bytes, pair.factors, rows, cols, pair.rank, err));
    *(pair.budget > 0.0 ? &sum->greatest : &sum->given) += bytes;
    sum->allowed_bits += pair.budget * (double)rows * (double)cols;
    return KF_OK;
}

/* What they take at most; budgets are spent as early as they can be. */
static uint64_t pair_bytes(estimate *e, const pairs *sum)
{
    const uint64_t allowed = (uint64_t)(sum->allowed_bits / 8.0) + e->pair_bytes;
    const uint64_t spent = sum->greatest < allowed ? sum->greatest : allowed;
    e->pair_bytes = allowed - spent;
    return sum->given + spent;
}

/* Of a layer: the packed columns, and which they are. */
static kf_status add_outliers(uint64_t *sum, const estimate *e, const kfi_treatment *treatment,
                              size_t rows, size_t cols, kf_error *err)
{
    const size_t n = treatment->keep ? 0 : kfi_recipe_outliers(e->recipe, cols);
    uint64_t bytes = 0;
    if (n > 0) {
        KFI_TRY(kf_format_bytes(&bytes, KFI_ROUND_OUTLIERS, rows, n, err));
        *sum += bytes + n * sizeof(uint32_t);
    }
    return KF_OK;
}

/* Of the single weights that a layer may keep beside its matrix. */
static uint64_t sparse_bytes(const kfi_treatment *treatment, size_t rows, size_t cols)
{
    return kfi_sparse_bytes(kfi_sparse_count(kfi_treatment_sparse(treatment), rows, cols), rows);
}

static kf_status add_block(estimate *e, size_t i_layer, kf_error *err)
{
    uint64_t block_bytes = 0;
    pairs sum = {0};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        kfi_treatment treatment;
        uint64_t bytes = 0;
        size_t rows = 0;
        size_t cols = 0;
        const kfi_name name = kfi_name_weight(i_layer, (kfi_linear_role)role);
        kfi_recipe_treatment(&treatment, e->recipe, e->config, name.text);
        KFI_TRY(matrix_bytes(&bytes, e, name.text, &treatment, &rows, &cols, err));
        block_bytes += bytes;
        KFI_TRY(add_pair(&sum, &treatment, rows, cols, err));
        KFI_TRY(add_outliers(&block_bytes, e, &treatment, rows, cols, err));
        block_bytes += sparse_bytes(&treatment, rows, cols);
        const kfi_name bias = kfi_name_bias(i_layer, (kfi_linear_role)role);
        if (kfi_model_find(e->model, bias.text, &rows, &cols)) {
            e->bytes += (uint64_t)rows * cols * sizeof(float);
        }
    }
    block_bytes += pair_bytes(e, &sum);
    const kfi_method_use *use = NULL;
    for (size_t i = 0; (use = kfi_recipe_transform(e->recipe, i)) != NULL; i++) {
        block_bytes +=
            use->method->map_bytes != NULL ? use->method->map_bytes(e->config, use->knobs) : 0;
    }
    e->linear_bytes += block_bytes;
    e->bytes += block_bytes + 2 * e->config->hidden * sizeof(float);
    e->block_bytes = block_bytes > e->block_bytes ? block_bytes : e->block_bytes;
    return KF_OK;
}

static kf_status add_table(estimate *e, const char *name, kf_error *err)
{
    kfi_treatment treatment;
    uint64_t bytes = 0;
    size_t rows = 0;
    size_t cols = 0;
    kfi_recipe_treatment(&treatment, e->recipe, e->config, name);
    KFI_TRY(matrix_bytes(&bytes, e, name, &treatment, &rows, &cols, err));
    const size_t n_groups = treatment.keep ? 0 : kfi_format_groups(treatment.weights, cols);
    const uint64_t work = treatment.keep ? (uint64_t)rows * cols * sizeof(float)
                                         : (uint64_t)rows * (cols + n_groups * sizeof(kfi_grid));
    e->bytes += bytes;
    e->table_memory += bytes;
    e->table_memory = e->table_memory > bytes + work ? e->table_memory : bytes + work;
    return KF_OK;
}

static size_t prefix_tokens(const estimate *e)
{
    const char *prefix = e->recipe->prefix;
    const bool is_one = strcmp(prefix, "auto") == 0 || strcmp(prefix, "start") == 0;
    return strcmp(prefix, "none") == 0 ? 0
           : is_one                    ? e->options->n_prefix > 0
                                       : e->options->n_prefix;
}

static kf_status add_all(estimate *e, kf_error *err)
{
    const kfi_config *config = e->config;
    for (size_t i = 0; i < config->n_layers; i++) {
        KFI_TRY(add_block(e, i, err));
    }
    KFI_TRY(add_table(e, KFI_TENSOR_EMBEDDING, err));
    if (!config->tied) {
        KFI_TRY(add_table(e, KFI_TENSOR_HEAD, err));
    }
    e->bytes += config->hidden * sizeof(float);
    e->bytes += kfi_recipe_rotates(e->recipe) ? config->hidden : 0; /* its signs */
    const size_t kv = 2 * config->n_layers * config->n_kv_heads * config->head_dim * sizeof(float);
    e->bytes += prefix_tokens(e) * (kv + sizeof(uint32_t));
    return KF_OK;
}

/* Of the calibration or of a trial, which come one after the other. */
static uint64_t stream_bytes(const estimate *e)
{
    const size_t n_tokens = e->n_tokens > e->n_trial_tokens ? e->n_tokens : e->n_trial_tokens;
    const size_t attention = e->config->n_heads * e->config->head_dim;
    const size_t hidden = e->config->hidden;
    return (uint64_t)n_tokens * (hidden + (attention > hidden ? attention : hidden)) *
           sizeof(float);
}

/* A repair works on E and E F, maybe on weights to round again, with a factor of the smaller side's
 * Gram matrix and its spectrum, in float and double; the pair comes thrice, and twice its inputs.
 */
static uint64_t repair_bytes(const estimate *e, uint64_t widest)
{
    const uint64_t hidden = e->config->hidden;
    const uint64_t rank = kfi_recipe_rank(e->recipe, e->config);
    return rank == 0 ? 0
                     : sizeof(float) * (3 * widest * hidden + 8 * hidden * hidden +
                                        (6 * rank + 6 * KFI_PIPELINE_TOKENS) * (widest + hidden));
}

/* A second block; a layer and a matrix of its inputs that a transform works on; a batch of inputs
 * behind their map, twice, with room for their codes that is made anew; and what columns of
 * outliers take of side paths. */
static uint64_t transform_bytes(const estimate *e, uint64_t widest)
{
    const uint64_t n_outliers = kfi_recipe_outliers(e->recipe, (size_t)widest);
    const uint64_t threads = kf_pool_threads(kfi_model_pool(e->model));
    return !transforms(e)
               ? 0
               : kfi_model_block_bytes(e->model) +
                     sizeof(float) * (2 * widest * e->config->hidden + 2 * widest * widest +
                                      KFI_PIPELINE_TOKENS * (5 * widest + 8 * n_outliers) +
                                      threads * KFI_PIPELINE_TOKENS * 2 * KFI_PANEL_ROWS);
}

/* An upper estimate: the widest layer's statistics and work beside streams, cache and a block. */
static uint64_t memory_bytes(const estimate *e)
{
    const kfi_config *config = e->config;
    const uint64_t widest =
        config->feed_forward > config->hidden ? config->feed_forward : config->hidden;
    const uint64_t gram = e->n_tokens > 0 ? 16 * widest * widest : 0; /* float, double and float */
    const uint64_t layer = 2 * widest * config->hidden;               /* codes, grids */
    const uint64_t repair = repair_bytes(e, widest);
    /* Marks and a copy of the weights, and bins; a batch in panels. */
    const bool has_sparse = kfi_recipe_keeps_weights(e->recipe);
    const uint64_t sparse =
        has_sparse ? (1 + sizeof(float)) * widest * config->hidden + KFI_SPARSE_BIN_BYTES : 0;
    const kfi_kv kv = {.capacity = e->recipe->length + prefix_tokens(e) + KFI_KV_PANEL,
                       .n_kv_heads = config->n_kv_heads,
                       .head_dim = config->head_dim};
    const uint64_t workspace =
        KFI_PIPELINE_TOKENS * sizeof(float) * (6 * config->hidden + (has_sparse ? 5 : 4) * widest) +
        KFI_TABLE_PIECE_ROWS * config->hidden * sizeof(float) +
        /* Its newest keys and values in codes, the angles of its positions, and what its queries
         * make of the keys' offsets. */
        (KFI_PIPELINE_TOKENS + 2 * KFI_KV_NEWEST) * config->n_kv_heads * 2 *
            (kfi_packed_kv_cols(config->head_dim) + sizeof(uint16_t)) +
        KFI_PIPELINE_TOKENS * (1 + config->n_heads) * config->head_dim * sizeof(float);
    const uint64_t logits = e->n_trial_tokens > 0
                                ? KFI_LOSS_ROWS * (KFI_LOSS_TOKENS + config->hidden) * sizeof(float)
                                : 0;
    /* Samples of all four steps, and what a search makes of one. */
    const uint64_t clips =
        e->recipe->searches_clip ? 6 * widest * KFI_CLIP_TOKENS * sizeof(float) : 0;
    const uint64_t streams = e->options->spill == NULL ? stream_bytes(e) : 0;
    const uint64_t block = streams + gram + layer + sparse + repair + kfi_kv_layer_bytes(&kv) +
                           workspace + logits + clips + e->block_bytes +
                           transform_bytes(e, widest) +
                           kfi_model_block_bytes(e->model); /* the source's, decoded */
    const uint64_t table = streams + workspace + e->table_memory +
                           KFI_TABLE_PIECE_ROWS * config->hidden * sizeof(float);
    return block > table ? block : table;
}

/* ---- time ---- */

/* Seconds that a full-precision block takes for one token. */
static kf_status time_forward(double *seconds, const estimate *e, kf_error *err)
{
    const kfi_config *config = e->config;
    const kfi_block *block = NULL;
    kfi_workspace *workspace = NULL;
    const size_t x_n = PROBE_TOKENS * config->hidden;
    kfi_kv kv = {
        .capacity = PROBE_TOKENS, .n_kv_heads = config->n_kv_heads, .head_dim = config->head_dim};
    const size_t kv_bytes = kfi_kv_layer_bytes(&kv);
    float *x = kfi_calloc(e->alloc, x_n, sizeof *x);
    kf_status st = KF_OK;
    void *kv_memory = kfi_alloc(e->alloc, kv_bytes);
    if (x == NULL || kv_memory == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a probe of %u tokens", PROBE_TOKENS);
    }
    if (st == KF_OK) {
        kfi_kv_lay_out(&kv, kv_memory);
        st = kfi_workspace_new(&workspace, config, kfi_model_pool(e->model), PROBE_TOKENS, e->alloc,
                               err);
    }
    if (st == KF_OK) {
        st = kfi_model_block(e->model, 0, &block, err);
    }
    if (st == KF_OK) {
        kfi_block_forward(workspace, block, x, &kv, 0, PROBE_TOKENS);
        const double start = kfi_clock_seconds();
        kfi_block_forward(workspace, block, x, &kv, 0, PROBE_TOKENS);
        *seconds = (kfi_clock_seconds() - start) / PROBE_TOKENS;
    }
    kfi_workspace_free(workspace);
    kfi_free(e->alloc, kv_memory, kv_bytes);
    kfi_free(e->alloc, x, x_n * sizeof *x);
    return st;
}

/* Seconds that the fit of grids takes a weight: one small layer of block 0. */
static kf_status time_fit(double *seconds, const estimate *e, kf_error *err)
{
    const kfi_block *block = NULL;
    kfi_treatment treatment;
    kfi_round_grid grid;
    KFI_TRY(kfi_model_block(e->model, 0, &block, err));
    const kfi_linear *linear = &block->linears[KFI_LINEAR_V];
    kfi_recipe_treatment(&treatment, e->recipe, e->config, kfi_name_weight(0, KFI_LINEAR_V).text);
    const kfi_method_use *use = kfi_treatment_round(&treatment);
    use->method->grid(&grid, use->knobs);
    kfi_round_job job = {.weights = linear->weights,
                         .rows = linear->rows,
                         .cols = linear->cols,
                         .format = treatment.weights,
                         .knobs = use->knobs,
                         .pool = kfi_model_pool(e->model),
                         .alloc = e->alloc};
    *seconds = 0.0;
    if (treatment.keep) {
        return KF_OK;
    }
    KFI_TRY(kfi_round_job_init(&job, err));
    const double start = kfi_clock_seconds();
    const kf_status st = kfi_round_fit(&job, &grid, NULL, err);
    *seconds = (kfi_clock_seconds() - start) / ((double)linear->rows * (double)linear->cols);
    kfi_round_job_deinit(&job);
    return st;
}

static uint64_t table_parameters(const estimate *e)
{
    return (uint64_t)e->config->vocabulary * e->config->hidden * (e->config->tied ? 1 : 2);
}

/* What all methods of a layer cost beside solving it once. */
typedef struct search_cost {
    double products, fits; /* of a row */
} search_cost;

static search_cost cost_of(const kf_recipe *recipe)
{
    search_cost cost = {0.0, 0.0};
    for (size_t i = 0; i < recipe->linears.n_methods; i++) {
        const kfi_method_use *use = &recipe->linears.methods[i];
        cost.products += use->method->products != NULL ? use->method->products(use->knobs) : 0.0;
        cost.fits += use->method->fits != NULL ? use->method->fits(use->knobs) : 0.0;
    }
    return cost;
}

static kf_status estimate_seconds(double *seconds, const estimate *e, uint64_t source_bytes,
                                  kf_error *err)
{
    double forward = 0.0;
    double fit = 0.0;
    const bool calibrates = e->n_tokens > 0;
    const bool tries = e->n_trial_tokens > 0;
    const double repair = kfi_recipe_rank(e->recipe, e->config) > 0 ? REPAIR_TOKENS : 0.0;
    KFI_TRY(time_fit(&fit, e, err));
    if (calibrates || tries || repair > 0.0) {
        KFI_TRY(time_forward(&forward, e, err));
    }
    const double widths = (double)(e->config->hidden + e->config->feed_forward);
    /* For a budget every layer is rounded and its error taken apart twice. */
    const double turns = kfi_recipe_budgets(e->recipe) ? 2.0 : 1.0;
    const double solver = turns * ((calibrates ? SOLVER_TOKENS : 0.0) + repair) * widths / 2;
    const search_cost search = cost_of(e->recipe);
    const double products = calibrates ? turns * search.products * widths / 2 : 0.0;
    const double fits = (calibrates ? FITS_CALIBRATED : FITS_PLAIN) + (tries ? TRIALS : 0.0) +
                        search.fits * ((calibrates ? 1.0 : 0.0) + (tries ? TRIALS : 0.0));
    const double passes = PASSES_PER_FORWARD +
                          PASSES_A_TRANSFORM * (double)kfi_recipe_asking(e->recipe) +
                          (kfi_recipe_weighs(e->recipe) ? PASS_THAT_WEIGHS : 0.0) +
                          PASSES_A_TRANSFORM * (turns - 1.0);
    double tokens = (double)e->n_tokens * passes + solver + products;
    tokens += tries ? TRIALS * ((double)e->n_trial_tokens * passes + solver / 2 + products) : 0.0;
    *seconds = forward * tokens * (double)e->config->n_layers +
               fit * fits * (double)kfi_model_linear_parameters(e->model) +
               fit * (double)table_parameters(e) * FITS_PLAIN +
               (double)(source_bytes + 2 * e->bytes) / FILE_BYTES_A_SECOND;
    return KF_OK;
}

kf_status kfi_plan_estimate(kf_quantize_result *result, kf_model *model, const kf_recipe *recipe,
                            const kf_quantize_options *options, kf_error *err)
{
    kf_model_info info;
    estimate e = {.model = model,
                  .recipe = recipe,
                  .options = options,
                  .config = kfi_model_config(model),
                  .alloc = options->alloc,
                  .n_trial_tokens = kfi_decide_tokens(model, recipe, options)};
    if (kf_recipe_calibrates(recipe) != NULL) {
        e.n_tokens = recipe->samples * recipe->length;
    }
    kf_model_get_info(model, &info);
    KFI_TRY(add_all(&e, err));
    *result = (kf_quantize_result){
        .parameters = info.parameters,
        .source_bytes = info.bytes,
        .bytes = e.bytes,
        .bits_per_weight = 8.0 * (double)e.bytes / (double)info.parameters,
        .bits_per_weight_linear =
            8.0 * (double)e.linear_bytes / (double)kfi_model_linear_parameters(model),
        .prefix = strcmp(recipe->prefix, "auto") == 0    ? "auto"
                  : strcmp(recipe->prefix, "start") == 0 ? "start"
                  : strcmp(recipe->prefix, "none") == 0  ? "none"
                                                         : "text",
        .n_prefix = prefix_tokens(&e),
        .prefix_loss = {(double)NAN, (double)NAN},
        .memory_bytes = memory_bytes(&e),
        .disk_bytes = e.bytes + e.config->n_layers * DOCUMENT_BYTES_A_LAYER +
                      (options->spill != NULL ? stream_bytes(&e) : 0),
    };
    const kf_status st = estimate_seconds(&result->seconds, &e, info.bytes, err);
    kfi_model_release_block(model, 0); /* what was timed */
    return st;
}
