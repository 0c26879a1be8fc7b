/* QLLM: channels taken apart and put together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "block_fixture.h"
#include "fixtures.h"
#include "quantize/pipeline.h"

/* A block and random statistics of its inputs, to be given to QLLM. */
typedef struct qllm_case {
    small_block b;
    kfi_statistics wide, narrow;
    kfi_treatment treatment;
    kfi_transform_job job;
} qllm_case;

static void set_up(qllm_case *q, const double *knobs)
{
    small_block_init(&q->b, 6);
    random_statistics(&q->wide, BLOCK_HIDDEN, 4);
    random_statistics(&q->narrow, BLOCK_FORWARD, 5);
    q->treatment = (kfi_treatment){.activations = {.bits = 4, .group = KF_GROUP_ROW}};
    q->job = (kfi_transform_job){.floats = &q->b.floats,
                                 .statistics = {&q->wide, NULL, &q->wide, &q->narrow},
                                 .knobs = knobs};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        q->job.treatments[role] = &q->treatment;
    }
}

static void tear_down(qllm_case *q)
{
    kfi_statistics_deinit(&q->wide);
    kfi_statistics_deinit(&q->narrow);
    kfi_float_block_deinit(&q->b.floats);
}

/* What a layer of a step gives for x behind its norm's gains and its map. */
static void layer_of_copy(double *y, const small_block *b, size_t i_step, size_t role,
                          const double *x)
{
    const kfi_linear *linear = &b->floats.block.linears[role];
    const float *gains = i_step == KFI_STEP_QKV ? b->floats.attention_norm : b->floats.mlp_norm;
    for (size_t r = 0; r < linear->rows; r++) {
        y[r] = 0.0;
        for (size_t c = 0; c < linear->cols; c++) {
            const size_t i = linear->online.n_inputs > 0 ? linear->online.columns[c] : c;
            y[r] += (double)linear->weights[r * linear->cols + c] * x[i] * (double)gains[i];
        }
    }
}

static void disassembly_leaves_the_layers_as_they_are(void **state)
{
    (void)state;
    kf_error err = {0};
    const double knobs[] = {0.25, 12.0, 0.0}; /* most, grid, no assembly */
    qllm_case qllm;
    set_up(&qllm, knobs);
    CHECK_OK(kfi_method_find("qllm", 4)->transform(&qllm.job, &err), &err);
    assert_int_equal(qllm.b.floats.block.linears[KFI_LINEAR_Q].cols,
                     BLOCK_HIDDEN + 2); /* a quarter */
    assert_int_equal(qllm.b.floats.block.linears[KFI_LINEAR_DOWN].cols, BLOCK_FORWARD + 1);
    static const double x[BLOCK_HIDDEN] = {1.0, -2.0, 0.5, 60.0, 3.0, -1.0, 0.25, 2.0};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        double y[BLOCK_HIDDEN];
        const size_t i_step = role <= KFI_LINEAR_V ? KFI_STEP_QKV : KFI_STEP_GATE_UP;
        if (role == KFI_LINEAR_O || role >= KFI_LINEAR_UP) {
            continue;
        }
        layer_of_copy(y, &qllm.b, i_step, role, x);
        for (size_t r = 0; r < block_rows[role]; r++) {
            double expected = 0.0;
            for (size_t c = 0; c < BLOCK_HIDDEN; c++) {
                expected += (double)qllm.b.weights[role][r * BLOCK_HIDDEN + c] * x[c];
            }
            assert_near(y[r], expected);
        }
    }
    tear_down(&qllm);
}

/* Two channels that are alike, in inputs and weights, become one at no loss. */
static void assembly_merges_the_channels_that_are_alike(void **state)
{
    (void)state;
    kf_error err = {0};
    const double knobs[] = {0.125, 12.0, 1.0};
    qllm_case qllm;
    set_up(&qllm, knobs);
    for (size_t i = 0; i < BLOCK_HIDDEN; i++) { /* channel 5 is a copy of channel 2 */
        qllm.wide.gram[5 * BLOCK_HIDDEN + i] = qllm.wide.gram[2 * BLOCK_HIDDEN + i];
    }
    for (size_t i = 0; i < BLOCK_HIDDEN; i++) {
        qllm.wide.gram[i * BLOCK_HIDDEN + 5] = qllm.wide.gram[i * BLOCK_HIDDEN + 2];
    }
    CHECK_OK(kfi_method_find("qllm", 4)->transform(&qllm.job, &err), &err);
    const kfi_linear *q = &qllm.b.floats.block.linears[KFI_LINEAR_Q];
    assert_int_equal(q->cols, BLOCK_HIDDEN);
    assert_int_equal(q->online.second[2], 5);
    assert_int_equal(q->online.columns[3], 3); /* the large one, and its copy where 5 was */
    assert_int_equal(q->online.columns[5], 3);
    assert_near((double)qllm.b.floats.attention_norm[3], 0.5);
    for (size_t r = 0; r < q->rows; r++) {
        const float *row = qllm.b.weights[KFI_LINEAR_Q] + r * BLOCK_HIDDEN;
        assert_near((double)q->weights[r * BLOCK_HIDDEN + 2],
                    0.5 * ((double)row[2] + (double)row[5]));
        assert_near((double)q->weights[r * BLOCK_HIDDEN + 5], (double)row[3]);
    }
    tear_down(&qllm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disassembly_leaves_the_layers_as_they_are),
        cmocka_unit_test(assembly_merges_the_channels_that_are_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
