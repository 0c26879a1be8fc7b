#!/usr/bin/env python3
"""Holds every room to what it may include: the table of docs/ARCHITECTURE.md, section "Rooms".

usage: layers.py

A room may include itself, the public headers (kerf/...), the rooms named in ROOMS and the
third-party headers named there; libc and POSIX headers are free. A new edge is a commit of its own
that changes this table and says why.

SPDX-License-Identifier: Apache-2.0
"""
import re
import sys

import csource

# room: (rooms it may include, third-party headers it may include)
ROOMS = {
    "base": ([], ["pthread.h", "cpuid.h"]),
    "io": (["base"], ["jansson.h", "zlib.h", "curl/", "openssl/"]),
    "text": (["base", "io"], ["utf8proc.h"]),
    "kernels": (["base"], ["immintrin.h", "arm_neon.h"]),
    "linalg": (["base", "kernels"], ["cblas.h", "lapacke.h"]),
    "format": (["base", "kernels", "linalg"], []),
    "model": (["base", "io", "kernels", "linalg", "format"], []),
    "grad": (["base", "kernels", "linalg", "format", "model"], []),
    "quantize": (["base", "io", "kernels", "linalg", "format", "model", "grad"], []),
    "eval": (["base", "io", "text", "kernels", "format", "model"], []),
}
# Outside src/: these see the public headers and themselves.
OUTSIDE = {
    "cli": ([], ["jansson.h"]),
    "server": ([], ["microhttpd.h", "jansson.h"]),
    "bench": (["base", "kernels"], []),
    "bindings": ([], []),
    "include": ([], []),
}
THIRD_PARTY = ["pthread.h", "cpuid.h", "jansson.h", "zlib.h", "curl/", "openssl/", "pcre2.h",
               "utf8proc.h", "immintrin.h", "x86intrin.h", "arm_neon.h", "cblas.h", "lapacke.h",
               "openblas", "microhttpd.h", "mpi.h"]

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def room_of(path):
    """The name of the room that a file lies in, and what that room may include."""
    if path.parts[0] == "src":
        room = path.parts[1]
        return room, ROOMS.get(room)
    return path.parts[0], OUTSIDE.get(path.parts[0])


def is_third_party(header):
    return any(header == known or header.startswith(known) for known in THIRD_PARTY)


def complaint(path, room, allowed, quote, header):
    """What is wrong with one include, or None."""
    rooms, libraries = allowed
    if quote == "<":
        if header.startswith("kerf/"):
            return f'write "{header}"'
        if is_third_party(header) and not any(
                header == name or header.startswith(name) for name in libraries):
            return f"<{header}> is not for {room}"
        return None
    first = header.split("/", 1)[0]
    if first == "kerf" or "/" not in header and (csource.ROOT / path.parent / header).exists():
        return None
    if first == room or first in rooms:
        return None
    if path.parts[0] != "src" and (csource.ROOT / path.parts[0] / header).exists():
        return None
    return f'"{header}": {room} may not include {first}'


def main():
    failures = 0
    files = csource.c_files("src", *OUTSIDE)
    for path in files:
        room, allowed = room_of(path)
        if allowed is None:
            print(f"{path}: '{room}' is no room: add it to tools/layers.py")
            failures += 1
            continue
        text = (csource.ROOT / path).read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            wrong = complaint(path, room, allowed, match.group(1), match.group(2))
            if wrong:
                line = text.count("\n", 0, match.start(1)) + 1
                print(f"{path}:{line}: {wrong}")
                failures += 1
    print(f"layers: {len(files)} files, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
