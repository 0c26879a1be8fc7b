/* config.c - what must hold of a configuration.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/config.h"

#include "base/fail.h"
#include "model/architecture.h"
#include "model/checkpoint_names.h"

/* Ceilings: well above every known model, low enough that no size computed from them overflows. */
#define MAX_WIDTH      ((size_t)1 << 20)
#define MAX_HEADS      ((size_t)1 << 12)
#define MAX_HEAD_DIM   ((size_t)1 << 10)
#define MAX_VOCABULARY ((size_t)1 << 24)
#define MAX_CONTEXT    ((size_t)1 << 26)

static kf_status check_size(size_t value, size_t most, const char *what, kf_error *err)
{
    if (value == 0 || value > most) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s is %zu, expected 1 to %zu", what, value,
                        most);
    }
    return KF_OK;
}

static kf_status check_number(float value, float least, float most, const char *what, kf_error *err)
{
    if (!(value >= least && value <= most)) { /* also false for NaN */
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%s is %g, expected %g to %g", what,
                        (double)value, (double)least, (double)most);
    }
    return KF_OK;
}

static kf_status check_heads(const kfi_config *config, kf_error *err)
{
    KFI_TRY(check_size(config->n_heads, MAX_HEADS, "the number of heads", err));
    KFI_TRY(check_size(config->n_kv_heads, MAX_HEADS, "the number of key-value heads", err));
    KFI_TRY(check_size(config->head_dim, MAX_HEAD_DIM, "the size of a head", err));
    if (config->n_heads % config->n_kv_heads != 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%zu key-value heads do not divide %zu heads",
                        config->n_kv_heads, config->n_heads);
    }
    if (config->head_dim % 2 != 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "the size of a head is %zu, expected an even number", config->head_dim);
    }
    return KF_OK;
}

static kf_status check_rope(const kfi_config *config, kf_error *err)
{
    KFI_TRY(check_number(config->rope_theta, 1.0f, 1e12f, "the RoPE base", err));
    if (config->rope_scaling == KFI_ROPE_NONE) {
        return KF_OK;
    }
    KFI_TRY(check_number(config->rope_factor, 1e-3f, 1e6f, "the RoPE scaling factor", err));
    if (config->rope_scaling == KFI_ROPE_LINEAR) {
        return KF_OK;
    }
    KFI_TRY(check_number(config->rope_low_frequency, 1e-3f, 1e6f, "the low frequency factor", err));
    KFI_TRY(
        check_number(config->rope_high_frequency, 1e-3f, 1e6f, "the high frequency factor", err));
    KFI_TRY(check_size(config->rope_original_context, MAX_CONTEXT, "the original context", err));
    if (config->rope_high_frequency <= config->rope_low_frequency) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "the high frequency factor is %g, expected above the low one, %g",
                        (double)config->rope_high_frequency, (double)config->rope_low_frequency);
    }
    return KF_OK;
}

kf_status kfi_config_divide_heads(kfi_config *config, kf_error *err)
{
    if (config->n_heads == 0 || config->hidden % config->n_heads != 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%zu heads do not divide the hidden size %zu",
                        config->n_heads, config->hidden);
    }
    config->head_dim = config->hidden / config->n_heads;
    return KF_OK;
}

kf_status kfi_config_check(const kfi_config *config, kf_error *err)
{
    KFI_TRY(check_size(config->n_layers, KFI_MAX_LAYERS, "the number of layers", err));
    KFI_TRY(check_size(config->hidden, MAX_WIDTH, "the hidden size", err));
    KFI_TRY(check_size(config->feed_forward, MAX_WIDTH, "the feed-forward size", err));
    KFI_TRY(check_size(config->vocabulary, MAX_VOCABULARY, "the vocabulary", err));
    KFI_TRY(check_size(config->context, MAX_CONTEXT, "the context", err));
    KFI_TRY(check_heads(config, err));
    KFI_TRY(check_number(config->rms_epsilon, 0.0f, 1.0f, "the epsilon of the norm", err));
    return check_rope(config, err);
}

kf_status kfi_config_from_llama2c(kfi_config *config, const kfi_llama2c_config *file, kf_error *err)
{
    *config = (kfi_config){
        .architecture = &kfi_architecture_llama,
        .n_layers = file->n_layers,
        .hidden = file->dim,
        .feed_forward = file->hidden_dim,
        .n_heads = file->n_heads,
        .n_kv_heads = file->n_kv_heads,
        .vocabulary = file->vocab_size,
        .context = file->context,
        .tied = file->shared_classifier,
        .rms_epsilon = 1e-5f, /* the format has no place for these two */
        .rope_theta = 10000.0f,
    };
    KFI_TRY(kfi_config_divide_heads(config, err));
    return kfi_config_check(config, err);
}
