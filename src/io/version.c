/* version.c - version numbers of Python packages.
 *
 * Source: PEP 440, appendix B (the permissive grammar) and "Summary of permitted suffixes and
 * relative ordering".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* What is left to read. */
typedef struct cursor {
    const char *p, *end;
} cursor;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool at_digit(const cursor *c)
{
    return c->p < c->end && is_digit(*c->p);
}

static bool take(cursor *c, char wanted)
{
    if (c->p < c->end && *c->p == wanted) {
        c->p++;
        return true;
    }
    return false;
}

static bool take_word(cursor *c, const char *word)
{
    const size_t n = strlen(word);
    if ((size_t)(c->end - c->p) >= n && strncasecmp(c->p, word, n) == 0) {
        c->p += n;
        return true;
    }
    return false;
}

static void take_separator(cursor *c)
{
    if (c->p < c->end && (*c->p == '.' || *c->p == '-' || *c->p == '_')) {
        c->p++;
    }
}

/* False without a digit, or above 32 bits. */
static bool take_number(cursor *c, uint32_t *number)
{
    uint64_t value = 0;
    const char *begin = c->p;
    while (at_digit(c)) {
        value = 10 * value + (uint64_t)(*c->p++ - '0');
        if (value > UINT32_MAX) {
            return false;
        }
    }
    *number = (uint32_t)value;
    return c->p > begin;
}

/* The number behind a suffix's word: "rc1", "rc.1", and "rc" alone, which means 0. */
static bool take_suffix_number(cursor *c, uint32_t *number)
{
    const cursor before = *c;
    take_separator(c);
    if (!at_digit(c)) {
        *c = before;
        *number = 0;
        return true;
    }
    return take_number(c, number);
}

static bool parse_release(kfi_version *v, cursor *c)
{
    uint32_t first = 0;
    if (!take_number(c, &first)) {
        return false;
    }
    if (take(c, '!')) {
        v->epoch = first;
        if (!take_number(c, &first)) {
            return false;
        }
    }
    v->parts[0] = first;
    v->n_parts = 1;
    while (c->end - c->p >= 2 && c->p[0] == '.' && is_digit(c->p[1])) {
        c->p++;
        if (v->n_parts == KFI_VERSION_PARTS || !take_number(c, &v->parts[v->n_parts])) {
            return false;
        }
        v->n_parts++;
    }
    return true;
}

static bool parse_pre(kfi_version *v, cursor *c)
{
    /* Longer words first: "alpha" begins with "a". */
    static const struct {
        const char *word;
        char kind;
    } words[] = {{"alpha", 'a'}, {"beta", 'b'}, {"preview", 'r'}, {"pre", 'r'},
                 {"rc", 'r'},    {"a", 'a'},    {"b", 'b'},       {"c", 'r'}};
    const cursor before = *c;
    take_separator(c);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (take_word(c, words[i].word)) {
            v->pre = words[i].kind;
            return take_suffix_number(c, &v->pre_number);
        }
    }
    *c = before;
    return true;
}

static bool parse_post(kfi_version *v, cursor *c)
{
    const cursor before = *c;
    if (take(c, '-') && at_digit(c)) { /* "1.0-1" is 1.0.post1 */
        v->has_post = true;
        return take_number(c, &v->post);
    }
    *c = before;
    take_separator(c);
    if (take_word(c, "post") || take_word(c, "rev") || take_word(c, "r")) {
        v->has_post = true;
        return take_suffix_number(c, &v->post);
    }
    *c = before;
    return true;
}

static bool parse_dev(kfi_version *v, cursor *c)
{
    const cursor before = *c;
    take_separator(c);
    if (take_word(c, "dev")) {
        v->has_dev = true;
        return take_suffix_number(c, &v->dev);
    }
    *c = before;
    return true;
}

