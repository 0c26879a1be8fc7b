/* hash.c - names for contents, for who cannot see io/ and model/.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kerf/hash.h"

#include "model/model.h"

_Static_assert(KF_HASH_BYTES == KFI_SHA256_HEX, "one length of hashes");

kf_status kf_hash_bytes(char hex[KF_HASH_BYTES], const void *data, size_t n, kf_error *err)
{
    return kfi_sha256_bytes(hex, data, n, err);
}

kf_status kf_hash_model(char hex[KF_HASH_BYTES], const kf_model *model, kf_error *err)
{
    return kfi_model_source_hash(model, hex, err);
}
