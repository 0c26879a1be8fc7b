/* jinja_value.c - values of templates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/jinja_value.h"

#include <inttypes.h>
#include <string.h>

/* Lists can hold lists made in a loop: no value is followed deeper than this. */
#define MAX_DEPTH 32

bool kfi_jinja_text_equal(kfi_jinja_text a, kfi_jinja_text b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

const char *kfi_jinja_kind_name(kfi_jinja_kind kind)
{
    switch (kind) {
    case KFI_JINJA_UNDEFINED:
        return "undefined";
    case KFI_JINJA_NONE:
        return "none";
    case KFI_JINJA_BOOL:
        return "boolean";
    case KFI_JINJA_INTEGER:
        return "integer";
    case KFI_JINJA_STRING:
        return "string";
    case KFI_JINJA_LIST:
        return "list";
    case KFI_JINJA_MAP:
        return "map";
    case KFI_JINJA_NAMESPACE:
        return "namespace";
    case KFI_JINJA_LOOP:
        return "loop";
    case KFI_JINJA_MACRO:
        return "macro";
    }
    return "value";
}

bool kfi_jinja_truth(const kfi_jinja_value *value)
{
    switch (value->kind) {
    case KFI_JINJA_UNDEFINED:
    case KFI_JINJA_NONE:
        return false;
    case KFI_JINJA_BOOL:
        return value->as.boolean;
    case KFI_JINJA_INTEGER:
        return value->as.integer != 0;
    case KFI_JINJA_STRING:
        return value->as.text.n > 0;
    case KFI_JINJA_LIST:
        return value->as.list->n > 0;
    case KFI_JINJA_MAP:
        return value->as.map->n > 0;
    case KFI_JINJA_NAMESPACE:
    case KFI_JINJA_LOOP:
    case KFI_JINJA_MACRO:
        break;
    }
    return true;
}

static bool equal_at(const kfi_jinja_value *a, const kfi_jinja_value *b, kfi_jinja_effort *effort,
                     int depth);

/* Takes steps; false when there are not so many left. */
static bool spend(kfi_jinja_effort *effort, size_t steps)
{
    effort->steps = steps < effort->steps ? effort->steps - steps : 0;
    return effort->steps > 0;
}

static bool lists_equal(const kfi_jinja_list *a, const kfi_jinja_list *b, kfi_jinja_effort *effort,
                        int depth)
{
    bool equal = a->n == b->n;
    for (size_t i = 0; equal && i < a->n; i++) {
        equal = equal_at(&a->items[i], &b->items[i], effort, depth + 1);
    }
    return equal;
}

static const kfi_jinja_member *find_member(const kfi_jinja_map *map, kfi_jinja_text key)
{
    for (size_t i = 0; i < map->n; i++) {
        if (kfi_jinja_text_equal(map->members[i].key, key)) {
            return &map->members[i];
        }
    }
    return NULL;
}

static bool maps_equal(const kfi_jinja_map *a, const kfi_jinja_map *b, kfi_jinja_effort *effort,
                       int depth)
{
    bool equal = a->n == b->n;
    for (size_t i = 0; equal && i < a->n; i++) {
        const kfi_jinja_member *other =
            spend(effort, b->n) ? find_member(b, a->members[i].key) : NULL;
        equal = other != NULL && equal_at(&a->members[i].value, &other->value, effort, depth + 1);
    }
    return equal;
}

bool kfi_jinja_number(int64_t *dst, const kfi_jinja_value *value)
{
    if (value->kind == KFI_JINJA_BOOL) {
        *dst = value->as.boolean;
        return true;
    }
    *dst = value->as.integer;
    return value->kind == KFI_JINJA_INTEGER;
}

static bool equal_at(const kfi_jinja_value *a, const kfi_jinja_value *b, kfi_jinja_effort *effort,
                     int depth)
{
    int64_t x = 0;
    int64_t y = 0;
    if (depth > MAX_DEPTH) {
        effort->too_deep = true;
        return false;
    }
    if (!spend(effort, 1 + (a->kind == KFI_JINJA_STRING ? a->as.text.n / 64 : 0))) {
        return false;
    }
    if (kfi_jinja_number(&x, a) && kfi_jinja_number(&y, b)) {
        return x == y;
    }
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case KFI_JINJA_STRING:
        return kfi_jinja_text_equal(a->as.text, b->as.text);
    case KFI_JINJA_LIST:
        return lists_equal(a->as.list, b->as.list, effort, depth);
    case KFI_JINJA_MAP:
        return maps_equal(a->as.map, b->as.map, effort, depth);
    case KFI_JINJA_NAMESPACE:
        return a->as.map == b->as.map;
    case KFI_JINJA_LOOP:
        return a->as.loop == b->as.loop;
    case KFI_JINJA_MACRO:
        return a->as.macro == b->as.macro;
    default:
        return true; /* undefined and none */
    }
}

