/* arch_llama.c - Llama and what has its shape: SmolLM, TinyLlama, Mistral without its window.
 *
 * Source: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023,
 * arXiv:2302.13971; grouped-query attention since Llama 2, arXiv:2307.09288.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/architecture.h"

const kfi_gguf_name kfi_gguf_llama_names[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.*.attn_norm", "model.layers.*.input_layernorm"},
    {"blk.*.attn_q", "model.layers.*.self_attn.q_proj"},
    {"blk.*.attn_k", "model.layers.*.self_attn.k_proj"},
    {"blk.*.attn_v", "model.layers.*.self_attn.v_proj"},
    {"blk.*.attn_output", "model.layers.*.self_attn.o_proj"},
    {"blk.*.ffn_norm", "model.layers.*.post_attention_layernorm"},
    {"blk.*.ffn_gate", "model.layers.*.mlp.gate_proj"},
    {"blk.*.ffn_up", "model.layers.*.mlp.up_proj"},
    {"blk.*.ffn_down", "model.layers.*.mlp.down_proj"},
    {NULL, NULL},
};

const kfi_architecture kfi_architecture_llama = {
    .name = "llama",
    .hugging_face = "LlamaForCausalLM",
    .qkv_bias = false,
    .gguf_permuted = true,
    .gguf_names = kfi_gguf_llama_names,
};
