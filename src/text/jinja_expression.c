/* jinja_expression.c - parsing expressions, by recursive descent.
 *
 *   expression  or [if or [else expression]]
 *   or          and {or and}
 *   and         not {and not}
 *   not         not not | compare
 *   compare     sum {(== != < <= > >= in, not in) sum}     chains as (a < b) and (b < c)
 *   sum         concat {(+ -) concat}
 *   concat      product {~ product}
 *   product     unary {(* // %) unary}
 *   unary       - unary | primary {. [] () | is}
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "text/jinja_parse.h"

static kf_status parse_unary(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    KFI_TRY(kfi_jinja_enter(parser));
    if (kfi_jinja_lexer_is_operator(&parser->lexer, "-")) {
        KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_NEGATE));
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(parse_unary(&(*node)->a, parser));
        KFI_TRY(kfi_jinja_node_close(*node, parser));
    } else {
        KFI_TRY(kfi_jinja_parse_primary(node, parser));
        KFI_TRY(kfi_jinja_parse_postfix(node, parser));
    }
    parser->depth--;
    return KF_OK;
}

/* An operator of one level of precedence. */
typedef struct operator_name {
    const char *name;
    kfi_jinja_op op;
} operator_name;

static const operator_name *find_operator(const kfi_jinja_lexer *lexer, const operator_name *names,
                                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (kfi_jinja_lexer_is_operator(lexer, names[i].name)) {
            return &names[i];
        }
    }
    return NULL;
}

/* operand {operator operand}, from the left. */
static kf_status parse_binary(kfi_jinja_node **node, kfi_jinja_parser *parser,
                              const operator_name *names, size_t n,
                              kf_status (*operand)(kfi_jinja_node **, kfi_jinja_parser *))
{
    KFI_TRY(operand(node, parser));
    for (;;) {
        const operator_name *found = find_operator(&parser->lexer, names, n);
        if (found == NULL) {
            return KF_OK;
        }
        KFI_TRY(kfi_jinja_begin_over(node, *node, parser, KFI_NODE_BINARY));
        (*node)->op = found->op;
        KFI_TRY(operand(&(*node)->b, parser));
        KFI_TRY(kfi_jinja_node_close(*node, parser));
    }
}

static kf_status parse_product(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    static const operator_name names[] = {
        {"*", KFI_OP_MULTIPLY}, {"//", KFI_OP_DIVIDE}, {"%", KFI_OP_MODULO}};
    KFI_TRY(parse_binary(node, parser, names, 3, parse_unary));
    if (kfi_jinja_lexer_is_operator(&parser->lexer, "/") ||
        kfi_jinja_lexer_is_operator(&parser->lexer, "**")) {
        return kfi_fail(parser->err, KF_UNSUPPORTED, parser->lexer.token.offset,
                        "the operators / and **");
    }
    return KF_OK;
}

static kf_status parse_concat(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    static const operator_name names[] = {{"~", KFI_OP_CONCAT}};
    return parse_binary(node, parser, names, 1, parse_product);
}

static kf_status parse_sum(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    static const operator_name names[] = {{"+", KFI_OP_ADD}, {"-", KFI_OP_SUBTRACT}};
    return parse_binary(node, parser, names, 2, parse_concat);
}

/* The comparison at the current token, which is taken; false where there is none. */
static kf_status take_comparison(bool *found, kfi_jinja_op *op, kfi_jinja_parser *parser)
{
    static const operator_name names[] = {{"==", KFI_OP_EQUAL},  {"!=", KFI_OP_NOT_EQUAL},
                                          {"<", KFI_OP_LESS},    {"<=", KFI_OP_LESS_EQUAL},
                                          {">", KFI_OP_GREATER}, {">=", KFI_OP_GREATER_EQUAL}};
    const operator_name *name = find_operator(&parser->lexer, names, 6);
    *found = true;
    if (name != NULL) {
        *op = name->op;
        return kfi_jinja_lexer_next(&parser->lexer);
    }
    if (kfi_jinja_lexer_is_name(&parser->lexer, "in")) {
        *op = KFI_OP_IN;
        return kfi_jinja_lexer_next(&parser->lexer);
    }
    if (kfi_jinja_lexer_is_name(&parser->lexer, "not")) {
        *op = KFI_OP_NOT_IN;
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        return kfi_jinja_expect_name(parser, "in");
    }
    *found = false;
    return KF_OK;
}

static kf_status parse_compare(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_node *left = NULL;
    kfi_jinja_node *chain = NULL;
    KFI_TRY(parse_sum(&left, parser));
    for (;;) {
        kfi_jinja_node *comparison = NULL;
        kfi_jinja_op op = KFI_OP_EQUAL;
        bool found = false;
        KFI_TRY(kfi_jinja_node_new(&comparison, parser, KFI_NODE_BINARY));
        KFI_TRY(take_comparison(&found, &op, parser));
        if (!found) {
            *node = chain != NULL ? chain : left;
            return KF_OK;
        }
        comparison->op = op;
        comparison->a = left;
        KFI_TRY(parse_sum(&comparison->b, parser));
        KFI_TRY(kfi_jinja_node_close(comparison, parser));
        left = comparison->b;
        if (chain == NULL) {
            chain = comparison;
            continue;
        }
        kfi_jinja_node *both = NULL;
        KFI_TRY(kfi_jinja_node_new(&both, parser, KFI_NODE_AND));
        both->a = chain;
        both->b = comparison;
        KFI_TRY(kfi_jinja_node_close(both, parser));
        chain = both;
    }
}

static kf_status parse_not(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    if (!kfi_jinja_lexer_is_name(&parser->lexer, "not")) {
        return parse_compare(node, parser);
    }
    KFI_TRY(kfi_jinja_enter(parser));
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_NOT));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    KFI_TRY(parse_not(&(*node)->a, parser));
    parser->depth--;
    return kfi_jinja_node_close(*node, parser);
}

/* operand {word operand}, from the left. */
static kf_status parse_logical(kfi_jinja_node **node, kfi_jinja_parser *parser, const char *word,
                               kfi_jinja_node_kind kind,
                               kf_status (*operand)(kfi_jinja_node **, kfi_jinja_parser *))
{
    KFI_TRY(operand(node, parser));
    while (kfi_jinja_lexer_is_name(&parser->lexer, word)) {
        KFI_TRY(kfi_jinja_begin_over(node, *node, parser, kind));
        KFI_TRY(operand(&(*node)->b, parser));
        KFI_TRY(kfi_jinja_node_close(*node, parser));
    }
    return KF_OK;
}

static kf_status parse_and(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    return parse_logical(node, parser, "and", KFI_NODE_AND, parse_not);
}

kf_status kfi_jinja_parse_or(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    return parse_logical(node, parser, "or", KFI_NODE_OR, parse_and);
}

kf_status kfi_jinja_parse_expression(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    KFI_TRY(kfi_jinja_enter(parser));
    KFI_TRY(kfi_jinja_parse_or(node, parser));
    if (kfi_jinja_lexer_is_name(&parser->lexer, "if")) {
        KFI_TRY(kfi_jinja_begin_over(node, *node, parser, KFI_NODE_CONDITIONAL));
        KFI_TRY(kfi_jinja_parse_or(&(*node)->b, parser));
        if (kfi_jinja_lexer_is_name(&parser->lexer, "else")) {
            KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
            KFI_TRY(kfi_jinja_parse_expression(&(*node)->c, parser));
        }
        KFI_TRY(kfi_jinja_node_close(*node, parser));
    }
    parser->depth--;
    return KF_OK;
}
