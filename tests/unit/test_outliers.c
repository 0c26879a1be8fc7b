/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "round_fixture.h"

enum {
    ROWS = 37,
    COLS = 200,
    OUTLIERS = 32
};

/* Rounds the last columns apart; the job holds the result. */
static kfi_round_error round_with_outliers(kfi_round_job *job, round_layer *l, const char *name,
                                           kf_pool *pool)
{
    kf_error err = {0};
    kfi_round_error error = {0};
    void *shared = NULL;
    const kfi_method *method = round_method_named(name);
    kfi_knobs_default(l->knobs, method);
    if (strcmp(name, "gptq") == 0) {
        round_layer_set(l, method, "damping", "0");
    }
    l->statistics.n_outliers = OUTLIERS;
    *job = round_layer_job(l, pool);
    job->n_outliers = OUTLIERS;
    CHECK_OK(kfi_round_job_init(job, &err), &err);
    if (method->prepare != NULL) {
        CHECK_OK(method->prepare(&shared, &l->statistics, l->knobs, NULL, &err), &err);
    }
    CHECK_OK(method->round(job, shared, &err), &err);
    if (method->release != NULL) {
        method->release(shared, NULL);
    }
    CHECK_OK(kfi_round_measure(&error, job, &err), &err);
    return error;
}

static const char *const formats[] = {"int3g64", "int4g64a", "int3g32r", "mxint4g32", "nf4g64"};

static void the_matrix_is_zero_where_outliers_are(void **state)
{
    (void)state;
    static const char *const names[] = {"rtn", "gptq"};
    for (size_t i = 0; i < 2 * sizeof formats / sizeof formats[0]; i++) {
        round_layer l;
        kfi_round_job job;
        round_layer_init(&l, ROWS, COLS, formats[i / 2], 500 + i);
        round_layer_add_tokens(&l, 1000, i);
        (void)round_with_outliers(&job, &l, names[i % 2], NULL);
        const size_t group = kfi_format_group(l.format, COLS);
        const size_t n_groups = kfi_format_groups(l.format, COLS);
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t c = COLS - OUTLIERS; c < COLS; c++) {
                assert_true(kfi_grid_decode(&job.grids[r * n_groups + c / group],
                                            kfi_round_levels(&job),
                                            job.codes[r * COLS + c]) == 0.0f);
            }
        }
        kfi_round_job_deinit(&job);
        round_layer_deinit(&l);
    }
}

/* Half a step of the largest of 32 normal weights is some 1 % of one; 3 bits leave ten times that.
 */
static void outliers_lose_what_8_bits_lose(void **state)
{
    (void)state;
    round_layer l;
    kfi_round_job job;
    round_layer_init(&l, ROWS, COLS, "int3g64", 600);
    (void)round_with_outliers(&job, &l, "rtn", NULL);
    const kfi_levels levels = kfi_format_levels(KFI_ROUND_OUTLIERS, NULL);
    double error = 0.0;
    double sum = 0.0;
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t i = 0; i < OUTLIERS; i++) {
            const double w = (double)l.weights[r * COLS + COLS - OUTLIERS + i];
            const double read = (double)kfi_grid_decode(&job.outlier_grids[r], levels,
                                                        job.outlier_codes[r * OUTLIERS + i]);
            error += (w - read) * (w - read);
            sum += w * w;
        }
    }
    assert_true(error > 0.0 && sqrt(error / sum) < 0.01);
    kfi_round_job_deinit(&job);
    round_layer_deinit(&l);
}

/* Its own formula holds with outliers last, which the measured error knows nothing of. */
static void the_loss_of_gptq_is_the_error_measured(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        round_layer l;
        kfi_round_job job;
        round_layer_init(&l, ROWS, COLS, formats[i], 700 + i);
        round_layer_add_tokens(&l, 1000, i);
        const kfi_round_error error = round_with_outliers(&job, &l, "gptq", NULL);
        const double measured = error.output * job.output;
        assert_true(measured > 0.0 && fabs(job.loss - measured) <= 2e-3 * measured);
        kfi_round_job_deinit(&job);
        round_layer_deinit(&l);
    }
}

static void gptq_leaves_less_output_error_than_rtn(void **state)
{
    (void)state;
    round_layer l;
    kfi_round_job job;
    round_layer_init(&l, ROWS, COLS, "int3g64", 800);
    round_layer_add_tokens(&l, 1000, 8);
    const kfi_round_error nearest = round_with_outliers(&job, &l, "rtn", NULL);
    kfi_round_job_deinit(&job);
    const kfi_round_error error = round_with_outliers(&job, &l, "gptq", NULL);
    kfi_round_job_deinit(&job);
    assert_true(error.output < 0.8 * nearest.output);
    round_layer_deinit(&l);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    round_layer l;
    kfi_round_job one;
    kfi_round_job three;
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    round_layer_init(&l, 201, COLS, "int3g64a", 900);
    round_layer_add_tokens(&l, 1000, 9);
    (void)round_with_outliers(&one, &l, "gptq", NULL);
    (void)round_with_outliers(&three, &l, "gptq", pool);
    assert_memory_equal(one.codes, three.codes, l.rows * COLS);
    assert_memory_equal(one.outlier_codes, three.outlier_codes, l.rows * OUTLIERS);
    kfi_round_job_deinit(&one);
    kfi_round_job_deinit(&three);
    round_layer_deinit(&l);
    kf_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_matrix_is_zero_where_outliers_are),
        cmocka_unit_test(outliers_lose_what_8_bits_lose),
        cmocka_unit_test(the_loss_of_gptq_is_the_error_measured),
        cmocka_unit_test(gptq_leaves_less_output_error_than_rtn),
        cmocka_unit_test(threads_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
