/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

#include "fixtures.h"
#include "linalg/matrix.h"
#include "repair_fixture.h"

static double output_error_by(repaired *r, const char *name, size_t rank)
{
    kf_error err = {0};
    CHECK_OK(repaired_by(r, name, rank, NULL, &err), &err);
    return repaired_error(r);
}

static const size_t shapes[][2] = {{48, 96}, {96, 48}, {64, 64}, {37, 131}, {150, 33}};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

static void what_is_left_is_the_tail_of_the_spectrum(void **state)
{
    (void)state;
    static const size_t ranks[] = {1, 5, 20};
    for (size_t s = 0; s < N_SHAPES * 3; s++) {
        repaired r = {0};
        repaired_init(&r, shapes[s / 3][0], shapes[s / 3][1], "int3g32", 600, s);
        const double before = rounded_error(&r);
        double tail = before;
        const double after = output_error_by(&r, "qera-exact", ranks[s % 3]);
        for (size_t k = 0; k < r.job.rank; k++) {
            tail -= r.job.energy[k];
            assert_true(k == 0 || r.job.energy[k] <= r.job.energy[k - 1]);
        }
        /* The tail is a difference of sums whose parts were multiplied in float. */
        assert_true(fabs(after - tail) <= fmax(1e-5 * tail, 2e-7 * before));
        repaired_deinit(&r);
    }
}

/* Both sides above what is decomposed whole. What a subspace captures is the error's fall in any
 * case, since it projects; that it is the best one, to its tolerance, is held against the spectrum
 * of LAPACK. */
static void a_large_layer_is_left_with_the_tail_too(void **state)
{
    (void)state;
    enum {
        ROWS = 1030,
        COLS = 1040,
        RANK = 6
    };
    repaired r = {0};
    repaired_init(&r, ROWS, COLS, "int3g64", 1500, 77);
    kf_error err = {0};
    CHECK_OK(repaired_by(&r, "qera-exact", RANK, NULL, &err), &err);
    kfi_low_rank problem = kfi_repair_problem(&r.job);
    problem.gram = r.layer.statistics.gram;
    CHECK_OK(kfi_low_rank_solve(&problem, &err), &err);

    float *x = calloc((size_t)ROWS * COLS, sizeof *x);
    kfi_gemm g = {.kind = KFI_GEMM_NN, .m = ROWS, .n = COLS, .k = COLS, .a = r.job.error};
    g.ld_a = g.ld_b = g.ld_c = COLS;
    g.b = problem.gram;
    g.c = x;
    kfi_matrix_multiply(NULL, &g);
    double *full = calloc((size_t)ROWS * ROWS, sizeof *full);
    double *values = calloc(ROWS, sizeof *values);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = 0; j <= i; j++) {
            for (size_t c = 0; c < COLS; c++) {
                full[i * ROWS + j] += (double)x[i * COLS + c] * (double)r.job.error[j * COLS + c];
            }
        }
    }
    assert_int_equal(LAPACKE_dsyev(LAPACK_COL_MAJOR, 'N', 'U', ROWS, full, ROWS, values), 0);
    double best = 0.0;
    double found = 0.0;
    for (size_t k = 0; k < RANK; k++) {
        best += values[ROWS - 1 - k];
        found += problem.energy[k];
    }
    assert_true(found <= best * (1.0 + 1e-5) && found >= best * (1.0 - 1e-4));
    double *p = repaired_rest(&r);
    double after = 0.0;
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        x[i] = (float)p[i];
    }
    kfi_round_error measured = {0};
    CHECK_OK(kfi_round_measure_matrix(&measured, &r.round, x, &err), &err);
    after = measured.output * r.round.output;
    assert_true(fabs(after - (problem.total - found)) <= 1e-5 * after);
    free(p);
    free(x);
    free(full);
    free(values);
    repaired_deinit(&r);
}

