/* build_llama2c.h - a tiny llama2.c model in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_BUILD_LLAMA2C_H
#define KERF_TESTS_BUILD_LLAMA2C_H

#include "build_gguf.h"

/* dim 8, hidden 12, 2 layers, 2 heads, 1 key head, 5 tokens, context 3. */
enum {
    L2C_DIM = 8,
    L2C_HIDDEN = 12,
    L2C_LAYERS = 2,
    L2C_KV_DIM = 4,
    L2C_VOCAB = 5,
    L2C_CONTEXT = 3,
    L2C_FLOATS = L2C_VOCAB * L2C_DIM +
                 L2C_LAYERS * (2 * L2C_DIM + 2 * L2C_DIM * L2C_DIM + 2 * L2C_KV_DIM * L2C_DIM +
                               3 * L2C_HIDDEN * L2C_DIM) +
                 L2C_DIM + L2C_CONTEXT * 4
};

static inline void put_i32(kfi_buf *buf, int32_t value)
{
    put_u32(buf, (uint32_t)value);
}

/* Float i of the file is i. */
static inline void build_sample_llama2c(kfi_buf *buf, bool shared)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    put_i32(buf, L2C_DIM);
    put_i32(buf, L2C_HIDDEN);
    put_i32(buf, L2C_LAYERS);
    put_i32(buf, 2);
    put_i32(buf, 1);
    put_i32(buf, shared ? L2C_VOCAB : -L2C_VOCAB);
    put_i32(buf, L2C_CONTEXT);
    const int n = L2C_FLOATS + (shared ? 0 : L2C_VOCAB * L2C_DIM);
    for (int i = 0; i < n; i++) {
        put_f32(buf, (float)i);
    }
}

#endif /* KERF_TESTS_BUILD_LLAMA2C_H */
