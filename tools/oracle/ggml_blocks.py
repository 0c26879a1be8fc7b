#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode made-up blocks of each ggml type with the PyPI package gguf and print the hash of the result.

tests/golden/ggml_blocks.exp is this output; tests/unit/test_ggml_blocks.c makes the same blocks
and compares. Bytes come from a linear congruential generator, started anew for each type; fp16
fields are then overwritten, so that no scale is infinite or NaN.
"""

import hashlib

import gguf
import numpy as np

N_BLOCKS = 64
# type: offsets of its fp16 fields in a block
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
HALF_BYTES = [bytes([0x55, 0x35]), bytes([0x23, 0xB1])]


def make_blocks(block_bytes, halves):
    state = 1
    data = bytearray()
    for _ in range(N_BLOCKS * block_bytes):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        data.append(state >> 56)
    for block in range(N_BLOCKS):
        for i, offset in enumerate(halves):
            begin = block * block_bytes + offset
            data[begin:begin + 2] = HALF_BYTES[i]
    return bytes(data)


def main():
    print(f"# tools/oracle/ggml_blocks.py: SHA-256 of the float32 values of {N_BLOCKS} blocks,")
    print("# decoded by the PyPI package gguf.")
    for name, halves in HALVES.items():
        kind = gguf.GGMLQuantizationType[name]
        data = make_blocks(gguf.GGML_QUANT_SIZES[kind][1], halves)
        values = gguf.quants.dequantize(np.frombuffer(data, np.uint8), kind)
        digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        print(name, digest)


if __name__ == "__main__":
    main()
