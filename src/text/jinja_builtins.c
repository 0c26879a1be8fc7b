/* jinja_builtins.c - filters, methods and functions of templates.
 *
 * Each is one entry of a table; what a name means follows Jinja 3.1 and Python's str and dict.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "text/jinja_run.h"
#include "text/jinja_strings.h"

typedef kf_status builtin(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                          const kfi_jinja_arguments *arguments);

#define MAX_PARAMETERS 3
#define ANY            "*"

typedef struct builtin_entry {
    const char *name;
    builtin *call;
    const char *parameters[MAX_PARAMETERS]; /* in order; ANY checks its arguments itself */
} builtin_entry;

static kf_status unknown(kfi_jinja_run *run, const char *what, kfi_jinja_text name)
{
    return kfi_fail(run->err, KF_UNSUPPORTED, run->offset, "the %s '%.*s'", what,
                    (int)(name.n < 60 ? name.n : 60), name.data);
}

static const builtin_entry *find_builtin(const builtin_entry *entries, size_t n,
                                         kfi_jinja_text name)
{
    for (size_t i = 0; i < n; i++) {
        if (kfi_jinja_text_is(name, entries[i].name)) {
            return &entries[i];
        }
    }
    return NULL;
}

/* An argument that is not looked at would change what is meant in silence. */
static bool takes(const builtin_entry *entry, const kfi_jinja_arguments *arguments)
{
    size_t n = 0;
    while (n < MAX_PARAMETERS && entry->parameters[n] != NULL) {
        n++;
    }
    bool all = arguments->n <= n;
    for (size_t k = 0; k < arguments->n_keywords; k++) {
        size_t i = 0;
        while (i < n && !kfi_jinja_text_is(arguments->keywords[k].key, entry->parameters[i])) {
            i++;
        }
        all = all && i < n;
    }
    return all;
}

static kf_status call(kfi_jinja_value *dst, kfi_jinja_run *run, const builtin_entry *entry,
                      kfi_jinja_value value, const kfi_jinja_arguments *arguments)
{
    const bool any = entry->parameters[0] != NULL && strcmp(entry->parameters[0], ANY) == 0;
    return any || takes(entry, arguments) ? entry->call(dst, run, value, arguments)
                                          : kfi_fail(run->err, KF_UNSUPPORTED, run->offset,
                                                     "these arguments of '%s'", entry->name);
}

/* An argument by place or by name; undefined where it is not given. */
static kfi_jinja_value argument(const kfi_jinja_arguments *arguments, size_t i, const char *name)
{
    if (i < arguments->n) {
        return arguments->values[i];
    }
    for (size_t k = 0; k < arguments->n_keywords; k++) {
        if (kfi_jinja_text_is(arguments->keywords[k].key, name)) {
            return arguments->keywords[k].value;
        }
    }
    return kfi_jinja_undefined();
}

static kf_status wrong_kind(kfi_jinja_run *run, const char *what, const kfi_jinja_value *value)
{
    return kfi_fail(run->err, KF_FORMAT, run->offset, "%s of a value of kind %s", what,
                    kfi_jinja_kind_name(value->kind));
}

static kf_status new_list(kfi_jinja_value *dst, kfi_jinja_value **items, kfi_jinja_run *run,
                          size_t n)
{
    kfi_jinja_list *list = NULL;
    KFI_TRY(kfi_jinja_list_new(&list, items, run, n));
    *dst = kfi_jinja_of_list(list);
    return KF_OK;
}

/* A value as text. */
static kf_status write_value(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_value *value,
                             kfi_jinja_style style)
{
    kfi_buf text;
    kfi_jinja_text_init(&text, run);
    if (!kfi_jinja_write(&text, value, style)) {
        kfi_buf_deinit(&text);
        return kfi_fail(run->err, KF_RANGE, run->offset, "value nested too deeply");
    }
    return kfi_jinja_take_text(dst, run, &text);
}

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
        return wrong_kind(run, "members", &value);
    }
    const kfi_jinja_map *map = value.as.map;
    KFI_TRY(new_list(dst, &items, run, map->n));
    for (size_t i = 0; i < map->n; i++) {
        const kfi_jinja_member *member = &map->members[i];
        const kfi_jinja_value key = kfi_jinja_string(member->key.data, member->key.n);
        items[i] = part == MAP_KEYS ? key : member->value;
        if (part == MAP_ITEMS) {
            kfi_jinja_value *pair = NULL;
            KFI_TRY(new_list(&items[i], &pair, run, 2));
            pair[0] = key;
            pair[1] = member->value;
        }
    }
    return KF_OK;
}

