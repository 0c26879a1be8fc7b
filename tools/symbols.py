#!/usr/bin/env python3
"""Checks what libkerf.so shows: kf_* and nothing else, and each function that a header promises.

usage: symbols.py LIBKERF.so

SPDX-License-Identifier: Apache-2.0
"""
import re
import sys

import csource

DECLARED = re.compile(r"\bKF_API\b[^;]*?\b(kf_\w+)\s*\(")


def main(library):
    code, output = csource.run(["nm", "-D", "--defined-only", library])
    if code:
        print(output)
        return 1
    exported = {line.split()[-1].split("@")[0] for line in output.splitlines() if line.strip()}
    declared = set()
    for path in csource.c_files("include"):
        text = csource.join_continued(csource.blank((csource.ROOT / path).read_text(encoding="utf-8")))
        declared |= set(DECLARED.findall(text))
    failures = 0
    for name in sorted(exported):
        if not name.startswith("kf_"):
            print(f"{name}: exported, but not kf_*")
            failures += 1
        elif name not in declared:
            print(f"{name}: exported, but no public header declares it")
            failures += 1
    for name in sorted(declared - exported):
        print(f"{name}: declared in a public header, but not in the library")
        failures += 1
    print(f"symbols: {len(exported)} exported, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
