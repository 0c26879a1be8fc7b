# Names out of files and paths of any bytes: JSON stays JSON, and a terminal is not driven.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

# says KEY VALUE: the last run's output is a JSON object that holds this.
says() {
    [ "$code" -eq 0 ] && python3 -c 'import json, sys
assert json.load(open(sys.argv[1], "rb"))[sys.argv[2]] == sys.argv[3]' "$scratch/out" "$1" "$2"
}

python3 "${KERF_SOURCE_ROOT:?}/tests/support/random_model.py" --layers 1 --hidden 64 \
    --feed-forward 64 --heads 2 --kv-heads 2 --vocabulary 300 --context 256 "$scratch/model"
python3 - "$scratch/model/config.json" <<'END'
import json
import sys
config = json.load(open(sys.argv[1]))
config["_name_or_path"] = "red\x1b[31m"
json.dump(config, open(sys.argv[1], "w"))
END
latin=$scratch/$(printf 'caf\351')
cp -r "$scratch/model" "$latin"

run pull --json "$latin"
says path "$scratch/caf?"
result "a path that is not UTF-8 is printed as JSON" $?
exits 0 "a path that is not UTF-8 is opened" info "$latin"
run info "$scratch/model"
[ "$code" -eq 0 ] && grep -q 'red' "$scratch/out" &&
    ! LC_ALL=C grep -q "$(printf '\033')" "$scratch/out"
result "control characters are kept from the terminal" $?
run info --json "$scratch/model"
says name "$(printf 'red\033[31m')"
result "a name is kept as it is in JSON" $?

finish
