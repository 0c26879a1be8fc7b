/* jinja_strings.c - the methods of strings in templates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/jinja_strings.h"

#include <string.h>

#include "base/fail.h"
#include "text/unicode.h"

size_t kfi_jinja_count_characters(kfi_jinja_text text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i += kfi_utf8_decode(text.data + i, text.n - i).n) {
        n++;
    }
    return n;
}

/* The string argument at a place; false where there is none of that kind. */
static bool text_argument(kfi_jinja_text *dst, const kfi_jinja_arguments *arguments, size_t i)
{
    if (i >= arguments->n || arguments->values[i].kind != KFI_JINJA_STRING) {
        return false;
    }
    *dst = arguments->values[i].as.text;
    return true;
}

static kf_status wrong_arguments(kfi_jinja_run *run, const char *method)
{
    return kfi_fail(run->err, KF_FORMAT, run->offset, "arguments of %s", method);
}

/* White space, or one of the characters in set where it has any. */
static bool is_stripped(uint32_t code, kfi_jinja_text set)
{
    if (set.data == NULL) {
        return kfi_unicode_class(code) == KFI_CHAR_SPACE || (code >= 0x1C && code <= 0x1F);
    }
    size_t i = 0;
    while (i < set.n) {
        const kfi_utf8_char c = kfi_utf8_decode(set.data + i, set.n - i);
        if (c.code == code) {
            return true;
        }
        i += c.n;
    }
    return false;
}

static kfi_jinja_text strip_start(kfi_jinja_text text, kfi_jinja_text set)
{
    size_t i = 0;
    while (i < text.n) {
        const kfi_utf8_char c = kfi_utf8_decode(text.data + i, text.n - i);
        if (!is_stripped(c.code, set)) {
            break;
        }
        i += c.n;
    }
    return (kfi_jinja_text){text.data + i, text.n - i};
}

static kfi_jinja_text strip_end(kfi_jinja_text text, kfi_jinja_text set)
{
    size_t n = text.n;
    while (n > 0) {
        const size_t i = kfi_utf8_last(text.data, n);
        if (!is_stripped(kfi_utf8_decode(text.data + i, n - i).code, set)) {
            break;
        }
        n = i;
    }
    return (kfi_jinja_text){text.data, n};
}

/* A method; some have variants under names of their own. */
typedef kf_status method(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                         const kfi_jinja_arguments *arguments, unsigned variant);

#define AT_START 1u
#define AT_END   2u

static kf_status strip(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                       const kfi_jinja_arguments *arguments, unsigned variant)
{
    kfi_jinja_text set = {NULL, 0};
    if (arguments->n > 0 && arguments->values[0].kind != KFI_JINJA_NONE &&
        !text_argument(&set, arguments, 0)) {
        return wrong_arguments(run, "strip");
    }
    KFI_TRY(kfi_jinja_charge(run, text.n / 64 * (1 + set.n)));
    text = (variant & AT_START) != 0 ? strip_start(text, set) : text;
    text = (variant & AT_END) != 0 ? strip_end(text, set) : text;
    *dst = kfi_jinja_string(text.data, text.n);
    return KF_OK;
}

/* How letters change: all, or with the first of the text or of each word upper. */
typedef enum case_change {
    CASE_UPPER,
    CASE_LOWER,
    CASE_CAPITALIZE,
    CASE_TITLE
} case_change;

static kf_status change_case(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                             const kfi_jinja_arguments *arguments, unsigned change)
{
    (void)arguments;
    kfi_buf buf;
    bool in_word = false;
    size_t i = 0;
    KFI_TRY(kfi_jinja_charge(run, text.n / 16));
    kfi_jinja_text_init(&buf, run);
    while (i < text.n) {
        char encoded[4];
        const kfi_utf8_char c = kfi_utf8_decode(text.data + i, text.n - i);
        const bool upper = change == CASE_UPPER || (change == CASE_CAPITALIZE && i == 0) ||
                           (change == CASE_TITLE && !in_word);
        const uint32_t code = upper ? kfi_unicode_upper(c.code) : kfi_unicode_lower(c.code);
        (void)kfi_buf_append(&buf, encoded, kfi_utf8_encode(encoded, code));
        in_word = kfi_unicode_class(c.code) == KFI_CHAR_LETTER;
        i += c.n;
    }
    return kfi_jinja_take_text(dst, run, &buf);
}

