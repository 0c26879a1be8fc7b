#!/usr/bin/env python3
"""Counts single test cases of a Meson test log and prints "N passed, N failed, N skipped" last.

usage: summarize_tests.py STATUS TESTLOG.json [TESTLOG.json ...]

STATUS is what `meson test` exited with: where it is not 0 something failed, whatever the log says,
which ends early when Meson itself dies.

Meson counts programs; ours speak TAP, so the cases are in what they printed. A program that died,
ran out of time, printed fewer results than it planned or no plan at all is a failure on top of the
results that it printed: Meson takes a program that prints nothing and exits with 0 for skipped, and
one that ends before its plan for whole. Exit 1 when something failed or when nothing ran at all.

SPDX-License-Identifier: Apache-2.0
"""
import json
import re
import sys

RESULT = re.compile(r"^(not )?ok\b(?: +\d+)?(?: *-)? *(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(.*)$")
SKIP = re.compile(r"#\s*skip\b *", re.IGNORECASE)


class Counts:
    def __init__(self):
        self.passed = 0
        self.failed = []  # names
        self.skipped = {}  # reason: number


def skip_reason(lines, at, name):
    """Why a test was skipped: TAP has "NAME # SKIP REASON", where cmocka prints "# SKIP NAME" and the
    test itself a line "skipped: REASON" just before."""
    for line in reversed(lines[max(0, at - 3):at]):
        if line.startswith("skipped: ") or line.startswith("# skipped: "):
            return line.split("skipped: ", 1)[1]
    before, reason = SKIP.split(name, maxsplit=1)
    return before.strip() and reason.strip() or "no reason given"


def count_tap(program, lines, counts):
    """Adds the results of one program; returns how many were found, and whether it had a plan."""
    found = 0
    planned = False
    for at, line in enumerate(lines):
        planned = planned or PLAN.match(line) is not None
        result = RESULT.match(line)
        if not result:
            continue
        found += 1
        name = result.group(2)
        if SKIP.search(name):
            reason = skip_reason(lines, at, name)
            counts.skipped[reason] = counts.skipped.get(reason, 0) + 1
        elif result.group(1):
            counts.failed.append(f"{program}: {name}")
        else:
            counts.passed += 1
    return found, planned


def count_program(entry, counts):
    name = entry["name"]
    outcome = entry["result"]  # OK, FAIL, ERROR, TIMEOUT, SKIP, INTERRUPT, ...
    n_failed = len(counts.failed)
    found, planned = count_tap(name, (entry.get("stdout") or "").splitlines(), counts)
    if len(counts.failed) > n_failed:
        return
    if outcome not in ("OK", "SKIP"):
        counts.failed.append(f"{name}: {outcome.lower()} after {found} results")
    elif not planned or found == 0:
        counts.failed.append(f"{name}: ended after {found} results, without a plan")


def main(status, paths):
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
    if status != 0 and not counts.failed:
        counts.failed.append(f"meson test exited with {status}")
    for failure in counts.failed:
        print(f"failed: {failure}")
    for reason, n in sorted(counts.skipped.items()):
        print(f"skipped {n}: {reason}")
    n_skipped = sum(counts.skipped.values())
    print(f"{counts.passed} passed, {len(counts.failed)} failed, {n_skipped} skipped")
    return 1 if counts.failed or n_programs == 0 else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
