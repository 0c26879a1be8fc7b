# kerf compare on a tiny random checkpoint: the table, its rows in a file, its page.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

root=${KERF_SOURCE_ROOT:?}
model=$scratch/model
python3 "$root/tests/support/random_model.py" "$model" --layers 3
cat "$root/README.md" >"$scratch/a.txt"
cat "$root/LICENSE" >"$scratch/b.txt"
cp "$root/CONTRIBUTING.md" "$scratch/calib.txt"
texts=$scratch/a.txt,$scratch/b.txt
options="--calib $scratch/calib.txt --window 128 --windows 4 --set calib.samples=4
    --set calib.length=128"

# checks NAME PYTHON: the rows of the last run's JSON, as `rows`.
checks() {
    [ "$code" -eq 0 ] && python3 -c '
import json, math, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
exec(sys.argv[2])' "$scratch/out" "$2" 2>>"$scratch/err"
    result "$1" $?
}

# --- rows ----------------------------------------------------------------------------------------

run compare "$model" --recipes rtn-w4,gptq-w3 --texts "$texts" $options -n 4 --seeds 2 --json \
    --rows "$scratch/rows.jsonl" --html "$scratch/page.html"
checks "a row for each recipe, text and seed that matters, and the source's" '
assert [(r["recipe"], r.get("seed"), r["text"]) for r in rows] == [
    ("float", None, "a.txt"), ("float", None, "b.txt"),
    ("rtn-w4", None, "a.txt"), ("rtn-w4", None, "b.txt"),
    ("gptq-w3", 0, "a.txt"), ("gptq-w3", 0, "b.txt"), ("gptq-w3", 1, "a.txt"), ("gptq-w3", 1, "b.txt")]'
checks "a row tells what was measured" '
for r in rows[2:]:
    assert r["windows"] == 4 and r["tokens"] == 4 * 127
    difference = math.log(r["perplexity"] / r["reference_perplexity"])
    assert abs(difference - r["loss_difference"]) < 1e-6 and r["loss_difference_se"] > 0
    assert 0 < r["kl_mean"] < r["kl_99"] and 0 < r["top1"] < 1
    assert 2 < r["bits_per_weight_linear"] < 5 and r["quantize_seconds"] > 0
    assert r["memory_bytes"] > 0'
checks "seeds change what is drawn from a calibration text" '
assert rows[4]["perplexity"] != rows[6]["perplexity"]'
checks "each block has its errors, of weights, outputs and the residual stream" '
for r in rows[2:]:
    assert len(r["blocks"]) == len(r["layers"]) == 3
    assert all(b["weight_error"] > 0 for b in r["blocks"])
    assert all((b["output_error"] is None) == (r["recipe"] == "rtn-w4") for b in r["blocks"])
    assert all(l["others"] > 0 and len(l["bands"]) == 7 for l in r["layers"])'
[ "$(wc -l <"$scratch/rows.jsonl")" -eq 8 ] && cmp -s "$scratch/out" "$scratch/rows.jsonl"
result "the file of rows has the same lines" $?

cp "$scratch/rows.jsonl" "$scratch/first"
run compare "$model" --recipes gptq-w3,rtn-w4 --texts "$texts" $options -n 4 --seeds 2 --json \
    --rows "$scratch/rows.jsonl"
checks "a second time no row is measured again" '
assert rows[2]["recipe"] == "gptq-w3"
known = [json.loads(line) for line in open("'"$scratch/first"'", encoding="utf-8")]
assert sorted(map(str, rows)) == sorted(map(str, known))'
cmp -s "$scratch/rows.jsonl" "$scratch/first"
result "nor added to the file" $?

head -n 5 "$scratch/first" >"$scratch/rows.jsonl"
run compare "$model" --recipes rtn-w4,gptq-w3 --texts "$texts" $options -n 4 --seeds 2 --json \
    --rows "$scratch/rows.jsonl"
checks "an interrupted table goes on where it stopped, with the same figures" '
known = [json.loads(line) for line in open("'"$scratch/first"'", encoding="utf-8")]
times = ["eval_seconds", "quantize_seconds", "tokens_per_second", "peak_rss_bytes"]
for r, k in zip(rows, known):
    assert {n: r[n] for n in r if n not in times} == {n: k[n] for n in k if n not in times}'
[ "$(wc -l <"$scratch/rows.jsonl")" -eq 8 ] &&
    [ "$(head -n 5 "$scratch/rows.jsonl")" = "$(head -n 5 "$scratch/first")" ]
