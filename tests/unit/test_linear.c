/* Linear layers against double precision over what their codes say.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "base/half.h"
#include "format/format.h"
#include "kernels/kernels_list.h"
#include "model/workspace.h"
#include "random_packed.h"

#define ROWS   37u
#define COLS   196u /* neither groups nor chunks divide it */
#define TOKENS 70u  /* more than results of two panels have room for at a time */
#define RANK   40u

/* A workspace for an input of COLS. */
static kfi_workspace *new_workspace(kf_pool *pool)
{
    kf_error err = {0};
    kfi_workspace *w = NULL;
    const kfi_config config = {.n_layers = 1,
                               .hidden = COLS,
                               .feed_forward = COLS,
                               .n_heads = 1,
                               .n_kv_heads = 1,
                               .head_dim = 16,
                               .vocabulary = ROWS};
    CHECK_OK(kfi_workspace_new(&w, &config, pool, TOKENS, NULL, &err), &err);
    CHECK_OK(kfi_workspace_reserve_side(w, RANK, &err), &err);
    CHECK_OK(kfi_workspace_reserve_panels(w, &err), &err);
    return w;
}

/* The values that an activation format makes of one token's, by plain C. */
static void round_token(float *dst, const float *x, kf_activation activation)
{
    int8_t codes[COLS + KFI_CHUNK_COLS];
    float scales[COLS / KFI_CHUNK_COLS + 1];
    int32_t sums[COLS / KFI_CHUNK_COLS + 1];
    const size_t group =
        activation.group == KF_GROUP_ROW ? kfi_round_up(COLS, KFI_CHUNK_COLS) : activation.group;
    memcpy(dst, x, COLS * sizeof *x);
    if (activation.kind == KF_ACTIVATION_FP8) {
        kfi_round_fp8_generic(dst, x, COLS, group);
    } else if (activation.bits < 32) {
        const kfi_quantizer how = kfi_activation_quantizer(activation, COLS);
        kfi_quantize_generic(codes, scales, sums, x, COLS, &how);
        for (size_t i = 0; i < COLS; i++) {
            dst[i] = scales[i / group] * (float)codes[i];
        }
    }
}

/* A sum in double, the sum of its terms' magnitudes, and what rounding of an input may add. */
typedef struct sum {
    double value, size, slack;
} sum;

/* Adds the product of a decoded row with x, whose elements are off by up to `off` each. */
static void add_row(sum *s, const float *weights, size_t n, const double *x, const double *off)
{
    for (size_t k = 0; k < n; k++) {
        s->value += (double)weights[k] * x[k];
        s->size += fabs((double)weights[k] * x[k]);
        s->slack += off == NULL ? 0.0 : fabs((double)weights[k]) * off[k];
    }
}

/* Half a step of 8 bits in groups of 32, and none in float. */
static void half_steps(double *off, const double *x, size_t n, bool is_float)
{
    for (size_t i = 0; i < n; i++) {
        double most = 0.0;
        for (size_t k = i / 32 * 32; k < n && k < i / 32 * 32 + 32; k++) {
            most = fabs(x[k]) > most ? fabs(x[k]) : most;
        }
        off[i] = is_float ? 0.0 : most / 127.0 * 0.501;
    }
}

/* What the codes of a layer's matrices say. */
typedef struct decoded_layer {
    float matrix[ROWS][COLS], outliers[ROWS][RANK], a[RANK][COLS], b[ROWS][RANK];
} decoded_layer;

static void decode(float *dst, size_t ld, const kfi_packed *w)
{
    for (size_t r = 0; w->codes != NULL && r < w->rows; r++) {
        kfi_packed_decode_row(dst + r * ld, w, r, 0, w->cols);
    }
}

static void decode_layer(decoded_layer *d, const kfi_linear *linear)
{
    decode(d->matrix[0], COLS, &linear->packed);
    decode(d->outliers[0], RANK, &linear->side.outliers);
    decode(d->a[0], COLS, &linear->side.low_rank_a);
    decode(d->b[0], RANK, &linear->side.low_rank_b);
}

/* What the parts of a layer get of a token, and how far it may be off. */
typedef struct token_inputs {
    double rounded[COLS], gathered[RANK], gathered_off[RANK], low[RANK], low_off[RANK];
} token_inputs;

