/* Maps of the inputs of linear layers, against layers without one that get inputs mapped in plain
 * C.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "fixtures.h"
#include "kernels/kernels_list.h"
#include "model/workspace.h"
#include "random_packed.h"

#define WIDTH  96u  /* 12 blocks of 8 */
#define WIDE   200u /* behind a map of columns */
#define ROWS   37u
#define TOKENS 21u
#define RANK   8u

static kfi_workspace *new_workspace(kf_pool *pool, const kf_allocator *alloc)
{
    kf_error err = {0};
    kfi_workspace *w = NULL;
    const kfi_config config = {.n_layers = 1,
                               .hidden = WIDTH,
                               .feed_forward = WIDTH,
                               .n_heads = 1,
                               .n_kv_heads = 1,
                               .head_dim = 16,
                               .vocabulary = ROWS};
    CHECK_OK(kfi_workspace_new(&w, &config, pool, TOKENS, alloc, &err), &err);
    return w;
}

/* ---- maps ---- */

typedef struct maps {
    int8_t signs[2][WIDTH];
    uint32_t columns[WIDE], second[WIDE];
    kfi_online none, rotated, rotated_too, gathered, joined;
} maps;

static void maps_init(maps *m, kfi_rng *rng)
{
    for (size_t i = 0; i < WIDTH; i++) {
        m->signs[0][i] = kfi_rng_below(rng, 2) == 0 ? 1 : -1;
        m->signs[1][i] = (int8_t)-m->signs[0][i];
    }
    for (size_t c = 0; c < WIDE; c++) {
        m->columns[c] = (uint32_t)kfi_rng_below(rng, WIDTH);
        m->second[c] = c % 3 == 0 ? (uint32_t)kfi_rng_below(rng, WIDTH) : KFI_NO_COLUMN;
    }
    m->none = (kfi_online){0};
    m->rotated = (kfi_online){WIDTH, WIDTH, m->signs[0], NULL, NULL};
    m->rotated_too = (kfi_online){WIDTH, WIDTH, m->signs[1], NULL, NULL};
    m->gathered = (kfi_online){WIDTH, WIDE, NULL, m->columns, NULL};
    m->joined = (kfi_online){WIDTH, WIDE, NULL, m->columns, m->second};
}

/* One token in plain C. */
static void map_by_hand(float *dst, const kfi_online *online, const float *x)
{
    if (online->signs != NULL) {
        kf_error err = {0};
        kfi_hadamard h;
        CHECK_OK(kfi_hadamard_init(&h, WIDTH, NULL, &err), &err);
        const kfi_rotation rotation = kfi_hadamard_forward(&h, online->signs);
        memcpy(dst, x, WIDTH * sizeof *x);
        kfi_rotate_generic(dst, &rotation);
        kfi_hadamard_deinit(&h);
        return;
    }
    for (size_t c = 0; c < online->n_outputs; c++) {
        const bool has_second = online->second != NULL && online->second[c] != KFI_NO_COLUMN;
        dst[c] = x[online->columns[c]] + (has_second ? x[online->second[c]] : 0.0f);
    }
}

static size_t width_behind(const kfi_online *online)
{
    return online->n_outputs == 0 ? WIDTH : online->n_outputs;
}

/* ---- layers ---- */

typedef struct layer {
    random_packed matrix, a, b;
    float *weights;
    kfi_linear linear;
} layer;

/* format NULL: kept. rank 0: without a pair. */
static void layer_init(layer *l, const char *format, const char *activation, size_t rank,
                       const kfi_online *online, kfi_rng *rng)
{
    kf_error err = {0};
    const size_t cols = width_behind(online);
    memset(l, 0, sizeof *l);
    l->linear = (kfi_linear){.rows = ROWS, .cols = cols, .online = *online};
    CHECK_OK(kf_activation_parse(&l->linear.activation, activation, &err), &err);
    if (format == NULL) {
        l->weights = random_floats(ROWS * cols, rng);
        l->linear.weights = l->weights;
        return;
    }
    l->matrix = random_packed_make(format, ROWS, cols, false, rng);
    l->linear.packed = l->matrix.packed;
    if (rank > 0) {
        l->a = random_packed_make("int8g32", rank, cols, false, rng);
        l->b = random_packed_make("int8row", ROWS, rank, false, rng);
        l->linear.side.low_rank_a = l->a.packed;
        l->linear.side.low_rank_b = l->b.packed;
    }
}

static void layer_free(layer *l)
{
    random_packed *const all[] = {&l->matrix, &l->a, &l->b};
    for (size_t i = 0; i < 3; i++) {
        if (all[i]->bytes != NULL) {
            random_packed_free(all[i]);
        }
    }
    kfi_free(NULL, l->weights, ROWS * l->linear.cols * sizeof(float));
}