bool kfi_jinja_equal(const kfi_jinja_value *a, const kfi_jinja_value *b, kfi_jinja_effort *effort)
{
    return equal_at(a, b, effort, 0);
}

static kfi_jinja_value loop_item(const kfi_jinja_loop *loop, size_t i)
{
    return i < loop->list->n ? loop->list->items[i] : kfi_jinja_undefined();
}

static kfi_jinja_value loop_attribute(const kfi_jinja_loop *loop, kfi_jinja_text name)
{
    const int64_t i = (int64_t)loop->i;
    const int64_t n = (int64_t)loop->list->n;
    const struct {
        const char *name;
        kfi_jinja_value value;
    } attributes[] = {
        {"index", kfi_jinja_integer(i + 1)},
        {"index0", kfi_jinja_integer(i)},
        {"first", kfi_jinja_bool(i == 0)},
        {"last", kfi_jinja_bool(i + 1 == n)},
        {"length", kfi_jinja_integer(n)},
        {"revindex", kfi_jinja_integer(n - i)},
        {"revindex0", kfi_jinja_integer(n - i - 1)},
        {"depth", kfi_jinja_integer(1)}, /* more only in recursive loops */
        {"depth0", kfi_jinja_integer(0)},
        {"previtem", loop_item(loop, loop->i - 1)}, /* wraps at the first, and is undefined */
        {"nextitem", loop_item(loop, loop->i + 1)},
    };
    for (size_t k = 0; k < sizeof attributes / sizeof attributes[0]; k++) {
        if (kfi_jinja_text_is(name, attributes[k].name)) {
            return attributes[k].value;
        }
    }
    return kfi_jinja_undefined();
}

kfi_jinja_value kfi_jinja_member_of(const kfi_jinja_value *value, kfi_jinja_text key)
{
    if (value->kind == KFI_JINJA_LOOP) {
        return loop_attribute(value->as.loop, key);
    }
    if (value->kind == KFI_JINJA_MAP || value->kind == KFI_JINJA_NAMESPACE) {
        const kfi_jinja_member *member = find_member(value->as.map, key);
        return member == NULL ? kfi_jinja_undefined() : member->value;
    }
    return kfi_jinja_undefined();
}

/* JSON has double quotes; Python's repr single ones, but around a text that has those only. */
static char quote_for(kfi_jinja_text text, kfi_jinja_style style)
{
    const bool has_single = text.n > 0 && memchr(text.data, '\'', text.n) != NULL;
    const bool has_double = text.n > 0 && memchr(text.data, '"', text.n) != NULL;
    return style == KFI_JINJA_JSON || (has_single && !has_double) ? '"' : '\'';
}

