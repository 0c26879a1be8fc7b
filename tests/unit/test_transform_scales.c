/* Transforms that scale the channels of a block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "block_fixture.h"
#include "fixtures.h"
#include "quantize/pipeline.h"

/* Every layer of the copy, gains in front and the scales between up and down undone, is what it was
 * (the gains were 1). */
static void assert_same_function(const small_block *b)
{
    const kfi_linear *up = &b->floats.block.linears[KFI_LINEAR_UP];
    const float *gains[KFI_STEP_COUNT] = {b->floats.attention_norm, NULL, b->floats.mlp_norm, NULL};
    double scales[BLOCK_FORWARD]; /* of up's rows, read off their first weights */
    for (size_t r = 0; r < BLOCK_FORWARD; r++) {
        scales[r] = (double)up->weights[r * BLOCK_HIDDEN] * (double)gains[KFI_STEP_GATE_UP][0] /
                    (double)b->weights[KFI_LINEAR_UP][r * BLOCK_HIDDEN];
    }
    for (size_t i_step = 0; i_step < KFI_STEP_COUNT; i_step++) {
        for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
            const kfi_linear *linear = &b->floats.block.linears[role];
            for (size_t i = 0; i < linear->rows * linear->cols; i++) {
                const size_t c = i % linear->cols;
                double w = (double)linear->weights[i];
                w *= gains[i_step] != NULL ? (double)gains[i_step][c] : 1.0;
                w *= i_step == KFI_STEP_DOWN ? scales[c] : 1.0;
                w /= role == KFI_LINEAR_UP ? scales[i / linear->cols] : 1.0;
                assert_near(w, (double)b->weights[role][i]);
            }
        }
    }
}

static double largest_in_column(const small_block *b, size_t i_step, size_t c)
{
    double most = 0.0;
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        const kfi_linear *linear = &b->floats.block.linears[role];
        for (size_t r = 0; r < linear->rows; r++) {
            most = fmax(most, fabs((double)linear->weights[r * linear->cols + c]));
        }
    }
    return most;
}

/* With alpha the largest weight of a column becomes max|x|^alpha max|w|^alpha, and the largest
 * input max|x|^(1 - alpha) max|w|^(1 - alpha). */
static void smoothquant_evens_out_inputs_and_weights(void **state)
{
    (void)state;
    static const double alphas[] = {0.0, 0.5, 1.0};
    const kfi_method *method = kfi_method_find("smoothquant", 11);
    float max_abs[BLOCK_HIDDEN] = {1.0f, 100.0f, 0.01f, 5.0f, 0.0f, 1.0f, 2.0f, 3.0f};
    const kfi_statistics statistics = {.n = BLOCK_HIDDEN, .max_abs = max_abs};
    for (size_t i = 0; i < 3; i++) {
        kf_error err = {0};
        small_block b;
        double before[KFI_STEP_COUNT][BLOCK_HIDDEN];
        kfi_transform_job job = {.floats = &b.floats,
                                 .statistics = {&statistics, NULL, &statistics, NULL},
                                 .knobs = &alphas[i]};
        small_block_init(&b, 1);
        for (size_t c = 0; c < BLOCK_HIDDEN; c++) {
            before[0][c] = largest_in_column(&b, KFI_STEP_QKV, c);
            before[2][c] = largest_in_column(&b, KFI_STEP_GATE_UP, c);
        }
        CHECK_OK(method->transform(&job, &err), &err);
        for (size_t i_step = 0; i_step < 3; i_step += 2) {
            const float *gains = kfi_float_block_gains(&b.floats, i_step);
            for (size_t c = 0; c < BLOCK_HIDDEN; c++) {
                const double x = (double)max_abs[c];
                const double w = before[i_step][c];
                const double expected = c == 4 ? w : pow(x * w, alphas[i]); /* 4: never seen */
                assert_near(largest_in_column(&b, i_step, c), expected);
                if (c != 4) {
                    assert_near((double)gains[c] * x, pow(x * w, 1.0 - alphas[i]));
                }
            }
        }
        assert_memory_equal(b.floats.weights[KFI_LINEAR_O], b.weights[KFI_LINEAR_O],
                            sizeof b.weights[0]);
        kfi_float_block_deinit(&b.floats);
    }
}

