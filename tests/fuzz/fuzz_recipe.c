/* fuzz_recipe.c - a recipe's JSON, and behind each NUL byte an assignment of --set. Whatever was
 * taken, the resolved recipe is one that opens and resolves to itself.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "bundle.h"
#include "model/architecture.h"
#include "quantize/recipe.h"

/* A run of zeros is many assignments. */
#define MAX_ASSIGNMENTS 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static kf_status open_text(kf_recipe **recipe, const char *text, size_t n, kf_error *err)
{
    char path[256];
    bundle_write("recipe.json", text, n);
    bundle_path(path, "recipe.json");
    return kf_recipe_open(recipe, path, NULL, err);
}

static void check_treatments(const kf_recipe *recipe, bool tied)
{
    static const char *const tensors[] = {"model.layers.0.mlp.down_proj.weight", "lm_head.weight",
                                          "model.embed_tokens.weight", "", "model.layers."};
    const kfi_config config = {.architecture = &kfi_architecture_llama, .tied = tied};
    kfi_treatment treatment;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        kfi_recipe_treatment(&treatment, recipe, &config, tensors[i]);
        require(kfi_treatment_round(&treatment) != NULL);
    }
}

static void check_recipe(const kf_recipe *recipe)
{
    kf_recipe *again = NULL;
    const char *json = kf_recipe_json(recipe);
    require(open_text(&again, json, strlen(json), NULL) == KF_OK);
    require(strcmp(kf_recipe_json(again), json) == 0);
    require((kf_recipe_calibrates(recipe) == NULL) == (kf_recipe_calibrates(again) == NULL));
    check_treatments(recipe, false);
    check_treatments(recipe, true);
    kf_recipe_free(again);
}

/* One assignment; a refused one changes nothing. */
static void set_one(kf_recipe *recipe, const char *assignment)
{
    kf_error err = {0};
    char *before = strdup(kf_recipe_json(recipe));
    const kf_status st = kf_recipe_set(recipe, assignment, &err);
    if (st != KF_OK) {
        require((st == KF_INVALID || st == KF_RANGE) && err.code == st && err.msg[0] != '\0');
        require(kfi_recipe_resolve(recipe, NULL) == KF_OK);
        require(before != NULL && strcmp(kf_recipe_json(recipe), before) == 0);
    }
    free(before);
}

/* Assignments lie behind the NUL that ends what is before them. */
static void set_all(kf_recipe *recipe, const char *text, size_t n)
{
    size_t at = strnlen(text, n) + 1;
    for (size_t i = 0; i < MAX_ASSIGNMENTS && at < n; i++) {
        const size_t n_one = strnlen(text + at, n - at);
        char *assignment = kfi_strndup(NULL, text + at, n_one);
        require(assignment != NULL);
        set_one(recipe, assignment);
        kfi_free(NULL, assignment, n_one + 1);
        at += n_one + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kf_recipe *recipe = NULL;
    kf_error err = {0};
    const char *text = (const char *)data;
    const kf_status st = open_text(&recipe, text, strnlen(text, n), &err);
    if (st == KF_OK) {
        set_all(recipe, text, n);
        check_recipe(recipe);
    } else {
        require(recipe == NULL && err.code == st && err.msg[0] != '\0');
        require(st == KF_INVALID || st == KF_RANGE || st == KF_FORMAT);
    }
    kf_recipe_free(recipe);
    return 0;
}
