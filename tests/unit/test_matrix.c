/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "linalg/matrix.h"

static float *random_matrix(size_t n, uint64_t seed)
{
    float *x = kfi_alloc(NULL, n * sizeof(float));
    assert_non_null(x);
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        x[i] = kfi_rng_normal(&rng);
    }
    return x;
}

/* Element (i, j) in double, with the bound of a float sum of k products in any order. */
static void check_element(float found, const float *x, size_t step_x, const float *w, size_t step_w,
                          size_t k)
{
    double sum = 0;
    double magnitude = 0;
    for (size_t p = 0; p < k; p++) {
        const double term = (double)x[p * step_x] * (double)w[p * step_w];
        sum += term;
        magnitude += fabs(term);
    }
    const double bound = ((double)k + 1) * 0x1p-24 * magnitude + 1e-30;
    if (fabs((double)found - sum) > bound) {
        fail_msg("found %.9g, expected %.9g within %.3g", (double)found, sum, bound);
    }
}

/* Strides are larger than the rows; what lies between must stay as it is. */
static void check_product(kfi_gemm_kind kind, size_t m, size_t n, size_t k)
{
    const bool a_transposed = kind == KFI_GEMM_TN;
    const bool b_transposed = kind == KFI_GEMM_NT;
    const size_t ld_a = (a_transposed ? m : k) + 3;
    const size_t ld_b = (b_transposed ? k : n) + 5;
    const size_t ld_c = n + 7;
    float *a = random_matrix((a_transposed ? k : m) * ld_a, 1);
    float *b = random_matrix((b_transposed ? n : k) * ld_b, 2);
    float *c = kfi_calloc(NULL, m * ld_c, sizeof(float));
    float *again = kfi_calloc(NULL, m * ld_c, sizeof(float));
    assert_non_null(c);
    assert_non_null(again);
    kfi_gemm g = {.kind = kind,
                  .m = m,
                  .n = n,
                  .k = k,
                  .a = a,
                  .ld_a = ld_a,
                  .b = b,
                  .ld_b = ld_b,
                  .c = c,
                  .ld_c = ld_c};
    kfi_matrix_multiply(NULL, &g);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            check_element(c[i * ld_c + j], a_transposed ? a + i : a + i * ld_a,
                          a_transposed ? ld_a : 1, b_transposed ? b + j * ld_b : b + j,
                          b_transposed ? 1 : ld_b, k);
        }
        for (size_t j = n; j < ld_c; j++) {
            assert_true(c[i * ld_c + j] == 0.0f);
        }
    }
    g.c = again;
    for (size_t n_threads = 2; n_threads <= 3; n_threads++) {
        kf_error err = {0};
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
        kfi_matrix_multiply(pool, &g);
        assert_memory_equal(c, again, m * ld_c * sizeof(float));
        kf_pool_free(pool);
    }
    kfi_free(NULL, a, 0);
    kfi_free(NULL, b, 0);
    kfi_free(NULL, c, 0);
    kfi_free(NULL, again, 0);
}

static const size_t shapes[][3] = {
    {1, 1, 1},    {1, 96, 64},   {1, 1000, 33}, {2, 63, 65},
    {17, 97, 40}, {513, 70, 20}, {3, 4200, 9},  {1030, 130, 3},
};

static void multiplies_alike_for_any_thread_count(void **state)
{
    (void)state;
    static const kfi_gemm_kind kinds[] = {KFI_GEMM_NN, KFI_GEMM_NT, KFI_GEMM_TN};
    for (size_t i = 0; i < 3 * sizeof shapes / sizeof shapes[0]; i++) {
        const size_t *shape = shapes[i / 3];
        check_product(kinds[i % 3], shape[0], shape[1], shape[2]);
    }
}

static void a_gram_matrix_is_symmetric_and_adds_up(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 50}, {600, 200}, {1100, 391}};
    for (size_t i_size = 0; i_size < 4; i_size++) {
        const size_t m = sizes[i_size][0];
        const size_t n = sizes[i_size][1];
        const size_t ld = n + 2;
        float *x = random_matrix(m * ld, 6);
        float *gram = kfi_calloc(NULL, n * n, sizeof(float));
        float *again = kfi_calloc(NULL, n * n, sizeof(float));
        assert_non_null(gram);
        assert_non_null(again);
        kfi_matrix_gram_add(NULL, gram, x, ld, m, n);
        kfi_matrix_mirror(NULL, gram, n);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j <= i; j++) {
                check_element(gram[i * n + j], x + i, ld, x + j, ld, m);
                assert_true(gram[i * n + j] == gram[j * n + i]);
            }
        }
        kf_error err = {0};
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
        kfi_matrix_gram_add(pool, again, x, ld, m, n);
        kfi_matrix_mirror(pool, again, n);
        assert_memory_equal(gram, again, n * n * sizeof(float));
        kfi_matrix_gram_add(pool, again, x, ld, m, n);
        kfi_matrix_mirror(pool, again, n);
        for (size_t i = 0; i < n * n; i++) {
            assert_true(fabsf(again[i] - 2 * gram[i]) <= 1e-4f * (1.0f + (float)m));
        }
        kf_pool_free(pool);
        kfi_free(NULL, x, 0);
        kfi_free(NULL, gram, 0);
        kfi_free(NULL, again, 0);
    }
}

