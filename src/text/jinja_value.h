/* jinja_value.h - values of templates. They are immutable but for namespaces, and live as long as
 * the rendering or, where borrowed, longer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_VALUE_H
#define KFI_TEXT_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "kerf/error.h"

typedef enum kfi_jinja_kind {
    KFI_JINJA_UNDEFINED,
    KFI_JINJA_NONE,
    KFI_JINJA_BOOL,
    KFI_JINJA_INTEGER,
    KFI_JINJA_STRING,
    KFI_JINJA_LIST,
    KFI_JINJA_MAP,
    KFI_JINJA_NAMESPACE, /* a map whose members can be set */
    KFI_JINJA_LOOP,      /* the state of a {% for %} */
    KFI_JINJA_MACRO
} kfi_jinja_kind;

/* UTF-8, not NUL-terminated. */
typedef struct kfi_jinja_text {
    const char *data;
    size_t n;
} kfi_jinja_text;

typedef struct kfi_jinja_list kfi_jinja_list;
typedef struct kfi_jinja_map kfi_jinja_map;
typedef struct kfi_jinja_loop kfi_jinja_loop;
struct kfi_jinja_node;

typedef struct kfi_jinja_value {
    kfi_jinja_kind kind;
    union {
        bool boolean;
        int64_t integer;
        kfi_jinja_text text;
        const kfi_jinja_list *list;
        kfi_jinja_map *map;
        const kfi_jinja_loop *loop;
        const struct kfi_jinja_node *macro;
    } as;
} kfi_jinja_value;

struct kfi_jinja_list {
    const kfi_jinja_value *items;
    size_t n;
};

/* Few members each, in order: searched one by one. */
typedef struct kfi_jinja_member {
    kfi_jinja_text key;
    kfi_jinja_value value;
} kfi_jinja_member;

struct kfi_jinja_map {
    kfi_jinja_member *members;
    size_t n, capacity;
};

struct kfi_jinja_loop {
    const kfi_jinja_list *list;
    size_t i;
};

static inline kfi_jinja_value kfi_jinja_undefined(void)
{
    return (kfi_jinja_value){.kind = KFI_JINJA_UNDEFINED};
}

static inline kfi_jinja_value kfi_jinja_none(void)
{
    return (kfi_jinja_value){.kind = KFI_JINJA_NONE};
}

static inline kfi_jinja_value kfi_jinja_bool(bool value)
{
    return (kfi_jinja_value){.kind = KFI_JINJA_BOOL, .as.boolean = value};
}

static inline kfi_jinja_value kfi_jinja_integer(int64_t value)
{
    return (kfi_jinja_value){.kind = KFI_JINJA_INTEGER, .as.integer = value};
}

static inline kfi_jinja_value kfi_jinja_string(const char *data, size_t n)
{
    return (kfi_jinja_value){.kind = KFI_JINJA_STRING, .as.text = {data, n}};
}

static inline kfi_jinja_value kfi_jinja_of_list(const kfi_jinja_list *list)
{
    return (kfi_jinja_value){.kind = KFI_JINJA_LIST, .as.list = list};
}

static inline kfi_jinja_value kfi_jinja_of_map(kfi_jinja_map *map)
{
    return (kfi_jinja_value){.kind = KFI_JINJA_MAP, .as.map = map};
}

static inline bool kfi_jinja_text_is(kfi_jinja_text text, const char *name)
{
    size_t i = 0;
    while (i < text.n && name[i] != '\0' && text.data[i] == name[i]) {
        i++;
    }
    return i == text.n && name[i] == '\0';
}

bool kfi_jinja_text_equal(kfi_jinja_text a, kfi_jinja_text b);

/* "string", "list" …: for messages. */
const char *kfi_jinja_kind_name(kfi_jinja_kind kind);

/* Python's truth: empty, zero, none and undefined are false. */
bool kfi_jinja_truth(const kfi_jinja_value *value);

/* The integer of an integer or, as in Python, of a boolean; false for other kinds. */
bool kfi_jinja_number(int64_t *dst, const kfi_jinja_value *value);

/* What a comparison may cost: a list whose items are twice the same list doubles with every level,
 * so that neither size nor depth alone bounds it. */
typedef struct kfi_jinja_effort {
    size_t steps;  /* left: one a value, a member or 64 bytes of text; 0 = the comparison gave up */
    bool too_deep; /* beyond the depth that is compared */
} kfi_jinja_effort;

/* Equality; values of different kinds differ. False too where the comparison gave up. */
bool kfi_jinja_equal(const kfi_jinja_value *a, const kfi_jinja_value *b, kfi_jinja_effort *effort);

/* Member of a map, attribute of a loop; undefined where there is none. Cost: O(members). */
kfi_jinja_value kfi_jinja_member_of(const kfi_jinja_value *value, kfi_jinja_text key);

/* How a value is written. */
typedef enum kfi_jinja_style {
    KFI_JINJA_PRINT, /* {{ value }}: strings as they are */
    KFI_JINJA_REPR,  /* inside a printed list: quoted as in Python */
    KFI_JINJA_JSON   /* tojson */
} kfi_jinja_style;

/* Appends a value. False where it is nested too deeply; buf->failed tells about the ceiling. */
bool kfi_jinja_write(kfi_buf *buf, const kfi_jinja_value *value, kfi_jinja_style style);

#endif /* KFI_TEXT_JINJA_VALUE_H */