static kf_status items(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                       const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    return map_parts(dst, run, value, MAP_ITEMS);
}

static kf_status keys(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
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
    const kfi_jinja_value key = argument(arguments, 0, "key");
    if (value.kind != KFI_JINJA_MAP || key.kind != KFI_JINJA_STRING) {
        return wrong_kind(run, "get", &value);
    }
    KFI_TRY(kfi_jinja_get_member(dst, run, &value, key.as.text));
    if (dst->kind == KFI_JINJA_UNDEFINED) {
        *dst = argument(arguments, 1, "default");
        if (dst->kind == KFI_JINJA_UNDEFINED) {
            *dst = kfi_jinja_none();
        }
    }
    return KF_OK;
}

static kf_status length(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                        const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    size_t n = 0;
    switch (value.kind) {
    case KFI_JINJA_STRING:
        KFI_TRY(kfi_jinja_charge(run, value.as.text.n / 64));
        n = kfi_jinja_count_characters(value.as.text);
        break;
    case KFI_JINJA_LIST:
        n = value.as.list->n;
        break;
    case KFI_JINJA_MAP:
        n = value.as.map->n;
        break;
    case KFI_JINJA_UNDEFINED:
        break;
    default:
        return wrong_kind(run, "length", &value);
    }
    *dst = kfi_jinja_integer((int64_t)n);
    return KF_OK;
}

static kf_status to_json(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                         const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    if (value.kind == KFI_JINJA_UNDEFINED) {
        return wrong_kind(run, "tojson", &value);
    }
    return write_value(dst, run, &value, KFI_JINJA_JSON);
}

static kf_status default_value(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                               const kfi_jinja_arguments *arguments)
{
    (void)run;
    const kfi_jinja_value of_false = argument(arguments, 1, "boolean");
    const bool missing = value.kind == KFI_JINJA_UNDEFINED ||
                         (kfi_jinja_truth(&of_false) && !kfi_jinja_truth(&value));
    *dst = missing ? argument(arguments, 0, "default_value") : value;
    if (dst->kind == KFI_JINJA_UNDEFINED && missing) {
        *dst = kfi_jinja_string("", 0);
    }
    return KF_OK;
}

static kf_status first(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                       const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    if (value.kind != KFI_JINJA_LIST) {
        return wrong_kind(run, "first", &value);
    }
    *dst = value.as.list->n > 0 ? value.as.list->items[0] : kfi_jinja_undefined();
    return KF_OK;
}

static kf_status last(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                      const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    if (value.kind != KFI_JINJA_LIST) {
        return wrong_kind(run, "last", &value);
    }
    const size_t n = value.as.list->n;
    *dst = n > 0 ? value.as.list->items[n - 1] : kfi_jinja_undefined();
    return KF_OK;
}

static kf_status list(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                      const kfi_jinja_arguments *arguments)
{
    kfi_jinja_value *none = NULL;
    if (value.kind == KFI_JINJA_LIST) {
        *dst = value;
        return KF_OK;
    }
    if (value.kind == KFI_JINJA_UNDEFINED) {
        return new_list(dst, &none, run, 0);
    }
    return value.kind == KFI_JINJA_MAP ? keys(dst, run, value, arguments)
                                       : wrong_kind(run, "list", &value);
}

static kf_status unchanged(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                           const kfi_jinja_arguments *arguments)
{
    (void)run;
    (void)arguments;
    *dst = value;
    return KF_OK;
}

static kf_status to_string(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                           const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    if (value.kind == KFI_JINJA_STRING) {
        *dst = value;
        return KF_OK;
    }
    return write_value(dst, run, &value, KFI_JINJA_PRINT);
}

