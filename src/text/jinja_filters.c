/* jinja_filters.c - the filters of templates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "text/jinja_builtin.h"
#include "text/jinja_strings.h"

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
        return kfi_jinja_fail_kind(run, "length", &value);
    }
    *dst = kfi_jinja_integer((int64_t)n);
    return KF_OK;
}

static kf_status to_json(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                         const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    if (value.kind == KFI_JINJA_UNDEFINED) {
        return kfi_jinja_fail_kind(run, "tojson", &value);
    }
    return write_value(dst, run, &value, KFI_JINJA_JSON);
}

static kf_status default_value(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                               const kfi_jinja_arguments *arguments)
{
    (void)run;
    const kfi_jinja_value of_false = kfi_jinja_argument(arguments, 1, "boolean");
    const bool missing = value.kind == KFI_JINJA_UNDEFINED ||
                         (kfi_jinja_truth(&of_false) && !kfi_jinja_truth(&value));
    *dst = missing ? kfi_jinja_argument(arguments, 0, "default_value") : value;
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
        return kfi_jinja_fail_kind(run, "first", &value);
    }
    *dst = value.as.list->n > 0 ? value.as.list->items[0] : kfi_jinja_undefined();
    return KF_OK;
}

static kf_status last(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                      const kfi_jinja_arguments *arguments)
{
    (void)arguments;
    if (value.kind != KFI_JINJA_LIST) {
        return kfi_jinja_fail_kind(run, "last", &value);
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
        return kfi_jinja_new_list(dst, &none, run, 0);
    }
    return value.kind == KFI_JINJA_MAP ? kfi_jinja_map_keys(dst, run, value, arguments)
                                       : kfi_jinja_fail_kind(run, "list", &value);
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
    const kfi_jinja_value between = kfi_jinja_argument(arguments, 0, "d");
    bool fits = true;
    kfi_buf text;
    if (value.kind != KFI_JINJA_LIST) {
        return kfi_jinja_fail_kind(run, "join", &value);
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
    const kfi_jinja_value name = kfi_jinja_argument(arguments, 0, "attribute");
    const kfi_jinja_value test = kfi_jinja_argument(arguments, 1, "test");
    kfi_jinja_arguments rest = {NULL, 0, NULL, 0};
    kfi_jinja_value *items = NULL;
    kfi_jinja_list *selected = NULL;
    if (value.kind != KFI_JINJA_LIST || name.kind != KFI_JINJA_STRING) {
        return kfi_jinja_fail_kind(run, "selection", &value);
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
    static const kfi_jinja_builtin_entry entries[] = {
        {"length", length, {NULL}},
        {"count", length, {NULL}},
        {"tojson", to_json, {NULL}},
        {"default", default_value, {"default_value", "boolean"}},
        {"d", default_value, {"default_value", "boolean"}},
        {"first", first, {NULL}},
        {"last", last, {NULL}},
        {"list", list, {NULL}},
        {"items", kfi_jinja_map_items, {NULL}},
        {"safe", unchanged, {NULL}},
        {"string", to_string, {NULL}},
        {"join", join, {"d"}},
        {"selectattr", select_attribute, {"attribute", "test", "argument"}},
        {"rejectattr", reject_attribute, {"attribute", "test", "argument"}},
    };
    static const char *const of_strings[] = {"trim",       "upper", "lower",
                                             "capitalize", "title", "replace"};
    const kfi_jinja_builtin_entry *entry =
        kfi_jinja_builtin_find(entries, sizeof entries / sizeof entries[0], name);
    if (entry != NULL) {
        return kfi_jinja_builtin_call(dst, run, entry, value, arguments);
    }
    for (size_t i = 0; i < sizeof of_strings / sizeof of_strings[0]; i++) {
        if (kfi_jinja_text_is(name, of_strings[i])) {
            kfi_jinja_value text;
            KFI_TRY(to_string(&text, run, value, arguments));
            const kfi_jinja_text method = i == 0 ? (kfi_jinja_text){"strip", 5} : name;
            return kfi_jinja_string_method(dst, run, text.as.text, method, arguments);
        }
    }
    return kfi_jinja_fail_unknown(run, "filter", name);
}
