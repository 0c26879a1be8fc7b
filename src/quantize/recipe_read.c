/* recipe_read.c - a recipe from JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/recipe.h"

#define CALIB_SAMPLES_MAX 65536
#define CALIB_LENGTH_MAX  1048576
#define PREFIX_BYTES_MAX  65536

/* Where a value of the wrong kind was found. */
static kf_status wrong_kind(kf_error *err, const char *key, const char *expected)
{
    return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "recipe: \"%s\" is not %s", key, expected);
}

/* The text of a string without NUL. */
static kf_status read_text(const char **text, const char *key, const kfi_json *value, kf_error *err)
{
    size_t n = 0;
    if (!kfi_json_is_string(value)) {
        return wrong_kind(err, key, "a string");
    }
    *text = kfi_json_string(value, &n);
    return strlen(*text) == n ? KF_OK : wrong_kind(err, key, "a string without NUL");
}

static kf_status copy_text(const char **dst, kf_recipe *recipe, const char *text, kf_error *err)
{
    *dst = kfi_arena_strndup(&recipe->strings, text, strlen(text));
    if (*dst == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of a recipe");
    }
    return KF_OK;
}

kf_status kfi_recipe_read_weights(kfi_treatment *treatment, const char *key, const char *text,
                                  kf_error *err)
{
    if (strcmp(text, "keep") == 0 || strcmp(text, "float") == 0) { /* two words for one thing */
        treatment->keep = true;
        return KF_OK;
    }
    kf_error reason = {0};
    kf_format format = {0};
    if (kf_format_parse(&format, text, &reason) != KF_OK) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%s: %s, or keep", key, reason.msg);
    }
    treatment->keep = false;
    treatment->weights = format;
    return KF_OK;
}

static kf_status read_activations(kfi_treatment *treatment, const char *key, const char *text,
                                  kf_error *err)
{
    kf_error reason = {0};
    kf_activation activation = {0};
    if (kf_activation_parse(&activation, text, &reason) != KF_OK) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%s: %s", key, reason.msg);
    }
    treatment->activations = activation;
    return KF_OK;
}

/* What Atom and QuaRot publish for every layer. */
#define CLIP_PUBLISHED 90u

kf_status kfi_recipe_read_clip(kf_recipe *recipe, double ratio, kf_error *err)
{
    const double percent = rint(100.0 * ratio);
    if (!(percent >= (double)KF_CLIP_LEAST && percent <= 100.0) ||
        fabs(100.0 * ratio - percent) > 1e-6) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "act_clip is %g, expected 0.50 to 1.00 in whole percents, published (0.9) "
                        "or search",
                        ratio);
    }
    recipe->searches_clip = false;
    recipe->act_clip = percent == 100.0 ? 0 : (uint8_t)percent; /* exact: a whole number */
    return KF_OK;
}

kf_status kfi_recipe_read_clip_word(kf_recipe *recipe, const char *word, kf_error *err)
{
    if (strcmp(word, "search") != 0 && strcmp(word, "published") != 0) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "act_clip is '%.40s', expected 0.50 to 1.00, published (0.9) or search",
                        word);
    }
    recipe->searches_clip = word[0] == 's';
    recipe->act_clip = recipe->searches_clip ? 0 : CLIP_PUBLISHED;
    return KF_OK;
}

kf_status kfi_recipe_read_calib(kf_recipe *recipe, const char *key, int64_t value, kf_error *err)
{
    const bool is_samples = strcmp(key, "samples") == 0;
    if (!is_samples && strcmp(key, "length") != 0) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "recipe: unknown key 'calib.%.40s', expected samples or length", key);
    }
    const int64_t least = is_samples ? 1 : (int64_t)KFI_WINDOW_LEAST;
    const int64_t most = is_samples ? CALIB_SAMPLES_MAX : CALIB_LENGTH_MAX;
    if (value < least || value > most) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "calib.%s is %" PRId64 ", expected %" PRId64 " to %" PRId64, key, value,
                        least, most);
    }
    *(is_samples ? &recipe->samples : &recipe->length) = (size_t)value;
    return KF_OK;
}