static kf_status join(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                      const kfi_jinja_arguments *arguments)
{
    const kfi_jinja_value between = argument(arguments, 0, "d");
    bool fits = true;
    kfi_buf text;
    if (value.kind != KFI_JINJA_LIST) {
        return wrong_kind(run, "join", &value);
    }
    KFI_TRY(kfi_jinja_charge(run, value.as.list->n));
    kfi_jinja_text_init(&text, run);
    for (size_t i = 0; fits && i < value.as.list->n; i++) {
        fits = i == 0 || kfi_jinja_write(&text, &between, KFI_JINJA_PRINT);
        fits = fits && kfi_jinja_write(&text, &value.as.list->items[i], KFI_JINJA_PRINT);
    }
    if (!fits) {
        kfi_buf_deinit(&text);
        return kfi_fail(run->err, KF_RANGE, run->offset, "value nested too deeply");
    }
    return kfi_jinja_take_text(dst, run, &text);
}

/* selectattr(name[, test[, argument]]) and its opposite. */
static kf_status select_by(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                           const kfi_jinja_arguments *arguments, bool wanted)
{
    const kfi_jinja_value name = argument(arguments, 0, "attribute");
    const kfi_jinja_value test = argument(arguments, 1, "test");
    kfi_jinja_arguments rest = {NULL, 0, NULL, 0};
    kfi_jinja_value *items = NULL;
    kfi_jinja_list *selected = NULL;
    if (value.kind != KFI_JINJA_LIST || name.kind != KFI_JINJA_STRING) {
        return wrong_kind(run, "selection", &value);
    }
    if (arguments->n > 2) {
        rest = (kfi_jinja_arguments){arguments->values + 2, arguments->n - 2, NULL, 0};
    }
    const kfi_jinja_list *all = value.as.list;
    KFI_TRY(kfi_jinja_list_new(&selected, &items, run, all->n));
    selected->n = 0;
    for (size_t i = 0; i < all->n; i++) {
        kfi_jinja_value member;
        KFI_TRY(kfi_jinja_charge(run, 1));
        KFI_TRY(kfi_jinja_get_member(&member, run, &all->items[i], name.as.text));
        bool keep = kfi_jinja_truth(&member);
        if (test.kind == KFI_JINJA_STRING) {
            KFI_TRY(kfi_jinja_test(&keep, run, test.as.text, member, &rest));
        }
        if (keep == wanted) {
            items[selected->n++] = all->items[i];
        }
    }
    *dst = kfi_jinja_of_list(selected);
    return KF_OK;
}

static kf_status select_attribute(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                                  const kfi_jinja_arguments *arguments)
{
    return select_by(dst, run, value, arguments, true);
}

static kf_status reject_attribute(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                                  const kfi_jinja_arguments *arguments)
{
    return select_by(dst, run, value, arguments, false);
}

kf_status kfi_jinja_filter(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text name,
                           kfi_jinja_value value, const kfi_jinja_arguments *arguments)
{
    static const builtin_entry entries[] = {
        {"length", length, {NULL}},
        {"count", length, {NULL}},
        {"tojson", to_json, {NULL}},
        {"default", default_value, {"default_value", "boolean"}},
        {"d", default_value, {"default_value", "boolean"}},
        {"first", first, {NULL}},
        {"last", last, {NULL}},
        {"list", list, {NULL}},
        {"items", items, {NULL}},
        {"safe", unchanged, {NULL}},
        {"string", to_string, {NULL}},
        {"join", join, {"d"}},
        {"selectattr", select_attribute, {"attribute", "test", "argument"}},
        {"rejectattr", reject_attribute, {"attribute", "test", "argument"}},
    };
    static const char *const of_strings[] = {"trim",       "upper", "lower",
                                             "capitalize", "title", "replace"};
    const builtin_entry *entry = find_builtin(entries, sizeof entries / sizeof entries[0], name);
    if (entry != NULL) {
        return call(dst, run, entry, value, arguments);
    }
    for (size_t i = 0; i < sizeof of_strings / sizeof of_strings[0]; i++) {
        if (kfi_jinja_text_is(name, of_strings[i])) {
            kfi_jinja_value text;
            KFI_TRY(to_string(&text, run, value, arguments));
            const kfi_jinja_text method = i == 0 ? (kfi_jinja_text){"strip", 5} : name;
            return kfi_jinja_string_method(dst, run, text.as.text, method, arguments);
        }
    }
    return unknown(run, "filter", name);
}

