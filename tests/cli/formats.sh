# A model in each kind of code, from a recipe of one's own: quantized, verified, and the same answers
# on every instruction set, to the last bit.
#
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/tap.sh"

root=${KERF_SOURCE_ROOT:?}
model=$scratch/model
text=$scratch/text.txt
python3 "$root/tests/support/random_model.py" "$model" --layers 2
head -c 2000 "$root/LICENSE" >"$text"

# recipe WEIGHTS HEAD: as a file.
recipe() {
    printf '{"weights": "%s", "head": "%s", "embedding": "%s", "prefix": "none",
 "methods": [{"name": "rtn", "fit": "mse"}]}\n' "$1" "$2" "$2" >"$scratch/recipe.json"
}

# answers ISA: the perplexity by the kernels up to an instruction set, with activations as codes and
# as floats.
answers() {
    for activations in int8tg64 float; do
        KERF_ISA=$1 "$kerf" eval "$scratch/out-model" --text "$text" --window 128 --windows 2 \
            --json --activations "$activations" >"$scratch/out" 2>"$scratch/err" </dev/null ||
            return 1
        field perplexity || return 1
    done
}

# agree: all instruction sets give the same. One that the machine lacks is the one below it.
agree() {
    answers generic >"$scratch/generic" || return 1
    for isa in avx2 avxvnni avx512vnni native; do
        answers "$isa" >"$scratch/$isa" || return 1
        cmp "$scratch/generic" "$scratch/$isa" >>"$scratch/err" 2>&1 || return 1
    done
}

while read -r weights head; do
    recipe "$weights" "$head"
    run quantize "$model" -o "$scratch/out-model" --recipe "$scratch/recipe.json" --force
    [ "$code" -eq 0 ] && run verify "$scratch/out-model" && [ "$code" -eq 0 ]
    result "a recipe makes a model in $weights" $?
    run info "$scratch/out-model" --tensors
    prints "q_proj.* $weights " "whose layers are $weights"
    agree
    result "with the same perplexity on every instruction set" $?
done <<END
ternaryg64r cb4g32
nf4g64 cb8row
cb16g64 nf2g128
fp6e3m2row fp6e3m2g64
END

run quantize "$model" -o "$scratch/other" --recipe "$scratch/recipe.json" --set weights=cb5g64
[ "$code" -eq 3 ] && grep -q "cb4, cb8 or cb16" "$scratch/err"
result "a codebook of another size is refused, with the names there are" $?

finish
