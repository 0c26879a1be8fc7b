/* jinja_lex.c - cutting a template into text and tags, and tags into tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/jinja_lex.h"

#include <string.h>

#include "base/fail.h"
#include "text/unicode.h"

void kfi_jinja_lexer_init(kfi_jinja_lexer *lexer, const char *text, size_t n, kfi_arena *arena,
                          kf_error *err)
{
    *lexer =
        (kfi_jinja_lexer){.text = text, .n = n, .arena = arena, .line_starting = true, .err = err};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char char_at(const kfi_jinja_lexer *lexer, size_t i)
{
    return i < lexer->n ? lexer->text[i] : '\0';
}

/* The next {{, {% or {#, or the end. */
static size_t find_tag(const kfi_jinja_lexer *lexer, size_t from)
{
    for (size_t i = from; i + 1 < lexer->n; i++) {
        const char next = lexer->text[i + 1];
        if (lexer->text[i] == '{' && (next == '{' || next == '%' || next == '#')) {
            return i;
        }
    }
    return lexer->n;
}

/* End of the text in front of a tag: {%- strips all white space, {% (lstrip_blocks) the spaces
 * between the start of its line and itself, {{ nothing. */
static size_t strip_before(const kfi_jinja_lexer *lexer, size_t from, size_t tag)
{
    size_t end = tag;
    const char mark = char_at(lexer, tag + 2);
    while (end > from && is_space(lexer->text[end - 1]) &&
           (mark == '-' || lexer->text[end - 1] != '\n')) {
        end--;
    }
    if (mark == '-') {
        return end;
    }
    const bool at_line_start = end > from ? lexer->text[end - 1] == '\n' : lexer->line_starting;
    return mark != '+' && lexer->text[tag + 1] != '{' && at_line_start ? end : tag;
}

/* Leaves a tag that ends in front of `at`: -%} strips all white space, %} and #} (trim_blocks) one
 * line end. */
static void strip_after(kfi_jinja_lexer *lexer, char mark, bool output)
{
    const size_t start = lexer->at;
    if (mark == '-') {
        while (lexer->at < lexer->n && is_space(lexer->text[lexer->at])) {
            lexer->at++;
        }
    } else if (mark != '+' && !output && char_at(lexer, lexer->at) == '\n') {
        lexer->at++;
    }
    lexer->line_starting = lexer->at > start && lexer->text[lexer->at - 1] == '\n';
}

static kf_status skip_comment(kfi_jinja_lexer *lexer, size_t tag)
{
    for (size_t i = tag + 2; i + 1 < lexer->n; i++) {
        if (lexer->text[i] == '#' && lexer->text[i + 1] == '}') {
            lexer->at = i + 2;
            strip_after(lexer, i > tag + 2 ? lexer->text[i - 1] : ' ', false);
            return KF_OK;
        }
    }
    return kfi_fail(lexer->err, KF_FORMAT, tag, "comment without an end");
}

kf_status kfi_jinja_lexer_text(kfi_jinja_lexer *lexer, kfi_jinja_text *text, kfi_jinja_tag *tag)
{
    const size_t start = lexer->at;
    const size_t at = find_tag(lexer, start);
    if (at == lexer->n) {
        *text = (kfi_jinja_text){lexer->text + start, lexer->n - start};
        *tag = KFI_TAG_NONE;
        lexer->at = lexer->n;
        return KF_OK;
    }
    *text = (kfi_jinja_text){lexer->text + start, strip_before(lexer, start, at) - start};
    if (lexer->text[at + 1] == '#') {
        *tag = KFI_TAG_COMMENT;
        return skip_comment(lexer, at);
    }
    *tag = lexer->text[at + 1] == '{' ? KFI_TAG_OUTPUT : KFI_TAG_BLOCK;
    lexer->tag = *tag;
    lexer->braces = 0;
    const char mark = char_at(lexer, at + 2);
    lexer->at = at + (mark == '-' || (mark == '+' && *tag == KFI_TAG_BLOCK) ? 3 : 2);
    return kfi_jinja_lexer_next(lexer);
}

/* Leaves the tag where its end stands at the current place. */
static bool take_end_of_tag(kfi_jinja_lexer *lexer)
{
    const bool output = lexer->tag == KFI_TAG_OUTPUT;
    const char first = output ? '}' : '%';
    const char c = char_at(lexer, lexer->at);
    const size_t i = lexer->at + (c == '-' || (c == '+' && !output));
    if (lexer->braces > 0 || char_at(lexer, i) != first || char_at(lexer, i + 1) != '}') {
        return false;
    }
    lexer->at = i + 2;
    strip_after(lexer, c, output);
    return true;
}

static bool is_name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static void take_name(kfi_jinja_lexer *lexer)
{
    const size_t start = lexer->at;
    while (is_name_char(char_at(lexer, lexer->at), false)) {
        lexer->at++;
    }
    lexer->token.kind = KFI_TOKEN_NAME;
    lexer->token.text = (kfi_jinja_text){lexer->text + start, lexer->at - start};
}

