/* jinja_primary.c - parsing values and what stands behind them: . [] () | is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "text/jinja_parse.h"

static kf_status new_literal(kfi_jinja_node **node, kfi_jinja_parser *parser, kfi_jinja_value value)
{
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_LITERAL));
    (*node)->value = value;
    return kfi_jinja_lexer_next(&parser->lexer);
}

static kf_status parse_name(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    const kfi_jinja_text name = parser->lexer.token.text;
    if (kfi_jinja_text_is(name, "true") || kfi_jinja_text_is(name, "True")) {
        return new_literal(node, parser, kfi_jinja_bool(true));
    }
    if (kfi_jinja_text_is(name, "false") || kfi_jinja_text_is(name, "False")) {
        return new_literal(node, parser, kfi_jinja_bool(false));
    }
    if (kfi_jinja_text_is(name, "none") || kfi_jinja_text_is(name, "None")) {
        return new_literal(node, parser, kfi_jinja_none());
    }
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_NAME));
    (*node)->name = name;
    return kfi_jinja_lexer_next(&parser->lexer);
}

/* Strings side by side are one, as in Python. */
static kf_status parse_string(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_text text = parser->lexer.token.text;
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_LITERAL));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    while (parser->lexer.token.kind == KFI_TOKEN_STRING) {
        const kfi_jinja_text more = parser->lexer.token.text;
        char *joined = kfi_arena_alloc(parser->arena, 1, text.n + more.n + 1);
        if (joined == NULL) {
            return kfi_fail(parser->err, KF_NOMEM, KF_NO_OFFSET, "string of a template");
        }
        memcpy(joined, text.data, text.n);
        memcpy(joined + text.n, more.data, more.n);
        text = (kfi_jinja_text){joined, text.n + more.n};
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    }
    (*node)->value = kfi_jinja_string(text.data, text.n);
    return KF_OK;
}

/* Expressions with commas between up to a closing operator, which is taken. */
static kf_status parse_items(kfi_jinja_nodes *items, kfi_jinja_parser *parser, const char *close)
{
    while (!kfi_jinja_lexer_is_operator(&parser->lexer, close)) {
        kfi_jinja_node *item = NULL;
        KFI_TRY(kfi_jinja_parse_expression(&item, parser));
        kfi_jinja_nodes_append(items, item);
        if (!kfi_jinja_lexer_is_operator(&parser->lexer, ",")) {
            break;
        }
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    }
    return kfi_jinja_expect_operator(parser, close);
}

static kf_status parse_list(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_nodes items = {0};
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_LIST));
    KFI_TRY(kfi_jinja_expect_operator(parser, "["));
    KFI_TRY(parse_items(&items, parser, "]"));
    (*node)->items = items.first;
    return kfi_jinja_node_close(*node, parser);
}

/* (a) is a; (a, b) and () are tuples, which are lists here. */
static kf_status parse_parentheses(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_node *first = NULL;
    kfi_jinja_nodes items = {0};
    kfi_jinja_node *tuple = NULL;
    KFI_TRY(kfi_jinja_node_new(&tuple, parser, KFI_NODE_LIST));
    KFI_TRY(kfi_jinja_expect_operator(parser, "("));
    if (!kfi_jinja_lexer_is_operator(&parser->lexer, ")")) {
        KFI_TRY(kfi_jinja_parse_expression(&first, parser));
        if (kfi_jinja_lexer_is_operator(&parser->lexer, ")")) {
            *node = first;
            return kfi_jinja_lexer_next(&parser->lexer);
        }
        kfi_jinja_nodes_append(&items, first);
        KFI_TRY(kfi_jinja_expect_operator(parser, ","));
    }
    KFI_TRY(parse_items(&items, parser, ")"));
    tuple->items = items.first;
    *node = tuple;
    return kfi_jinja_node_close(tuple, parser);
}

