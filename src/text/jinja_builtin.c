/* jinja_builtin.c - finding a built-in by its name, and calling it with its arguments.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/jinja_builtin.h"

#include <string.h>

#include "base/fail.h"

kf_status kfi_jinja_fail_unknown(kfi_jinja_run *run, const char *what, kfi_jinja_text name)
{
    return kfi_fail(run->err, KF_UNSUPPORTED, run->offset, "the %s '%.*s'", what,
                    (int)(name.n < 60 ? name.n : 60), name.data);
}

const kfi_jinja_builtin_entry *kfi_jinja_builtin_find(const kfi_jinja_builtin_entry *entries,
                                                      size_t n, kfi_jinja_text name)
{
    for (size_t i = 0; i < n; i++) {
        if (kfi_jinja_text_is(name, entries[i].name)) {
            return &entries[i];
        }
    }
    return NULL;
}

/* An argument that is not looked at would change what is meant in silence. */
static bool takes(const kfi_jinja_builtin_entry *entry, const kfi_jinja_arguments *arguments)
{
    size_t n = 0;
    while (n < KFI_JINJA_PARAMETERS_MAX && entry->parameters[n] != NULL) {
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

kf_status kfi_jinja_builtin_call(kfi_jinja_value *dst, kfi_jinja_run *run,
                                 const kfi_jinja_builtin_entry *entry, kfi_jinja_value value,
                                 const kfi_jinja_arguments *arguments)
{
    const bool any =
        entry->parameters[0] != NULL && strcmp(entry->parameters[0], KFI_JINJA_ANY) == 0;
    return any || takes(entry, arguments) ? entry->call(dst, run, value, arguments)
                                          : kfi_fail(run->err, KF_UNSUPPORTED, run->offset,
                                                     "these arguments of '%s'", entry->name);
}

kfi_jinja_value kfi_jinja_argument(const kfi_jinja_arguments *arguments, size_t i, const char *name)
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

kf_status kfi_jinja_fail_kind(kfi_jinja_run *run, const char *what, const kfi_jinja_value *value)
{
    return kfi_fail(run->err, KF_FORMAT, run->offset, "%s of a value of kind %s", what,
                    kfi_jinja_kind_name(value->kind));
}

kf_status kfi_jinja_new_list(kfi_jinja_value *dst, kfi_jinja_value **items, kfi_jinja_run *run,
                             size_t n)
{
    kfi_jinja_list *list = NULL;
    KFI_TRY(kfi_jinja_list_new(&list, items, run, n));
    *dst = kfi_jinja_of_list(list);
    return KF_OK;
}
