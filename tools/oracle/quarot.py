#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Perplexity of a model that the published program of QuaRot quantizes, on a CPU.

Runs fake_quant/main.py of a checkout of QuaRot (spcl/QuaRot) unchanged, with stand-ins for what
needs a GPU or a network: a fast_hadamard_transform in torch, texts from files, .cuda() that stays.
Needs the PyPI packages torch, transformers==4.37.2, accelerate and what they need.

    quarot.py CHECKOUT MODEL --text TEST.txt --windows 8 --calib TRAIN.txt -- --rotate --w_bits 4 ...

MODEL is a directory of dequantize.py; what follows -- goes to the program. Two things had to be
added for models that QuaRot was not written for: a head that shares the embedding's weights is
given its own copy, since the norm is folded into one of the two; and where there is no Hadamard
matrix of as many rows as heads (SmolLM2 has 9), the rotation of the attention's output mixes all
its columns with the matrix of their number.
"""

import argparse
import math
import os
import runpy
import sys
import tempfile
import types

import torch
import transformers


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout")
    parser.add_argument("model")
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--calib")
    parser.add_argument("--keep-mean", action="store_true",
                        help="do not subtract the mean of each embedding, which changes a model "
                        "whose norms subtract none")
    parser.add_argument("--threads", type=int, default=2)
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:split])
    options.rest = sys.argv[split + 1 :]
    return options


def stay(self, *_args, **_kwargs):
    return self


def hadamard(x, scale=1.0):
    """The Walsh-Hadamard transform over the last dimension, a power of two."""
    shape, n = x.shape, x.shape[-1]
    if n & (n - 1):
        return over_heads(x)
    x = x.reshape(-1, n)
    half = 1
    while half < n:
        x = x.reshape(-1, n // (2 * half), 2, half)
        x = torch.stack((x[:, :, 0] + x[:, :, 1], x[:, :, 0] - x[:, :, 1]), dim=2)
        half *= 2
    return x.reshape(shape) * scale


def full(x):
    import hadamard_utils
    had, size = hadamard_utils.get_hadK(x.shape[-1])
    return hadamard_utils.matmul_hadU_cuda(x, had, size)


def over_heads(x):
    """x: (tokens, columns of a head, heads), for a number of heads without a Hadamard matrix."""
    tokens, columns, heads = x.shape
    y = full(x.transpose(1, 2).reshape(tokens, heads * columns).contiguous())
    return y.reshape(tokens, heads, columns).transpose(1, 2)


def has_matrix(get, n):
    try:
        get(n)
        return True
    except AssertionError:
        return False


def tokens_of(model, path):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    with open(path, encoding="utf-8") as file:
        return torch.tensor([tokenizer.encode(file.read(), add_special_tokens=False).ids])


def loaders(options):
    def get_loaders(_name, nsamples=0, seed=0, seqlen=2048, eval_mode=False, **_more):
        del seed
        if eval_mode:
            ids = tokens_of(options.model, options.text)[:, : options.windows * seqlen]
            return types.SimpleNamespace(input_ids=ids)
        ids = tokens_of(options.model, options.calib)
        # As kerf quantize takes them: windows spread evenly over the text.
        step = (ids.shape[1] - seqlen) // max(nsamples - 1, 1)
        return [(ids[:, i * step : i * step + seqlen],) * 2 for i in range(nsamples)]

    return get_loaders


def adapt(options, name):
    """Puts the stand-ins into the program's modules."""
    import data_utils
    import hadamard_utils
    import model_utils
    import rotation_utils
    import utils

    utils.supported_models.append(name)
    data_utils.get_loaders = loaders(options)

    def get_model(path, _token=None):
        model = transformers.LlamaForCausalLM.from_pretrained(path, torch_dtype=torch.float32)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.seqlen = 2048
        return model

    model_utils.get_model = get_model
    exact = hadamard_utils.get_hadK

    def get_had_k(n, transpose=False):
        return exact(n, transpose) if n > 16 or has_matrix(exact, n) else (None, 1)

    hadamard_utils.get_hadK = get_had_k
    rotate = rotation_utils.rotate_ov_proj
    exact_to_linear = hadamard_utils.apply_exact_had_to_linear

    def rotate_ov_proj(layer, model_type, heads, columns):
        if has_matrix(exact, heads):
            rotate(layer, model_type, heads, columns)
            return
        attention = layer.self_attn
        exact_to_linear(attention.v_proj, had_dim=columns, output=True)
        weight = attention.o_proj.weight.data
        by_head = hadamard(weight.reshape(-1, heads, columns), 1 / math.sqrt(columns))
        attention.o_proj.weight.data = by_head.reshape(weight.shape)
        exact_to_linear(attention.o_proj, had_dim=-1, output=False)

    rotation_utils.rotate_ov_proj = rotate_ov_proj
    if options.keep_mean:
        model_utils_embeddings = model_utils.get_embeddings

        def no_embeddings(model, model_type):
            called_by = sys._getframe(1).f_code.co_name
            return [] if called_by == "fuse_layer_norms" else model_utils_embeddings(model, model_type)

        model_utils.get_embeddings = no_embeddings


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.Tensor.cuda = stay
    torch.cuda.synchronize = lambda: None
    sys.modules["datasets"] = types.ModuleType("datasets")
    fast = types.ModuleType("fast_hadamard_transform")
    fast.hadamard_transform = hadamard
    sys.modules["fast_hadamard_transform"] = fast
    program = os.path.join(options.checkout, "fake_quant")
    sys.path.insert(0, program)
    with tempfile.TemporaryDirectory() as folder:
        # The program tells architectures apart by names of models.
        name = os.path.join(folder, "meta-llama")
        os.symlink(os.path.abspath(options.model), name)
        sys.argv = ["main.py", "--model", name, "--bsz", "1", *options.rest]
        adapt(options, name)
        print("torch", torch.__version__, "transformers", transformers.__version__, flush=True)
        runpy.run_path(os.path.join(program, "main.py"), run_name="__main__")


if __name__ == "__main__":
    main()
