/* config_gguf.c - a model's shape from the metadata of a GGUF.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "model/architecture.h"
#include "model/config.h"
#include "model/rope.h"

/* Keys are "ARCHITECTURE.what". */
typedef struct reader {
    const kfi_gguf *gguf;
    const char *architecture;
} reader;

typedef struct key {
    char text[96];
} key;

static key make_key(const reader *r, const char *what)
{
    key k;
    (void)snprintf(k.text, sizeof k.text, "%s.%s", r->architecture, what);
    return k;
}

static bool has(const reader *r, const char *what)
{
    return kfi_gguf_find(r->gguf, make_key(r, what).text) != NULL;
}

static kf_status read_size(size_t *dst, const reader *r, const char *what, kf_error *err)
{
    uint64_t value = 0;
    KFI_TRY(kfi_gguf_u64(&value, r->gguf, make_key(r, what).text, err));
    *dst = value;
    return KF_OK;
}

static kf_status read_float(float *dst, const reader *r, const char *what, kf_error *err)
{
    double value = 0;
    KFI_TRY(kfi_gguf_f64(&value, r->gguf, make_key(r, what).text, err));
    *dst = (float)value;
    return KF_OK;
}

static kf_status read_architecture(kfi_config *config, const kfi_gguf *gguf, kf_error *err)
{
    kfi_text name = {NULL, 0};
    KFI_TRY(kfi_gguf_text(&name, gguf, "general.architecture", err));
    return kfi_architecture_find(&config->architecture, name.data, name.n, err);
}

/* Heads share the hidden size evenly unless key_length says otherwise. */
static kf_status read_heads(kfi_config *config, const reader *r, kf_error *err)
{
    KFI_TRY(read_size(&config->n_heads, r, "attention.head_count", err));
    config->n_kv_heads = config->n_heads;
    if (has(r, "attention.head_count_kv")) {
        KFI_TRY(read_size(&config->n_kv_heads, r, "attention.head_count_kv", err));
    }
    if (has(r, "attention.key_length")) {
        KFI_TRY(read_size(&config->head_dim, r, "attention.key_length", err));
    } else {
        KFI_TRY(kfi_config_divide_heads(config, err));
    }
    size_t value_length = config->head_dim;
    if (has(r, "attention.value_length")) {
        KFI_TRY(read_size(&value_length, r, "attention.value_length", err));
    }
    size_t rotated = config->head_dim;
    if (has(r, "rope.dimension_count")) {
        KFI_TRY(read_size(&rotated, r, "rope.dimension_count", err));
    }
    if (value_length != config->head_dim || rotated != config->head_dim) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "heads of %zu keys, %zu values and %zu rotated dimensions are not "
                        "implemented, only equal ones",
                        config->head_dim, value_length, rotated);
    }
    return KF_OK;
}

/* Llama 3's scaling is not in the metadata: the converter writes the divisor of each frequency as a
 * tensor. The parameters are found again from it, or it is refused. */
static kf_status scaling_from_tensor(kfi_config *config, const kfi_tensor *tensor, kf_error *err)
{
    const size_t n = config->head_dim / 2;
    float divisors[512];
    if (config->head_dim == 0 || n > sizeof divisors / sizeof divisors[0] ||
        tensor->n_elements != n) {
        return kfi_fail(err, KF_FORMAT, tensor->offset,
                        "tensor 'rope_freqs.weight' has %zu elements, expected %zu",
                        tensor->n_elements, n);
    }
    KFI_TRY(kfi_tensor_decode(divisors, tensor, 0, n, err));
    kfi_config plain = *config;
    plain.rope_scaling = KFI_ROPE_NONE;
    config->rope_scaling = KFI_ROPE_LLAMA3;
    config->rope_factor = divisors[n - 1];
    config->rope_low_frequency = 1.0f;
    config->rope_high_frequency = 4.0f;
    config->rope_original_context = 8192;
    for (size_t i = 0; i < n; i++) {
        const double expected = kfi_rope_frequency(&plain, i) / kfi_rope_frequency(config, i);
        if (!(fabs((double)divisors[i] - expected) <= 1e-4 * expected)) {
            return kfi_fail(err, KF_UNSUPPORTED, tensor->offset,
                            "tensor 'rope_freqs.weight' is not Llama 3's scaling: element %zu is "
                            "%g, expected %g",
                            i, (double)divisors[i], expected);
        }
    }
    return KF_OK;
}

