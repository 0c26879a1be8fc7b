/* jinja_run.h - one rendering of a template: its memory, its variables, its limits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_RUN_H
#define KFI_TEXT_JINJA_RUN_H

#include "text/jinja_node.h"

/* Nodes visited, characters compared (64 a step) and variables searched (16 a step): under a
 * second. A conversation of a thousand messages takes some 50 000. */
#define KFI_JINJA_MAX_STEPS ((size_t)4000000)
/* Nested evaluations, through macros too: bounds the stack at some 500 KB. */
#define KFI_JINJA_MAX_DEPTH 1000u

typedef struct kfi_jinja_binding {
    kfi_jinja_text name;
    kfi_jinja_value value;
} kfi_jinja_binding;

/* What a body ended with. */
typedef enum kfi_jinja_flow {
    KFI_FLOW_ON,
    KFI_FLOW_BREAK,
    KFI_FLOW_CONTINUE
} kfi_jinja_flow;

/* Variables are one stack: a loop's iteration or a macro opens a frame, sees all below, sets only
 * its own. */
typedef struct kfi_jinja_run {
    kfi_arena arena;
    kfi_buf *dst;
    kfi_jinja_binding *bindings;
    size_t n_bindings, capacity;
    size_t frame; /* first binding of the current frame */
    size_t steps;
    unsigned depth;
    kfi_jinja_flow flow;
    size_t offset; /* of the node that is evaluated, for messages */
    kf_error *err;
} kfi_jinja_run;

/* Evaluated arguments of a call. */
typedef struct kfi_jinja_arguments {
    const kfi_jinja_value *values; /* positional */
    size_t n;
    const kfi_jinja_member *keywords;
    size_t n_keywords;
} kfi_jinja_arguments;

/* Counts work; KF_RANGE where it is too much. */
KF_NODISCARD kf_status kfi_jinja_charge(kfi_jinja_run *run, size_t steps);

/* Memory of the rendering: KF_RANGE at its ceiling, KF_NOMEM without memory. */
KF_NODISCARD kf_status kfi_jinja_allocate(void **dst, kfi_jinja_run *run, size_t n, size_t size);

/* The text of a buffer as a value; the buffer is freed. */
KF_NODISCARD kf_status kfi_jinja_take_text(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_buf *buf);

/* A buffer for text, under the ceiling of the output. */
void kfi_jinja_text_init(kfi_buf *buf, const kfi_jinja_run *run);

/* A variable, undefined where there is none; setting one in the current frame. */
KF_NODISCARD kf_status kfi_jinja_find(kfi_jinja_value *dst, kfi_jinja_run *run,
                                      kfi_jinja_text name);
KF_NODISCARD kf_status kfi_jinja_bind(kfi_jinja_run *run, kfi_jinja_text name,
                                      kfi_jinja_value value);

/* A member as of kfi_jinja_member_of(), with the work counted. */
KF_NODISCARD kf_status kfi_jinja_get_member(kfi_jinja_value *dst, kfi_jinja_run *run,
                                            const kfi_jinja_value *value, kfi_jinja_text key);

/* A list of n values, which the caller sets; it may lower n. The work is counted. */
KF_NODISCARD kf_status kfi_jinja_list_new(kfi_jinja_list **list, kfi_jinja_value **items,
                                          kfi_jinja_run *run, size_t n);

/* An empty map; setting a member of one. */
KF_NODISCARD kf_status kfi_jinja_map_new(kfi_jinja_map **map, kfi_jinja_run *run);
KF_NODISCARD kf_status kfi_jinja_map_set(kfi_jinja_run *run, kfi_jinja_map *map, kfi_jinja_text key,
                                         kfi_jinja_value value);

KF_NODISCARD kf_status kfi_jinja_evaluate(kfi_jinja_value *dst, kfi_jinja_run *run,
                                          const kfi_jinja_node *node);

/* Parts of it: a binary operator on values; members, indices and slices. */
KF_NODISCARD kf_status kfi_jinja_binary(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_op op,
                                        const kfi_jinja_value *a, const kfi_jinja_value *b);
KF_NODISCARD kf_status kfi_jinja_evaluate_index(kfi_jinja_value *dst, kfi_jinja_run *run,
                                                const kfi_jinja_node *node);
KF_NODISCARD kf_status kfi_jinja_evaluate_attribute(kfi_jinja_value *dst, kfi_jinja_run *run,
                                                    const kfi_jinja_node *node);
KF_NODISCARD kf_status kfi_jinja_evaluate_slice(kfi_jinja_value *dst, kfi_jinja_run *run,
                                                const kfi_jinja_node *node);

/* Renders statements one after the other into run->dst. */
KF_NODISCARD kf_status kfi_jinja_render_body(kfi_jinja_run *run, const kfi_jinja_node *body);

/* Renders a body apart and returns its text. */
KF_NODISCARD kf_status kfi_jinja_render_apart(kfi_jinja_value *dst, kfi_jinja_run *run,
                                              const kfi_jinja_node *body);

/* The built-in filters, tests, methods and functions; KF_UNSUPPORTED for a name they do not know.
 */
KF_NODISCARD kf_status kfi_jinja_filter(kfi_jinja_value *dst, kfi_jinja_run *run,
                                        kfi_jinja_text name, kfi_jinja_value value,
                                        const kfi_jinja_arguments *arguments);
KF_NODISCARD kf_status kfi_jinja_test(bool *dst, kfi_jinja_run *run, kfi_jinja_text name,
                                      kfi_jinja_value value, const kfi_jinja_arguments *arguments);
KF_NODISCARD kf_status kfi_jinja_method(kfi_jinja_value *dst, kfi_jinja_run *run,
                                        kfi_jinja_value object, kfi_jinja_text name,
                                        const kfi_jinja_arguments *arguments);
KF_NODISCARD kf_status kfi_jinja_function(kfi_jinja_value *dst, kfi_jinja_run *run,
                                          kfi_jinja_text name,
                                          const kfi_jinja_arguments *arguments);

/* needle in haystack, with the work counted. */
KF_NODISCARD kf_status kfi_jinja_contains(bool *dst, kfi_jinja_run *run, kfi_jinja_value needle,
                                          kfi_jinja_value haystack);
/* a == b, with the work counted. */
KF_NODISCARD kf_status kfi_jinja_compare_equal(bool *dst, kfi_jinja_run *run, kfi_jinja_value a,
                                               kfi_jinja_value b);

/* First place of needle in text from `from` on; text.n where there is none. */
size_t kfi_jinja_text_find(kfi_jinja_text text, size_t from, kfi_jinja_text needle);

#endif /* KFI_TEXT_JINJA_RUN_H */
