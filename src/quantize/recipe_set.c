/* recipe_set.c - changing a recipe by assignments.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/utf8.h"
#include "io/names.h"
#include "quantize/recipe.h"

/* "gptq.damping" in one treatment; *found when the method is there. */
static kf_status set_knob(kfi_treatment *treatment, const char *key, size_t n_method,
                          const char *knob, size_t n_knob, const char *value, bool *found,
                          kf_error *err)
{
    for (size_t i = 0; i < treatment->n_methods; i++) {
        kfi_method_use *use = &treatment->methods[i];
        if (use->method != kfi_method_find(key, n_method)) {
            continue;
        }
        const size_t i_knob = kfi_knob_find(use->method, knob, n_knob);
        if (i_knob == KFI_KNOBS_MAX) {
            return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "method %s has no knob '%.*s'",
                            use->method->about.name, (int)n_knob, knob);
        }
        KFI_TRY(kfi_knob_parse(&use->knobs[i_knob], use->method, i_knob, value, err));
        *found = true;
    }
    return KF_OK;
}

static kf_status set_method(kf_recipe *recipe, const char *key, size_t n, const char *dot,
                            const char *value, kf_error *err)
{
    const size_t n_method = (size_t)(dot - key);
    const size_t n_knob = n - n_method - 1;
    bool found = false;
    KFI_TRY(set_knob(&recipe->linears, key, n_method, dot + 1, n_knob, value, &found, err));
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        KFI_TRY(set_knob(&recipe->overrides[i].treatment, key, n_method, dot + 1, n_knob, value,
                         &found, err));
    }
    if (!found) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "recipe %s has no knob '%.*s' (it rounds by %s)", recipe->name, (int)n, key,
                        kfi_treatment_round(&recipe->linears)->method->about.name);
    }
    return KF_OK;
}

static kf_status set_calib(kf_recipe *recipe, const char *key, size_t n, const char *value,
                           kf_error *err)
{
    char *end = NULL;
    char name[16] = "";
    const long long number = strtoll(value, &end, 10);
    if (end == value || *end != '\0') {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "calib.%.*s is '%.40s', expected a number",
                        (int)n, key, value);
    }
    if (n < sizeof name) {
        memcpy(name, key, n);
        name[n] = '\0';
    }
    return kfi_recipe_read_calib(recipe, name, number, err);
}

static kf_status set_override(kf_recipe *recipe, const char *pattern, size_t n, const char *value,
                              kf_error *err)
{
    kfi_override *override = NULL;
    kfi_treatment treatment = {0};
    KFI_TRY(kfi_recipe_read_weights(&treatment, "tensors", value, err));
    KFI_TRY(kfi_recipe_add_override(&override, recipe, pattern, n, err));
    override->has_weights = true;
    override->treatment.keep = treatment.keep;
    override->treatment.weights = treatment.weights;
    return KF_OK;
}

static kf_status set_clip(kf_recipe *recipe, const char *value, kf_error *err)
{
    char *end = NULL;
    const double ratio = strtod(value, &end);
    return end == value || *end != '\0' ? kfi_recipe_read_clip_word(recipe, value, err)
                                        : kfi_recipe_read_clip(recipe, ratio, err);
}

static kf_status set_kept(kf_recipe *recipe, const char *value, kf_error *err)
{
    recipe->act_kept = strcmp(value, "true") == 0;
    return recipe->act_kept || strcmp(value, "false") == 0
               ? KF_OK
               : kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                          "act_kept is '%.40s', expected true or false", value);
}

static bool key_is(const char *key, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(key, name, n) == 0;
}

static kf_status set_key(kf_recipe *recipe, const char *key, size_t n, const char *value,
                         kf_error *err)
{
    const char *dot = memchr(key, '.', n);
    if (dot != NULL) {
        const size_t n_rest = n - (size_t)(dot + 1 - key);
        if (key_is(key, (size_t)(dot - key), "calib")) {
            return set_calib(recipe, dot + 1, n_rest, value, err);
        }
        if (key_is(key, (size_t)(dot - key), "tensors")) {
            return set_override(recipe, dot + 1, n_rest, value, err);
        }
        return set_method(recipe, key, n, dot, value, err);
    }
    const size_t i_key = kfi_recipe_text_key(key, n);
    if (i_key < KFI_RECIPE_TEXT_KEYS) {
        return kfi_recipe_read_text(recipe, i_key, value, err);
    }
    if (key_is(key, n, "act_clip")) {
        return set_clip(recipe, value, err);
    }
    if (key_is(key, n, "act_kept")) {
        return set_kept(recipe, value, err);
    }
    return kfi_fail(
        err, KF_INVALID, KF_NO_OFFSET,
        "unknown key '%.*s'; there are weights, activations, act_clip, act_kept, kv, "
        "embedding, head, prefix, calib.samples, calib.length, METHOD.KNOB and tensors.PATTERN",
        (int)(n < 40 ? n : 40), key);
}

kf_status kf_recipe_set(kf_recipe *recipe, const char *assignment, kf_error *err)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "'%.60s' is not KEY=VALUE", assignment);
    }
    if (!kfi_utf8_is_valid(assignment, strlen(assignment))) { /* JSON would hold another text */
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "'%s' is not UTF-8",
                        kfi_string_show(assignment).text);
    }
    KFI_TRY(set_key(recipe, assignment, (size_t)(equals - assignment), equals + 1, err));
    return kfi_recipe_resolve(recipe, err);
}
