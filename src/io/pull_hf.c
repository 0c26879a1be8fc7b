/* pull_hf.c - a model on a Hugging Face hub.
 *
 * One request tells the commit that a revision stands for, the files of it, their sizes and, for
 * those in large file storage, their SHA-256. The files then come from the address of that commit,
 * so that a branch which moves meanwhile does not mix two versions.
 *
 * Source: Hugging Face Hub API, GET /api/models/{id}/revision/{revision}?blobs=true and
 *         GET /{id}/resolve/{commit}/{file}.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/report.h"
#include "io/json.h"
#include "io/pull.h"
#include "io/sha256.h"

#define MAX_LIST_BYTES ((size_t)32 << 20)
#define MAX_FILES      100000u

/* A file of the repository. */
typedef struct hub_file {
    const char *path;
    const char *sha256; /* or NULL: a small file outside of large file storage */
    uint64_t size;      /* or KFI_HTTP_SIZE_UNKNOWN */
    bool chosen;
} hub_file;

typedef struct request {
    kfi_puller *puller;
    kfi_http *http;
    const char *id; /* "ORG/NAME" */
    const char *revision;
    const char *file; /* or NULL: all that the model needs */

    const char *commit; /* 40 digits */
    hub_file *files;
    size_t n_files;
} request;

/* ---- the name ---- */

/* What the hub allows in names and in those of branches: no way to leave a directory by it. */
static bool is_hub_name(const char *text, bool slashes)
{
    size_t n_slashes = 0;
    if (!kfi_is_plain_path((kfi_text){text, strlen(text)})) {
        return false;
    }
    for (const char *p = text; *p != '\0'; p++) {
        n_slashes += *p == '/';
        if (!isalnum((unsigned char)*p) && strchr("-_./", *p) == NULL) {
            return false;
        }
    }
    return slashes || n_slashes == 0;
}

static bool is_commit(const char *text)
{
    return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40;
}

static kf_status bad_spec(const char *spec, kf_error *err)
{
    return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                    "'hf:%.80s' is not understood, expected hf:ORG/NAME[@REVISION][:FILE]", spec);
}

/* Cuts "ORG/NAME[@REVISION][:FILE]" into its parts. */
static kf_status parse_spec(request *r, const char *spec, kf_error *err)
{
    const size_t n_front = strcspn(spec, ":");
    const size_t n_id = strcspn(spec, "@:");
    r->revision = "main";
    KFI_TRY(kfi_pull_text(r->puller, &r->id, err, "%.*s", (int)n_id, spec));
    if (spec[n_id] == '@') {
        KFI_TRY(kfi_pull_text(r->puller, &r->revision, err, "%.*s", (int)(n_front - n_id - 1),
                              spec + n_id + 1));
    }
    if (spec[n_front] == ':') {
        KFI_TRY(kfi_pull_text(r->puller, &r->file, err, "%s", spec + n_front + 1));
    }
    const char *slash = strchr(r->id, '/');
    if (slash == NULL || !is_hub_name(r->id, true) || !is_hub_name(slash + 1, false) ||
        !is_hub_name(r->revision, true) ||
        (r->file != NULL && !kfi_is_plain_path((kfi_text){r->file, strlen(r->file)}))) {
        return bad_spec(spec, err);
    }
    r->commit = is_commit(r->revision) ? r->revision : NULL;
    return KF_OK;
}

/* ---- the list of files ---- */

static kf_status parse_file(request *r, hub_file *file, const kfi_json *entry, kf_error *err)
{
    const char *path = kfi_json_get_text(entry, "rfilename");
    const kfi_json *size = kfi_json_get(entry, "size");
    const char *sha256 = kfi_json_get_text(kfi_json_get(entry, "lfs"), "sha256");
    if (path == NULL) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "a file of '%.80s' has no \"rfilename\"",
                        r->id);
    }
    *file = (hub_file){.size = KFI_HTTP_SIZE_UNKNOWN};
    KFI_TRY(kfi_pull_text(r->puller, &file->path, err, "%s", path));
    if (kfi_json_is_integer(size) && kfi_json_integer(size) >= 0) {
        file->size = (uint64_t)kfi_json_integer(size);
    }
    if (sha256 == NULL) {
        return KF_OK;
    }
    if (!kfi_sha256_is_hex(sha256, strlen(sha256))) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'%.80s': its sha256 is not 64 digits", path);
    }
    return kfi_pull_text(r->puller, &file->sha256, err, "%s", sha256);
}

