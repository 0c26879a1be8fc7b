/* jinja_parse.c - parsing statements.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/jinja_parse.h"

#include <string.h>

#include "base/fail.h"
#include "text/jinja.h"

/* The largest published templates have some 20 KB. */
#define MAX_TEMPLATE ((size_t)1 << 20)
#define MAX_ARENA    ((size_t)256 << 20)

static kf_status parse_body(kfi_jinja_node **body, kfi_jinja_parser *parser,
                            const char *const *ends, size_t n_ends);

static kf_status expect_end_of_tag(const kfi_jinja_parser *parser)
{
    const kfi_jinja_token *token = &parser->lexer.token;
    return token->kind == KFI_TOKEN_END_OF_TAG
               ? KF_OK
               : kfi_fail(parser->err, KF_FORMAT, token->offset, "expected the end of the tag");
}

/* Takes the name of a closing tag, "endfor", and its end. */
static kf_status close_tag(kfi_jinja_parser *parser, const char *name)
{
    KFI_TRY(kfi_jinja_expect_name(parser, name));
    return expect_end_of_tag(parser);
}

static kf_status parse_branch(kfi_jinja_node **node, kfi_jinja_parser *parser, bool has_condition)
{
    static const char *const ends[] = {"elif", "else", "endif"};
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_BRANCH));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer)); /* "if", "elif" or "else" */
    if (has_condition) {
        KFI_TRY(kfi_jinja_parse_expression(&(*node)->a, parser));
    }
    KFI_TRY(expect_end_of_tag(parser));
    KFI_TRY(parse_body(&(*node)->b, parser, ends, 3));
    return kfi_jinja_node_close(*node, parser);
}

static kf_status parse_if(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    kfi_jinja_nodes branches = {0};
    bool has_condition = true;
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_IF));
    do {
        kfi_jinja_node *branch = NULL;
        KFI_TRY(parse_branch(&branch, parser, has_condition));
        kfi_jinja_nodes_append(&branches, branch);
        if (!has_condition) {
            break;
        }
        has_condition = !kfi_jinja_lexer_is_name(&parser->lexer, "else");
    } while (!kfi_jinja_lexer_is_name(&parser->lexer, "endif"));
    (*node)->items = branches.first;
    KFI_TRY(close_tag(parser, "endif"));
    return kfi_jinja_node_close(*node, parser);
}

/* A name with commas behind, as the targets of for. */
static kf_status parse_targets(kfi_jinja_node **first, kfi_jinja_parser *parser)
{
    kfi_jinja_nodes targets = {0};
    for (;;) {
        kfi_jinja_node *target = NULL;
        KFI_TRY(kfi_jinja_node_new(&target, parser, KFI_NODE_NAME));
        if (parser->lexer.token.kind != KFI_TOKEN_NAME) {
            return kfi_fail(parser->err, KF_FORMAT, target->offset, "expected a name");
        }
        target->name = parser->lexer.token.text;
        kfi_jinja_nodes_append(&targets, target);
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        if (!kfi_jinja_lexer_is_operator(&parser->lexer, ",")) {
            break;
        }
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    }
    *first = targets.first;
    return KF_OK;
}

static kf_status parse_for(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    static const char *const ends[] = {"else", "endfor"};
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_FOR));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    KFI_TRY(parse_targets(&(*node)->items, parser));
    KFI_TRY(kfi_jinja_expect_name(parser, "in"));
    KFI_TRY(kfi_jinja_parse_or(&(*node)->a, parser));
    if (kfi_jinja_lexer_is_name(&parser->lexer, "if")) {
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(kfi_jinja_parse_expression(&(*node)->d, parser));
    }
    if (kfi_jinja_lexer_is_name(&parser->lexer, "recursive")) {
        return kfi_fail(parser->err, KF_UNSUPPORTED, (*node)->offset, "recursive loops");
    }
    KFI_TRY(expect_end_of_tag(parser));
    parser->loops++;
    KFI_TRY(parse_body(&(*node)->b, parser, ends, 2));
    parser->loops--;
    if (kfi_jinja_lexer_is_name(&parser->lexer, "else")) {
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(expect_end_of_tag(parser));
        KFI_TRY(parse_body(&(*node)->c, parser, ends + 1, 1));
    }
    KFI_TRY(close_tag(parser, "endfor"));
    return kfi_jinja_node_close(*node, parser);
}

