#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn a GGUF file of the llama or qwen2 architecture into a Hugging Face directory.

Writes config.json, model.safetensors (float32), tokenizer.json (with the model's own
pre-tokenizer) and tokenizer_config.json, so that transformers loads exactly the weights
that the quantized file stands for. Needs the PyPI packages numpy, gguf, safetensors and
tokenizers.
"""

import argparse
import json
import os

import gguf
import numpy as np
import safetensors
import tokenizers
from safetensors.numpy import save_file

import hf_tokenizer

# Name of a GGUF tensor without "blk.N." -> name in the Hugging Face layer.
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GLOBAL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
# GGUF architecture -> (model class, model_type) of transformers.
ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", "llama"),
    "qwen2": ("Qwen2ForCausalLM", "qwen2"),
}


def hf_name(name):
    """Hugging Face name of the GGUF tensor `name`."""
    if name in GLOBAL_NAMES:
        return GLOBAL_NAMES[name]
    _, layer, kind, suffix = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[kind]}.{suffix}"


def unpermute(w, heads):
    """Undo the row order that GGUF gives q and k of the llama architecture.

    GGUF stores the two halves of a rotary head interleaved (pair i in rows 2i, 2i+1);
    Hugging Face stores them one after the other (pair i in rows i, i + head_dim/2).
    """
    pairs = w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(w.shape))


def make_config(meta, tensor_names, vocab_size):
    arch = meta["general.architecture"]
    if arch not in ARCHITECTURES:
        raise SystemExit(f"dequantize.py: architecture {arch!r}, expected llama or qwen2")
    class_name, model_type = ARCHITECTURES[arch]
    heads = meta[f"{arch}.attention.head_count"]
    width = meta[f"{arch}.embedding_length"]
    theta = meta.get(f"{arch}.rope.freq_base", 10000.0)
    return {
        "architectures": [class_name],
        "model_type": model_type,
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": meta[f"{arch}.feed_forward_length"],
        "num_hidden_layers": meta[f"{arch}.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta.get(f"{arch}.attention.head_count_kv", heads),
        "head_dim": meta.get(f"{arch}.attention.key_length", width // heads),
        "hidden_act": "silu",
        "rms_norm_eps": float(meta[f"{arch}.attention.layer_norm_rms_epsilon"]),
        "rope_theta": float(theta),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(theta)},
        "max_position_embeddings": meta[f"{arch}.context_length"],
        "tie_word_embeddings": "output.weight" not in tensor_names,
        "bos_token_id": meta.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": meta.get("tokenizer.ggml.eos_token_id"),
        "torch_dtype": "float32",
    }


def read_weights(reader, meta):
    """All tensors as float32 arrays under their Hugging Face names."""
    arch = meta["general.architecture"]
    n_heads = meta[f"{arch}.attention.head_count"]
    heads = {"attn_q": n_heads, "attn_k": meta.get(f"{arch}.attention.head_count_kv", n_heads)}
    out = {}
    for t in reader.tensors:
        if t.name == "rope_freqs.weight":
            raise SystemExit("dequantize.py: rope_freqs.weight (Llama 3 scaling) is not supported")
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        w = w.reshape([int(n) for n in reversed(t.shape)])
        kind = t.name.split(".")[2] if t.name.startswith("blk.") else ""
        if arch == "llama" and kind in heads:
            w = unpermute(w, heads[kind])
        out[hf_name(t.name)] = w
    return out


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write("\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("gguf", help="source file")
    ap.add_argument("out", help="directory to write")
    args = ap.parse_args()

    reader = gguf.GGUFReader(args.gguf)
    meta = hf_tokenizer.fields(args.gguf)
    names = {t.name for t in reader.tensors}
    rows = next(int(t.shape[1]) for t in reader.tensors if t.name == "token_embd.weight")

    os.makedirs(args.out, exist_ok=True)
    write_json(os.path.join(args.out, "config.json"), make_config(meta, names, rows))
    weights = read_weights(reader, meta)
    save_file(weights, os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})
    hf_tokenizer.from_meta(meta).save(os.path.join(args.out, "tokenizer.json"))
    tokens = meta["tokenizer.ggml.tokens"]
    write_json(
        os.path.join(args.out, "tokenizer_config.json"),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[meta["tokenizer.ggml.bos_token_id"]],
            "eos_token": tokens[meta["tokenizer.ggml.eos_token_id"]],
            "chat_template": meta.get("tokenizer.chat_template"),
        },
    )
    print(f"numpy {np.__version__}, safetensors {safetensors.__version__},", end=" ")
    print(f"tokenizers {tokenizers.__version__}")
    print(f"{args.out}: {len(weights)} tensors, {sum(w.size for w in weights.values())} values")


if __name__ == "__main__":
    main()
