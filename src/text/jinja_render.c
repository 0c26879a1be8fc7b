/* jinja_render.c - running statements.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "text/jinja.h"
#include "text/jinja_run.h"

#define MIN_ARENA ((size_t)64 << 20)

kf_status kfi_jinja_charge(kfi_jinja_run *run, size_t steps)
{
    if (steps > KFI_JINJA_MAX_STEPS - run->steps) {
        return kfi_fail(run->err, KF_RANGE, run->offset, "more than %zu steps",
                        KFI_JINJA_MAX_STEPS);
    }
    run->steps += steps;
    return KF_OK;
}

kf_status kfi_jinja_allocate(void **dst, kfi_jinja_run *run, size_t n, size_t size)
{
    size_t bytes = 0;
    if (!kfi_mul_size(n, size, &bytes) || bytes > run->arena.max_total - run->arena.total) {
        return kfi_fail(run->err, KF_RANGE, run->offset, "more than %zu bytes of values",
                        run->arena.max_total);
    }
    *dst = kfi_arena_alloc(&run->arena, 8, bytes);
    return *dst != NULL ? KF_OK
                        : kfi_fail(run->err, KF_NOMEM, run->offset, "values of %zu bytes", bytes);
}

void kfi_jinja_text_init(kfi_buf *buf, const kfi_jinja_run *run)
{
    kfi_buf_init(buf, run->arena.alloc, run->dst->max);
}

/* A buffer fails at its ceiling or without memory. */
static kf_status buffer_failed(kfi_jinja_run *run, const kfi_buf *buf)
{
    return buf->n > buf->max / 2
               ? kfi_fail(run->err, KF_RANGE, run->offset, "more than %zu bytes of text", buf->max)
               : kfi_fail(run->err, KF_NOMEM, run->offset, "text of %zu bytes", buf->n);
}

kf_status kfi_jinja_take_text(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_buf *buf)
{
    void *copy = NULL;
    kf_status st = buf->failed ? buffer_failed(run, buf) : KF_OK;
    if (st == KF_OK) {
        st = kfi_jinja_allocate(&copy, run, buf->n, 1);
    }
    if (st == KF_OK) {
        if (buf->n > 0) {
            memcpy(copy, buf->data, buf->n);
        }
        *dst = kfi_jinja_string(copy, buf->n);
    }
    kfi_buf_deinit(buf);
    return st;
}

kf_status kfi_jinja_find(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text name)
{
    *dst = kfi_jinja_undefined();
    for (size_t i = run->n_bindings; i > 0; i--) {
        if (kfi_jinja_text_equal(run->bindings[i - 1].name, name)) {
            *dst = run->bindings[i - 1].value;
            return kfi_jinja_charge(run, (run->n_bindings - i) / 16);
        }
    }
    return kfi_jinja_charge(run, run->n_bindings / 16);
}

kf_status kfi_jinja_bind(kfi_jinja_run *run, kfi_jinja_text name, kfi_jinja_value value)
{
    KFI_TRY(kfi_jinja_charge(run, (run->n_bindings - run->frame) / 16));
    for (size_t i = run->frame; i < run->n_bindings; i++) {
        if (kfi_jinja_text_equal(run->bindings[i].name, name)) {
            run->bindings[i].value = value;
            return KF_OK;
        }
    }
    if (run->n_bindings == run->capacity) {
        const size_t capacity = run->capacity == 0 ? 32 : 2 * run->capacity;
        void *bindings = NULL;
        KFI_TRY(kfi_jinja_allocate(&bindings, run, capacity, sizeof *run->bindings));
        if (run->n_bindings > 0) {
            memcpy(bindings, run->bindings, run->n_bindings * sizeof *run->bindings);
        }
        run->bindings = bindings;
        run->capacity = capacity;
    }
    run->bindings[run->n_bindings++] = (kfi_jinja_binding){name, value};
    return KF_OK;
}

kf_status kfi_jinja_render_apart(kfi_jinja_value *dst, kfi_jinja_run *run,
                                 const kfi_jinja_node *body)
{
    kfi_buf text;
    kfi_buf *outer = run->dst;
    kfi_jinja_text_init(&text, run);
    run->dst = &text;
    const kf_status st = kfi_jinja_render_body(run, body);
    run->dst = outer;
    if (st != KF_OK) {
        kfi_buf_deinit(&text);
        return st;
    }
    return kfi_jinja_take_text(dst, run, &text);
}

static kf_status render_output(kfi_jinja_run *run, const kfi_jinja_node *node)
{
    kfi_jinja_value value;
    KFI_TRY(kfi_jinja_evaluate(&value, run, node->a));
    if (!kfi_jinja_write(run->dst, &value, KFI_JINJA_PRINT)) {
        return kfi_fail(run->err, KF_RANGE, node->offset, "value nested too deeply to print");
    }
    return run->dst->failed ? buffer_failed(run, run->dst) : KF_OK;
}

