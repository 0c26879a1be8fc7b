/* tiny_model.h - random checkpoints of a few hundred kilobytes, of each architecture and container,
 * and the weights that they hold.
 *
 * Same options, same bytes. Their vocabulary is 95 printable characters and an end token, so that a
 * tokenizer can stand beside them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_MODEL_H
#define KERF_TESTS_TINY_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/tensor.h"
#include "model/model.h"

/* Id of the character c in their vocabulary: '\n' stands where '~' would. */
#define TINY_VOCABULARY 96u
#define TINY_ID(c)      ((uint32_t)((c) == '\n' ? 94 : (c) - ' '))
#define TINY_END        95u

typedef enum tiny_container {
    TINY_GGUF,        /* DIRECTORY/tiny.gguf */
    TINY_SAFETENSORS, /* DIRECTORY/tiny/ with config.json, tokenizer.json */
    TINY_SHARDED,     /* the same, in two files with an index */
    TINY_LLAMA2C      /* DIRECTORY/tiny.bin; llama and F32 only */
} tiny_container;

typedef struct tiny_options {
    tiny_container container;
    kfi_dtype dtype; /* of matrices: F32, F16, BF16, or in a GGUF Q4_0 … Q8_0; vectors are F32 */
    kfi_config config;
    uint64_t seed;
} tiny_options;

/* "llama" or "qwen2", 2 layers, hidden 64, feed-forward 96, 4 heads and 2 for keys, head size 16,
 * vocabulary 96, context 256; llama tied as GGUF in F32, qwen2 untied as safetensors in F32. */
tiny_options tiny_options_of(const char *architecture);

typedef struct tiny_tensor {
    char name[128]; /* Hugging Face's */
    size_t rows, cols;
    float *data; /* in Hugging Face's order, already rounded to what the file holds */
} tiny_tensor;

typedef struct tiny_model {
    char path[512];
    kfi_config config;
    tiny_tensor *tensors;
    size_t n_tensors;
} tiny_model;

/* Writes a checkpoint into an existing directory; aborts the test program on failure. */
tiny_model *tiny_model_new(const char *directory, const tiny_options *options);
void tiny_model_free(tiny_model *model);

/* The tensor of this name; aborts when there is none. */
const tiny_tensor *tiny_model_find(const tiny_model *model, const char *name);

/* Fills ids with n random ids below the vocabulary. */
void tiny_ids(uint32_t *ids, size_t n, uint64_t seed);

#endif /* KERF_TESTS_TINY_MODEL_H */
