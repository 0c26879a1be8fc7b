/* pull_environment.h - the index, certificates, proxy and tokens that a user has set for pip, curl
 * and the Hugging Face tools.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_PULL_ENVIRONMENT_H
#define KFI_IO_PULL_ENVIRONMENT_H

#include "base/alloc.h"
#include "kerf/error.h"

#define KFI_MAX_INDEXES 8u

/* Strings live in the arena or in the environment; NULL where nothing is set. */
typedef struct kfi_environment {
    const char *indexes[KFI_MAX_INDEXES]; /* simple indexes, in the order to ask them */
    size_t n_indexes;                     /* at least 1; where nothing is set, pypi.org */
    const char *certificates;             /* file or directory, which exists */
    const char *pip_proxy;                /* of pip only; curl reads https_proxy by itself */
    const char *hub;                      /* address of the model hub, no slash at the end */
    const char *hub_token;
} kfi_environment;

/* Reads, each overriding those before it:
 *   index, proxy   pip's files /etc/xdg/pip/pip.conf, /etc/pip.conf, ~/.pip/pip.conf,
 *                  $XDG_CONFIG_HOME/pip/pip.conf, $VIRTUAL_ENV/pip.conf, $PIP_CONFIG_FILE (sections
 *                  [global] and [install]; PIP_CONFIG_FILE=/dev/null: none of them);
 *                  PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_PROXY
 *   certificates   SSL_CERT_FILE, CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE, "cert" of pip's files,
 *                  PIP_CERT
 *   hub            HF_ENDPOINT, HF_TOKEN
 * KF_INPUT: certificates that are named but not there; KF_FORMAT: a file of pip that is not text,
 * an index or hub that is not an address, an index that is set to nothing; KF_NOMEM. */
KF_NODISCARD kf_status kfi_environment_read(kfi_environment *dst, kfi_arena *arena, kf_error *err);

/* A variable's value, NULL where it is unset or empty. */
const char *kfi_environment_get(const char *name);

#endif /* KFI_IO_PULL_ENVIRONMENT_H */
