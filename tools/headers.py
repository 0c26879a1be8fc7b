#!/usr/bin/env python3
"""Compiles each public header alone, as C11, C17 and C++17, by gcc and by clang.

usage: headers.py

A header that forgets an include, uses a C++ keyword or a compiler's extension fails here and not
at a user's. One declaration follows the include, since a header of macros alone would be an empty
translation unit, which -Wpedantic rejects.

SPDX-License-Identifier: Apache-2.0
"""
import sys
import tempfile

import csource

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-Iinclude"]
COMPILERS = [
    ("gcc", "c11", ".c"), ("gcc", "c17", ".c"), ("g++", "c++17", ".cpp"),
    ("clang-14", "c11", ".c"), ("clang++-14", "c++17", ".cpp"),
]


def main():
    headers = [path.relative_to("include") for path in csource.c_files("include")
               if path.suffix == ".h"]
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        for compiler, standard, suffix in COMPILERS:
            sources = []
            for header in headers:
                source = f"{directory}/{header.stem}{suffix}"
                with open(source, "w", encoding="utf-8") as file:
                    file.write(f'#include "{header}"\nextern int kerf_header_is_not_empty;\n')
                sources.append(source)
            code, output = csource.run([compiler, f"-std={standard}", *WARNINGS, *sources])
            if code:
                print(output)
                print(f"{compiler} -std={standard}: failed")
                failures += 1
    print(f"headers: {len(headers)} headers, {len(COMPILERS)} compilations each, "
          f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
