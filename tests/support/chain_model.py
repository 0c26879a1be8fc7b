#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a llama2.c model that says the given pieces one after the other, whatever it is asked.

A token's embedding is the unit vector of the piece that it is, the blocks add nothing to it, and
the head maps the vector of a piece to the next one: what comes out of the program is known, stop
texts, spaces and ends included. A tokenizer.bin with the pieces is put beside it. Needs nothing but
Python.
"""

import argparse
import os
import struct

UNKNOWN, BOS, EOS, FIRST_PIECE = 0, 1, 2, 259
HIDDEN = 32  # unit vectors: one for "no piece said", one a piece


def unit(i, length):
    return struct.pack(f"<{HIDDEN}f", *(length if k == i else 0.0 for k in range(HIDDEN)))


def write_tokenizer(path, pieces):
    names = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
    names += [piece.encode() for piece in pieces]
    with open(path, "wb") as file:
        file.write(struct.pack("<i", max(map(len, names))))
        for name in names:
            file.write(struct.pack("<fi", 0.0, len(name)) + name)


def write_model(path, n_pieces, end, context):
    n_ids = FIRST_PIECE + n_pieces
    following = {FIRST_PIECE + i: i for i in range(n_pieces)}  # id: the state that it comes behind
    if end in (BOS, EOS):
        following[end] = n_pieces
    with open(path, "wb") as file:
        file.write(struct.pack("<7i", HIDDEN, 2, 1, 1, 1, -n_ids, context))
        for i in range(n_ids):
            state = max(i - FIRST_PIECE + 1, 0)
            file.write(unit(0 if end is None and state == n_pieces else state, 1.0))
        norm = struct.pack(f"<{HIDDEN}f", *[1.0] * HIDDEN)
        file.write(norm + bytes(4 * 4 * HIDDEN * HIDDEN) + norm + bytes(4 * 3 * 2 * HIDDEN) + norm)
        file.seek(4 * HIDDEN * context, os.SEEK_CUR)  # the unused rotary tables, left a hole
        for i in range(n_ids):
            file.write(unit(following.get(i, -1), 100.0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("pieces", nargs="+")
    parser.add_argument("--end", choices=["bos", "eos", "none"], default="eos",
                        help="what comes behind the last piece; none: the first again")
    parser.add_argument("--context", type=int, default=64)
    arguments = parser.parse_args()
    if len(arguments.pieces) >= HIDDEN:
        parser.error(f"more than {HIDDEN - 1} pieces")
    os.makedirs(arguments.directory, exist_ok=True)
    write_tokenizer(os.path.join(arguments.directory, "tokenizer.bin"), arguments.pieces)
    write_model(os.path.join(arguments.directory, "model.bin"), len(arguments.pieces),
                {"bos": BOS, "eos": EOS, "none": None}[arguments.end], arguments.context)


if __name__ == "__main__":
    main()
