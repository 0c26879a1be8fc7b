# Quantizing that is interrupted or killed: finished blocks stay, --resume gives the bytes of an
# uninterrupted run, and nothing ever has the final name before it is complete.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

root=${KERF_SOURCE_ROOT:?}
model=$scratch/model
text=$scratch/text
out=$scratch/out-dir
python3 "$root/tests/support/random_model.py" "$model" --layers 8 --hidden 96 --feed-forward 192
cat "$root/README.md" "$root/CONTRIBUTING.md" "$root/LICENSE" >"$text"
arguments="--recipe gptq-w4 --set calib.samples=3 --set calib.length=256 --quiet"

milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

started=$(milliseconds)
run quantize "$model" -o "$scratch/whole" $arguments --calib "$text"
took=$(($(milliseconds) - started))
[ "$code" -eq 0 ]
result "an uninterrupted run" $?
hashes "$scratch/whole" >"$scratch/wanted"

# Interrupted once a block is finished: exit code 1, the command to go on, no final name.
"$kerf" quantize "$model" -o "$out" $arguments --calib "$text" \
    >"$scratch/out" 2>"$scratch/err" </dev/null &
process=$!
tries=0
while [ "$(find "$out.partial" -name 'model-*.safetensors' 2>/dev/null | wc -l)" -eq 0 ] &&
    [ "$tries" -lt 3000 ]; do
    sleep 0.01
    tries=$((tries + 1))
done
kill -INT "$process"
code=0
wait "$process" || code=$?
[ "$code" -eq 1 ]
result "an interrupt ends it" $?
grep -q -- "--resume" "$scratch/err" && [ ! -e "$out" ]
result "and prints the command that resumes" $?
fails 3 "seed" "resuming with another seed is refused" \
    quantize "$model" -o "$out" $arguments --calib "$text" --resume --seed 9
run quantize "$model" -o "$out" $arguments --calib "$text" --resume
[ "$code" -eq 0 ] && hashes "$out" >"$scratch/got" && cmp "$scratch/got" "$scratch/wanted"
result "which gives the same bytes" $?
fails 3 "seed" "nor is the complete output taken for that of another seed" \
    quantize "$model" -o "$out" $arguments --calib "$text" --resume --seed 9

# Killed at 20 moments spread over the run, each then resumed.
bad=0
visible=0
resumed=0
i=1
while [ "$i" -le 20 ]; do
    rm -rf "$out" "$out.partial"
    moment=$(awk "BEGIN { print $took * $i / 21 / 1000 }")
    timeout --signal=KILL "$moment" "$kerf" quantize "$model" -o "$out" $arguments --calib "$text" \
        >/dev/null 2>&1 </dev/null || true
    if [ -e "$out" ] && ! "$kerf" verify "$out" --quiet >/dev/null 2>&1; then
        visible=$((visible + 1))
    fi
    if [ ! -e "$out" ]; then
        resumed=$((resumed + 1))
        "$kerf" quantize "$model" -o "$out" $arguments --calib "$text" --resume \
            >"$scratch/out" 2>"$scratch/err" </dev/null || bad=$((bad + 1))
    fi
    hashes "$out" >"$scratch/got" 2>/dev/null
    cmp -s "$scratch/got" "$scratch/wanted" || bad=$((bad + 1))
    i=$((i + 1))
done
echo "# killed at 20 moments of $took ms, $resumed resumed"
[ "$visible" -eq 0 ]
result "killed at 20 moments: never an incomplete output under the final name" $?
[ "$bad" -eq 0 ] && [ "$resumed" -gt 0 ]
result "killed at 20 moments: resuming gives the same bytes" $?

finish
