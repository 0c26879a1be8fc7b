#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Round-to-nearest beside GPTQ, with and without an exact prefix: perplexity of each.

For every model, width and seed it quantizes, measures with the recipe's int8 activations and with
float ones on the same windows, and appends a row each to ROWS (JSON lines). A row that is there is
not measured again, so an interrupted table goes on. Then, or alone with --print, it shows what ROWS
holds as Markdown.

    bench/gptq_table.py rows.jsonl --model smollm2=FILE.gguf --calib TRAIN.txt --text TEST.txt
    bench/gptq_table.py rows.jsonl --print

A variant is a name of VARIANTS (measured unless told otherwise) or ONE_CHANGED; recipes are rtn-wN and
gptq-wN with the settings given there.
"""

import argparse
import json
import os
import subprocess
import sys

# name -> (method, settings of kerf quantize); {} is the number of bits.
VARIANTS = {
    "rtn": ("rtn", []),
    "gptq, no prefix": ("gptq", ["prefix=none"]),
    "gptq, exact prefix": ("gptq", ["prefix=start"]),
}

# One setting of these changed at a time; measured where --variants names them.
ONE_CHANGED = {
    "rtn, symmetric": ("rtn", ["weights=int{}g64"]),
    "gptq, exact prefix, symmetric": ("gptq", ["prefix=start", "weights=int{}g64"]),
    "gptq, exact prefix, min-max range": ("gptq", ["prefix=start", "gptq.fit=minmax"]),
    "gptq, exact prefix, clip search weighted": ("gptq", ["prefix=start", "gptq.importance=mean_square"]),
    "gptq, exact prefix, no act-order": ("gptq", ["prefix=start", "gptq.act_order=false"]),
    "gptq, exact prefix, no act-order, no static groups": (
        "gptq",
        ["prefix=start", "gptq.act_order=false", "gptq.static_groups=false"],
    ),
    "gptq, exact prefix, not sequential in a block": ("gptq", ["prefix=start", "gptq.true_sequential=false"]),
    "gptq, exact prefix, not in H": ("gptq", ["prefix=start", "gptq.prefix_in_gram=false"]),
    "gptq, no prefix, first token 16-fold": ("gptq", ["prefix=none", "gptq.first_token_weight=16"]),
}
ALL = VARIANTS | ONE_CHANGED
FULL = ("full precision, start none", "full precision, start bos")
KEY = ("model", "variant", "bits", "seed", "activations")


def json_lines(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"gptq_table.py: {' '.join(command)} exited {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def evaluate(options, model, *more):
    command = [options.kerf, "eval", model, "--text", options.text, "--json", "-q", "--kv", "f32",
               *more]
    return json_lines([*command, "--windows", str(options.windows)])[-1]


def layers_below_rtn(lines):
    """How many linear layers end with less output error than round-to-nearest, of how many."""
    layers = [x for x in lines if x.get("output_error") is not None and x.get("nearest_error") is not None]
    return sum(x["output_error"] < x["nearest_error"] for x in layers), len(layers)


def checkpoint(options, model, path, variant, bits, seed):
    """The directory of a quantized model and what kerf said; made once, kept for other rows."""
    method, settings = ALL[variant]
    name = f"{model} {variant} w{bits} seed {seed}".replace(",", "").replace(" ", "-")
    out = os.path.join(options.checkpoints, name)
    log = out + ".jsonl"
    if not (os.path.isdir(out) and os.path.exists(log)):
        command = [options.kerf, "quantize", path, "-o", out, "--recipe", f"{method}-w{bits}"]
        command += ["--json", "-q", "--force", "--seed", str(seed)]
        command += ["--calib", options.calib] if method == "gptq" else []
        for setting in settings:
            command += ["--set", setting.format(bits)]
        lines = json_lines(command)
        with open(log, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    return out, read_rows(log)


def measure(options, wanted, path):
    model, variant, bits, seed, activations = wanted
    row = dict(zip(KEY, wanted))
    if bits is None:
        result = evaluate(options, path, "--start", "bos" if variant.endswith("bos") else "none")
    else:
        out, lines = checkpoint(options, model, path, variant, bits, seed)
        result = evaluate(options, out, "--activations", activations)
        row["layers_below_rtn"], row["layers"] = layers_below_rtn(lines)
        for name in ("bits_per_weight", "bits_per_weight_linear"):
            row[name] = lines[-1][name]
    return row | {name: result[name] for name in ("perplexity", "perplexity_se", "windows")}


def read_rows(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def wanted_rows(options, model):
    for variant in FULL:
        if variant in options.variants:
            yield (model, variant, None, 0, "float")
    for seed in range(options.seeds):
        for bits in options.bits:
            for variant in options.variants:
                if variant not in FULL and (seed == 0 or ALL[variant][0] != "rtn"):
                    for activations in options.activations:
                        yield (model, variant, bits, seed, activations)


def measure_all(options):
    rows = [row for row in read_rows(options.rows) if row["windows"] == options.windows]
    known = {tuple(row[k] for k in KEY) for row in rows}
    os.makedirs(options.checkpoints, exist_ok=True)
    for model, path in (entry.split("=", 1) for entry in options.model):
        for wanted in wanted_rows(options, model):
            if wanted in known:
                continue
            row = measure(options, wanted, path)
            with open(options.rows, "a", encoding="utf-8") as file:
                print(json.dumps(row), file=file)
            print(f"{' '.join(map(str, wanted))}: {row['perplexity']:.3f}", flush=True)


def cell(row, full):
    """Perplexity, and how far above full precision with the same start."""
    if row is None:
        return "-"
    start = "bos" if "prefix=start" in ALL[row["variant"]][1] else "none"
    base = full.get((row["model"], f"full precision, start {start}"))
    over = f" ({100 * (row['perplexity'] / base - 1):+.1f} %)" if base else ""
    return f"{row['perplexity']:.2f} ± {row['perplexity_se']:.2f}{over}"


def show(rows):
    """The rows as a Markdown table."""
    full = {(r["model"], r["variant"]): r["perplexity"] for r in rows if r["bits"] is None}
    for (model, variant), perplexity in full.items():
        print(f"{model}, {variant}: {perplexity:.3f}")
    found = {tuple(r[k] for k in KEY): r for r in rows if r["bits"] is not None}
    order = list(ALL)
    lines = sorted({k[:4] for k in found}, key=lambda k: (k[0], -k[2], order.index(k[1]), k[3]))
    print("\n| model | bits | method | seed | bits a weight | int8 activations | float activations |")
    print("|---|---|---|---|---|---|---|")
    for line in lines:
        both = [found.get((*line, kind)) for kind in ("recipe", "float")]
        model, variant, bits, seed = line
        linear = (both[0] or both[1])["bits_per_weight_linear"]
        cells = [model, str(bits), variant, str(seed), f"{linear:.3f}", *(cell(r, full) for r in both)]
        print(f"| {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="JSON lines; added to")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--calib", metavar="FILE")
    parser.add_argument("--text", metavar="FILE")
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--activations", nargs="+", default=["recipe", "float"])
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--variants", nargs="+", default=[*FULL, *VARIANTS], choices=[*FULL, *ALL])
    parser.add_argument("--kerf", default="build/kerf")
    parser.add_argument("--checkpoints", metavar="DIR", default="gptq-table", help="kept there; remove them when kerf has changed")
    parser.add_argument("--print", action="store_true", dest="only_print")
    options = parser.parse_args()
    if not options.only_print:
        if not (options.model and options.calib and options.text):
            parser.error("--model, --calib and --text are needed to measure")
        measure_all(options)
    show([row for row in read_rows(options.rows) if row["windows"] == options.windows])


if __name__ == "__main__":
    main()