static kf_status parse_list(request *r, const kfi_json *root, kf_error *err)
{
    const char *commit = kfi_json_get_text(root, "sha");
    const kfi_json *siblings = kfi_json_get(root, "siblings");
    const size_t n = kfi_json_size(siblings);
    if (commit == NULL || !is_commit(commit) || !kfi_json_is_array(siblings) || n > MAX_FILES) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "the hub's answer about '%.80s' has no commit (\"sha\") or no list of at "
                        "most %u files (\"siblings\")",
                        r->id, MAX_FILES);
    }
    KFI_TRY(kfi_pull_text(r->puller, &r->commit, err, "%s", commit));
    r->files = kfi_arena_alloc(&r->puller->arena, _Alignof(hub_file), (n + 1) * sizeof *r->files);
    if (r->files == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a list of %zu files", n);
    }
    for (r->n_files = 0; r->n_files < n; r->n_files++) {
        KFI_TRY(parse_file(r, &r->files[r->n_files], kfi_json_at(siblings, r->n_files), err));
    }
    return KF_OK;
}

/* Makes an address below the hub: front, then text with its special characters escaped. */
static kf_status make_url(request *r, const char **dst, const char *front, const char *text,
                          bool keep_slashes, const char *behind, kf_error *err)
{
    kfi_buf url;
    kfi_buf_init(&url, r->puller->alloc, KFI_URL_MAX - 1);
    (void)kfi_buf_append_text(&url, front);
    (void)kfi_url_append_escaped(&url, text, keep_slashes);
    (void)kfi_buf_append_text(&url, behind);
    const kf_status st = url.failed
                             ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "address of '%.80s'", text)
                             : kfi_pull_text(r->puller, dst, err, "%s", url.data);
    kfi_buf_deinit(&url);
    return st;
}

static kf_status ask_hub(request *r, kf_error *err)
{
    kfi_http_answer answer;
    kfi_buf body;
    kfi_json *root = NULL;
    const char *front = NULL;
    const char *url = NULL;

    KFI_TRY(kfi_pull_text(r->puller, &front, err, "%s/api/models/%s/revision/",
                          r->puller->environment.hub, r->id));
    KFI_TRY(make_url(r, &url, front, r->revision, false, "?blobs=true", err));
    kfi_buf_init(&body, r->puller->alloc, MAX_LIST_BYTES);
    kf_status st = kfi_http_get(r->http, &body, &answer, url, "application/json", err);
    if (st == KF_INPUT) {
        kfi_fail_prefix(err, "no model '%.60s' of revision '%.40s' (private ones need HF_TOKEN): ",
                        r->id, r->revision);
    }
    if (st == KF_OK) {
        st = kfi_json_parse(&root, body.n > 0 ? body.data : "", body.n, err);
        if (st != KF_OK) {
            kfi_fail_prefix(err, "the hub's answer about '%.80s': ", r->id);
        }
    }
    if (st == KF_OK) {
        st = parse_list(r, root, err);
    }
    kfi_json_free(root);
    kfi_buf_deinit(&body);
    return st;
}

/* ---- the choice ---- */

static kfi_text path_of(const hub_file *file)
{
    return (kfi_text){file->path, strlen(file->path)};
}

static bool is_top_level(const hub_file *file)
{
    return kfi_is_plain_name(path_of(file));
}

static bool is_weights(const hub_file *file, bool model_only)
{
    return is_top_level(file) && kfi_text_ends_with(path_of(file), ".safetensors") &&
           (!model_only || strncasecmp(file->path, "model", 5) == 0);
}

static size_t count_weights(const request *r, bool model_only)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_files; i++) {
        n += is_weights(&r->files[i], model_only);
    }
    return n;
}

/* All of a checkpoint: model*.safetensors, or whatever .safetensors there are where none is called
 * so (some repositories hold the same weights twice), and what lies beside them. */
static void choose_checkpoint(request *r)
{
    const bool model_only = count_weights(r, true) > 0;
    for (size_t i = 0; i < r->n_files; i++) {
        hub_file *file = &r->files[i];
        file->chosen = is_weights(file, model_only) ||
                       (is_top_level(file) && kfi_is_model_companion(path_of(file)));
    }
}

/* A repository without safetensors: its only GGUF, else the user has to name one. */
static kf_status choose_gguf(request *r, kf_error *err)
{
    size_t n = 0;
    const char *first = NULL;
    const char *last = NULL;
    for (size_t i = 0; i < r->n_files; i++) {
        if (kfi_text_ends_with(path_of(&r->files[i]), ".gguf") &&
            kfi_is_plain_path(path_of(&r->files[i]))) {
            first = n++ == 0 ? r->files[i].path : first;
            last = r->files[i].path;
        }
    }
    if (n == 0) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                        "'%.80s' has no .safetensors and no .gguf among its %zu files", r->id,
                        r->n_files);
    }
    if (n > 1) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                        "'%.50s' has %zu .gguf files: name one, as hf:%.50s:%.50s (another is "
                        "%.50s)",
                        r->id, n, r->id, first, last);
    }
    r->file = first;
    return KF_OK;
}

static const hub_file *find_file(const request *r, const char *path)
{
    for (size_t i = 0; i < r->n_files; i++) {
        if (strcmp(r->files[i].path, path) == 0) {
            return &r->files[i];
        }
    }
    return NULL;
}

