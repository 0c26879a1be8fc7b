/* config_json.c - a model's shape from Hugging Face's config.json, and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "model/architecture.h"
#include "model/config.h"

static kf_status wrong(const char *key, const char *expected, kf_error *err)
{
    return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "key '%s' is not %s", key, expected);
}

/* A member that may be left out or null, then false. */
static bool find(const kfi_json **member, const kfi_json *json, const char *key)
{
    *member = kfi_json_get(json, key);
    return *member != NULL && !kfi_json_is_null(*member);
}

static kf_status read_size(size_t *dst, const kfi_json *json, const char *key, kf_error *err)
{
    const kfi_json *member = NULL;
    if (!find(&member, json, key)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "key '%s' is missing", key);
    }
    if (!kfi_json_is_integer(member) || kfi_json_integer(member) < 0) {
        return wrong(key, "a whole number", err);
    }
    *dst = (size_t)kfi_json_integer(member);
    return KF_OK;
}

static kf_status read_size_or(size_t *dst, const kfi_json *json, const char *key, size_t fallback,
                              kf_error *err)
{
    const kfi_json *member = NULL;
    *dst = fallback;
    return find(&member, json, key) ? read_size(dst, json, key, err) : KF_OK;
}

static kf_status read_float(float *dst, const kfi_json *json, const char *key, kf_error *err)
{
    const kfi_json *member = NULL;
    if (!find(&member, json, key)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "key '%s' is missing", key);
    }
    if (!kfi_json_is_number(member)) {
        return wrong(key, "a number", err);
    }
    *dst = (float)kfi_json_number(member);
    return KF_OK;
}

static kf_status read_float_or(float *dst, const kfi_json *json, const char *key, float fallback,
                               kf_error *err)
{
    const kfi_json *member = NULL;
    *dst = fallback;
    return find(&member, json, key) ? read_float(dst, json, key, err) : KF_OK;
}

static kf_status read_bool_or(bool *dst, const kfi_json *json, const char *key, bool fallback,
                              kf_error *err)
{
    const kfi_json *member = NULL;
    *dst = fallback;
    if (!find(&member, json, key)) {
        return KF_OK;
    }
    if (!kfi_json_is_bool(member)) {
        return wrong(key, "true or false", err);
    }
    *dst = kfi_json_bool(member);
    return KF_OK;
}

static kf_status read_architecture(kfi_config *config, const kfi_json *json, kf_error *err)
{
    const kfi_json *names = kfi_json_get(json, "architectures");
    if (!kfi_json_is_array(names) || kfi_json_size(names) != 1 ||
        !kfi_json_is_string(kfi_json_at(names, 0))) {
        return wrong("architectures", "an array of one name", err);
    }
    size_t n = 0;
    const char *name = kfi_json_string(kfi_json_at(names, 0), &n);
    return kfi_architecture_find_hugging_face(&config->architecture, name, n, err);
}

/* Variants of the block that share the architecture's name but compute something else. */
static kf_status check_variants(const kfi_json *json, kf_error *err)
{
    static const char *const switches[] = {"attention_bias", "mlp_bias", "use_sliding_window"};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        bool on = false;
        KFI_TRY(read_bool_or(&on, json, switches[i], false, err));
        if (on) {
            return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "'%s' is not implemented",
                            switches[i]);
        }
    }
    const kfi_json *activation = NULL;
    if (find(&activation, json, "hidden_act")) {
        const char *name = kfi_json_is_string(activation) ? kfi_json_string(activation, NULL) : "";
        if (strcmp(name, "silu") != 0) {
            return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                            "'hidden_act' is '%.40s', only 'silu' is implemented", name);
        }
    }
    return KF_OK;
}

static kf_status read_llama3(kfi_config *config, const kfi_json *scaling, kf_error *err)
{
    config->rope_scaling = KFI_ROPE_LLAMA3;
    KFI_TRY(read_float(&config->rope_factor, scaling, "factor", err));
    KFI_TRY(read_float(&config->rope_low_frequency, scaling, "low_freq_factor", err));
    KFI_TRY(read_float(&config->rope_high_frequency, scaling, "high_freq_factor", err));
    return read_size(&config->rope_original_context, scaling, "original_max_position_embeddings",
                     err);
}

static kf_status read_scaling(kfi_config *config, const kfi_json *scaling, kf_error *err)
{
    if (!kfi_json_is_object(scaling)) {
        return wrong("rope_scaling", "an object", err);
    }
    const kfi_json *type = kfi_json_get(scaling, "rope_type");
    type = type != NULL ? type : kfi_json_get(scaling, "type"); /* its older name */
    if (!kfi_json_is_string(type)) {
        return wrong("rope_type", "a name", err);
    }
    const char *name = kfi_json_string(type, NULL);
    if (strcmp(name, "default") == 0) {
        return KF_OK;
    }
    if (strcmp(name, "linear") == 0) {
        config->rope_scaling = KFI_ROPE_LINEAR;
        return read_float(&config->rope_factor, scaling, "factor", err);
    }
    if (strcmp(name, "llama3") == 0) {
        return read_llama3(config, scaling, err);
    }
    return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                    "RoPE scaling '%.40s' is not implemented, only linear and llama3", name);
}

