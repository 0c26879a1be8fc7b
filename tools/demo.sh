# demo.sh - ./dev demo [--text FILE] [--model MODEL] [OPTION of kerf compare...]
#
# Sourced by dev. Fetches a small real model once, quantizes it by the recipes that kerf compare takes
# unless told otherwise, and puts them beside full precision. The text is the Debian Policy Manual
# of the package debian-policy (GPL), unless told otherwise: its first half calibrates, its second
# half is measured, and the table says so.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154

demo_text=
demo_model=
while [ $# -gt 0 ]; do
    case $1 in
    --text | --model)
        [ $# -gt 1 ] || fail "$1 needs a value"
        if [ "$1" = --text ]; then demo_text=$2; else demo_model=$2; fi
        shift 2
        ;;
    --)
        shift
        break
        ;;
    *) break ;;
    esac
done

cmd_deps demo
cmd_build
mkdir -p build/demo

# The manual of the package; a system that is set up to install no documentation has it in the
# archive still.
demo_find_text() {
    demo_manual=usr/share/doc/debian-policy/policy.txt
    for demo_place in "" build/demo; do
        if [ -f "$demo_place/$demo_manual.gz" ]; then
            gzip -dc "$demo_place/$demo_manual.gz" >build/demo/policy.txt
            return 0
        fi
    done
    (cd build/demo && apt-get download -qq debian-policy && dpkg-deb -x debian-policy_*.deb .) ||
        fail "no text: install debian-policy or give --text FILE"
    gzip -dc "build/demo/$demo_manual.gz" >build/demo/policy.txt
}

if [ -z "$demo_text" ]; then
    demo_find_text
    demo_text=build/demo/policy.txt
fi
[ -r "$demo_text" ] || fail "cannot read '$demo_text'"

model=$demo_model
[ -n "$model" ] || find_model
[ -n "$model" ] || fail "the default model is not there and cannot be fetched; give --model FILE"

# Four windows of calibration and four of measuring are enough to see what is lost, not to publish:
# the table's standard errors say how much to believe.
build/kerf compare "$model" --texts "$demo_text" --windows 4 --set calib.samples=4 "$@"
