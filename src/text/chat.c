/* chat.c - rendering conversations with the model's chat template.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "text/chat.h"
#include "text/tokenizer.h"

/* Beyond the conversation itself, which a template repeats once or twice. */
#define MIN_OUTPUT ((size_t)1 << 20)

bool kf_tokenizer_has_chat(const kf_tokenizer *tokenizer)
{
    return tokenizer->chat != NULL;
}

static kfi_jinja_value string_of(const char *text)
{
    return kfi_jinja_string(text, strlen(text));
}

/* The text of a special token; undefined where the model has none. */
static kfi_jinja_value token_text(const kf_tokenizer *tokenizer, uint32_t id)
{
    if (id >= tokenizer->vocabulary.n) {
        return kfi_jinja_undefined();
    }
    const kfi_token *token = &tokenizer->vocabulary.tokens[id];
    return kfi_jinja_string(token->key, token->n_key);
}

/* The conversation as a template sees it: a list of maps. */
typedef struct conversation {
    kfi_jinja_value *items;
    kfi_jinja_map *maps;
    kfi_jinja_member *members; /* two a message */
    kfi_jinja_list list;
    size_t n_bytes; /* of all texts */
} conversation;

static void conversation_deinit(conversation *c, const kf_allocator *alloc)
{
    kfi_free(alloc, c->items, c->list.n * sizeof *c->items);
    kfi_free(alloc, c->maps, c->list.n * sizeof *c->maps);
    kfi_free(alloc, c->members, 2 * c->list.n * sizeof *c->members);
}

static kf_status conversation_init(conversation *c, const kf_chat_message *messages, size_t n,
                                   const kf_allocator *alloc, kf_error *err)
{
    *c = (conversation){.list = {NULL, n}};
    c->items = kfi_calloc(alloc, n, sizeof *c->items);
    c->maps = kfi_calloc(alloc, n, sizeof *c->maps);
    c->members = n > SIZE_MAX / 2 ? NULL : kfi_calloc(alloc, 2 * n, sizeof *c->members);
    if (c->items == NULL || c->maps == NULL || c->members == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "conversation of %zu messages", n);
    }
    for (size_t i = 0; i < n; i++) {
        kfi_jinja_member *members = c->members + 2 * i;
        members[0] = (kfi_jinja_member){{"role", 4}, string_of(messages[i].role)};
        members[1] = (kfi_jinja_member){{"content", 7}, string_of(messages[i].content)};
        c->maps[i] = (kfi_jinja_map){members, 2, 2};
        c->items[i] = kfi_jinja_of_map(&c->maps[i]);
        c->n_bytes += members[0].value.as.text.n + members[1].value.as.text.n;
    }
    c->list.items = c->items;
    return KF_OK;
}

static kf_status render(kfi_buf *text, const kf_tokenizer *tokenizer, const conversation *c,
                        bool add_generation_prompt, kf_error *err)
{
    const kfi_jinja_variable variables[] = {
        {"messages", kfi_jinja_of_list(&c->list)},
        {"add_generation_prompt", kfi_jinja_bool(add_generation_prompt)},
        {"bos_token", token_text(tokenizer, tokenizer->bos)},
        {"eos_token", token_text(tokenizer, tokenizer->eos)},
        {"pad_token", token_text(tokenizer, tokenizer->padding)},
        /* What Hugging Face passes when nobody gives any. */
        {"tools", kfi_jinja_none()},
        {"documents", kfi_jinja_none()},
    };
    return kfi_jinja_render(text, tokenizer->chat, variables, sizeof variables / sizeof *variables,
                            tokenizer->alloc, err);
}

/* A copy of exactly its size, which kf_tokenizer_free_text() can tell from the text. */
static kf_status copy_text(char **dst, const kfi_buf *text, const kf_allocator *alloc,
                           kf_error *err)
{
    if (text->n > 0 && memchr(text->data, '\0', text->n) != NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "chat template: writes a NUL");
    }
    *dst = kfi_strndup(alloc, text->n > 0 ? text->data : "", text->n);
    return *dst != NULL ? KF_OK
                        : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of %zu bytes", text->n);
}

kf_status kf_tokenizer_render_chat(char **text, const kf_tokenizer *tokenizer,
                                   const kf_chat_message *messages, size_t n,
                                   bool add_generation_prompt, kf_error *err)
{
    conversation c;
    kfi_buf rendered;
    *text = NULL;
    if (tokenizer->chat_template == NULL) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "the model has no chat template");
    }
    if (tokenizer->chat == NULL) {
        return kfi_fail(err, tokenizer->chat_error.code, tokenizer->chat_error.offset, "%s",
                        tokenizer->chat_error.msg);
    }
    kf_status st = conversation_init(&c, messages, n, tokenizer->alloc, err);
    kfi_buf_init(&rendered, tokenizer->alloc, 4 * (MIN_OUTPUT + c.n_bytes));
    if (st == KF_OK) {
        st = render(&rendered, tokenizer, &c, add_generation_prompt, err);
    }
    if (st == KF_OK) {
        st = copy_text(text, &rendered, tokenizer->alloc, err);
    }
    kfi_buf_deinit(&rendered);
    conversation_deinit(&c, tokenizer->alloc);
    return st;
}

void kf_tokenizer_free_text(const kf_tokenizer *tokenizer, char *text)
{
    kfi_free_text(tokenizer->alloc, text);
}

kf_status kfi_tokenizer_parse_chat(kf_tokenizer *tokenizer, kf_error *err)
{
    const char *text = tokenizer->chat_template;
    if (text == NULL) {
        return KF_OK;
    }
    const kf_status st = kfi_jinja_parse(&tokenizer->chat, text, strlen(text), tokenizer->alloc,
                                         &tokenizer->chat_error);
    /* What is not understood only matters to those who ask for it. */
    return st == KF_NOMEM ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%s", tokenizer->chat_error.msg)
                          : KF_OK;
}

kf_status kfi_tokenizer_find_start(kf_tokenizer *tokenizer, kf_error *err)
{
    const kf_chat_message hello = {"user", "Hello"};
    kf_error reason = {0}; /* the caller's stays as it is: a template that fails is no failure */
    char *text = NULL;
    uint32_t first = KF_NO_TOKEN;
    size_t n = 0;
    tokenizer->start = tokenizer->bos;
    if (tokenizer->adds_bos || tokenizer->chat == NULL) {
        return KF_OK;
    }
    kf_status st = kf_tokenizer_render_chat(&text, tokenizer, &hello, 1, true, &reason);
    if (st == KF_OK) { /* KF_RANGE: more than this one */
        st = kf_tokenizer_encode(&first, 1, &n, tokenizer, text, strlen(text), KF_ENCODE_SPECIAL,
                                 &reason);
    }
    kf_tokenizer_free_text(tokenizer, text);
    if (n > 0) {
        tokenizer->start = first;
    }
    return st == KF_NOMEM ? kfi_fail(err, KF_NOMEM, reason.offset, "%s", reason.msg) : KF_OK;
}
