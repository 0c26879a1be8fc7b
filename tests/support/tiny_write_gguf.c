/* tiny_write_gguf.c - a tiny model as GGUF and as llama2.c, both with rotary pairs side by side.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "build_gguf.h"
#include "tiny_write.h"

/* ---- GGUF ---- */

static const char *const gguf_modules[][2] = {
    {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};

static void gguf_name(char *text, size_t n, const char *name)
{
    static const char layers[] = "model.layers.";
    if (strncmp(name, layers, strlen(layers)) != 0) {
        const bool is_head = strcmp(name, "lm_head.weight") == 0;
        const bool is_norm = strcmp(name, "model.norm.weight") == 0;
        (void)snprintf(text, n, "%s.weight",
                       is_head   ? "output"
                       : is_norm ? "output_norm"
                                 : "token_embd");
        return;
    }
    char *end = NULL;
    const unsigned long layer = strtoul(name + strlen(layers), &end, 10);
    const char *module = end + 1;
    for (size_t i = 0; i < sizeof gguf_modules / sizeof gguf_modules[0]; i++) {
        const size_t n_module = strlen(gguf_modules[i][0]);
        if (strncmp(module, gguf_modules[i][0], n_module) == 0) {
            (void)snprintf(text, n, "blk.%lu.%s%s", layer, gguf_modules[i][1], module + n_module);
            return;
        }
    }
    tiny_check(false, name);
}

static void put_key_u32(kfi_buf *buf, const char *architecture, const char *what, size_t value)
{
    char key[96];
    (void)snprintf(key, sizeof key, "%s.%s", architecture, what);
    gguf_key_u32(buf, key, (uint32_t)value);
}

static void put_key_f32(kfi_buf *buf, const char *architecture, const char *what, float value)
{
    char key[96];
    (void)snprintf(key, sizeof key, "%s.%s", architecture, what);
    gguf_key(buf, key, KFI_GGUF_F32);
    put_f32(buf, value);
}

static void put_vocabulary(kfi_buf *buf)
{
    gguf_key_text(buf, "tokenizer.ggml.model", "gpt2");
    gguf_key_text(buf, "tokenizer.ggml.pre", "gpt-2");
    gguf_key_array(buf, "tokenizer.ggml.tokens", KFI_GGUF_STRING, TINY_VOCABULARY);
    for (size_t i = 0; i < TINY_VOCABULARY; i++) {
        char text[16];
        tiny_token(text, i);
        put_string(buf, text);
    }
    gguf_key_array(buf, "tokenizer.ggml.token_type", KFI_GGUF_I32, TINY_VOCABULARY);
    for (size_t i = 0; i < TINY_VOCABULARY; i++) {
        put_u32(buf, i == TINY_END ? 3 : 1); /* control, normal */
    }
    gguf_key_array(buf, "tokenizer.ggml.merges", KFI_GGUF_STRING, 0);
    gguf_key_u32(buf, "tokenizer.ggml.bos_token_id", TINY_END);
    gguf_key_u32(buf, "tokenizer.ggml.eos_token_id", TINY_END);
}

#define N_KEYS 19u

static void put_metadata(kfi_buf *buf, const kfi_config *c)
{
    const char *a = c->architecture->name;
    gguf_key_text(buf, "general.architecture", a);
    gguf_key_text(buf, "general.name", "tiny");
    put_key_u32(buf, a, "block_count", c->n_layers);
    put_key_u32(buf, a, "context_length", c->context);
    put_key_u32(buf, a, "embedding_length", c->hidden);
    put_key_u32(buf, a, "feed_forward_length", c->feed_forward);
    put_key_u32(buf, a, "attention.head_count", c->n_heads);
    put_key_u32(buf, a, "attention.head_count_kv", c->n_kv_heads);
    put_key_f32(buf, a, "attention.layer_norm_rms_epsilon", c->rms_epsilon);
    put_key_f32(buf, a, "rope.freq_base", c->rope_theta);
    /* Two keys in any case: the scaling, or the same thing said otherwise. */
    const bool linear = c->rope_scaling == KFI_ROPE_LINEAR;
    tiny_check(c->rope_scaling != KFI_ROPE_LLAMA3, "llama3 scaling is not written to a GGUF");
    char key[96];
    (void)snprintf(key, sizeof key, "%s.rope.scaling.type", a);
    gguf_key_text(buf, key, linear ? "linear" : "none");
    put_key_f32(buf, a, "rope.scaling.factor", linear ? c->rope_factor : 1.0f);
    put_vocabulary(buf);
}

static void put_tensor_data(kfi_buf *buf, const tiny_model *model, const tiny_tensor *tensor,
                            kfi_dtype dtype)
{
    const bool permuted =
        model->config.architecture->gguf_permuted && tiny_is_rotated(tensor->name);
    for (size_t row = 0; row < tensor->rows; row++) {
        const size_t from = permuted ? tiny_neighbour_row(row, model->config.head_dim) : row;
        tiny_encode(buf, tensor->data + from * tensor->cols, tensor->cols, dtype);
    }
}

void tiny_write_gguf(const tiny_model *model, kfi_dtype dtype)
{
    kf_error err = {0};
    kfi_buf buf;
    kfi_buf data;
    gguf_begin(&buf, 3, model->n_tensors, N_KEYS);
    kfi_buf_init(&data, NULL, BUILD_MAX);
    put_metadata(&buf, &model->config);
    for (size_t i = 0; i < model->n_tensors; i++) {
        const tiny_tensor *tensor = &model->tensors[i];
        const kfi_dtype own = tensor->rows == 1 ? KFI_DTYPE_F32 : dtype;
        const uint32_t id = (uint32_t)kfi_dtype_get(own)->ggml_id;
        char name[128];
        gguf_name(name, sizeof name, tensor->name);
        if (tensor->rows == 1) {
            put_string(&buf, name);
            put_u32(&buf, 1);
            put_u64(&buf, tensor->cols);
            put_u32(&buf, id);
            put_u64(&buf, data.n);
        } else {
            gguf_tensor(&buf, name, tensor->rows, tensor->cols, id, data.n);
        }
        put_tensor_data(&data, model, tensor, own);
        put_padding(&data, 32);
    }
    put_padding(&buf, 32);
    put_bytes(&buf, data.data, data.n);
    tiny_check(!buf.failed && kfi_file_write(model->path, buf.data, buf.n, &err) == KF_OK,
               model->path);
    kfi_buf_deinit(&buf);
    kfi_buf_deinit(&data);
}

/* ---- llama2.c ---- */

static void put_all(kfi_buf *buf, const tiny_model *model, const char *module)
{
    for (size_t i = 0; i < model->config.n_layers; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "model.layers.%zu.%s.weight", i, module);
        put_tensor_data(buf, model, tiny_model_find(model, name), KFI_DTYPE_F32);
    }
}

