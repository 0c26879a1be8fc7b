/* recipe.c - what a recipe says about a model as a whole.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/recipe.h"

#include "model/checkpoint_names.h"

const char *kf_recipe_name(const kf_recipe *recipe)
{
    return recipe->name;
}

const char *kf_recipe_json(const kf_recipe *recipe)
{
    return recipe->json.data;
}

const char *kf_recipe_prefix(const kf_recipe *recipe)
{
    return recipe->prefix;
}

void kf_recipe_calibration(const kf_recipe *recipe, size_t *samples, size_t *length)
{
    *samples = recipe->samples;
    *length = recipe->length;
}

kf_activation kfi_recipe_activations(const kf_recipe *recipe)
{
    kf_activation activation = recipe->linears.activations;
    if (kfi_activation_clips(activation) && activation.clip == 0) {
        activation.clip = recipe->act_clip;
    }
    return activation;
}

static const char *calibrating_method(const kfi_treatment *treatment)
{
    for (size_t i = 0; i < treatment->n_methods; i++) {
        if (kfi_method_use_request(&treatment->methods[i]).needs != 0) {
            return treatment->methods[i].method->about.name;
        }
    }
    return NULL;
}

const char *kf_recipe_calibrates(const kf_recipe *recipe)
{
    const char *name = calibrating_method(&recipe->linears);
    for (size_t i = 0; i < recipe->n_overrides && name == NULL; i++) {
        name = calibrating_method(&recipe->overrides[i].treatment);
    }
    return name == NULL && recipe->searches_clip ? "act_clip" : name;
}

bool kf_recipe_draws(const kf_recipe *recipe)
{
    /* Whether an exact start token pays is tried on windows of the calibration text. */
    return kf_recipe_calibrates(recipe) != NULL || strcmp(recipe->prefix, "auto") == 0 ||
           kfi_recipe_rotates(recipe);
}

const kfi_method_use *kfi_recipe_transform(const kf_recipe *recipe, size_t i)
{
    const kfi_method_use *use = &recipe->linears.methods[i]; /* stages in their order: they lead */
    return i < recipe->linears.n_methods && use->method->stage == KFI_STAGE_TRANSFORM ? use : NULL;
}

bool kfi_recipe_rotates(const kf_recipe *recipe)
{
    const kfi_method_use *use = NULL;
    bool rotates = false;
    for (size_t i = 0; (use = kfi_recipe_transform(recipe, i)) != NULL; i++) {
        rotates = rotates || use->method->rotates_residual;
    }
    return rotates;
}

size_t kfi_recipe_outliers(const kf_recipe *recipe, size_t width)
{
    const kfi_method_use *use = NULL;
    size_t n = 0;
    for (size_t i = 0; (use = kfi_recipe_transform(recipe, i)) != NULL; i++) {
        n += use->method->n_outliers != NULL ? use->method->n_outliers(width, use->knobs) : 0;
    }
    return n;
}

size_t kfi_recipe_asking(const kf_recipe *recipe)
{
    size_t n = 0;
    const kfi_method_use *use = NULL;
    for (size_t i = 0; (use = kfi_recipe_transform(recipe, i)) != NULL; i++) {
        n += kfi_method_use_request(use).needs != 0;
    }
    return n;
}

static bool weighs(const kfi_treatment *treatment)
{
    const kfi_method_use *use = kfi_treatment_round(treatment);
    return use != NULL && kfi_method_use_request(use).attention_least > 0.0;
}

bool kfi_recipe_weighs(const kf_recipe *recipe)
{
    bool any = weighs(&recipe->linears);
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        any = any || weighs(&recipe->overrides[i].treatment);
    }
    return any;
}

static bool has_budget(const kfi_treatment *treatment)
{
    return kfi_treatment_pair(treatment, SIZE_MAX, SIZE_MAX).budget > 0.0;
}

bool kfi_recipe_budgets(const kf_recipe *recipe)
{
    bool any = has_budget(&recipe->linears);
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        any = any || has_budget(&recipe->overrides[i].treatment);
    }
    return any;
}

bool kfi_recipe_keeps_weights(const kf_recipe *recipe)
{
    bool any = kfi_treatment_sparse(&recipe->linears) > 0.0;
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        any = any || kfi_treatment_sparse(&recipe->overrides[i].treatment) > 0.0;
    }
    return any;
}

size_t kfi_recipe_rank(const kf_recipe *recipe, const kfi_config *config)
{
    size_t rank = 0;
    for (size_t i = 0; i < config->n_layers * KFI_LINEAR_COUNT; i++) {
        kfi_treatment treatment;
        const kfi_name name =
            kfi_name_weight(i / KFI_LINEAR_COUNT, (kfi_linear_role)(i % KFI_LINEAR_COUNT));
        kfi_recipe_treatment(&treatment, recipe, config, name.text);
        const kfi_repair_plan pair = kfi_treatment_pair(&treatment, SIZE_MAX, SIZE_MAX);
        rank = pair.rank > rank ? pair.rank : rank;
    }
    return rank;
}
