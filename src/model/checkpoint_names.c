/* checkpoint_names.c - names of tensors and files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/checkpoint_names.h"

#include <stdio.h>
#include <string.h>

const char *kfi_linear_name(kfi_linear_role role)
{
    static const char *const names[KFI_LINEAR_COUNT] = {
#define KFI_LINEAR_NAME(constant, name) [KFI_LINEAR_##constant] = name,
        KFI_LINEAR_MAP(KFI_LINEAR_NAME)
#undef KFI_LINEAR_NAME
    };
    return names[role];
}

static kfi_name layer_name(size_t i_layer, const char *module, const char *kind)
{
    kfi_name name;
    (void)snprintf(name.text, sizeof name.text, "model.layers.%zu.%s.%s", i_layer, module, kind);
    return name;
}

kfi_name kfi_name_weight(size_t i_layer, kfi_linear_role role)
{
    return layer_name(i_layer, kfi_linear_name(role), "weight");
}

kfi_name kfi_name_bias(size_t i_layer, kfi_linear_role role)
{
    return layer_name(i_layer, kfi_linear_name(role), "bias");
}

kfi_name kfi_name_attention_norm(size_t i_layer)
{
    return layer_name(i_layer, "input_layernorm", "weight");
}

kfi_name kfi_name_mlp_norm(size_t i_layer)
{
    return layer_name(i_layer, "post_attention_layernorm", "weight");
}

kfi_name kfi_name_packed(const char *name)
{
    kfi_name packed;
    (void)snprintf(packed.text, sizeof packed.text, "%s" KFI_SUFFIX_PACKED, name);
    return packed;
}

size_t kfi_name_unpacked(const char *name)
{
    const size_t n = strlen(name);
    const size_t n_suffix = strlen(KFI_SUFFIX_PACKED);
    const bool is_packed =
        n > n_suffix && memcmp(name + n - n_suffix, KFI_SUFFIX_PACKED, n_suffix) == 0;
    return is_packed ? n - n_suffix : 0;
}

bool kfi_name_is_linear(const char *name)
{
    static const char layers[] = "model.layers.";
    static const char weight[] = "_proj.weight";
    const size_t n_unpacked = kfi_name_unpacked(name);
    const size_t n = n_unpacked > 0 ? n_unpacked : strlen(name);
    const size_t n_weight = sizeof weight - 1;
    return n > n_weight && strncmp(name, layers, sizeof layers - 1) == 0 &&
           memcmp(name + n - n_weight, weight, n_weight) == 0;
}

kfi_name kfi_name_file(size_t i_file, size_t n_files)
{
    kfi_name name;
    (void)snprintf(name.text, sizeof name.text, "model-%05zu-of-%05zu.safetensors", i_file + 1,
                   n_files);
    return name;
}
