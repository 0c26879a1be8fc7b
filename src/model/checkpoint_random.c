/* checkpoint_random.c - a model of a known shape with random weights, as if it had been read.
 *
 * Speed depends on shapes and formats, not on what was learned. Weights are drawn as codes and
 * grids and packed a panel at a time, so that nothing but the packed model is ever in memory.
 *
 * A matrix of n inputs has weights of mean 0 and variance about 1 / n: a vector whose elements have
 * the size 1 gives another such vector, so that activations neither vanish nor overflow.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "base/report.h"
#include "base/rng.h"
#include "base/threads.h"
#include "format/format.h"
#include "format/layout.h"
#include "model/architecture.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"
#include "model/config.h"

/* ---- shapes ---- */

typedef struct shape {
    const char *name;
    kfi_config config;
} shape;

static const shape shapes[] = {
#define KFI_SHAPE(name_, architecture_, layers, hidden_, feed_forward_, heads, kv_heads, size,     \
                  vocabulary_, context_, tied_, base)                                              \
    {name_,                                                                                        \
     {.architecture = &kfi_architecture_##architecture_,                                           \
      .n_layers = (layers),                                                                        \
      .hidden = (hidden_),                                                                         \
      .feed_forward = (feed_forward_),                                                             \
      .n_heads = (heads),                                                                          \
      .n_kv_heads = (kv_heads),                                                                    \
      .head_dim = (size),                                                                          \
      .vocabulary = (vocabulary_),                                                                 \
      .context = (context_),                                                                       \
      .tied = (tied_),                                                                             \
      .rms_epsilon = 1e-5f,                                                                        \
      .rope_theta = (base)}},
#include "model/shapes.def"
#undef KFI_SHAPE
};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

const char *kf_model_shape(size_t i)
{
    return i < N_SHAPES ? shapes[i].name : NULL;
}

static kf_status find_shape(const shape **found, const char *name, kf_error *err)
{
    char known[240] = "";
    for (size_t i = 0; i < N_SHAPES; i++) {
        if (name != NULL && strcmp(name, shapes[i].name) == 0) {
            *found = &shapes[i];
            return KF_OK;
        }
        const size_t n = strlen(known);
        (void)snprintf(known + n, sizeof known - n, "%s%s", i == 0 ? "" : ", ", shapes[i].name);
    }
    return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "no shape '%s'; there are %s",
                    name == NULL ? "" : name, known);
}

/* ---- values ---- */

/* Each panel of each tensor has numbers of its own, whichever thread draws them. */
static void seed_panel(kfi_rng *rng, uint64_t seed, size_t i_tensor, size_t i_panel)
{
    kfi_rng_init(rng, seed);
    kfi_rng_init(rng, kfi_rng_next(rng) + ((uint64_t)i_tensor << 32) + i_panel);
}

/* Codes of one panel, all as likely, but the one without a counterpart (the lowest, of ternary
 * codes the fourth) becomes zero. Entries of a codebook all have one, if not exactly. */
static void draw_codes(uint8_t *codes, size_t n, kf_format format, kfi_rng *rng)
{
    const uint8_t mask = (uint8_t)((1u << format.bits) - 1u);
    const bool is_ternary = format.element == KF_ELEMENT_TERNARY;
    const uint8_t lone = is_ternary ? 3 : 0;
    const uint8_t zero =
        kfi_element_is_integer(format.element) ? (uint8_t)kfi_format_zero(format) : lone;
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        const uint64_t random = kfi_rng_next(rng);
        for (size_t j = 0; j < sizeof random && i + j < n; j++) {
            const uint8_t code = (uint8_t)(random >> 8 * j) & mask;
            codes[i + j] = code == lone ? zero : code;
        }
    }
}

/* The entries of a codebook; one that would be learned is NormalFloat. */
static const int8_t *draw_table(kf_format format)
{
    format.element = format.element == KF_ELEMENT_CODEBOOK ? KF_ELEMENT_NF : format.element;
    return kfi_format_table(format);
}