static kf_status scaling_from_metadata(kfi_config *config, const reader *r, kf_error *err)
{
    if (!has(r, "rope.scaling.type")) {
        if (has(r, "rope.scale_linear")) { /* the older key */
            KFI_TRY(read_float(&config->rope_factor, r, "rope.scale_linear", err));
            /* Exactly 1 means unscaled. */
            config->rope_scaling = config->rope_factor == 1.0f ? KFI_ROPE_NONE : KFI_ROPE_LINEAR;
        }
        return KF_OK;
    }
    kfi_text type = {NULL, 0};
    KFI_TRY(kfi_gguf_text(&type, r->gguf, make_key(r, "rope.scaling.type").text, err));
    if (type.n == 4 && memcmp(type.data, "none", 4) == 0) {
        return KF_OK;
    }
    if (type.n == 6 && memcmp(type.data, "linear", 6) == 0) {
        config->rope_scaling = KFI_ROPE_LINEAR;
        return read_float(&config->rope_factor, r, "rope.scaling.factor", err);
    }
    return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "RoPE scaling '%.*s' is not implemented",
                    type.n < 40 ? (int)type.n : 40, type.data);
}

static kf_status read_rope(kfi_config *config, const reader *r, kf_error *err)
{
    config->rope_theta = 10000.0f;
    if (has(r, "rope.freq_base")) {
        KFI_TRY(read_float(&config->rope_theta, r, "rope.freq_base", err));
    }
    const kfi_tensor *divisors = kfi_tensor_find(kfi_gguf_tensors(r->gguf), "rope_freqs.weight");
    if (divisors != NULL) {
        return scaling_from_tensor(config, divisors, err);
    }
    return scaling_from_metadata(config, r, err);
}

static kf_status read_vocabulary(kfi_config *config, const reader *r, kf_error *err)
{
    const kfi_tensor_table *tensors = kfi_gguf_tensors(r->gguf);
    const kfi_tensor *embedding = kfi_tensor_find(tensors, "token_embd.weight");
    if (embedding == NULL || embedding->n_dims != 2) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "tensor 'token_embd.weight' is missing or not a matrix");
    }
    config->vocabulary = embedding->shape[0];
    size_t said = config->vocabulary;
    if (has(r, "vocab_size")) {
        KFI_TRY(read_size(&said, r, "vocab_size", err));
    }
    if (said != config->vocabulary) {
        return kfi_fail(err, KF_FORMAT, embedding->offset,
                        "vocab_size is %zu, but 'token_embd.weight' has %zu rows", said,
                        config->vocabulary);
    }
    config->tied = kfi_tensor_find(tensors, "output.weight") == NULL;
    return KF_OK;
}

/* A model in several files: the tensors of the others would only be missed one by one. */
static kf_status check_split(const kfi_gguf *gguf, kf_error *err)
{
    uint64_t n_files = 1;
    if (kfi_gguf_find(gguf, "split.count") != NULL) {
        KFI_TRY(kfi_gguf_u64(&n_files, gguf, "split.count", err));
    }
    if (n_files > 1) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "one of %" PRIu64 " files of a split GGUF; merge them first "
                        "(llama-gguf-split --merge)",
                        n_files);
    }
    return KF_OK;
}

kf_status kfi_config_from_gguf(kfi_config *config, const kfi_gguf *gguf, kf_error *err)
{
    *config = (kfi_config){.architecture = NULL};
    KFI_TRY(check_split(gguf, err));
    KFI_TRY(read_architecture(config, gguf, err));
    const reader r = {.gguf = gguf, .architecture = config->architecture->name};
    size_t n_experts = 0;
    if (has(&r, "expert_count")) {
        KFI_TRY(read_size(&n_experts, &r, "expert_count", err));
    }
    if (n_experts > 0) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "a mixture of %zu experts is not implemented", n_experts);
    }
    KFI_TRY(read_size(&config->n_layers, &r, "block_count", err));
    KFI_TRY(read_size(&config->hidden, &r, "embedding_length", err));
    KFI_TRY(read_size(&config->feed_forward, &r, "feed_forward_length", err));
    KFI_TRY(read_size(&config->context, &r, "context_length", err));
    KFI_TRY(read_float(&config->rms_epsilon, &r, "attention.layer_norm_rms_epsilon", err));
    KFI_TRY(read_heads(config, &r, err));
    KFI_TRY(read_rope(config, &r, err));
    KFI_TRY(read_vocabulary(config, &r, err));
    return kfi_config_check(config, err);
}