static kf_status parse_map(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_nodes items = {0};
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_MAP));
    KFI_TRY(kfi_jinja_expect_operator(parser, "{"));
    while (!kfi_jinja_lexer_is_operator(&parser->lexer, "}")) {
        kfi_jinja_node *item = NULL;
        KFI_TRY(kfi_jinja_parse_expression(&item, parser));
        kfi_jinja_nodes_append(&items, item);
        KFI_TRY(kfi_jinja_expect_operator(parser, ":"));
        KFI_TRY(kfi_jinja_parse_expression(&item, parser));
        kfi_jinja_nodes_append(&items, item);
        if (!kfi_jinja_lexer_is_operator(&parser->lexer, ",")) {
            break;
        }
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    }
    (*node)->items = items.first;
    KFI_TRY(kfi_jinja_expect_operator(parser, "}"));
    return kfi_jinja_node_close(*node, parser);
}

kf_status kfi_jinja_parse_primary(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    switch (parser->lexer.token.kind) {
    case KFI_TOKEN_NAME:
        return parse_name(node, parser);
    case KFI_TOKEN_INTEGER:
        return new_literal(node, parser, kfi_jinja_integer(parser->lexer.token.integer));
    case KFI_TOKEN_STRING:
        return parse_string(node, parser);
    case KFI_TOKEN_OPERATOR:
        if (kfi_jinja_lexer_is_operator(&parser->lexer, "(")) {
            return parse_parentheses(node, parser);
        }
        if (kfi_jinja_lexer_is_operator(&parser->lexer, "[")) {
            return parse_list(node, parser);
        }
        if (kfi_jinja_lexer_is_operator(&parser->lexer, "{")) {
            return parse_map(node, parser);
        }
        break;
    case KFI_TOKEN_END_OF_TAG:
        break;
    }
    return kfi_jinja_unexpected(parser, "a value");
}

/* Arguments of a call behind its "(": expressions, and name=expression. */
static kf_status parse_arguments(kfi_jinja_nodes *items, kfi_jinja_parser *parser)
{
    while (!kfi_jinja_lexer_is_operator(&parser->lexer, ")")) {
        kfi_jinja_node *argument = NULL;
        KFI_TRY(kfi_jinja_parse_expression(&argument, parser));
        if (argument->kind == KFI_NODE_NAME && kfi_jinja_lexer_is_operator(&parser->lexer, "=")) {
            KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
            argument->kind = KFI_NODE_KEYWORD;
            KFI_TRY(kfi_jinja_parse_expression(&argument->a, parser));
            KFI_TRY(kfi_jinja_node_close(argument, parser));
        }
        kfi_jinja_nodes_append(items, argument);
        if (!kfi_jinja_lexer_is_operator(&parser->lexer, ",")) {
            break;
        }
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    }
    return kfi_jinja_expect_operator(parser, ")");
}

static kf_status parse_call(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_nodes items = {0};
    KFI_TRY(kfi_jinja_begin_over(node, *node, parser, KFI_NODE_CALL));
    KFI_TRY(parse_arguments(&items, parser));
    (*node)->items = items.first;
    return kfi_jinja_node_close(*node, parser);
}

static kf_status take_name(kfi_jinja_text *name, kfi_jinja_parser *parser)
{
    if (parser->lexer.token.kind != KFI_TOKEN_NAME) {
        return kfi_jinja_unexpected(parser, "a name");
    }
    *name = parser->lexer.token.text;
    return kfi_jinja_lexer_next(&parser->lexer);
}

static kf_status parse_attribute(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    KFI_TRY(kfi_jinja_begin_over(node, *node, parser, KFI_NODE_ATTRIBUTE));
    KFI_TRY(take_name(&(*node)->name, parser));
    return kfi_jinja_node_close(*node, parser);
}

/* One bound of a slice, NULL where it is left out. */
static kf_status parse_bound(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    *node = NULL;
    if (kfi_jinja_lexer_is_operator(&parser->lexer, ":") ||
        kfi_jinja_lexer_is_operator(&parser->lexer, "]")) {
        return KF_OK;
    }
    return kfi_jinja_parse_expression(node, parser);
}

