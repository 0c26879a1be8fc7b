/* plan.c - checks before any work.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/plan.h"

#include <string.h>

#include "base/fail.h"
#include "base/report.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"
#include "quantize/table.h"

static kf_status check_ids(const uint32_t *ids, size_t n, size_t vocabulary, const char *what,
                           kf_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= vocabulary) {
            return kfi_fail(err, KF_RANGE, i,
                            "token %zu of %s is %" PRIu32 ", outside the vocabulary of %zu", i,
                            what, ids[i], vocabulary);
        }
    }
    return KF_OK;
}

static kf_status check_calibration(const kfi_config *config, const kf_recipe *recipe,
                                   const kf_quantize_options *options, kf_error *err)
{
    const char *method = kf_recipe_calibrates(recipe);
    if (method != NULL && options->calibration == NULL) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "recipe %s needs calibration text: %s looks at the inputs of each layer; "
                        "give it with --calib FILE",
                        kf_recipe_name(recipe), method);
    }
    if (options->calibration == NULL) {
        return KF_OK;
    }
    KFI_TRY(check_ids(options->calibration, options->n_calibration, config->vocabulary,
                      "the calibration text", err));
    if (method == NULL) {
        if (strcmp(recipe->prefix, "auto") != 0 || options->n_prefix == 0) {
            kfi_report_warn(options->callbacks, "recipe %s uses no calibration text",
                            kf_recipe_name(recipe));
        }
        return KF_OK;
    }
    if (recipe->length + options->n_prefix > config->context) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "calib.length is %zu, the model's context is %zu%s", recipe->length,
                        config->context, options->n_prefix > 0 ? " with the prefix" : "");
    }
    if (options->n_calibration < KFI_WINDOW_LEAST) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "the calibration text has %zu tokens, expected at least a window of %zu",
                        options->n_calibration, recipe->length);
    }
    if (options->n_calibration < recipe->length) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "the calibration text has %zu tokens, a window %zu: --set calib.length=%zu "
                        "or a longer text",
                        options->n_calibration, recipe->length, options->n_calibration);
    }
    return KF_OK;
}

/* Whether a pattern names any tensor of a model. */
typedef struct match {
    const char *pattern;
    const kfi_architecture *architecture;
    bool found;
} match;

static kf_status visit_match(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    match *m = ctx;
    (void)rows;
    (void)cols;
    (void)err;
    m->found = m->found || kfi_recipe_matches(m->pattern, m->architecture, name);
    return KF_OK;
}

static kf_status check_patterns(const kfi_config *config, const kf_recipe *recipe, kf_error *err)
{
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        match m = {recipe->overrides[i].pattern, config->architecture, false};
        KFI_TRY(kfi_config_each_tensor(config, visit_match, &m, err));
        KFI_TRY(visit_match(&m, KFI_TENSOR_HEAD, 0, 0, err)); /* a name of the tied embedding too */
        if (!m.found) {
            return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                            "recipe %s: pattern '%.60s' matches no tensor of the model",
                            kf_recipe_name(recipe), recipe->overrides[i].pattern);
        }
    }
    return KF_OK;
}

static kf_status check_table(const kfi_config *config, const kf_recipe *recipe, const char *name,
                             kf_error *err)
{
    kfi_treatment treatment;
    kfi_recipe_treatment(&treatment, recipe, config, name);
    const kfi_method_use *use = kfi_treatment_round(&treatment);
    if (treatment.keep) {
        return KF_OK;
    }
    if (use->method->is_whole) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "recipe %s: method %s looks at a matrix as a whole, and '%s' is rounded in "
                        "pieces",
                        kf_recipe_name(recipe), use->method->about.name, name);
    }
    const kfi_method_use *repair = kfi_treatment_repair(&treatment);
    if (repair != NULL) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "recipe %s: method %s of tensor '%s' repairs the linear layers of blocks "
                        "only",
                        kf_recipe_name(recipe), repair->method->about.name, name);
    }
    if (kfi_method_use_request(use).needs != 0) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "recipe %s: method %s of tensor '%s' needs statistics, which are gathered "
                        "for the layers of blocks only",
                        kf_recipe_name(recipe), use->method->about.name, name);
    }
    return KF_OK;
}

