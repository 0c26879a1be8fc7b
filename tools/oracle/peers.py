#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of llama.cpp and of Kerf on this machine, side by side.

A test is pp512 (a prompt of 512 tokens), tg128 (128 tokens one by one), or one of these behind so
many tokens: tg128@1536. The programs take turns; printed is the median over the rounds in tokens a
second, with the range, the ratio of the medians, and the share of the read bandwidth that Kerf
reached (kerf bench says how it is measured). With --json one object a test.

What is compared is any number of
  MODEL.gguf          both run this file
  MODEL.gguf=OTHER    Kerf runs OTHER, say a checkpoint that it quantized
  TYPE[,TYPE]=FORMAT[/HEAD]   with --shape: random weights of that shape. llama.cpp's own quantizer
                      makes its types of a random float16 file, Kerf draws its format; of several
                      types the faster one counts, test by test. TYPE+TYPE2: TYPE2 for embedding and head
With --q4_0 llama.cpp's quantizer turns the first model into Q4_0, one more comparison.

llama.cpp must be built for this machine; the source package of llama-cpp-python on PyPI
carries it under vendor/llama.cpp (cmake -DGGML_NATIVE=ON, targets llama-bench and
llama-quantize; where AMX is present with clang). --shape needs numpy and gguf (random_gguf.py).
KERF_ISA caps Kerf only: build llama.cpp for the same instructions (AVX2: -DGGML_NATIVE=OFF
-DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON). Run nothing else meanwhile:
threads that spin at barriers, as llama.cpp's do, lose tenfold on a machine that is shared. A load
average above 0.5 is warned of.

examples:
  peers.py --llama DIR --kerf build/kerf smollm2.gguf=smol-w4 --tests pp512,tg128,tg128@1536 \\
      --llama-args="-ctk q8_0 -ctv q8_0"
  peers.py --llama DIR --kerf build/kerf --shape tinyllama-1.1b --keep made \\
      Q4_0,Q4_K_S=int4g64/int8g64 Q3_K_S+Q4_0=int3g64/int4g64 Q2_K+Q4_0=int2g64/int4g64
"""

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

IDLE_LOAD = 0.5
TEST = re.compile(r"(pp|tg)([1-9][0-9]*)(?:@([0-9]+))?$")


def fail(message):
    sys.exit(f"peers.py: {message}")


def run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as e:
        fail(f"{command[0]}: {e.strerror}")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        fail(f"{' '.join(command)} exited {done.returncode}: {last}")
    return done.stdout


class Tests:
    """The tests by name, as the options of both programs."""

    def __init__(self, names):
        self.names = names.split(",")
        found = [TEST.match(name) for name in self.names]
        if None in found:
            fail(f"'{self.names[found.index(None)]}' is no test; expected pp512, tg128, tg128@1536, …")
        self.prompts = sorted({int(t[2]) for t in found if t[1] == "pp"})
        self.answers = sorted({int(t[2]) for t in found if t[1] == "tg"})
        self.depths = sorted({int(t[3] or 0) for t in found})
        if len(self.answers) > 1:
            fail("tg tests of one length only, as kerf bench measures them")

    @staticmethod
    def numbers(values):
        return ",".join(map(str, values or [0]))


def llama_bench(args, tests, model):
    """{test: tokens a second} of llama.cpp, and its version and processor."""
    command = [os.path.join(args.llama, "llama-bench"), "-m", model, "-t", str(args.threads)]
    command += ["-p", tests.numbers(tests.prompts), "-n", tests.numbers(tests.answers)]
    command += ["-d", tests.numbers(tests.depths), "-r", str(args.repeats), "-o", "json"]
    rows = json.loads(run(command + shlex.split(args.llama_args)))
    speed = {}
    for r in rows:
        name = f"tg{r['n_gen']}" if r["n_gen"] else f"pp{r['n_prompt']}"
        speed[name + (f"@{r['n_depth']}" if r["n_depth"] else "")] = r["avg_ts"]
    return speed, f"{rows[0]['build_commit']} on {rows[0]['cpu_info']}"


def kerf_bench(args, tests, subject):
    """{test: its line} of Kerf, for a model or the options of a shape."""
    command = [args.kerf, "bench", *subject, "--json", "-t", str(args.threads)]
    command += ["--prompt", tests.numbers(tests.prompts), "-n", tests.numbers(tests.answers)]
    command += ["--depth", tests.numbers(tests.depths), "--repeats", str(args.repeats)]
    lines = run(command + shlex.split(args.kerf_args)).splitlines()
    return {row["test"]: row for row in map(json.loads, lines)}


def take(results, test, command):
    if any(test not in r for r in results):
        fail(f"{command} has no test {test}")
    return [r[test] for r in results]


def show(name, samples):
    middle = statistics.median(samples)
    return f"{name} {middle:8.1f} ({min(samples):.1f}-{max(samples):.1f})"


def kernels(row):
    return "+".join(dict.fromkeys(row["kernels"].values()))


class Comparison:
    """Files that llama.cpp runs, of which the fastest counts, and what Kerf runs."""

    def __init__(self, name, files, subject):
        self.name, self.files, self.subject = name, files, subject

    def measure(self, args, tests):
        theirs, ours = {path: [] for path in self.files}, []
        for _ in range(args.rounds):
            for path in self.files:
                theirs[path].append(llama_bench(args, tests, path)[0])
                if args.kerf:
                    ours.append(kerf_bench(args, tests, self.subject))
        if not args.json:
            print(self.name)
        for test in tests.names:
            samples = {p: take(rounds, test, "llama-bench") for p, rounds in theirs.items()}
            best = max(samples, key=lambda p: statistics.median(samples[p]))
            rows = take(ours, test, "kerf bench")
            self.report(args, test, samples[best], os.path.basename(best), rows)

    def report(self, args, test, theirs, best, rows):
        line = f"  {test:12s} {show('llama.cpp', theirs)}"
        result = {"test": test, "comparison": self.name, "llama_file": best,
                  "llama_tokens_per_second": statistics.median(theirs), "llama_rounds": theirs}
        if len(self.files) > 1:
            line += f" {best}"
        if rows:
            ours = [r["tokens_per_second"] for r in rows]
            share = statistics.median(r["share"] for r in rows)
            ratio = statistics.median(ours) / statistics.median(theirs)
            line += f"  {show('kerf', ours)}  kerf/llama.cpp {ratio:.2f}"
            line += f"  {100 * share:.0f} % of reading" if test.startswith("tg") else ""
            line += f"  {kernels(rows[0])}"
            result |= {"kerf_tokens_per_second": statistics.median(ours), "kerf_rounds": ours,
                       "ratio": ratio, "share": share, "kernels": rows[0]["kernels"],
                       "bytes_per_token": rows[0]["bytes_per_token"],
                       "activations": rows[0]["activations"]}
        print(json.dumps(result) if args.json else line, flush=True)


def quantize(args, source, made, kind, *more):
    """The peer's own quantizer; a file that is there already is kept."""
    if not os.path.exists(made):
        partial = made + ".partial"
        quantizer = os.path.join(args.llama, "llama-quantize")
        run([quantizer, "--allow-requantize", *more, source, partial, kind, str(args.threads)])
        os.replace(partial, made)
    return made


