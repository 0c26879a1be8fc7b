# bench.sh - ./dev bench [ARGUMENT...]: what the machine gives and what Kerf makes of it.
#
# Sourced by dev. Runs each program of bench/, then `kerf bench` on the default model; arguments go
# to the latter. Timings only mean something on a machine that does nothing else.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

cmd_build
for bench_program in build/bench/bench_*; do
    if [ -f "$bench_program" ] && [ -x "$bench_program" ]; then
        note "$bench_program"
        "$bench_program"
    fi
done
find_model
[ -n "$model" ] || fail "the default model is not there and cannot be fetched"
build/kerf bench "$model" "$@"
