/* tiny_model.c - random checkpoints: weights, and what every container shares.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/half.h"
#include "base/rng.h"
#include "model/architecture.h"
#include "tiny_write.h"

tiny_options tiny_options_of(const char *architecture)
{
    const bool qwen2 = strcmp(architecture, "qwen2") == 0;
    return (tiny_options){
        .container = qwen2 ? TINY_SAFETENSORS : TINY_GGUF,
        .dtype = KFI_DTYPE_F32,
        .seed = 1,
        .config =
            {
                .architecture = qwen2 ? &kfi_architecture_qwen2 : &kfi_architecture_llama,
                .n_layers = 2,
                .hidden = 64,
                .feed_forward = 96,
                .n_heads = 4,
                .n_kv_heads = 2,
                .head_dim = 16,
                .vocabulary = TINY_VOCABULARY,
                .context = 256,
                .tied = !qwen2,
                .rms_epsilon = qwen2 ? 1e-6f : 1e-5f,
                .rope_theta = qwen2 ? 1e6f : 1e4f,
            },
    };
}

void tiny_check(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "tiny model: %s\n", what);
        abort();
    }
}

/* The grid of a block of 32: from its least to its greatest value, or around 0. */
typedef struct block_grid {
    float scale, offset;
    int zero, code_max;
} block_grid;

static float rounded_to_half(float x)
{
    return kfi_half_to_float(kfi_half_from_float(x));
}

static block_grid find_grid(const float *x, kfi_dtype dtype)
{
    const kfi_block_grid *kind = kfi_block_grid_get(dtype);
    block_grid grid = {.zero = kind->zero, .code_max = (1 << kind->bits) - 1};
    float least = x[0];
    float greatest = x[0];
    for (size_t i = 1; i < 32; i++) {
        least = fminf(least, x[i]);
        greatest = fmaxf(greatest, x[i]);
    }
    grid.offset = kind->has_offset ? rounded_to_half(least) : 0.0f;
    grid.scale =
        rounded_to_half(kind->has_offset ? (greatest - grid.offset) / (float)grid.code_max
                                         : fmaxf(greatest, -least) / (float)(kind->zero - 1));
    return grid;
}

static int code_of(float x, const block_grid *grid)
{
    const float steps = grid->scale == 0.0f ? 0.0f : rintf((x - grid->offset) / grid->scale);
    return (int)fmaxf(0.0f, fminf((float)grid->code_max, steps + (float)grid->zero));
}

/* Rounds to what the file can hold. */
static void round_to(float *x, size_t n, kfi_dtype dtype)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype == KFI_DTYPE_F16) {
            x[i] = rounded_to_half(x[i]);
        } else if (dtype == KFI_DTYPE_BF16) {
            x[i] = kfi_bfloat_to_float(kfi_bfloat_from_float(x[i]));
        }
    }
    for (size_t i = 0; kfi_block_grid_get(dtype) != NULL && i < n; i += 32) {
        const block_grid grid = find_grid(x + i, dtype);
        for (size_t j = i; j < i + 32; j++) {
            x[j] = grid.scale * (float)(code_of(x[j], &grid) - grid.zero) + grid.offset;
        }
    }
}

/* Vectors are norms around 1 and biases around 0; matrices keep the size of their input. */
static void fill(tiny_tensor *tensor, kfi_dtype dtype, uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    const bool is_norm = strstr(tensor->name, "norm") != NULL;
    const bool is_embedding = strcmp(tensor->name, "model.embed_tokens.weight") == 0;
    const float spread = tensor->rows == 1 ? 0.2f
                         : is_embedding    ? 0.5f
                                           : 1.0f / sqrtf((float)tensor->cols);
    const size_t n = tensor->rows * tensor->cols;
    for (size_t i = 0; i < n; i++) {
        tensor->data[i] = (is_norm ? 1.0f : 0.0f) + spread * kfi_rng_normal(&rng);
    }
    if (tensor->rows > 1) {
        round_to(tensor->data, n, dtype);
    }
}

static void add_tensor(tiny_model *model, const tiny_options *options, const char *name,
                       size_t rows, size_t cols)
{
    tiny_tensor *tensor = &model->tensors[model->n_tensors++];
    (void)snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->data = kfi_alloc(NULL, rows * cols * sizeof(float));
    tiny_check(tensor->data != NULL, "no memory");
    fill(tensor, options->dtype, options->seed * 1000 + model->n_tensors);
}

static void add_block(tiny_model *model, const tiny_options *options, size_t i_layer)
{
    const kfi_config *c = &options->config;
    const size_t q = c->n_heads * c->head_dim;
    const size_t kv = c->n_kv_heads * c->head_dim;
    const struct {
        const char *name;
        size_t rows, cols;
        bool bias;
    } all[] = {
        {"input_layernorm", 1, c->hidden, false},
        {"self_attn.q_proj", q, c->hidden, true},
        {"self_attn.k_proj", kv, c->hidden, true},
        {"self_attn.v_proj", kv, c->hidden, true},
        {"self_attn.o_proj", c->hidden, q, false},
        {"post_attention_layernorm", 1, c->hidden, false},
        {"mlp.gate_proj", c->feed_forward, c->hidden, false},
        {"mlp.up_proj", c->feed_forward, c->hidden, false},
        {"mlp.down_proj", c->hidden, c->feed_forward, false},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "model.layers.%zu.%s.weight", i_layer, all[i].name);
        add_tensor(model, options, name, all[i].rows, all[i].cols);
        if (all[i].bias && c->architecture->qkv_bias) {
            (void)snprintf(name, sizeof name, "model.layers.%zu.%s.bias", i_layer, all[i].name);
            add_tensor(model, options, name, 1, all[i].rows);
        }
    }
}

