/* pull_index.c - the page of a project on a package index.
 *
 * Source: PEP 503 (names, HTML), PEP 592 (yanked files), PEP 691 and PEP 700 (JSON, sizes).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fail.h"
#include "io/json.h"
#include "io/pull.h"
#include "io/sha256.h"

#define MAX_FILES 200000u /* the largest projects have some 10 000 */

bool kfi_index_normalize(char *dst, size_t dst_n, const char *name, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = name[i];
        const bool separator = c == '-' || c == '_' || c == '.';
        if (!separator && !isalnum((unsigned char)c)) {
            return false;
        }
        if (separator && (length == 0 || i + 1 == n)) {
            return false; /* a name begins and ends with a letter or digit */
        }
        if (separator && dst[length - 1] == '-') {
            continue;
        }
        if (length + 1 >= dst_n) {
            return false;
        }
        dst[length++] = separator ? '-' : (char)tolower((unsigned char)c);
    }
    if (length == 0) {
        return false;
    }
    dst[length] = '\0';
    return true;
}

/* Makes room for one more; it counts when the caller raises index->n. */
static kf_status add_file(kfi_puller *puller, kfi_index *index, kfi_index_file **dst, kf_error *err)
{
    if (index->n == MAX_FILES) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "the index lists more than %u files",
                        MAX_FILES);
    }
    if (index->n == index->capacity) {
        const size_t capacity = index->capacity == 0 ? 64 : 2 * index->capacity;
        kfi_index_file *files =
            kfi_arena_alloc(&puller->arena, _Alignof(kfi_index_file), capacity * sizeof *files);
        if (files == NULL) {
            return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "an index of %zu files", capacity);
        }
        if (index->n > 0) {
            memcpy(files, index->files, index->n * sizeof *files);
        }
        index->files = files;
        index->capacity = capacity;
    }
    *dst = &index->files[index->n];
    **dst = (kfi_index_file){.size = KFI_HTTP_SIZE_UNKNOWN};
    return KF_OK;
}

static kf_status copy_url(kfi_puller *puller, const char **dst, const char *base, const char *link,
                          kf_error *err)
{
    char url[KFI_URL_MAX];
    KFI_TRY(kfi_url_resolve(url, base, link, err));
    return kfi_pull_text(puller, dst, err, "%s", url);
}

/* The hash of a file whose name is known. One that is no hash is refused: taken for a missing one,
 * it would let the file pass unchecked. */
static kf_status copy_hash(kfi_puller *puller, kfi_index_file *file, const char *hash, size_t n,
                           kf_error *err)
{
    if (!kfi_sha256_is_hex(hash, n)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "'%.80s': the index names a sha256 of %zu characters, not 64 digits",
                        file->name, n);
    }
    return kfi_pull_text(puller, &file->sha256, err, "%.*s", (int)n, hash);
}

/* ---- JSON ---- */

static kf_status parse_json_file(kfi_puller *puller, kfi_index *index, size_t i,
                                 const kfi_json *entry, const char *base, kf_error *err)
{
    kfi_index_file *file = NULL;
    KFI_TRY(add_file(puller, index, &file, err));
    const char *name = kfi_json_get_text(entry, "filename");
    const char *url = kfi_json_get_text(entry, "url");
    if (name == NULL || url == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "file %zu of the index has no \"filename\" or no \"url\"", i);
    }
    KFI_TRY(kfi_pull_text(puller, &file->name, err, "%s", name));
    KFI_TRY(copy_url(puller, &file->url, base, url, err));
    const char *hash = kfi_json_get_text(kfi_json_get(entry, "hashes"), "sha256");
    if (hash != NULL) {
        KFI_TRY(copy_hash(puller, file, hash, strlen(hash), err));
    }
    const kfi_json *size = kfi_json_get(entry, "size");
    if (kfi_json_is_integer(size) && kfi_json_integer(size) >= 0) {
        file->size = (uint64_t)kfi_json_integer(size);
    }
    const kfi_json *yanked = kfi_json_get(entry, "yanked"); /* false, true or the reason */
    file->yanked =
        kfi_json_is_string(yanked) || (kfi_json_is_bool(yanked) && kfi_json_bool(yanked));
    index->n++;
    return KF_OK;
}