/* rope_theta and rope_scaling, or both in rope_parameters as transformers 5 writes them. */
static kf_status read_rope(kfi_config *config, const kfi_json *json, kf_error *err)
{
    const kfi_json *scaling = NULL;
    if (find(&scaling, json, "rope_parameters")) {
        KFI_TRY(read_float_or(&config->rope_theta, scaling, "rope_theta", 10000.0f, err));
        return read_scaling(config, scaling, err);
    }
    KFI_TRY(read_float_or(&config->rope_theta, json, "rope_theta", 10000.0f, err));
    return find(&scaling, json, "rope_scaling") ? read_scaling(config, scaling, err) : KF_OK;
}

static kf_status read_heads(kfi_config *config, const kfi_json *json, kf_error *err)
{
    KFI_TRY(read_size(&config->n_heads, json, "num_attention_heads", err));
    KFI_TRY(read_size_or(&config->n_kv_heads, json, "num_key_value_heads", config->n_heads, err));
    KFI_TRY(read_size_or(&config->head_dim, json, "head_dim", 0, err));
    return config->head_dim == 0 ? kfi_config_divide_heads(config, err) : KF_OK;
}

kf_status kfi_config_from_json(kfi_config *config, const kfi_json *json, kf_error *err)
{
    *config = (kfi_config){.architecture = NULL};
    if (!kfi_json_is_object(json)) {
        return kfi_fail(err, KF_FORMAT, 0, "not a JSON object");
    }
    KFI_TRY(read_architecture(config, json, err));
    KFI_TRY(check_variants(json, err));
    KFI_TRY(read_size(&config->n_layers, json, "num_hidden_layers", err));
    KFI_TRY(read_size(&config->hidden, json, "hidden_size", err));
    KFI_TRY(read_size(&config->feed_forward, json, "intermediate_size", err));
    KFI_TRY(read_size(&config->vocabulary, json, "vocab_size", err));
    KFI_TRY(read_size(&config->context, json, "max_position_embeddings", err));
    KFI_TRY(read_float(&config->rms_epsilon, json, "rms_norm_eps", err));
    KFI_TRY(read_bool_or(&config->tied, json, "tie_word_embeddings", false, err));
    KFI_TRY(read_heads(config, json, err));
    KFI_TRY(read_rope(config, json, err));
    return kfi_config_check(config, err);
}

/* The shortest decimal that reads back as this float, so that 1e-05 is not 9.999999747378752e-06.
 */
static void put_float(kfi_json_writer *writer, const char *key, float value)
{
    char text[32];
    double shown = (double)value;
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
        shown = strtod(text, NULL);
        if ((float)shown == value) {
            break;
        }
    }
    kfi_json_member_number(writer, key, shown);
}

static void put_scaling(kfi_json_writer *writer, const kfi_config *config)
{
    kfi_json_key(writer, "rope_scaling");
    if (config->rope_scaling == KFI_ROPE_NONE) {
        kfi_json_put_null(writer);
        return;
    }
    const bool llama3 = config->rope_scaling == KFI_ROPE_LLAMA3;
    kfi_json_begin_object(writer);
    kfi_json_member_text(writer, "rope_type", llama3 ? "llama3" : "linear");
    put_float(writer, "factor", config->rope_factor);
    if (llama3) {
        put_float(writer, "low_freq_factor", config->rope_low_frequency);
        put_float(writer, "high_freq_factor", config->rope_high_frequency);
        kfi_json_member_integer(writer, "original_max_position_embeddings",
                                (int64_t)config->rope_original_context);
    }
    kfi_json_end_object(writer);
}

void kfi_config_write_json(kfi_json_writer *writer, const kfi_config *config)
{
    kfi_json_key(writer, "architectures");
    kfi_json_begin_array(writer);
    kfi_json_put_text(writer, config->architecture->hugging_face);
    kfi_json_end_array(writer);
    kfi_json_member_text(writer, "model_type", config->architecture->name);
    kfi_json_member_integer(writer, "hidden_size", (int64_t)config->hidden);
    kfi_json_member_integer(writer, "intermediate_size", (int64_t)config->feed_forward);
    kfi_json_member_integer(writer, "num_hidden_layers", (int64_t)config->n_layers);
    kfi_json_member_integer(writer, "num_attention_heads", (int64_t)config->n_heads);
    kfi_json_member_integer(writer, "num_key_value_heads", (int64_t)config->n_kv_heads);
    kfi_json_member_integer(writer, "head_dim", (int64_t)config->head_dim);
    kfi_json_member_integer(writer, "vocab_size", (int64_t)config->vocabulary);
    kfi_json_member_integer(writer, "max_position_embeddings", (int64_t)config->context);
    put_float(writer, "rms_norm_eps", config->rms_epsilon);
    put_float(writer, "rope_theta", config->rope_theta);
    put_scaling(writer, config);
    kfi_json_member_text(writer, "hidden_act", "silu");
    kfi_json_member_bool(writer, "tie_word_embeddings", config->tied);
}