/* The scale at which such codes have the variance 1 / cols. */
static float middle_scale(kf_format format, size_t cols)
{
    const kfi_levels levels = kfi_format_levels(format, draw_table(format));
    const double n = (double)(1u << format.bits);
    const double most = 0.5 * n - 1.0;
    double variance = most * (most + 1.0) * (2.0 * most + 1.0) / 3.0 / n;
    if (!kfi_element_is_integer(format.element)) {
        variance = 0.0;
        for (int32_t q = 0; q <= levels.q_max; q++) {
            const double level = (double)kfi_level_of(levels, 0, (uint8_t)q);
            variance += level * level / n;
        }
    }
    return (float)(1.0 / sqrt((double)cols * variance));
}

/* The power of two that is next below the middle. */
static void draw_power(kfi_grid *grid, float middle)
{
    int exponent = 0;
    (void)frexpf(middle, &exponent);
    grid->scale = ldexpf(1.0f, exponent - 1);
}

/* The same scale for all rows, and multipliers from half of the greatest to all of it. */
static void draw_two_level(kfi_grid *grid, unsigned bits, float middle, kfi_rng *rng)
{
    const int32_t most = 255 / ((1 << bits) - 1);
    const int32_t least = (most + 1) / 2;
    const float row_scale = middle / (0.5f * (float)(least + most));
    grid->row_scale = kfi_bits_float(kfi_float_bits(row_scale) & 0xFFFFFF00u); /* 16 bits */
    grid->multiplier = least + (int32_t)kfi_rng_below(rng, (uint64_t)(most - least + 1));
    grid->scale = grid->row_scale * (float)grid->multiplier;
}

/* A scale about the middle, a quarter above or below where the format can tell them apart. */
static kfi_grid draw_grid(kf_format format, float middle, kfi_rng *rng)
{
    kfi_grid grid = {.zero = kfi_format_zero(format)};
    if (format.scale == KF_SCALE_TWO_LEVEL) {
        draw_two_level(&grid, format.bits, middle, rng);
    } else if (format.scale == KF_SCALE_POWER_OF_TWO) {
        draw_power(&grid, middle);
    } else {
        const float scale = middle * (0.75f + 0.5f * kfi_rng_uniform(rng));
        grid.scale = kfi_half_to_float(kfi_half_from_float(scale));
    }
    if (format.zero == KF_ZERO_OFFSET) {
        grid.offset = -grid.scale * (float)grid.zero; /* exact: by a power of two */
    }
    return grid;
}

/* ---- one matrix ---- */

/* One tensor, and for each thread the codes and grids of a panel. */
typedef struct drawing {
    uint64_t seed;
    size_t i_tensor;
    kf_format format;
    size_t rows, cols, n_groups;
    void *dst;
    uint8_t *codes;  /* [threads][KFI_PANEL_ROWS][cols] */
    kfi_grid *grids; /* [threads][KFI_PANEL_ROWS][n_groups] */
} drawing;

static void draw_panel(void *ctx, size_t i_item, size_t i_thread)
{
    const drawing *d = ctx;
    const size_t left = d->rows - i_item * KFI_PANEL_ROWS;
    const size_t n_rows = left < KFI_PANEL_ROWS ? left : KFI_PANEL_ROWS;
    uint8_t *codes = d->codes + i_thread * KFI_PANEL_ROWS * d->cols;
    kfi_grid *grids = d->grids + i_thread * KFI_PANEL_ROWS * d->n_groups;
    const float middle = middle_scale(d->format, d->cols);
    kfi_rng rng;
    seed_panel(&rng, d->seed, d->i_tensor, i_item);
    draw_codes(codes, n_rows * d->cols, d->format, &rng);
    for (size_t i = 0; i < n_rows * d->n_groups; i++) {
        grids[i] = draw_grid(d->format, middle, &rng);
    }
    kfi_packed_write(d->dst, i_item, i_item + 1, codes, grids);
}

