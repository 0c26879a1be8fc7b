# fuzz.sh - ./dev fuzz [TARGET] [SECONDS]: libFuzzer on the parsers, with ASan and UBSan.
#
# Sourced by dev. New inputs that reach new code go to build-fuzz/corpus/TARGET, which is kept; an
# input that breaks something is left as build-fuzz/TARGET-crash-*: put it into
# tests/fuzz/corpus/TARGET with the fix, and the suite replays it for ever.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

fuzz_target=${1:-all}
fuzz_seconds=${2:-60}
case $fuzz_seconds in
0* | *[!0-9]*) fail "seconds are '$fuzz_seconds', expected a whole number of 1 or more" ;;
esac

CC=clang-14 configure build-fuzz --buildtype=debugoptimized -Dfuzz=true -Dwerror=false \
    -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link
ninja_build build-fuzz

fuzz_one() {
    fuzz_seeds=tests/fuzz/corpus/$1
    fuzz_found=build-fuzz/corpus/$1
    mkdir -p "$fuzz_found"
    note "fuzzing $1 for $fuzz_seconds s"
    "build-fuzz/tests/fuzz_$1" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="build-fuzz/$1-" "$fuzz_found" "$fuzz_seeds" \
        >"build-fuzz/$1.log" 2>&1 || {
        tail -n 60 "build-fuzz/$1.log"
        fail "$1: found an input, see build-fuzz/$1-*"
    }
    grep -E '^(stat::number_of_executed_units|Done)' "build-fuzz/$1.log" || true
}

if [ "$fuzz_target" = all ]; then
    for fuzz_program in build-fuzz/tests/fuzz_*; do
        [ ! -f "$fuzz_program" ] || fuzz_one "${fuzz_program#build-fuzz/tests/fuzz_}"
    done
elif [ -f "build-fuzz/tests/fuzz_$fuzz_target" ]; then
    fuzz_one "$fuzz_target"
else
    fail "no fuzz target '$fuzz_target'; tests/meson.build lists them"
fi
