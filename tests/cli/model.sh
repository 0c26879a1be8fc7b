# The commands on a tiny random checkpoint: output, exit codes, files.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

root=${KERF_SOURCE_ROOT:?}
model=$scratch/model
text=$scratch/text.txt
python3 "$root/tests/support/random_model.py" "$model" --layers 3
cat "$root/README.md" "$root/CONTRIBUTING.md" "$root/LICENSE" >"$text"
small="--window 128 --windows 4"
calibration="--set calib.samples=4 --set calib.length=128"

same_files() {
    hashes "$1" >"$scratch/a"
    hashes "$2" >"$scratch/b"
    [ -s "$scratch/a" ] && cmp -s "$scratch/a" "$scratch/b"
}

# --- info, tokenize ------------------------------------------------------------------------------

run info "$model"
prints "^architecture     llama" "info names the architecture"
run info "$model" --json --tensors
json architecture parameters bits_per_weight bits_per_weight_linear bytes tensors
result "info as JSON" $?
[ "$(field bits_per_weight)" = 32.0 ]
result "a float32 checkpoint has 32 bits a weight" $?

run tokenize "$model" --text "$text"
cp "$scratch/out" "$scratch/ids"
[ "$code" -eq 0 ] && [ "$(wc -l <"$scratch/ids")" -eq "$(wc -c <"$text")" ]
result "a byte tokenizer gives an id a byte" $?
run tokenize "$model" --text "$scratch/ids" --decode
cmp -s "$scratch/out" "$text"
result "decode gives the text back" $?
echo 5000 >"$scratch/bad-ids"
run tokenize "$model" --text "$scratch/bad-ids" --decode
[ "$code" -eq 3 ]
result "an id outside the vocabulary is refused" $?

# --- quantize, verify ----------------------------------------------------------------------------

exits 0 "rtn-w4 needs no calibration text" quantize "$model" -o "$scratch/rtn" --recipe rtn-w4
prints "/rtn: .* (safetensors, F32) -> " "and what it came from is said"
[ -d "$scratch/rtn" ] && [ ! -e "$scratch/rtn.partial" ]
result "the output has its final name and nothing else is left" $?
exits 0 "verify accepts it" verify "$scratch/rtn"
fails 3 "force" "an existing output is refused" quantize "$model" -o "$scratch/rtn" --recipe rtn-w4
exits 0 "force replaces it" quantize "$model" -o "$scratch/rtn" --recipe rtn-w4 --force
fails 2 "calib" "gptq says that it needs a text" quantize "$model" -o "$scratch/x" --recipe gptq-w4
fails 2 "bogus" "an unknown knob" quantize "$model" -o "$scratch/x" --recipe rtn-w4 --set bogus=1
fails 3 "damping" "a knob out of range" \
    quantize "$model" -o "$scratch/x" --recipe gptq-w4 --calib "$text" --set gptq.damping=-1
fails 3 "no-such-text" "a missing text" \
    quantize "$model" -o "$scratch/x" --recipe gptq-w4 --calib "$scratch/no-such-text"
exits 0 "dry run" \
    quantize "$model" -o "$scratch/x" --recipe gptq-w4 --calib "$text" $calibration --dry-run
[ ! -e "$scratch/x" ] && [ ! -e "$scratch/x.partial" ]
result "a dry run writes nothing" $?

run quantize "$model" -o "$scratch/gptq" --recipe gptq-w3 --calib "$text" $calibration --json
json seconds peak_rss_bytes bits_per_weight bytes source
result "quantize as JSON ends with a summary" $?
[ "$(wc -l <"$scratch/out")" -ge 22 ]
result "and has a line for every layer before it" $?
cp "$root/recipes/rtn-w8.json" "$scratch/$(printf '\377').json"
run quantize "$model" -o "$scratch/w8" --recipe "$scratch/$(printf '\377').json" --json
json recipe bytes
result "nor does a recipe of a name that is not UTF-8 leave it out" $?
run quantize "$model" -o "$scratch/gptq-1" --recipe gptq-w3 --calib "$text" $calibration -t 1
same_files "$scratch/gptq" "$scratch/gptq-1"
result "one thread gives the same bytes as all" $?

mkdir "$scratch/gptq-2.partial"
fails 3 "resume" "a left-over partial output is refused with the way on" \
    quantize "$model" -o "$scratch/gptq-2" --recipe gptq-w3 --calib "$text" $calibration
echo mine >"$scratch/gptq-2.partial/notes"
fails 3 "notes.*not an interrupted run" "a partial output of somebody else is not resumed" \
    quantize "$model" -o "$scratch/gptq-2" --recipe rtn-w3 --resume
