#!/usr/bin/env python3
"""Holds every room to what it may include: the table of docs/ARCHITECTURE.md, section "Rooms".

usage: layers.py

A room may include itself, the public headers (kerf/...), the rooms named in ROOMS and the
third-party headers named there; the headers of SYSTEM are free. A new edge is a commit of its own
that changes this table and says why.

SPDX-License-Identifier: Apache-2.0
"""
import re
import sys

import csource

# room: (rooms it may include, third-party headers it may include)
ROOMS = {
    "base": ([], ["pthread.h", "cpuid.h", "asm/hwcap.h", "sys/auxv.h"]),
    "io": (["base"], ["jansson.h", "zlib.h", "bzlib.h", "curl/", "openssl/"]),
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
    "bench": (["base", "kernels", "linalg"], ["cblas.h"]),
    "bindings": ([], []),
    "include": ([], []),
}
# Headers of C11 and POSIX (and two of Linux) that every room may include; whatever else stands in
# angle brackets is a library, also one that nobody has thought of yet.
SYSTEM = set("""
    assert.h ctype.h dirent.h errno.h fcntl.h float.h fnmatch.h inttypes.h limits.h locale.h math.h
    poll.h pwd.h sched.h signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h
    stdlib.h stdnoreturn.h string.h strings.h termios.h time.h unistd.h
    sys/file.h sys/ioctl.h sys/mman.h sys/resource.h sys/stat.h sys/statvfs.h
    sys/syscall.h sys/time.h sys/types.h sys/wait.h
""".split())

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def room_of(path):
    """The name of the room that a file lies in, and what that room may include."""
    if path.parts[0] == "src":
        room = path.parts[1]
        return room, ROOMS.get(room)
    return path.parts[0], OUTSIDE.get(path.parts[0])


def complaint(path, room, allowed, quote, header):
    """What is wrong with one include, or None."""
    rooms, libraries = allowed
    first = header.split("/", 1)[0]
    if ".." in header.split("/"):
        return f'"{header}": write the path from src/ or include/'
    if quote == "<":
        if first == "kerf" or first in ROOMS:
            return f'write "{header}"'
        if header in SYSTEM or any(
                header == name or name.endswith("/") and header.startswith(name)
                for name in libraries):
            return None
        return f"<{header}> is not for {room}"
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