result "and only what was missing is appended" $?

# changed NAME OPTION...: with these options the row of rtn-w4 is another one.
changed() {
    name=$1
    shift
    cp "$scratch/first" "$scratch/rows.jsonl"
    run compare "$model" --recipes rtn-w4 --texts "$texts" $options -n 4 --json \
        --rows "$scratch/rows.jsonl" "$@"
    [ "$code" -eq 0 ] && [ "$(wc -l <"$scratch/rows.jsonl")" -gt 8 ]
    result "a row is not taken for one $name" $?
}
changed "of other windows" --windows 3
changed "of another seed" --seed 5 --recipes gptq-w3
changed "of another knob" --set weights=int4g32
changed "of other activations" --activations float
changed "of another cache" --kv k4v4
changed "of another text" --texts "$scratch/calib.txt"
cp "$scratch/first" "$scratch/rows.jsonl"
run compare "$model" --recipes rtn-w4 --texts "$scratch/a.txt" $options \
    --calib "$scratch/b.txt" --seed 5 -n 4 --json --rows "$scratch/rows.jsonl"
cmp -s "$scratch/rows.jsonl" "$scratch/first"
result "what needs no calibration depends neither on its text nor on the seed" $?
sed 's/"sources":"[0-9a-f]*"/"sources":"0"/' "$scratch/first" >"$scratch/other"
cp "$scratch/other" "$scratch/rows.jsonl"
run compare "$model" --recipes rtn-w4 --texts "$scratch/a.txt" $options -n 4 --json \
    --rows "$scratch/rows.jsonl"
! cmp -s "$scratch/other" "$scratch/first" && [ "$(wc -l <"$scratch/rows.jsonl")" -eq 10 ]
result "a row of other sources of Kerf is not taken" $?

# --- recipes -------------------------------------------------------------------------------------

once="--texts $scratch/a.txt $options -n 0 --layers 0 --json"
run compare "$model" $once
checks "without --recipes two ways of rounding at four widths" '
assert [r["recipe"] for r in rows] == ["float"] + [
    f"{way}-w{bits}" for bits in (8, 4, 3, 2) for way in ("rtn", "gptq")]'
run compare "$model" $once --recipes "mxint4,rtn-w[34]"
checks "names and patterns stand for themselves and for all that match" '
assert [r["recipe"] for r in rows] == ["float", "mxint4", "rtn-w4", "rtn-w3"]'
run compare "$model" $once --recipes "rtn-w4,rtn-w4+weights=int4g32+prefix=start" \
    --set activations=float
checks "settings behind a name are of that row alone" '
assert [r["recipe"] for r in rows] == ["float", "rtn-w4", "rtn-w4+weights=int4g32+prefix=start"]
assert [r["start"] for r in rows] == ["none", "none", "start token"]
assert rows[1]["bits_per_weight_linear"] < rows[2]["bits_per_weight_linear"]
assert rows[2]["activations"] == "float"'
run compare "$model" $once --recipes "rtn-w[34]+head=int4g64"
checks "and of all that match a pattern" '
assert [r["recipe"] for r in rows] == ["float", "rtn-w4+head=int4g64", "rtn-w3+head=int4g64"]'
mkdir "$scratch/a+b"
printf '{"weights": "int4g64"}' >"$scratch/a+b/mine.json"
run compare "$model" $once --recipes "$scratch/a+b/mine.json+head=int4g64"
checks "a file may have a plus in its name" '
assert [r["recipe"] for r in rows] == ["float", "mine+head=int4g64"]'
fails 2 "heat" "a setting that there is not" compare "$model" $once --recipes "rtn-w4+heat=1"
fails 2 "no recipe is called like 'quorat-[*]'" "a pattern that matches nothing" \
    compare "$model" $once --recipes "quorat-*"

# --- the table and the page ----------------------------------------------------------------------

run compare "$model" --recipes rtn-w4,gptq-w3 --texts "$texts" $options -n 4 --seeds 2 \
    --rows "$scratch/rows.jsonl"
prints "^gptq-w3@1 .* +- .*[+-][0-9.]* +- .*% .*%.* int8tg64, k8v8, b.txt$" \
    "the table has a line a row, with seed and text"
prints "^gptq-w3  *2 .* +- .* +- .*  b.txt$" "and the spread over seeds"
grep -q "^over seeds" "$scratch/out" && grep -q "^what each wrote" "$scratch/out"
result "and what the models wrote" $?
run compare "$model" --recipes rtn-w4 --texts "$scratch/a.txt" $options -n 0 --layers 0 \
    --rows "$scratch/rows.jsonl"