/* {% set name = value %}, {% set ns.member = value %}, {% set name %}body{% endset %}. */
static kf_status parse_set(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    static const char *const ends[] = {"endset"};
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_SET));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    kfi_jinja_node *target = NULL;
    KFI_TRY(parse_targets(&target, parser));
    if (target->next != NULL) {
        return kfi_fail(parser->err, KF_UNSUPPORTED, target->offset, "set of several names");
    }
    (*node)->name = target->name;
    if (kfi_jinja_lexer_is_operator(&parser->lexer, ".")) {
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        (*node)->c = target;
        KFI_TRY(parse_targets(&target, parser));
        (*node)->name = target->name;
    }
    if (kfi_jinja_lexer_is_operator(&parser->lexer, "=")) {
        KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
        KFI_TRY(kfi_jinja_parse_expression(&(*node)->a, parser));
        KFI_TRY(expect_end_of_tag(parser));
    } else {
        KFI_TRY(expect_end_of_tag(parser));
        KFI_TRY(parse_body(&(*node)->b, parser, ends, 1));
        KFI_TRY(close_tag(parser, "endset"));
    }
    return kfi_jinja_node_close(*node, parser);
}

/* {% macro name(a, b=default) %}body{% endmacro %}: the head is a call whose arguments are names.
 */
static kf_status parse_macro(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    static const char *const ends[] = {"endmacro"};
    kfi_jinja_node *head = NULL;
    const unsigned loops = parser->loops;
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_MACRO));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    KFI_TRY(kfi_jinja_parse_expression(&head, parser));
    if (head->kind != KFI_NODE_CALL || head->a->kind != KFI_NODE_NAME) {
        return kfi_fail(parser->err, KF_FORMAT, head->offset, "macro without a name and ()");
    }
    for (const kfi_jinja_node *p = head->items; p != NULL; p = p->next) {
        if (p->kind != KFI_NODE_NAME && p->kind != KFI_NODE_KEYWORD) {
            return kfi_fail(parser->err, KF_FORMAT, p->offset, "macro parameter without a name");
        }
    }
    (*node)->name = head->a->name;
    (*node)->items = head->items;
    KFI_TRY(expect_end_of_tag(parser));
    parser->loops = 0;
    KFI_TRY(parse_body(&(*node)->b, parser, ends, 1));
    parser->loops = loops;
    KFI_TRY(close_tag(parser, "endmacro"));
    return kfi_jinja_node_close(*node, parser);
}

/* {% generation %} marks what an assistant says, for training: its body counts, itself does not. */
static kf_status parse_generation(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    static const char *const ends[] = {"endgeneration"};
    kfi_jinja_node *branch = NULL;
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_IF));
    KFI_TRY(kfi_jinja_node_new(&branch, parser, KFI_NODE_BRANCH));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    KFI_TRY(expect_end_of_tag(parser));
    KFI_TRY(parse_body(&branch->b, parser, ends, 1));
    KFI_TRY(close_tag(parser, "endgeneration"));
    KFI_TRY(kfi_jinja_node_close(branch, parser));
    (*node)->items = branch;
    return kfi_jinja_node_close(*node, parser);
}

static kf_status parse_jump(kfi_jinja_node **node, kfi_jinja_parser *parser,
                            kfi_jinja_node_kind kind)
{
    if (parser->loops == 0) {
        return kfi_fail(parser->err, KF_FORMAT, parser->lexer.token.offset,
                        "break or continue outside a loop");
    }
    KFI_TRY(kfi_jinja_node_new(node, parser, kind));
    KFI_TRY(kfi_jinja_lexer_next(&parser->lexer));
    return expect_end_of_tag(parser);
}

static kf_status parse_statement(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    const kfi_jinja_lexer *lexer = &parser->lexer;
    if (kfi_jinja_lexer_is_name(lexer, "if")) {
        return parse_if(node, parser);
    }
    if (kfi_jinja_lexer_is_name(lexer, "for")) {
        return parse_for(node, parser);
    }
    if (kfi_jinja_lexer_is_name(lexer, "set")) {
        return parse_set(node, parser);
    }
    if (kfi_jinja_lexer_is_name(lexer, "macro")) {
        return parse_macro(node, parser);
    }
    if (kfi_jinja_lexer_is_name(lexer, "generation")) {
        return parse_generation(node, parser);
    }
    if (kfi_jinja_lexer_is_name(lexer, "break")) {
        return parse_jump(node, parser, KFI_NODE_BREAK);
    }
    if (kfi_jinja_lexer_is_name(lexer, "continue")) {
        return parse_jump(node, parser, KFI_NODE_CONTINUE);
    }
    return kfi_fail(parser->err, KF_UNSUPPORTED, lexer->token.offset, "the statement '%.*s'",
                    (int)(lexer->token.text.n < 60 ? lexer->token.text.n : 60),
                    lexer->token.text.data == NULL ? "" : lexer->token.text.data);
}

