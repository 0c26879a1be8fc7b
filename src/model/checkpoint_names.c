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

static kfi_name with_suffix(const char *name, const char *suffix)
{
    kfi_name full;
    (void)snprintf(full.text, sizeof full.text, "%s%s", name, suffix);
    return full;
}

static bool ends_with(const char *name, size_t n, const char *suffix)
{
    const size_t n_suffix = strlen(suffix);
    return n > n_suffix && memcmp(name + n - n_suffix, suffix, n_suffix) == 0;
}

/* Which suffix the name's first n bytes end with; n_suffixes: none. */
static size_t find_suffix(const char *name, size_t n, const char *const *suffixes,
                          size_t n_suffixes)
{
    size_t i = 0;
    while (i < n_suffixes && !ends_with(name, n, suffixes[i])) {
        i++;
    }
    return i;
}

kfi_name kfi_name_packed(const char *name)
{
    return with_suffix(name, KFI_SUFFIX_PACKED);
}

size_t kfi_name_unpacked(const char *name)
{
    const size_t n = strlen(name);
    return ends_with(name, n, KFI_SUFFIX_PACKED) ? n - strlen(KFI_SUFFIX_PACKED) : 0;
}

/* The name's length without ".packed". */
static size_t unpacked_length(const char *name)
{
    const size_t n = kfi_name_unpacked(name);
    return n > 0 ? n : strlen(name);
}

static const char *const side_suffixes[KFI_SIDE_PARTS] = {
    [KFI_SIDE_LOW_RANK_A] = ".low_rank_a",       [KFI_SIDE_LOW_RANK_B] = ".low_rank_b",
    [KFI_SIDE_OUTLIERS] = ".outliers",           [KFI_SIDE_COLUMNS] = ".outlier_columns",
    [KFI_SIDE_SPARSE_STARTS] = ".sparse_starts", [KFI_SIDE_SPARSE_COLUMNS] = ".sparse_columns",
    [KFI_SIDE_SPARSE_VALUES] = ".sparse_values",
};

static const char *const online_suffixes[KFI_ONLINE_PARTS] = {
    [KFI_ONLINE_SIGNS] = ".input_signs",
    [KFI_ONLINE_COLUMNS] = ".input_columns",
    [KFI_ONLINE_SECOND] = ".input_second",
};

kfi_name kfi_name_side(const char *name, kfi_side_part part)
{
    return with_suffix(name, side_suffixes[part]);
}

kfi_name kfi_name_online(const char *name, kfi_online_part part)
{
    return with_suffix(name, online_suffixes[part]);
}

kfi_side_part kfi_name_side_part(const char *name)
{
    return (kfi_side_part)find_suffix(name, unpacked_length(name), side_suffixes, KFI_SIDE_PARTS);
}

kfi_online_part kfi_name_online_part(const char *name)
{
    return (kfi_online_part)find_suffix(name, strlen(name), online_suffixes, KFI_ONLINE_PARTS);
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