/* Whether all layers are rounded by methods that take outliers apart. */
static kf_status check_outliers(const kfi_config *config, const kf_recipe *recipe,
                                const kfi_method_use *transform, kf_error *err)
{
    for (size_t i = 0; i < config->n_layers * KFI_LINEAR_COUNT; i++) {
        kfi_treatment treatment;
        const kfi_name name =
            kfi_name_weight(i / KFI_LINEAR_COUNT, (kfi_linear_role)(i % KFI_LINEAR_COUNT));
        kfi_recipe_treatment(&treatment, recipe, config, name.text);
        const kfi_method *method = kfi_treatment_round(&treatment)->method;
        if (!treatment.keep && !method->takes_outliers) {
            return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                            "recipe %s: method %s of tensor '%s' cannot round the outliers of %s "
                            "apart",
                            kf_recipe_name(recipe), method->about.name, name.text,
                            transform->method->about.name);
        }
        if (!treatment.keep && kfi_treatment_repair(&treatment) != NULL) {
            return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                            "recipe %s: tensor '%s' would be repaired where %s leaves outliers",
                            kf_recipe_name(recipe), name.text, transform->method->about.name);
        }
    }
    return KF_OK;
}

static kf_status check_transforms(const kfi_config *config, const kf_recipe *recipe, kf_error *err)
{
    const kfi_method_use *use = NULL;
    for (size_t i = 0; (use = kfi_recipe_transform(recipe, i)) != NULL; i++) {
        const kf_status st =
            use->method->check != NULL ? use->method->check(config, use->knobs, err) : KF_OK;
        if (st != KF_OK) {
            kfi_fail_prefix(err, "recipe %s: method %s: ", kf_recipe_name(recipe),
                            use->method->about.name);
            return st;
        }
        if (use->method->n_outliers != NULL) {
            KFI_TRY(check_outliers(config, recipe, use, err));
        }
    }
    return KF_OK;
}

static kf_status check_prefix(const kfi_config *config, const kf_recipe *recipe,
                              const kf_quantize_options *options, kf_error *err)
{
    const bool is_asked_for =
        strcmp(recipe->prefix, "none") != 0 && strcmp(recipe->prefix, "auto") != 0;
    if (is_asked_for && options->n_prefix == 0) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "recipe %s has prefix=%.40s, but the model names no start token",
                        kf_recipe_name(recipe), recipe->prefix);
    }
    KFI_TRY(check_ids(options->prefix, options->n_prefix, config->vocabulary, "the prefix", err));
    if (options->n_prefix >= config->context) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "a prefix of %zu tokens does not fit a context of %zu", options->n_prefix,
                        config->context);
    }
    return KF_OK;
}

/* Nothing but blocks: those are checked when their turn comes. */
static kf_status check_finite(kf_model *model, const kf_recipe *recipe, const kf_allocator *alloc,
                              kf_error *err)
{
    static const char *const names[] = {KFI_TENSOR_FINAL_NORM, KFI_TENSOR_EMBEDDING,
                                        KFI_TENSOR_HEAD};
    const kfi_config *config = kfi_model_config(model);
    for (size_t i = 0; i < (config->tied ? 2u : 3u); i++) {
        kfi_treatment treatment;
        kfi_recipe_treatment(&treatment, recipe, config, names[i]);
        if (treatment.keep) {
            continue;
        }
        KFI_TRY(
            i == 0 ? kfi_check_finite(names[i], kfi_model_final_norm(model), config->hidden, 0, err)
                   : kfi_table_check(model, names[i], alloc, err));
    }
    return KF_OK;
}

kf_status kfi_plan_check(kf_model *model, const kf_recipe *recipe,
                         const kf_quantize_options *options, kf_error *err)
{
    const kfi_config *config = kfi_model_config(model);
    kf_model_info info;
    kf_model_get_info(model, &info);
    if (info.is_kerf) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "the source is a Kerf checkpoint already; quantize the original");
    }
    if (!kfi_model_is_float(model)) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "the source's weights were packed when it was opened, expected float ones");
    }
    KFI_TRY(check_patterns(config, recipe, err));
    KFI_TRY(check_table(config, recipe, KFI_TENSOR_EMBEDDING, err));
    KFI_TRY(check_table(config, recipe, KFI_TENSOR_HEAD, err));
    KFI_TRY(check_transforms(config, recipe, err));
    KFI_TRY(check_prefix(config, recipe, options, err));
    KFI_TRY(check_calibration(config, recipe, options, err));
    return check_finite(model, recipe, options->alloc, err);
}
