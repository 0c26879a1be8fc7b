/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "linalg/eigen.h"
#include "linalg/matrix.h"

/* A symmetric matrix with given eigenvalues: its vectors are random. */
static float *matrix_of(const double *values, size_t n, uint64_t seed)
{
    kfi_rng rng;
    float *q = calloc(n * n, sizeof *q);
    float *a = calloc(n * n, sizeof *a);
    double *scratch = calloc(n, sizeof *scratch);
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n * n; i++) {
        q[i] = kfi_rng_normal(&rng);
    }
    kfi_matrix_orthonormalize(q, n, n, scratch);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t k = 0; k < n; k++) {
                sum += values[k] * (double)q[k * n + i] * (double)q[k * n + j];
            }
            a[i * n + j] = (float)sum;
        }
    }
    free(q);
    free(scratch);
    return a;
}

static double *to_double(const float *a, size_t n)
{
    double *dst = calloc(n, sizeof *dst);
    for (size_t i = 0; i < n; i++) {
        dst[i] = (double)a[i];
    }
    return dst;
}

static void vectors_are_orthonormal_and_are_multiplied_by_their_values(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {2, 1}, {7, 7}, {40, 3}, {65, 65}, {150, 40}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t n = sizes[s][0];
        const size_t n_top = sizes[s][1];
        kf_error err = {0};
        double *values = calloc(n, sizeof *values);
        double *vectors = calloc(n_top * n, sizeof *vectors);
        for (size_t i = 0; i < n; i++) {
            values[i] = 10.0 / (double)(1 + i / 2); /* pairs of equal ones */
        }
        float *a = matrix_of(values, n, s);
        double *full = to_double(a, n * n);
        double *found = calloc(n_top, sizeof *found);
        CHECK_OK(kfi_eigen_top(found, vectors, full, n, n_top, NULL, &err), &err);
        for (size_t i = 0; i < n_top; i++) {
            assert_true(fabs(found[i] - values[i]) < 1e-5);
            assert_true(i == 0 || found[i] <= found[i - 1]);
            for (size_t j = 0; j <= i; j++) {
                double dot = 0.0;
                for (size_t c = 0; c < n; c++) {
                    dot += vectors[i * n + c] * vectors[j * n + c];
                }
                assert_true(fabs(dot - (i == j)) < 1e-10);
            }
            for (size_t r = 0; r < n; r++) {
                double sum = 0.0;
                for (size_t c = 0; c < n; c++) {
                    sum += (double)a[r * n + c] * vectors[i * n + c];
                }
                assert_true(fabs(sum - found[i] * vectors[i * n + r]) < 1e-5);
            }
        }
        free(values);
        free(vectors);
        free(a);
        free(full);
        free(found);
    }
}

static void a_matrix_that_is_not_finite_is_refused(void **state)
{
    (void)state;
    double a[4] = {1.0, 0.0, (double)NAN, 1.0};
    const float b[4] = {1.0f, 0.0f, 0.0f, INFINITY};
    double values[2];
    double vectors[4];
    float factor[4];
    size_t n = 7;
    kf_error err = {0};
    assert_int_equal(kfi_eigen_top(values, vectors, a, 2, 2, NULL, &err), KF_RANGE);
    assert_int_equal(kfi_matrix_semidefinite_factor(factor, &n, b, 2, NULL, &err), KF_RANGE);
    assert_int_equal(n, 0);
}

static void a_factor_has_the_rank_of_its_matrix(void **state)
{
    (void)state;
    static const size_t ranks[] = {0, 1, 17, 60};
    const size_t n = 60;
    for (size_t s = 0; s < sizeof ranks / sizeof ranks[0]; s++) {
        kf_error err = {0};
        kfi_rng rng;
        const size_t rank = ranks[s];
        float *x = calloc(n * (rank + 1), sizeof *x);
        float *a = calloc(n * n, sizeof *a);
        float *f = calloc(n * n, sizeof *f);
        size_t n_factor = 0;
        kfi_rng_init(&rng, s);
        for (size_t i = 0; i < n * rank; i++) {
            x[i] = (float)(int)kfi_rng_below(&rng, 7) - 3.0f; /* sums are exact */
        }
        for (size_t i = 0; i < n * n; i++) {
            for (size_t k = 0; k < rank; k++) {
                a[i] += x[i / n * rank + k] * x[i % n * rank + k];
            }
        }
        CHECK_OK(kfi_matrix_semidefinite_factor(f, &n_factor, a, n, NULL, &err), &err);
        assert_int_equal(n_factor, rank);
        for (size_t i = 0; i < n * n; i++) {
            double sum = 0.0;
            for (size_t k = 0; k < n_factor; k++) {
                sum += (double)f[i / n * n_factor + k] * (double)f[i % n * n_factor + k];
            }
            assert_true(fabs(sum - (double)a[i]) < 1e-4);
        }
        free(x);
        free(a);
        free(f);
    }
}

typedef struct dense {
    const float *a;
    size_t n;
    kf_pool *pool;
} dense;

