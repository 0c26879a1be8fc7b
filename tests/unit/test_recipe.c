/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "base/file.h"
#include "fixtures.h"
#include "model/architecture.h"
#include "quantize/recipe.h"

/* Writes a recipe file and opens it. */
static kf_status open_text(kf_recipe **recipe, const char *directory, const char *text,
                           kf_error *err)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/mine.json", directory);
    CHECK_OK(kfi_file_write(path, text, strlen(text), err), err);
    return kf_recipe_open(recipe, path, NULL, err);
}

static void every_recipe_that_comes_along_opens(void **state)
{
    (void)state;
    kf_error err = {0};
    const char *name = NULL;
    const char *description = NULL;
    size_t n = 0;
    for (; kf_recipe_at(n, &name, &description); n++) {
        kf_recipe *recipe = NULL;
        CHECK_OK(kf_recipe_open(&recipe, name, NULL, &err), &err);
        assert_string_equal(kf_recipe_name(recipe), name);
        assert_string_equal(recipe->description, description);
        const char *width = strstr(name, "-w");
        assert_true(width == NULL || recipe->linears.weights.bits == width[2] - '0');
        const char *calibrates = kf_recipe_calibrates(recipe);
        if (strncmp(name, "gptq", 4) == 0) {
            assert_string_equal(calibrates, "gptq");
        } else if (strncmp(name, "rtn", 3) == 0) {
            assert_null(calibrates);
        }
        /* Where calibration text is asked for anyway, a prefix may be tried on it; the ladder of
         * repairs on one format is compared without. */
        const bool has_auto = calibrates != NULL && strstr(name, "mxint") == NULL;
        assert_string_equal(kf_recipe_prefix(recipe), has_auto ? "auto" : "none");
        size_t samples = 0;
        size_t length = 0;
        kf_recipe_calibration(recipe, &samples, &length);
        assert_int_equal(samples, 32);
        assert_int_equal(length, 2048);
        kf_recipe_free(recipe);
    }
    assert_true(n >= 8);
}

static void an_unknown_recipe_names_those_that_exist(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    assert_int_equal(kf_recipe_open(&recipe, "gptq-w5", NULL, &err), KF_INVALID);
    assert_null(recipe);
    assert_non_null(strstr(err.msg, "gptq-w4"));
    assert_non_null(strstr(err.msg, "rtn-w8"));
    assert_int_equal(kf_recipe_open(&recipe, "no/such.json", NULL, &err), KF_INPUT);
    kf_recipe_free(NULL);
}

static void an_unknown_key_is_called_so_whatever_its_value(void **state)
{
    static const char *const texts[] = {"{\"metods\": []}", "{\"metods\": {}}",
                                        "{\"metods\": \"rtn\"}", "{\"metods\": 1}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        kf_error err = {0};
        kf_recipe *recipe = NULL;
        assert_int_equal(open_text(&recipe, *state, texts[i], &err), KF_INVALID);
        assert_non_null(strstr(err.msg, "mine.json"));
        assert_non_null(strstr(err.msg, "unknown key 'metods'"));
    }
}

static void float_is_another_word_for_keep(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    CHECK_OK(kf_recipe_open(&recipe, "rtn-w4", NULL, &err), &err);
    CHECK_OK(kf_recipe_set(recipe, "weights=float", &err), &err);
    assert_true(recipe->linears.keep);
    CHECK_OK(kf_recipe_set(recipe, "tensors.*down_proj=float", &err), &err);
    assert_non_null(strstr(kf_recipe_json(recipe), "\"weights\": \"keep\""));
    kf_recipe_free(recipe);
}

static void a_resolved_recipe_reads_back_as_itself(void **state)
{
    kf_error err = {0};
    kf_recipe *first = NULL;
    kf_recipe *second = NULL;
    CHECK_OK(
        open_text(
            &first, *state,
            "{\"description\": \"\xC3\xA9\", \"weights\": \"int3g128a\","
            " \"kv\": \"k5v3\", \"act_clip\": 0.85, \"act_kept\": true, \"prefix\": \"You are \\\"kind\\\".\", \"calib\": {\"samples\": 7},"
            " \"methods\": [{\"name\": \"gptq\", \"damping\": 0.1, \"fit\": \"minmax\","
            " \"act_order\": false}],"
            " \"tensors\": {\"blk.0.*\": \"keep\", \"*down*\": {\"weights\": \"int8row\","
            " \"activations\": \"float\", \"methods\": [\"rtn\"]}}}",
            &err),
        &err);
    char *text = strdup(kf_recipe_json(first));
    CHECK_OK(open_text(&second, *state, text, &err), &err);
    assert_string_equal(kf_recipe_json(second), text);
    assert_string_equal(kf_recipe_name(second), "mine");
    assert_string_equal(kf_recipe_prefix(second), "You are \"kind\".");
    assert_int_equal(second->kv, KF_KV_WIDTHS(5, 3));
    assert_int_equal(second->samples, 7);
    assert_int_equal(second->length, 2048);
    free(text);
    kf_recipe_free(first);
    kf_recipe_free(second);
}