/* A well-conditioned random matrix, X^T X + n I. */
static double *random_positive(size_t n)
{
    float *x = random_matrix(n * n, 8);
    double *a = kfi_calloc(NULL, n * n, sizeof(double));
    assert_non_null(a);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            for (size_t p = 0; p < n; p++) {
                a[i * n + j] += (double)x[p * n + i] * (double)x[p * n + j];
            }
        }
        a[i * n + i] += (double)n;
    }
    kfi_free(NULL, x, 0);
    return a;
}

/* The inverse by Gauss-Jordan: nothing in common with a Cholesky factor. */
static double *direct_inverse(const double *a, size_t n)
{
    double *work = kfi_calloc(NULL, n * n, sizeof(double));
    double *inverse = kfi_calloc(NULL, n * n, sizeof(double));
    assert_non_null(work);
    assert_non_null(inverse);
    memcpy(work, a, n * n * sizeof(double));
    for (size_t i = 0; i < n; i++) {
        inverse[i * n + i] = 1;
    }
    for (size_t p = 0; p < n; p++) {
        const double pivot = work[p * n + p];
        for (size_t j = 0; j < n; j++) {
            work[p * n + j] /= pivot;
            inverse[p * n + j] /= pivot;
        }
        for (size_t i = 0; i < n; i++) {
            const double f = work[i * n + p];
            for (size_t j = 0; j < n && i != p; j++) {
                work[i * n + j] -= f * work[p * n + j];
                inverse[i * n + j] -= f * inverse[p * n + j];
            }
        }
    }
    kfi_free(NULL, work, 0);
    return inverse;
}

/* U is upper with a positive diagonal, and U^T U is the expected matrix. */
static void check_factor(const double *u, const double *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_true(u[i * n + i] > 0);
        for (size_t j = 0; j < n; j++) {
            assert_true(j >= i || u[i * n + j] == 0);
            double sum = 0;
            for (size_t p = 0; p <= i && p <= j; p++) {
                sum += u[p * n + i] * u[p * n + j];
            }
            const double scale = sqrt(expected[i * n + i] * expected[j * n + j]);
            assert_true(fabs(sum - expected[i * n + j]) <= 1e-12 * scale * (double)n);
        }
    }
}

/* The upper triangle of the matrix is not read. */
static void the_reverse_factor_is_that_of_the_direct_inverse(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 33, 150};
    for (size_t k = 0; k < 4; k++) {
        kf_error err = {0};
        const size_t n = sizes[k];
        double *a = random_positive(n);
        double *inverse = direct_inverse(a, n);
        for (size_t i = 0; i < n * n; i++) {
            a[i] = i % n > i / n ? (double)NAN : a[i];
        }
        double *u = kfi_calloc(NULL, n * n, sizeof(double));
        assert_non_null(u);
        CHECK_OK(kfi_matrix_inverse_cholesky_upper(u, a, n, &err), &err);
        check_factor(u, inverse, n);
        CHECK_OK(kfi_matrix_inverse_cholesky_upper(a, a, n, &err), &err);
        assert_memory_equal(a, u, n * n * sizeof(double));
        kfi_free(NULL, a, 0);
        kfi_free(NULL, u, 0);
        kfi_free(NULL, inverse, 0);
    }
}

static void names_the_row_where_a_matrix_is_not_positive_definite(void **state)
{
    (void)state;
    static const double bad[] = {-1.0, 0.0, (double)NAN};
    for (size_t k = 0; k < 3; k++) {
        kf_error err = {0};
        double u[9];
        const double a[9] = {2, 0, 0, 0, bad[k], 0, 0, 0, 3};
        assert_int_equal(kfi_matrix_inverse_cholesky_upper(u, a, 3, &err), KF_RANGE);
        assert_int_equal(err.offset, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiplies_alike_for_any_thread_count),
        cmocka_unit_test(a_gram_matrix_is_symmetric_and_adds_up),
        cmocka_unit_test(the_reverse_factor_is_that_of_the_direct_inverse),
        cmocka_unit_test(names_the_row_where_a_matrix_is_not_positive_definite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
