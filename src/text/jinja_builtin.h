/* jinja_builtin.h - built-in filters, methods and functions: entries of tables, and their
 * arguments.
 *
 * What a name means follows Jinja 3.1 and Python's str and dict.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_BUILTIN_H
#define KFI_TEXT_JINJA_BUILTIN_H

#include "text/jinja_run.h"

/* value: what a filter or a method is of; none for a function. */
typedef kf_status kfi_jinja_builtin(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_value value,
                                    const kfi_jinja_arguments *arguments);

#define KFI_JINJA_PARAMETERS_MAX 3
#define KFI_JINJA_ANY            "*"

typedef struct kfi_jinja_builtin_entry {
    const char *name;
    kfi_jinja_builtin *call;
    /* In order; KFI_JINJA_ANY checks its arguments itself. */
    const char *parameters[KFI_JINJA_PARAMETERS_MAX];
} kfi_jinja_builtin_entry;

/* NULL where no entry has that name. */
const kfi_jinja_builtin_entry *kfi_jinja_builtin_find(const kfi_jinja_builtin_entry *entries,
                                                      size_t n, kfi_jinja_text name);
/* KF_UNSUPPORTED for an argument that the entry has no parameter for. */
KF_NODISCARD kf_status kfi_jinja_builtin_call(kfi_jinja_value *dst, kfi_jinja_run *run,
                                              const kfi_jinja_builtin_entry *entry,
                                              kfi_jinja_value value,
                                              const kfi_jinja_arguments *arguments);
/* An argument by place or by name; undefined where it is not given. */
kfi_jinja_value kfi_jinja_argument(const kfi_jinja_arguments *arguments, size_t i,
                                   const char *name);

/* Fail: KF_UNSUPPORTED, "the filter 'x'"; KF_FORMAT, "length of a value of kind number". */
KF_NODISCARD kf_status kfi_jinja_fail_unknown(kfi_jinja_run *run, const char *what,
                                              kfi_jinja_text name);
KF_NODISCARD kf_status kfi_jinja_fail_kind(kfi_jinja_run *run, const char *what,
                                           const kfi_jinja_value *value);

/* dst is a list of n values, which the caller sets. */
KF_NODISCARD kf_status kfi_jinja_new_list(kfi_jinja_value *dst, kfi_jinja_value **items,
                                          kfi_jinja_run *run, size_t n);

/* Methods of maps that are filters as well: a list of the keys; of pairs of key and value. */
KF_NODISCARD kfi_jinja_builtin kfi_jinja_map_keys;
KF_NODISCARD kfi_jinja_builtin kfi_jinja_map_items;

#endif /* KFI_TEXT_JINJA_BUILTIN_H */