/* C = (R^-1/2 SVD_k(R^1/2 E^T))^T, as the paper has it. */
static double *root_form(const repaired *r)
{
    const lapack_int rows = (lapack_int)r->layer.rows;
    const lapack_int cols = (lapack_int)r->layer.cols;
    const size_t n = r->layer.cols;
    const size_t m = r->layer.rows;
    double *q = calloc(n * n, sizeof *q);
    double *values = calloc(n, sizeof *values);
    double *root = calloc(n * n, sizeof *root);
    double *inverse = calloc(n * n, sizeof *inverse);
    for (size_t i = 0; i < n * n; i++) {
        q[i] = (double)r->layer.statistics.gram[i];
    }
    assert_int_equal(LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', cols, q, cols, values), 0);
    for (size_t i = 0; i < n * n; i++) {
        for (size_t k = 0; k < n; k++) {
            const double both = q[i / n * n + k] * q[i % n * n + k];
            root[i] += both * sqrt(values[k]);
            inverse[i] += both / sqrt(values[k]);
        }
    }
    double *scaled = calloc(n * m, sizeof *scaled); /* R^1/2 E^T [cols][rows] */
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < m; j++) {
            for (size_t k = 0; k < n; k++) {
                scaled[i * m + j] += root[i * n + k] * (double)r->job.error[j * n + k];
            }
        }
    }
    const size_t least = n < m ? n : m;
    double *u = calloc(n * least, sizeof *u);
    double *vt = calloc(least * m, sizeof *vt);
    double *s = calloc(least, sizeof *s);
    double *rest = calloc(least, sizeof *rest);
    assert_int_equal(LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'S', 'S', cols, rows, scaled, rows, s, u,
                                    (lapack_int)least, vt, rows, rest),
                     0);
    double *c = calloc(m * n, sizeof *c);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < r->job.rank; k++) {
            double left = 0.0; /* R^-1/2 U */
            for (size_t j = 0; j < n; j++) {
                left += inverse[i * n + j] * u[j * least + k];
            }
            for (size_t j = 0; j < m; j++) {
                c[j * n + i] += left * s[k] * vt[k * m + j];
            }
        }
    }
    free(q);
    free(values);
    free(root);
    free(inverse);
    free(scaled);
    free(u);
    free(vt);
    free(s);
    free(rest);
    return c;
}

static void the_pair_is_that_of_the_matrix_root(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        kf_error err = {0};
        repaired r = {0};
        repaired_init(&r, shapes[s][0], shapes[s][1], "int3g32", 2000, 30 + s);
        CHECK_OK(repaired_by(&r, "qera-exact", 7, NULL, &err), &err);
        double *c = root_form(&r);
        double *p = repaired_rest(&r);
        double difference = 0.0;
        double size = 0.0;
        for (size_t i = 0; i < r.layer.rows * r.layer.cols; i++) {
            const double own = (double)r.job.error[i] - p[i];
            difference += (own - c[i]) * (own - c[i]);
            size += c[i] * c[i];
        }
        assert_true(sqrt(difference) <= 1e-3 * sqrt(size)); /* vectors of close values mix */
        free(p);
        p = calloc(r.layer.rows * r.layer.cols, sizeof *p);
        for (size_t i = 0; i < r.layer.rows * r.layer.cols; i++) {
            p[i] = (double)r.job.error[i] - c[i];
        }
        const double theirs = repaired_error_of(p, &r);
        assert_true(fabs(repaired_error(&r) - theirs) <= 1e-5 * theirs);
        free(p);
        free(c);
        repaired_deinit(&r);
    }
}