static kf_status render_if(kfi_jinja_run *run, const kfi_jinja_node *node)
{
    for (const kfi_jinja_node *branch = node->items; branch != NULL; branch = branch->next) {
        kfi_jinja_value condition = kfi_jinja_bool(true);
        if (branch->a != NULL) {
            KFI_TRY(kfi_jinja_evaluate(&condition, run, branch->a));
        }
        if (kfi_jinja_truth(&condition)) {
            return kfi_jinja_render_body(run, branch->b);
        }
    }
    return KF_OK;
}

/* What a for runs over: a list's items, a map's keys; a string's characters are not needed. */
static kf_status items_of(const kfi_jinja_list **dst, kfi_jinja_run *run, kfi_jinja_value value)
{
    kfi_jinja_value *keys = NULL;
    kfi_jinja_list *list = NULL;
    if (value.kind == KFI_JINJA_LIST) {
        *dst = value.as.list;
        return KF_OK;
    }
    if (value.kind == KFI_JINJA_STRING) {
        return kfi_fail(run->err, KF_UNSUPPORTED, run->offset, "a loop over a string");
    }
    if (value.kind != KFI_JINJA_MAP && value.kind != KFI_JINJA_UNDEFINED) {
        return kfi_fail(run->err, KF_FORMAT, run->offset, "a loop over a value of kind %s",
                        kfi_jinja_kind_name(value.kind));
    }
    const size_t n = value.kind == KFI_JINJA_MAP ? value.as.map->n : 0;
    KFI_TRY(kfi_jinja_list_new(&list, &keys, run, n));
    for (size_t i = 0; i < n; i++) {
        const kfi_jinja_text key = value.as.map->members[i].key;
        keys[i] = kfi_jinja_string(key.data, key.n);
    }
    *dst = list;
    return KF_OK;
}

/* Sets the loop's names: one takes the item, several take its parts. */
static kf_status bind_targets(kfi_jinja_run *run, const kfi_jinja_node *targets,
                              kfi_jinja_value item)
{
    if (targets->next == NULL) {
        return kfi_jinja_bind(run, targets->name, item);
    }
    size_t n = 0;
    for (const kfi_jinja_node *target = targets; target != NULL; target = target->next) {
        n++;
    }
    if (item.kind != KFI_JINJA_LIST || item.as.list->n != n) {
        return kfi_fail(run->err, KF_FORMAT, run->offset,
                        "the item of a loop is no list of %zu values", n);
    }
    size_t i = 0;
    for (const kfi_jinja_node *target = targets; target != NULL; target = target->next) {
        KFI_TRY(kfi_jinja_bind(run, target->name, item.as.list->items[i++]));
    }
    return KF_OK;
}

/* The items that the loop's condition lets through. */
static kf_status filter_items(const kfi_jinja_list **list, kfi_jinja_run *run,
                              const kfi_jinja_node *node)
{
    const size_t n_bindings = run->n_bindings;
    const size_t frame = run->frame;
    kfi_jinja_value *items = NULL;
    kfi_jinja_list *filtered = NULL;
    KFI_TRY(kfi_jinja_list_new(&filtered, &items, run, (*list)->n));
    filtered->n = 0;
    for (size_t i = 0; i < (*list)->n; i++) {
        kfi_jinja_value keep;
        run->frame = n_bindings;
        KFI_TRY(bind_targets(run, node->items, (*list)->items[i]));
        KFI_TRY(kfi_jinja_evaluate(&keep, run, node->d));
        run->n_bindings = n_bindings;
        run->frame = frame;
        if (kfi_jinja_truth(&keep)) {
            items[filtered->n++] = (*list)->items[i];
        }
    }
    *list = filtered;
    return KF_OK;
}

static kf_status render_iteration(kfi_jinja_run *run, const kfi_jinja_node *node,
                                  const kfi_jinja_list *list, size_t i)
{
    const size_t n_bindings = run->n_bindings;
    const size_t frame = run->frame;
    void *loop = NULL;
    KFI_TRY(kfi_jinja_allocate(&loop, run, 1, sizeof(kfi_jinja_loop)));
    *(kfi_jinja_loop *)loop = (kfi_jinja_loop){list, i};
    run->frame = n_bindings;
    KFI_TRY(kfi_jinja_bind(run, (kfi_jinja_text){"loop", 4},
                           (kfi_jinja_value){.kind = KFI_JINJA_LOOP, .as.loop = loop}));
    KFI_TRY(bind_targets(run, node->items, list->items[i]));
    KFI_TRY(kfi_jinja_render_body(run, node->b));
    run->n_bindings = n_bindings;
    run->frame = frame;
    return KF_OK;
}