static void reserve(kfi_workspace *w, const kfi_linear *linear)
{
    kf_error err = {0};
    CHECK_OK(kfi_workspace_reserve_online(w, &linear->online, &err), &err);
    CHECK_OK(kfi_workspace_reserve_side(w, kfi_side_width(&linear->side), &err), &err);
}

/* y by the same layer without a map. */
static void run_by_hand(kfi_workspace *w, const kfi_linear *linear, float *y, const float *x)
{
    static float mapped[TOKENS * WIDE];
    kfi_linear without = *linear;
    without.online = (kfi_online){0};
    for (size_t t = 0; t < TOKENS; t++) {
        if (kfi_online_is_set(&linear->online)) {
            map_by_hand(mapped + t * linear->cols, &linear->online, x + t * WIDTH);
        } else {
            memcpy(mapped + t * linear->cols, x + t * WIDTH, WIDTH * sizeof *x);
        }
    }
    kfi_linear_forward(w, &without, y, mapped, TOKENS);
}

static void layers_see_their_input_through_the_map(void **state)
{
    (void)state;
    static const struct {
        const char *format, *activation;
        size_t rank;
    } cases[] = {{"int4g64", "int8tg64", 0}, {"int3g32a", "int4t", RANK}, {"int4g64", "float", 0},
                 {"int4g64", "float", RANK}, {"nf4g64", "fp8tg64", 0},    {NULL, "float", 0},
                 {NULL, "int4tg64a", 0}};
    static float expected[TOKENS * ROWS], found[TOKENS * ROWS];
    kfi_rng rng;
    maps m;
    kfi_rng_init(&rng, 41);
    maps_init(&m, &rng);
    const kfi_online *const all[] = {&m.rotated, &m.gathered, &m.joined, &m.rotated_too};
    float *x = random_floats(TOKENS * WIDTH, &rng);
    for (size_t n_threads = 1; n_threads <= 3; n_threads += 2) {
        kf_error err = {0};
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
        kfi_workspace *w = new_workspace(pool, NULL);
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
                layer l;
                layer_init(&l, cases[c].format, cases[c].activation, cases[c].rank, all[i], &rng);
                reserve(w, &l.linear);
                run_by_hand(w, &l.linear, expected, x);
                kfi_linear_forward(w, &l.linear, found, x, TOKENS);
                assert_memory_equal(found, expected, sizeof found);
                for (size_t t = 0; t < TOKENS; t++) { /* token by token */
                    kfi_linear_forward(w, &l.linear, found + t * ROWS, x + t * WIDTH, 1);
                }
                assert_memory_equal(found, expected, sizeof found);
                layer_free(&l);
            }
        }
        kfi_workspace_free(w);
        kf_pool_free(pool);
    }
    kfi_free(NULL, x, TOKENS * WIDTH * sizeof *x);
}

/* Equal maps stand in different places, as in a file. */
static void layers_share_an_input_only_behind_the_same_map(void **state)
{
    (void)state;
    static float expected[TOKENS * ROWS];
    static float found[6][TOKENS * ROWS];
    kfi_rng rng;
    maps m;
    maps copy;
    kfi_rng_init(&rng, 42);
    maps_init(&m, &rng);
    copy = m;
    const kfi_online again = {WIDTH, WIDTH, copy.signs[0], NULL, NULL};
    assert_true(kfi_online_is_same(&m.rotated, &again));
    assert_false(kfi_online_is_same(&m.rotated, &m.rotated_too));
    assert_false(kfi_online_is_same(&m.rotated, &m.none));
    assert_false(kfi_online_is_same(&m.gathered, &m.joined));
    const kfi_online *const maps_of[] = {&m.rotated,     &again,    &m.none,
                                         &m.rotated_too, &m.joined, &m.rotated_too};
    static const char *const formats[] = {"int4g64", "int4g64", "int4g64", NULL, NULL, NULL};
    float *x = random_floats(TOKENS * WIDTH, &rng);
    layer l[6];
    const kfi_linear *linears[6];
    float *ys[6];
    kfi_workspace *w = new_workspace(NULL, NULL);
    for (size_t i = 0; i < 6; i++) {
        layer_init(&l[i], formats[i], "int8tg64", 0, maps_of[i], &rng);
        reserve(w, &l[i].linear);
        linears[i] = &l[i].linear;
        ys[i] = found[i];
    }
    kfi_linear_forward_shared(w, linears, ys, 6, x, TOKENS);
    for (size_t i = 0; i < 6; i++) {
        run_by_hand(w, &l[i].linear, expected, x);
        assert_memory_equal(found[i], expected, sizeof expected);
        layer_free(&l[i]);
    }
    kfi_workspace_free(w);
    kfi_free(NULL, x, TOKENS * WIDTH * sizeof *x);
}