static kf_status draw_matrix(const kf_allocator *alloc, kf_pool *pool, drawing *d, kf_error *err)
{
    const size_t n_threads = kf_pool_threads(pool);
    const size_t n_codes = n_threads * KFI_PANEL_ROWS * d->cols;
    const size_t n_grids = n_threads * KFI_PANEL_ROWS * d->n_groups;
    d->codes = kfi_calloc(alloc, n_codes, 1);
    d->grids = kfi_calloc(alloc, n_grids, sizeof *d->grids);
    const bool ok = d->codes != NULL && d->grids != NULL;
    if (ok) {
        kfi_packed_begin(d->dst, d->format, draw_table(d->format), d->rows, d->cols);
        kfi_pool_run(pool, draw_panel, d, (d->rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS);
    }
    kfi_free(alloc, d->codes, n_codes);
    kfi_free(alloc, d->grids, n_grids * sizeof *d->grids);
    return ok ? KF_OK : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to draw weights");
}

/* ---- all tensors ---- */

typedef struct making {
    kfi_checkpoint *checkpoint;
    const kf_random_options *options;
    const kfi_random_tools *tools;
    kfi_report report;
    kfi_needed_fn *visit; /* that all tensors go through */
    kfi_tensor *tensors;  /* while they are listed */
    size_t n;             /* tensors counted, listed or filled so far */
    size_t n_inputs;      /* of the matrix whose side paths are visited */
    uint64_t bytes;       /* of all */
} making;

/* Side paths have 8 bits: a scale for 64 of the many inputs of A, one a row where there are few. */
static kf_format format_of(const making *m, const char *name)
{
    static const kf_format wide = {KF_ELEMENT_INT, 8, KF_SCALE_FP16, KF_ZERO_NONE, 64};
    static const kf_format narrow = {KF_ELEMENT_INT, 8, KF_SCALE_FP16, KF_ZERO_NONE, KF_GROUP_ROW};
    switch (kfi_name_side_part(name)) {
    case KFI_SIDE_LOW_RANK_A:
        return wide;
    case KFI_SIDE_LOW_RANK_B:
    case KFI_SIDE_OUTLIERS:
        return narrow;
    default:
        return kfi_name_is_linear(name) ? m->options->weights : m->options->head;
    }
}

/* A pair of rank 1 has a matrix of one row. */
static bool is_matrix(const char *name, size_t rows)
{
    return rows > 1 || kfi_name_side_part(name) < KFI_SIDE_COLUMNS;
}

/* Of a packed matrix, as a Kerf checkpoint has it, or of a vector in float. */
static kf_status tensor_bytes(uint64_t *bytes, const making *m, const char *name, size_t rows,
                              size_t cols, kf_error *err)
{
    *bytes = cols * sizeof(float);
    return is_matrix(name, rows) ? kf_format_bytes(bytes, format_of(m, name), rows, cols, err)
                                 : KF_OK;
}

static kf_status count_tensor(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    making *m = ctx;
    uint64_t bytes = 0;
    KFI_TRY(tensor_bytes(&bytes, m, name, rows, cols, err));
    m->bytes += bytes;
    m->n++;
    return KF_OK;
}

static kfi_dtype type_of(const char *name, size_t rows)
{
    return is_matrix(name, rows)                          ? KFI_DTYPE_U8
           : kfi_name_side_part(name) == KFI_SIDE_COLUMNS ? KFI_DTYPE_U32
                                                          : KFI_DTYPE_F32;
}

static kf_status list_tensor(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    making *m = ctx;
    kfi_tensor *tensor = &m->tensors[m->n++];
    uint64_t bytes = 0;
    KFI_TRY(tensor_bytes(&bytes, m, name, rows, cols, err));
    const size_t n = is_matrix(name, rows) ? (size_t)bytes : cols;
    *tensor = (kfi_tensor){.name = kfi_arena_strndup(&m->checkpoint->arena, name, strlen(name)),
                           .dtype = type_of(name, rows),
                           .n_dims = 1,
                           .shape = {n, 1, 1, 1},
                           .n_elements = n,
                           .bytes = (size_t)bytes};
    return tensor->name != NULL
               ? KF_OK
               : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
}

/* Norms near 1, biases near 0. */
static void draw_vector(float *dst, const char *name, size_t n, kfi_rng *rng)
{
    const float middle = strstr(name, ".bias") != NULL ? 0.0f : 1.0f;
    for (size_t i = 0; i < n; i++) {
        dst[i] = middle + 0.1f * (2.0f * kfi_rng_uniform(rng) - 1.0f);
    }
}

/* Columns of outliers, evenly over all inputs: what is drawn of the matrix there is not zero, and
 * only counts with float activations. */
static void fill_columns(uint32_t *dst, size_t n, size_t n_inputs)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = (uint32_t)(i * n_inputs / n);
    }
}

