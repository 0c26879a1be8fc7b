/* What quantizing makes of activations: clips that are searched, kept layers that quantize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/alloc.h"
#include "fixtures.h"
#include "format/format.h"
#include "io/json.h"
#include "model/checkpoint_names.h"
#include "model/model.h"
#include "quantize_fixture.h"
#include "session_fixture.h"

#define N_IDS 20u

static void quantize_to(quantize_fixture *f, const char *name)
{
    kf_error err = {0};
    quantize_fixture_run(f, name, NULL);
    CHECK_OK(kf_verify(quantize_fixture_path(f, name), NULL, &err), &err);
}

static int64_t version_of(const quantize_fixture *f, const char *name)
{
    char path[4096];
    kf_error err = {0};
    kfi_json *root = NULL;
    (void)snprintf(path, sizeof path, "%s/config.json", quantize_fixture_path(f, name));
    CHECK_OK(kfi_json_read(&root, path, 1u << 20, &err), &err);
    const int64_t version =
        kfi_json_integer(kfi_json_get(kfi_json_get(root, KFI_KEY_QUANTIZATION), KFI_KEY_VERSION));
    kfi_json_free(root);
    return version;
}

/* ---- searched clips ---- */

typedef struct clips {
    size_t n_linears, n_clipped;
    char names[7][KF_FORMAT_NAME_BYTES]; /* of the last block */
} clips;

static void note_clip(void *ctx, const kf_layer_report *report)
{
    clips *c = ctx;
    if (strstr(report->tensor, "_proj") == NULL) {
        assert_string_equal(report->activations, "int8tg64"); /* the head keeps 8 bits */
        return;
    }
    c->n_clipped += strchr(report->activations, 'c') != NULL;
    (void)snprintf(c->names[c->n_linears++ % 7], sizeof c->names[0], "%s", report->activations);
}

static void a_searched_clip_is_stored_for_every_input(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w8", 2);
    clips c = {0};
    quantize_fixture_set(f, "activations=int3tg64");
    quantize_fixture_set(f, "act_clip=search");
    f->options.layer = note_clip;
    f->options.ctx = &c;
    quantize_to(f, "out");
    assert_int_equal(c.n_linears, 14);
    assert_true(c.n_clipped > 7);
    assert_string_equal(c.names[KFI_LINEAR_Q], c.names[KFI_LINEAR_K]); /* one input */
    assert_string_equal(c.names[KFI_LINEAR_Q], c.names[KFI_LINEAR_V]);
    assert_string_equal(c.names[KFI_LINEAR_GATE], c.names[KFI_LINEAR_UP]);

    kf_model *model = model_open_with(quantize_fixture_path(f, "out"), NULL, NULL);
    kf_model_info info;
    kf_error err = {0};
    const kfi_block *block = NULL;
    kf_model_get_info(model, &info);
    assert_string_equal(info.activations, "int3tg64 (clips differ)");
    CHECK_OK(kfi_model_block(model, info.n_layers - 1, &block, &err), &err);
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        char name[KF_FORMAT_NAME_BYTES];
        kf_activation_name(name, block->linears[role].activation);
        assert_string_equal(name, c.names[role]);
    }
    kf_model_close(model);
    assert_int_equal(version_of(f, "out"), KFI_CHECKPOINT_VERSION); /* no reader misreads it */
    quantize_fixture_free(f);
}

static void a_fixed_clip_is_that_of_all_layers(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("qwen2", "rtn-w4", 1);
    quantize_fixture_set(f, "activations=int4ta");
    quantize_fixture_set(f, "act_clip=published");
    quantize_to(f, "out");
    kf_model *model = model_open_with(quantize_fixture_path(f, "out"), NULL, NULL);
    kf_model_info info;
    kf_model_get_info(model, &info);
    assert_string_equal(info.activations, "int4tac90");
    kf_model_close(model);
    quantize_fixture_free(f);
}

static void a_search_needs_calibration_text(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    quantize_fixture_set(f, "act_clip=search");
    assert_string_equal(kf_recipe_calibrates(f->recipe), "act_clip");
    f->options.calibration = NULL;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INVALID);
    assert_non_null(strstr(err.msg, "act_clip"));
    quantize_fixture_free(f);
}