static void bad_recipes_are_refused_with_the_right_status(void **state)
{
    static const struct {
        const char *text;
        kf_status status;
        const char *says;
    } cases[] = {
        {"{\"weights\": ", KF_FORMAT, ""},
        {"[]", KF_FORMAT, "object"},
        {"{\"wieghts\": \"int4g64\"}", KF_INVALID, "wieghts"},
        {"{\"weights\": 4}", KF_RANGE, "weights"},
        {"{\"weights\": \"int9g64\"}", KF_RANGE, "weights"},
        {"{\"weights\": \"floaty\"}", KF_RANGE, "weights"},
        {"{\"activations\": \"int2t\"}", KF_RANGE, "activations"},
        {"{\"kv\": \"k5v1\"}", KF_RANGE, "k5v1"},
        {"{\"kv\": 4}", KF_RANGE, "kv"},
        {"{\"act_clip\": 0.49}", KF_RANGE, "act_clip"},
        {"{\"act_clip\": 1.01}", KF_RANGE, "act_clip"},
        {"{\"act_clip\": 0.905}", KF_RANGE, "whole percents"},
        {"{\"act_clip\": \"seek\"}", KF_RANGE, "seek"},
        {"{\"act_clip\": true}", KF_RANGE, "act_clip"},
        {"{\"act_kept\": 1}", KF_RANGE, "act_kept"},
        {"{\"prefix\": \"\"}", KF_RANGE, "prefix"},
        {"{\"prefix\": \"a\\u0000b\"}", KF_RANGE, "prefix"},
        {"{\"calib\": {\"samples\": 0}}", KF_RANGE, "samples"},
        {"{\"calib\": {\"length\": 1}}", KF_RANGE, "length"},
        {"{\"calib\": {\"length\": 2.5}}", KF_RANGE, "length"},
        {"{\"calib\": {\"width\": 2}}", KF_INVALID, "width"},
        {"{\"calib\": 3}", KF_RANGE, "calib"},
        {"{\"methods\": []}", KF_RANGE, "methods"},
        {"{\"methods\": [\"awq9\"]}", KF_INVALID, "awq9"},
        {"{\"methods\": [{\"damping\": 1}]}", KF_RANGE, "name"},
        {"{\"methods\": [\"rtn\", \"gptq\"]}", KF_RANGE, "2 methods of stage round"},
        {"{\"methods\": [\"rtn\", \"lorc\", \"lqer\"]}", KF_RANGE, "2 methods of stage repair"},
        {"{\"methods\": [\"lorc\", \"rtn\"]}", KF_RANGE, "stands behind lorc"},
        {"{\"methods\": [\"rtn\", {\"name\": \"lorc\", \"rank\": 513}]}", KF_RANGE, "rank"},
        {"{\"methods\": [\"rtn\", {\"name\": \"lorc\", \"rank\": 0}]}", KF_RANGE, "rank"},
        {"{\"methods\": [\"rtn\", {\"name\": \"lorc\", \"factors\": \"bf16\"}]}", KF_RANGE,
         "int4|int6|int8"},
        {"{\"methods\": [{\"name\": \"gptq\", \"dampening\": 1}]}", KF_INVALID, "dampening"},
        {"{\"methods\": [{\"name\": \"gptq\", \"damping\": 11}]}", KF_RANGE, "damping"},
        {"{\"methods\": [{\"name\": \"gptq\", \"damping\": \"1\"}]}", KF_RANGE, "damping"},
        {"{\"methods\": [{\"name\": \"gptq\", \"fit\": \"best\"}]}", KF_RANGE, "minmax|mse"},
        {"{\"methods\": [{\"name\": \"gptq\", \"act_order\": 1}]}", KF_RANGE, "act_order"},
        {"{\"tensors\": {\"*\": 4}}", KF_RANGE, "*"},
        {"{\"tensors\": {\"*\": \"int1g64\"}}", KF_RANGE, "int1g64"},
        {"{\"tensors\": {\"*\": \"keep\\u0000\"}}", KF_RANGE, "NUL"},
        {"{\"tensors\": {\"*\": {\"head\": \"keep\"}}}", KF_INVALID, "head"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        kf_recipe *recipe = NULL;
        const kf_status st = open_text(&recipe, *state, cases[i].text, &err);
        assert_null(recipe);
        if (st != cases[i].status || strstr(err.msg, cases[i].says) == NULL) {
            fail_msg("%s: %s: %s", cases[i].text, kf_status_text(st), err.msg);
        }
    }
}

static void assignments_change_the_resolved_recipe(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    CHECK_OK(kf_recipe_open(&recipe, "gptq-w4", NULL, &err), &err);
    static const char *const good[] = {
        "weights=int3g128a",    "activations=int8t",        "embedding=keep",   "head=int4g64r",
        "prefix=none",          "calib.samples=128",        "calib.length=512", "gptq.damping=0.05",
        "gptq.act_order=false", "tensors.*.v_proj=int8g64", "kv=k8v4",          "act_clip=0.85",
        "act_kept=true",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK_OK(kf_recipe_set(recipe, good[i], &err), &err);
    }
    static const char *const shows[] = {
        "\"weights\": \"int3g128a\"",
        "\"activations\": \"int8t\"",
        "\"embedding\": \"keep\"",
        "\"head\": \"int4g64r\"",
        "\"prefix\": \"none\"",
        "\"kv\": \"k8v4\"",
        "\"samples\": 128",
        "\"length\": 512",
        "\"damping\": 0.05",
        "\"act_order\": false",
        "\"*.v_proj\"",
        "\"act_clip\": 0.85",
        "\"act_kept\": true",
    };
    for (size_t i = 0; i < sizeof shows / sizeof shows[0]; i++) {
        if (strstr(kf_recipe_json(recipe), shows[i]) == NULL) {
            fail_msg("%s is not in %s", shows[i], kf_recipe_json(recipe));
        }
    }
    kf_recipe_free(recipe);
}

static void bad_assignments_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        kf_status status;
    } cases[] = {
        {"weights", KF_INVALID},         {"=int4g64", KF_INVALID},
        {"weigths=int4g64", KF_INVALID}, {"weights=int4", KF_RANGE},
        {"calib.samples=x", KF_RANGE},   {"calib.samples=0", KF_RANGE},
        {"calib.sample=1", KF_INVALID},  {"rtn.fit=mse", KF_INVALID},
        {"gptq.dampin=1", KF_INVALID},   {"gptq.damping=99", KF_RANGE},
        {"tensors.*=int99", KF_RANGE},   {"prefix=", KF_RANGE},
        {"no.such=1", KF_INVALID},       {".=", KF_INVALID},
        {"calib.=1", KF_INVALID},        {"embedding=floaty", KF_RANGE},
        {"prefix=\xFF", KF_INVALID},     {"tensors.\xFF=keep", KF_INVALID},
        {"kv=k9v9", KF_RANGE},
    };
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    CHECK_OK(kf_recipe_open(&recipe, "gptq-w4", NULL, &err), &err);
    CHECK_OK(kf_recipe_set(recipe, "embedding=keep", &err), &err);
    char *before = strdup(kf_recipe_json(recipe));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const kf_status st = kf_recipe_set(recipe, cases[i].text, &err);
        if (st != cases[i].status) {
            fail_msg("%s: %s: %s", cases[i].text, kf_status_text(st), err.msg);
        }
        CHECK_OK(kfi_recipe_resolve(recipe, &err), &err);
        assert_string_equal(kf_recipe_json(recipe), before);
    }
    free(before);
    kf_recipe_free(recipe);
}

