/* jinja_evaluate.c - evaluating expressions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "text/jinja_run.h"

#define MAX_ARGUMENTS 32u

static size_t count_nodes(const kfi_jinja_node *nodes)
{
    size_t n = 0;
    for (; nodes != NULL; nodes = nodes->next) {
        n++;
    }
    return n;
}

static kf_status evaluate_list(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_node *node)
{
    kfi_jinja_value *items = NULL;
    kfi_jinja_list *list = NULL;
    KFI_TRY(kfi_jinja_list_new(&list, &items, run, count_nodes(node->items)));
    for (const kfi_jinja_node *item = node->items; item != NULL; item = item->next) {
        KFI_TRY(kfi_jinja_evaluate(items++, run, item));
    }
    *dst = kfi_jinja_of_list(list);
    return KF_OK;
}

static kf_status evaluate_map(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_node *node)
{
    kfi_jinja_map *map = NULL;
    KFI_TRY(kfi_jinja_map_new(&map, run));
    for (const kfi_jinja_node *item = node->items; item != NULL; item = item->next->next) {
        kfi_jinja_value key;
        kfi_jinja_value value;
        KFI_TRY(kfi_jinja_evaluate(&key, run, item));
        KFI_TRY(kfi_jinja_evaluate(&value, run, item->next));
        if (key.kind != KFI_JINJA_STRING) {
            return kfi_fail(run->err, KF_UNSUPPORTED, item->offset, "map keys that are no strings");
        }
        KFI_TRY(kfi_jinja_map_set(run, map, key.as.text, value));
    }
    *dst = kfi_jinja_of_map(map);
    return KF_OK;
}

static kf_status evaluate_arguments(kfi_jinja_arguments *dst, kfi_jinja_run *run,
                                    const kfi_jinja_node *items)
{
    const size_t n = count_nodes(items);
    void *values = NULL;
    void *keywords = NULL;
    *dst = (kfi_jinja_arguments){NULL, 0, NULL, 0};
    if (n == 0) {
        return KF_OK;
    }
    if (n > MAX_ARGUMENTS) {
        return kfi_fail(run->err, KF_RANGE, run->offset, "%zu arguments, expected at most %u", n,
                        MAX_ARGUMENTS);
    }
    KFI_TRY(kfi_jinja_allocate(&values, run, n, sizeof *dst->values));
    KFI_TRY(kfi_jinja_allocate(&keywords, run, n, sizeof *dst->keywords));
    for (const kfi_jinja_node *item = items; item != NULL; item = item->next) {
        const bool keyword = item->kind == KFI_NODE_KEYWORD;
        kfi_jinja_value value;
        KFI_TRY(kfi_jinja_evaluate(&value, run, keyword ? item->a : item));
        if (keyword) {
            ((kfi_jinja_member *)keywords)[dst->n_keywords++] =
                (kfi_jinja_member){item->name, value};
        } else {
            ((kfi_jinja_value *)values)[dst->n++] = value;
        }
    }
    dst->values = values;
    dst->keywords = keywords;
    return KF_OK;
}

/* The argument for one parameter of a macro: by place, by name, or its default. */
static kf_status bind_parameter(kfi_jinja_run *run, const kfi_jinja_node *parameter, size_t i,
                                const kfi_jinja_arguments *arguments)
{
    kfi_jinja_value value = kfi_jinja_undefined();
    bool given = i < arguments->n;
    if (given) {
        value = arguments->values[i];
    }
    for (size_t k = 0; k < arguments->n_keywords; k++) {
        if (kfi_jinja_text_equal(arguments->keywords[k].key, parameter->name)) {
            value = arguments->keywords[k].value;
            given = true;
        }
    }
    if (!given && parameter->kind == KFI_NODE_KEYWORD) {
        KFI_TRY(kfi_jinja_evaluate(&value, run, parameter->a));
    }
    return kfi_jinja_bind(run, parameter->name, value);
}

static bool has_parameter(const kfi_jinja_node *macro, kfi_jinja_text name)
{
    for (const kfi_jinja_node *p = macro->items; p != NULL; p = p->next) {
        if (kfi_jinja_text_equal(p->name, name)) {
            return true;
        }
    }
    return false;
}

static kf_status call_macro(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_node *macro,
                            const kfi_jinja_arguments *arguments)
{
    const size_t n_bindings = run->n_bindings;
    const size_t frame = run->frame;
    size_t i = 0;
    run->frame = n_bindings;
    for (const kfi_jinja_node *p = macro->items; p != NULL; p = p->next) {
        KFI_TRY(bind_parameter(run, p, i++, arguments));
    }
    bool fits = arguments->n <= i;
    for (size_t k = 0; k < arguments->n_keywords; k++) {
        fits = fits && has_parameter(macro, arguments->keywords[k].key);
    }
    if (!fits) {
        return kfi_fail(run->err, KF_FORMAT, run->offset, "an argument that macro '%.*s' lacks",
                        (int)(macro->name.n < 60 ? macro->name.n : 60), macro->name.data);
    }
    KFI_TRY(kfi_jinja_render_apart(dst, run, macro->b));
    run->n_bindings = n_bindings;
    run->frame = frame;
    return KF_OK;
}

