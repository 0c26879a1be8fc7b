/* recipe_open.c - a recipe from its name or file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "quantize/recipe.h"

#define RECIPE_BYTES_MAX   (1u << 20)
#define RECIPE_STRINGS_MAX (4u << 20)

void kf_recipe_free(kf_recipe *recipe)
{
    if (recipe == NULL) {
        return;
    }
    const kf_allocator *alloc = recipe->alloc;
    kfi_buf_deinit(&recipe->json);
    kfi_arena_deinit(&recipe->strings);
    kfi_free(alloc, recipe->overrides, KFI_RECIPE_OVERRIDES_MAX * sizeof *recipe->overrides);
    kfi_free(alloc, recipe, sizeof *recipe);
}

/* A treatment by one method at its defaults. */
static kfi_treatment default_treatment(const char *method)
{
    kfi_treatment treatment = {.weights = {KF_ELEMENT_INT, 8, KF_SCALE_FP16, KF_ZERO_NONE, 64},
                               .activations = {.bits = 8, .group = 64},
                               .n_methods = 1};
    treatment.methods[0].method = kfi_method_find(method, strlen(method));
    kfi_knobs_default(treatment.methods[0].knobs, treatment.methods[0].method);
    return treatment;
}

static kf_status recipe_new(kf_recipe **dst, const char *name, size_t n, const kf_allocator *alloc,
                            kf_error *err)
{
    kf_recipe *recipe = kfi_calloc(alloc, 1, sizeof *recipe);
    if (recipe == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a recipe");
    }
    recipe->alloc = alloc;
    kfi_arena_init(&recipe->strings, alloc, RECIPE_STRINGS_MAX);
    kfi_buf_init(&recipe->json, alloc, 0);
    recipe->overrides = kfi_calloc(alloc, KFI_RECIPE_OVERRIDES_MAX, sizeof *recipe->overrides);
    recipe->name = kfi_arena_strndup(&recipe->strings, name, n);
    if (recipe->overrides == NULL || recipe->name == NULL) {
        kf_recipe_free(recipe);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a recipe");
    }
    recipe->description = "";
    recipe->prefix = "auto";
    recipe->kv = KF_KV_AUTO;
    recipe->samples = 32;
    recipe->length = 2048;
    recipe->linears = default_treatment("rtn");
    recipe->embedding = default_treatment("rtn");
    recipe->head = default_treatment("rtn");
    *dst = recipe;
    return KF_OK;
}

static bool is_path(const char *name)
{
    const size_t n = strlen(name);
    return strchr(name, '/') != NULL || (n > 5 && strcmp(name + n - 5, ".json") == 0);
}

static kf_status read_source(kfi_json **root, const char *name, kf_error *err)
{
    if (is_path(name)) {
        return kfi_json_read(root, name, RECIPE_BYTES_MAX, err);
    }
    char known[160] = "";
    for (const kfi_recipe_file *file = kfi_recipe_files; file->name != NULL; file++) {
        if (strcmp(file->name, name) == 0) {
            return kfi_json_parse(root, file->json, strlen(file->json), err);
        }
        const size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, " %s", file->name);
    }
    return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                    "no recipe '%.40s'; there are%s, or a path to a .json file", name, known);
}

kf_status kfi_recipe_from_json(kf_recipe **recipe, const kfi_json *root, const char *name, size_t n,
                               const kf_allocator *alloc, kf_error *err)
{
    kf_recipe *made = NULL;
    *recipe = NULL;
    kf_status st = recipe_new(&made, name, n, alloc, err);
    if (st == KF_OK) {
        st = kfi_recipe_read(made, root, err);
    }
    if (st == KF_OK) {
        st = kfi_recipe_resolve(made, err);
    }
    if (st != KF_OK) {
        kf_recipe_free(made);
        return st;
    }
    *recipe = made;
    return KF_OK;
}

kf_status kf_recipe_open(kf_recipe **recipe, const char *name, const kf_allocator *alloc,
                         kf_error *err)
{
    kfi_json *root = NULL;
    *recipe = NULL;
    KFI_TRY(read_source(&root, name, err));

    const char *base = kfi_path_name(name);
    size_t n = strlen(base);
    n -= n > 5 && strcmp(base + n - 5, ".json") == 0 ? 5 : 0;
    const kf_status st = kfi_recipe_from_json(recipe, root, base, n, alloc, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "'%s': ", name);
    }
    kfi_json_free(root);
    return st;
}

bool kf_recipe_at(size_t i, const char **name, const char **description)
{
    size_t n = 0;
    while (kfi_recipe_files[n].name != NULL) {
        n++;
    }
    if (i >= n) {
        return false;
    }
    *name = kfi_recipe_files[i].name;
    *description = kfi_recipe_files[i].description;
    return true;
}
