# kerf bench on random weights: which tests there are, and that the figures of a line belong together.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

# tests: the names of all lines of the last run's JSON, in one line.
tests() {
    python3 -c '
import json, sys
print(*[json.loads(line)["test"] for line in open(sys.argv[1], encoding="utf-8")])' "$scratch/out"
}

# consistent: what the fields of every line say of each other.
consistent() {
    python3 -c '
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    r = json.loads(line)
    rate = r["tokens_per_second"] * r["bytes_per_token"] * 1e-9
    assert isinstance(r["bytes_per_token"], int) and r["bytes_per_token"] > 0, line
    assert abs(r["gb_per_second"] / rate - 1) < 0.05, line  # bytes are rounded
    assert abs(r["share"] * r["read_gb_per_second"] / r["gb_per_second"] - 1) < 1e-6, line
    assert r["tops"] > 0 and r["threads"] == 1, line
    assert r["kernels"]["matmul_int8"] != "", line' "$scratch/out" 2>>"$scratch/err"
}

tiny="bench --shape tiny --repeats 1 -t 1"

run $tiny --json
[ "$code" -eq 0 ] && [ "$(tests)" = "pp512 tg128" ]
result "the tests are pp512 and tg128" $?
json test tokens_per_second bytes_per_token gb_per_second read_gb_per_second share kernels
result "a line has all fields" $?
consistent
result "that belong together" $?
[ "$(field model)" = tiny ] && [ "$(field activations)" = int8tg64 ]
result "and name what was measured" $?
run $tiny --json --prompt 64,16 -n 8 --depth 300,32,full,32
[ "$(tests)" = "pp64 pp16 tg8 pp64@32 pp16@32 tg8@32 pp64@300 pp16@300 tg8@300 pp64@448 pp16@448 tg8@448" ]
result "prompts and depths are lists, depths ascend and occur once" $?
consistent
result "at every depth" $?
run $tiny --json --prompt 0 -n 8 --depth 256
python3 -c '
import json, sys
shallow, deep = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
# 2 layers, keys and values of 2 heads of 14, 256 tokens more, of 4 bytes at most
assert 0 < deep["bytes_per_token"] - shallow["bytes_per_token"] <= 2 * 2 * 28 * 256 * 4' "$scratch/out" 2>>"$scratch/err"
result "a token behind others reads their keys and values too" $?
run $tiny --json --prompt 0 -n 8 --weights int2g64r --head int4g64r
narrow=$(field bytes_per_token)
run $tiny --json --prompt 0 -n 8 --weights int8g64 --head int4g64
[ "$narrow" -lt "$(field bytes_per_token)" ]
result "formats change the bytes of a token" $?
run $tiny --json --prompt 16 -n 0 --activations float
[ "$(field activations)" = float ] && [ "$(tests)" = pp16 ]
result "activations are an option, and a prompt alone" $?
run $tiny --json --depth 100
[ "$(tests)" = "pp412 tg128 pp412@100 tg128@100" ]
result "the default prompt fits the context" $?
run $tiny --json --prompt 0 -n 8 --weights nf4g64 --head cb16g64
[ "$code" -eq 0 ] && [ "$(tests)" = tg8 ]
result "codebooks are formats" $?
run $tiny --json --prompt 0 -n 8 --weights ternaryg64 --head int4g64
[ "$code" -eq 0 ] && [ "$(tests)" = tg8 ]
result "and ternary codes" $?
run $tiny --json --prompt 0 -n 8
plain=$(field bytes_per_token)
run $tiny --json --prompt 0 -n 8 --rank 4 --outliers 3
[ "$code" -eq 0 ] && [ "$(field bytes_per_token)" -gt "$plain" ]
result "side paths are read too" $?
fails 2 "--rank is of random weights and needs --shape" "a rank of a checkpoint" bench "$scratch" --rank 4
fails 3 "expected at most 512 and 84" "more outliers than inputs" $tiny --outliers 85
run $tiny --depth 32 --prompt 16 -n 4
prints "^tiny: random weights, int8g64 and int4g64, packed; activations int8tg64; kv k8v8; 1 threads$" \
    "the table says what it measures"
prints "^tg4@32  *[0-9.]*  .*%  .* [a-z0-9+]*$" "and the kernels in each row"
code=0
KERF_ISA=generic "$kerf" $tiny --prompt 16 -n 4 >"$scratch/out" 2>"$scratch/err" || code=$?
prints "^pp16 .* generic$" "which KERF_ISA caps"
fails 3 "a context of 1024 tokens, the model's is 512" "a depth above the context" $tiny --depth 512
exits 0 "the shapes" bench --shape list
prints "^tinyllama-1.1b$" "are listed one a line"
run bench --shape list --json
json shapes
result "or as JSON" $?

finish
