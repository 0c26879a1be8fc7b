/* arch_qwen2.c - Qwen2 and Qwen2.5: Llama's block with biases on q, k and v.
 *
 * Source: Yang et al., "Qwen2 Technical Report", 2024, arXiv:2407.10671.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/architecture.h"

const kfi_architecture kfi_architecture_qwen2 = {
    .name = "qwen2",
    .hugging_face = "Qwen2ForCausalLM",
    .qkv_bias = true,
    .gguf_permuted = false,
    .gguf_names = kfi_gguf_llama_names,
};
