# kerf run: what comes out, what ends it, and who reads it. Models that say known words, and a random
# one for conversations.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

root=${KERF_SOURCE_ROOT:?}
chain() {
    python3 "$root/tests/support/chain_model.py" "$@"
}

# says TEXT NAME: the last run ended well and printed exactly this line.
says() {
    [ "$code" -eq 0 ] && [ "$(cat "$scratch/out")" = "$1" ]
    result "$2" $?
}

# typed KEYS ARGUMENT...: as run, on a terminal where somebody types the keys; what it shows is one
# line, so that it cannot be taken for results of the test.
typed() {
    keys=$1
    shift
    code=0
    python3 "$root/tests/support/on_terminal.py" "$keys" "$kerf" "$@" \
        >"$scratch/shown" 2>"$scratch/err" </dev/null || code=$?
    tr '\r\n' '  ' <"$scratch/shown" >"$scratch/out"
    echo >>"$scratch/out"
}

# --- the text ------------------------------------------------------------------------------------

chain "$scratch/short" " a" " time" " two one" " end"
short=$scratch/short/model.bin
run run "$short" -p "Once upon"
says " a time two one end" "a continuation keeps the space in front of its first word"
run run "$short" -p ""
says "a time two one end" "a text from its start has none"
run run "$short" -p "Once upon" --stop one --stop two
says " a time " "of several stop texts the earliest in the text ends it"
run run "$short" -p "Once upon" --stop "end" --stop "e two"
says " a tim" "a stop text over two tokens"
chain "$scratch/letter" " caf" "é" " end"
run run "$scratch/letter/model.bin" -p "Once upon" --stop "$(printf '\251')" --json
[ "$code" -eq 0 ] && grep -q '"text":" caf?".*"stopped_by":"stop"' "$scratch/out"
result "a stop text of half a letter leaves an answer that JSON can hold" $?
chain "$scratch/stories" " The" " end" --end bos
run run "$scratch/stories/model.bin" -p "Once upon" --json
[ "$code" -eq 0 ] && grep -q '"text":" The end".*"stopped_by":"end"' "$scratch/out"
result "the token between the stories of a llama2.c model ends one" $?

chain "$scratch/loop" " on" " and" --end none --context 20
loop=$scratch/loop/model.bin
run run "$loop" -p "Once"
[ "$code" -eq 0 ] && grep -q "context of 20 tokens is full$" "$scratch/err"
result "a context at the model's own limit is not said to be too small" $?
run run "$loop" -p "Once" --context 12
[ "$code" -eq 0 ] && grep -q "is full; --context N makes it larger$" "$scratch/err"
result "a smaller one is" $?
fails 3 "context holds 20$" "nor where the prompt is too long" \
    run "$loop" -p "Once upon a time there was a saw"

# --- who reads it --------------------------------------------------------------------------------

