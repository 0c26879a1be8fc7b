#!/usr/bin/env python3
"""Holds C sources to the rules that a compiler does not know.

usage: lint.py [--no-warnings]

Failures (exit 1): banned functions, raw malloc and free outside base/alloc.c, output from the
library, changes of locale, signals or environment by it, line comments, #ifdef inside a function
of a room that must be portable, assert with a side effect, float compared by == without a comment,
a file without a licence line.

Warnings: a function longer than 60 lines (150 in kernels/), a file longer than 600, nesting deeper
than 4, more than 8 parameters.

SPDX-License-Identifier: Apache-2.0
"""
import re
import sys

import csource

FOLDERS = ["include", "src", "cli", "server", "bench", "tests", "tools"]

BANNED = {
    "sprintf": "snprintf",
    "vsprintf": "vsnprintf",
    "strcpy": "memcpy or snprintf",
    "strcat": "snprintf",
    "strncpy": "memcpy",
    "strncat": "snprintf",
    "strtok": "strcspn",
    "atoi": "strtol",
    "atol": "strtol",
    "atof": "strtod",
    "gets": "fgets",
    "scanf": "strtol, strtod",
    "sscanf": "strtol, strtod",
    "fscanf": "strtol, strtod",
    "alloca": "a buffer of the caller",
    "setjmp": "a status that is returned",
    "longjmp": "a status that is returned",
    "system": "the library call that does it",
    "rand": "kfi_rng",
    "srand": "kfi_rng",
    "random": "kfi_rng",
}
HEAP = {"malloc", "calloc", "realloc", "reallocarray", "free", "aligned_alloc", "posix_memalign",
        "memalign", "strdup", "strndup", "asprintf", "vasprintf", "getline", "open_memstream"}
OUTPUT = {"printf", "puts", "putchar", "vprintf", "perror", "dprintf", "syslog", "err", "errx", "warn",
          "warnx", "exit", "abort", "_exit", "_Exit", "quick_exit"}
OUTPUT_STREAMS = re.compile(r"\b(?:stdout|stderr|STDOUT_FILENO|STDERR_FILENO)\b")
PROCESS_STATE = {"setlocale", "signal", "sigaction", "setenv", "putenv", "unsetenv", "chdir"}

CALL = re.compile(r"(?<![\w.>])([A-Za-z_]\w*)\s*\(")
FLOAT_EQUAL = re.compile(r"[!=]=\s*-?(?:\d+\.\d*|\.\d+|\d+e)|(?:\d+\.\d*|\.\d+)f?\s*[!=]=")
ASSERT = re.compile(r"\bassert\s*\(([^;]*)\)\s*;")
SIDE_EFFECT = re.compile(r"\+\+|--|(?<![=!<>])=(?!=)")

MAX_FILE, MAX_FUNCTION, MAX_KERNEL, MAX_NESTING, MAX_PARAMETERS = 600, 60, 150, 4, 8


class Report:
    def __init__(self):
        self.n_failures = 0
        self.warnings = []

    def fail(self, path, line, text):
        self.n_failures += 1
        print(f"{path}:{line}: {text}")

    def warn(self, path, line, text):
        self.warnings.append(f"{path}:{line}: warning: {text}")


def check_calls(report, path, line, text):
    in_library = path.parts[0] in ("src", "include")
    for match in CALL.finditer(text):
        name = match.group(1)
        if name in BANNED:
            report.fail(path, line, f"{name}() is banned: use {BANNED[name]}")
        elif in_library and name in HEAP and str(path) != "src/base/alloc.c":
            report.fail(path, line, f"{name}(): memory comes from base/alloc.h")
        elif in_library and name in OUTPUT:
            report.fail(path, line, f"{name}(): the library never prints or exits")
        elif in_library and name in PROCESS_STATE:
            report.fail(path, line, f"{name}(): the library leaves the process as it is")
    if in_library and OUTPUT_STREAMS.search(text):
        report.fail(path, line, "the library never prints")


def check_lines(report, path, raw, code):
    raw_lines = raw.split("\n")
    starts = comment_starts(raw)
    for number, text in enumerate(code.split("\n"), 1):
        check_calls(report, path, number, text)
        if number in starts:
            report.fail(path, number, "line comment: use /* */")
        near = "".join(raw_lines[max(0, number - 2):number])
        if path.parts[0] == "src" and FLOAT_EQUAL.search(text) and "/*" not in near:
            report.fail(path, number, "float compared by equality: say why it is exact")


def comment_starts(raw):
    """The lines on which a // comment starts."""
    return {raw.count("\n", 0, m.start()) + 1 for m in csource.TOKEN.finditer(raw)
            if m.group(0).startswith("//")}


def check_asserts(report, path, code):
    for match in ASSERT.finditer(code):
        if SIDE_EFFECT.search(match.group(1)):
            line = code.count("\n", 0, match.start()) + 1
            report.fail(path, line, "assert with a side effect")


def nesting_of(body):
    """The deepest nesting of braces below the function's own."""
    depth = deepest = 0
    for character in body:
        if character == "{":
            depth += 1
            deepest = max(deepest, depth)
        elif character == "}":
            depth -= 1
    return deepest


def check_conditionals(report, path, code):
    """#if inside a function: only base/ and kernels/ may know the platform."""
    portable = path.parts[0] == "src" and path.parts[1] not in ("base", "kernels")
    if not portable:
        return
    inside = False
    for number, text in enumerate(code.split("\n"), 1):
        if text.startswith("{"):
            inside = True
        elif text.startswith("}"):
            inside = False
        elif inside and re.match(r"\s*#\s*if", text):
            report.fail(path, number, "#if inside a function")


def check_functions(report, path, code):
    limit = MAX_KERNEL if "kernels" in path.parts else MAX_FUNCTION
    for function in csource.functions(code):
        if function.n_lines > limit:
            report.warn(path, function.line, f"{function.name}() has {function.n_lines} lines, "
                                             f"aim at {limit} or fewer")
        n_parameters = function.parameters.count(",") + 1
        if n_parameters > MAX_PARAMETERS:
            report.warn(path, function.line, f"{function.name}() has {n_parameters} parameters, "
                                             f"aim at {MAX_PARAMETERS}: use a struct")
        nesting = nesting_of(function.body)
        if nesting > MAX_NESTING:
            report.warn(path, function.line, f"{function.name}() nests {nesting} deep, "
                                             f"aim at {MAX_NESTING}")


def check_file(report, path):
    raw = (csource.ROOT / path).read_text(encoding="utf-8")
    code = csource.blank(raw)
    if "SPDX-License-Identifier: Apache-2.0" not in raw[:6000]:
        report.fail(path, 1, "no SPDX-License-Identifier line")
    n_lines = raw.count("\n")
    if n_lines > MAX_FILE and path.parts[0] != "tests":
        report.warn(path, 1, f"{n_lines} lines, aim at {MAX_FILE} or fewer")
    check_lines(report, path, raw, code)
    check_asserts(report, path, code)
    check_conditionals(report, path, code)
    if path.parts[0] != "tests":
        check_functions(report, path, code)


def main(arguments):
    report = Report()
    files = csource.c_files(*FOLDERS)
    for path in files:
        check_file(report, path)
    if "--no-warnings" not in arguments:
        for warning in report.warnings:
            print(warning)
    print(f"lint: {len(files)} files, {report.n_failures} failures, "
          f"{len(report.warnings)} warnings")
    return 1 if report.n_failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