void tiny_write_llama2c(const tiny_model *model)
{
    kf_error err = {0};
    const kfi_config *c = &model->config;
    const size_t vocabulary = c->vocabulary;
    const uint32_t header[7] = {
        (uint32_t)c->hidden,     (uint32_t)c->feed_forward,
        (uint32_t)c->n_layers,   (uint32_t)c->n_heads,
        (uint32_t)c->n_kv_heads, (uint32_t)(c->tied ? vocabulary : (size_t)0 - vocabulary),
        (uint32_t)c->context,
    };
    static const char *const order[] = {
        "input_layernorm",  "self_attn.q_proj", "self_attn.k_proj",
        "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
        "mlp.gate_proj",    "mlp.down_proj",    "mlp.up_proj",
    };
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, BUILD_MAX);
    for (size_t i = 0; i < 7; i++) {
        put_u32(&buf, header[i]);
    }
    put_tensor_data(&buf, model, tiny_model_find(model, "model.embed_tokens.weight"),
                    KFI_DTYPE_F32);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        put_all(&buf, model, order[i]);
    }
    put_tensor_data(&buf, model, tiny_model_find(model, "model.norm.weight"), KFI_DTYPE_F32);
    for (size_t i = 0; i < c->context * c->head_dim; i++) {
        put_f32(&buf, 0.0f); /* rotary tables, which nobody reads */
    }
    if (!c->tied) {
        put_tensor_data(&buf, model, tiny_model_find(model, "lm_head.weight"), KFI_DTYPE_F32);
    }
    tiny_check(!buf.failed && kfi_file_write(model->path, buf.data, buf.n, &err) == KF_OK,
               model->path);
    kfi_buf_deinit(&buf);
}