static kf_status replace(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                         const kfi_jinja_arguments *arguments, unsigned variant)
{
    (void)variant;
    kfi_jinja_text from = {NULL, 0};
    kfi_jinja_text to = {NULL, 0};
    if (arguments->n != 2 || !text_argument(&from, arguments, 0) ||
        !text_argument(&to, arguments, 1) || from.n == 0) {
        return wrong_arguments(run, "replace");
    }
    kfi_buf buf;
    size_t i = 0;
    KFI_TRY(kfi_jinja_charge(run, 1 + text.n / 64 * (1 + from.n / 64)));
    kfi_jinja_text_init(&buf, run);
    while (i < text.n && !buf.failed) {
        const size_t found = kfi_jinja_text_find(text, i, from);
        (void)kfi_buf_append(&buf, text.data + i, found - i);
        i = found;
        if (found < text.n) {
            (void)kfi_buf_append(&buf, to.data, to.n);
            i += from.n;
        }
    }
    return kfi_jinja_take_text(dst, run, &buf);
}

/* The next part of a text cut at a separator, or at runs of white space; false at the end. */
static bool next_part(kfi_jinja_text *part, kfi_jinja_text *rest, kfi_jinja_text separator,
                      bool last)
{
    const kfi_jinja_text white = {NULL, 0};
    if (separator.data == NULL) {
        *rest = strip_start(*rest, white);
        if (rest->n == 0) {
            return false;
        }
    }
    size_t end = rest->n;
    size_t skip = 0;
    if (last) {
        end = separator.data == NULL ? strip_end(*rest, white).n : rest->n;
        skip = rest->n - end;
    } else if (separator.data != NULL) {
        end = kfi_jinja_text_find(*rest, 0, separator);
        skip = end < rest->n ? separator.n : 0;
    } else {
        end = 0;
        while (end < rest->n) {
            const kfi_utf8_char c = kfi_utf8_decode(rest->data + end, rest->n - end);
            if (is_stripped(c.code, white)) {
                break;
            }
            end += c.n;
        }
    }
    *part = (kfi_jinja_text){rest->data, end};
    *rest = (kfi_jinja_text){rest->data + end + skip, rest->n - end - skip};
    return true;
}

static kf_status split(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                       const kfi_jinja_arguments *arguments, unsigned variant)
{
    (void)variant;
    kfi_jinja_text separator = {NULL, 0};
    size_t most = SIZE_MAX;
    const bool by_space = arguments->n == 0 || arguments->values[0].kind == KFI_JINJA_NONE;
    if (!by_space && (!text_argument(&separator, arguments, 0) || separator.n == 0)) {
        return wrong_arguments(run, "split");
    }
    if (arguments->n > 1) {
        if (arguments->values[1].kind != KFI_JINJA_INTEGER) {
            return wrong_arguments(run, "split");
        }
        most = arguments->values[1].as.integer < 0 ? SIZE_MAX
                                                   : (size_t)arguments->values[1].as.integer;
    }
    KFI_TRY(kfi_jinja_charge(run, 1 + text.n / 16 * (1 + separator.n / 64)));
    kfi_jinja_list *list = NULL;
    kfi_jinja_value *items = NULL;
    kfi_jinja_text part = {NULL, 0};
    kfi_jinja_text rest = text;
    size_t n = 0;
    /* Counted first: a part more than separators. */
    const size_t n_text = text.n;
    bool ended = false;
    while (!ended && next_part(&part, &rest, separator, n == most)) {
        ended = separator.data != NULL && part.data + part.n == text.data + n_text;
        n++;
    }
    KFI_TRY(kfi_jinja_list_new(&list, &items, run, n));
    rest = text;
    for (size_t i = 0; i < n; i++) {
        (void)next_part(&part, &rest, separator, i == most);
        items[i] = kfi_jinja_string(part.data, part.n);
    }
    *dst = kfi_jinja_of_list(list);
    return KF_OK;
}

