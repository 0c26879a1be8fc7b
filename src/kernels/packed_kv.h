/* packed_kv.h - keys and values as codes, in the order in which they are multiplied.
 *
 * Both are cut into chunks of 16 lanes x 32 codes, the planes of packed.h: a line of 64 bytes is
 * one VNNI operand, 16 lanes of 4 bytes, and a code of b bits takes b lines a chunk.
 *
 *     keys     lane = token, codes = columns: scores of 16 tokens are added up lane by lane
 *              [token / 16][column / 32][bits lines]
 *     values   lane = column, codes = tokens: sums of 16 columns are added up lane by lane
 *              [token / 32][column / 16][bits lines]
 *
 * The tokens of either ascend, so that a run of tokens is one stream. A head's size is padded to a
 * multiple of 32, the columns. Tokens lie in blocks of 32, which take 4 bits columns bytes either
 * way. Codes are unsigned, and every token of a head has one scale, an fp16:
 *
 *     x = s (q - 2^(bits-1)),  or  x = s table[q] of a table of signed bytes
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_PACKED_KV_H
#define KFI_KERNELS_PACKED_KV_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/planes_inline.h"

#define KFI_KV_BLOCK ((size_t)32)
/* A sum of so many products of 8-bit codes and 16-bit numbers fits 32 bits. */
#define KFI_PACKED_HEAD_DIM_MOST ((size_t)512)

/* How the scale of a token's codes is found. */
typedef enum kfi_kv_fit {
    KFI_KV_GREATEST, /* by the greatest number, as above */
    KFI_KV_NEAREST,  /* then that at which the codes are nearest: x c / c c */
    KFI_KV_UNBIASED /* that at which they are as long as what they stand for, along it: x x / x c */
} kfi_kv_fit;

/* The keys, or the values. */
typedef struct kfi_kv_codes {
    unsigned bits;       /* 2 … 8 */
    const int8_t *table; /* kfi_kv_levels(bits), or NULL: even steps */
    kfi_kv_fit fit;
    uint8_t *codes;   /* 64-byte aligned */
    uint16_t *scales; /* [token], whole blocks */
} kfi_kv_codes;

typedef struct kfi_packed_kv {
    kfi_kv_codes keys, values;
    size_t cols; /* kfi_packed_kv_cols(head_dim) */
} kfi_packed_kv;

static inline size_t kfi_packed_kv_cols(size_t head_dim)
{
    return (head_dim + KFI_CHUNK_COLS - 1) / KFI_CHUNK_COLS * KFI_CHUNK_COLS;
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
    part.keys.codes += kfi_packed_kv_code_bytes(token, kv->cols, kv->keys.bits);
    part.values.codes += kfi_packed_kv_code_bytes(token, kv->cols, kv->values.bits);
    part.keys.scales += token;
    part.values.scales += token;
    return part;
}

/* The chunk that holds a number. */
static inline size_t kfi_key_chunk(const kfi_packed_kv *kv, size_t token, size_t col)
{
    const size_t n_chunks = kv->cols / KFI_CHUNK_COLS;
    return (token / KFI_PANEL_ROWS * n_chunks + col / KFI_CHUNK_COLS) * kv->keys.bits *
           KFI_LINE_BYTES;
}

static inline size_t kfi_value_chunk(const kfi_packed_kv *kv, size_t token, size_t col)
{
    const size_t n_panels = kv->cols / KFI_PANEL_ROWS;
    return (token / KFI_KV_BLOCK * n_panels + col / KFI_PANEL_ROWS) * kv->values.bits *
           KFI_LINE_BYTES;
}

/* What a code stands for, in scales. */
static inline int32_t kfi_kv_level(const kfi_kv_codes *c, uint8_t code)
{
    return c->table != NULL ? c->table[code] : code - (1 << (c->bits - 1));
}

static inline int32_t kfi_packed_key(const kfi_packed_kv *kv, size_t token, size_t col)
{
    const uint8_t *chunk = kv->keys.codes + kfi_key_chunk(kv, token, col);
    return kfi_kv_level(&kv->keys, kfi_chunk_get(chunk, kv->keys.bits, token % KFI_PANEL_ROWS,
                                                 col % KFI_CHUNK_COLS));
}

static inline int32_t kfi_packed_value(const kfi_packed_kv *kv, size_t token, size_t col)
{
    const uint8_t *chunk = kv->values.codes + kfi_value_chunk(kv, token, col);
    return kfi_kv_level(&kv->values, kfi_chunk_get(chunk, kv->values.bits, col % KFI_PANEL_ROWS,
                                                   token % KFI_KV_BLOCK));
}

/* The levels of 2 … 4 bits that lose least of normal numbers, the greatest 127; NULL for others.
 * [KFI_TABLE_ENTRIES]. */
const int8_t *kfi_kv_levels(unsigned bits);

/* Writes one token's key and value (head_dim floats each). A number that is not finite makes the
 * scale NaN. Tokens of one block share bytes: they are written by one thread. */
void kfi_packed_kv_store(const kfi_packed_kv *kv, size_t token, const float *key,
                         const float *value, size_t head_dim);
/* Reads them back, as the codes have them. */
void kfi_packed_kv_load(float *key, float *value, const kfi_packed_kv *kv, size_t token,
                        size_t head_dim);

#endif /* KFI_KERNELS_PACKED_KV_H */
