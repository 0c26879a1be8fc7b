/* Products with single weights in use (KERF_ISA) against plain C, bit for bit, and against double.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "base/half.h"
#include "base/rng.h"
#include "kernels/kernels_list.h"
#include "random_packed.h"

/* Rows with any number of weights, the first with every column. */
typedef struct sparse_case {
    kfi_sparse w;
    uint32_t *starts;
    uint16_t *columns, *values;
    size_t n_most, n_tokens, n_x, n_y;
    float *plain; /* [n_tokens][cols] */
    float *x;     /* the same as the kernel takes it; NaN where there is no token */
    float *before, *expected, *found;
} sparse_case;

static void fill_rows(sparse_case *c, unsigned one_in, kfi_rng *rng)
{
    size_t n = 0;
    c->starts[0] = 0;
    for (size_t r = 0; r < c->w.rows; r++) {
        for (size_t k = 0; k < c->w.cols; k++) {
            if (r == 0 || kfi_rng_below(rng, one_in) == 0) {
                c->columns[n] = (uint16_t)k;
                c->values[n++] = kfi_half_from_float(kfi_rng_normal(rng));
            }
        }
        c->starts[r + 1] = (uint32_t)n;
    }
}

static sparse_case case_make(size_t rows, size_t cols, size_t n_tokens, unsigned one_in,
                             kfi_rng *rng)
{
    sparse_case c = {.n_most = rows * cols, .n_tokens = n_tokens, .n_y = n_tokens * (rows + 3)};
    c.starts = kfi_alloc(NULL, (rows + 1) * sizeof *c.starts);
    c.columns = kfi_alloc(NULL, c.n_most * sizeof *c.columns);
    c.values = kfi_alloc(NULL, c.n_most * sizeof *c.values);
    c.w = (kfi_sparse){rows, cols, c.starts, c.columns, c.values};
    fill_rows(&c, one_in, rng);
    c.n_x = n_tokens == 1 ? cols : (n_tokens + 15) / 16 * 16 * cols;
    c.plain = random_floats(n_tokens * cols, rng);
    c.x = kfi_alloc(NULL, c.n_x * sizeof *c.x);
    for (size_t i = 0; i < c.n_x; i++) {
        c.x[i] = NAN;
    }
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t k = 0; k < cols; k++) {
            const size_t i = n_tokens == 1 ? k : t / 16 * 16 * cols + k * 16 + t % 16;
            c.x[i] = c.plain[t * cols + k];
        }
    }
    c.before = random_floats(c.n_y, rng);
    c.expected = kfi_alloc(NULL, c.n_y * sizeof(float));
    c.found = kfi_alloc(NULL, c.n_y * sizeof(float));
    memcpy(c.expected, c.before, c.n_y * sizeof(float));
    memcpy(c.found, c.before, c.n_y * sizeof(float));
    return c;
}

static void case_free(sparse_case *c)
{
    kfi_free(NULL, c->starts, (c->w.rows + 1) * sizeof *c->starts);
    kfi_free(NULL, c->columns, c->n_most * sizeof *c->columns);
    kfi_free(NULL, c->values, c->n_most * sizeof *c->values);
    kfi_free(NULL, c->plain, c->n_tokens * c->w.cols * sizeof(float));
    kfi_free(NULL, c->x, c->n_x * sizeof(float));
    kfi_free(NULL, c->before, c->n_y * sizeof(float));
    kfi_free(NULL, c->expected, c->n_y * sizeof(float));
    kfi_free(NULL, c->found, c->n_y * sizeof(float));
}