static void apply_dense(void *ctx, float *dst, const float *src, size_t n_vectors)
{
    const dense *d = ctx;
    const kfi_gemm g = {.kind = KFI_GEMM_NN,
                        .m = n_vectors,
                        .n = d->n,
                        .k = d->n,
                        .a = src,
                        .ld_a = d->n,
                        .b = d->a,
                        .ld_b = d->n,
                        .c = dst,
                        .ld_c = d->n};
    kfi_matrix_multiply(d->pool, &g);
}

static kfi_subspace subspace_of(dense *d, size_t n_top)
{
    return (kfi_subspace){.apply = apply_dense,
                          .ctx = d,
                          .n = d->n,
                          .n_top = n_top,
                          .n_more = 16,
                          .tolerance = 1e-7,
                          .passes_max = 1000,
                          .pool = d->pool};
}

static void a_subspace_takes_what_the_whole_spectrum_says(void **state)
{
    (void)state;
    enum {
        N = 200,
        TOP = 12
    };
    for (size_t flat = 0; flat < 2; flat++) {
        double values[N];
        double exact = 0.0;
        for (size_t i = 0; i < N; i++) {
            values[i] = flat != 0 ? 2.0 - (double)i / N : pow(0.8, (double)i);
            exact += i < TOP ? values[i] : 0.0;
        }
        kf_error err = {0};
        float *a = matrix_of(values, N, 5);
        float *vectors = calloc(TOP * N, sizeof *vectors);
        double found[TOP];
        double sum = 0.0;
        size_t n_passes = 0;
        dense d = {a, N, NULL};
        const kfi_subspace subspace = subspace_of(&d, TOP);
        CHECK_OK(kfi_eigen_subspace(found, vectors, &n_passes, &subspace, &err), &err);
        for (size_t i = 0; i < TOP; i++) {
            sum += found[i];
        }
        assert_true(n_passes < 1000);
        assert_true(sum <= exact * (1.0 + 1e-6) && sum >= exact * (1.0 - 1e-4));
        free(a);
        free(vectors);
    }
}

static void threads_change_no_bit_of_a_subspace(void **state)
{
    (void)state;
    enum {
        N = 300,
        TOP = 8
    };
    double values[N];
    double found[2][TOP];
    float *vectors[2];
    for (size_t i = 0; i < N; i++) {
        values[i] = pow(0.97, (double)i);
    }
    float *a = matrix_of(values, N, 6);
    for (size_t t = 0; t < 2; t++) {
        kf_error err = {0};
        kf_pool *pool = NULL;
        size_t n_passes = 0;
        CHECK_OK(kf_pool_new(&pool, 1 + 2 * t, NULL, &err), &err);
        dense d = {a, N, pool};
        const kfi_subspace subspace = subspace_of(&d, TOP);
        vectors[t] = calloc(TOP * N, sizeof *vectors[t]);
        CHECK_OK(kfi_eigen_subspace(found[t], vectors[t], &n_passes, &subspace, &err), &err);
        kf_pool_free(pool);
    }
    assert_memory_equal(found[0], found[1], sizeof found[0]);
    assert_memory_equal(vectors[0], vectors[1], TOP * N * sizeof *vectors[0]);
    free(vectors[0]);
    free(vectors[1]);
    free(a);
}

static void values_past_the_rank_are_nothing(void **state)
{
    (void)state;
    enum {
        N = 30,
        TOP = 5
    };
    const double values[N] = {3.0, 2.0};
    kf_error err = {0};
    float *a = matrix_of(values, N, 7);
    float vectors[TOP * N];
    double found[TOP];
    size_t n_passes = 0;
    dense d = {a, N, NULL};
    kfi_subspace subspace = subspace_of(&d, TOP);
    subspace.n_more = 100; /* more than there are */
    CHECK_OK(kfi_eigen_subspace(found, vectors, &n_passes, &subspace, &err), &err);
    assert_true(fabs(found[0] - 3.0) < 1e-5 && fabs(found[1] - 2.0) < 1e-5);
    for (size_t i = 2; i < TOP; i++) {
        assert_true(fabs(found[i]) < 1e-5);
    }
    free(a);
}

static void a_dependent_row_becomes_zero(void **state)
{
    (void)state;
    float x[9] = {1.0f, 2.0f, 2.0f, 2.0f, 4.0f, 4.0f, 0.0f, 0.0f, 5.0f};
    double scratch[3];
    kfi_matrix_orthonormalize(x, 3, 3, scratch);
    assert_true(fabs((double)x[0] - 1.0 / 3.0) < 1e-6);
    for (size_t i = 3; i < 6; i++) {
        assert_true(x[i] == 0.0f); /* exact: scaled by 0 */
    }
    assert_true(fabs((double)(x[0] * x[6] + x[1] * x[7] + x[2] * x[8])) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_orthonormal_and_are_multiplied_by_their_values),
        cmocka_unit_test(a_matrix_that_is_not_finite_is_refused),
        cmocka_unit_test(a_factor_has_the_rank_of_its_matrix),
        cmocka_unit_test(a_subspace_takes_what_the_whole_spectrum_says),
        cmocka_unit_test(threads_change_no_bit_of_a_subspace),
        cmocka_unit_test(values_past_the_rank_are_nothing),
        cmocka_unit_test(a_dependent_row_becomes_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
