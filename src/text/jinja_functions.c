/* jinja_functions.c - the functions of templates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "text/jinja_builtin.h"

static kf_status raise_exception(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                                 const kfi_jinja_arguments *arguments)
{
    (void)value;
    *dst = kfi_jinja_none();
    const kfi_jinja_value message = kfi_jinja_argument(arguments, 0, "message");
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
            return kfi_jinja_fail_kind(run, "range", &arguments->values[i]);
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
    KFI_TRY(kfi_jinja_new_list(dst, &items_of_range, run, n));
    for (size_t i = 0; i < n; i++) {
        items_of_range[i] = kfi_jinja_integer(bounds[0] + (int64_t)i * step);
    }
    return KF_OK;
}

kf_status kfi_jinja_function(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text name,
                             const kfi_jinja_arguments *arguments)
{
    static const kfi_jinja_builtin_entry entries[] = {
        {"raise_exception", raise_exception, {"message"}},
        {"namespace", namespace, {KFI_JINJA_ANY}},
        {"dict", dict, {KFI_JINJA_ANY}},
        {"range", range, {"start", "stop", "step"}},
    };
    const kfi_jinja_builtin_entry *entry =
        kfi_jinja_builtin_find(entries, sizeof entries / sizeof entries[0], name);
    return entry != NULL ? kfi_jinja_builtin_call(dst, run, entry, kfi_jinja_none(), arguments)
                         : kfi_jinja_fail_unknown(run, "function", name);
}