/* x is the token as it is; the matrix sees it rounded, and without the columns of outliers. */
static void take_token(token_inputs *in, const kfi_linear *linear, const decoded_layer *d,
                       const float *x)
{
    const kfi_side_paths *side = &linear->side;
    const bool is_float = !kfi_activation_has_codes(linear->activation);
    float without[COLS];
    float rounded[COLS];
    memcpy(without, x, sizeof without);
    for (size_t i = 0; side->outliers.codes != NULL && i < side->outliers.cols; i++) {
        in->gathered[i] = (double)x[side->columns[i]];
        without[side->columns[i]] = 0.0f;
    }
    round_token(rounded, without, linear->activation);
    for (size_t k = 0; k < COLS; k++) {
        in->rounded[k] = (double)rounded[k];
    }
    for (size_t r = 0; side->low_rank_a.codes != NULL && r < side->low_rank_a.rows; r++) {
        sum one = {0};
        add_row(&one, d->a[r], COLS, in->rounded, NULL);
        in->low[r] = one.value;
    }
    half_steps(in->gathered_off, in->gathered, side->outliers.cols, is_float);
    half_steps(in->low_off, in->low, side->low_rank_a.rows, is_float);
}

/* The result of a row, side paths included. */
static sum expected_of(const kfi_linear *linear, const decoded_layer *d, size_t row,
                       const token_inputs *in)
{
    const kfi_side_paths *side = &linear->side;
    const kfi_sparse *sparse = &side->sparse;
    sum s = {0};
    add_row(&s, d->matrix[row], COLS, in->rounded, NULL);
    if (side->outliers.codes != NULL) {
        add_row(&s, d->outliers[row], side->outliers.cols, in->gathered, in->gathered_off);
    }
    if (side->low_rank_a.codes != NULL) {
        add_row(&s, d->b[row], side->low_rank_a.rows, in->low, in->low_off);
    }
    for (size_t i = sparse->starts == NULL ? 0 : sparse->starts[row];
         sparse->starts != NULL && i < sparse->starts[row + 1]; i++) {
        const float value = kfi_half_to_float(sparse->values[i]);
        const double term = (double)value * in->rounded[sparse->columns[i]];
        s.value += term;
        s.size += fabs(term);
    }
    return s;
}

static kf_activation activation_of(const char *name)
{
    kf_error err = {0};
    kf_activation activation = {0};
    CHECK_OK(kf_activation_parse(&activation, name, &err), &err);
    return activation;
}

/* y of all tokens against the oracle. */
static void check_result(const kfi_linear *linear, const float *y, const float *x)
{
    static decoded_layer d;
    token_inputs in;
    decode_layer(&d, linear);
    for (size_t t = 0; t < TOKENS; t++) {
        take_token(&in, linear, &d, x + t * COLS);
        for (size_t r = 0; r < ROWS; r++) {
            const sum s = expected_of(linear, &d, r, &in);
            const double e = fabs((double)y[t * ROWS + r] - s.value);
            if (!(e <= 1e-6 * s.size + s.slack)) {
                fail_msg("token %zu, row %zu is %g, expected %g", t, r, (double)y[t * ROWS + r],
                         s.value);
            }
        }
    }
}

static void check_layer(kfi_workspace *w, const char *weights, const char *activation, kfi_rng *rng)
{
    static float y[TOKENS * ROWS];
    random_packed m = random_packed_make(weights, ROWS, COLS, false, rng);
    const kfi_linear linear = {
        .rows = ROWS, .cols = COLS, .packed = m.packed, .activation = activation_of(activation)};
    float *x = random_floats(TOKENS * COLS, rng);
    kfi_linear_forward(w, &linear, y, x, TOKENS);
    check_result(&linear, y, x);
    kfi_free(NULL, x, TOKENS * COLS * sizeof *x);
    random_packed_free(&m);
}

static const char *const activations[] = {"int8tg64",  "int4tg64",    "int4t",        "int3tg32",
                                          "int3t",     "int5tg128",   "int4ta",       "int3tg32a",
                                          "int7tg64a", "int8tg64c90", "int4tg64ac75", "mxint8tg32",
                                          "mxint4t",   "fp8t",        "fp8tg64",      "float"};
#define N_ACTIVATIONS (sizeof activations / sizeof activations[0])

/* Every kind of weights, with every number of bits and every group in some of them. */
static const char *const weight_formats[] = {
    "int2g64",    "int3g32a",   "int4g64",      "int4rowo",  "int5g128", "int6row",  "int7g32o",
    "int8g64a",   "int8g64",    "int2g64ar",    "int3g128r", "int4g64r", "int8g32r", "mxint4g32",
    "mxint8row",  "ternaryg64", "ternaryg128r", "nf2row",    "nf3g128",  "nf4g64",   "fp4e2m1g32",
    "fp6e3m2g64", "fp6e3m2row", "cb4g32",       "cb8g64",    "cb16g128"};
#define N_WEIGHTS (sizeof weight_formats / sizeof weight_formats[0])