static kf_status starts_or_ends(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                                const kfi_jinja_arguments *arguments, unsigned variant)
{
    const bool at_end = variant == AT_END;
    kfi_jinja_text part = {NULL, 0};
    if (!text_argument(&part, arguments, 0)) {
        return wrong_arguments(run, at_end ? "endswith" : "startswith");
    }
    KFI_TRY(kfi_jinja_charge(run, part.n / 64));
    const size_t from = at_end && part.n <= text.n ? text.n - part.n : 0;
    *dst = kfi_jinja_bool(part.n <= text.n && memcmp(text.data + from, part.data, part.n) == 0);
    return KF_OK;
}

static kf_status find(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                      const kfi_jinja_arguments *arguments, unsigned variant)
{
    (void)variant;
    kfi_jinja_text part = {NULL, 0};
    if (!text_argument(&part, arguments, 0)) {
        return wrong_arguments(run, "find");
    }
    KFI_TRY(kfi_jinja_charge(run, 1 + text.n / 64 * (1 + part.n / 64)));
    const size_t at = kfi_jinja_text_find(text, 0, part);
    const bool found = part.n == 0 || at < text.n;
    *dst = kfi_jinja_integer(
        found ? (int64_t)kfi_jinja_count_characters((kfi_jinja_text){text.data, at}) : -1);
    return KF_OK;
}

/* "between".join(list) */
static kf_status join(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                      const kfi_jinja_arguments *arguments, unsigned variant)
{
    (void)variant;
    const kfi_jinja_value between = kfi_jinja_string(text.data, text.n);
    const kfi_jinja_arguments swapped = {&between, 1, NULL, 0};
    if (arguments->n != 1) {
        return wrong_arguments(run, "join");
    }
    return kfi_jinja_filter(dst, run, (kfi_jinja_text){"join", 4}, arguments->values[0], &swapped);
}

kf_status kfi_jinja_string_method(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                                  kfi_jinja_text name, const kfi_jinja_arguments *arguments)
{
    static const struct {
        const char *name;
        method *call;
        size_t most; /* arguments, by place only */
        unsigned variant;
    } methods[] = {
        {"upper", change_case, 0, CASE_UPPER},
        {"lower", change_case, 0, CASE_LOWER},
        {"capitalize", change_case, 0, CASE_CAPITALIZE},
        {"title", change_case, 0, CASE_TITLE},
        {"strip", strip, 1, AT_START | AT_END},
        {"lstrip", strip, 1, AT_START},
        {"rstrip", strip, 1, AT_END},
        {"replace", replace, 2, 0},
        {"split", split, 2, 0},
        {"startswith", starts_or_ends, 1, AT_START},
        {"endswith", starts_or_ends, 1, AT_END},
        {"find", find, 1, 0},
        {"join", join, 1, 0},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (!kfi_jinja_text_is(name, methods[i].name)) {
            continue;
        }
        return arguments->n <= methods[i].most && arguments->n_keywords == 0
                   ? methods[i].call(dst, run, text, arguments, methods[i].variant)
                   : kfi_fail(run->err, KF_UNSUPPORTED, run->offset, "these arguments of '%s'",
                              methods[i].name);
    }
    return kfi_fail(run->err, KF_UNSUPPORTED, run->offset, "the method '%.*s' of a string",
                    (int)(name.n < 60 ? name.n : 60), name.data);
}