/* One element in double: a fused step and the addition to y round once each. */
static void check_element(const sparse_case *c, size_t t, size_t r)
{
    const size_t i_y = t * (c->w.rows + 3) + r;
    double exact = (double)c->before[i_y];
    double absolute = fabs(exact);
    const size_t n = c->starts[r + 1] - c->starts[r];
    for (size_t i = c->starts[r]; i < c->starts[r + 1]; i++) {
        const double term = (double)kfi_half_to_float(c->values[i]) *
                            (double)c->plain[t * c->w.cols + c->columns[i]];
        exact += term;
        absolute += fabs(term);
    }
    if (!(fabs((double)c->found[i_y] - exact) <= ((double)n + 1.0) * 0x1p-24 * absolute)) {
        fail_msg("%zu x %zu, token %zu, row %zu: %g, expected %g", c->w.rows, c->w.cols, t, r,
                 (double)c->found[i_y], exact);
    }
}

static void check_case(size_t rows, size_t cols, size_t n_tokens, unsigned one_in, kfi_rng *rng)
{
    sparse_case c = case_make(rows, cols, n_tokens, one_in, rng);
    const kfi_token_panels x = {n_tokens, cols, c.x};
    kfi_matmul_sparse_generic(c.expected, rows + 3, &c.w, 0, rows, &x);
    /* Cut where panels would be, which must not show. */
    for (size_t r = 0; r < rows; r += 32) {
        kfi_kernels_get()->matmul_sparse(c.found, rows + 3, &c.w, r, r + 32 < rows ? r + 32 : rows,
                                         &x);
    }
    assert_memory_equal(c.found, c.expected, c.n_y * sizeof(float)); /* and nothing between rows */
    for (size_t t = 0; t < n_tokens; t += 5) {
        for (size_t r = 0; r < rows; r++) {
            check_element(&c, t, r);
        }
    }
    case_free(&c);
}

static void multiplies_as_plain_c_does(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 15, 16, 17, 40, 100};
    static const size_t cols[] = {1, 31, 64, 65, 300};
    static const size_t tokens[] = {1, 2, 16, 17, 35};
    kfi_rng rng;
    kfi_rng_init(&rng, 31);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t k = 0; k < sizeof cols / sizeof cols[0]; k++) {
            for (size_t t = 0; t < sizeof tokens / sizeof tokens[0]; t++) {
                check_case(rows[i], cols[k], tokens[t], t % 2 == 0 ? 4 : 150, &rng);
            }
        }
    }
}

/* A token's result is the same alone and in a batch. */
static void a_batch_does_not_show(void **state)
{
    (void)state;
    enum {
        rows = 50,
        cols = 90,
        n_tokens = 21
    };
    float alone[rows];
    kfi_rng rng;
    kfi_rng_init(&rng, 32);
    sparse_case c = case_make(rows, cols, n_tokens, 6, &rng);
    const kfi_token_panels x = {n_tokens, cols, c.x};
    kfi_kernels_get()->matmul_sparse(c.found, rows + 3, &c.w, 0, rows, &x);
    for (size_t t = 0; t < n_tokens; t++) {
        const kfi_token_panels one = {1, cols, c.plain + t * cols};
        memcpy(alone, c.before + t * (rows + 3), sizeof alone);
        kfi_kernels_get()->matmul_sparse(alone, rows, &c.w, 0, rows, &one);
        assert_memory_equal(alone, c.found + t * (rows + 3), sizeof alone);
    }
    case_free(&c);
}

/* The last of the columns that 16 bits reach. */
static void reaches_the_widest_matrix(void **state)
{
    (void)state;
    static float x[KFI_SPARSE_COLS_MOST];
    static const uint32_t starts[] = {0, 2};
    static const uint16_t columns[] = {0, 65535};
    static const uint16_t values[] = {0x3C00, 0x4000}; /* 1, 2 */
    const kfi_sparse w = {1, KFI_SPARSE_COLS_MOST, starts, columns, values};
    const kfi_token_panels one = {1, KFI_SPARSE_COLS_MOST, x};
    float y = 1.0f;
    x[0] = 8.0f;
    x[65535] = 16.0f;
    kfi_kernels_get()->matmul_sparse(&y, 1, &w, 0, 1, &one);
    assert_true(y == 41.0f); /* exact: small integers */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiplies_as_plain_c_does),
        cmocka_unit_test(a_batch_does_not_show),
        cmocka_unit_test(reaches_the_widest_matrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
