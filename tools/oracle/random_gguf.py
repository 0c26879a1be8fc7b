#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a float16 GGUF of random weights in one of Kerf's named shapes (src/model/shapes.def).

Other programs measure the speed of a shape with it, as `kerf bench --shape NAME` does; their own
quantizer makes the types. It has no tokenizer. One tensor at a time is in memory.

usage: random_gguf.py SHAPE FILE [--seed N]
"""

import argparse
import math
import os
import re
import sys

import gguf
import numpy

SHAPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/model/shapes.def")
FIELDS = ("layers", "hidden", "feed_forward", "heads", "kv_heads", "head", "vocabulary", "context")


def find_shape(name):
    """The row of shapes.def as a dictionary."""
    with open(SHAPES, encoding="utf-8") as f:
        rows = re.findall(r'^KFI_SHAPE\("([^"]+)", (\w+), (.*?)\)$', f.read(), re.MULTILINE)
    for row_name, architecture, rest in rows:
        if row_name == name:
            *sizes, tied, base = [word.strip() for word in rest.split(",")]
            shape = dict(zip(FIELDS, map(int, sizes), strict=True))
            return {**shape, "architecture": architecture, "tied": tied == "true",
                    "rope_base": float(base.rstrip("f"))}
    sys.exit(f"random_gguf.py: no shape '{name}'; there are {', '.join(r[0] for r in rows)}")


def tensors(shape):
    """(name, rows or None for a vector, columns) of all tensors."""
    hidden, wide = shape["hidden"], shape["feed_forward"]
    q, kv = shape["heads"] * shape["head"], shape["kv_heads"] * shape["head"]
    yield "token_embd.weight", shape["vocabulary"], hidden
    for i in range(shape["layers"]):
        yield f"blk.{i}.attn_norm.weight", None, hidden
        yield f"blk.{i}.ffn_norm.weight", None, hidden
        for name, rows in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
            yield f"blk.{i}.{name}.weight", rows, hidden
            if shape["architecture"] == "qwen2":
                yield f"blk.{i}.{name}.bias", None, rows
        yield f"blk.{i}.attn_output.weight", hidden, q
        yield f"blk.{i}.ffn_gate.weight", wide, hidden
        yield f"blk.{i}.ffn_up.weight", wide, hidden
        yield f"blk.{i}.ffn_down.weight", hidden, wide
    yield "output_norm.weight", None, hidden
    if not shape["tied"]:
        yield "output.weight", shape["vocabulary"], hidden


def draw(rng, name, rows, cols):
    """Matrices of variance 1 / cols, norms of 1, biases of 0."""
    if rows is None:
        return numpy.full(cols, 0.0 if name.endswith(".bias") else 1.0, dtype=numpy.float32)
    x = rng.standard_normal((rows, cols), dtype=numpy.float32)
    x *= 1.0 / math.sqrt(cols)
    return x.astype(numpy.float16)


def write(path, shape, seed):
    """Writes beside the path and renames: a file of this name is whole."""
    writer = gguf.GGUFWriter(path + ".partial", shape["architecture"])
    writer.add_block_count(shape["layers"])
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["hidden"])
    writer.add_feed_forward_length(shape["feed_forward"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(shape["head"])
    writer.add_value_length(shape["head"])
    writer.add_rope_dimension_count(shape["head"])
    writer.add_rope_freq_base(shape["rope_base"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape["vocabulary"])
    writer.add_tokenizer_model("none")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, rows, cols in tensors(shape):
        dims = (cols,) if rows is None else (rows, cols)
        kind = numpy.dtype(numpy.float32 if rows is None else numpy.float16)
        writer.add_tensor_info(name, dims, kind, math.prod(dims) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = numpy.random.default_rng(seed)
    for name, rows, cols in tensors(shape):
        writer.write_tensor_data(draw(rng, name, rows, cols))
    writer.close()
    os.replace(path + ".partial", path)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("shape")
    ap.add_argument("file")
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    write(args.file, find_shape(args.shape), args.seed)


if __name__ == "__main__":
    main()