static void patterns_match_both_names_of_a_tensor(void **state)
{
    (void)state;
    static const char down[] = "model.layers.12.mlp.down_proj.weight";
    const kfi_architecture *llama = &kfi_architecture_llama;
    assert_true(kfi_recipe_matches(down, llama, down));
    assert_true(kfi_recipe_matches("model.layers.12.mlp.down_proj", llama, down));
    assert_true(kfi_recipe_matches("blk.12.ffn_down", llama, down));
    assert_true(kfi_recipe_matches("blk.12.ffn_down.weight", llama, down));
    assert_true(kfi_recipe_matches("blk.*.ffn_down", llama, down));
    assert_true(kfi_recipe_matches("*.layers.1[0-9].*", llama, down));
    assert_false(kfi_recipe_matches("blk.1.ffn_down", llama, down));
    assert_false(kfi_recipe_matches("blk.*.ffn_up", llama, down));
    assert_true(kfi_recipe_matches("token_embd", llama, "model.embed_tokens.weight"));
    assert_true(kfi_recipe_matches("output", llama, "lm_head.weight"));
    assert_true(kfi_recipe_matches("output_norm", llama, "model.norm.weight"));
    assert_true(kfi_recipe_matches("blk.*_norm", llama, "model.layers.0.input_layernorm.weight"));
    assert_true(kfi_recipe_matches("*.attn_q.bias", llama, "model.layers.0.self_attn.q_proj.bias"));
    assert_false(kfi_recipe_matches("*.attn_q", llama, "model.layers.0.self_attn.q_proj.bias"));
    assert_false(kfi_recipe_matches("blk.*", llama, "lm_head.weight"));
    assert_false(kfi_recipe_matches("blk.*", llama, "model.layers.x.mlp.down_proj.weight"));
}

