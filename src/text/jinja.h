/* jinja.h - the subset of the Jinja template language that chat templates use.
 *
 * Text, {{ expression }}, {% for %} with loop variables, filters and unpacking, {% if/elif/else %},
 * {% set %} of names, blocks and namespace members, {% macro %}, {% break %}, {% continue %},
 * {% generation %} (its body), comments, and white space control as Hugging Face sets it up:
 * trim_blocks and lstrip_blocks are on. Expressions: strings, integers, lists, maps, arithmetic on
 * integers, ~, comparisons, in, not, and, or, if-else, attributes, indices, slices, calls, filters
 * and tests. What a template uses beyond that fails with KF_UNSUPPORTED when it is parsed or, for
 * filters, tests, methods and functions, when it is reached: a branch for tools that is never taken
 * does no harm.
 *
 * A template comes with a model from anywhere and is hostile: nesting, steps, memory and output are
 * limited, and nothing outside its own values can be reached.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_H
#define KFI_TEXT_JINJA_H

#include "base/buf.h"
#include "kerf/error.h"
#include "text/jinja_value.h"

typedef struct kfi_jinja kfi_jinja;

/* Parses a template of n bytes, which is copied. KF_FORMAT with the byte offset, KF_UNSUPPORTED
 * naming what is not implemented, KF_RANGE beyond the limits, KF_NOMEM. */
KF_NODISCARD kf_status kfi_jinja_parse(kfi_jinja **jinja, const char *text, size_t n,
                                       const kf_allocator *alloc, kf_error *err);
void kfi_jinja_free(kfi_jinja *jinja);

/* A variable that the template finds by name; values are borrowed. */
typedef struct kfi_jinja_variable {
    const char *name;
    kfi_jinja_value value;
} kfi_jinja_variable;

/* Appends the rendered text. KF_FORMAT: the template fails on these values, or raises an exception
 * itself; KF_UNSUPPORTED, KF_RANGE, KF_NOMEM. Threads: reentrant. */
KF_NODISCARD kf_status kfi_jinja_render(kfi_buf *dst, const kfi_jinja *jinja,
                                        const kfi_jinja_variable *variables, size_t n_variables,
                                        const kf_allocator *alloc, kf_error *err);

#endif /* KFI_TEXT_JINJA_H */