[ "$(cat "$scratch/gptq-2.partial/notes")" = mine ]
result "and left as it is" $?
fails 3 "notes.*not an interrupted run" "nor removed by force" \
    quantize "$model" -o "$scratch/gptq-2" --recipe rtn-w3 --force
fails 3 "expected at least a window" "an empty calibration text" \
    quantize "$model" -o "$scratch/x" --recipe gptq-w4 --calib /dev/null $calibration
fails 3 "--force" "a dry run onto what exists is refused as the real one is" \
    quantize "$model" -o "$scratch/rtn" --recipe rtn-w4 --dry-run
fails 3 "give the directory.*'$model/'" "one file of a checkpoint names its directory" \
    info "$model/model.safetensors"
fails 3 "not replaced" "force does not replace the model itself" \
    quantize "$model" -o "$model" --recipe rtn-w3 --force

python3 "$root/tests/support/random_model.py" "$scratch/tied" --tied
run quantize "$scratch/tied" -o "$scratch/tied-w8" --recipe rtn-w8 --set embedding=int4g64
[ "$code" -eq 0 ] && grep -q "^kerf: warning: embedding= changes nothing" "$scratch/err"
result "a format of a tied embedding is said to change nothing" $?

run quantize "$model" -o "$scratch/two-level" --recipe gptq-w3 --calib "$text" $calibration \
    --set weights=int3g32ar --set head=int4g64r
[ "$code" -eq 0 ]
result "two-level scales in blocks and head" $?
exits 0 "verify accepts them" verify "$scratch/two-level"
run info "$scratch/two-level" --tensors
[ "$(grep -c int3g32ar "$scratch/out")" -ge 14 ] && grep -q "lm_head.*int4g64r" "$scratch/out"
result "info names them" $?

# Interrupted before anything is on disk: here it waits for its text.
mkfifo "$scratch/fifo"
for calib in - "$scratch/fifo"; do
    "$kerf" quantize "$model" -o "$scratch/early" --recipe gptq-w4 --calib "$calib" \
        >"$scratch/out" 2>"$scratch/err" <"$scratch/fifo" &
    process=$!
    exec 3>"$scratch/fifo"
    until_true catches_signals "$process"
    kill -INT "$process"
    code=0
    wait "$process" || code=$?
    exec 3>&-
    [ "$code" -eq 1 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] && grep -q cancelled "$scratch/err"
    result "an early interrupt promises nothing that is not on disk (text: ${calib##*/})" $?
done

mkdir "$scratch/read-only"
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    unshare -m sh -c 'mount -t tmpfs -o ro none "$2" && exec "$1" quantize "$3" -o "$2/x" --recipe rtn-w3' \
        sh "$kerf" "$scratch/read-only" "$model" >"$scratch/out" 2>"$scratch/err"
    [ $? -eq 1 ] && grep -q "x.partial': Read-only file system" "$scratch/err"
    result "a read-only output is called so" $?
else
    skip "a read-only output is called so" "nothing can be mounted here"
fi

cp -r "$scratch/rtn" "$scratch/broken"
weights=$(ls "$scratch/broken"/model-*.safetensors | head -n 1)
printf 'X' | dd of="$weights" bs=1 seek=3000 conv=notrunc 2>/dev/null
fails 3 "safetensors" "verify finds a changed byte" verify "$scratch/broken"
fails 3 "" "verify of what is no checkpoint" verify "$model"

code=0
(ulimit -f 16 && exec "$kerf" quantize "$model" -o "$scratch/large" --recipe rtn-w8) \
    >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
[ "$code" -eq 1 ] && grep -q "^kerf: error: .*File too large" "$scratch/err"
result "a limit on the size of files is an error of writing" $?

# bars KIND: how often a terminal of this kind is told to take a line back.
bars() {
    TERM=$1 python3 "$root/tests/support/on_terminal.py" '' "$kerf" quantize "$model" --force \
        -o "$scratch/shown" --recipe gptq-w4 --calib "$text" $calibration >"$scratch/out" 2>&1
    grep -c "$(printf '\033')" "$scratch/out"
}
[ "$(bars xterm)" -gt 0 ]
result "progress is a bar on a terminal" $?
[ "$(bars dumb)" -eq 0 ]
result "that can take a line back" $?

# --- eval ----------------------------------------------------------------------------------------

run eval "$model" --text "$text" $small --json --save-reference "$scratch/reference"
json model tokens windows perplexity perplexity_se kl_mean top1 bits_per_weight bytes seconds \
    tokens_per_second activations