static void exact_is_best_and_every_error_falls_with_the_rank(void **state)
{
    (void)state;
    static const char *const names[] = {"qera-exact", "qera-approx", "lqer", "lorc"};
    for (size_t s = 0; s < N_SHAPES; s++) {
        repaired r = {0};
        repaired_init(&r, shapes[s][0], shapes[s][1], s % 2 == 0 ? "mxint3g32" : "int2g64a", 600,
                      60 + s);
        double last = rounded_error(&r);
        for (size_t rank = 1; rank <= 16; rank *= 2) {
            const double best = output_error_by(&r, names[0], rank);
            assert_true(best < last);
            last = best;
            for (size_t i = 1; i < 4; i++) {
                assert_true(best < output_error_by(&r, names[i], rank));
            }
        }
        repaired_deinit(&r);
    }
}

/* What lorc minimises is the error of the weights: nothing of that rank is nearer. */
static void lorc_is_best_for_the_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"lorc", "lqer", "qera-approx", "qera-exact"};
    repaired r = {0};
    repaired_init(&r, 48, 80, "int3g32", 600, 90);
    double errors[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        kf_error err = {0};
        CHECK_OK(repaired_by(&r, names[i], 6, NULL, &err), &err);
        double *p = repaired_rest(&r);
        for (size_t j = 0; j < 48 * 80; j++) {
            errors[i] += p[j] * p[j];
        }
        free(p);
        assert_true(i == 0 || errors[0] < errors[i]);
    }
    repaired_deinit(&r);
}

/* Fewer tokens than inputs, an input that is always 0, and no inputs at all. */
static void singular_inputs_need_no_care(void **state)
{
    (void)state;
    static const char *const names[] = {"qera-exact", "qera-approx", "lqer"};
    for (size_t s = 0; s < N_SHAPES * 3; s++) {
        repaired r = {0};
        const size_t cols = shapes[s / 3][1];
        const size_t n_tokens = s % 3 == 2 ? 0 : 20;
        repaired_init(&r, shapes[s / 3][0], cols, "int3g32", n_tokens, 120 + s);
        for (size_t c = 0; c < cols && s % 3 == 1; c++) {
            r.layer.statistics.gram[3 * cols + c] = r.layer.statistics.gram[c * cols + 3] = 0.0f;
        }
        const double before = rounded_error(&r);
        for (size_t i = 0; i < 3; i++) {
            const double after = output_error_by(&r, names[i], 10);
            assert_true(isfinite(after) && after <= before);
            assert_true(n_tokens == 0 || i > 0 || after < 0.7 * before);
            kfi_low_rank pair = kfi_repair_problem(&r.job);
            kfi_low_rank_balance(&pair);
            for (size_t j = 0; j < 10 * cols; j++) {
                assert_true(isfinite(pair.a[j]));
            }
        }
        repaired_deinit(&r);
    }
}

static void weights_on_the_grid_get_a_pair_of_zeros(void **state)
{
    (void)state;
    repaired r = {0};
    repaired_init(&r, 48, 64, "int4g32", 300, 150);
    memset(r.job.error, 0, 48 * 64 * sizeof *r.job.error);
    assert_true(output_error_by(&r, "qera-exact", 4) == 0.0); /* exact: nothing but zeros */
    kfi_low_rank pair = kfi_repair_problem(&r.job);
    kfi_low_rank_balance(&pair);
    for (size_t i = 0; i < 4 * 64; i++) {
        assert_true(pair.a[i] == 0.0f); /* exact: as above */
    }
    repaired_deinit(&r);
}

