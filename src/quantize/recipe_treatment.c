/* recipe_treatment.c - what a recipe says about one tensor.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "model/architecture.h"
#include "model/checkpoint_names.h"
#include "quantize/recipe.h"

/* Whether the pattern fits a name, with or without its ".weight". */
static bool matches_name(const char *pattern, const kfi_name *name)
{
    static const char suffix[] = ".weight";
    const size_t n = strlen(name->text);
    kfi_name bare = *name;
    if (n >= sizeof suffix && strcmp(name->text + n - (sizeof suffix - 1), suffix) == 0) {
        bare.text[n - (sizeof suffix - 1)] = '\0';
    }
    return n > 0 && (fnmatch(pattern, name->text, 0) == 0 || fnmatch(pattern, bare.text, 0) == 0);
}

bool kfi_recipe_matches(const char *pattern, const kfi_architecture *architecture,
                        const char *tensor)
{
    kfi_name name;
    (void)snprintf(name.text, sizeof name.text, "%s", tensor);
    const kfi_name gguf = kfi_name_to_gguf(architecture, tensor);
    return matches_name(pattern, &name) || matches_name(pattern, &gguf);
}

static void apply_overrides(kfi_treatment *treatment, const kf_recipe *recipe,
                            const kfi_config *config, const char *tensor)
{
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        const kfi_override *override = &recipe->overrides[i];
        if (!kfi_recipe_matches(override->pattern, config->architecture, tensor)) {
            continue;
        }
        if (override->has_weights) {
            treatment->keep = override->treatment.keep;
            treatment->weights = override->treatment.weights;
        }
        if (override->has_activations) {
            treatment->activations = override->treatment.activations;
        }
        if (override->has_methods) {
            memcpy(treatment->methods, override->treatment.methods, sizeof treatment->methods);
            treatment->n_methods = override->treatment.n_methods;
        }
    }
}

/* The clip where the format names none, and whether the input of a kept matrix is quantized. */
static void settle_activations(kfi_treatment *treatment, const kf_recipe *recipe, bool is_linear)
{
    kf_activation *activation = &treatment->activations;
    if (treatment->keep && !(is_linear && recipe->act_kept)) {
        *activation = (kf_activation){.bits = 32};
    }
    if (is_linear && kfi_activation_clips(*activation) && activation->clip == 0) {
        activation->clip = recipe->act_clip;
        treatment->searches_clip = recipe->searches_clip;
    }
}

void kfi_recipe_treatment(kfi_treatment *treatment, const kf_recipe *recipe,
                          const kfi_config *config, const char *tensor)
{
    const bool is_embedding = strcmp(tensor, KFI_TENSOR_EMBEDDING) == 0;
    const bool is_head = strcmp(tensor, KFI_TENSOR_HEAD) == 0;
    const bool is_both = config->tied && (is_embedding || is_head);
    *treatment = is_head || is_both ? recipe->head
                 : is_embedding     ? recipe->embedding
                                    : recipe->linears;
    treatment->activations = is_head || is_embedding
                                 ? kfi_activation_of_head(recipe->linears.activations)
                                 : recipe->linears.activations;
    apply_overrides(treatment, recipe, config, is_both ? KFI_TENSOR_HEAD : tensor);
    if (is_both) {
        apply_overrides(treatment, recipe, config, KFI_TENSOR_EMBEDDING);
    }
    settle_activations(treatment, recipe, kfi_name_is_linear(tensor));
}

/* The treatment's first method of a stage, or NULL. */
static const kfi_method_use *find_stage(const kfi_treatment *treatment, kfi_stage stage)
{
    for (size_t i = 0; i < treatment->n_methods; i++) {
        if (treatment->methods[i].method->stage == stage) {
            return &treatment->methods[i];
        }
    }
    return NULL;
}

const kfi_method_use *kfi_treatment_round(const kfi_treatment *treatment)
{
    return find_stage(treatment, KFI_STAGE_ROUND);
}

const kfi_method_use *kfi_treatment_repair(const kfi_treatment *treatment)
{
    return find_stage(treatment, KFI_STAGE_REPAIR);
}

kfi_repair_plan kfi_treatment_pair(const kfi_treatment *treatment, size_t rows, size_t cols)
{
    const kfi_method_use *repair = treatment->keep ? NULL : kfi_treatment_repair(treatment);
    return repair == NULL ? (kfi_repair_plan){.rank = 0}
                          : kfi_repair_read(repair->knobs, rows, cols);
}

void kfi_treatment_set_rank(kfi_treatment *treatment, size_t rank)
{
    for (size_t i = 0; i < treatment->n_methods; i++) {
        if (treatment->methods[i].method->stage == KFI_STAGE_REPAIR) {
            kfi_repair_set_rank(treatment->methods[i].knobs, rank);
        }
    }
}

double kfi_treatment_sparse(const kfi_treatment *treatment)
{
    const kfi_method_use *round = treatment->keep ? NULL : kfi_treatment_round(treatment);
    return round == NULL || round->method->sparse == NULL ? 0.0
                                                          : round->method->sparse(round->knobs);
}

kfi_statistics_request kfi_method_use_request(const kfi_method_use *use)
{
    kfi_statistics_request request = {.first_token_weight = 1.0};
    if (use->method->request != NULL) {
        use->method->request(&request, use->knobs);
    }
    return request;
}

kfi_statistics_request kfi_treatment_request(const kfi_treatment *treatment)
{
    const kfi_method_use *repair = kfi_treatment_repair(treatment);
    kfi_statistics_request request = kfi_method_use_request(kfi_treatment_round(treatment));
    if (repair != NULL && repair->method->request != NULL) {
        /* Where only the repair asks, the prefix counts: what it attends to is repaired too. */
        request.prefix = request.prefix || request.needs == 0;
        repair->method->request(&request, repair->knobs);
    }
    return request;
}