/* ---- the download ---- */

static kf_status make_parent(const char *path, kf_error *err)
{
    char parent[4096];
    const size_t n = (size_t)(kfi_path_name(path) - path);
    if (n < 2 || n >= sizeof parent) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "path of %zu bytes", strlen(path));
    }
    memcpy(parent, path, n - 1);
    parent[n - 1] = '\0';
    return kfi_file_make_directories(parent, err);
}

static kf_status download(request *r, const hub_file *file, const char *path, kf_error *err)
{
    const char *front = NULL;
    const char *url = NULL;
    if (kfi_file_exists(path)) {
        return KF_OK;
    }
    KFI_TRY(kfi_pull_text(r->puller, &front, err, "%s/%s/resolve/%s/", r->puller->environment.hub,
                          r->id, r->commit));
    KFI_TRY(make_url(r, &url, front, file->path, true, "", err));
    KFI_TRY(make_parent(path, err));
    if (file->sha256 == NULL && !kfi_is_model_companion(path_of(file))) {
        kfi_report_warn(r->puller->callbacks, "the hub names no sha256 for %s", file->path);
    }
    const kfi_http_file wanted = {
        .url = url, .path = path, .name = file->path, .sha256 = file->sha256, .size = file->size};
    return kfi_http_download(r->http, &wanted, err);
}

static kf_status pull_file(request *r, const char *path, kf_error *err)
{
    const hub_file *file = find_file(r, r->file);
    if (file == NULL) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "'%.80s' has no file '%.80s'", r->id, r->file);
    }
    return download(r, file, path, err);
}

static kf_status pull_checkpoint(request *r, const char *directory, kf_error *err)
{
    const char *work = NULL;
    const char *path = NULL;
    if (find_file(r, "config.json") == NULL) { /* told before the weights come, not behind them */
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "'%.80s' has no config.json", r->id);
    }
    KFI_TRY(kfi_pull_text(r->puller, &work, err, "%s.partial", directory));
    choose_checkpoint(r);
    for (size_t i = 0; i < r->n_files; i++) {
        if (r->files[i].chosen) {
            KFI_TRY(kfi_pull_text(r->puller, &path, err, "%s/%s", work, r->files[i].path));
            KFI_TRY(download(r, &r->files[i], path, err));
        }
    }
    return kfi_file_rename(work, directory, err);
}

/* Where the request's result is or will be; r->commit is known. */
static kf_status place(request *r, const char **path, kf_error *err)
{
    if (r->file != NULL) {
        return kfi_pull_text(r->puller, path, err, "%s/hf/%s/%s.files/%s", r->puller->cache, r->id,
                             r->commit, r->file);
    }
    return kfi_pull_text(r->puller, path, err, "%s/hf/%s/%s", r->puller->cache, r->id, r->commit);
}

static kf_status pull_locked(request *r, const char *path, kf_error *err)
{
    const char *lock = NULL;
    int fd = -1;
    KFI_TRY(kfi_pull_text(r->puller, &lock, err, "%s/hf/%s/%s.lock", r->puller->cache, r->id,
                          r->commit));
    KFI_TRY(make_parent(lock, err));
    kf_status st = kfi_pull_lock(r->puller, &fd, lock, err);
    if (st == KF_OK && !kfi_file_exists(path)) { /* whom we waited for may have brought it */
        st = r->file != NULL ? pull_file(r, path, err) : pull_checkpoint(r, path, err);
    }
    kfi_pull_unlock(fd);
    return st;
}

static kf_status pull_online(request *r, const char **path, kf_error *err)
{
    KFI_TRY(ask_hub(r, err));
    if (r->file == NULL && count_weights(r, false) == 0) {
        KFI_TRY(choose_gguf(r, err));
    }
    KFI_TRY(place(r, path, err));
    return kfi_file_exists(*path) ? KF_OK : pull_locked(r, *path, err);
}

kf_status kfi_pull_hf(kfi_puller *puller, const char **path, const char *spec, kf_error *err)
{
    request r = {.puller = puller};

    KFI_TRY(parse_spec(&r, spec, err));
    if (r.commit != NULL) {
        KFI_TRY(place(&r, path, err));
        if (kfi_file_exists(*path)) {
            return KF_OK;
        }
    }
    KFI_TRY(kfi_environment_read(&puller->environment, &puller->arena, err));
    const kfi_http_settings settings = {.alloc = puller->alloc,
                                        .callbacks = puller->callbacks,
                                        .limits = puller->limits,
                                        .certificates = puller->environment.certificates,
                                        .login_url = puller->environment.hub,
                                        .bearer = puller->environment.hub_token};
    KFI_TRY(kfi_http_open(&r.http, &settings, err));
    const kf_status st = pull_online(&r, path, err);
    kfi_http_close(r.http);
    return st;
}
