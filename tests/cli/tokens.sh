# Texts that have more tokens than bytes.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

# A byte-level tokenizer without merges: every byte is a token.
python3 - "$scratch/bytes.gguf" "$scratch/nameless.gguf" <<'END'
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
        key("tokenizer.ggml.tokens", 9, strings([letters[b] for b in range(256)])),
        key("tokenizer.ggml.merges", 9, strings([]))]
named = [*keys, key("tokenizer.ggml.pre", 8, string("qwen2"))]
for path, pairs in zip(sys.argv[1:], (named, keys)):
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs))
END

# U+1D160 is normalized to three characters: 12 bytes of 4.
i=0
while [ $i -lt 40 ]; do
    printf '\360\235\205\240'
    i=$((i + 1))
done >"$scratch/notes"
run tokenize "$scratch/bytes.gguf" --text "$scratch/notes"
[ "$code" -eq 0 ] && [ "$(wc -l <"$scratch/out")" -eq 480 ]
result "there is room for text that normalization makes longer" $?
cp "$scratch/out" "$scratch/ids"
run tokenize "$scratch/bytes.gguf" --decode --text "$scratch/ids"
[ "$code" -eq 0 ] && [ "$(wc -c <"$scratch/out")" -eq 480 ]
result "it is decoded to the normalized text" $?
run tokenize "$scratch/bytes.gguf" --decode --json --text "$scratch/ids"
[ "$code" -eq 0 ] && python3 -c '
import json, sys
assert len(json.load(open(sys.argv[1], encoding="utf-8"))) == 120' "$scratch/out"
result "and to a string of JSON" $?
echo 5000 >"$scratch/ids"
fails 3 "not an id" "a wrong id is an error in JSON too" \
    tokenize "$scratch/bytes.gguf" --decode --json --text "$scratch/ids"
printf '\377\377\377\377\377\377\377\377\377\377\377\377' >"$scratch/broken"
run tokenize "$scratch/bytes.gguf" --text "$scratch/broken"
[ "$code" -eq 0 ] && [ "$(wc -l <"$scratch/out")" -eq 36 ]
result "there is room for the replacement of bytes that are not UTF-8" $?

run tokenize "$scratch/bytes.gguf" --text "$scratch/broken"
[ "$code" -eq 0 ] && [ ! -s "$scratch/err" ]
result "a file that names its pre-tokenizer brings no warning" $?
run tokenize "$scratch/nameless.gguf" --text "$scratch/broken"
[ "$code" -eq 0 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
    grep -q "^kerf: warning: .*tokenizer.ggml.pre" "$scratch/err"
result "one that names none brings one" $?
run tokenize "$scratch/nameless.gguf" --text "$scratch/broken" --quiet
[ "$code" -eq 0 ] && [ ! -s "$scratch/err" ]
result "and none with --quiet" $?

finish