static bool at_end(const kfi_jinja_lexer *lexer, const char *const *ends, size_t n_ends)
{
    for (size_t i = 0; i < n_ends; i++) {
        if (kfi_jinja_lexer_is_name(lexer, ends[i])) {
            return true;
        }
    }
    return false;
}

static kf_status append_text(kfi_jinja_nodes *nodes, kfi_jinja_parser *parser, kfi_jinja_text text)
{
    kfi_jinja_node *node = NULL;
    if (text.n == 0) {
        return KF_OK;
    }
    KFI_TRY(kfi_jinja_node_new(&node, parser, KFI_NODE_TEXT));
    node->name = text;
    kfi_jinja_nodes_append(nodes, node);
    return KF_OK;
}

static kf_status parse_output(kfi_jinja_node **node, kfi_jinja_parser *parser)
{
    KFI_TRY(kfi_jinja_node_new(node, parser, KFI_NODE_OUTPUT));
    KFI_TRY(kfi_jinja_parse_expression(&(*node)->a, parser));
    KFI_TRY(expect_end_of_tag(parser));
    return kfi_jinja_node_close(*node, parser);
}

/* Text and tags up to one of the names that end this body, which is the current token then; without
 * ends up to the end of the template. */
static kf_status parse_body(kfi_jinja_node **body, kfi_jinja_parser *parser,
                            const char *const *ends, size_t n_ends)
{
    kfi_jinja_nodes nodes = {0};
    KFI_TRY(kfi_jinja_enter(parser));
    for (;;) {
        kfi_jinja_text text = {NULL, 0};
        kfi_jinja_tag tag = KFI_TAG_NONE;
        kfi_jinja_node *node = NULL;
        KFI_TRY(kfi_jinja_lexer_text(&parser->lexer, &text, &tag));
        KFI_TRY(append_text(&nodes, parser, text));
        if (tag == KFI_TAG_NONE && n_ends > 0) {
            return kfi_fail(parser->err, KF_FORMAT, parser->lexer.at,
                            "end of the template, expected '%s'", ends[n_ends - 1]);
        }
        if (tag == KFI_TAG_NONE || (tag == KFI_TAG_BLOCK && at_end(&parser->lexer, ends, n_ends))) {
            break;
        }
        if (tag == KFI_TAG_COMMENT) {
            continue;
        }
        KFI_TRY(tag == KFI_TAG_OUTPUT ? parse_output(&node, parser)
                                      : parse_statement(&node, parser));
        kfi_jinja_nodes_append(&nodes, node);
    }
    parser->depth--;
    *body = nodes.first;
    return KF_OK;
}

/* Copies the template with "\n" for every line end and without the last one, as Jinja does. */
static kf_status copy_template(kfi_jinja_text *copy, kfi_arena *arena, const char *text, size_t n,
                               kf_error *err)
{
    char *data = kfi_arena_alloc(arena, 1, n + 1);
    size_t used = 0;
    if (data == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "template of %zu bytes", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r') {
            data[used++] = '\n';
            i += i + 1 < n && text[i + 1] == '\n';
        } else {
            data[used++] = text[i];
        }
    }
    used -= used > 0 && data[used - 1] == '\n';
    *copy = (kfi_jinja_text){data, used};
    return KF_OK;
}

static kf_status parse_template(kfi_jinja *jinja, const char *text, size_t n, kf_error *err)
{
    kfi_jinja_text copy = {NULL, 0};
    KFI_TRY(copy_template(&copy, &jinja->arena, text, n, err));
    kfi_jinja_parser parser = {.arena = &jinja->arena, .err = err};
    kfi_jinja_lexer_init(&parser.lexer, copy.data, copy.n, &jinja->arena, err);
    return parse_body(&jinja->body, &parser, NULL, 0);
}

kf_status kfi_jinja_parse(kfi_jinja **jinja, const char *text, size_t n, const kf_allocator *alloc,
                          kf_error *err)
{
    *jinja = NULL;
    if (n > MAX_TEMPLATE) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "chat template of %zu bytes, expected at most %zu", n, MAX_TEMPLATE);
    }
    kfi_jinja *j = kfi_calloc(alloc, 1, sizeof *j);
    if (j == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "chat template");
    }
    j->alloc = alloc;
    kfi_arena_init(&j->arena, alloc, MAX_ARENA);
    const kf_status st = parse_template(j, text, n, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "chat template: ");
        kfi_jinja_free(j);
        return st;
    }
    *jinja = j;
    return KF_OK;
}

void kfi_jinja_free(kfi_jinja *jinja)
{
    if (jinja != NULL) {
        const kf_allocator *alloc = jinja->alloc;
        kfi_arena_deinit(&jinja->arena);
        kfi_free(alloc, jinja, sizeof *jinja);
    }
}