result "eval as JSON" $?
[ "$(field tokens)" = 508 ] && [ "$(field windows)" = 4 ] && [ "$(field kl_mean)" = None ]
result "a window of 128 has 127 scored tokens" $?
fails 3 "not replaced" "a reference is not saved over the text" \
    eval "$model" --text "$text" $small --save-reference "$text"
ln -s reference "$scratch/link"
exits 0 "a link to a reference is followed" \
    eval "$model" --text "$text" $small --save-reference "$scratch/link" --logits /dev/null
[ -L "$scratch/link" ] && [ -c /dev/null ]
result "and stays, as a device does" $?
run eval "$scratch/gptq" --text "$text" $small --json --against "$model"
json kl_median kl_99 kl_max loss_difference loss_difference_se reference_perplexity
result "eval against a reference" $?
run eval "$scratch/gptq" --text "$text" $small --positions --against "$model"
prints "^ *64-127 .*[0-9] *[+-][0-9.]* *[0-9.]*$" "losses by position"
run eval "$scratch/gptq" --text "$text" $small --layers 2 --against "$model"
[ "$code" -eq 0 ] && [ "$(grep -c '^ *[012]  *0\.[0-9]*  *0\.[0-9]*$' "$scratch/out")" -eq 3 ]
result "eval shows the error behind each block" $?
run eval "$model" --text "$text" $small --layers 1 --against "$model" --json
json layers
[ "$(field layers | grep -o "'first': 0.0, 'others': 0.0" | wc -l)" -eq 3 ]
result "of which a model has none against itself" $?
fails 2 "needs --against" "blocks need a reference" eval "$model" --text "$text" --layers 1
run eval "$scratch/gptq" --text "$text" $small --no-prefix --json --against "$model" \
    --reference "$scratch/reference"
json kl_mean top1
result "eval against a saved reference" $?
saved=$(field kl_mean)
run eval "$scratch/gptq" --text "$text" $small --no-prefix --json --against "$model"
[ "$code" -eq 0 ] && [ "$(field kl_mean)" = "$saved" ]
result "a saved reference gives the same divergence" $?
fails 3 "another text" "a reference of another text is refused" eval "$scratch/gptq" \
    --text "$root/LICENSE" $small --no-prefix --against "$model" --reference "$scratch/reference"
run eval "$model" --text "$text" $small --json --against "$model"
[ "$(field top1)" = 1.0 ]
result "a model agrees with itself" $?
exits 0 "logits as npy" eval "$model" --text "$text" --window 16 --windows 1 --logits "$scratch/l.npy"
[ "$(wc -c <"$scratch/l.npy")" -eq $((16 * 272 * 4 + 128)) ]
result "one row of logits a token" $?
fails 3 "at least one window" "a text that is too short" eval "$model" --text "$model/config.json"
fails 3 "context" "a window above the context" eval "$model" --text "$text" --window 1024
run eval "$scratch/rtn" --text "$text" $small --activations float --json
[ "$(field activations)" = float ]
result "float activations are said in the report" $?
exact=$(field perplexity)
run eval "$scratch/rtn" --text "$text" $small --activations int4tg64 --json
[ "$(field activations)" = int4tg64 ] && [ "$(field perplexity)" != "$exact" ]
result "and so are others than the recipe's" $?
run eval "$scratch/rtn" --text "$text" $small --activations float --json
[ "$(field kv)" = f32 ]
result "and the cache, which is exact" $?
exact=$(field perplexity)
run eval "$scratch/rtn" --text "$text" $small --activations float --json --kv k8v8
[ "$(field kv)" = k8v8 ] && [ "$(field perplexity)" != "$exact" ]
result "unless it is told otherwise" $?
kv=$(field perplexity)
run eval "$scratch/rtn" --text "$text" $small --activations float --json --kv k8v8 --kv-exact 1000
[ "$(field kv)" = k8v8 ] && [ "$(field perplexity)" != "$kv" ]
result "tokens that stay exact beside a cache of codes" $?
run eval "$scratch/rtn" --text "$text" $small --kv k4v4
prints "^weights .*; activations int8tg64; kv k4v4 of [0-9.]* bits$" "also in a report to read"
run eval "$model" --text "$text" $small --json --kv k8v8 --save-reference "$scratch/codes"
fails 3 "another KV cache" "a reference is exact" eval "$model" --text "$text" $small \
    --against "$model" --reference "$scratch/codes"

# --- run, bench, compare -------------------------------------------------------------------------

