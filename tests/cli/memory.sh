# A model larger than memory: a random checkpoint of three times the limit of a memory control group
# quantizes and evaluates inside it, with the bytes and figures that it gives without the limit.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

root=${KERF_SOURCE_ROOT:?}
limit=$((72 * 1024 * 1024))
group=

# Makes a control group with the limit, in version 1 or 2 of the system's interface.
make_group() {
    if [ -w /sys/fs/cgroup/memory ] && mkdir "/sys/fs/cgroup/memory/kerf-test-$$" 2>/dev/null; then
        group=/sys/fs/cgroup/memory/kerf-test-$$
        echo "$limit" >"$group/memory.limit_in_bytes" 2>/dev/null
    elif [ -w /sys/fs/cgroup/cgroup.procs ] && mkdir "/sys/fs/cgroup/kerf-test-$$" 2>/dev/null; then
        group=/sys/fs/cgroup/kerf-test-$$
        echo "$limit" >"$group/memory.max" 2>/dev/null
    else
        return 1
    fi
}

# limited ARGUMENT...: as run, inside the group.
limited() {
    code=0
    (
        echo 0 >"$group/cgroup.procs" 2>/dev/null || exit 99
        exec "$kerf" "$@"
    ) >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
}

if ! make_group; then
    [ -z "$group" ] || rmdir "$group" # made, but without the limit
    for name in "quantizes" "with the same bytes" "evaluates" "with the same figure" "gptq"; do
        skip "in a third of its size: $name" "control groups cannot be set here"
    done
    finish
    exit 0
fi
trap 'rmdir "$group"; rm -rf "$scratch"' EXIT

model=$scratch/model
text=$scratch/text
python3 "$root/tests/support/random_model.py" "$model" --layers 46 --hidden 384 \
    --feed-forward 768 --heads 6 --kv-heads 3
cat "$root/README.md" "$root/CONTRIBUTING.md" "$root/LICENSE" >"$text"
calibration="--set calib.samples=2 --set calib.length=128"

run quantize "$model" -o "$scratch/free" --recipe rtn-w4 --set rtn.fit=minmax
limited quantize "$model" -o "$scratch/limited" --recipe rtn-w4 --set rtn.fit=minmax
[ "$code" -eq 0 ]
result "in a third of its size: quantizes" $?
hashes "$scratch/free" >"$scratch/a"
hashes "$scratch/limited" >"$scratch/b"
[ -s "$scratch/a" ] && cmp "$scratch/a" "$scratch/b" >"$scratch/out" 2>&1
result "in a third of its size: with the same bytes" $?

run eval "$model" --text "$text" --window 128 --windows 2 --json
free=$(field perplexity)
limited eval "$model" --text "$text" --window 128 --windows 2 --json
[ "$code" -eq 0 ]
result "in a third of its size: evaluates" $?
[ "$(field perplexity)" = "$free" ]
result "in a third of its size: with the same figure" $?

run quantize "$model" -o "$scratch/free-gptq" --recipe gptq-w4 --calib "$text" $calibration --set gptq.fit=minmax
limited quantize "$model" -o "$scratch/limited-gptq" --recipe gptq-w4 --calib "$text" $calibration --set gptq.fit=minmax
[ "$code" -eq 0 ] && hashes "$scratch/free-gptq" >"$scratch/a" &&
    hashes "$scratch/limited-gptq" >"$scratch/b" && cmp "$scratch/a" "$scratch/b" >"$scratch/out"
result "in a third of its size: gptq, with the same bytes" $?

finish
