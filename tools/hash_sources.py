#!/usr/bin/env python3
"""Writes a header with a hash of the library's sources: what tells the results of two builds apart.

usage: hash_sources.py HEADER DEPENDENCIES

DEPENDENCIES is what ninja reads to run this again when one of them changes; a file that is added
changes the meson.build that names it.

SPDX-License-Identifier: Apache-2.0
"""
import hashlib
import pathlib
import sys

import csource


def source_files():
    """All that the library is built from but the recipes, which outputs name on their own."""
    builds = sorted(p.relative_to(csource.ROOT) for p in (csource.ROOT / "src").rglob("meson.build"))
    return csource.c_files("include", "src") + [pathlib.Path("meson.build")] + builds


def hash_of(files):
    digest = hashlib.sha256()
    for path in files:
        content = (csource.ROOT / path).read_bytes()
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def main(header, dependencies):
    files = source_files()
    pathlib.Path(header).write_text(
        "/* Made by tools/hash_sources.py. */\n"
        f'#define KFI_SOURCE_HASH "{hash_of(files)}"\n', encoding="utf-8")
    names = " ".join(str(csource.ROOT / path).replace(" ", "\\ ") for path in files)
    pathlib.Path(dependencies).write_text(f"{header}: {names}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