static void later_overrides_win_key_by_key(void **state)
{
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    CHECK_OK(open_text(&recipe, *state,
                       "{\"weights\": \"int4g64\", \"activations\": \"int8tg64\","
                       " \"tensors\": {\"*\": {\"activations\": \"float\"},"
                       " \"blk.0.*\": \"keep\", \"*.v_proj\": \"int8g32\","
                       " \"lm_head\": {\"weights\": \"int6g64\"}}}",
                       &err),
             &err);
    kfi_treatment treatment;
    kfi_config config = {.architecture = &kfi_architecture_llama};
    kfi_recipe_treatment(&treatment, recipe, &config, "model.layers.0.self_attn.q_proj.weight");
    assert_true(treatment.keep);
    kfi_recipe_treatment(&treatment, recipe, &config, "model.layers.0.self_attn.v_proj.weight");
    assert_false(treatment.keep);
    assert_int_equal(treatment.weights.bits, 8);
    assert_int_equal(treatment.weights.group, 32);
    assert_int_equal(treatment.activations.bits, 32);
    assert_string_equal(kfi_treatment_round(&treatment)->method->about.name, "rtn");
    kfi_recipe_treatment(&treatment, recipe, &config, "model.layers.1.self_attn.q_proj.weight");
    assert_int_equal(treatment.weights.bits, 4);
    kfi_recipe_treatment(&treatment, recipe, &config, "lm_head.weight");
    assert_int_equal(treatment.weights.bits, 6);
    kfi_recipe_treatment(&treatment, recipe, &config, "model.embed_tokens.weight");
    assert_int_equal(treatment.weights.bits, 8);
    config.tied = true; /* then it is the head */
    kfi_recipe_treatment(&treatment, recipe, &config, "model.embed_tokens.weight");
    assert_int_equal(treatment.weights.bits, 6);
    kf_recipe_free(recipe);
}

/* The name of what a tensor's input becomes. */
static const char *activations_of(const kf_recipe *recipe, bool *searches, const char *tensor)
{
    static char name[KF_FORMAT_NAME_BYTES];
    const kfi_config config = {.architecture = &kfi_architecture_llama};
    kfi_treatment treatment;
    kfi_recipe_treatment(&treatment, recipe, &config, tensor);
    kf_activation_name(name, treatment.activations);
    *searches = treatment.searches_clip;
    return name;
}