static void smoothquant_stays_within_its_clamp(void **state)
{
    (void)state;
    kf_error err = {0};
    const double alpha = 1.0;
    const kfi_method *method = kfi_method_find("smoothquant", 11);
    float max_abs[BLOCK_HIDDEN] = {1e-9f, 1e9f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
    const kfi_statistics statistics = {.n = BLOCK_HIDDEN, .max_abs = max_abs};
    small_block b;
    kfi_transform_job job = {
        .floats = &b.floats, .statistics = {&statistics, NULL, &statistics, NULL}, .knobs = &alpha};
    small_block_init(&b, 2);
    CHECK_OK(method->transform(&job, &err), &err);
    assert_same_function(&b);
    assert_near((double)b.floats.attention_norm[0], 1e5);
    assert_near((double)b.floats.attention_norm[1], 1e-4);
    kfi_float_block_deinit(&b.floats);
}

/* tr(E H E^T) of a step of the source, rounded to the nearest behind the scales: those of a block
 * are read off its gains. */
static double step_error(const small_block *b, size_t i_step, const kfi_statistics *s,
                         const kfi_treatment *treatment)
{
    double sum = 0.0;
    const float *gains = kfi_float_block_gains((kfi_float_block *)(uintptr_t)&b->floats, i_step);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        kf_error err = {0};
        const kfi_linear *linear = &b->floats.block.linears[role];
        kfi_round_grid grid;
        kfi_round_job job = {.weights = linear->weights,
                             .rows = linear->rows,
                             .cols = linear->cols,
                             .format = treatment->weights,
                             .knobs = treatment->methods[0].knobs};
        treatment->methods[0].method->grid(&grid, job.knobs);
        CHECK_OK(kfi_round_job_init(&job, &err), &err);
        CHECK_OK(kfi_round_fit(&job, &grid, NULL, &err), &err);
        kfi_round_nearest(&job);
        for (size_t r = 0; r < linear->rows; r++) {
            double e[BLOCK_HIDDEN];
            for (size_t c = 0; c < linear->cols; c++) {
                const size_t i = r * linear->cols + c;
                const float q =
                    kfi_grid_decode(&job.grids[r], kfi_round_levels(&job), job.codes[i]);
                e[c] = (double)(linear->weights[i] - q) * (gains == NULL ? 1.0 : (double)gains[c]);
            }
            for (size_t c = 0; c < linear->cols * linear->cols; c++) {
                sum += e[c / linear->cols] * e[c % linear->cols] * (double)s->gram[c];
            }
        }
        kfi_round_job_deinit(&job);
    }
    return sum;
}

static void awq_lowers_the_error_of_rounding_where_channels_differ(void **state)
{
    (void)state;
    kf_error err = {0};
    const double grid = 20.0;
    const kfi_method *method = kfi_method_find("awq", 3);
    kfi_treatment treatment = {.weights = {KF_ELEMENT_INT, 3, KF_SCALE_FP16, KF_ZERO_NONE, 32},
                               .n_methods = 1};
    kfi_statistics wide;
    kfi_statistics narrow;
    small_block b;
    treatment.methods[0].method = kfi_method_find("rtn", 3);
    kfi_knobs_default(treatment.methods[0].knobs, treatment.methods[0].method);
    random_statistics(&wide, BLOCK_HIDDEN, 4);
    random_statistics(&narrow, BLOCK_FORWARD, 5);
    small_block_init(&b, 3);
    kfi_transform_job job = {
        .floats = &b.floats, .statistics = {&wide, NULL, &wide, &narrow}, .knobs = &grid};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        job.treatments[role] = &treatment;
    }
    const double before = step_error(&b, KFI_STEP_QKV, &wide, &treatment);
    CHECK_OK(method->transform(&job, &err), &err);
    assert_same_function(&b);
    /* The large channel's weights grow, its input shrinks. */
    assert_true(b.floats.attention_norm[3] < 0.9f * b.floats.attention_norm[0]);
    assert_true(step_error(&b, KFI_STEP_QKV, &wide, &treatment) < 0.9 * before);
    assert_true(b.floats.mlp_norm[3] < 0.9f * b.floats.mlp_norm[0]);
    assert_memory_equal(b.floats.weights[KFI_LINEAR_O], b.weights[KFI_LINEAR_O],
                        sizeof b.weights[0]);
    kfi_statistics_deinit(&wide);
    kfi_statistics_deinit(&narrow);
    kfi_float_block_deinit(&b.floats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smoothquant_evens_out_inputs_and_weights),
        cmocka_unit_test(smoothquant_stays_within_its_clamp),
        cmocka_unit_test(awq_lowers_the_error_of_rounding_where_channels_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
