/* jinja_strings.h - the methods of strings in templates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_STRINGS_H
#define KFI_TEXT_JINJA_STRINGS_H

#include "text/jinja_run.h"

size_t kfi_jinja_count_characters(kfi_jinja_text text);

/* strip lstrip rstrip upper lower title capitalize replace split startswith endswith join find, as
 * of Python's str; KF_UNSUPPORTED for others. */
KF_NODISCARD kf_status kfi_jinja_string_method(kfi_jinja_value *dst, kfi_jinja_run *run,
                                               kfi_jinja_text text, kfi_jinja_text name,
                                               const kfi_jinja_arguments *arguments);

#endif /* KFI_TEXT_JINJA_STRINGS_H */
