/* jinja_parse.h - the two halves of the template parser.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_JINJA_PARSE_H
#define KFI_TEXT_JINJA_PARSE_H

#include "text/jinja_lex.h"
#include "text/jinja_node.h"

/* Height of the tree and nesting of the parser, so that neither recursion nor that of the renderer
 * can exhaust the stack. Real templates stay below 40. */
#define KFI_JINJA_MAX_HEIGHT 200u

typedef struct kfi_jinja_parser {
    kfi_jinja_lexer lexer;
    kfi_arena *arena;
    unsigned depth; /* of the parser's own recursion */
    unsigned loops; /* enclosing {% for %} */
    kf_error *err;
} kfi_jinja_parser;

/* A list of nodes under construction. */
typedef struct kfi_jinja_nodes {
    kfi_jinja_node *first, *last;
} kfi_jinja_nodes;

void kfi_jinja_nodes_append(kfi_jinja_nodes *nodes, kfi_jinja_node *node);

/* A node that begins at the current token. */
KF_NODISCARD kf_status kfi_jinja_node_new(kfi_jinja_node **node, kfi_jinja_parser *parser,
                                          kfi_jinja_node_kind kind);

/* Sets the height from the children; KF_RANGE where it is too much. */
KF_NODISCARD kf_status kfi_jinja_node_close(kfi_jinja_node *node, const kfi_jinja_parser *parser);

/* Counts one more level of the parser; KF_RANGE where it is too much. Leave with parser->depth--.
 */
KF_NODISCARD kf_status kfi_jinja_enter(kfi_jinja_parser *parser);

/* Takes the current token where it is this operator or name, else KF_FORMAT. */
KF_NODISCARD kf_status kfi_jinja_expect_operator(kfi_jinja_parser *parser, const char *text);
KF_NODISCARD kf_status kfi_jinja_expect_name(kfi_jinja_parser *parser, const char *name);

/* KF_FORMAT: the current token is not what is expected. */
kf_status kfi_jinja_unexpected(const kfi_jinja_parser *parser, const char *expected);

/* A node over `a` that begins with the current token, an operator, which is taken. */
KF_NODISCARD kf_status kfi_jinja_begin_over(kfi_jinja_node **node, kfi_jinja_node *a,
                                            kfi_jinja_parser *parser, kfi_jinja_node_kind kind);

/* A value; what stands behind it, over it. */
KF_NODISCARD kf_status kfi_jinja_parse_primary(kfi_jinja_node **node, kfi_jinja_parser *parser);
KF_NODISCARD kf_status kfi_jinja_parse_postfix(kfi_jinja_node **node, kfi_jinja_parser *parser);

/* A whole expression; one without the if-else form at its top. */
KF_NODISCARD kf_status kfi_jinja_parse_expression(kfi_jinja_node **node, kfi_jinja_parser *parser);
KF_NODISCARD kf_status kfi_jinja_parse_or(kfi_jinja_node **node, kfi_jinja_parser *parser);

#endif /* KFI_TEXT_JINJA_PARSE_H */