tiny_model *tiny_model_new(const char *directory, const tiny_options *options)
{
    const kfi_config *c = &options->config;
    tiny_model *model = kfi_calloc(NULL, 1, sizeof *model);
    tiny_check(model != NULL, "no memory");
    model->config = *c;
    model->tensors = kfi_calloc(NULL, 3 + 12 * c->n_layers, sizeof *model->tensors);
    tiny_check(model->tensors != NULL, "no memory");
    add_tensor(model, options, "model.embed_tokens.weight", c->vocabulary, c->hidden);
    for (size_t i = 0; i < c->n_layers; i++) {
        add_block(model, options, i);
    }
    add_tensor(model, options, "model.norm.weight", 1, c->hidden);
    if (!c->tied) {
        add_tensor(model, options, "lm_head.weight", c->vocabulary, c->hidden);
    }
    switch (options->container) {
    case TINY_GGUF:
        (void)snprintf(model->path, sizeof model->path, "%s/tiny.gguf", directory);
        tiny_write_gguf(model, options->dtype);
        break;
    case TINY_SAFETENSORS:
    case TINY_SHARDED:
        (void)snprintf(model->path, sizeof model->path, "%s/tiny", directory);
        tiny_write_safetensors(model, options->dtype, options->container == TINY_SHARDED ? 2 : 1);
        break;
    case TINY_LLAMA2C:
        (void)snprintf(model->path, sizeof model->path, "%s/tiny.bin", directory);
        tiny_write_llama2c(model);
        break;
    }
    return model;
}

void tiny_model_free(tiny_model *model)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        kfi_free(NULL, model->tensors[i].data, 0);
    }
    kfi_free(NULL, model->tensors, 0);
    kfi_free(NULL, model, 0);
}

const tiny_tensor *tiny_model_find(const tiny_model *model, const char *name)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, name) == 0) {
            return &model->tensors[i];
        }
    }
    tiny_check(false, name);
    return NULL;
}

void tiny_ids(uint32_t *ids, size_t n, uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (uint32_t)kfi_rng_below(&rng, TINY_VOCABULARY);
    }
}

/* ---- what containers share ---- */

bool tiny_is_rotated(const char *name)
{
    return strstr(name, "q_proj.weight") != NULL || strstr(name, "k_proj.weight") != NULL;
}

/* Neighbours (2i, 2i + 1) in the file are (i, i + d/2) of each head. */
size_t tiny_neighbour_row(size_t file_row, size_t head_dim)
{
    const size_t i = file_row % head_dim;
    return file_row - i + i / 2 + (i % 2) * (head_dim / 2);
}

/* As io/ggml_blocks.c draws it. */
static bool put_block(kfi_buf *buf, const float *x, kfi_dtype dtype)
{
    const kfi_block_grid *kind = kfi_block_grid_get(dtype);
    tiny_check(kind != NULL, "a type that cannot be written");
    const block_grid grid = find_grid(x, dtype);
    const uint16_t halves[2] = {kfi_half_from_float(grid.scale), kfi_half_from_float(grid.offset)};
    uint8_t codes[32];
    uint32_t high = 0;
    for (int i = 0; i < 32; i++) {
        codes[i] = (uint8_t)code_of(x[i], &grid);
        high |= (uint32_t)(codes[i] >> 4 & 1) << i;
    }
    bool ok = kfi_buf_append(buf, halves, kind->has_offset ? 4 : 2);
    if (kind->bits == 8) {
        for (int i = 0; i < 32; i++) {
            codes[i] = (uint8_t)(codes[i] - 128);
        }
        return ok && kfi_buf_append(buf, codes, 32);
    }
    ok = ok && (kind->bits == 4 || kfi_buf_append(buf, &high, sizeof high));
    for (int i = 0; i < 16; i++) {
        codes[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
    }
    return ok && kfi_buf_append(buf, codes, 16);
}

void tiny_encode(kfi_buf *buf, const float *x, size_t n, kfi_dtype dtype)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        if (dtype == KFI_DTYPE_F32) {
            ok = ok && kfi_buf_append(buf, &x[i], sizeof x[i]);
        } else if (dtype == KFI_DTYPE_F16 || dtype == KFI_DTYPE_BF16) {
            const uint16_t half =
                dtype == KFI_DTYPE_F16 ? kfi_half_from_float(x[i]) : kfi_bfloat_from_float(x[i]);
            ok = ok && kfi_buf_append(buf, &half, sizeof half);
        } else if (i % 32 == 0) {
            ok = ok && put_block(buf, x + i, dtype);
        }
    }
    tiny_check(ok, "no memory");
}

void tiny_token(char *text, size_t id)
{
    if (id == TINY_END) {
        memcpy(text, "<|endoftext|>", 14);
    } else if (id == 0) {
        memcpy(text, "\xC4\xA0", 3); /* a space in the alphabet of byte-level BPE */
    } else if (id == 94) {
        memcpy(text, "\xC4\x8A", 3); /* a line feed */
    } else {
        text[0] = (char)(' ' + id);
        text[1] = '\0';
    }
}
