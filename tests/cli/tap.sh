# tap.sh - a few functions for tests of the program: each check is one test case. Sourced.
#
# SPDX-License-Identifier: Apache-2.0

kerf=${KERF:?the path of the program}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
n_checks=0
export XDG_CACHE_HOME="$scratch/cache"

# result NAME WHETHER: one TAP line; what the program printed is shown when it failed.
result() {
    n_checks=$((n_checks + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n_checks - $1"
    else
        echo "not ok $n_checks - $1"
        sed 's/^/# out: /' "$scratch/out"
        sed 's/^/# err: /' "$scratch/err"
    fi
}

# skip NAME WHY
skip() {
    n_checks=$((n_checks + 1))
    echo "ok $n_checks - $1 # SKIP $2"
}

# run ARGUMENT...: the program with its output in files and its exit code in $code.
run() {
    code=0
    "$kerf" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
}

# exits CODE NAME ARGUMENT...: the program ends with CODE.
exits() {
    wanted=$1
    name=$2
    shift 2
    run "$@"
    [ "$code" -eq "$wanted" ]
    result "$name" $?
}

# fails CODE PATTERN NAME ARGUMENT...: ends with CODE, prints exactly one line of error that matches, and nothing else.
fails() {
    wanted=$1
    pattern=$2
    name=$3
    shift 3
    run "$@"
    [ "$code" -eq "$wanted" ] && [ ! -s "$scratch/out" ] &&
        [ "$(wc -l <"$scratch/err")" -eq 1 ] && grep -q "^kerf: error: .*$pattern" "$scratch/err"
    result "$name" $?
}

# prints PATTERN NAME: the last run ended well and its output has the pattern.
prints() {
    [ "$code" -eq 0 ] && grep -q -- "$1" "$scratch/out"
    result "$2" $?
}

# field NAME: a field of the last line of the last run's JSON.
field() {
    python3 -c '
import json, sys
print(json.loads(open(sys.argv[1], encoding="utf-8").read().splitlines()[-1])[sys.argv[2]])' \
        "$scratch/out" "$1"
}

# json FIELD...: the last run's output is one JSON object a line, the last one with these fields.
json() {
    [ "$code" -eq 0 ] && python3 -c '
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
missing = [name for name in sys.argv[2:] if name not in lines[-1]]
sys.exit(f"missing {missing}" if missing else 0)' "$scratch/out" "$@" 2>>"$scratch/err"
}

# hashes DIRECTORY: of all its files, in the order of their names.
hashes() {
    (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2)
}

# until_true COMMAND...: waits for it, half a minute at most.
until_true() {
    tries=0
    until "$@" || [ "$tries" -ge 300 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}

# catches_signals PID: it handles SIGINT and SIGTERM itself by now.
catches_signals() {
    grep -q '^SigCgt:.*[4567cdef]..[2367abef]$' "/proc/$1/status"
}

finish() {
    echo "1..$n_checks"
}
