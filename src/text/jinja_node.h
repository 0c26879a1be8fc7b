/* jinja_node.h - the parsed form of a template.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_NODE_H
#define KFI_TEXT_JINJA_NODE_H

#include "text/jinja_value.h"

/* Beside each kind: the fields it uses. */
typedef enum kfi_jinja_node_kind {
    /* expressions */
    KFI_NODE_LITERAL,     /* value */
    KFI_NODE_NAME,        /* name */
    KFI_NODE_LIST,        /* items */
    KFI_NODE_MAP,         /* items: key, value, key, value … */
    KFI_NODE_NOT,         /* a */
    KFI_NODE_NEGATE,      /* a */
    KFI_NODE_AND,         /* a, b */
    KFI_NODE_OR,          /* a, b */
    KFI_NODE_BINARY,      /* a, op, b */
    KFI_NODE_CONDITIONAL, /* a if b else c, which may be NULL */
    KFI_NODE_ATTRIBUTE,   /* a.name */
    KFI_NODE_INDEX,       /* a[b] */
    KFI_NODE_SLICE,       /* a[b:c:d], each may be NULL */
    KFI_NODE_CALL,        /* a(items) */
    KFI_NODE_KEYWORD,     /* an argument: name = a */
    KFI_NODE_FILTER,      /* a | name(items) */
    KFI_NODE_TEST,        /* a is name items */
    /* statements */
    KFI_NODE_TEXT,     /* name is the text */
    KFI_NODE_OUTPUT,   /* {{ a }} */
    KFI_NODE_IF,       /* items: branches */
    KFI_NODE_BRANCH,   /* a: condition, NULL for else; b: body */
    KFI_NODE_FOR,      /* items: target names; a: what; b: body; c: else body; d: condition */
    KFI_NODE_SET,      /* name, or namespace c's member name; to a, or to the text of body b */
    KFI_NODE_MACRO,    /* name; items: parameters (names or keywords); b: body */
    KFI_NODE_BREAK,    /* */
    KFI_NODE_CONTINUE, /* */
} kfi_jinja_node_kind;

typedef enum kfi_jinja_op {
    KFI_OP_ADD,
    KFI_OP_SUBTRACT,
    KFI_OP_MULTIPLY,
    KFI_OP_DIVIDE, /* // */
    KFI_OP_MODULO,
    KFI_OP_CONCAT,
    KFI_OP_EQUAL,
    KFI_OP_NOT_EQUAL,
    KFI_OP_LESS,
    KFI_OP_LESS_EQUAL,
    KFI_OP_GREATER,
    KFI_OP_GREATER_EQUAL,
    KFI_OP_IN,
    KFI_OP_NOT_IN
} kfi_jinja_op;

/* One node; all lie in the template's arena. */
typedef struct kfi_jinja_node {
    kfi_jinja_node_kind kind;
    kfi_jinja_op op;
    uint32_t height; /* of the tree below: limits the recursion of those who walk it */
    size_t offset;   /* in the template */
    kfi_jinja_text name;
    kfi_jinja_value value;
    struct kfi_jinja_node *a, *b, *c, *d;
    struct kfi_jinja_node *items; /* a list over next */
    struct kfi_jinja_node *next;
} kfi_jinja_node;

struct kfi_jinja {
    kfi_arena arena;
    const kf_allocator *alloc;
    kfi_jinja_node *body;
};

#endif /* KFI_TEXT_JINJA_NODE_H */