def shape_comparison(args, folder, source, spec):
    """TYPE[+HEAD_TYPE][,…]=FORMAT[/HEAD]"""
    kinds, _, formats = spec.partition("=")
    if not kinds or not formats:
        fail(f"'{spec}': expected TYPE[,TYPE]=FORMAT[/HEAD] with --shape")
    files = []
    for kind in kinds.split(","):
        body, _, head = kind.partition("+")
        more = ["--output-tensor-type", head, "--token-embedding-type", head] if head else []
        made = os.path.join(folder, f"{args.shape}-{kind}.gguf")
        files.append(quantize(args, source, made, body, *more))
    weights, _, head = formats.partition("/")
    subject = ["--shape", args.shape, "--weights", weights, *(["--head", head] if head else [])]
    return Comparison(f"{args.shape} {kinds} | {formats}", files, subject)


def model_comparison(spec):
    source, _, other = spec.partition("=")
    return Comparison(source + (f" | {other}" if other else ""), [source], [other or source])


def comparisons(args, folder):
    if args.shape:
        source = os.path.join(folder, f"{args.shape}-f16.gguf")
        if not os.path.exists(source):
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "random_gguf.py")
            run([sys.executable, script, args.shape, source])
        return [shape_comparison(args, folder, source, spec) for spec in args.models]
    found = [model_comparison(spec) for spec in args.models]
    if args.q4_0:
        source = found[0].files[0]
        made = os.path.join(folder, os.path.basename(source) + "-q4_0.gguf")
        found.append(model_comparison(quantize(args, source, made, "q4_0")))
    return found


def print_head(args, tests, first):
    busy = os.getloadavg()[0]
    version = llama_bench(args, tests, first)[1]  # Warms the page cache too.
    head = f"llama.cpp {version}; {args.threads} threads, {args.rounds} rounds; {platform.platform()}"
    print(head, file=sys.stderr if args.json else sys.stdout)
    if busy > IDLE_LOAD:
        print(f"peers.py: load average {busy:.1f}: other work spoils these figures", file=sys.stderr)
    if args.kerf and not args.json:
        print(run([args.kerf, "--version"]).splitlines()[0])


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("models", nargs="+", metavar="COMPARISON")
    ap.add_argument("--llama", required=True, metavar="DIR", help="folder of llama-bench")
    ap.add_argument("--kerf", help="the kerf program; without it llama.cpp alone is measured")
    ap.add_argument("--shape", metavar="NAME", help="random weights of one of Kerf's named shapes")
    ap.add_argument("--tests", default="pp512,tg128", metavar="NAME[,NAME]")
    ap.add_argument("--keep", metavar="DIR", help="keeps the files made there, and uses those that are")
    ap.add_argument("--q4_0", action="store_true", help="also a Q4_0 made of the first model")
    ap.add_argument("--llama-args", default="", metavar="ARGS", help="more options of llama-bench")
    ap.add_argument("--kerf-args", default="", metavar="ARGS", help="more options of kerf bench")
    ap.add_argument("-t", "--threads", type=int, default=2)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--repeats", type=int, default=2, help="runs in a round (default 2)")
    ap.add_argument("--json", action="store_true")
    args = ap.parse_args()

    tests = Tests(args.tests)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or scratch
        os.makedirs(folder, exist_ok=True)
        found = comparisons(args, folder)
        print_head(args, tests, found[0].files[0])
        for comparison in found:
            comparison.measure(args, tests)


if __name__ == "__main__":
    main()
