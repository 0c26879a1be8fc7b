#!/bin/sh
# Names out of files and paths of any bytes, in TAP: JSON stays JSON, and a terminal is not driven.
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

# is_json TEXT KEY VALUE
is_json() {
    printf '%s' "$1" | python3 -c 'import json, sys
assert json.load(sys.stdin)[sys.argv[1]] == sys.argv[2]' "$2" "$3"
}

echo 1..4
python3 "$KERF_SOURCE_ROOT/tests/support/random_model.py" --layers 1 --hidden 64 \
    --feed-forward 64 --heads 2 --kv-heads 2 --vocabulary 300 --context 256 "$work/model"
python3 - "$work/model/config.json" <<'END'
import json
import sys
config = json.load(open(sys.argv[1]))
config["_name_or_path"] = "red\x1b[31m"
json.dump(config, open(sys.argv[1], "w"))
END
latin=$work/$(printf 'caf\351')
cp -r "$work/model" "$latin"

is_json "$("$KERF" pull --json "$latin")" path "$work/caf?"
check prints_a_path_that_is_not_utf8_as_json $?
"$KERF" info "$latin" >"$work/text"
check opens_a_path_that_is_not_utf8 $?
"$KERF" info "$work/model" | LC_ALL=C grep -q "$(printf '\033')"
check keeps_control_characters_from_the_terminal $((1 - $?))
is_json "$("$KERF" info --json "$work/model")" name "$(printf 'red\033[31m')"
check keeps_a_name_as_it_is_in_json $?