static kf_status read_kv(kf_recipe *recipe, const char *text, kf_error *err)
{
    kf_error reason = {0};
    return kf_kv_parse(&recipe->kv, text, &reason) == KF_OK
               ? KF_OK
               : kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "kv: %s", reason.msg);
}

static kf_status read_prefix(kf_recipe *recipe, const char *text, kf_error *err)
{
    const size_t n = strlen(text);
    if (n == 0 || n > PREFIX_BYTES_MAX) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "prefix has %zu bytes, expected none, start, auto or a text of up to %d", n,
                        PREFIX_BYTES_MAX);
    }
    return copy_text(&recipe->prefix, recipe, text, err);
}

/* ---- keys of the recipe whose value is text ---- */

enum {
    KEY_WEIGHTS,
    KEY_EMBEDDING,
    KEY_HEAD,
    KEY_ACTIVATIONS,
    KEY_KV,
    KEY_PREFIX
};

static const char *const text_keys[KFI_RECIPE_TEXT_KEYS] = {
    [KEY_WEIGHTS] = "weights", [KEY_EMBEDDING] = "embedding",
    [KEY_HEAD] = "head",       [KEY_ACTIVATIONS] = "activations",
    [KEY_KV] = "kv",           [KEY_PREFIX] = "prefix",
};

size_t kfi_recipe_text_key(const char *key, size_t n)
{
    size_t i = 0;
    while (i < KFI_RECIPE_TEXT_KEYS &&
           (strlen(text_keys[i]) != n || memcmp(key, text_keys[i], n) != 0)) {
        i++;
    }
    return i;
}

kf_status kfi_recipe_read_text(kf_recipe *recipe, size_t i_key, const char *text, kf_error *err)
{
    switch (i_key) {
    case KEY_WEIGHTS:
        return kfi_recipe_read_weights(&recipe->linears, text_keys[i_key], text, err);
    case KEY_EMBEDDING:
        return kfi_recipe_read_weights(&recipe->embedding, text_keys[i_key], text, err);
    case KEY_HEAD:
        return kfi_recipe_read_weights(&recipe->head, text_keys[i_key], text, err);
    case KEY_ACTIVATIONS:
        return read_activations(&recipe->linears, text_keys[i_key], text, err);
    case KEY_KV:
        return read_kv(recipe, text, err);
    default:
        return read_prefix(recipe, text, err);
    }
}

/* ---- overrides ---- */

/* Moves the override of this pattern to the end; false when there is none. */
static bool move_to_end(kf_recipe *recipe, const char *pattern, size_t n)
{
    size_t i = 0;
    while (i < recipe->n_overrides && (strlen(recipe->overrides[i].pattern) != n ||
                                       memcmp(recipe->overrides[i].pattern, pattern, n) != 0)) {
        i++;
    }
    if (i == recipe->n_overrides) {
        return false;
    }
    const kfi_override moved = recipe->overrides[i];
    const size_t n_behind = recipe->n_overrides - 1 - i;
    memmove(&recipe->overrides[i], &recipe->overrides[i + 1], n_behind * sizeof moved);
    recipe->overrides[recipe->n_overrides - 1] = moved;
    return true;
}

kf_status kfi_recipe_add_override(kfi_override **override, kf_recipe *recipe, const char *pattern,
                                  size_t n, kf_error *err)
{
    /* An object has no key twice, so the resolved recipe has no pattern twice. */
    if (move_to_end(recipe, pattern, n)) {
        *override = &recipe->overrides[recipe->n_overrides - 1];
        return KF_OK;
    }
    if (recipe->n_overrides == KFI_RECIPE_OVERRIDES_MAX) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "recipe: more than %u patterns of tensors",
                        KFI_RECIPE_OVERRIDES_MAX);
    }
    const char *copy = kfi_arena_strndup(&recipe->strings, pattern, n);
    if (copy == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "pattern of a recipe");
    }
    *override = &recipe->overrides[recipe->n_overrides++];
    **override = (kfi_override){.pattern = copy};
    return KF_OK;
}

/* ---- methods ---- */

