/* recipe.c - opening a recipe, changing it, and what it says about a tensor.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/recipe.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/utf8.h"
#include "io/names.h"
#include "model/architecture.h"

#define RECIPE_BYTES_MAX   (1u << 20)
#define RECIPE_STRINGS_MAX (4u << 20)

/* ---- opening ---- */

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

/* ---- changing ---- */

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
    if (key_is(key, n, "weights")) {
        return kfi_recipe_read_weights(&recipe->linears, "weights", value, err);
    }
    if (key_is(key, n, "embedding")) {
        return kfi_recipe_read_weights(&recipe->embedding, "embedding", value, err);
    }
    if (key_is(key, n, "head")) {
        return kfi_recipe_read_weights(&recipe->head, "head", value, err);
    }
    if (key_is(key, n, "activations")) {
        return kfi_recipe_read_activations(&recipe->linears, "activations", value, err);
    }
    if (key_is(key, n, "kv")) {
        return kfi_recipe_read_kv(recipe, value, err);
    }
    if (key_is(key, n, "act_clip")) {
        return set_clip(recipe, value, err);
    }
    if (key_is(key, n, "act_kept")) {
        return set_kept(recipe, value, err);
    }
    if (key_is(key, n, "prefix")) {
        return kfi_recipe_read_prefix(recipe, value, err);
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

/* ---- reading ---- */

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

static bool asks_for_statistics(const kfi_method_use *use)
{
    kfi_statistics_request request = {.first_token_weight = 1.0};
    if (use->method->request != NULL) {
        use->method->request(&request, use->knobs);
    }
    return request.needs != 0;
}

static const char *calibrating_method(const kfi_treatment *treatment)
{
    for (size_t i = 0; i < treatment->n_methods; i++) {
        if (asks_for_statistics(&treatment->methods[i])) {
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
        n += asks_for_statistics(use);
    }
    return n;
}

static bool weighs(const kfi_treatment *treatment)
{
    const kfi_method_use *use = kfi_treatment_round(treatment);
    kfi_statistics_request request = {.first_token_weight = 1.0};
    if (use != NULL && use->method->request != NULL) {
        use->method->request(&request, use->knobs);
    }
    return request.attention_least > 0.0;
}

bool kfi_recipe_weighs(const kf_recipe *recipe)
{
    bool any = weighs(&recipe->linears);
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        any = any || weighs(&recipe->overrides[i].treatment);
    }
    return any;
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

kfi_statistics_request kfi_treatment_request(const kfi_treatment *treatment)
{
    const kfi_method_use *round = kfi_treatment_round(treatment);
    const kfi_method_use *repair = kfi_treatment_repair(treatment);
    kfi_statistics_request request = {.first_token_weight = 1.0};
    if (round->method->request != NULL) {
        round->method->request(&request, round->knobs);
    }
    if (repair != NULL && repair->method->request != NULL) {
        /* Where only the repair asks, the prefix counts: what it attends to is repaired too. */
        request.prefix = request.prefix || request.needs == 0;
        repair->method->request(&request, repair->knobs);
    }
    return request;
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

/* ---- patterns ---- */

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

kf_activation kfi_recipe_activations(const kf_recipe *recipe)
{
    kf_activation activation = recipe->linears.activations;
    if (kfi_activation_clips(activation) && activation.clip == 0) {
        activation.clip = recipe->act_clip;
    }
    return activation;
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
