/* jinja_methods.c - the methods of strings and maps in templates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "text/jinja_builtin.h"
#include "text/jinja_strings.h"

/* The keys, the values or the pairs of a map. */
typedef enum map_part {
    MAP_KEYS,
    MAP_VALUES,
    MAP_ITEMS
} map_part;

static kf_status map_parts(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                           map_part part)
{
    kfi_jinja_value *items = NULL;
    if (value.kind != KFI_JINJA_MAP) {
        return kfi_jinja_fail_kind(run, "members", &value);
    }
    const kfi_jinja_map *map = value.as.map;
    KFI_TRY(kfi_jinja_new_list(dst, &items, run, map->n));
    for (size_t i = 0; i < map->n; i++) {
        const kfi_jinja_member *member = &map->members[i];
        const kfi_jinja_value key = kfi_jinja_string(member->key.data, member->key.n);
        items[i] = part == MAP_KEYS ? key : member->value;
        if (part == MAP_ITEMS) {
            kfi_jinja_value *pair = NULL;
            KFI_TRY(kfi_jinja_new_list(&items[i], &pair, run, 2));
            pair[0] = key;
            pair[1] = member->value;
        }
    }
    return KF_OK;
}

kf_status kfi_jinja_map_items(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                              const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    return map_parts(dst, run, value, MAP_ITEMS);
}

kf_status kfi_jinja_map_keys(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                             const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    return map_parts(dst, run, value, MAP_KEYS);
}

static kf_status values(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                        const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    return map_parts(dst, run, value, MAP_VALUES);
}

static kf_status get(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                     const kfi_jinja_arguments *arguments)
{
    const kfi_jinja_value key = kfi_jinja_argument(arguments, 0, "key");
    if (value.kind != KFI_JINJA_MAP || key.kind != KFI_JINJA_STRING) {
        return kfi_jinja_fail_kind(run, "get", &value);
    }
    KFI_TRY(kfi_jinja_get_member(dst, run, &value, key.as.text));
    if (dst->kind == KFI_JINJA_UNDEFINED) {
        *dst = kfi_jinja_argument(arguments, 1, "default");
        if (dst->kind == KFI_JINJA_UNDEFINED) {
            *dst = kfi_jinja_none();
        }
    }
    return KF_OK;
}

kf_status kfi_jinja_method(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value object,
                           kfi_jinja_text name, const kfi_jinja_arguments *arguments)
{
    static const kfi_jinja_builtin_entry entries[] = {
        {"items", kfi_jinja_map_items, {NULL}},
        {"keys", kfi_jinja_map_keys, {NULL}},
        {"values", values, {NULL}},
        {"get", get, {"key", "default"}},
    };
    if (object.kind == KFI_JINJA_STRING) {
        return kfi_jinja_string_method(dst, run, object.as.text, name, arguments);
    }
    const kfi_jinja_builtin_entry *entry =
        object.kind == KFI_JINJA_MAP
            ? kfi_jinja_builtin_find(entries, sizeof entries / sizeof entries[0], name)
            : NULL;
    if (entry != NULL) {
        return kfi_jinja_builtin_call(dst, run, entry, object, arguments);
    }
    return object.kind == KFI_JINJA_UNDEFINED ? kfi_jinja_fail_kind(run, "method", &object)
                                              : kfi_jinja_fail_unknown(run, "method", name);
}
