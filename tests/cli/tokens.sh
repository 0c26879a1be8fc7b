#!/bin/sh
# Texts that have more tokens than bytes, in TAP.
#
# SPDX-License-Identifier: Apache-2.0
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0

# check NAME STATUS: one TAP line.
check() {
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; fi
}

# A byte-level tokenizer without merges: every byte is a token.
python3 - "$work/bytes.gguf" <<'END'
import struct
import sys


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    return string(name) + struct.pack("<I", kind) + value


def strings(texts):
    return struct.pack("<IQ", 8, len(texts)) + b"".join(map(string, texts))


kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
others = [byte for byte in range(256) if byte not in kept]
letters = {**{b: chr(b) for b in kept}, **{b: chr(256 + i) for i, b in enumerate(others)}}
keys = [key("general.architecture", 8, string("qwen2")),
        key("tokenizer.ggml.model", 8, string("gpt2")),
        key("tokenizer.ggml.pre", 8, string("qwen2")),
        key("tokenizer.ggml.tokens", 9, strings([letters[b] for b in range(256)])),
        key("tokenizer.ggml.merges", 9, strings([]))]
with open(sys.argv[1], "wb") as file:
    file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys))
END

echo 1..3
# U+1D160 is normalized to three characters: 12 bytes of 4.
i=0
while [ $i -lt 40 ]; do
    printf '\360\235\205\240'
    i=$((i + 1))
done >"$work/notes"
"$KERF" tokenize "$work/bytes.gguf" --text "$work/notes" >"$work/ids"
[ "$(wc -l <"$work/ids")" -eq 480 ]
check has_room_for_text_that_normalization_makes_longer $?
"$KERF" tokenize "$work/bytes.gguf" --decode --text "$work/ids" >"$work/back"
[ "$(wc -c <"$work/back")" -eq 480 ]
check decodes_it_to_the_normalized_text $?
printf '\377\377\377\377\377\377\377\377\377\377\377\377' >"$work/broken"
[ "$("$KERF" tokenize "$work/bytes.gguf" --text "$work/broken" | wc -l)" -eq 36 ]
check has_room_for_the_replacement_of_bytes_that_are_not_utf8 $?
