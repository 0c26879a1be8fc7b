#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Logits and perplexity of a Hugging Face directory, by transformers and torch on the CPU.

An implementation independent of Kerf. With --dtype float64 the three places where
transformers itself falls back to float32 (RMS norms, rotary angles, softmax) are replaced
by float64 ones, so that the result is the exact value for all practical purposes.

  logits.py DIR --ids IDS --save OUT.npy        logits, shape (tokens, vocabulary)
  logits.py DIR --text FILE --windows 8         perplexity over windows of 2048 tokens
  logits.py DIR --sentence TEXT --golden FILE   a small slice of logits as text
  logits.py DIR --ids IDS --compare OTHER.npy   largest difference to another's logits

Perplexity: the text is tokenized once; windows do not overlap, the last partial one is
dropped; all tokens of a window but the first are scored; the mean is over all scored
tokens and its standard error comes from the window means.
"""

import argparse
import math
import os
import sys
import time

import numpy as np
import tokenizers
import torch
import transformers
from transformers import AutoModelForCausalLM

GOLDEN_COLUMNS = 32
HEAD_ROWS = 256  # Tokens whose logits are made at a time, to bound memory.


class ExactNorm(torch.nn.Module):
    """RMS norm that stays in the type of its input."""

    def __init__(self, norm):
        super().__init__()
        self.weight = norm.weight
        self.eps = norm.variance_epsilon

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class ExactRotary(torch.nn.Module):
    """cos and sin of the rotary angles, computed in float64."""

    def __init__(self, config):
        super().__init__()
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
        self.freq = config.rope_parameters["rope_theta"] ** -half

    def forward(self, x, position_ids, **_):
        angle = position_ids[..., None].to(torch.float64) * self.freq
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def make_exact(model):
    """Replace what transformers computes in float32 whatever the model's type is."""
    body = model.model
    for layer in body.layers:
        layer.input_layernorm = ExactNorm(layer.input_layernorm)
        layer.post_attention_layernorm = ExactNorm(layer.post_attention_layernorm)
    body.norm = ExactNorm(body.norm)
    body.rotary_emb = ExactRotary(model.config)


def load_model(path, dtype):
    # sdpa keeps the type of its input in the softmax; "eager" goes through float32.
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    model.eval()
    if dtype == "float64":
        make_exact(model)
    return model


def hidden_states(model, ids):
    """States after the final norm, shape (len(ids), width)."""
    with torch.no_grad():
        return model.model(torch.tensor([ids]), use_cache=False).last_hidden_state[0]


def all_logits(model, ids):
    with torch.no_grad():
        return model.lm_head(hidden_states(model, ids)).numpy()


def window_loss(model, ids, start):
    """Summed loss (nats) of ids[1:], each given all before it and the optional start token."""
    first = 0 if start is None else 1
    states = hidden_states(model, ([] if start is None else [start]) + ids)[first:-1]
    targets = torch.tensor(ids[1:])
    total = 0.0
    for i in range(0, len(targets), HEAD_ROWS):
        with torch.no_grad():
            z = model.lm_head(states[i : i + HEAD_ROWS]).to(torch.float64)
        picked = z.gather(1, targets[i : i + HEAD_ROWS, None])[:, 0]
        total += float((torch.logsumexp(z, dim=1) - picked).sum())
    return total