run run "$scratch/gptq" -p "Once" -n 16 --seed 7
cp "$scratch/out" "$scratch/first"
run run "$scratch/gptq" -p "Once" -n 16 --seed 7 -t 1
[ "$code" -eq 0 ] && cmp -s "$scratch/out" "$scratch/first"
result "the same seed writes the same text" $?
run run "$scratch/gptq" -p "Once" -n 16 --temp 0 --json
json text tokens prompt_tokens tokens_per_second stopped_by
result "run as JSON" $?
[ "$(field tokens)" = 16 ] && [ "$(field stopped_by)" = length ]
result "run counts its tokens" $?
run run "$model" -p "Once" --context 20 --json --temp 0
[ "$(field stopped_by)" = context ]
result "a full context stops the answer" $?
fails 3 "context holds 20" "a prompt longer than the context" run "$model" -f "$text" --context 20
fails 2 "not one of auto" "an unknown kind of weights" run "$model" -p Once --weights int
fails 3 "chat template" "a model without a chat template" run "$model" --chat -p Hello
code=0
printf 'Once' | "$kerf" run "$model" - -n 4 >"$scratch/out" 2>"$scratch/err" || code=$?
[ "$code" -eq 0 ]
result "a prompt from standard input" $?

run bench "$scratch/gptq" --prompt 32 -n 8 --repeats 1 --json
json test tokens_per_second bytes_per_token gb_per_second read_gb_per_second share kernels \
    model activations threads tops
result "bench as JSON" $?
run compare "$model" --recipes rtn-w8,gptq-w4 --texts "$text" $small $calibration -n 8 --json
json recipe perplexity bits_per_weight answer reference_perplexity loss_difference
result "compare as JSON" $?
[ "$(wc -l <"$scratch/out")" -eq 3 ]
result "compare has a row for the source and one a recipe" $?
run compare "$model" --recipes rtn-w8 --texts "$text" --window 128 --windows 1 -n 4
prints "^float: .* (safetensors, F32)$" "the table names its source"
prints "^rtn-w8 .* none .* [+-][0-9.]*%" "and how far above it a perplexity is, with which start"
[ "$code" -eq 0 ] && ! grep -q "nan" "$scratch/out"
result "one window tells no standard error" $?
fails 3 "Kerf checkpoint already" "a checkpoint is no source of a comparison" \
    compare "$scratch/rtn" --recipes rtn-w8 --texts "$text" $small
fails 2 "names none" "an empty list of recipes" compare "$model" --recipes , --texts "$text" $small
fails 2 "no recipe 'gptq-w5'" "compare tells of a misspelled recipe before any work" \
    compare "$model" --recipes rtn-w8,gptq-w5 --texts "$text" $small
fails 3 "is too long" "a directory is not made where a part of its name says" \
    compare "$model" --recipes rtn-w8 --texts "$text" $small --dir "$(yes d/ | head -n 2000 | tr -d '\n')"

cat >"$scratch/spoken.json" <<'JSON'
{"weights": "int4g64a", "activations": "int8tg64", "prefix": "You are a saw.",
 "methods": [{"name": "rtn"}]}
JSON
run compare "$model" --recipes "$scratch/spoken.json" --texts "$text" --calib "$text" $small \
    -n 4 --json --dir "$scratch/kept"
json kl_mean
result "compare takes a recipe's file" $?
[ "$(field recipe)" = spoken ] && [ "$(field start)" = text ]
result "and names its row by it" $?
kl=$(field kl_mean)
run eval "$scratch/kept/spoken" --text "$text" $small --against "$model" --json
[ "$(field kl_mean)" = "$kl" ] && [ "$(field prefix_tokens)" = 15 ]
result "a reference starts with the whole prefix, in compare and in eval" $?
[ "$(field start)" = prefix ]
result "eval tells that the stored prefix stood in front" $?
run eval "$scratch/kept/spoken" --text "$text" $small --against "$scratch/kept/spoken" --json \
    --kv f32 # as a reference has it
[ "$(field kl_mean)" = 0.0 ] && [ "$(field top1)" = 1.0 ]
result "a checkpoint with a prefix agrees with itself" $?
run eval "$model" --text "$text" $small --json
apart=$(field perplexity)
run eval "$scratch/kept/spoken" --text "$text" $small --against "$model" --json
reference=$(field reference_perplexity)
touch "$scratch/before"
run compare "$model" --recipes "$scratch/spoken.json" --texts "$text" --calib "$text" $small \
    -n 4 --json --dir "$scratch/kept"
[ "$code" -eq 0 ] && [ "$(field kl_mean)" = "$kl" ] &&
    [ -z "$(find "$scratch/kept" -name '*.safetensors' -newer "$scratch/before")" ]
result "compare takes up a checkpoint that it kept" $?
[ "$(field reference_perplexity)" = "$reference" ] && [ "$reference" != "$apart" ]
result "and compares it with the source behind the same start" $?

finish