static kf_status read_knob(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    kfi_method_use *use = ctx;
    if (strcmp(key, "name") == 0) {
        return KF_OK;
    }
    const size_t i_knob = kfi_knob_find(use->method, key, strlen(key));
    if (i_knob == KFI_KNOBS_MAX) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "method %s has no knob '%.60s'",
                        use->method->about.name, key);
    }
    const kf_knob *knob = &use->method->about.knobs[i_knob];
    double *value = &use->knobs[i_knob];
    if (kfi_knob_is_switch(knob)) {
        if (!kfi_json_is_bool(member)) {
            return wrong_kind(err, key, "true or false");
        }
        *value = kfi_json_bool(member) ? 1.0 : 0.0;
        return KF_OK;
    }
    if (knob->choices != NULL) {
        const char *text = NULL;
        KFI_TRY(read_text(&text, key, member, err));
        return kfi_knob_parse(value, use->method, i_knob, text, err);
    }
    if (!kfi_json_is_number(member)) {
        return wrong_kind(err, key, "a number");
    }
    *value = kfi_json_number(member);
    return kfi_knob_check(use->method, i_knob, *value, err);
}

static kf_status read_method(kfi_method_use *use, const kfi_json *value, kf_error *err)
{
    const char *name = NULL;
    const kfi_json *member = kfi_json_is_object(value) ? kfi_json_get(value, "name") : value;
    if (member == NULL) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "recipe: a method without \"name\"");
    }
    KFI_TRY(read_text(&name, "name", member, err));
    use->method = kfi_method_find(name, strlen(name));
    if (use->method == NULL) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "recipe: unknown method '%.60s'", name);
    }
    kfi_knobs_default(use->knobs, use->method);
    return kfi_json_is_object(value) ? kfi_json_each(value, read_knob, use, err) : KF_OK;
}

/* Other transforms work on inputs as they are without a map. */
static kf_status check_maps(const kfi_treatment *treatment, kf_error *err)
{
    for (size_t i = 0; i + 1 < treatment->n_methods; i++) {
        const kfi_method *method = treatment->methods[i].method;
        const kfi_method *next = treatment->methods[i + 1].method;
        if (method->maps_inputs && next->stage == KFI_STAGE_TRANSFORM) {
            return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                            "recipe: method %s stands behind %s, which must be the last transform",
                            next->about.name, method->about.name);
        }
    }
    return KF_OK;
}

static kf_status read_methods(kfi_treatment *treatment, const kfi_json *value, kf_error *err)
{
    const size_t n = kfi_json_size(value);
    if (!kfi_json_is_array(value) || n == 0 || n > KFI_RECIPE_METHODS_MAX) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "recipe: \"methods\" is not a list of 1 to %u methods",
                        KFI_RECIPE_METHODS_MAX);
    }
    size_t n_round = 0;
    size_t n_repair = 0;
    for (size_t i = 0; i < n; i++) {
        kfi_method_use *use = &treatment->methods[i];
        KFI_TRY(read_method(use, kfi_json_at(value, i), err));
        n_round += use->method->stage == KFI_STAGE_ROUND;
        n_repair += use->method->stage == KFI_STAGE_REPAIR;
        if (i > 0 && use[-1].method->stage > use->method->stage) {
            return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                            "recipe: method %s (stage %s) stands behind %s (stage %s)",
                            use->method->about.name, use->method->about.stage,
                            use[-1].method->about.name, use[-1].method->about.stage);
        }
    }
    treatment->n_methods = n;
    KFI_TRY(check_maps(treatment, err));
    if (n_round != 1) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "recipe: %zu methods of stage round, expected one", n_round);
    }
    if (n_repair > 1) { /* a layer has one pair */
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "recipe: %zu methods of stage repair, expected one at most", n_repair);
    }
    return KF_OK;
}

/* ---- tensors ---- */

/* Layers share inputs and norms, and all blocks the residual stream. */
static kf_status refuse_transforms(const kfi_override *override, kf_error *err)
{
    const kfi_method *first = override->treatment.methods[0].method; /* stages in their order */
    if (first->stage == KFI_STAGE_TRANSFORM) {
        return kfi_fail(
            err, KF_RANGE, KF_NO_OFFSET,
            "recipe: method %s for tensors '%.60s' changes whole blocks, expected it in "
            "the recipe's own \"methods\"",
            first->about.name, override->pattern);
    }
    return KF_OK;
}

