#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/golden/packed_*.bin: small packed tensors of every bit width and zero kind.

It follows docs/FORMAT.md alone and shares no code with the library. The numbers in them come from
the formulas of code(), scale_half() ... below, which tests/unit/test_packed_golden.c repeats. The
files are never made anew: what a version of Kerf has written, every later one reads. New formats
get new files.

    tools/golden_packed.py tests/golden
"""

import struct
import sys
from pathlib import Path

ROWS, COLS = 18, 72  # neither a multiple of 16 rows nor of 32 columns or a group
MIX = 0xFFFFFFFF
INTEGER, MXINT, TERNARY, CODEBOOK, NF, E2M1, E3M2 = 1, 2, 3, 4, 5, 6, 7
HALF, EXPONENT, TWO_LEVEL = 1, 2, 3
NONE, ZERO, OFFSET = 0, 1, 2
PLANES = {8: [8], 7: [4, 2, 1], 6: [4, 2], 5: [4, 1], 4: [4], 3: [2, 1], 2: [2]}


TABLES = {
    (NF, 2): [-127, 0, 55, 127],
    (NF, 3): [-127, -68, -31, 0, 23, 49, 79, 127],
    (NF, 4): [-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127],
    (E2M1, 4): [-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12],
}


def code(row, col, bits, element):
    x = (row * 2654435761 + col * 40503 + bits) & MIX
    x = ((x ^ x >> 15) * 2246822519) & MIX
    q = x >> (32 - bits)
    return q % 3 if element == TERNARY else q


def table(element, bits):
    """The 16 bytes at byte 40 of the header."""
    entries = TABLES.get((element, bits), [])
    if element == CODEBOOK:  # any that ascend
        entries = [i * 240 // (2**bits - 1) - 120 + i % 2 for i in range(2**bits)]
    return struct.pack("16b", *entries + [0] * (16 - len(entries)))


def scale_half(row, group):
    """fp16 between 2^-7 and 2^-3, some of them negative, one subnormal."""
    if (row, group) == (5, 0):
        return 0x0003
    return 0x2000 + (row * 97 + group * 389) % 0x1000 | ((row + group) % 3 == 0) << 15


def scale_exponent(row, group):
    """The byte e of 2^(e - 127), once the subnormal 2^-127."""
    return 0 if (row, group) == (3, 0) else 110 + (row * 7 + group * 5) % 20


def row_scale_bits(row):
    """float32 between 2^-14 and 2^-12 of 16 significant bits; that of one row is 0."""
    return 0 if row == 11 else 0x38800000 + (row * 40507 % 0x10000 << 8)


def multiplier(row, group, bits):
    """Of both signs, |m| (2^bits - 1) <= 255; the first is the greatest there is."""
    most = 255 // (2**bits - 1)
    return most - (row * 11 + group * 7) % (2 * most + 1)


def zero_byte(row, group):
    return (row * 29 + group * 83) % 256


def zero_code(row, group, bits):
    """Two-level scales: a zero is one of the codes."""
    return zero_byte(row, group) % 2**bits


def offset_half(row, group):
    return 0x3000 + (row * 53 + group * 211) % 0x0C00 | (row % 2) << 15


def padded(plane):
    return bytes(plane) + bytes(-len(plane) % 64)


def chunk_lines(panel, chunk, bits, element):
    """The lines of 16 rows x 32 columns: `bits` times 64 bytes."""
    lines = bytearray()
    shift = 0  # of the code, where the plane begins
    for width in PLANES[bits]:
        per_byte = 8 // width  # quads of columns that share a line
        for line in range(width):
            for row in range(16):
                for c in range(4):
                    byte = 0
                    for j in range(per_byte):
                        r, k = 16 * panel + row, 32 * chunk + 4 * (line * per_byte + j) + c
                        q = code(r, k, bits, element) if r < ROWS and k < COLS else 0
                        byte |= (q >> shift & (1 << width) - 1) << j * width
                    lines.append(byte)
        shift += width
    return lines


def group_plane(n_panels, n_groups, form, value):
    """[panel][group][16 rows] of one number each."""
    plane = bytearray()
    for panel in range(n_panels):
        for group in range(n_groups):
            for row in range(16 * panel, 16 * panel + 16):
                plane += struct.pack(form, value(row, group) if row < ROWS else 0)
    return padded(plane)


def row_plane(n_panels):
    """[panel][16 rows] float32."""
    return b"".join(struct.pack("<I", row_scale_bits(row) if row < ROWS else 0)
                    for row in range(16 * n_panels))


def tensor(element, bits, zero, group, scale=None):
    n_panels, n_chunks = -(-ROWS // 16), -(-COLS // 32)
    n_groups = -(-COLS // group) if group else 1
    scale = scale or (EXPONENT if element == MXINT else HALF)
    data = struct.pack("<8sIBBBBIIQQ16s8x", b"KERFPK16", 1, element, bits, scale, zero, group, 0,
                       ROWS, COLS, table(element, bits))
    for panel in range(n_panels):
        for chunk in range(n_chunks):
            data += chunk_lines(panel, chunk, bits, element)
    if scale == TWO_LEVEL:
        data += row_plane(n_panels)
        data += group_plane(n_panels, n_groups, "<b", lambda r, g: multiplier(r, g, bits))
        if zero == ZERO:
            data += group_plane(n_panels, n_groups, "<B", lambda r, g: zero_code(r, g, bits))
        return data
    if scale == HALF:
        data += group_plane(n_panels, n_groups, "<H", scale_half)
    else:
        data += group_plane(n_panels, n_groups, "<B", scale_exponent)
    if zero == ZERO:
        data += group_plane(n_panels, n_groups, "<B", zero_byte)
    elif zero == OFFSET:
        data += group_plane(n_panels, n_groups, "<H", offset_half)
    return data


def main():
    directory = Path(sys.argv[1])
    formats = {}
    for bits in range(2, 9):
        formats[f"int{bits}g32"] = (INTEGER, bits, NONE, 32)
        formats[f"int{bits}g32a"] = (INTEGER, bits, ZERO, 32)
        formats[f"int{bits}g32o"] = (INTEGER, bits, OFFSET, 32)
        formats[f"mxint{bits}g32"] = (MXINT, bits, NONE, 32)
        formats[f"int{bits}g32r"] = (INTEGER, bits, NONE, 32, TWO_LEVEL)
        formats[f"int{bits}g32ar"] = (INTEGER, bits, ZERO, 32, TWO_LEVEL)
    formats["int4g64"] = (INTEGER, 4, NONE, 64)
    formats["int3g128a"] = (INTEGER, 3, ZERO, 128)
    formats["int4rowo"] = (INTEGER, 4, OFFSET, 0)
    formats["mxint4row"] = (MXINT, 4, NONE, 0)
    formats["ternaryg32"] = (TERNARY, 2, NONE, 32)
    formats["ternaryg32r"] = (TERNARY, 2, NONE, 32, TWO_LEVEL)
    formats["fp4e2m1g32"] = (E2M1, 4, NONE, 32)
    formats["fp6e3m2g32"] = (E3M2, 6, NONE, 32)
    for bits in range(2, 5):
        formats[f"nf{bits}g32"] = (NF, bits, NONE, 32)
        formats[f"cb{2**bits}g32"] = (CODEBOOK, bits, NONE, 32)
    for name, format_ in formats.items():
        path = directory / f"packed_{name}.bin"
        if path.exists() and path.read_bytes() != tensor(*format_):
            sys.exit(f"{path} holds something else: a file that was once written is never changed")
        path.write_bytes(tensor(*format_))


if __name__ == "__main__":
    main()
