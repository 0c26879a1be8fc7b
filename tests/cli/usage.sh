# Mistakes in the command line, help, the manual page and the completion.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

exits 2 "no command prints help and is a mistake"
exits 0 "help is no mistake" --help
exits 0 "help of a command" help quantize
exits 0 "help of a command the other way" quantize --help
prints "--recipe" "help of quantize names its options"
wide=0
for command in pull info tokenize quantize verify eval compare run bench methods; do
    run help "$command"
    wide=$((wide + $(sed -n '/^options:/,/^examples:/p' "$scratch/out" | grep -c '.\{79\}')))
done
[ "$wide" -eq 0 ]
result "and explains them in 78 columns" $?
exits 0 "help of help" help help
exits 0 "version" --version
exits 0 "version, short" -v
prints "^kerf [0-9]" "version prints a number"
run --version -v
prints "matmul_int8" "version -v names the kernels in use"
prints "^compiler  *\(gcc\|clang\) [0-9]" "and the compiler"
prints "^executes  *[a-z]" "and what the processor executes"
prints "^KERF_ISA " "and the cap of the kernels"
cp "$scratch/out" "$scratch/first"
run version -v
cmp -s "$scratch/out" "$scratch/first"
result "version is a word too" $?
run --version --json
json version sources compiler cpu cpus features kerf_isa kernels
result "version as JSON" $?
fails 2 "unknown option '--bogus'" "an unknown option of the version" --version --bogus
code=0
KERF_ISA=generic "$kerf" --version -v >"$scratch/out" 2>"$scratch/err" || code=$?
prints "^  matmul_int8  *generic$" "KERF_ISA caps the kernels"
prints "^KERF_ISA  *generic$" "and is told"

fails 2 "unknown command 'quantise'" "unknown command" quantise
fails 2 "unknown command" "help of an unknown command" help quantise
fails 2 "unknown option '--bogus'" "unknown option" info x --bogus
fails 2 "needs a value" "option without its value" eval x --text
fails 2 "takes no value" "flag with a value" info x --json=1
fails 2 "missing argument" "missing model" info
fails 2 "missing --text FILE or --tasks" "eval without a text or tasks" eval x
fails 2 "missing -o" "quantize without an output" quantize x --recipe rtn-w4
fails 2 "missing --recipe" "quantize without a recipe" quantize x -o y
fails 2 "rtn-w9" "unknown recipe" quantize x -o y --recipe rtn-w9
fails 2 "unknown method or recipe" "unknown method" methods bogus
fails 3 "no-such.json" "a recipe's file that is missing" methods "$scratch/no-such.json"
fails 2 "needs --chat" "a system message without a chat" run x -p a --system b
fails 2 "not empty" "a stop text without a letter" run x -p a --stop ''
fails 2 "is not a whole number" "threads that are no number" info x -t two
fails 2 "'eos' is not one of none|bos" "unknown start" eval x --text y --start eos
fails 2 "unknown activation format 'flo'" "part of a word" eval x --text y --activations flo
fails 2 "unknown activation format ''" "an empty word" run x -p a --activations ''
fails 2 "unknown activation format" "unknown activations" compare x --texts y --activations int8
fails 2 "no KV cache is called 'k8'" "an unknown cache" run x -p a --kv k8
fails 2 "no KV cache is called 'F32'" "a cache in other letters" eval x --text y --kv F32
fails 2 "unexpected argument" "too many arguments" info x y
fails 2 "is not a whole number" "a sign without a number" run x -p a -n -
fails 3 "expected 0 to 1024" "threads out of range" info x -t 5000
fails 3 "expected 1 to 1000000000" "fewer than no tokens" run x -p a -n -1
fails 3 "expected 0 to" "a seed below zero" run x -p a --seed -1
fails 3 "expected 0 to" "a seed of more than 64 bits" run x -p a --seed 99999999999999999999
fails 3 "expected 2 to" "window out of range" eval x --text y --window 1
fails 3 "expected 0 to 100" "temperature out of range" run x -p a --temp -1
fails 2 "an empty name" "an empty name of a model" info ""
fails 3 "no-such-model" "missing model file" info "$scratch/no-such-model.gguf"

fails 2 "missing MODEL or --shape" "bench of nothing" bench
fails 2 "give one of them" "bench of a model and a shape" bench x --shape tiny
fails 2 "no shape 'tinyllama'; there are .*smollm2-135m.*tinyllama-1.1b" "an unknown shape" \
    bench --shape tinyllama
fails 2 "unknown weight format 'int9'" "an unknown format of random weights" \
    bench --shape tiny --weights int9
fails 2 "unknown weight format ''" "an empty format of a head" bench --shape tiny --head ''
fails 2 "unknown activation format" "unknown activations of a shape" \
    bench --shape tiny --activations int4
fails 3 "packed, not float" "random weights in float" bench --shape tiny --weights float
fails 2 "needs --shape" "a head without a shape" bench x --head int4g64
fails 2 "not one of auto|float|packed" "a format of a model's weights" bench x --weights int4g64
fails 2 "unknown activation format" "unknown activations of a model" bench x --activations int8
fails 2 "'' is not a whole number" "a list with a gap" bench x --prompt 1,,2
fails 2 "'2x' is not a whole number" "a list with a word" bench x --depth 1,2x
fails 2 "'00000000000000000000000000000016' is too long" "a list with a number that has no end" \
    bench x --depth 1,00000000000000000000000000000016
fails 2 "'full' is not a whole number" "a full prompt" bench x --prompt full
fails 3 "expected 0 to" "a list with a number out of range" bench x --depth 1,-1
fails 3 "more than 16" "a list that is too long" bench x --prompt 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1
fails 2 "nothing is left" "no prompt and no answer" bench x --prompt 0 -n 0

printf 'not a model' >"$scratch/garbage.gguf"
fails 3 "garbage.gguf" "a file that is no model" info "$scratch/garbage.gguf"
: >"$scratch/empty.gguf"
fails 3 "empty.gguf" "an empty file" info "$scratch/empty.gguf"
mkdir "$scratch/empty-directory"
fails 3 "empty-directory" "an empty directory" info "$scratch/empty-directory"

run methods
prints "^  gptq " "methods lists gptq"
prints "^  rtn-w4 " "methods lists the recipes"
run methods gptq
prints "2210.17323" "a method names its paper"
run methods gptq-w4
cp "$scratch/out" "$scratch/my.json"
prints '"weights": "int4' "a recipe is printed as a file of one's own begins"
run methods "$scratch/my.json"
cmp -s "$scratch/out" "$scratch/my.json"
result "which is read as the same recipe" $?
run methods --json
prints '"name":"gptq"' "methods as JSON"

run help --man
prints "^.SS kerf quantize" "the manual page has every command"
run help --bash
bash -n "$scratch/out"
result "the completion is a valid script" $?

code=0
"$kerf" --help >/dev/full 2>"$scratch/err" || code=$?
[ "$code" -eq 1 ] && grep -q "cannot write standard output" "$scratch/err"
result "a full disk on standard output is an error" $?

finish