static void balance_keeps_the_product_and_makes_sizes_alike(void **state)
{
    (void)state;
    repaired r = {0};
    repaired_init(&r, 60, 100, "int3g32", 600, 160);
    const double before = output_error_by(&r, "qera-exact", 8);
    kfi_low_rank pair = kfi_repair_problem(&r.job);
    kfi_low_rank_balance(&pair);
    assert_true(fabs(repaired_error(&r) - before) <= 1e-5 * before);
    float of_a = 0.0f;
    float of_b = 0.0f;
    for (size_t i = 0; i < 8 * 100; i++) {
        of_a = fmaxf(of_a, fabsf(pair.a[i]));
    }
    for (size_t i = 0; i < 60 * 8; i++) {
        of_b = fmaxf(of_b, fabsf(pair.b[i]));
    }
    assert_true(fabsf(of_a - of_b) <= 1e-5f * of_a);
    for (size_t k = 0; k < 8; k++) { /* column k of B: the square root of a singular value */
        double norm = 0.0;
        double first = 0.0;
        for (size_t i = 0; i < 60; i++) {
            norm += (double)pair.b[i * 8 + k] * (double)pair.b[i * 8 + k];
            first += (double)pair.b[i * 8] * (double)pair.b[i * 8];
        }
        const double expected = sqrt(pair.energy[k] / pair.energy[0]);
        assert_true(fabs(norm / first - expected) <= 1e-4 * expected);
    }
    repaired_deinit(&r);
}

static void threads_change_no_bit_of_a_pair(void **state)
{
    (void)state;
    static const char *const names[] = {"qera-exact", "lorc", "lqlora"};
    for (size_t i = 0; i < 2 * 3; i++) {
        kf_error err = {0};
        repaired r[2] = {0};
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
        for (size_t t = 0; t < 2; t++) {
            repaired_init(&r[t], i < 3 ? 60 : 150, 100, "int3g32", 300, 170);
            r[t].round.pool = t == 0 ? NULL : pool;
            CHECK_OK(repaired_by(&r[t], names[i % 3], 9, NULL, &err), &err);
        }
        assert_memory_equal(r[0].job.a, r[1].job.a, 9 * 100 * sizeof(float));
        assert_memory_equal(r[0].job.b, r[1].job.b, 9 * r[0].layer.rows * sizeof(float));
        repaired_deinit(&r[0]);
        repaired_deinit(&r[1]);
        kf_pool_free(pool);
    }
}

static void statistics_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        kf_error err = {0};
        repaired r = {0};
        repaired_init(&r, shapes[s][0], shapes[s][1], "int3g32", 100, 180);
        r.layer.statistics.gram[0] = NAN;
        assert_int_equal(repaired_by(&r, "qera-exact", 4, NULL, &err), KF_RANGE);
        assert_int_equal(repaired_by(&r, "qera-approx", 4, NULL, &err), KF_RANGE);
        repaired_deinit(&r);
    }
}

static void without_memory_every_method_reports_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"lorc",       "lqer",  "qera-approx",
                                        "qera-exact", "loftq", "lqlora"};
    for (size_t i = 0; i < 2 * 6; i++) {
        kf_status st = KF_NOMEM;
        for (size_t fail_at = 1; st != KF_OK; fail_at++) {
            kf_error err = {0};
            fixture_allocator a;
            repaired r = {0};
            repaired_init(&r, i < 6 ? 20 : 70, 40, "int3g32", 100, 240);
            fixture_allocator_init(&a, fail_at);
            r.round.alloc = &a.allocator;
            st = repaired_by(&r, names[i % 6], 3, NULL, &err);
            assert_true(st == KF_OK || (st == KF_NOMEM && strlen(err.msg) > 0));
            assert_true(fixture_allocator_is_clean(&a));
            repaired_deinit(&r);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_is_the_tail_of_the_spectrum),
        cmocka_unit_test(a_large_layer_is_left_with_the_tail_too),
        cmocka_unit_test(the_pair_is_that_of_the_matrix_root),
        cmocka_unit_test(exact_is_best_and_every_error_falls_with_the_rank),
        cmocka_unit_test(lorc_is_best_for_the_weights),
        cmocka_unit_test(singular_inputs_need_no_care),
        cmocka_unit_test(weights_on_the_grid_get_a_pair_of_zeros),
        cmocka_unit_test(balance_keeps_the_product_and_makes_sizes_alike),
        cmocka_unit_test(threads_change_no_bit_of_a_pair),
        cmocka_unit_test(statistics_that_are_not_finite_are_refused),
        cmocka_unit_test(without_memory_every_method_reports_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