static kf_status read_override_key(void *ctx, const char *key, const kfi_json *member,
                                   kf_error *err)
{
    kfi_override *override = ctx;
    const char *text = NULL;
    if (strcmp(key, "methods") == 0) {
        override->has_methods = true;
        KFI_TRY(read_methods(&override->treatment, member, err));
        return refuse_transforms(override, err);
    }
    const bool is_weights = strcmp(key, "weights") == 0;
    if (!is_weights && strcmp(key, "activations") != 0) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "recipe: unknown key '%.60s' for tensors '%.60s'", key, override->pattern);
    }
    KFI_TRY(read_text(&text, key, member, err));
    *(is_weights ? &override->has_weights : &override->has_activations) = true;
    return is_weights ? kfi_recipe_read_weights(&override->treatment, key, text, err)
                      : read_activations(&override->treatment, key, text, err);
}

static kf_status read_override(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    kfi_override *override = NULL;
    const char *text = NULL;
    KFI_TRY(kfi_recipe_add_override(&override, ctx, key, strlen(key), err));
    if (kfi_json_is_string(member)) {
        override->has_weights = true;
        KFI_TRY(read_text(&text, key, member, err));
        return kfi_recipe_read_weights(&override->treatment, key, text, err);
    }
    if (!kfi_json_is_object(member)) {
        return wrong_kind(err, key, "a format, \"keep\" or an object");
    }
    return kfi_json_each(member, read_override_key, override, err);
}

static kf_status read_calib_key(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    if (!kfi_json_is_integer(member)) {
        return wrong_kind(err, key, "a whole number");
    }
    return kfi_recipe_read_calib(ctx, key, kfi_json_integer(member), err);
}

/* ---- the document ---- */

static kf_status read_clip(kf_recipe *recipe, const kfi_json *value, kf_error *err)
{
    const char *word = NULL;
    if (kfi_json_is_number(value)) {
        return kfi_recipe_read_clip(recipe, kfi_json_number(value), err);
    }
    KFI_TRY(read_text(&word, "act_clip", value, err));
    return kfi_recipe_read_clip_word(recipe, word, err);
}

static kf_status read_key(void *ctx, const char *key, const kfi_json *member, kf_error *err)
{
    kf_recipe *recipe = ctx;
    const char *text = NULL;
    if (strcmp(key, "methods") == 0) {
        return read_methods(&recipe->linears, member, err);
    }
    if (strcmp(key, "calib") == 0 || strcmp(key, "tensors") == 0) {
        return kfi_json_is_object(member)
                   ? kfi_json_each(member, key[0] == 'c' ? read_calib_key : read_override, recipe,
                                   err)
                   : wrong_kind(err, key, "an object");
    }
    if (strcmp(key, "act_clip") == 0) {
        return read_clip(recipe, member, err);
    }
    if (strcmp(key, "act_kept") == 0) {
        recipe->act_kept = kfi_json_is_bool(member) && kfi_json_bool(member);
        return kfi_json_is_bool(member) ? KF_OK : wrong_kind(err, key, "true or false");
    }
    const size_t i_key = kfi_recipe_text_key(key, strlen(key));
    const bool is_description = strcmp(key, "description") == 0;
    if (i_key == KFI_RECIPE_TEXT_KEYS && !is_description) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "recipe: unknown key '%.60s'", key);
    }
    KFI_TRY(read_text(&text, key, member, err));
    return is_description ? copy_text(&recipe->description, recipe, text, err)
                          : kfi_recipe_read_text(recipe, i_key, text, err);
}

kf_status kfi_recipe_read(kf_recipe *recipe, const kfi_json *root, kf_error *err)
{
    if (!kfi_json_is_object(root)) {
        return kfi_fail(err, KF_FORMAT, 0, "recipe: the document is not an object");
    }
    return kfi_json_each(root, read_key, recipe, err);
}
