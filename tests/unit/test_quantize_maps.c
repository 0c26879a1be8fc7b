/* Maps of inputs and a rotated stream, from a quantized block to its file and back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/file.h"
#include "io/json.h"
#include "model/checkpoint_names.h"
#include "model/online.h"
#include "quantize/writer.h"
#include "quantize_fixture.h"

#define FEED_FORWARD 96u
#define HIDDEN       64u

/* One block as a method would leave it: gate and up see gathered columns, down a rotated input. */
typedef struct mapped {
    quantize_fixture *f;
    kfi_pipeline pipeline;
    kfi_block_result result;
    kfi_writer writer;
    int8_t signs[FEED_FORWARD];
    uint32_t columns[HIDDEN], second[HIDDEN];
} mapped;

static void mapped_init(mapped *m, const char *down)
{
    kf_error err = {0};
    memset(m, 0, sizeof *m);
    m->f = quantize_fixture_new("qwen2", "rtn-w4", 1);
    quantize_fixture_set(m->f, down);
    const kfi_worker worker = {.pool = m->f->pool};
    const kfi_pipeline_options options = {
        .model = m->f->model, .recipe = m->f->recipe, .worker = worker};
    CHECK_OK(kfi_pipeline_init(&m->pipeline, &options, &err), &err);
    CHECK_OK(kfi_pipeline_quantize(&m->pipeline, &m->result, 0, &err), &err);
    m->writer = (kfi_writer){.directory = quantize_fixture_path(m->f, "out"),
                             .model = m->f->model,
                             .recipe = m->f->recipe,
                             .worker = worker};
    CHECK_OK(kfi_file_make_directories(m->writer.directory, &err), &err);
    for (size_t i = 0; i < FEED_FORWARD; i++) {
        m->signs[i] = i % 3 == 0 ? -1 : 1;
    }
    for (size_t c = 0; c < HIDDEN; c++) {
        m->columns[c] = (uint32_t)(HIDDEN - 1 - c);
        m->second[c] = c % 2 == 0 ? (uint32_t)c : KFI_NO_COLUMN;
    }
    kfi_layer *layers = m->result.layers;
    layers[KFI_LINEAR_DOWN].linear.online =
        (kfi_online){FEED_FORWARD, FEED_FORWARD, m->signs, NULL, NULL};
    layers[KFI_LINEAR_GATE].linear.online =
        (kfi_online){HIDDEN, HIDDEN, NULL, m->columns, m->second};
    layers[KFI_LINEAR_UP].linear.online = (kfi_online){HIDDEN, HIDDEN, NULL, m->columns, NULL};
}

static void mapped_free(mapped *m)
{
    kfi_block_result_deinit(&m->result);
    kfi_pipeline_deinit(&m->pipeline);
    quantize_fixture_free(m->f);
}

/* Whether the down projection is packed or kept, its map comes back; and it runs. */
static void a_finished_block_is_taken_over_with_its_maps(void **state)
{
    (void)state;
    static const char *const settings[] = {"weights=int4g64", "tensors.*down_proj=keep"};
    for (size_t i = 0; i < 2; i++) {
        kf_error err = {0};
        mapped m;
        kfi_resumed resumed;
        mapped_init(&m, settings[i]);
        CHECK_OK(kfi_writer_block(&m.writer, &m.result, 0, &err), &err);
        CHECK_OK(kfi_resume_open(&resumed, &m.writer, 0, &m.f->options, &err), &err);
        const kfi_linear *linears = resumed.block.linears;
        for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
            const kfi_online *expected = &m.result.layers[role].linear.online;
            assert_int_equal(linears[role].online.n_inputs, expected->n_inputs);
            assert_true(kfi_online_is_same(&linears[role].online, expected));
        }
        CHECK_OK(kfi_pipeline_pass(&m.pipeline, &resumed.block, 0, &err), &err);
        kfi_resume_close(&resumed);
        mapped_free(&m);
    }
}

static int64_t version_written(const mapped *m)
{
    kf_error err = {0};
    kfi_json *root = NULL;
    CHECK_OK(kfi_writer_config(&m->writer, &err), &err);
    char *path = kfi_path_join(NULL, m->writer.directory, KFI_FILE_CONFIG);
    CHECK_OK(kfi_json_read(&root, path, 1u << 20, &err), &err);
    const int64_t version =
        kfi_json_integer(kfi_json_get(kfi_json_get(root, KFI_KEY_QUANTIZATION), KFI_KEY_VERSION));
    kfi_json_free(root);
    kfi_free_text(NULL, path);
    return version;
}

/* Both blocks and the rest, with maps in the first block, signs of the stream, or neither. */
static void checkpoints_with_maps_say_version_3(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        kf_error err = {0};
        mapped m;
        kf_model *model = NULL;
        mapped_init(&m, "weights=int4g64");
        if (kind != 0) {
            for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
                m.result.layers[role].linear.online = (kfi_online){0};
            }
        }
        m.writer.residual_signs = kind == 1 ? m.signs : NULL;
        CHECK_OK(kfi_writer_block(&m.writer, &m.result, 0, &err), &err);
        kfi_block_result_deinit(&m.result);
        CHECK_OK(kfi_pipeline_quantize(&m.pipeline, &m.result, 1, &err), &err);
        CHECK_OK(kfi_writer_block(&m.writer, &m.result, 1, &err), &err);
        CHECK_OK(kfi_writer_rest(&m.writer, &m.pipeline.prefix, &m.f->options, &err), &err);
        assert_int_equal(version_written(&m),
                         kind == 2 ? KFI_CHECKPOINT_VERSION : KFI_CHECKPOINT_VERSION_INPUTS);
        kfi_totals totals;
        CHECK_OK(kfi_writer_totals(&totals, &m.writer, &err), &err);
        CHECK_OK(kfi_writer_index(&m.writer, &totals, &err), &err);
        CHECK_OK(kf_model_open(&model, m.writer.directory, NULL, &err), &err);
        kf_model_info info;
        kf_model_get_info(model, &info);
        assert_int_equal(info.bytes, totals.bytes); /* read as they were counted when written */
        const int8_t *signs = kfi_model_residual_signs(model);
        assert_true((signs != NULL) == (kind == 1));
        if (signs != NULL) {
            assert_memory_equal(signs, m.signs, HIDDEN);
        }
        const kfi_block *block = NULL;
        CHECK_OK(kfi_model_block(model, 0, &block, &err), &err);
        assert_true((block->linears[KFI_LINEAR_GATE].online.second != NULL) == (kind == 0));
        kf_model_close(model);
        mapped_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finished_block_is_taken_over_with_its_maps),
        cmocka_unit_test(checkpoints_with_maps_say_version_3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
