/* recipe_write.c - a recipe with everything resolved, as JSON that reads back as the same recipe.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "quantize/recipe.h"

#define RECIPE_JSON_MAX (4u << 20)

static void put_weights(kfi_json_writer *writer, const char *key, const kfi_treatment *treatment)
{
    char name[KF_FORMAT_NAME_BYTES] = "keep";
    if (!treatment->keep) {
        kf_format_name(name, treatment->weights);
    }
    kfi_json_member_text(writer, key, name);
}

static void put_activations(kfi_json_writer *writer, const kfi_treatment *treatment)
{
    char name[KF_FORMAT_NAME_BYTES];
    kf_activation_name(name, treatment->activations);
    kfi_json_member_text(writer, "activations", name);
}

static void put_clip(kfi_json_writer *writer, const kf_recipe *recipe)
{
    if (recipe->searches_clip) {
        kfi_json_member_text(writer, "act_clip", "search");
    } else {
        kfi_json_member_number(writer, "act_clip",
                               recipe->act_clip == 0 ? 1.0 : (double)recipe->act_clip / 100.0);
    }
}

static void put_knob(kfi_json_writer *writer, const kf_knob *knob, double value)
{
    kfi_json_key(writer, knob->name);
    if (kfi_knob_is_switch(knob)) {
        kfi_json_put_bool(writer, value > 0.5);
    } else if (knob->choices != NULL) {
        size_t n = 0;
        const char *word = kfi_knob_choice(knob, (size_t)value, &n);
        kfi_json_put_string(writer, word, n);
    } else {
        kfi_json_put_number(writer, value);
    }
}

static void put_methods(kfi_json_writer *writer, const kfi_treatment *treatment)
{
    kfi_json_key(writer, "methods");
    kfi_json_begin_array(writer);
    for (size_t i = 0; i < treatment->n_methods; i++) {
        const kfi_method_use *use = &treatment->methods[i];
        kfi_json_begin_object(writer);
        kfi_json_member_text(writer, "name", use->method->about.name);
        for (size_t k = 0; k < use->method->about.n_knobs; k++) {
            put_knob(writer, &use->method->about.knobs[k], use->knobs[k]);
        }
        kfi_json_end_object(writer);
    }
    kfi_json_end_array(writer);
}

static void put_override(kfi_json_writer *writer, const kfi_override *override)
{
    kfi_json_key(writer, override->pattern);
    kfi_json_begin_object(writer);
    if (override->has_weights) {
        put_weights(writer, "weights", &override->treatment);
    }
    if (override->has_activations) {
        put_activations(writer, &override->treatment);
    }
    if (override->has_methods) {
        put_methods(writer, &override->treatment);
    }
    kfi_json_end_object(writer);
}

static void put_overrides(kfi_json_writer *writer, const kf_recipe *recipe)
{
    if (recipe->n_overrides == 0) {
        return;
    }
    kfi_json_key(writer, "tensors");
    kfi_json_begin_object(writer);
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        put_override(writer, &recipe->overrides[i]);
    }
    kfi_json_end_object(writer);
}

kf_status kfi_recipe_resolve(kf_recipe *recipe, kf_error *err)
{
    kfi_buf buf;
    kfi_json_writer writer;
    kfi_buf_init(&buf, recipe->alloc, RECIPE_JSON_MAX);
    kfi_json_writer_init(&writer, &buf, 2);
    kfi_json_begin_object(&writer);
    kfi_json_member_text(&writer, "description", recipe->description);
    put_weights(&writer, "weights", &recipe->linears);
    put_activations(&writer, &recipe->linears);
    put_clip(&writer, recipe);
    kfi_json_member_bool(&writer, "act_kept", recipe->act_kept);
    kfi_json_member_text(&writer, "kv", kf_kv_name(recipe->kv));
    put_weights(&writer, "embedding", &recipe->embedding);
    put_weights(&writer, "head", &recipe->head);
    kfi_json_member_text(&writer, "prefix", recipe->prefix);
    kfi_json_key(&writer, "calib");
    kfi_json_begin_object(&writer);
    kfi_json_member_integer(&writer, "samples", (int64_t)recipe->samples);
    kfi_json_member_integer(&writer, "length", (int64_t)recipe->length);
    kfi_json_end_object(&writer);
    put_methods(&writer, &recipe->linears);
    put_overrides(&writer, recipe);
    kfi_json_end_object(&writer);
    if (buf.failed) {
        kfi_buf_deinit(&buf);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of a recipe");
    }
    kfi_buf_deinit(&recipe->json);
    recipe->json = buf;
    return KF_OK;
}
