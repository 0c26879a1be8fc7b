/* sha256.h - SHA-256 of streams and files, over libcrypto.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_SHA256_H
#define KFI_IO_SHA256_H

#include <stdbool.h>
#include <stddef.h>

#include "kerf/error.h"

#define KFI_SHA256_HEX 65u /* 64 digits and a NUL */

typedef struct kfi_sha256 {
    void *state;
} kfi_sha256;

KF_NODISCARD kf_status kfi_sha256_init(kfi_sha256 *sha, kf_error *err);
/* A failure is kept and told by finish. */
void kfi_sha256_update(kfi_sha256 *sha, const void *data, size_t n);
/* Lower-case digits; releases the state. KF_INTERNAL: libcrypto failed, here or in an update; hex
 * is then "", which equals no hash. */
KF_NODISCARD kf_status kfi_sha256_finish(kfi_sha256 *sha, char hex[KFI_SHA256_HEX], kf_error *err);
/* Releases the state without a result; fine after finish. */
void kfi_sha256_deinit(kfi_sha256 *sha);

KF_NODISCARD kf_status kfi_sha256_bytes(char hex[KFI_SHA256_HEX], const void *data, size_t n,
                                        kf_error *err);
KF_NODISCARD kf_status kfi_sha256_file(char hex[KFI_SHA256_HEX], const char *path, kf_error *err);

/* True for 64 digits, of either case, and nothing else: how an index writes a hash. */
bool kfi_sha256_is_hex(const char *text, size_t n);

#endif /* KFI_IO_SHA256_H */
