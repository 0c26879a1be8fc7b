#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What quantized activations alone cost: perplexity with float weights, by format and clip.

For every model and format it runs kerf eval on the source with --activations; for searched clips it
makes a checkpoint first that keeps all weights. Each figure is appended to ROWS (JSON lines) and not
measured again. Then, or alone with --print, it shows what ROWS holds as Markdown.

    bench/activation_table.py rows.jsonl --model smollm2=FILE.gguf --calib TRAIN.txt --text TEST.txt
    bench/activation_table.py rows.jsonl --print
"""

import argparse
import json
import os
import subprocess
import sys

KEY = ("model", "format", "clip", "windows")
CLIPS = ("1", "0.9", "search")
OTHERS = ("fp8t", "fp8tg64", "mxint8tg32", "mxint6tg32", "mxint4tg32")


def json_lines(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"activation_table.py: {' '.join(command)} exited {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def evaluate(options, model, *more):
    command = [options.kerf, "eval", model, "--text", options.text, "--json", "-q", "--kv", "f32",
               "--windows", str(options.windows), *more]
    return json_lines(command)[-1]


def searched(options, model, path, activations):
    """A checkpoint of the source's weights with the clips that suit them."""
    out = os.path.join(options.checkpoints, f"{model}-{activations}")
    if not os.path.isdir(out):
        command = [options.kerf, "quantize", path, "-o", out, "--recipe", "rtn-w8", "--json", "-q",
                   "--force", "--calib", options.calib]
        for setting in ("weights=keep", "head=keep", "embedding=keep", "prefix=none", "act_kept=true",
                        "act_clip=search", f"activations={activations}", *options.set):
            command += ["--set", setting]
        json_lines(command)
    return out


def formats(options):
    for bits in options.bits:
        for group in ("t", "tg64", "tg32"):
            for zero in ("", "a") if bits < 8 else ("",):
                for clip in CLIPS:
                    yield (f"int{bits}{group}{zero}", clip)
    for name in OTHERS:
        yield (name, "1")


def measure(options, model, path, wanted):
    activations, clip = wanted
    if activations == "float":
        return evaluate(options, path)
    if clip == "search":
        return evaluate(options, searched(options, model, path, activations))
    suffix = "" if clip == "1" else f"c{round(100 * float(clip))}"
    return evaluate(options, path, "--activations", activations + suffix)


def read_rows(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def measure_all(options):
    known = {tuple(row[k] for k in KEY) for row in read_rows(options.rows)}
    os.makedirs(options.checkpoints, exist_ok=True)
    for model, path in (entry.split("=", 1) for entry in options.model):
        for wanted in [("float", "1"), *formats(options)]:
            key = (model, *wanted, options.windows)
            if key in known:
                continue
            result = measure(options, model, path, wanted)
            row = dict(zip(KEY, key)) | {name: result[name] for name in ("perplexity", "perplexity_se")}
            with open(options.rows, "a", encoding="utf-8") as file:
                print(json.dumps(row), file=file)
            print(f"{' '.join(map(str, key))}: {row['perplexity']:.3f}", flush=True)


def cell(perplexity, full):
    if perplexity is None:
        return "-"
    over = 100 * (perplexity / full - 1)
    return f"{over:+.2f} %" if over < 10 else f"{over:+.0f} %" if over < 1000 else f"{perplexity:.0f}"


def show(rows):
    """What each format adds to the perplexity, one line a format."""
    found = {(r["model"], r["format"], r["clip"]): r["perplexity"] for r in rows}
    models = list(dict.fromkeys(r["model"] for r in rows))
    for model in models:
        print(f"{model}, float: {found[model, 'float', '1']:.3f}")
    print("\n| activations |" + "".join(f" {m}, clip {c} |" for m in models for c in CLIPS))
    print("|---|" + "---|" * (len(models) * len(CLIPS)))
    for name in dict.fromkeys(r["format"] for r in rows if r["format"] != "float"):
        cells = [cell(found.get((m, name, c)), found[m, "float", "1"]) for m in models for c in CLIPS]
        print(f"| `{name}` | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="JSON lines; added to")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--calib", metavar="FILE")
    parser.add_argument("--text", metavar="FILE")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 6, 4, 3])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe that searches")
    parser.add_argument("--kerf", default="build/kerf")
    parser.add_argument("--checkpoints", metavar="DIR", default="activation-table", help="kept there; remove them when kerf has changed")
    parser.add_argument("--print", action="store_true", dest="only_print")
    options = parser.parse_args()
    if not options.only_print:
        if not (options.model and options.calib and options.text):
            parser.error("--model, --calib and --text are needed to measure")
        measure_all(options)
    show([row for row in read_rows(options.rows) if row["windows"] == options.windows])


if __name__ == "__main__":
    main()