static void fill_vector(const making *m, void *dst, const char *name, size_t n)
{
    kfi_rng rng;
    if (kfi_name_side_part(name) == KFI_SIDE_COLUMNS) {
        fill_columns(dst, n, m->n_inputs);
        return;
    }
    seed_panel(&rng, m->options->seed, m->n, 0);
    draw_vector(dst, name, n, &rng);
}

static kf_status fill_matrix(making *m, kfi_tensor *tensor, kfi_stored *stored, size_t rows,
                             size_t cols, kf_error *err)
{
    const kf_format format = format_of(m, tensor->name);
    drawing d = {.seed = m->options->seed,
                 .i_tensor = m->n,
                 .format = format,
                 .rows = rows,
                 .cols = cols,
                 .n_groups = kfi_format_groups(format, cols),
                 .dst = stored->memory};
    KFI_TRY(draw_matrix(m->checkpoint->alloc, m->tools->pool, &d, err));
    KFI_TRY(kfi_packed_open(&stored->packed, stored->memory, stored->memory_bytes, false, err));
    kf_format_name(stored->packed_format, format);
    return KF_OK;
}

static kf_status fill_tensor(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    making *m = ctx;
    kfi_tensor *tensor = &m->checkpoint->table.tensors[m->n];
    kfi_stored *stored = &m->checkpoint->stored[m->n];
    if (kfi_report_cancelled(m->tools->callbacks)) {
        return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled while drawing weights");
    }
    stored->memory = kfi_alloc_streamed(m->checkpoint->alloc, tensor->bytes);
    if (stored->memory == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for tensor '%s', %zu bytes", name,
                        tensor->bytes);
    }
    stored->memory_bytes = tensor->bytes;
    tensor->data = stored->memory;
    if (is_matrix(name, rows)) {
        KFI_TRY(fill_matrix(m, tensor, stored, rows, cols, err));
    } else {
        fill_vector(m, stored->memory, name, cols);
    }
    m->n++;
    kfi_report_progress(&m->report, "drawing weights", "tensors", m->n, m->checkpoint->table.n);
    return KF_OK;
}

/* The side paths of a matrix of this shape. */
static kf_status visit_side(making *m, const char *name, size_t rows, size_t cols, kf_error *err)
{
    const size_t rank = m->options->rank;
    const size_t n = m->options->outliers;
    m->n_inputs = cols;
    if (rank > 0) {
        KFI_TRY(m->visit(m, kfi_name_side(name, KFI_SIDE_LOW_RANK_A).text, rank, cols, err));
        KFI_TRY(m->visit(m, kfi_name_side(name, KFI_SIDE_LOW_RANK_B).text, rows, rank, err));
    }
    if (n > 0) {
        KFI_TRY(m->visit(m, kfi_name_side(name, KFI_SIDE_OUTLIERS).text, rows, n, err));
        KFI_TRY(m->visit(m, kfi_name_side(name, KFI_SIDE_COLUMNS).text, 1, n, err));
    }
    return KF_OK;
}