static void computes_what_the_codes_of_both_sides_say(void **state)
{
    (void)state;
    kfi_workspace *w = new_workspace(NULL);
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (size_t a = 0; a < N_ACTIVATIONS; a++) {
        for (size_t i = 0; i < N_WEIGHTS; i++) {
            check_layer(w, weight_formats[i], activations[a], &rng);
        }
    }
    kfi_workspace_free(w);
}

/* ---- float weights ---- */

/* The product of what the format makes of x with weights that stay float. */
static void check_kept(const kfi_linear *linear, const float *y, const float *x)
{
    for (size_t t = 0; t < TOKENS; t++) {
        float rounded[COLS];
        round_token(rounded, x + t * COLS, linear->activation);
        for (size_t r = 0; r < linear->rows; r++) {
            double exact = 0.0;
            double size = 0.0;
            for (size_t k = 0; k < COLS; k++) {
                const double term = (double)linear->weights[r * COLS + k] * (double)rounded[k];
                exact += term;
                size += fabs(term);
            }
            assert_true(fabs((double)y[t * linear->rows + r] - exact) <= 1e-6 * size);
        }
    }
}

/* Two kept layers with one input, in one format and in two, and a packed one between them. */
static void kept_layers_multiply_what_the_codes_stand_for(void **state)
{
    (void)state;
    static float y[4][TOKENS * ROWS];
    kf_pool *pool = NULL;
    kf_error err = {0};
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    kfi_workspace *w = new_workspace(pool);
    kfi_rng rng;
    kfi_rng_init(&rng, 7);
    float *x = random_floats(TOKENS * COLS, &rng);
    float *floats = random_floats(ROWS * COLS, &rng);
    random_packed m = random_packed_make("int4g64", ROWS, COLS, false, &rng);
    for (size_t a = 0; a < N_ACTIVATIONS; a++) {
        kfi_linear l[4];
        for (size_t i = 0; i < 4; i++) {
            l[i] = (kfi_linear){.rows = ROWS - i, .cols = COLS, .weights = floats + i};
            l[i].activation = activation_of(activations[i < 2 ? a : (a + i) % N_ACTIVATIONS]);
        }
        l[2] = (kfi_linear){
            .rows = ROWS, .cols = COLS, .packed = m.packed, .activation = l[0].activation};
        const kfi_linear *const linears[] = {&l[0], &l[1], &l[2], &l[3]};
        float *const ys[] = {y[0], y[1], y[2], y[3]};
        kfi_linear_forward_shared(w, linears, ys, 4, x, TOKENS);
        check_kept(&l[0], y[0], x);
        check_kept(&l[1], y[1], x);
        check_result(&l[2], y[2], x);
        check_kept(&l[3], y[3], x);
    }
    random_packed_free(&m);
    kfi_free(NULL, floats, ROWS * COLS * sizeof *floats);
    kfi_free(NULL, x, TOKENS * COLS * sizeof *x);
    kfi_workspace_free(w);
    kf_pool_free(pool);
}

/* ---- side paths ---- */

/* Packs floats, rounded to the nearest: the way a test gets a matrix with columns of zeros. */
static random_packed pack(const char *name, const float *weights, size_t rows, size_t cols)
{
    kf_error err = {0};
    kf_format format = {0};
    uint64_t bytes = 0;
    random_packed m = {0};
    const kfi_fit fit = {.kind = KFI_FIT_MIN_MAX, .exponent = 2.0f, .steps = 1, .shrink = 1.0f};
    CHECK_OK(kf_format_parse(&format, name, &err), &err);
    CHECK_OK(kf_format_bytes(&bytes, format, rows, cols, &err), &err);
    const size_t n_groups = kfi_format_groups(format, cols);
    const size_t group = kfi_format_group(format, cols);
    const kfi_levels levels = kfi_format_levels(format, NULL);
    m.n_bytes = (size_t)bytes;
    m.bytes = kfi_alloc(NULL, m.n_bytes);
    uint8_t *codes = kfi_alloc(NULL, rows * cols);
    kfi_grid *grids = kfi_alloc(NULL, rows * n_groups * sizeof *grids);
    for (size_t r = 0; r < rows; r++) {
        kfi_format_fit_row(grids + r * n_groups, format, weights + r * cols, NULL, cols, &fit);
        for (size_t k = 0; k < cols; k++) {
            codes[r * cols + k] =
                kfi_grid_encode(&grids[r * n_groups + k / group], levels, weights[r * cols + k]);
        }
    }
    kfi_packed_begin(m.bytes, format, NULL, rows, cols);
    kfi_packed_write(m.bytes, 0, (rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS, codes, grids);
    CHECK_OK(kfi_packed_open(&m.packed, m.bytes, m.n_bytes, true, &err), &err);
    kfi_free(NULL, codes, rows * cols);
    kfi_free(NULL, grids, rows * n_groups * sizeof *grids);
    return m;
}

/* A layer with all paths, and what it is made of. */
typedef struct side_layer {
    random_packed matrix, a, b, outliers;
    uint32_t columns[RANK];
    uint32_t starts[ROWS + 1];
    uint16_t sparse_columns[ROWS * COLS];
    uint16_t values[ROWS * COLS];
    kfi_linear linear;
} side_layer;

/* Every one_in-th weight by chance, but none in row 2. */
static void add_sparse(side_layer *l, unsigned one_in, kfi_rng *rng)
{
    size_t n = 0;
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t c = 0; c < COLS && r != 2; c++) {
            const bool is_taken = l->linear.side.columns != NULL && c % 4 == 3;
            if (!is_taken && kfi_rng_below(rng, one_in) == 0) {
                l->sparse_columns[n] = (uint16_t)c;
                l->values[n++] = kfi_half_from_float(kfi_rng_normal(rng));
            }
        }
        l->starts[r + 1] = (uint32_t)n;
    }
    l->linear.side.sparse = (kfi_sparse){ROWS, COLS, l->starts, l->sparse_columns, l->values};
}

