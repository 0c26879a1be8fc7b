/* packed_kv.h - keys and values as codes of 8 or 4 bits, in the order in which they are multiplied.
 *
 * Tokens lie in blocks of 16; a head's size is padded to a multiple of 16, the columns. One line of
 * 64 bytes is again one VNNI operand (packed.h), read by 16 lanes of 4 bytes:
 *
 *     keys     lane = token, bytes = columns: scores of 16 tokens are added up lane by lane
 *         8 bits   line i of a block            byte 4t + c  =  token t, column 4i + c
 *         4 bits   line i of a block, nibble h  byte 4t + c  =  token t, column 8i + 4h + c
 *
 *     values   lane = column, bytes = tokens: sums of 16 columns are added up lane by lane
 *         8 bits   line (q, p) of a block       byte 4r + c  =  column 16p + r, token 4q + c
 *         4 bits   line (q, p), nibble h        byte 4r + c  =  column 16p + r, token 8q + 4h + c
 *
 * The lines of a block of values are [q][p]: its tokens ascend, so that a run of tokens is one
 * stream. A block takes 2 bits columns bytes either way. Codes are unsigned, and every token of a
 * head has one scale, an fp16:
 *
 *     x = s (q - 2^(bits-1)),   s = max |x| / (2^(bits-1) - 1/2)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_PACKED_KV_H
#define KFI_KERNELS_PACKED_KV_H

#include <stddef.h>
#include <stdint.h>

#define KFI_KV_BLOCK ((size_t)16)
/* A sum of so many products of 8-bit codes and 16-bit numbers fits 32 bits. */
#define KFI_PACKED_HEAD_DIM_MOST ((size_t)512)

typedef struct kfi_packed_kv {
    unsigned key_bits, value_bits; /* 8 or 4 */
    size_t cols;                   /* kfi_packed_kv_cols(head_dim) */
    uint8_t *keys;                 /* [block][16 * cols * key_bits / 8], 64-byte aligned */
    uint8_t *values;
    uint16_t *key_scales; /* [token], whole blocks */
    uint16_t *value_scales;
} kfi_packed_kv;

static inline size_t kfi_packed_kv_cols(size_t head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

/* Bytes that n tokens take, a multiple of KFI_KV_BLOCK: of codes of so many bits. */
static inline size_t kfi_packed_kv_code_bytes(size_t n, size_t cols, unsigned bits)
{
    return n * cols * bits / 8;
}

/* The cache from a token on, a multiple of KFI_KV_BLOCK. */
static inline kfi_packed_kv kfi_packed_kv_from(const kfi_packed_kv *kv, size_t token)
{
    kfi_packed_kv part = *kv;
    part.keys += kfi_packed_kv_code_bytes(token, kv->cols, kv->key_bits);
    part.values += kfi_packed_kv_code_bytes(token, kv->cols, kv->value_bits);
    part.key_scales += token;
    part.value_scales += token;
    return part;
}

/* Where a code stands: a byte of the plane, and the bits of it. */
typedef struct kfi_kv_place {
    size_t byte;
    unsigned shift;
} kfi_kv_place;

static inline kfi_kv_place kfi_key_place(size_t token, size_t col, size_t cols, unsigned bits)
{
    const size_t a_line = 32 / bits; /* columns */
    const size_t block = kfi_packed_kv_code_bytes(token / KFI_KV_BLOCK * KFI_KV_BLOCK, cols, bits);
    return (kfi_kv_place){block + col / a_line * 64 + token % KFI_KV_BLOCK * 4 + col % 4,
                          (unsigned)(col % a_line / 4 * 4)};
}

static inline kfi_kv_place kfi_value_place(size_t token, size_t col, size_t cols, unsigned bits)
{
    const size_t a_line = 32 / bits; /* tokens */
    return (kfi_kv_place){(token / a_line * cols + col) * 4 + token % 4,
                          (unsigned)(token % a_line / 4 * 4)};
}

/* A code without its zero: q - 2^(bits-1). */
static inline int32_t kfi_packed_key(const kfi_packed_kv *kv, size_t token, size_t col)
{
    const kfi_kv_place at = kfi_key_place(token, col, kv->cols, kv->key_bits);
    return (kv->keys[at.byte] >> at.shift & ((1 << kv->key_bits) - 1)) - (1 << (kv->key_bits - 1));
}

static inline int32_t kfi_packed_value(const kfi_packed_kv *kv, size_t token, size_t col)
{
    const kfi_kv_place at = kfi_value_place(token, col, kv->cols, kv->value_bits);
    return (kv->values[at.byte] >> at.shift & ((1 << kv->value_bits) - 1)) -
           (1 << (kv->value_bits - 1));
}

/* Writes one token's key and value (head_dim floats each). A number that is not finite makes the
 * scale NaN. Tokens of one block share bytes: they are written by one thread. */
void kfi_packed_kv_store(const kfi_packed_kv *kv, size_t token, const float *key,
                         const float *value, size_t head_dim);
/* Reads them back, as the codes have them. */
void kfi_packed_kv_load(float *key, float *value, const kfi_packed_kv *kv, size_t token,
                        size_t head_dim);

#endif /* KFI_KERNELS_PACKED_KV_H */