/* JSON's escapes, which Python's repr shares but for the quote and the control characters. */
static void write_quoted(kfi_buf *buf, kfi_jinja_text text, kfi_jinja_style style)
{
    const char quote = quote_for(text, style);
    static const char plain[] = "\n\r\t";
    static const char letters[] = "nrt";
    (void)kfi_buf_append_byte(buf, (unsigned char)quote);
    for (size_t i = 0; i < text.n; i++) {
        const char c = text.data[i];
        const char *escape = c == '\0' ? NULL : strchr(plain, c);
        if (escape != NULL) {
            (void)kfi_buf_printf(buf, "\\%c", letters[escape - plain]);
        } else if (c == quote || c == '\\') {
            (void)kfi_buf_printf(buf, "\\%c", c);
        } else if ((unsigned char)c < 0x20) {
            (void)kfi_buf_printf(buf, style == KFI_JINJA_JSON ? "\\u%04x" : "\\x%02x", c);
        } else {
            (void)kfi_buf_append_byte(buf, (unsigned char)c);
        }
    }
    (void)kfi_buf_append_byte(buf, (unsigned char)quote);
}

static bool write_at(kfi_buf *buf, const kfi_jinja_value *value, kfi_jinja_style style, int depth);

static bool write_list(kfi_buf *buf, const kfi_jinja_list *list, kfi_jinja_style style, int depth)
{
    bool ok = true;
    (void)kfi_buf_append_byte(buf, '[');
    for (size_t i = 0; ok && !buf->failed && i < list->n; i++) {
        (void)kfi_buf_append_text(buf, i == 0 ? "" : ", ");
        ok = write_at(buf, &list->items[i], style, depth + 1);
    }
    (void)kfi_buf_append_byte(buf, ']');
    return ok;
}

static bool write_map(kfi_buf *buf, const kfi_jinja_map *map, kfi_jinja_style style, int depth)
{
    bool ok = true;
    (void)kfi_buf_append_byte(buf, '{');
    for (size_t i = 0; ok && !buf->failed && i < map->n; i++) {
        (void)kfi_buf_append_text(buf, i == 0 ? "" : ", ");
        write_quoted(buf, map->members[i].key, style);
        (void)kfi_buf_append_text(buf, ": ");
        ok = write_at(buf, &map->members[i].value, style, depth + 1);
    }
    (void)kfi_buf_append_byte(buf, '}');
    return ok;
}

static bool write_at(kfi_buf *buf, const kfi_jinja_value *value, kfi_jinja_style style, int depth)
{
    const bool json = style == KFI_JINJA_JSON;
    const kfi_jinja_style inner = json ? KFI_JINJA_JSON : KFI_JINJA_REPR;
    if (depth > MAX_DEPTH) {
        return false;
    }
    switch (value->kind) {
    case KFI_JINJA_NONE:
        (void)kfi_buf_append_text(buf, json ? "null" : "None");
        return true;
    case KFI_JINJA_BOOL:
        (void)kfi_buf_append_text(buf, value->as.boolean ? json ? "true" : "True"
                                       : json            ? "false"
                                                         : "False");
        return true;
    case KFI_JINJA_INTEGER:
        (void)kfi_buf_printf(buf, "%" PRId64, value->as.integer);
        return true;
    case KFI_JINJA_STRING:
        if (style == KFI_JINJA_PRINT) {
            (void)kfi_buf_append(buf, value->as.text.data, value->as.text.n);
        } else {
            write_quoted(buf, value->as.text, style);
        }
        return true;
    case KFI_JINJA_LIST:
        return write_list(buf, value->as.list, inner, depth);
    case KFI_JINJA_MAP:
    case KFI_JINJA_NAMESPACE:
        return write_map(buf, value->as.map, inner, depth);
    case KFI_JINJA_UNDEFINED:
    case KFI_JINJA_LOOP:
    case KFI_JINJA_MACRO:
        break;
    }
    return true; /* an undefined value is written as nothing */
}

bool kfi_jinja_write(kfi_buf *buf, const kfi_jinja_value *value, kfi_jinja_style style)
{
    return write_at(buf, value, style, 0);
}
