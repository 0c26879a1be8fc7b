#!/usr/bin/env python3
"""Tests of the checks themselves, in TAP: each must find what it is for, and only that.

SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import io
import json
import os
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True

import csource  # noqa: E402
import hash_sources  # noqa: E402
import layers  # noqa: E402
import lint  # noqa: E402
import summarize_tests  # noqa: E402

HEADER = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def lint_of(path, text):
    """What lint says about one file of a tree of its own: failures, warnings."""
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / path
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        before = csource.ROOT
        csource.ROOT = pathlib.Path(directory)
        report = lint.Report()
        with contextlib.redirect_stdout(io.StringIO()) as output:
            lint.check_file(report, pathlib.Path(path))
        csource.ROOT = before
        return output.getvalue(), "\n".join(report.warnings)


def fails(path, body, word):
    return word in lint_of(path, HEADER + body)[0]


def passes(path, body):
    return lint_of(path, HEADER + body)[0] == ""


def lint_finds_banned_functions():
    assert fails("src/io/a.c", "void f(void)\n{\n    strcpy(a, b);\n}\n", "strcpy")
    assert fails("tests/a.c", "int x = atoi(s);\n", "atoi")
    assert fails("tools/a.c", "int x = setjmp(b);\n", "setjmp")


def lint_ignores_comments_strings_and_longer_names():
    assert passes("src/io/a.c", "/* strcpy(a, b) */\nconst char *s = \"malloc(1)\";\n")
    assert passes("src/io/a.c", "int x = my_strcpy(a) + kfi_free(b) + s->free(c);\n")


def lint_keeps_the_heap_in_one_file():
    assert fails("src/io/a.c", "void *p = malloc(1);\n", "malloc")
    assert passes("src/base/alloc.c", "void *p = malloc(1);\n")


def lint_finds_what_the_library_must_not_touch():
    assert fails("src/io/a.c", "int x = printf(\"x\");\n", "printf")
    assert fails("src/io/a.c", "int x = fputs(\"x\", stderr);\n", "never prints")
    assert fails("src/io/a.c", "int x = write(STDERR_FILENO, s, 1);\n", "never prints")
    assert fails("src/io/a.c", "int x = setlocale(0, s);\n", "leaves the process")
    assert passes("cli/a.c", "int x = printf(\"x\");\n")


def lint_finds_line_comments_but_no_urls():
    assert fails("src/io/a.c", "int x; // why\n", "line comment")
    assert passes("src/io/a.c", "/* http://example.org */\nconst char *u = \"http://x\";\n")


def lint_finds_side_effects_in_asserts():
    assert fails("src/io/a.c", "void f(void)\n{\n    assert(n++ > 0);\n}\n", "side effect")
    assert passes("src/io/a.c", "void f(void)\n{\n    assert(n >= 0 && m == 1);\n}\n")


def lint_wants_a_reason_for_float_equality():
    assert fails("src/io/a.c", "\nint x = y == 0.5f;\n", "equality")
    assert passes("src/io/a.c", "int x = y == 0.5f; /* exact: was set so */\n")


def lint_finds_conditionals_in_portable_functions():
    body = "void f(void)\n{\n#if X\n    g();\n#endif\n}\n"
    assert fails("src/io/a.c", body, "#if inside")
    assert passes("src/base/a.c", body)


def lint_wants_a_licence_line():
    assert "SPDX" in lint_of("src/io/a.c", "int x;\n")[0]


def lint_warns_of_sizes():
    long_body = "void f(void)\n{\n" + "    g();\n" * 61 + "}\n"
    assert "f() has" in lint_of("src/io/a.c", HEADER + long_body)[1]
    assert lint_of("src/kernels/a.c", HEADER + long_body)[1] == ""
    many = "int f(" + ", ".join(f"int a{i}" for i in range(9)) + ")\n{\n    return 0;\n}\n"
    assert "9 parameters" in lint_of("src/io/a.c", HEADER + many)[1]
    deep = "void f(void)\n{\n" + "if (x) {\n" * 5 + "}\n " * 5 + "\n}\n"
    assert "nests 5" in lint_of("src/io/a.c", HEADER + deep.replace("\n}\n ", "\n }\n "))[1]


def complaint(path, quote, header):
    room, allowed = layers.room_of(pathlib.Path(path))
    return layers.complaint(pathlib.Path(path), room, allowed, quote, header)


def layers_finds_a_forbidden_room():
    assert complaint("src/base/a.c", '"', "io/json.h")
    assert complaint("src/model/a.c", '"', "text/bpe.h")
    assert complaint("cli/a.c", '"', "base/alloc.h")
    assert not complaint("src/io/a.c", '"', "base/alloc.h")
    assert not complaint("src/io/a.c", '"', "io/json.h")
    assert not complaint("cli/a.c", '"', "kerf/error.h")


def layers_knows_a_room_in_other_spellings():
    assert complaint("src/base/a.c", "<", "io/json.h")
    assert complaint("src/base/a.c", '"', "../io/json.h")
    assert complaint("src/model/a.c", '"', "model/../text/bpe.h")
    assert complaint("cli/main.c", '"', "../src/base/alloc.h")


def layers_and_the_architecture_page_agree():
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| ([^|]*) \|[^|]*\|$", page, re.MULTILINE)
    told = {room: set(edges.split(", ")) - {"–", "public headers"} for room, edges in rows}
    rooms = {**layers.ROOMS, "cli": layers.OUTSIDE["cli"], "bench": layers.OUTSIDE["bench"]}
    assert told == {room: set(edges) for room, (edges, _) in rooms.items()}


def layers_keeps_libraries_in_their_rooms():
    assert complaint("src/model/a.c", "<", "cblas.h")
    assert complaint("src/text/a.c", "<", "curl/curl.h")
    assert complaint("src/io/a.c", "<", "curl.h")
    assert complaint("src/model/a.c", "<", "omp.h")
    assert not complaint("src/linalg/a.c", "<", "cblas.h")
    assert not complaint("src/io/a.c", "<", "openssl/evp.h")
    assert not complaint("src/model/a.c", "<", "math.h")


def hash_of_tree(files):
    """The hash of a tree with these files, given as path: text."""
    before = csource.ROOT
    with tempfile.TemporaryDirectory() as directory:
        csource.ROOT = pathlib.Path(directory)
        for path, text in {"meson.build": "", **files}.items():
            file = csource.ROOT / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        found = hash_sources.hash_of(hash_sources.source_files())
    csource.ROOT = before
    return found


def hash_is_of_what_the_library_is_built_from():
    tree = {"src/io/a.c": "int a;\n", "src/io/meson.build": "", "include/kerf/a.h": "int a;\n"}
    same = hash_of_tree(tree)
    assert re.fullmatch("[0-9a-f]{16}", same)
    assert hash_of_tree({**tree, "cli/main.c": "int b;\n", "docs/A.md": "a"}) == same
    for path in (*tree, "meson.build", "src/io/b.def"):
        assert hash_of_tree({**tree, path: "int b;\n"}) != same, path
    moved = {**tree, "src/io/b.c": tree["src/io/a.c"]}
    del moved["src/io/a.c"]
    assert hash_of_tree(moved) != same


def summarize(programs, status=0):
    """What is printed for programs given as (result, stdout), as lines, and the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "testlog.json")
        with open(path, "w", encoding="utf-8") as log:
            for result, stdout in programs:
                log.write(json.dumps({"name": "p", "result": result, "stdout": stdout}) + "\n")
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = summarize_tests.main(status, [path])
        return output.getvalue().splitlines(), code


