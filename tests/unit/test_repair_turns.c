/* Repairs that round again: in turns with their pair, or with GPTQ.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "repair_fixture.h"
#include "round_fixture.h"

static double weight_error(const repaired *r)
{
    double *p = repaired_rest(r);
    double sum = 0.0;
    for (size_t i = 0; i < r->layer.rows * r->layer.cols; i++) {
        sum += p[i] * p[i];
    }
    free(p);
    return sum;
}

/* job->error must be that of the codes that the job holds. */
static void assert_error_of_codes(const repaired *r)
{
    const size_t n = r->layer.rows * r->layer.cols;
    float *e = calloc(n, sizeof *e);
    kfi_round_error_rows(e, &r->round, 0, r->layer.rows);
    assert_memory_equal(e, r->job.error, n * sizeof *e);
    assert_ptr_equal(r->round.weights, r->layer.weights);
    free(e);
}

static void loftq_of_one_turn_is_lorc_and_more_turns_are_better(void **state)
{
    (void)state;
    kf_error err = {0};
    repaired r = {0};
    repaired_init(&r, 64, 96, "nf4g32", 300, 200);
    CHECK_OK(repaired_by(&r, "lorc", 8, NULL, &err), &err);
    const double lorc = weight_error(&r);
    CHECK_OK(repaired_by(&r, "loftq", 8, "1", &err), &err);
    assert_true(weight_error(&r) == lorc); /* exact: the same steps */
    CHECK_OK(repaired_by(&r, "loftq", 8, "5", &err), &err);
    assert_true(weight_error(&r) < lorc);
    assert_error_of_codes(&r);
    repaired_deinit(&r);
}

/* Columns weighted by E[x^2]. */
static double weighted_error(const repaired *r)
{
    const size_t cols = r->layer.cols;
    double *p = repaired_rest(r);
    double sum = 0.0;
    for (size_t i = 0; i < r->layer.rows * cols; i++) {
        sum += p[i] * p[i] * (double)r->layer.statistics.gram[i % cols * cols + i % cols];
    }
    free(p);
    return sum;
}

static void no_turn_of_lqlora_raises_its_objective(void **state)
{
    (void)state;
    size_t n_stopped = 0;
    for (size_t s = 0; s < 6; s++) {
        double last = (double)INFINITY;
        for (unsigned n = 1; n <= 12; n++) {
            char turns[8];
            kf_error err = {0};
            repaired r = {0};
            (void)snprintf(turns, sizeof turns, "%u", n);
            repaired_init(&r, 40, 64, s % 2 == 0 ? "int3g32" : "nf4g64", 300, 210 + s);
            CHECK_OK(repaired_by(&r, "lqlora", 6, turns, &err), &err);
            const double error = weighted_error(&r);
            assert_true(error <= last * (1.0 + 1e-6));
            n_stopped += fabs(error - last) <= 1e-7 * last;
            last = error;
            assert_error_of_codes(&r);
            repaired_deinit(&r);
        }
    }
    assert_true(n_stopped > 0); /* some turn was taken back */
}

static void gptq_rounds_again_what_a_pair_leaves(void **state)
{
    (void)state;
    kf_error err = {0};
    repaired r = {0};
    void *shared = NULL;
    const kfi_method *gptq = round_method_named("gptq");
    repaired_init(&r, 40, 64, "int3g32", 600, 230);
    kfi_knobs_default(r.layer.knobs, gptq);
    CHECK_OK(gptq->prepare(&shared, &r.layer.statistics, r.layer.knobs, NULL, &err), &err);
    CHECK_OK(gptq->round(&r.round, shared, &err), &err);
    kfi_round_error_rows(r.job.error, &r.round, 0, 40);
    r.job.method = gptq;
    r.job.shared = shared;
    const double plain = rounded_error(&r);
    CHECK_OK(repaired_by(&r, "loftq", 8, "4", &err), &err);
    assert_error_of_codes(&r);
    assert_true(repaired_error(&r) < plain);
    gptq->release(shared, NULL);
    repaired_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loftq_of_one_turn_is_lorc_and_more_turns_are_better),
        cmocka_unit_test(no_turn_of_lqlora_raises_its_objective),
        cmocka_unit_test(gptq_rounds_again_what_a_pair_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