def perplexity(model, ids, args):
    n = args.window
    windows = [ids[i : i + n] for i in range(0, len(ids) - n + 1, n)][args.skip :][: args.windows]
    if not windows:
        sys.exit(f"logits.py: the text has {len(ids)} tokens, a window needs {n}")
    means = []
    begin = time.time()
    for k, window in enumerate(windows):
        means.append(window_loss(model, window, args.start) / (n - 1))
        print(f"window {k + 1}/{len(windows)}: {means[-1]:.6f} nats, so far", end=" ")
        print(f"{math.exp(np.mean(means)):.4f}", flush=True)
    ppl = math.exp(np.mean(means))
    spread = np.std(means, ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    print(f"perplexity {ppl:.4f} +- {ppl * spread:.4f} ({len(means)} windows of {n} tokens,", end=" ")
    print(f"{len(means) * (n - 1)} scored, {time.time() - begin:.0f} s)")


def write_golden(path, model, sentence, ids):
    """A slice small enough for a repository; its own head explains the format."""
    logits = all_logits(model, ids)
    vocab = logits.shape[1]
    columns = [k * vocab // GOLDEN_COLUMNS + k for k in range(GOLDEN_COLUMNS)]
    args = " ".join(f'"{a}"' if " " in a else a for a in sys.argv[1:])
    lines = [
        f"# tools/oracle/logits.py {args}",
        "# Logits of an independent implementation: transformers "
        f"{transformers.__version__}, torch {torch.__version__}, {logits.dtype}.",
        "# Lines: 'ids N' and the token ids; 'columns M' and vocabulary ids; then N rows of the",
        "# M logits at those columns, the row of a token being its prediction of the next one.",
        f"ids {len(ids)} " + " ".join(map(str, ids)),
        f"columns {len(columns)} " + " ".join(map(str, columns)),
    ]
    lines += [" ".join(f"{v:.9g}" for v in row) for row in logits[:, columns]]
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    print(f"{path}: {len(ids)} tokens of {sentence!r}")


def compare(ours, path):
    theirs = np.load(path)
    if theirs.shape != ours.shape:
        sys.exit(f"logits.py: {path} has shape {theirs.shape}, expected {ours.shape}")
    diff = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    row, column = np.unravel_index(diff.argmax(), diff.shape)
    print(f"{path}: max |difference| {diff.max():.3e} at token {row}, id {column};", end=" ")
    print(f"mean {diff.mean():.3e}; arg max equal {np.mean(ours.argmax(1) == theirs.argmax(1)):.4f}")


def read_ids(path, count):
    with open(path, encoding="utf-8") as f:
        return [int(line) for line in f if line.strip()][:count]


def encode(path, text):
    tok = tokenizers.Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    return tok.encode(text, add_special_tokens=False).ids


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("dir", help="directory that dequantize.py wrote (or any Llama, Qwen2 model)")
    source = ap.add_mutually_exclusive_group(required=True)
    source.add_argument("--ids", metavar="FILE", help="token ids, one a line")
    source.add_argument("--text", metavar="FILE", help="text to tokenize")
    source.add_argument("--sentence", metavar="TEXT", help="the text itself")
    ap.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    ap.add_argument("--window", type=int, default=2048, help="tokens of a window (%(default)s)")
    ap.add_argument("--windows", type=int, help="only the first N windows")
    ap.add_argument("--skip", type=int, default=0, help="leave out the first N windows")
    ap.add_argument("--start", type=int, metavar="ID", help="token put in front of each window")
    ap.add_argument("--tokens", type=int, help="only the first N tokens")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--save-ids", metavar="FILE", help="write the token ids, one a line")
    ap.add_argument("--save", metavar="FILE.npy", help="write the logits instead of perplexity")
    ap.add_argument("--golden", metavar="FILE", help="write a small slice of the logits as text")
    ap.add_argument("--compare", metavar="FILE.npy", nargs="+", help="logits made by others")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)

    if args.ids:
        ids = read_ids(args.ids, args.tokens)
    else:
        text = args.sentence
        if text is None:
            with open(args.text, encoding="utf-8", newline="") as f:
                text = f.read()
        ids = encode(args.dir, text)[: args.tokens]
    print(f"torch {torch.__version__}, transformers {transformers.__version__},", end=" ")
    print(f"tokenizers {tokenizers.__version__}; {args.dir}, {args.dtype}, {len(ids)} tokens")
    if args.save_ids:
        with open(args.save_ids, "w", encoding="utf-8") as f:
            f.writelines(f"{i}\n" for i in ids)
    model = load_model(args.dir, args.dtype)
    if args.golden:
        write_golden(args.golden, model, args.sentence, ids)
    elif args.save or args.compare:
        logits = all_logits(model, ids)
        if args.save:
            np.save(args.save, logits)
        for path in args.compare or []:
            compare(logits, path)
    else:
        perplexity(model, ids, args)


if __name__ == "__main__":
    main()