kf_status kfi_jinja_method(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value object,
                           kfi_jinja_text name, const kfi_jinja_arguments *arguments)
{
    static const builtin_entry entries[] = {
        {"items", items, {NULL}},
        {"keys", keys, {NULL}},
        {"values", values, {NULL}},
        {"get", get, {"key", "default"}},
    };
    if (object.kind == KFI_JINJA_STRING) {
        return kfi_jinja_string_method(dst, run, object.as.text, name, arguments);
    }
    const builtin_entry *entry =
        object.kind == KFI_JINJA_MAP
            ? find_builtin(entries, sizeof entries / sizeof entries[0], name)
            : NULL;
    if (entry != NULL) {
        return call(dst, run, entry, object, arguments);
    }
    return object.kind == KFI_JINJA_UNDEFINED ? wrong_kind(run, "method", &object)
                                              : unknown(run, "method", name);
}

static kf_status raise_exception(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                                 const kfi_jinja_arguments *arguments)
{
    (void)value;
    *dst = kfi_jinja_none();
    const kfi_jinja_value message = argument(arguments, 0, "message");
    if (message.kind != KFI_JINJA_STRING) {
        return kfi_fail(run->err, KF_FORMAT, run->offset, "exception without a message");
    }
    const kfi_jinja_text text = message.as.text;
    return kfi_fail(run->err, KF_FORMAT, run->offset, "%.*s", (int)(text.n < 200 ? text.n : 200),
                    text.data);
}

static kf_status new_map(kfi_jinja_value *dst, kfi_jinja_run *run,
                         const kfi_jinja_arguments *arguments)
{
    kfi_jinja_map *map = NULL;
    KFI_TRY(kfi_jinja_map_new(&map, run));
    if (arguments->n > 0) {
        return kfi_fail(run->err, KF_UNSUPPORTED, run->offset, "a namespace of a map");
    }
    for (size_t i = 0; i < arguments->n_keywords; i++) {
        KFI_TRY(
            kfi_jinja_map_set(run, map, arguments->keywords[i].key, arguments->keywords[i].value));
    }
    *dst = kfi_jinja_of_map(map);
    return KF_OK;
}

static kf_status namespace(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                           const kfi_jinja_arguments *arguments)
{
    (void)value;
    KFI_TRY(new_map(dst, run, arguments));
    dst->kind = KFI_JINJA_NAMESPACE;
    return KF_OK;
}

static kf_status dict(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                      const kfi_jinja_arguments *arguments)
{
    (void)value;
    return new_map(dst, run, arguments);
}

/* range([start,] stop[, step]) */
static kf_status range(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                       const kfi_jinja_arguments *arguments)
{
    int64_t bounds[3] = {0, 0, 1};
    (void)value;
    for (size_t i = 0; i < arguments->n && i < 3; i++) {
        if (arguments->values[i].kind != KFI_JINJA_INTEGER) {
            return wrong_kind(run, "range", &arguments->values[i]);
        }
        bounds[arguments->n == 1 ? 1 : i] = arguments->values[i].as.integer;
    }
    const int64_t limit = INT64_C(1) << 40;
    const bool sane = bounds[0] > -limit && bounds[0] < limit && bounds[1] > -limit &&
                      bounds[1] < limit && bounds[2] > -limit && bounds[2] < limit;
    if (arguments->n < 1 || arguments->n > 3 || bounds[2] == 0 || !sane) {
        return kfi_fail(run->err, KF_FORMAT, run->offset, "arguments of range");
    }
    const int64_t step = bounds[2];
    const int64_t span = step > 0 ? bounds[1] - bounds[0] : bounds[0] - bounds[1];
    const int64_t size = step > 0 ? step : -step;
    const size_t n = span > 0 ? (size_t)((span + size - 1) / size) : 0;
    kfi_jinja_value *items_of_range = NULL;
    KFI_TRY(new_list(dst, &items_of_range, run, n));
    for (size_t i = 0; i < n; i++) {
        items_of_range[i] = kfi_jinja_integer(bounds[0] + (int64_t)i * step);
    }
    return KF_OK;
}

kf_status kfi_jinja_function(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text name,
                             const kfi_jinja_arguments *arguments)
{
    static const builtin_entry entries[] = {
        {"raise_exception", raise_exception, {"message"}},
        {"namespace", namespace, {ANY}},
        {"dict", dict, {ANY}},
        {"range", range, {"start", "stop", "step"}},
    };
    const builtin_entry *entry = find_builtin(entries, sizeof entries / sizeof entries[0], name);
    return entry != NULL ? call(dst, run, entry, kfi_jinja_none(), arguments)
                         : unknown(run, "function", name);
}