static kf_status evaluate_call(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_node *node)
{
    kfi_jinja_arguments arguments;
    kfi_jinja_value callee = kfi_jinja_undefined();
    KFI_TRY(evaluate_arguments(&arguments, run, node->items));
    run->offset = node->offset;
    if (node->a->kind == KFI_NODE_ATTRIBUTE) {
        kfi_jinja_value object;
        KFI_TRY(kfi_jinja_evaluate(&object, run, node->a->a));
        return kfi_jinja_method(dst, run, object, node->a->name, &arguments);
    }
    if (node->a->kind != KFI_NODE_NAME) {
        return kfi_fail(run->err, KF_FORMAT, node->offset, "call of what is no function");
    }
    KFI_TRY(kfi_jinja_find(&callee, run, node->a->name));
    if (callee.kind == KFI_JINJA_MACRO) {
        return call_macro(dst, run, callee.as.macro, &arguments);
    }
    return kfi_jinja_function(dst, run, node->a->name, &arguments);
}

static kf_status evaluate_filter(kfi_jinja_value *dst, kfi_jinja_run *run,
                                 const kfi_jinja_node *node)
{
    kfi_jinja_value value;
    kfi_jinja_arguments arguments;
    KFI_TRY(kfi_jinja_evaluate(&value, run, node->a));
    KFI_TRY(evaluate_arguments(&arguments, run, node->items));
    run->offset = node->offset;
    return kfi_jinja_filter(dst, run, node->name, value, &arguments);
}

static kf_status evaluate_test(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_node *node)
{
    kfi_jinja_value value;
    kfi_jinja_arguments arguments;
    bool result = false;
    KFI_TRY(kfi_jinja_evaluate(&value, run, node->a));
    KFI_TRY(evaluate_arguments(&arguments, run, node->items));
    run->offset = node->offset;
    KFI_TRY(kfi_jinja_test(&result, run, node->name, value, &arguments));
    *dst = kfi_jinja_bool(result);
    return KF_OK;
}

/* and, or: the side that decides; not; a if b else c. */
static kf_status evaluate_logic(kfi_jinja_value *dst, kfi_jinja_run *run,
                                const kfi_jinja_node *node)
{
    kfi_jinja_value first;
    KFI_TRY(
        kfi_jinja_evaluate(&first, run, node->kind == KFI_NODE_CONDITIONAL ? node->b : node->a));
    const bool truth = kfi_jinja_truth(&first);
    if (node->kind == KFI_NODE_NOT) {
        *dst = kfi_jinja_bool(!truth);
        return KF_OK;
    }
    if (node->kind == KFI_NODE_CONDITIONAL) {
        const kfi_jinja_node *chosen = truth ? node->a : node->c;
        *dst = kfi_jinja_undefined();
        return chosen == NULL ? KF_OK : kfi_jinja_evaluate(dst, run, chosen);
    }
    if (truth == (node->kind == KFI_NODE_OR)) {
        *dst = first;
        return KF_OK;
    }
    return kfi_jinja_evaluate(dst, run, node->b);
}

static kf_status evaluate_negate(kfi_jinja_value *dst, kfi_jinja_run *run,
                                 const kfi_jinja_node *node)
{
    kfi_jinja_value value;
    KFI_TRY(kfi_jinja_evaluate(&value, run, node->a));
    const kfi_jinja_value zero = kfi_jinja_integer(0);
    int64_t number = 0;
    if (!kfi_jinja_number(&number, &value)) {
        return kfi_fail(run->err, KF_FORMAT, node->offset, "- in front of a value of kind %s",
                        kfi_jinja_kind_name(value.kind));
    }
    return kfi_jinja_binary(dst, run, KFI_OP_SUBTRACT, &zero, &value);
}

static kf_status evaluate_binary(kfi_jinja_value *dst, kfi_jinja_run *run,
                                 const kfi_jinja_node *node)
{
    kfi_jinja_value a;
    kfi_jinja_value b;
    KFI_TRY(kfi_jinja_evaluate(&a, run, node->a));
    KFI_TRY(kfi_jinja_evaluate(&b, run, node->b));
    run->offset = node->offset;
    return kfi_jinja_binary(dst, run, node->op, &a, &b);
}

static kf_status evaluate_node(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_node *node)
{
    switch (node->kind) {
    case KFI_NODE_LITERAL:
        *dst = node->value;
        return KF_OK;
    case KFI_NODE_NAME:
        return kfi_jinja_find(dst, run, node->name);
    case KFI_NODE_LIST:
        return evaluate_list(dst, run, node);
    case KFI_NODE_MAP:
        return evaluate_map(dst, run, node);
    case KFI_NODE_NOT:
    case KFI_NODE_AND:
    case KFI_NODE_OR:
    case KFI_NODE_CONDITIONAL:
        return evaluate_logic(dst, run, node);
    case KFI_NODE_NEGATE:
        return evaluate_negate(dst, run, node);
    case KFI_NODE_BINARY:
        return evaluate_binary(dst, run, node);
    case KFI_NODE_ATTRIBUTE:
        return kfi_jinja_evaluate_attribute(dst, run, node);
    case KFI_NODE_INDEX:
        return kfi_jinja_evaluate_index(dst, run, node);
    case KFI_NODE_SLICE:
        return kfi_jinja_evaluate_slice(dst, run, node);
    case KFI_NODE_CALL:
        return evaluate_call(dst, run, node);
    case KFI_NODE_FILTER:
        return evaluate_filter(dst, run, node);
    case KFI_NODE_TEST:
        return evaluate_test(dst, run, node);
    default:
        return kfi_fail(run->err, KF_FORMAT, node->offset, "a keyword argument out of place");
    }
}

kf_status kfi_jinja_evaluate(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_node *node)
{
    if (run->depth >= KFI_JINJA_MAX_DEPTH) {
        return kfi_fail(run->err, KF_RANGE, node->offset, "nested too deeply");
    }
    KFI_TRY(kfi_jinja_charge(run, 1));
    run->depth++;
    run->offset = node->offset;
    KFI_TRY(evaluate_node(dst, run, node));
    run->depth--;
    return KF_OK;
}