static kf_status parse_index(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    KFI_TRY(kfi_jinja_begin_over(node, *node, parser, KFI_NODE_INDEX));
    KFI_TRY(parse_bound(&(*node)->b, parser));
    if (kfi_jinja_lexer_is_operator(&parser->lexer, ":")) {
        (*node)->kind = KFI_NODE_SLICE;
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(parse_bound(&(*node)->c, parser));
        if (kfi_jinja_lexer_is_operator(&parser->lexer, ":")) {
            KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
            KFI_TRY(parse_bound(&(*node)->d, parser));
        }
    } else if ((*node)->b == NULL) {
        return kfi_jinja_unexpected(parser, "an index");
    }
    KFI_TRY(kfi_jinja_expect_operator(parser, "]"));
    return kfi_jinja_node_close(*node, parser);
}

static kf_status parse_filter(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_nodes items = {0};
    KFI_TRY(kfi_jinja_begin_over(node, *node, parser, KFI_NODE_FILTER));
    KFI_TRY(take_name(&(*node)->name, parser));
    if (kfi_jinja_lexer_is_operator(&parser->lexer, "(")) {
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(parse_arguments(&items, parser));
    }
    (*node)->items = items.first;
    return kfi_jinja_node_close(*node, parser);
}

/* The argument of a test may stand without parentheses: "is divisibleby 2". */
static bool begins_argument(const kfi_jinja_lexer *lexer)
{
    const kfi_jinja_token_kind kind = lexer->token.kind;
    if (kind == KFI_TOKEN_NAME) {
        static const char *const ends[] = {"and", "or", "else", "if", "is", "in", "not"};
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
            if (kfi_jinja_lexer_is_name(lexer, ends[i])) {
                return false;
            }
        }
        return true;
    }
    return kind == KFI_TOKEN_STRING || kind == KFI_TOKEN_INTEGER ||
           kfi_jinja_lexer_is_operator(lexer, "[") || kfi_jinja_lexer_is_operator(lexer, "{");
}

static kf_status parse_test(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_nodes items = {0};
    kfi_jinja_node *test = NULL;
    KFI_TRY(kfi_jinja_begin_over(&test, *node, parser, KFI_NODE_TEST));
    *node = test;
    if (kfi_jinja_lexer_is_name(&parser->lexer, "not")) {
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_NOT));
        (*node)->a = test;
    }
    KFI_TRY(take_name(&test->name, parser));
    if (kfi_jinja_lexer_is_operator(&parser->lexer, "(")) {
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(parse_arguments(&items, parser));
    } else if (begins_argument(&parser->lexer)) {
        kfi_jinja_node *argument = NULL;
        KFI_TRY(kfi_jinja_parse_primary(&argument, parser));
        kfi_jinja_nodes_append(&items, argument);
    }
    test->items = items.first;
    KFI_TRY(kfi_jinja_node_close(test, parser));
    return kfi_jinja_node_close(*node, parser);
}

kf_status kfi_jinja_parse_postfix(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    const kfi_jinja_lexer *lexer = &parser->lexer;
    for (;;) {
        if (kfi_jinja_lexer_is_operator(lexer, ".")) {
            KFI_TRY(parse_attribute(node, parser));
        } else if (kfi_jinja_lexer_is_operator(lexer, "[")) {
            KFI_TRY(parse_index(node, parser));
        } else if (kfi_jinja_lexer_is_operator(lexer, "(")) {
            KFI_TRY(parse_call(node, parser));
        } else if (kfi_jinja_lexer_is_operator(lexer, "|")) {
            KFI_TRY(parse_filter(node, parser));
        } else if (kfi_jinja_lexer_is_name(lexer, "is")) {
            KFI_TRY(parse_test(node, parser));
        } else {
            return KF_OK;
        }
    }
}
