/* kerf/hash.h - names for contents: SHA-256 of bytes and of checkpoints.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_HASH_H
#define KERF_HASH_H

#include <stddef.h>

#include "kerf/error.h"
#include "kerf/export.h"
#include "kerf/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of a hash as text: 64 digits and a NUL. */
#define KF_HASH_BYTES 65

/**
 * Computes the SHA-256 of some bytes, as lower-case digits.
 *
 * @param[out] hex   the digits; "" on failure
 * @param[in]  data  borrowed; may be NULL with n = 0
 * @param      n     bytes of @p data
 * @param[out] err   failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_NOMEM, KF_INTERNAL  libcrypto failed
 *
 * Cost: a second for some 400 MB to 2 GB. Threads: reentrant.
 */
KF_API KF_NODISCARD kf_status kf_hash_bytes(char hex[KF_HASH_BYTES], const void *data, size_t n,
                                            kf_error *err);

/**
 * Names the content of a checkpoint: the SHA-256 of its configuration and of all tensors as they
 * are stored, with names, types and shapes. The same content under another path has the same name.
 *
 * @param[out] hex    the digits; "" on failure
 * @param[in]  model  borrowed
 * @param[out] err    failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_NOMEM, KF_INTERNAL  libcrypto failed
 *
 * Cost: reads the whole checkpoint. Threads: reentrant.
 */
KF_API KF_NODISCARD kf_status kf_hash_model(char hex[KF_HASH_BYTES], const kf_model *model,
                                            kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_HASH_H */