static kf_status parse_json(kfi_puller *puller, kfi_index *index, const char *base,
                            const kfi_buf *body, kf_error *err)
{
    kfi_json *root = NULL;
    kf_status st = kfi_json_parse(&root, body->data, body->n, err);
    if (st != KF_OK) {
        return st;
    }
    const char *version = kfi_json_get_text(kfi_json_get(root, "meta"), "api-version");
    const kfi_json *files = kfi_json_get(root, "files");
    if (version == NULL || strncmp(version, "1.", 2) != 0) {
        st =
            kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "the index speaks version '%.20s', expected 1.x",
                     version != NULL ? version : "(none)");
    } else if (!kfi_json_is_array(files)) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "the index has no list of \"files\"");
    }
    for (size_t i = 0; st == KF_OK && i < kfi_json_size(files); i++) {
        st = parse_json_file(puller, index, i, kfi_json_at(files, i), base, err);
    }
    kfi_json_free(root);
    return st;
}

/* ---- HTML: only anchors and their attributes count ---- */

/* An attribute of a tag. */
typedef struct attribute {
    kfi_text name, value;
} attribute;

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && isspace((unsigned char)*p)) {
        p++;
    }
    return p;
}

/* Reads the next attribute of a tag and returns what lies behind it, or NULL at the tag's end. */
static const char *next_attribute(attribute *dst, const char *p, const char *end)
{
    *dst = (attribute){{NULL, 0}, {"", 0}};
    p = skip_space(p, end);
    if (p == end || *p == '>') {
        return NULL;
    }
    const char *begin = p;
    while (p < end && *p != '=' && *p != '>' && !isspace((unsigned char)*p)) {
        p++;
    }
    dst->name = (kfi_text){begin, (size_t)(p - begin)};
    const char *behind = skip_space(p, end);
    if (behind == end || *behind != '=') {
        return p > begin ? p : NULL;
    }
    p = skip_space(behind + 1, end);
    const char quote = p < end && (*p == '"' || *p == '\'') ? *p++ : '\0';
    begin = p;
    while (p < end && (quote != '\0' ? *p != quote : *p != '>' && !isspace((unsigned char)*p))) {
        p++;
    }
    dst->value = (kfi_text){begin, (size_t)(p - begin)};
    return quote != '\0' && p < end ? p + 1 : p;
}

/* Decodes one character reference at p, of those that occur in addresses; *n is what it is long. */
static char decode_reference(const char *p, const char *end, size_t *n)
{
    static const struct {
        const char *text;
        char value;
    } references[] = {{"&amp;", '&'},  {"&#38;", '&'},   {"&#x26;", '&'}, {"&quot;", '"'},
                      {"&#39;", '\''}, {"&#x27;", '\''}, {"&lt;", '<'},   {"&gt;", '>'}};
    for (size_t i = 0; i < sizeof references / sizeof references[0]; i++) {
        *n = strlen(references[i].text);
        if ((size_t)(end - p) >= *n && strncasecmp(p, references[i].text, *n) == 0) {
            return references[i].value;
        }
    }
    *n = 1;
    return *p;
}

