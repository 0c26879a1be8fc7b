/* build_gguf.h - small GGUF files in memory, right or wrong on purpose.
 *
 * A test appends pieces in file order; nothing is checked, so that it can lie.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_BUILD_GGUF_H
#define KERF_TESTS_BUILD_GGUF_H

#include <string.h>

#include "base/buf.h"
#include "io/bytes.h"
#include "io/gguf.h"

#define BUILD_MAX ((size_t)64 << 20)

static inline void put_bytes(kfi_buf *buf, const void *data, size_t n)
{
    (void)kfi_buf_append(buf, data, n);
}

static inline void put_u8(kfi_buf *buf, unsigned value)
{
    (void)kfi_buf_append_byte(buf, (unsigned char)value);
}

static inline void put_u32(kfi_buf *buf, uint32_t value)
{
    uint8_t bytes[4];
    kfi_store_u32(bytes, value);
    put_bytes(buf, bytes, sizeof bytes);
}

static inline void put_u64(kfi_buf *buf, uint64_t value)
{
    uint8_t bytes[8];
    kfi_store_u64(bytes, value);
    put_bytes(buf, bytes, sizeof bytes);
}

static inline void put_f32(kfi_buf *buf, float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    put_u32(buf, bits);
}

/* n:u64 and the bytes. */
static inline void put_string(kfi_buf *buf, const char *text)
{
    put_u64(buf, strlen(text));
    put_bytes(buf, text, strlen(text));
}

static inline void put_padding(kfi_buf *buf, size_t alignment)
{
    while (buf->n % alignment != 0) {
        put_u8(buf, 0);
    }
}

static inline void gguf_begin(kfi_buf *buf, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    put_bytes(buf, "GGUF", 4);
    put_u32(buf, version);
    put_u64(buf, n_tensors);
    put_u64(buf, n_kv);
}

/* A key and the type of its value, which the caller appends. */
static inline void gguf_key(kfi_buf *buf, const char *key, uint32_t type)
{
    put_string(buf, key);
    put_u32(buf, type);
}

static inline void gguf_key_u32(kfi_buf *buf, const char *key, uint32_t value)
{
    gguf_key(buf, key, KFI_GGUF_U32);
    put_u32(buf, value);
}

static inline void gguf_key_text(kfi_buf *buf, const char *key, const char *value)
{
    gguf_key(buf, key, KFI_GGUF_STRING);
    put_string(buf, value);
}

/* An array's head; the caller appends the elements. */
static inline void gguf_key_array(kfi_buf *buf, const char *key, uint32_t element, uint64_t n)
{
    gguf_key(buf, key, KFI_GGUF_ARRAY);
    put_u32(buf, element);
    put_u64(buf, n);
}

/* A matrix in the tensor list: columns vary fastest and come first in the file. */
static inline void gguf_tensor(kfi_buf *buf, const char *name, uint64_t rows, uint64_t columns,
                               uint32_t ggml_id, uint64_t offset)
{
    put_string(buf, name);
    put_u32(buf, 2);
    put_u64(buf, columns);
    put_u64(buf, rows);
    put_u32(buf, ggml_id);
    put_u64(buf, offset);
}

/* Bytes that count up: no two tensors read alike. */
static inline void put_data(kfi_buf *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_u8(buf, (unsigned)(i * 37 + 11) & 0x3F);
    }
}

/* A sound file with every kind of value and six tensors. */
static inline void build_sample_gguf(kfi_buf *buf)
{
    gguf_begin(buf, 3, 6, 9);
    gguf_key_text(buf, "general.architecture", "llama");
    gguf_key_u32(buf, "llama.block_count", 2);
    gguf_key(buf, "llama.rope.freq_base", KFI_GGUF_F32);
    put_f32(buf, 10000.0F);
    gguf_key(buf, "tokenizer.ggml.add_bos_token", KFI_GGUF_BOOL);
    put_u8(buf, 1);
    gguf_key_array(buf, "tokenizer.ggml.tokens", KFI_GGUF_STRING, 3);
    put_string(buf, "a");
    put_string(buf, "");
    put_string(buf, "\xC3\xA9");
    gguf_key_array(buf, "tokenizer.ggml.scores", KFI_GGUF_F32, 3);
    put_f32(buf, 0.0F);
    put_f32(buf, -1.5F);
    put_f32(buf, 2.0F);
    gguf_key_array(buf, "tokenizer.ggml.token_type", KFI_GGUF_I32, 3);
    put_u32(buf, 1);
    put_u32(buf, UINT32_MAX);
    put_u32(buf, 6);
    gguf_key(buf, "test.i64", KFI_GGUF_I64);
    put_u64(buf, (uint64_t)INT64_C(-7));
    gguf_key(buf, "test.u64", KFI_GGUF_U64);
    put_u64(buf, UINT64_MAX);
    gguf_tensor(buf, "f32", 2, 5, 0, 0);       /* 40 bytes, padded to 64 */
    gguf_tensor(buf, "f16", 1, 4, 1, 64);      /* 8 → 32 */
    gguf_tensor(buf, "q4_1", 3, 32, 3, 96);    /* 60 → 64 */
    gguf_tensor(buf, "q8_0", 1, 64, 8, 160);   /* 68 → 96 */
    gguf_tensor(buf, "q6_k", 1, 256, 14, 256); /* 210 → 224 */
    gguf_tensor(buf, "q3_k", 1, 256, 11, 480); /* 110, at the end */
    put_padding(buf, 32);
    put_data(buf, 480 + 110);
}

#endif /* KERF_TESTS_BUILD_GGUF_H */