static random_packed pack_without(const char *name, float *weights, size_t rows,
                                  const uint32_t *columns, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i++) {
            weights[r * COLS + columns[i]] = 0.0f;
        }
    }
    return pack(name, weights, rows, COLS);
}

/* rank or n_outliers 0: without. */
static void side_layer_init(side_layer *l, const char *activation, size_t rank, size_t n_outliers,
                            kfi_rng *rng)
{
    float *weights = random_floats(ROWS * COLS, rng);
    float *a = random_floats(RANK * COLS, rng);
    memset(l, 0, sizeof *l);
    for (size_t i = 0; i < n_outliers; i++) {
        l->columns[i] = (uint32_t)(COLS - 1 - 4 * (n_outliers - 1 - i)); /* the last is one */
    }
    l->matrix = pack_without("int4g64", weights, ROWS, l->columns, n_outliers);
    l->linear = (kfi_linear){.rows = ROWS,
                             .cols = COLS,
                             .packed = l->matrix.packed,
                             .activation = activation_of(activation)};
    if (rank > 0) {
        l->a = pack_without("int8g64", a, rank, l->columns, n_outliers);
        l->b = random_packed_make("int5g32a", ROWS, rank, false, rng);
        l->linear.side.low_rank_a = l->a.packed;
        l->linear.side.low_rank_b = l->b.packed;
    }
    if (n_outliers > 0) {
        l->outliers = random_packed_make("int8row", ROWS, n_outliers, false, rng);
        l->linear.side.outliers = l->outliers.packed;
        l->linear.side.columns = l->columns;
    }
    kfi_free(NULL, weights, ROWS * COLS * sizeof *weights);
    kfi_free(NULL, a, RANK * COLS * sizeof *a);
}

static void side_layer_free(side_layer *l)
{
    random_packed *const all[] = {&l->matrix, &l->a, &l->b, &l->outliers};
    for (size_t i = 0; i < 4; i++) {
        if (all[i]->bytes != NULL) {
            random_packed_free(all[i]);
        }
    }
}

static const struct side_case {
    const char *activation;
    size_t rank, n_outliers;
    unsigned one_in; /* single weights; 0: none */
} side_cases[] = {
    {"int8tg64", 32, 0, 0},  {"int8tg64", 0, 32, 0},     {"int8t", 4, 0, 9},
    {"int4tg64", 8, 5, 0},   {"int3t", 40, 40, 0},       {"int4tg128", 1, 32, 0},
    {"float", 8, 0, 0},      {"float", 0, 5, 0},         {"float", 32, 32, 50},
    {"fp8tg64", 32, 32, 7},  {"fp8t", 0, 5, 0},          {"int4tg64ac90", 8, 5, 0},
    {"int8tg64", 0, 0, 200}, {"int8tg64", 32, 32, 3},    {"float", 0, 0, 20},
    {"int4ta", 0, 0, 1},     {"int8tg64c90", 5, 0, 100},
};
#define N_CASES (sizeof side_cases / sizeof side_cases[0])

