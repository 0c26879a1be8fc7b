# kerf eval --tasks on questions of our own.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

root=${KERF_SOURCE_ROOT:?}
model=$scratch/model
tasks=$scratch/tasks
python3 "$root/tests/support/random_model.py" "$model" --layers 2
mkdir "$tasks"
cat >"$tasks/piqa.jsonl" <<'JSON'
{"query": "Question: How does a saw cut?\n", "choices": ["by teeth", "by light"], "gold": 0}
{"query": "Question: How is oak sawn?", "choices": ["dry", "wet", "by a gang of saws"], "gold": 2}
{"query": "Question: What is a kerf?", "choices": ["a cut", "a cat"], "gold": 0}
JSON
cat >"$tasks/winogrande.jsonl" <<'JSON'
{"context_options": ["Ann gave Eve a saw, since Ann", "Ann gave Eve a saw, since Eve"], "continuation": "had two.", "gold": 0}
JSON

run eval "$model" --tasks piqa,winogrande --tasks-dir "$tasks"
prints "^task  *questions  *acc %  *acc_norm %  *chance %  *seconds  kv$" "tasks have a table"
[ "$(grep -c '^piqa  *3 .* 44.44 .* f32$' "$scratch/out")" -eq 1 ]
result "with a line a task and what guessing gives" $?
[ "$(tail -n 1 "$scratch/out" | grep -c '^winogrande  *1 .*0.00  *[0-9.]*0.00  *50.00 ')" -eq 1 ]
result "where one question tells no standard error" $?

run eval "$model" --tasks piqa --tasks-dir "$tasks" --limit 2 --answers --json
json model task questions acc acc_se acc_norm acc_norm_se chance tokens seconds activations kv \
    source start prefix_tokens
result "tasks as JSON" $?
[ "$(wc -l <"$scratch/out")" -eq 3 ] && [ "$(field questions)" = 2 ]
result "behind the answers, and only so many questions" $?
python3 - "$scratch/out" <<'PYTHON'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
lengths = [[8, 8], [3, 3, 17]]
right = 0
for line, n in zip(lines[:-1], lengths):
    best = max(range(len(n)), key=lambda i: line["loglik"][i])
    by_byte = max(range(len(n)), key=lambda i: line["loglik"][i] / n[i])
    assert line["chosen"] == best and line["chosen_norm"] == by_byte, line
    right += best == line["gold"]
assert lines[-1]["acc"] == right / 2
PYTHON
result "acc counts the answers that are right" $?
cp "$scratch/out" "$scratch/first"
run eval "$model" --tasks piqa --tasks-dir "$tasks" --limit 2 --answers --json -t 1
[ "$(head -n 2 "$scratch/out")" = "$(head -n 2 "$scratch/first")" ]
result "one thread gives the same log-likelihoods as all" $?

run quantize "$model" -o "$scratch/w4" --recipe rtn-w4 --set prefix=start
run eval "$scratch/w4" --tasks piqa --tasks-dir "$tasks" --json
[ "$(field start)" = prefix ] && [ "$(field prefix_tokens)" = 1 ]
result "a checkpoint is asked behind its prefix" $?

fails 2 "no task 'mmlu': expected some of piqa, arc_easy" "an unknown task" \
    eval "$model" --tasks piqa,mmlu --tasks-dir "$tasks"
fails 2 "names none" "no task at all" eval "$model" --tasks , --tasks-dir "$tasks"
fails 2 "give one of them" "a text and tasks" eval "$model" --tasks piqa --text "$0"
fails 2 "need --text" "a reference for tasks" eval "$model" --tasks piqa --against "$model"
fails 2 "need --tasks" "a limit of a text" eval "$model" --text "$0" --limit 3
fails 3 "boolq.jsonl': No such file.*--tasks-dir" "a task whose file is missing, before any is asked" \
    eval "$model" --tasks piqa,boolq --tasks-dir "$tasks"
code=0
KERF_DATA="$scratch" "$kerf" eval "$model" --tasks winogrande --json >"$scratch/out" \
    2>"$scratch/err" || code=$?
[ "$code" -eq 0 ] && [ "$(field task)" = winogrande ]
result "KERF_DATA says where the files are" $?
echo '{"query": "x"}' >"$tasks/arc_easy.jsonl"
run eval "$model" --tasks arc_easy --tasks-dir "$tasks" --json
[ "$code" -eq 3 ] && grep -q "arc_easy.jsonl': line 1: expected 2 to 8 choices" "$scratch/err"
result "a line of another form is named" $?

finish