static bool parse_local(kfi_version *v, cursor *c)
{
    size_t n = 0;
    if (!take(c, '+')) {
        return true;
    }
    for (; c->p < c->end; c->p++) {
        const char letter = lower(*c->p);
        const bool separator = letter == '.' || letter == '-' || letter == '_';
        const bool word = is_digit(letter) || (letter >= 'a' && letter <= 'z');
        if ((!separator && !word) || n + 1 == sizeof v->local ||
            (separator && (n == 0 || v->local[n - 1] == '.'))) {
            return false;
        }
        v->local[n++] = separator ? '.' : letter;
    }
    return n > 0 && v->local[n - 1] != '.';
}

bool kfi_version_parse(kfi_version *version, const char *text, size_t n)
{
    cursor c = {text, text + n};

    *version = (kfi_version){0};
    (void)(take(&c, 'v') || take(&c, 'V'));
    return parse_release(version, &c) && parse_pre(version, &c) && parse_post(version, &c) &&
           parse_dev(version, &c) && parse_local(version, &c) && c.p == c.end;
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Where a release stands among those of its number: a development release of the final one comes
 * before all pre-releases. */
static int pre_rank(const kfi_version *v)
{
    if (v->pre != 0) {
        return v->pre;
    }
    return v->has_dev && !v->has_post ? 0 : 'z';
}

int kfi_version_compare(const kfi_version *a, const kfi_version *b)
{
    int order = compare_numbers(a->epoch, b->epoch);
    for (size_t i = 0; order == 0 && i < KFI_VERSION_PARTS; i++) {
        order = compare_numbers(a->parts[i], b->parts[i]);
    }
    if (order == 0) {
        order = pre_rank(a) - pre_rank(b);
    }
    if (order == 0) {
        order = compare_numbers(a->pre_number, b->pre_number);
    }
    if (order == 0) { /* no post-release comes before post 0 */
        order = compare_numbers(a->has_post ? a->post + UINT64_C(1) : 0,
                                b->has_post ? b->post + UINT64_C(1) : 0);
    }
    if (order == 0) { /* no development release comes after all of them */
        order = compare_numbers(a->has_dev ? a->dev : UINT64_MAX, b->has_dev ? b->dev : UINT64_MAX);
    }
    return order != 0 ? order : strcmp(a->local, b->local);
}

bool kfi_version_matches(const kfi_version *version, const kfi_version *wanted)
{
    kfi_version candidate = *version;
    if (wanted->local[0] == '\0') {
        candidate.local[0] = '\0';
    }
    return kfi_version_compare(&candidate, wanted) == 0;
}

bool kfi_version_is_prerelease(const kfi_version *version)
{
    return version->pre != 0 || version->has_dev;
}

static void append(char dst[KFI_VERSION_TEXT], const char *before, uint32_t number,
                   const char *after)
{
    const size_t n = strlen(dst);
    (void)snprintf(dst + n, KFI_VERSION_TEXT - n, "%s%" PRIu32 "%s", before, number, after);
}

void kfi_version_write(char dst[KFI_VERSION_TEXT], const kfi_version *version)
{
    uint32_t n_parts = version->n_parts;
    dst[0] = '\0';
    if (version->epoch != 0) {
        append(dst, "", version->epoch, "!");
    }
    while (n_parts > 1 && version->parts[n_parts - 1] == 0) {
        n_parts--;
    }
    for (uint32_t i = 0; i < n_parts; i++) {
        append(dst, i == 0 ? "" : ".", version->parts[i], "");
    }
    if (version->pre != 0) {
        const char letter[2] = {version->pre, '\0'};
        append(dst, version->pre == 'r' ? "rc" : letter, version->pre_number, "");
    }
    if (version->has_post) {
        append(dst, ".post", version->post, "");
    }
    if (version->has_dev) {
        append(dst, ".dev", version->dev, "");
    }
    if (version->local[0] != '\0') {
        const size_t n = strlen(dst);
        (void)snprintf(dst + n, KFI_VERSION_TEXT - n, "+%s", version->local);
    }
}
