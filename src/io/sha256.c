/* sha256.c - SHA-256 of streams and files, over libcrypto.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/sha256.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"

#define DIGEST_BYTES 32u
#define PIECE_BYTES  ((size_t)4 << 20)

kf_status kfi_sha256_init(kfi_sha256 *sha, kf_error *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    sha->state = context;
    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        kfi_sha256_deinit(sha);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a SHA-256 state");
    }
    return KF_OK;
}

void kfi_sha256_update(kfi_sha256 *sha, const void *data, size_t n)
{
    /* A failed update drops the state, by which finish knows. */
    if (sha->state != NULL && EVP_DigestUpdate(sha->state, data, n) != 1) {
        kfi_sha256_deinit(sha);
    }
}

kf_status kfi_sha256_finish(kfi_sha256 *sha, char hex[KFI_SHA256_HEX], kf_error *err)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[DIGEST_BYTES];
    const bool ok = sha->state != NULL && EVP_DigestFinal_ex(sha->state, digest, NULL) == 1;
    kfi_sha256_deinit(sha);
    hex[0] = '\0';
    if (!ok) {
        return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET, "libcrypto failed to compute a SHA-256");
    }
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * DIGEST_BYTES] = '\0';
    return KF_OK;
}

void kfi_sha256_deinit(kfi_sha256 *sha)
{
    EVP_MD_CTX_free(sha->state);
    sha->state = NULL;
}

kf_status kfi_sha256_bytes(char hex[KFI_SHA256_HEX], const void *data, size_t n, kf_error *err)
{
    kfi_sha256 sha;
    KFI_TRY(kfi_sha256_init(&sha, err));
    kfi_sha256_update(&sha, data, n);
    return kfi_sha256_finish(&sha, hex, err);
}

kf_status kfi_sha256_file(char hex[KFI_SHA256_HEX], const char *path, kf_error *err)
{
    kfi_sha256 sha;
    kfi_file_map map;
    KFI_TRY(kfi_sha256_init(&sha, err));
    const kf_status status = kfi_file_map_open(&map, path, err);
    if (status != KF_OK) {
        kfi_sha256_deinit(&sha);
        return status;
    }
    /* Pages are given back piece by piece, so that a model of any size leaves memory alone. */
    for (size_t at = 0; at < map.size; at += PIECE_BYTES) {
        const size_t left = map.size - at;
        const size_t n = left < PIECE_BYTES ? left : PIECE_BYTES;
        kfi_sha256_update(&sha, map.data + at, n);
        kfi_file_map_drop(&map, at, n);
    }
    kfi_file_map_close(&map);
    return kfi_sha256_finish(&sha, hex, err);
}

bool kfi_sha256_is_hex(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n && text[i] != '\0' && strchr("0123456789abcdefABCDEF", text[i]) != NULL) {
        i++;
    }
    return i == n && n == KFI_SHA256_HEX - 1;
}