static char *decode_html(kfi_puller *puller, kfi_text text)
{
    char *dst = kfi_arena_alloc(&puller->arena, 1, text.n + 1);
    if (dst == NULL) {
        return NULL;
    }
    size_t length = 0;
    size_t n = 0;
    for (const char *p = text.data; p < text.data + text.n; p += n) {
        dst[length++] = decode_reference(p, text.data + text.n, &n);
    }
    dst[length] = '\0';
    return dst;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* The last component of an address's path, with %XX decoded. */
static kf_status copy_file_name(kfi_puller *puller, const char **dst, const char *url,
                                kf_error *err)
{
    const size_t n_path = strcspn(url, "?#");
    size_t begin = n_path;
    while (begin > 0 && url[begin - 1] != '/') {
        begin--;
    }
    char *name = kfi_arena_alloc(&puller->arena, 1, n_path - begin + 1);
    if (name == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a file on the index");
    }
    size_t length = 0;
    for (size_t i = begin; i < n_path; i++) {
        const bool escaped = url[i] == '%' && i + 2 < n_path && hex_digit(url[i + 1]) >= 0 &&
                             hex_digit(url[i + 2]) >= 0;
        name[length++] =
            escaped ? (char)(16 * hex_digit(url[i + 1]) + hex_digit(url[i + 2])) : url[i];
        i += escaped ? 2 : 0;
    }
    name[length] = '\0';
    *dst = name;
    return KF_OK;
}

static bool is_attribute(const attribute *a, const char *name)
{
    return a->name.n == strlen(name) && strncasecmp(a->name.data, name, a->name.n) == 0;
}

/* One link: "../../packages/x-1.0-py3-none-any.whl#sha256=...". */
static kf_status add_link(kfi_puller *puller, kfi_index *index, const char *base, kfi_text href,
                          bool yanked, kf_error *err)
{
    kfi_index_file *file = NULL;
    KFI_TRY(add_file(puller, index, &file, err));
    char *link = decode_html(puller, href);
    if (link == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a link of %zu bytes", href.n);
    }
    KFI_TRY(copy_url(puller, &file->url, base, link, err));
    KFI_TRY(copy_file_name(puller, &file->name, file->url, err));
    const char *hash = strstr(link, "#sha256=");
    if (hash != NULL) {
        hash += strlen("#sha256=");
        KFI_TRY(copy_hash(puller, file, hash, strcspn(hash, "&"), err));
    }
    file->yanked = yanked;
    index->n++;
    return KF_OK;
}

/* The next "<a " at or behind p, or NULL. */
static const char *find_anchor(const char *p, const char *end)
{
    for (; end - p >= 3; p++) {
        if (p[0] == '<' && (p[1] == 'a' || p[1] == 'A') && isspace((unsigned char)p[2])) {
            return p;
        }
    }
    return NULL;
}

static kf_status parse_html(kfi_puller *puller, kfi_index *index, const char *base,
                            const kfi_buf *body, kf_error *err)
{
    const char *end = body->data + body->n;
    const char *p = body->data;
    while ((p = find_anchor(p, end)) != NULL) {
        kfi_text href = {NULL, 0};
        bool yanked = false;
        attribute a;
        p += 2;
        for (const char *next = p; (next = next_attribute(&a, next, end)) != NULL; p = next) {
            if (is_attribute(&a, "href")) {
                href = a.value;
            }
            yanked = yanked || is_attribute(&a, "data-yanked");
        }
        if (href.n > 0 && memchr(href.data, '\0', href.n) == NULL) {
            KFI_TRY(add_link(puller, index, base, href, yanked, err));
        }
    }
    return KF_OK;
}

kf_status kfi_index_parse(kfi_puller *puller, kfi_index *dst, const kfi_http_answer *answer,
                          const kfi_buf *body, kf_error *err)
{
    char shown[96];
    kf_status st = KF_OK;

    *dst = (kfi_index){0};
    if (body->n == 0) {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "the index sent an empty page");
    } else if (strstr(answer->content_type, "json") != NULL) {
        st = parse_json(puller, dst, answer->url, body, err);
    } else if (strstr(answer->content_type, "html") != NULL) {
        st = parse_html(puller, dst, answer->url, body, err);
    } else {
        st = kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                      "content type '%.60s', expected JSON or HTML of a package index",
                      answer->content_type);
    }
    if (st != KF_OK) {
        kfi_url_show(shown, sizeof shown, answer->url);
        kfi_fail_prefix(err, "%s: ", shown);
    }
    return st;
}