def summary_of(*programs, status=0):
    lines, code = summarize(programs, status)
    return lines[-1], code


def summary_counts_single_cases():
    tap = "1..4\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP c\nnot ok 4 # SKIP d\n"
    assert summary_of(("FAIL", tap)) == ("1 passed, 1 failed, 2 skipped", 1)
    assert summary_of(("OK", "1..2\nok 1 - a\nok 2 - b\n")) == ("2 passed, 0 failed, 0 skipped", 0)


def summary_names_the_reason_of_a_skip():
    script = "ok 1 - a # SKIP no groups here\nok 2 - b # SKIP no groups here\n1..2\n"
    assert summarize([("SKIP", script)])[0][0] == "skipped 2: no groups here"
    program = "1..2\n# skipped: the model is not there\nok 1 # SKIP a\nok 2 - b\n"
    assert summarize([("OK", program)])[0][0] == "skipped 1: the model is not there"
    assert summarize([("SKIP", "1..1\nok 1 # SKIP a\n")])[0][0] == "skipped 1: no reason given"


def summary_counts_a_crash_as_a_failure():
    assert summary_of(("ERROR", "1..3\nok 1 - a\n")) == ("1 passed, 1 failed, 0 skipped", 1)
    assert summary_of(("TIMEOUT", "1..1\nok 1 - a\n")) == ("1 passed, 1 failed, 0 skipped", 1)
    assert summary_of(("ERROR", "")) == ("0 passed, 1 failed, 0 skipped", 1)


def summary_counts_a_silent_or_cut_program_as_a_failure():
    assert summary_of(("SKIP", "")) == ("0 passed, 1 failed, 0 skipped", 1)
    assert summary_of(("SKIP", "fine\n")) == ("0 passed, 1 failed, 0 skipped", 1)
    assert summary_of(("OK", "ok 1 - a\n")) == ("1 passed, 1 failed, 0 skipped", 1)


def summary_believes_the_exit_code_of_meson():
    whole = ("OK", "1..1\nok 1 - a\n")
    assert summary_of(whole, status=137) == ("1 passed, 1 failed, 0 skipped", 1)


def summary_of_nothing_is_no_success():
    assert summary_of() == ("0 passed, 0 failed, 0 skipped", 1)
    with contextlib.redirect_stdout(io.StringIO()):
        assert summarize_tests.main(0, ["/nonexistent"]) == 1


TESTS = [
    lint_finds_banned_functions,
    lint_ignores_comments_strings_and_longer_names,
    lint_keeps_the_heap_in_one_file,
    lint_finds_what_the_library_must_not_touch,
    lint_finds_line_comments_but_no_urls,
    lint_finds_side_effects_in_asserts,
    lint_wants_a_reason_for_float_equality,
    lint_finds_conditionals_in_portable_functions,
    lint_wants_a_licence_line,
    lint_warns_of_sizes,
    layers_finds_a_forbidden_room,
    layers_knows_a_room_in_other_spellings,
    layers_and_the_architecture_page_agree,
    layers_keeps_libraries_in_their_rooms,
    hash_is_of_what_the_library_is_built_from,
    summary_counts_single_cases,
    summary_names_the_reason_of_a_skip,
    summary_counts_a_crash_as_a_failure,
    summary_counts_a_silent_or_cut_program_as_a_failure,
    summary_believes_the_exit_code_of_meson,
    summary_of_nothing_is_no_success,
]


def main():
    failures = 0
    print(f"1..{len(TESTS)}")
    for number, test in enumerate(TESTS, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}")
        except AssertionError as error:
            failures += 1
            line = error.__traceback__.tb_next.tb_lineno
            print(f"not ok {number} - {test.__name__}: line {line}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
