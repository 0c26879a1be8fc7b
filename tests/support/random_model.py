#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a random Llama or Qwen2 checkpoint of any size, as safetensors with a byte tokenizer.

Same arguments, same bytes. Weights are normal numbers scaled for their inputs, taken from one long
block at a different place for every tensor, so that gigabytes are written as fast as the disk takes
them. Needs nothing but Python.
"""

import argparse
import array
import json
import os
import random
import struct
import sys


def byte_characters():
    """The printable character that stands for each byte in a byte-level vocabulary."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in kept:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def write_tokenizer(directory, vocabulary):
    names = byte_characters()
    tokens = {names[byte]: byte for byte in range(256)}
    special = {"<s>": 256, "</s>": 257}
    for i in range(258, vocabulary):
        tokens[f"<unused{i}>"] = i
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for text, i in special.items()]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {**tokens, **special}, "merges": []},
    }
    with open(os.path.join(directory, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False)
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False}
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump(settings, file)


def tensors(arguments):
    """Name, shape and spread of every tensor, in the order of the file."""
    hidden, feed_forward = arguments.hidden, arguments.feed_forward
    head_dim = hidden // arguments.heads
    kv = arguments.kv_heads * head_dim
    yield "model.embed_tokens.weight", (arguments.vocabulary, hidden), 1.0
    for i in range(arguments.layers):
        name = f"model.layers.{i}."
        yield name + "input_layernorm.weight", (hidden,), 0.0
        for part, rows in (("q", hidden), ("k", kv), ("v", kv)):
            yield f"{name}self_attn.{part}_proj.weight", (rows, hidden), hidden**-0.5
            if arguments.architecture == "qwen2":
                yield f"{name}self_attn.{part}_proj.bias", (rows,), 0.1
        yield name + "self_attn.o_proj.weight", (hidden, hidden), hidden**-0.5
        yield name + "post_attention_layernorm.weight", (hidden,), 0.0
        yield name + "mlp.gate_proj.weight", (feed_forward, hidden), hidden**-0.5
        yield name + "mlp.up_proj.weight", (feed_forward, hidden), hidden**-0.5
        yield name + "mlp.down_proj.weight", (hidden, feed_forward), feed_forward**-0.5
    yield "model.norm.weight", (hidden,), 0.0
    if not arguments.tied:
        yield "lm_head.weight", (arguments.vocabulary, hidden), hidden**-0.5


def count(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def write_weights(path, arguments):
    generator = random.Random(arguments.seed)
    block = array.array("f", (generator.gauss(0, 1) for _ in range(1 << 16)))
    header, offset = {}, 0
    for name, shape, _ in tensors(arguments):
        size = 4 * count(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape, spread in tensors(arguments):
            left = count(shape)
            if spread == 0.0:
                (array.array("f", [1.0]) * left).tofile(file)
                continue
            start = generator.randrange(len(block))
            scaled = array.array("f", (spread * x for x in block[start:] + block[:start]))
            while left > 0:
                scaled[: min(left, len(scaled))].tofile(file)
                left -= min(left, len(scaled))


def write_config(directory, arguments):
    llama = arguments.architecture == "llama"
    config = {
        "architectures": ["LlamaForCausalLM" if llama else "Qwen2ForCausalLM"],
        "model_type": arguments.architecture,
        "hidden_size": arguments.hidden,
        "intermediate_size": arguments.feed_forward,
        "num_hidden_layers": arguments.layers,
        "num_attention_heads": arguments.heads,
        "num_key_value_heads": arguments.kv_heads,
        "vocab_size": arguments.vocabulary,
        "max_position_embeddings": arguments.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": arguments.tied,
        "hidden_act": "silu",
        "bos_token_id": 256,
        "eos_token_id": 257,
    }
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--architecture", choices=["llama", "qwen2"], default="llama")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--feed-forward", type=int, default=96)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=272)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.vocabulary < 258 or arguments.hidden % arguments.heads != 0:
        sys.exit("random_model.py: vocabulary must be at least 258, heads must divide hidden")
    os.makedirs(arguments.directory, exist_ok=True)
    write_weights(os.path.join(arguments.directory, "model.safetensors"), arguments)
    write_config(arguments.directory, arguments)
    write_tokenizer(arguments.directory, arguments.vocabulary)


if __name__ == "__main__":
    main()