static kf_status take_integer(kfi_jinja_lexer *lexer)
{
    int64_t value = 0;
    const size_t start = lexer->at;
    while (char_at(lexer, lexer->at) >= '0' && char_at(lexer, lexer->at) <= '9') {
        if (value > (INT64_MAX - 9) / 10) {
            return kfi_fail(lexer->err, KF_RANGE, start, "integer beyond 64 bits");
        }
        value = 10 * value + (lexer->text[lexer->at++] - '0');
    }
    if (char_at(lexer, lexer->at) == '.') {
        return kfi_fail(lexer->err, KF_UNSUPPORTED, start, "fractional numbers");
    }
    lexer->token.kind = KFI_TOKEN_INTEGER;
    lexer->token.integer = value;
    return KF_OK;
}

/* Hexadecimal digits of \x and \u; false where there are too few. */
static bool take_hex(kfi_jinja_lexer *lexer, size_t n, uint32_t *code)
{
    *code = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = char_at(lexer, lexer->at);
        const char lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9') {
            *code = 16 * *code + (uint32_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            *code = 16 * *code + (uint32_t)(lower - 'a' + 10);
        } else {
            return false;
        }
        lexer->at++;
    }
    return true;
}

/* One escape behind its backslash; decoded it is never longer than written. */
static kf_status take_escape(kfi_jinja_lexer *lexer, char *dst, size_t *n)
{
    static const char letters[] = "ntrbfv0\\'\"";
    static const char values[] = "\n\t\r\b\f\v\0\\'\"";
    const size_t start = lexer->at;
    const char c = lexer->text[lexer->at++];
    uint32_t code = 0;
    const char *letter = c == '\0' ? NULL : strchr(letters, c);
    if (letter != NULL) {
        dst[(*n)++] = values[letter - letters];
        return KF_OK;
    }
    if (c == 'x' || c == 'u') {
        if (!take_hex(lexer, c == 'x' ? 2 : 4, &code) || (code >= 0xD800 && code < 0xE000)) {
            return kfi_fail(lexer->err, KF_FORMAT, start, "malformed escape in a string");
        }
        *n += kfi_utf8_encode(dst + *n, code);
        return KF_OK;
    }
    dst[(*n)++] = '\\'; /* as in Python: an unknown escape stays */
    dst[(*n)++] = c;
    return KF_OK;
}

static kf_status take_string(kfi_jinja_lexer *lexer)
{
    const size_t start = lexer->at;
    const char quote = lexer->text[lexer->at++];
    size_t end = lexer->at;
    while (end < lexer->n && lexer->text[end] != quote) {
        end += lexer->text[end] == '\\' ? 2 : 1;
    }
    if (end >= lexer->n) {
        return kfi_fail(lexer->err, KF_FORMAT, start, "string without an end");
    }
    char *decoded = kfi_arena_alloc(lexer->arena, 1, end - start + 4);
    if (decoded == NULL) {
        return kfi_fail(lexer->err, KF_NOMEM, start, "string of %zu bytes", end - start);
    }
    size_t n = 0;
    while (lexer->at < end) {
        const char c = lexer->text[lexer->at++];
        if (c != '\\') {
            decoded[n++] = c;
        } else {
            KFI_TRY(take_escape(lexer, decoded, &n));
        }
    }
    lexer->at = end + 1;
    lexer->token.kind = KFI_TOKEN_STRING;
    lexer->token.text = (kfi_jinja_text){decoded, n};
    return KF_OK;
}

static kf_status take_operator(kfi_jinja_lexer *lexer)
{
    static const char *const operators[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                            "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                            "]",  "{",  "}",  ",",  ":",  ".",  "|"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        const size_t n = strlen(operators[i]);
        if (n <= lexer->n - lexer->at && memcmp(lexer->text + lexer->at, operators[i], n) == 0) {
            lexer->token.kind = KFI_TOKEN_OPERATOR;
            lexer->token.text = (kfi_jinja_text){operators[i], n};
            lexer->braces += (operators[i][0] == '{') - (operators[i][0] == '}');
            lexer->at += n;
            return KF_OK;
        }
    }
    return kfi_fail(lexer->err, KF_FORMAT, lexer->at, "unexpected character in a tag");
}

kf_status kfi_jinja_lexer_next(kfi_jinja_lexer *lexer)
{
    while (lexer->at < lexer->n && is_space(lexer->text[lexer->at])) {
        lexer->at++;
    }
    lexer->token = (kfi_jinja_token){.offset = lexer->at};
    if (lexer->at >= lexer->n) {
        return kfi_fail(lexer->err, KF_FORMAT, lexer->at, "tag without an end");
    }
    if (take_end_of_tag(lexer)) {
        lexer->token.kind = KFI_TOKEN_END_OF_TAG;
        return KF_OK;
    }
    const char c = lexer->text[lexer->at];
    if (is_name_char(c, true)) {
        take_name(lexer);
        return KF_OK;
    }
    if (c >= '0' && c <= '9') {
        return take_integer(lexer);
    }
    return c == '\'' || c == '"' ? take_string(lexer) : take_operator(lexer);
}

bool kfi_jinja_lexer_is_name(const kfi_jinja_lexer *lexer, const char *name)
{
    return lexer->token.kind == KFI_TOKEN_NAME && kfi_jinja_text_is(lexer->token.text, name);
}

bool kfi_jinja_lexer_is_operator(const kfi_jinja_lexer *lexer, const char *text)
{
    return lexer->token.kind == KFI_TOKEN_OPERATOR && kfi_jinja_text_is(lexer->token.text, text);
}