/* W x = (W S H^T) (H S x), for float weights: a sum of 96 products errs by 1e-5 of their size. */
static void a_matrix_with_rotated_rows_takes_a_rotated_input(void **state)
{
    (void)state;
    kf_error err = {0};
    static float y[2][TOKENS * ROWS];
    kfi_rng rng;
    maps m;
    kfi_hadamard h;
    layer l;
    kfi_rng_init(&rng, 43);
    maps_init(&m, &rng);
    layer_init(&l, NULL, "float", 0, &m.none, &rng);
    kfi_workspace *w = new_workspace(NULL, NULL);
    float *x = random_floats(TOKENS * WIDTH, &rng);
    kfi_linear_forward(w, &l.linear, y[0], x, TOKENS);
    l.linear.online = m.rotated;
    reserve(w, &l.linear);
    CHECK_OK(kfi_hadamard_init(&h, WIDTH, NULL, &err), &err);
    const kfi_rotation rotation = kfi_hadamard_forward(&h, m.rotated.signs);
    kfi_hadamard_rows(NULL, &rotation, l.weights, ROWS);
    kfi_linear_forward(w, &l.linear, y[1], x, TOKENS);
    for (size_t i = 0; i < TOKENS * ROWS; i++) {
        assert_true(fabsf(y[0][i] - y[1][i]) < 1e-5f * WIDTH);
    }
    kfi_hadamard_deinit(&h);
    layer_free(&l);
    kfi_workspace_free(w);
    kfi_free(NULL, x, TOKENS * WIDTH * sizeof *x);
}

static void the_residual_stream_comes_back(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_rng rng;
    maps m;
    kfi_rng_init(&rng, 44);
    maps_init(&m, &rng);
    kfi_workspace *w = new_workspace(NULL, NULL);
    CHECK_OK(kfi_workspace_reserve_rotation(w, WIDTH, &err), &err);
    float *x = random_floats(TOKENS * WIDTH, &rng);
    float *y = random_floats(TOKENS * WIDTH, &rng);
    float expected[WIDTH];
    memcpy(y, x, TOKENS * WIDTH * sizeof *x);
    kfi_residual_rotate(w, NULL, y, TOKENS);
    kfi_residual_restore(w, NULL, y, TOKENS);
    assert_memory_equal(x, y, TOKENS * WIDTH * sizeof *x); /* no signs: not rotated */
    kfi_residual_rotate(w, m.signs[0], y, TOKENS);
    map_by_hand(expected, &m.rotated, x + (TOKENS - 1) * WIDTH);
    assert_memory_equal(y + (TOKENS - 1) * WIDTH, expected, sizeof expected);
    kfi_residual_restore(w, m.signs[0], y, TOKENS);
    for (size_t i = 0; i < TOKENS * WIDTH; i++) {
        assert_true(fabsf(x[i] - y[i]) < 1e-5f);
    }
    kfi_free(NULL, x, TOKENS * WIDTH * sizeof *x);
    kfi_free(NULL, y, TOKENS * WIDTH * sizeof *y);
    kfi_workspace_free(w);
}

/* Each allocation of reserving a wide map and a rotation fails in turn, and what there was is left:
 * layers without a map run on. */
static void a_failing_allocator_leaves_the_workspace_as_it_was(void **state)
{
    (void)state;
    static float expected[TOKENS * ROWS], found[TOKENS * ROWS];
    kfi_rng rng;
    maps m;
    layer l;
    kfi_rng_init(&rng, 45);
    maps_init(&m, &rng);
    layer_init(&l, "int4g64", "int8tg64", 0, &m.none, &rng);
    float *x = random_floats(TOKENS * WIDTH, &rng);
    kf_status st = KF_NOMEM;
    size_t n_failed = 0;
    for (; st != KF_OK; n_failed++) {
        kf_error err = {0};
        fixture_allocator a;
        fixture_allocator_init(&a, 4 + n_failed); /* the first three are the workspace's */
        kfi_workspace *w = new_workspace(NULL, &a.allocator);
        kfi_linear_forward(w, &l.linear, expected, x, TOKENS);
        st = kfi_workspace_reserve_online(w, &m.joined, &err);
        st = st == KF_OK ? kfi_workspace_reserve_online(w, &m.rotated, &err) : st;
        assert_true(st == KF_OK || st == KF_NOMEM);
        kfi_linear_forward(w, &l.linear, found, x, TOKENS);
        assert_memory_equal(found, expected, sizeof found);
        kfi_workspace_free(w);
        assert_true(fixture_allocator_is_clean(&a));
    }
    assert_true(n_failed == 3); /* inputs and the matrix failed, then nothing */
    layer_free(&l);
    kfi_free(NULL, x, TOKENS * WIDTH * sizeof *x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_see_their_input_through_the_map),
        cmocka_unit_test(layers_share_an_input_only_behind_the_same_map),
        cmocka_unit_test(a_matrix_with_rotated_rows_takes_a_rotated_input),
        cmocka_unit_test(the_residual_stream_comes_back),
        cmocka_unit_test(a_failing_allocator_leaves_the_workspace_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