[ "$code" -eq 0 ] && ! grep -q "^what each wrote" "$scratch/out" && [ ! -s "$scratch/err" ]
result "which -n 0 leaves out" $?

run compare "$model" --recipes rtn-w4 --texts "$texts" $options -n 0 --layers 0 --markdown
[ "$code" -eq 0 ] && [ "$(sed 's/[^|]//g' "$scratch/out" | sort | uniq -c | tr -d ' ')" = \
    "6|||||||||||||" ] && grep -q "^| rtn-w4 | .* ± .* | .*+.* ± .* %" "$scratch/out"
result "as Markdown, every line has as many cells" $?

python3 - "$scratch/page.html" <<'PYTHON'
import html.parser, sys
page = open(sys.argv[1], encoding="utf-8").read()
void = {"meta"}
stack, rows, charts, maps = [], 0, 0, 0
class Reader(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
        global rows, charts
        rows += tag == "tr"
        charts += tag == "svg"
        if tag not in void:
            stack.append(tag)
    def handle_startendtag(self, tag, attrs):
        pass
    def handle_endtag(self, tag):
        assert stack.pop() == tag, tag
Reader().feed(page)
assert not stack, stack
assert rows == 9, rows
# Of each text loss and layers, then outputs and weights of blocks, and a map of each of 6 rows.
assert charts == 2 * 2 + 2 + 6, charts
assert "nan" not in page and "inf" not in page
for word in ("http:", "https:", "<script", "src=", "@import", "url("):
    assert word not in page, word
PYTHON
result "the page is well-formed and needs nothing but itself" $?

printf '%s\n' '{"key":{},"recipe":"<b>\u001b[31m&","text":"\u001b[2J","answer":"\u001b[2J"}' >"$scratch/odd.jsonl"
run compare "$model" --recipes rtn-w4 --texts "$scratch/a.txt" $options -n 0 --layers 0 \
    --rows "$scratch/odd.jsonl"
[ "$code" -eq 0 ] && [ "$(wc -l <"$scratch/odd.jsonl")" -eq 3 ]
result "a row of something else is left alone" $?
key=$(sed -n 2p "$scratch/odd.jsonl" | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["key"]))')
printf '{"key":%s,"recipe":"<b>\\u001b[31m&","text":"\\u001b[2J","perplexity":"x","answer":"\\u001b[2J\\u009b"}\n' "$key" >"$scratch/odd.jsonl"
run compare "$model" --recipes rtn-w4 --texts "$scratch/a.txt" $options -n 1 --layers 0 \
    --rows "$scratch/odd.jsonl" --html "$scratch/odd.html"
[ "$code" -eq 0 ] && ! grep -q "$(printf '\033')" "$scratch/out" "$scratch/odd.html" &&
    ! grep -q "<b>" "$scratch/odd.html"
result "a row out of a file drives neither terminal nor page" $?

# --- what is refused -----------------------------------------------------------------------------

small="--texts $scratch/a.txt --recipes rtn-w4 $options"
fails 2 "missing --texts" "no text" compare "$model"
fails 2 "names none" "an empty list of texts" compare "$model" --texts ,
fails 2 "several texts need --calib" "two texts and none to calibrate on" \
    compare "$model" --texts "$texts"
echo '{"recipe": "rtn-w4"}' >"$scratch/bad.jsonl"
fails 3 "bad.jsonl' line 1: expected a row" "a file of rows that has none" \
    compare "$model" $small --rows "$scratch/bad.jsonl"
printf '{"key":{}}\n\n{"key":' >"$scratch/bad.jsonl"
fails 3 "bad.jsonl' line 3" "a line that is half a row" \
    compare "$model" $small --rows "$scratch/bad.jsonl"
fails 3 "cannot read" "a directory as file of rows" compare "$model" $small --rows "$scratch"
run compare "$model" $small -n 0 --layers 0 --rows "$scratch/no/such/rows"
[ "$code" -eq 1 ] && grep -q "cannot write '.*no/such/rows': No such file" "$scratch/err"
result "a file of rows that cannot be made" $?
run compare "$model" $small -n 0 --layers 0 --html "$scratch/no/such/page"
[ "$code" -eq 1 ] && grep -q "cannot write '.*no/such/page': No such file" "$scratch/err"
result "a page that cannot be made" $?
[ -z "$(find "$scratch" -name '*.tmp')" ]
result "nothing half-written stays" $?

finish
