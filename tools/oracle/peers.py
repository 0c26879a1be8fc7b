#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of llama.cpp and of Kerf on this machine, side by side.

pp512 = reading a prompt of 512 tokens, tg128 = writing 128 tokens one by one, in tokens a
second. The programs take turns and the median over the rounds is printed, with the range.
llama.cpp must be built for this machine; the source package of llama-cpp-python on PyPI
carries it under vendor/llama.cpp (cmake -DGGML_NATIVE=ON, targets llama-bench and
llama-quantize). Run nothing else meanwhile: threads that spin at barriers, as llama.cpp's
do, lose tenfold on a machine that is shared. A load average above 0.5 is warned of.

A model is GGUF or GGUF=OTHER, where Kerf runs OTHER (say, a checkpoint that it quantized).
With --q4_0 llama.cpp's own quantizer turns the first model into Q4_0, one more row.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

TESTS = ("pp512", "tg128")
IDLE_LOAD = 0.5


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(f"peers.py: {' '.join(command)} exited {done.returncode}: {last}")
    return done.stdout


def llama_bench(folder, model, threads):
    """{test: tokens a second} of llama.cpp, and its version and processor."""
    command = [os.path.join(folder, "llama-bench"), "-m", model, "-t", str(threads)]
    rows = json.loads(run([*command, "-p", "512", "-n", "128", "-r", "2", "-o", "json"]))
    speed = {("tg128" if r["n_gen"] else "pp512"): r["avg_ts"] for r in rows}
    return speed, f"{rows[0]['build_commit']} on {rows[0]['cpu_info']}"


def kerf_bench(kerf, model, threads):
    """{test: tokens a second} of Kerf."""
    speed = {}
    for line in run([kerf, "bench", model, "--json", "-t", str(threads)]).splitlines():
        row = json.loads(line)
        if row.get("test") in TESTS:
            speed[row["test"]] = row["tokens_per_second"]
    missing = [t for t in TESTS if t not in speed]
    if missing:
        sys.exit(f"peers.py: 'kerf bench {model} --json' has no test {missing[0]}")
    return speed


def show(name, samples):
    middle = statistics.median(samples)
    return f"{name} {middle:8.1f} ({min(samples):.1f}-{max(samples):.1f})"


def measure(spec, args):
    """One model: rounds in turns, a line for each test."""
    gguf, _, other = spec.partition("=")
    llama, kerf = [], []
    for _ in range(args.rounds):
        llama.append(llama_bench(args.llama, gguf, args.threads)[0])
        if args.kerf:
            kerf.append(kerf_bench(args.kerf, other or gguf, args.threads))
    print(gguf + (f" | {other}" if other else ""))
    for test in TESTS:
        theirs = [s[test] for s in llama]
        line = f"  {test}  {show('llama.cpp', theirs)}"
        if kerf:
            ours = [s[test] for s in kerf]
            ratio = statistics.median(ours) / statistics.median(theirs)
            line += f"  {show('kerf', ours)}  kerf/llama.cpp {ratio:.2f}"
        print(line, flush=True)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("models", nargs="+", metavar="MODEL", help="GGUF or GGUF=OTHER")
    ap.add_argument("--llama", required=True, metavar="DIR", help="folder of llama-bench")
    ap.add_argument("--kerf", help="the kerf program; without it llama.cpp alone is measured")
    ap.add_argument("--q4_0", action="store_true", help="also a Q4_0 made of the first model")
    ap.add_argument("-t", "--threads", type=int, default=2)
    ap.add_argument("--rounds", type=int, default=5)
    args = ap.parse_args()

    busy = os.getloadavg()[0]
    source = args.models[0].partition("=")[0]
    version = llama_bench(args.llama, source, args.threads)[1]  # Warms the page cache too.
    print(f"llama.cpp {version}; {args.threads} threads, {args.rounds} rounds; {platform.platform()}")
    if busy > IDLE_LOAD:
        print(f"peers.py: load average {busy:.1f}: other work spoils these figures", file=sys.stderr)
    if args.kerf:
        print(run([args.kerf, "--version"]).splitlines()[0])
    with tempfile.TemporaryDirectory() as folder:
        if args.q4_0:
            made = os.path.join(folder, "q4_0.gguf")
            quantizer = os.path.join(args.llama, "llama-quantize")
            run([quantizer, "--allow-requantize", source, made, "q4_0", str(args.threads)])
            args.models.append(made)
        for spec in args.models:
            measure(spec, args)


if __name__ == "__main__":
    main()
