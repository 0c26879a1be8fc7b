/* hash.h - hashing of short strings and of pairs of ids.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_HASH_H
#define KFI_TEXT_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Spreads all bits of x over all bits of the result (a multiply and a fold, twice). */
static inline uint64_t kfi_hash_u64(uint64_t x)
{
    x = (x ^ (x >> 32)) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
    return x ^ (x >> 32);
}

/* Eight bytes a step. Not meant to resist an adversary who chooses keys: enough for a cache. */
static inline uint64_t kfi_hash_bytes(const char *bytes, size_t n)
{
    uint64_t hash = n;
    while (n >= 8) {
        uint64_t word = 0;
        memcpy(&word, bytes, 8);
        hash = kfi_hash_u64(hash ^ word);
        bytes += 8;
        n -= 8;
    }
    uint64_t tail = 0;
    memcpy(&tail, bytes, n);
    return kfi_hash_u64(hash ^ tail);
}

#endif /* KFI_TEXT_HASH_H */
