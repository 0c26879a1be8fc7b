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

static const char *const side_suffixes[KFI_SIDE_PARTS] = {
    [KFI_SIDE_LOW_RANK_A] = ".low_rank_a",       [KFI_SIDE_LOW_RANK_B] = ".low_rank_b",
    [KFI_SIDE_OUTLIERS] = ".outliers",           [KFI_SIDE_COLUMNS] = ".outlier_columns",
    [KFI_SIDE_SPARSE_STARTS] = ".sparse_starts", [KFI_SIDE_SPARSE_COLUMNS] = ".sparse_columns",
    [KFI_SIDE_SPARSE_VALUES] = ".sparse_values",
};

kfi_name kfi_name_side(const char *name, kfi_side_part part)
{
    kfi_name side;
    (void)snprintf(side.text, sizeof side.text, "%s%s", name, side_suffixes[part]);
    return side;
}

static const char *const online_suffixes[KFI_ONLINE_PARTS] = {
    [KFI_ONLINE_SIGNS] = ".input_signs",
    [KFI_ONLINE_COLUMNS] = ".input_columns",
    [KFI_ONLINE_SECOND] = ".input_second",
};

kfi_name kfi_name_online(const char *name, kfi_online_part part)
{
    kfi_name online;
    (void)snprintf(online.text, sizeof online.text, "%s%s", name, online_suffixes[part]);
    return online;
}

/* The name's length without ".packed". */
static size_t unpacked_length(const char *name)
{
    const size_t n = kfi_name_unpacked(name);
    return n > 0 ? n : strlen(name);
}

static bool ends_with(const char *name, size_t n, const char *suffix)
{
    const size_t n_suffix = strlen(suffix);
    return n > n_suffix && memcmp(name + n - n_suffix, suffix, n_suffix) == 0;
}

kfi_side_part kfi_name_side_part(const char *name)
{
    size_t part = 0;
    while (part < KFI_SIDE_PARTS && !ends_with(name, unpacked_length(name), side_suffixes[part])) {
        part++;
    }
    return (kfi_side_part)part;
}

kfi_online_part kfi_name_online_part(const char *name)
{
    size_t part = 0;
    while (part < KFI_ONLINE_PARTS && !ends_with(name, strlen(name), online_suffixes[part])) {
        part++;
    }
    return (kfi_online_part)part;
}

bool kfi_name_is_linear(const char *name)
{
    static const char layers[] = "model.layers.";
    const kfi_side_part part = kfi_name_side_part(name);
    const kfi_online_part online = kfi_name_online_part(name);
    size_t n = unpacked_length(name);
    n -= part < KFI_SIDE_PARTS ? strlen(side_suffixes[part]) : 0;
    n -= online < KFI_ONLINE_PARTS ? strlen(online_suffixes[online]) : 0;
    return strncmp(name, layers, sizeof layers - 1) == 0 && ends_with(name, n, "_proj.weight");
}

kfi_name kfi_name_file(size_t i_file, size_t n_files)
{
    kfi_name name;
    (void)snprintf(name.text, sizeof name.text, "model-%05zu-of-%05zu.safetensors", i_file + 1,
                   n_files);
    return name;
}
