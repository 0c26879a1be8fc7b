#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare `kerf tokenize` with Hugging Face `tokenizers` over megabytes of difficult text.

The reference tokenizer is made from the model's own GGUF metadata and its published
pre-tokenizer (hf_tokenizer.py); the text is made by corpus.py. Prints bytes, ids and
differences for each model and section, and whether `--decode` makes the same text of the
ids; exits 1 on any difference. Special tokens written in a text are ordinary text for
both sides, but in the last section, which is made of them (--special). With --keep the
texts and the reference ids stay in a folder; without --kerf only they are made.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import types
import unicodedata

import tokenizers

import corpus
import hf_tokenizer


SPECIAL = "special"  # The section in which special tokens of a text become their ids.


def reference_ids(tok, text, special=False):
    tok.encode_special_tokens = not special
    return tok.encode(text, add_special_tokens=False).ids


def special_text(tok):
    """Words, white space and the model's special tokens, mixed."""
    rng = random.Random(corpus.SEED)
    tokens = sorted(t.content for t in tok.get_added_tokens_decoder().values())
    others = ["user", "Hello", " ", "  ", "\n", "1", "<", "|>", "\u00e9"]
    return "".join(rng.choice(tokens if rng.random() < 0.4 else others) for _ in range(5000))


def kerf_tokenize(kerf, model, path, flags):
    """Standard output of `kerf tokenize` on the file at `path`."""
    run = subprocess.run([kerf, "tokenize", model, "--text", path, *flags], capture_output=True)
    if run.returncode != 0:
        message = run.stderr.decode(errors="replace").strip()
        sys.exit(f"tokens.py: {' '.join(run.args)} exited {run.returncode}: {message}")
    return run.stdout


def first_difference(tok, want, got):
    """Index of the first id that differs, and the words around it for a report."""
    at = next(
        (i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got))
    )
    context = tok.decode(want[max(0, at - 8) : at + 8], skip_special_tokens=False)
    return f"id {at} is {got[at:at + 4]}, expected {want[at:at + 4]}, near {context!r}"


def count_differences(want, got):
    """Ids of the longer list that have no equal partner, by re-joining after each difference."""
    i = j = missed = 0
    while i < len(want) and j < len(got):
        if want[i] == got[j]:
            i, j = i + 1, j + 1
            continue
        step = rejoin(want, got, i, j)
        if step is None:
            break
        missed += max(step)
        i, j = i + step[0], j + step[1]
    return missed + max(len(want) - i, len(got) - j)


def rejoin(want, got, i, j, run=6, reach=200):
    """The smallest skip after which `run` ids agree again."""
    for total in range(1, reach):
        for a in range(total + 1):
            x, y = want[i + a : i + a + run], got[j + total - a : j + total - a + run]
            if x == y and len(x) == run:
                return a, total - a
    return None


def write_ids(path, ids):
    write(path, "".join(f"{i}\n" for i in ids))


def write(path, text):
    with open(path, "w", encoding="utf-8", newline="") as f:
        f.write(text)
    return path


def check_section(kerf, model, tok, base, want, flags):
    """Ids that differ, and how kerf fared, in words; the reference ids are in base + ".ids"."""
    got = [int(i) for i in kerf_tokenize(kerf, model, base + ".txt", flags).split()]
    missed = 0 if got == want else max(1, count_differences(want, got))
    back = kerf_tokenize(kerf, model, base + ".ids", ["--decode"])
    same = back == tok.decode(want, skip_special_tokens=True).encode()
    line = f" {missed:7} differences, text from ids {'equal' if same else 'DIFFERENT'}"
    if missed:
        line += "\n    " + first_difference(tok, want, got)
    return missed + (not same), line


def check_carried(carried, text, want, special):
    """The same for the tokenizer.json of a checkpoint."""
    same = reference_ids(carried, text, special) == want
    return int(not same), f", tokenizer.json {'equal' if same else 'DIFFERENT'}"


def check_model(spec, texts, folder, args):
    """Differences of one model over all sections."""
    tok = hf_tokenizer.from_gguf(spec.gguf, spec.pre)
    carried = spec.checkpoint and tokenizers.Tokenizer.from_file(
        os.path.join(spec.checkpoint, "tokenizer.json")
    )
    differences = 0
    for section, text in [*texts, (SPECIAL, special_text(tok))]:
        special = section == SPECIAL
        base = os.path.join(folder, f"{section}.{spec.name}" if special else section)
        want = reference_ids(tok, text, special)
        line = f"{spec.name:12} {section:9} {len(text.encode()):9} bytes {len(want):9} ids"
        write(base + ".txt", text)
        if args.keep:
            write_ids(f"{folder}/{section}.{spec.name}.ids", want)
        if args.kerf:
            write_ids(base + ".ids", want)
            flags = [*args.flag, *(["--special"] if special else [])]
            model = spec.checkpoint or spec.gguf
            missed, words = check_section(args.kerf, model, tok, base, want, flags)
            differences += missed
            line += words
        if carried:
            missed, words = check_carried(carried, text, want, special)
            differences += missed
            line += words
        print(line, flush=True)
    return differences


def parse_spec(text):
    name, _, rest = text.partition("=")
    rest, _, checkpoint = rest.partition(",")
    gguf, _, pre = rest.partition(":")
    if not gguf:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=GGUF[:PRE][,DIR]")
    return types.SimpleNamespace(name=name, gguf=gguf, pre=pre or None, checkpoint=checkpoint)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument(
        "models", nargs="+", metavar="NAME=GGUF[:PRE][,DIR]", type=parse_spec,
        help="a GGUF file under a short name; PRE replaces its tokenizer.ggml.pre; DIR is a "
        "checkpoint made of it, read by kerf in its place, whose tokenizer.json is loaded too",
    )
    ap.add_argument("--kerf", help="the kerf program")
    ap.add_argument("--flag", action="append", default=[], help="one more argument for kerf")
    ap.add_argument("--keep", metavar="DIR", help="keep texts and reference ids here")
    ap.add_argument("--section", action="append", help="only this section (may be repeated)")
    ap.add_argument("--data", default=os.environ.get("KERF_DATA", "../shared/data"))
    args = ap.parse_args()

    texts = [s for s in corpus.sections(args.data) if not args.section or s[0] in args.section]
    size = sum(len(t.encode()) for _, t in texts)
    print(f"tokenizers {tokenizers.__version__}, Unicode {unicodedata.unidata_version},", end=" ")
    print(f"{size} bytes in {len(texts)} sections", flush=True)
    differences = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or temporary
        os.makedirs(folder, exist_ok=True)
        for spec in args.models:
            differences += check_model(spec, texts, folder, args)
    if args.kerf or any(spec.checkpoint for spec in args.models):
        print(f"{differences} differences")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
