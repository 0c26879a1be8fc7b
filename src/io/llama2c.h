/* llama2c.h - reader of llama2.c model files (.bin, version 0) and their tokenizer files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_LLAMA2C_H
#define KFI_IO_LLAMA2C_H

#include "base/file.h"
#include "io/tensor.h"

/* The header's seven int32, checked. */
typedef struct kfi_llama2c_config {
    size_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, context;
    bool shared_classifier; /* vocab_size stored positive */
} kfi_llama2c_config;

typedef struct kfi_llama2c kfi_llama2c;

/* Opens and checks that the file is exactly as long as its header says. KF_INPUT, KF_FORMAT,
 * KF_NOMEM. */
KF_NODISCARD kf_status kfi_llama2c_open(kfi_llama2c **dst, const char *path,
                                        const kf_allocator *alloc, kf_error *err);
KF_NODISCARD kf_status kfi_llama2c_parse(kfi_llama2c **dst, const uint8_t *data, size_t n,
                                         const kf_allocator *alloc, kf_error *err);
void kfi_llama2c_close(kfi_llama2c *file);

const kfi_llama2c_config *kfi_llama2c_get_config(const kfi_llama2c *file);

/* Tensors under Hugging Face names (model.layers.N.self_attn.q_proj.weight, …, lm_head.weight when
 * not shared), all F32. q and k rows keep the file's order: rotary pairs are neighbours (2i, 2i+1),
 * as in GGUF of the llama family. */
const kfi_tensor_table *kfi_llama2c_tensors(const kfi_llama2c *file);
const kfi_file_map *kfi_llama2c_map(const kfi_llama2c *file);

/* The tokenizer file: max_token_length, then a score and a piece for each of vocab_size tokens. */
typedef struct kfi_llama2c_vocabulary {
    size_t n;
    const char **pieces; /* NUL-terminated copies */
    size_t *lengths;
    float *scores;
    kfi_arena arena;
} kfi_llama2c_vocabulary;
KF_NODISCARD kf_status kfi_llama2c_vocabulary_read(kfi_llama2c_vocabulary *dst, const char *path,
                                                   size_t vocab_size, const kf_allocator *alloc,
                                                   kf_error *err);
/* The same over bytes; nothing refers to them afterwards. */
KF_NODISCARD kf_status kfi_llama2c_vocabulary_parse(kfi_llama2c_vocabulary *dst,
                                                    const uint8_t *data, size_t n,
                                                    size_t vocab_size, const kf_allocator *alloc,
                                                    kf_error *err);
void kfi_llama2c_vocabulary_deinit(kfi_llama2c_vocabulary *vocabulary);

#endif /* KFI_IO_LLAMA2C_H */
