#!/usr/bin/env python3
"""Counts single test cases of a Meson test log and prints "N passed, N failed, N skipped" last.

usage: summarize_tests.py TESTLOG.json [TESTLOG.json ...]

Meson counts programs; ours speak TAP, so the cases are in what they printed. A program that does
not speak TAP is one case. A program that died, ran out of time, or printed fewer results than it
planned is a failure on top of the results that it printed. Exit 1 when something failed or when
nothing ran at all.

SPDX-License-Identifier: Apache-2.0
"""
import json
import re
import sys

RESULT = re.compile(r"^(not )?ok\b(?: +(\d+))?(?: *-)? *(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(.*)$")
SKIP = re.compile(r"#\s*skip\b", re.IGNORECASE)


class Counts:
    def __init__(self):
        self.passed = 0
        self.failed = []  # names
        self.skipped = {}  # reason: number


def skip_reason(lines, at):
    """The line "skipped: ..." that a test printed just before its result."""
    for line in reversed(lines[max(0, at - 3):at]):
        if line.startswith("skipped: ") or line.startswith("# skipped: "):
            return line.split("skipped: ", 1)[1]
    return "no reason given"


def count_tap(program, lines, counts):
    """Adds the results of one program; returns how many were found, and the planned number."""
    found = 0
    planned = None
    for at, line in enumerate(lines):
        plan = PLAN.match(line)
        if plan:
            planned = int(plan.group(1))
            if planned == 0 and SKIP.search(plan.group(2)):
                reason = SKIP.split(plan.group(2))[-1].strip() or skip_reason(lines, at)
                counts.skipped[reason] = counts.skipped.get(reason, 0) + 1
                found += 1
            continue
        result = RESULT.match(line)
        if not result:
            continue
        found += 1
        name = result.group(3)
        if SKIP.search(name):
            reason = skip_reason(lines, at)
            counts.skipped[reason] = counts.skipped.get(reason, 0) + 1
        elif result.group(1):
            counts.failed.append(f"{program}: {name}")
        else:
            counts.passed += 1
    return found, planned


def count_program(entry, counts):
    name = entry["name"]
    outcome = entry["result"]  # OK, FAIL, ERROR, TIMEOUT, SKIP, INTERRUPT, ...
    lines = (entry.get("stdout") or "").splitlines()
    n_failed = len(counts.failed)
    found, planned = count_tap(name, lines, counts)
    if found == 0 and planned is None:
        if outcome == "OK":
            counts.passed += 1
        elif outcome == "SKIP":
            reason = skip_reason(lines, len(lines))
            counts.skipped[reason] = counts.skipped.get(reason, 0) + 1
        else:
            counts.failed.append(f"{name}: {outcome.lower()}")
    elif outcome not in ("OK", "SKIP") and len(counts.failed) == n_failed:
        counts.failed.append(f"{name}: {outcome.lower()} after {found} results")


def main(paths):
    counts = Counts()
    n_programs = 0
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as log:
                for line in log:
                    count_program(json.loads(line), counts)
                    n_programs += 1
        except OSError as error:
            counts.failed.append(f"{path}: {error.strerror}")
    for failure in counts.failed:
        print(f"failed: {failure}")
    for reason, n in sorted(counts.skipped.items()):
        print(f"skipped {n}: {reason}")
    n_skipped = sum(counts.skipped.values())
    print(f"{counts.passed} passed, {len(counts.failed)} failed, {n_skipped} skipped")
    return 1 if counts.failed or n_programs == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
