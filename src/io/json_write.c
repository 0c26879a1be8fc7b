/* json_write.c - a writer of JSON text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "io/json.h"

void kfi_json_writer_init(kfi_json_writer *writer, kfi_buf *buf, int indent)
{
    *writer = (kfi_json_writer){.buf = buf, .indent = indent};
}

static void new_line(kfi_json_writer *writer)
{
    if (writer->indent > 0) {
        (void)kfi_buf_printf(writer->buf, "\n%*s", writer->indent * writer->depth, "");
    }
}

/* What stands between the value or key before and the next one. */
static void separate(kfi_json_writer *writer)
{
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    if (writer->need_comma) {
        (void)kfi_buf_append_text(writer->buf, writer->indent > 0 ? "," : ", ");
    }
    if (writer->depth > 0) {
        new_line(writer);
    }
}

static void begin(kfi_json_writer *writer, const char *bracket)
{
    separate(writer);
    (void)kfi_buf_append_text(writer->buf, bracket);
    writer->depth++;
    writer->need_comma = false;
}

static void end(kfi_json_writer *writer, const char *bracket)
{
    writer->depth--;
    if (writer->need_comma) { /* an empty one stays on its line */
        new_line(writer);
    }
    (void)kfi_buf_append_text(writer->buf, bracket);
    writer->need_comma = true;
}

void kfi_json_begin_object(kfi_json_writer *writer)
{
    begin(writer, "{");
}

void kfi_json_end_object(kfi_json_writer *writer)
{
    end(writer, "}");
}

void kfi_json_begin_array(kfi_json_writer *writer)
{
    begin(writer, "[");
}

void kfi_json_end_array(kfi_json_writer *writer)
{
    end(writer, "]");
}

static void append_escaped(kfi_buf *buf, unsigned char c)
{
    switch (c) {
    case '"':
        (void)kfi_buf_append_text(buf, "\\\"");
        break;
    case '\\':
        (void)kfi_buf_append_text(buf, "\\\\");
        break;
    case '\n':
        (void)kfi_buf_append_text(buf, "\\n");
        break;
    case '\r':
        (void)kfi_buf_append_text(buf, "\\r");
        break;
    case '\t':
        (void)kfi_buf_append_text(buf, "\\t");
        break;
    default:
        (void)kfi_buf_printf(buf, "\\u%04x", (unsigned)c);
    }
}

static void append_quoted(kfi_buf *buf, const char *text, size_t n)
{
    if (n == 0) {
        text = ""; /* it may be NULL: the content of a buffer that nothing was written to */
    }
    const unsigned char *bytes = (const unsigned char *)text;
    (void)kfi_buf_append_byte(buf, '"');
    size_t plain = 0; /* begin of what needs no change */
    size_t i = 0;
    while (i < n) {
        const kfi_utf8_char c = kfi_utf8_decode(text + i, n - i);
        if (c.valid && bytes[i] >= 0x20 && bytes[i] != '"' && bytes[i] != '\\') {
            i += c.n;
            continue;
        }
        (void)kfi_buf_append(buf, text + plain, i - plain);
        if (!c.valid) {
            (void)kfi_buf_append_text(buf, KFI_REPLACEMENT_UTF8);
        } else {
            append_escaped(buf, bytes[i]);
        }
        i += c.n;
        plain = i;
    }
    (void)kfi_buf_append(buf, text + plain, i - plain);
    (void)kfi_buf_append_byte(buf, '"');
}

void kfi_json_key_n(kfi_json_writer *writer, const char *key, size_t n)
{
    separate(writer);
    append_quoted(writer->buf, key, n);
    (void)kfi_buf_append_text(writer->buf, ": ");
    writer->after_key = true;
}

void kfi_json_key(kfi_json_writer *writer, const char *key)
{
    kfi_json_key_n(writer, key, strlen(key));
}

void kfi_json_put_string(kfi_json_writer *writer, const char *text, size_t n)
{
    separate(writer);
    append_quoted(writer->buf, text, n);
    writer->need_comma = true;
}

void kfi_json_put_text(kfi_json_writer *writer, const char *text)
{
    kfi_json_put_string(writer, text, strlen(text));
}

static void put_literal(kfi_json_writer *writer, const char *literal)
{
    separate(writer);
    (void)kfi_buf_append_text(writer->buf, literal);
    writer->need_comma = true;
}

void kfi_json_put_integer(kfi_json_writer *writer, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    put_literal(writer, text);
}

/* Writes the shortest digits that read back equal: as 0.25 or 1500.0 where the exponent is small,
 * else as 2.5e-07. A point or an exponent is always there, so that it reads back as a real number.
 */
static void format_number(char *text, size_t capacity, double value)
{
    int n_digits = 1;
    for (; n_digits < 17; n_digits++) {
        (void)snprintf(text, capacity, "%.*e", n_digits - 1, value);
        if (strtod(text, NULL) == value) { /* exact: the question is whether it reads back */
            break;
        }
    }
    (void)snprintf(text, capacity, "%.*e", n_digits - 1, value);
    const long exponent = strtol(strchr(text, 'e') + 1, NULL, 10);
    if (exponent >= -5 && exponent < 15) {
        const int n_decimals = n_digits - 1 - (int)exponent;
        (void)snprintf(text, capacity, "%.*f", n_decimals < 1 ? 1 : n_decimals, value);
    }
}

void kfi_json_put_number(kfi_json_writer *writer, double value)
{
    if (!isfinite(value)) {
        put_literal(writer, "null");
        return;
    }
    char text[48];
    format_number(text, sizeof text, value);
    /* The library never sets a locale, but a program may have: then the point is a comma. */
    char *comma = strchr(text, ',');
    if (comma != NULL) {
        *comma = '.';
    }
    put_literal(writer, text);
}

void kfi_json_put_bool(kfi_json_writer *writer, bool value)
{
    put_literal(writer, value ? "true" : "false");
}

void kfi_json_put_null(kfi_json_writer *writer)
{
    put_literal(writer, "null");
}

void kfi_json_member_text(kfi_json_writer *writer, const char *key, const char *text)
{
    kfi_json_key(writer, key);
    kfi_json_put_text(writer, text);
}

void kfi_json_member_integer(kfi_json_writer *writer, const char *key, int64_t value)
{
    kfi_json_key(writer, key);
    kfi_json_put_integer(writer, value);
}

void kfi_json_member_number(kfi_json_writer *writer, const char *key, double value)
{
    kfi_json_key(writer, key);
    kfi_json_put_number(writer, value);
}

void kfi_json_member_bool(kfi_json_writer *writer, const char *key, bool value)
{
    kfi_json_key(writer, key);
    kfi_json_put_bool(writer, value);
}
