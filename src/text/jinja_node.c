/* jinja_node.c - making nodes of the syntax tree.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "text/jinja_parse.h"

void kfi_jinja_nodes_append(kfi_jinja_nodes *nodes, kfi_jinja_node *node)
{
    if (nodes->last == NULL) {
        nodes->first = node;
    } else {
        nodes->last->next = node;
    }
    nodes->last = node;
}

kf_status kfi_jinja_node_new(kfi_jinja_node **node, kfi_jinja_parser *parser,
                             kfi_jinja_node_kind kind)
{
    *node = kfi_arena_alloc(parser->arena, 8, sizeof **node);
    if (*node == NULL) {
        return kfi_fail(parser->err, KF_NOMEM, KF_NO_OFFSET, "template's syntax tree");
    }
    **node = (kfi_jinja_node){.kind = kind, .offset = parser->lexer.token.offset, .height = 1};
    return KF_OK;
}

kf_status kfi_jinja_node_close(kfi_jinja_node *node, const kfi_jinja_parser *parser)
{
    const kfi_jinja_node *const children[] = {node->a, node->b, node->c, node->d};
    for (size_t i = 0; i < 4; i++) {
        for (const kfi_jinja_node *child = children[i]; child != NULL; child = child->next) {
            node->height = child->height >= node->height ? child->height + 1 : node->height;
        }
    }
    for (const kfi_jinja_node *item = node->items; item != NULL; item = item->next) {
        node->height = item->height >= node->height ? item->height + 1 : node->height;
    }
    return node->height <= KFI_JINJA_MAX_HEIGHT
               ? KF_OK
               : kfi_fail(parser->err, KF_RANGE, node->offset, "nested too deeply");
}

kf_status kfi_jinja_enter(kfi_jinja_parser *parser)
{
    return ++parser->depth <= KFI_JINJA_MAX_HEIGHT
               ? KF_OK
               : kfi_fail(parser->err, KF_RANGE, parser->lexer.token.offset, "nested too deeply");
}

kf_status kfi_jinja_unexpected(const kfi_jinja_parser *parser, const char *expected)
{
    const kfi_jinja_token *token = &parser->lexer.token;
    const char *kind = token->kind == KFI_TOKEN_END_OF_TAG ? "the end of the tag"
                       : token->kind == KFI_TOKEN_STRING   ? "a string"
                       : token->kind == KFI_TOKEN_INTEGER  ? "an integer"
                                                           : NULL;
    if (kind != NULL) {
        return kfi_fail(parser->err, KF_FORMAT, token->offset, "%s, expected %s", kind, expected);
    }
    return kfi_fail(parser->err, KF_FORMAT, token->offset, "'%.*s', expected %s",
                    (int)(token->text.n < 60 ? token->text.n : 60), token->text.data, expected);
}

kf_status kfi_jinja_expect_operator(kfi_jinja_parser *parser, const char *text)
{
    return kfi_jinja_lexer_is_operator(&parser->lexer, text) ? kfi_jinja_lexer_next(&parser->lexer)
                                                             : kfi_jinja_unexpected(parser, text);
}

kf_status kfi_jinja_expect_name(kfi_jinja_parser *parser, const char *name)
{
    return kfi_jinja_lexer_is_name(&parser->lexer, name) ? kfi_jinja_lexer_next(&parser->lexer)
                                                         : kfi_jinja_unexpected(parser, name);
}

kf_status kfi_jinja_begin_over(kfi_jinja_node **node, kfi_jinja_node *a, kfi_jinja_parser *parser,
                               kfi_jinja_node_kind kind)
{
    KFI_TRY(kfi_jinja_node_new(node, parser, kind));
    (*node)->a = a;
    return kfi_jinja_lexer_next(&parser->lexer);
}