static void activations_are_clipped_and_kept_where_the_recipe_says(void **state)
{
    static const char text[] =
        "{\"activations\": \"int4tg64a\","
        " \"tensors\": {\"blk.0.*\": \"keep\", \"*.v_proj\": {\"activations\": \"int6tc70\"},"
        " \"*down*\": {\"activations\": \"fp8t\"}, \"*gate*\": {\"activations\": \"float\"}}}";
    static const struct {
        const char *set, *tensor, *activations;
        bool searches;
    } cases[] = {
        {"act_clip=1", "model.layers.1.self_attn.q_proj.weight", "int4tg64a", false},
        {"act_clip=published", "model.layers.1.self_attn.q_proj.weight", "int4tg64ac90", false},
        {"act_clip=0.75", "model.layers.1.self_attn.q_proj.weight", "int4tg64ac75", false},
        {"act_clip=search", "model.layers.1.self_attn.q_proj.weight", "int4tg64a", true},
        {"act_clip=search", "model.layers.1.self_attn.v_proj.weight", "int6tc70", false},
        {"act_clip=search", "model.layers.1.mlp.down_proj.weight", "fp8t", false},
        {"act_clip=search", "model.layers.1.mlp.gate_proj.weight", "float", false},
        {"act_clip=search", "model.layers.0.self_attn.q_proj.weight", "float", false},
        {"act_clip=0.9", "lm_head.weight", "int8tg64", false},
        {"act_kept=true", "model.layers.0.self_attn.q_proj.weight", "int4tg64ac90", false},
        {"act_kept=false", "model.layers.0.self_attn.q_proj.weight", "float", false},
        {"head=keep", "lm_head.weight", "float", false},
    };
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    CHECK_OK(open_text(&recipe, *state, text, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool searches = false;
        CHECK_OK(kf_recipe_set(recipe, cases[i].set, &err), &err);
        assert_string_equal(activations_of(recipe, &searches, cases[i].tensor),
                            cases[i].activations);
        assert_int_equal(searches, cases[i].searches);
    }
    kf_recipe_free(recipe);
}

static void a_pattern_set_again_is_changed_and_wins(void **state)
{
    kf_error err = {0};
    kf_recipe *recipe = NULL;
    kf_recipe *again = NULL;
    CHECK_OK(open_text(&recipe, *state,
                       "{\"tensors\": {\"*.v_proj\": {\"activations\": \"float\"},"
                       " \"blk.0.*\": \"keep\"}}",
                       &err),
             &err);
    CHECK_OK(kf_recipe_set(recipe, "tensors.*.v_proj=int6g64", &err), &err);
    CHECK_OK(kf_recipe_set(recipe, "tensors.*.v_proj=int5g64", &err), &err);
    CHECK_OK(open_text(&again, *state, kf_recipe_json(recipe), &err), &err);
    kfi_treatment treatment;
    const kfi_config config = {.architecture = &kfi_architecture_llama};
    kfi_recipe_treatment(&treatment, again, &config, "model.layers.0.self_attn.v_proj.weight");
    assert_false(treatment.keep);
    assert_int_equal(treatment.weights.bits, 5);
    assert_int_equal(treatment.activations.bits, 32);
    kf_recipe_free(again);
    kf_recipe_free(recipe);
}

static void a_seed_matters_where_something_is_drawn_by_it(void **state)
{
    (void)state;
    kf_error err = {0};
    static const struct {
        const char *recipe, *prefix;
        bool draws;
    } cases[] = {
        {"rtn-w4", "prefix=none", false},         {"rtn-w4", "prefix=start", false},
        {"rtn-w4", "prefix=auto", true},          {"gptq-w4", "prefix=none", true},
        {"quarot-w4a4-rtn", "prefix=none", true}, {"mxint4", "prefix=none", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_recipe *recipe = NULL;
        CHECK_OK(kf_recipe_open(&recipe, cases[i].recipe, NULL, &err), &err);
        CHECK_OK(kf_recipe_set(recipe, cases[i].prefix, &err), &err);
        assert_int_equal(kf_recipe_draws(recipe), cases[i].draws);
        kf_recipe_free(recipe);
    }
}

static void without_memory_nothing_leaks(void **state)
{
    (void)state;
    for (size_t fail_at = 1;; fail_at++) {
        fixture_allocator a;
        fixture_allocator_init(&a, fail_at);
        kf_error err = {0};
        kf_recipe *recipe = NULL;
        kf_status st = kf_recipe_open(&recipe, "gptq-w4", &a.allocator, &err);
        if (st == KF_OK) {
            st = kf_recipe_set(recipe, "prefix=Once upon a time", &err);
        }
        kf_recipe_free(recipe);
        assert_true(fixture_allocator_is_clean(&a));
        if (st == KF_OK) {
            assert_true(fail_at > 3);
            return;
        }
        assert_int_equal(st, KF_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recipe_that_comes_along_opens),
        cmocka_unit_test(an_unknown_recipe_names_those_that_exist),
        cmocka_unit_test(float_is_another_word_for_keep),
        IN_DIRECTORY(an_unknown_key_is_called_so_whatever_its_value),
        IN_DIRECTORY(a_resolved_recipe_reads_back_as_itself),
        IN_DIRECTORY(bad_recipes_are_refused_with_the_right_status),
        cmocka_unit_test(assignments_change_the_resolved_recipe),
        cmocka_unit_test(bad_assignments_change_nothing),
        cmocka_unit_test(patterns_match_both_names_of_a_tensor),
        IN_DIRECTORY(later_overrides_win_key_by_key),
        IN_DIRECTORY(activations_are_clipped_and_kept_where_the_recipe_says),
        IN_DIRECTORY(a_pattern_set_again_is_changed_and_wins),
        cmocka_unit_test(a_seed_matters_where_something_is_drawn_by_it),
        cmocka_unit_test(without_memory_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