chain "$scratch/endless" " on" " and" --end none --context 1000000
endless=$scratch/endless/model.bin
(
    code=0
    timeout 60 "$kerf" run "$endless" -p "Once" 2>"$scratch/err" || code=$?
    echo "$code" >"$scratch/code"
) | head -c 20 >"$scratch/out"
[ "$(cat "$scratch/code")" = 1 ] && [ ! -s "$scratch/err" ]
result "a reader that goes away ends it, silently" $?
code=0
timeout 60 "$kerf" run "$endless" -p "Once" >/dev/full 2>"$scratch/err" </dev/null || code=$?
[ "$code" -eq 1 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
    grep -q "cannot write standard output: No space left on device" "$scratch/err"
result "a full disk ends it, by its name" $?

# --- interrupts ----------------------------------------------------------------------------------

# ends_by SIGNAL NAME: the signal ends the process with code 1, silently.
ends_by() {
    kill "-$1" "$process"
    code=0
    wait "$process" || code=$?
    [ "$code" -eq 1 ] && [ ! -s "$scratch/err" ]
    result "$2" $?
}

# is_computing PID: it has computed for half a second.
is_computing() {
    [ "$(cut -d ' ' -f 14 "/proc/$1/stat")" -ge 50 ]
}

# is_read: nothing is left in the pipe that is open as 3.
is_read() {
    python3 -c '
import array, fcntl, sys, termios
left = array.array("i", [0])
fcntl.ioctl(3, termios.FIONREAD, left)
sys.exit(left[0])'
}

head -c 900000 /dev/zero | tr '\0' 'x' >"$scratch/long"
"$kerf" run "$endless" - >"$scratch/out" 2>"$scratch/err" <"$scratch/long" &
process=$!
until_true is_computing "$process"
ends_by INT "Ctrl-C ends a long prompt between two batches"

python3 "$root/tests/support/random_model.py" "$scratch/chat" --layers 1
python3 - "$scratch/chat/tokenizer_config.json" <<'END'
import json
import sys
config = json.load(open(sys.argv[1]))
config["chat_template"] = "{% for m in messages %}{{ m['content'] }};{% endfor %}"
json.dump(config, open(sys.argv[1], "w"))
END
chat=$scratch/chat
mkfifo "$scratch/fifo"
"$kerf" run "$chat" --chat -n 4 --json >"$scratch/out" 2>"$scratch/err" <"$scratch/fifo" &
process=$!
exec 3>"$scratch/fifo"
echo Hi >&3
until_true grep -q stopped_by "$scratch/out"
ends_by TERM "SIGTERM ends a conversation at its prompt"
exec 3>&-
[ "$(wc -l <"$scratch/out")" -eq 1 ]
result "and adds nothing to the answers" $?
code=0
"$kerf" run "$chat" --chat >"$scratch/out" 2>"$scratch/err" <"$scratch" || code=$?
[ "$code" -eq 3 ] && grep -q "cannot read standard input" "$scratch/err"
result "a conversation that cannot be read is an error" $?

# The model is cut while it waits for the rest of its prompt.
"$kerf" run "$endless" - -n 4 >"$scratch/out" 2>"$scratch/err" <"$scratch/fifo" &
process=$!
exec 3>"$scratch/fifo"
echo Once >&3
until_true is_read
: >"$endless"
exec 3>&-
code=0
wait "$process" || code=$?
[ "$code" -eq 3 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
    grep -q "^kerf: error: a file was cut" "$scratch/err"
result "a model's file that is cut while in use is an error in one line" $?

# --- a terminal ----------------------------------------------------------------------------------

typed 'Once\n\x04' run "$short"
[ "$code" -eq 0 ] && grep -q "Ctrl-D" "$scratch/out" && grep -q " a time two one end" "$scratch/out"
result "a prompt that is typed ends at the first Ctrl-D, as the hint says" $?
typed '\x03' run "$short"
[ "$code" -eq 1 ] && grep -q "cancelled while reading standard input" "$scratch/out"
result "Ctrl-C ends the program while it waits for the prompt" $?

typed '\x03\x04' run "$scratch/chat" --chat
[ "$code" -eq 0 ] && grep -q "Type your message.*> .*> " "$scratch/out"
result "in a conversation it brings a fresh prompt" $?

# --- conversations -------------------------------------------------------------------------------

# spoken FIELD LINE...: a conversation with these lines (as printf has them); the field of each
# answer is in $scratch/fields.
spoken() {
    field=$1
    shift
    printf "$@" >"$scratch/lines"
    code=0
    "$kerf" run "$chat" --chat -n 4 --temp 0 --json >"$scratch/out" 2>"$scratch/err" \
        <"$scratch/lines" || code=$?
    python3 -c 'import json, sys
print([json.loads(line)[sys.argv[2]] for line in open(sys.argv[1])])' \
        "$scratch/out" "$field" >"$scratch/fields"
}

spoken text 'Hi\nHo\n'
cp "$scratch/fields" "$scratch/wanted"
spoken text 'Hi\n%s\nHo\n' "$(head -c 600 "$scratch/long")"
[ "$code" -eq 0 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
    grep -q "the prompt has 6[0-9][0-9] tokens" "$scratch/err"
result "a message that is too long does not end the conversation" $?
cmp -s "$scratch/fields" "$scratch/wanted"
result "which goes on as if it had not been said" $?
spoken prompt_tokens 'Hi\nHo\n'
cp "$scratch/fields" "$scratch/wanted"
spoken prompt_tokens 'Hi\r\nHo\r\n'
[ "$code" -eq 0 ] && cmp -s "$scratch/fields" "$scratch/wanted"
result "a line may end in CR LF" $?

yes Hi | head -n 200 >"$scratch/lines"
code=0
"$kerf" run "$chat" --chat -n 4 >/dev/full 2>"$scratch/err" <"$scratch/lines" || code=$?
[ "$code" -eq 1 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] && grep -q "No space left" "$scratch/err"
result "no further turn is computed that cannot be printed" $?

finish