static kf_status render_for(kfi_jinja_run *run, const kfi_jinja_node *node)
{
    kfi_jinja_value value;
    const kfi_jinja_list *list = NULL;
    KFI_TRY(kfi_jinja_evaluate(&value, run, node->a));
    KFI_TRY(items_of(&list, run, value));
    if (node->d != NULL) {
        KFI_TRY(filter_items(&list, run, node));
    }
    if (list->n == 0) {
        return kfi_jinja_render_body(run, node->c);
    }
    for (size_t i = 0; i < list->n && run->flow != KFI_FLOW_BREAK; i++) {
        run->flow = KFI_FLOW_ON;
        KFI_TRY(kfi_jinja_charge(run, 1));
        KFI_TRY(render_iteration(run, node, list, i));
    }
    run->flow = KFI_FLOW_ON;
    return KF_OK;
}

static kf_status render_set(kfi_jinja_run *run, const kfi_jinja_node *node)
{
    kfi_jinja_value value;
    if (node->a != NULL) {
        KFI_TRY(kfi_jinja_evaluate(&value, run, node->a));
    } else {
        KFI_TRY(kfi_jinja_render_apart(&value, run, node->b));
    }
    if (node->c == NULL) {
        return kfi_jinja_bind(run, node->name, value);
    }
    kfi_jinja_value space;
    KFI_TRY(kfi_jinja_find(&space, run, node->c->name));
    if (space.kind != KFI_JINJA_NAMESPACE) {
        return kfi_fail(run->err, KF_FORMAT, node->offset, "'%.*s' is not a namespace",
                        (int)(node->c->name.n < 60 ? node->c->name.n : 60), node->c->name.data);
    }
    return kfi_jinja_map_set(run, space.as.map, node->name, value);
}

static kf_status render_node(kfi_jinja_run *run, const kfi_jinja_node *node)
{
    switch (node->kind) {
    case KFI_NODE_TEXT:
        return kfi_buf_append(run->dst, node->name.data, node->name.n)
                   ? KF_OK
                   : buffer_failed(run, run->dst);
    case KFI_NODE_OUTPUT:
        return render_output(run, node);
    case KFI_NODE_IF:
        return render_if(run, node);
    case KFI_NODE_FOR:
        return render_for(run, node);
    case KFI_NODE_SET:
        return render_set(run, node);
    case KFI_NODE_MACRO:
        return kfi_jinja_bind(run, node->name,
                              (kfi_jinja_value){.kind = KFI_JINJA_MACRO, .as.macro = node});
    case KFI_NODE_BREAK:
        run->flow = KFI_FLOW_BREAK;
        return KF_OK;
    case KFI_NODE_CONTINUE:
        run->flow = KFI_FLOW_CONTINUE;
        return KF_OK;
    default:
        return kfi_fail(run->err, KF_INTERNAL, node->offset, "node %d is no statement",
                        (int)node->kind);
    }
}

kf_status kfi_jinja_render_body(kfi_jinja_run *run, const kfi_jinja_node *body)
{
    if (run->depth >= KFI_JINJA_MAX_DEPTH) {
        return kfi_fail(run->err, KF_RANGE, run->offset, "nested too deeply");
    }
    run->depth++;
    for (const kfi_jinja_node *node = body; node != NULL && run->flow == KFI_FLOW_ON;
         node = node->next) {
        run->offset = node->offset;
        KFI_TRY(kfi_jinja_charge(run, 1));
        KFI_TRY(render_node(run, node));
    }
    run->depth--;
    return KF_OK;
}

kf_status kfi_jinja_render(kfi_buf *dst, const kfi_jinja *jinja,
                           const kfi_jinja_variable *variables, size_t n_variables,
                           const kf_allocator *alloc, kf_error *err)
{
    kfi_jinja_run run = {.dst = dst, .err = err};
    kf_status st = KF_OK;
    kfi_arena_init(&run.arena, alloc,
                   dst->max < SIZE_MAX / 8 ? MIN_ARENA + 4 * dst->max : SIZE_MAX);
    for (size_t i = 0; st == KF_OK && i < n_variables; i++) {
        const kfi_jinja_text name = {variables[i].name, strlen(variables[i].name)};
        st = kfi_jinja_bind(&run, name, variables[i].value);
    }
    if (st == KF_OK) {
        st = kfi_jinja_render_body(&run, jinja->body);
    }
    kfi_arena_deinit(&run.arena);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "chat template: ");
    }
    return st;
}