static void a_dry_run_foretells_the_memory_of_a_search(void **state)
{
    (void)state;
    kf_quantize_result plan;
    kf_quantize_result result;
    quantize_fixture *f = quantize_fixture_new("qwen2", "rtn-w4", 1);
    quantize_fixture_set(f, "act_clip=search");
    quantize_fixture_set(f, "prefix=none");
    quantize_fixture_plan(f, &plan);
    quantize_fixture_run(f, "out", &result);
    assert_true(plan.memory_bytes >= result.memory_bytes);
    quantize_fixture_free(f);
}

static void threads_change_no_clip(void **state)
{
    (void)state;
    quantize_fixture *f[2];
    for (size_t i = 0; i < 2; i++) {
        f[i] = quantize_fixture_new("qwen2", "gptq-w4", i + 1);
        quantize_fixture_set(f[i], "activations=int4t");
        quantize_fixture_set(f[i], "act_clip=search");
        quantize_to(f[i], "out");
    }
    assert_same_directories(quantize_fixture_path(f[0], "out"), quantize_fixture_path(f[1], "out"));
    quantize_fixture_free(f[0]);
    quantize_fixture_free(f[1]);
}

/* ---- kept layers ---- */

static quantize_fixture *all_kept(const char *activations, const char *act_kept)
{
    char text[64];
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 2);
    (void)snprintf(text, sizeof text, "activations=%s", activations);
    quantize_fixture_set(f, text);
    quantize_fixture_set(f, "weights=keep");
    quantize_fixture_set(f, "head=keep");
    quantize_fixture_set(f, "prefix=none");
    quantize_fixture_set(f, act_kept);
    quantize_to(f, "out");
    return f;
}

/* A checkpoint whose weights are the source's computes what the source does with these activations.
 */
static void kept_layers_quantize_their_input_where_the_recipe_says_so(void **state)
{
    (void)state;
    static float logits[3][N_IDS * TINY_VOCABULARY];
    static const char *const formats[] = {"int4tg32", "int3ta", "mxint8tg32", "fp8t"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        quantize_fixture *f = all_kept(formats[i], "act_kept=true");
        kf_model *made = model_open_with(quantize_fixture_path(f, "out"), NULL, NULL);
        kf_model *source = model_open_with(f->tiny->path, NULL, formats[i]);
        kf_model_info info;
        kf_model_get_info(made, &info);
        assert_string_equal(info.activations, formats[i]);
        kf_model_get_info(source, &info);
        assert_string_equal(info.activations, formats[i]);
        model_logits(logits[0], made, f->calibration, N_IDS);
        model_logits(logits[1], source, f->calibration, N_IDS);
        model_logits(logits[2], f->model, f->calibration, N_IDS);
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        assert_memory_not_equal(logits[0], logits[2], sizeof logits[0]);
        assert_int_equal(version_of(f, "out"), KFI_CHECKPOINT_VERSION_INPUTS);
        kf_model_close(made);
        kf_model_close(source);
        quantize_fixture_free(f);
    }
}

static void kept_layers_are_float_where_it_does_not(void **state)
{
    (void)state;
    static float logits[2][N_IDS * TINY_VOCABULARY];
    quantize_fixture *f = all_kept("int4tg32", "act_kept=false");
    kf_model *made = model_open_with(quantize_fixture_path(f, "out"), NULL, NULL);
    model_logits(logits[0], made, f->calibration, N_IDS);
    model_logits(logits[1], f->model, f->calibration, N_IDS);
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    assert_int_equal(version_of(f, "out"), KFI_CHECKPOINT_VERSION);
    kf_model_close(made);
    quantize_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_searched_clip_is_stored_for_every_input),
        cmocka_unit_test(a_fixed_clip_is_that_of_all_layers),
        cmocka_unit_test(a_search_needs_calibration_text),
        cmocka_unit_test(a_dry_run_foretells_the_memory_of_a_search),
        cmocka_unit_test(threads_change_no_clip),
        cmocka_unit_test(kept_layers_quantize_their_input_where_the_recipe_says_so),
        cmocka_unit_test(kept_layers_are_float_where_it_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
