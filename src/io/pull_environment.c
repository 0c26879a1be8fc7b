/* pull_environment.c - the settings that a user has for pip, curl and the Hugging Face tools.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/pull_environment.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/fail.h"
#include "base/file.h"
#include "io/url.h"

#define MAX_CONFIG_BYTES ((size_t)1 << 20)
#define INDEX_SETTINGS   "PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or pip's configuration"

/* What pip is told, by its files and then by variables. */
typedef struct pip_settings {
    const char *index_url;
    const char *extra_index_url; /* several, between white space */
    const char *cert;
    const char *proxy;
} pip_settings;

/* One file being read. */
typedef struct pip_file {
    pip_settings *settings;
    kfi_arena *arena;
    bool in_section;    /* one of those that matter */
    const char **value; /* of the last key, for continuation lines; NULL = not wanted */
} pip_file;

const char *kfi_environment_get(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* ---- pip's files: an INI dialect ---- */

static void trim(const char **text, size_t *n)
{
    while (*n > 0 && isspace((unsigned char)**text)) {
        (*text)++;
        (*n)--;
    }
    while (*n > 0 && isspace((unsigned char)(*text)[*n - 1])) {
        (*n)--;
    }
}

/* pip takes "index_url" for "index-url". */
static bool is_key(const char *key, size_t n, const char *name)
{
    if (strlen(name) != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char c = key[i] == '_' ? '-' : (char)tolower((unsigned char)key[i]);
        if (c != name[i]) {
            return false;
        }
    }
    return true;
}

static const char **find_setting(pip_settings *settings, const char *key, size_t n)
{
    if (is_key(key, n, "index-url")) {
        return &settings->index_url;
    }
    if (is_key(key, n, "extra-index-url")) {
        return &settings->extra_index_url;
    }
    if (is_key(key, n, "cert")) {
        return &settings->cert;
    }
    return is_key(key, n, "proxy") ? &settings->proxy : NULL;
}

/* Sets the current value, or makes it longer by a line. */
static bool put_value(pip_file *file, const char *text, size_t n, bool append)
{
    if (file->value == NULL) {
        return true;
    }
    const char *old = append ? *file->value : "";
    const size_t n_old = strlen(old);
    char *value = kfi_arena_alloc(file->arena, 1, n_old + n + 2);
    if (value == NULL) {
        return false;
    }
    (void)snprintf(value, n_old + n + 2, "%s%s%.*s", old, append ? "\n" : "", (int)n, text);
    *file->value = value;
    return true;
}

static bool read_line(pip_file *file, const char *line, size_t n)
{
    const bool indented = n > 0 && isspace((unsigned char)line[0]);
    trim(&line, &n);
    if (n == 0 || line[0] == '#' || line[0] == ';') {
        return true;
    }
    if (line[0] == '[') {
        file->in_section = (n == 8 && memcmp(line, "[global]", 8) == 0) ||
                           (n == 9 && memcmp(line, "[install]", 9) == 0);
        file->value = NULL;
        return true;
    }
    if (indented) {
        return put_value(file, line, n, true);
    }
    const size_t n_key = strcspn(line, "=:");
    file->value = NULL;
    if (!file->in_section || n_key >= n) {
        return true;
    }
    const char *key = line;
    const char *value = line + n_key + 1;
    size_t n_name = n_key;
    size_t n_value = n - n_key - 1;
    trim(&key, &n_name);
    trim(&value, &n_value);
    file->value = find_setting(file->settings, key, n_name);
    return put_value(file, value, n_value, false);
}

/* A missing file is fine: most of them are. */
static kf_status read_file(pip_settings *settings, const char *path, kfi_arena *arena,
                           kf_error *err)
{
    kf_status st = KF_OK;
    kfi_buf text;
    pip_file file = {.settings = settings, .arena = arena};

    if (!kfi_file_exists(path)) {
        return KF_OK;
    }
    kfi_buf_init(&text, arena->alloc, MAX_CONFIG_BYTES);
    st = kfi_file_read(&text, path, err);
    if (st == KF_OK && text.n > 0 && strlen(text.data) != text.n) {
        st = kfi_fail(err, KF_FORMAT, strlen(text.data), "'%s' is not a text file", path);
    }
    for (size_t i = 0; st == KF_OK && i < text.n;) {
        const size_t n = strcspn(text.data + i, "\n");
        if (!read_line(&file, text.data + i, n)) {
            st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "settings of '%s'", path);
        }
        i += n + 1;
    }
    kfi_buf_deinit(&text);
    return st;
}

static kf_status read_file_below(pip_settings *settings, const char *variable, const char *rest,
                                 kfi_arena *arena, kf_error *err)
{
    char path[4096];
    const char *directory = kfi_environment_get(variable);
    if (directory == NULL) {
        return KF_OK;
    }
    const int n = snprintf(path, sizeof path, "%s%s", directory, rest);
    return n > 0 && (size_t)n < sizeof path ? read_file(settings, path, arena, err) : KF_OK;
}