static kf_status visit_tensor(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    making *m = ctx;
    KFI_TRY(m->visit(m, name, rows, cols, err));
    return kfi_name_is_linear(name) ? visit_side(m, name, rows, cols, err) : KF_OK;
}

/* Each goes through all tensors in the same order. */
static kf_status visit_all(making *m, kfi_needed_fn *visit, kf_error *err)
{
    m->n = 0;
    m->visit = visit;
    return kfi_config_each_tensor(&m->checkpoint->config, visit_tensor, m, err);
}

/* The system would grant more than there is, and end the program when it is used. */
static kf_status check_room(const making *m, kf_error *err)
{
    const uint64_t available = kf_memory_available();
    if (m->bytes > available) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET,
                        "no memory for %s: its weights take %" PRIu64 " bytes, %" PRIu64
                        " are available",
                        m->checkpoint->name, m->bytes, available);
    }
    return KF_OK;
}

static kf_status check_weights(kf_format format, kf_error *err)
{
    if (format.element == KF_ELEMENT_FLOAT) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "random weights are packed, not float: expected a format like int4g64");
    }
    return kfi_format_is_known(format)
               ? KF_OK
               : kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                          "no weight format has element %u, %u bits, scale kind %u, zero kind %u "
                          "and group %" PRIu32,
                          (unsigned)format.element, (unsigned)format.bits, (unsigned)format.scale,
                          (unsigned)format.zero, format.group);
}

static kf_status check_formats(const kf_random_options *options, kf_error *err)
{
    KFI_TRY(check_weights(options->weights, err));
    KFI_TRY(check_weights(options->head, err));
    return kfi_activation_check(options->activation, err);
}

static kf_status check_side(const kf_random_options *options, const kfi_config *config,
                            kf_error *err)
{
    const size_t q_width = config->n_heads * config->head_dim;
    size_t least = config->hidden < config->feed_forward ? config->hidden : config->feed_forward;
    least = least < q_width ? least : q_width;
    least = least < KFI_SIDE_MOST ? least : KFI_SIDE_MOST;
    if (options->rank > KFI_SIDE_MOST || options->outliers > least) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "rank %zu and %zu outliers: expected at most %u and %zu", options->rank,
                        options->outliers, KFI_SIDE_MOST, least);
    }
    return KF_OK;
}

kf_status kfi_checkpoint_load_random(kfi_checkpoint *checkpoint, const kf_random_options *options,
                                     const kfi_random_tools *tools, kf_error *err)
{
    const shape *found = NULL;
    making m = {.checkpoint = checkpoint, .options = options, .tools = tools};
    KFI_TRY(find_shape(&found, options->shape, err));
    KFI_TRY(check_formats(options, err));
    KFI_TRY(check_side(options, &found->config, err));
    checkpoint->has_side_paths = options->rank > 0 || options->outliers > 0;
    checkpoint->container = "random weights";
    checkpoint->name = found->name;
    checkpoint->config = found->config;
    checkpoint->activation = options->activation;
    KFI_TRY(visit_all(&m, count_tensor, err));
    KFI_TRY(check_room(&m, err));
    m.tensors = kfi_arena_alloc(&checkpoint->arena, _Alignof(kfi_tensor), m.n * sizeof(kfi_tensor));
    if (m.tensors == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
    }
    KFI_TRY(visit_all(&m, list_tensor, err));
    const kfi_tensor_table listed = {.tensors = m.tensors, .n = m.n};
    KFI_TRY(kfi_checkpoint_take_table(checkpoint, &listed, err));
    KFI_TRY(kfi_checkpoint_index(checkpoint, err));
    kfi_report_init(&m.report, tools->callbacks);
    return visit_all(&m, fill_tensor, err);
}