static void adds_low_rank_pairs_outliers_and_single_weights(void **state)
{
    (void)state;
    static float y[TOKENS * ROWS];
    kfi_workspace *w = new_workspace(NULL);
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (size_t i = 0; i < N_CASES; i++) {
        const struct side_case *c = &side_cases[i];
        static side_layer l;
        side_layer_init(&l, c->activation, c->rank, c->n_outliers, &rng);
        if (c->one_in > 0) {
            add_sparse(&l, c->one_in, &rng);
        }
        float *x = random_floats(TOKENS * COLS, &rng);
        for (size_t t = 0; t < TOKENS && c->n_outliers > 0; t++) {
            x[t * COLS + COLS - 1] *= 1000.0f; /* would drown the others in one step */
        }
        kfi_linear_forward(w, &l.linear, y, x, TOKENS);
        check_result(&l.linear, y, x);
        kfi_free(NULL, x, TOKENS * COLS * sizeof *x);
        side_layer_free(&l);
    }
    kfi_workspace_free(w);
}

/* Three layers at once, of which two share their outliers, as they would be run one by one. */
static void shared_inputs_give_the_same_bits(void **state)
{
    (void)state;
    static float y[3][TOKENS * ROWS];
    static float alone[TOKENS * ROWS];
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    static side_layer l[3];
    side_layer_init(&l[0], "int4tg64", 8, 32, &rng);
    side_layer_init(&l[1], "int4tg64", 32, 32, &rng);
    side_layer_init(&l[2], "int4tg64", 0, 5, &rng);
    add_sparse(&l[1], 9, &rng);
    add_sparse(&l[2], 30, &rng);
    const kfi_linear *const linears[] = {&l[0].linear, &l[1].linear, &l[2].linear};
    float *const ys[] = {y[0], y[1], y[2]};
    assert_true(kfi_side_shares_input(&linears[0]->side, &linears[1]->side));
    assert_false(kfi_side_shares_input(&linears[1]->side, &linears[2]->side));
    kfi_workspace *w = new_workspace(NULL);
    float *x = random_floats(TOKENS * COLS, &rng);
    kfi_linear_forward_shared(w, linears, ys, 3, x, TOKENS);
    for (size_t i = 0; i < 3; i++) {
        kfi_linear_forward(w, linears[i], alone, x, TOKENS);
        assert_memory_equal(y[i], alone, sizeof alone);
        side_layer_free(&l[i]);
    }
    kfi_free(NULL, x, TOKENS * COLS * sizeof *x);
    kfi_workspace_free(w);
}

/* The definition: every kernel in plain C. */
static const kfi_kernels plain = {.matmul_int8 = kfi_matmul_int8_generic,
                                  .matmul_float = kfi_matmul_float_generic,
                                  .matmul_sparse = kfi_matmul_sparse_generic,
                                  .quantize = kfi_quantize_generic,
                                  .round_fp8 = kfi_round_fp8_generic,
                                  .add = kfi_add_generic};

static void threads_batches_and_kernels_do_not_show(void **state)
{
    (void)state;
    static float expected[TOKENS * ROWS];
    static float found[TOKENS * ROWS];
    static const size_t batches[] = {TOKENS, 1, 7, 16};
    kf_error err = {0};
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    float *x = random_floats(TOKENS * COLS, &rng);
    for (size_t i = 0; i < N_CASES; i++) {
        static side_layer l;
        side_layer_init(&l, side_cases[i].activation, side_cases[i].rank, side_cases[i].n_outliers,
                        &rng);
        if (side_cases[i].one_in > 0) {
            add_sparse(&l, side_cases[i].one_in, &rng);
        }
        for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
            kf_pool *pool = NULL;
            CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
            kfi_workspace *w = new_workspace(pool);
            if (n_threads == 1) {
                const kfi_kernels *in_use = w->kernels;
                w->kernels = &plain;
                kfi_linear_forward(w, &l.linear, expected, x, TOKENS);
                w->kernels = in_use;
            }
            for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
                for (size_t t = 0; t < TOKENS; t += batches[b]) {
                    const size_t n = TOKENS - t < batches[b] ? TOKENS - t : batches[b];
                    kfi_linear_forward(w, &l.linear, found + t * ROWS, x + t * COLS, n);
                }
                assert_memory_equal(found, expected, sizeof expected);
            }
            kfi_workspace_free(w);
            kf_pool_free(pool);
        }
        side_layer_free(&l);
    }
    kfi_free(NULL, x, TOKENS * COLS * sizeof *x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes_what_the_codes_of_both_sides_say),
        cmocka_unit_test(kept_layers_multiply_what_the_codes_stand_for),
        cmocka_unit_test(adds_low_rank_pairs_outliers_and_single_weights),
        cmocka_unit_test(shared_inputs_give_the_same_bits),
        cmocka_unit_test(threads_batches_and_kernels_do_not_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