static kf_status read_files(pip_settings *settings, kfi_arena *arena, kf_error *err)
{
    const char *chosen = kfi_environment_get("PIP_CONFIG_FILE");
    const bool has_config_home = kfi_environment_get("XDG_CONFIG_HOME") != NULL;
    if (chosen != NULL && strcmp(chosen, "/dev/null") == 0) {
        return KF_OK;
    }
    KFI_TRY(read_file(settings, "/etc/xdg/pip/pip.conf", arena, err));
    KFI_TRY(read_file(settings, "/etc/pip.conf", arena, err));
    KFI_TRY(read_file_below(settings, "HOME", "/.pip/pip.conf", arena, err));
    KFI_TRY(read_file_below(settings, has_config_home ? "XDG_CONFIG_HOME" : "HOME",
                            has_config_home ? "/pip/pip.conf" : "/.config/pip/pip.conf", arena,
                            err));
    KFI_TRY(read_file_below(settings, "VIRTUAL_ENV", "/pip.conf", arena, err));
    return chosen != NULL ? read_file(settings, chosen, arena, err) : KF_OK;
}

static void override(const char **setting, const char *variable)
{
    const char *value = kfi_environment_get(variable);
    if (value != NULL) {
        *setting = value;
    }
}

/* ---- all together ---- */

static kf_status check_address(const char *url, const char *setting, kf_error *err)
{
    char resolved[KFI_URL_MAX];
    const kf_status st = kfi_url_resolve(resolved, NULL, url, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", setting);
    }
    return st;
}

static kf_status add_index(kfi_environment *e, const char *url, size_t n, kfi_arena *arena,
                           kf_error *err)
{
    while (n > 0 && url[n - 1] == '/') {
        n--;
    }
    if (n == 0) {
        return KF_OK;
    }
    if (e->n_indexes == KFI_MAX_INDEXES) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "more than %u package indexes are set",
                        KFI_MAX_INDEXES);
    }
    const char *copy = kfi_arena_strndup(arena, url, n);
    if (copy == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "address of an index of %zu bytes", n);
    }
    e->indexes[e->n_indexes++] = copy;
    return check_address(copy, INDEX_SETTINGS, err);
}

static kf_status add_indexes(kfi_environment *e, const char *text, kfi_arena *arena, kf_error *err)
{
    static const char space[] = " \t\r\n";
    for (const char *p = text + strspn(text, space); *p != '\0'; p += strspn(p, space)) {
        const size_t n = strcspn(p, space);
        KFI_TRY(add_index(e, p, n, arena, err));
        p += n;
    }
    return KF_OK;
}

static kf_status choose_certificates(kfi_environment *e, const char *pip_cert, kf_error *err)
{
    static const char *const variables[] = {"SSL_CERT_FILE", "CURL_CA_BUNDLE",
                                            "REQUESTS_CA_BUNDLE"};
    const char *from = "pip's configuration or PIP_CERT";
    e->certificates = pip_cert;
    for (size_t i = sizeof variables / sizeof variables[0]; i-- > 0 && e->certificates == NULL;) {
        e->certificates = kfi_environment_get(variables[i]);
        from = variables[i];
    }
    if (e->certificates != NULL && !kfi_file_exists(e->certificates)) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                        "the certificates '%.120s' named by %s are not there", e->certificates,
                        from);
    }
    return KF_OK;
}

static kf_status choose_hub(kfi_environment *e, kfi_arena *arena, kf_error *err)
{
    const char *hub = kfi_environment_get("HF_ENDPOINT");
    if (hub == NULL) {
        hub = "https://huggingface.co";
    }
    size_t n = strlen(hub);
    while (n > 0 && hub[n - 1] == '/') {
        n--;
    }
    e->hub = kfi_arena_strndup(arena, hub, n);
    e->hub_token = kfi_environment_get("HF_TOKEN");
    if (e->hub == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "address of the hub");
    }
    return check_address(e->hub, "HF_ENDPOINT", err);
}

kf_status kfi_environment_read(kfi_environment *dst, kfi_arena *arena, kf_error *err)
{
    pip_settings pip = {.index_url = "https://pypi.org/simple", .extra_index_url = ""};

    *dst = (kfi_environment){0};
    KFI_TRY(read_files(&pip, arena, err));
    override(&pip.index_url, "PIP_INDEX_URL");
    override(&pip.extra_index_url, "PIP_EXTRA_INDEX_URL");
    override(&pip.cert, "PIP_CERT");
    override(&pip.proxy, "PIP_PROXY");
    KFI_TRY(add_indexes(dst, pip.index_url, arena, err));
    KFI_TRY(add_indexes(dst, pip.extra_index_url, arena, err));
    if (dst->n_indexes == 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, INDEX_SETTINGS ": no address of an index");
    }
    dst->pip_proxy = pip.proxy;
    KFI_TRY(choose_certificates(dst, pip.cert, err));
    return choose_hub(dst, arena, err);
}
