#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers to the questions of tasks, by transformers and torch on the CPU, beside Kerf's.

Reads the files of the tasks itself, puts each question as lm-evaluation-harness does, scores
every choice by a forward pass of its own (nothing is shared between choices, nothing batched)
and compares the log-likelihoods and the chosen answers with those of `kerf eval --answers`.

  tasks.py DIR --kerf build/kerf --model MODEL --data $KERF_DATA/tasks --limit 50

DIR is what dequantize.py makes of MODEL.
"""

import argparse
import bz2
import json
import os
import subprocess
import sys

import tokenizers
import torch
import transformers
from transformers import AutoModelForCausalLM

TASKS = ["piqa", "arc_easy", "boolq", "hellaswag", "winogrande"]


def json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def questions(task, data):
    """(contexts, choices, gold), one context a choice."""
    if task == "hellaswag":
        with bz2.open(os.path.join(data, "hellaswag_val_full.txt.bz2"), "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
        return [([lines[i]] * 4, lines[i + 2:i + 6], int(lines[i + 1]))
                for i in range(0, len(lines) - 5, 6)]
    rows = json_lines(os.path.join(data, task + ".jsonl"))
    if task == "winogrande":
        return [(r["context_options"], [r["continuation"]] * len(r["context_options"]), r["gold"])
                for r in rows]
    found = []
    for row in rows:
        query = row["query"].removeprefix("Passage: ").rstrip() + "\nAnswer:"
        found.append(([query] * len(row["choices"]), row["choices"], row["gold"]))
    return found


def log_likelihood(model, tokenizer, context, choice):
    alone = tokenizer.encode(context, add_special_tokens=False).ids
    n_context = len(alone)
    whole = tokenizer.encode(context + " " + choice, add_special_tokens=False).ids
    ids = alone + whole[n_context:]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    log_p = torch.log_softmax(logits[n_context - 1:-1], dim=-1)
    return log_p.gather(1, torch.tensor(ids[n_context:])[:, None]).sum().item()


def kerf_answers(kerf, model, data, task, limit):
    command = [kerf, "eval", model, "--tasks", task, "--tasks-dir", data, "--limit", str(limit),
               "--answers", "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    return lines[:-1], lines[-1]


def compare_task(model, tokenizer, args, task):
    ours, total = kerf_answers(args.kerf, args.model, args.data, task, args.limit)
    differences = []
    n_same = n_same_norm = n_right = 0
    for (contexts, choices, gold), answer in zip(questions(task, args.data), ours):
        loglik = [log_likelihood(model, tokenizer, a, b) for a, b in zip(contexts, choices)]
        by_byte = [x / len(choice.encode()) for x, choice in zip(loglik, choices)]
        chosen = loglik.index(max(loglik))
        n_same += chosen == answer["chosen"] and gold == answer["gold"]
        n_same_norm += by_byte.index(max(by_byte)) == answer["chosen_norm"]
        n_right += chosen == gold
        differences += [abs(x - y) for x, y in zip(loglik, answer["loglik"])]
    n = len(ours)
    print(f"{task:12} {n} questions: the same choice {n_same}, by the byte {n_same_norm}; "
          f"log-likelihoods differ by {max(differences):.6f} at most; "
          f"acc {100 * n_right / n:.2f} % here, {100 * total['acc']:.2f} % by Kerf", flush=True)
    return n_same == n and n_same_norm == n


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--kerf", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--limit", type=int, default=50)
    args = parser.parse_args()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, "
          f"tokenizers {tokenizers.__version__}", flush=True)
    model = AutoModelForCausalLM.from_pretrained(args.directory, dtype=torch.float32)
    model.eval()
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(args.directory, "tokenizer.json"))
    same = [compare_task(model, tokenizer, args, task) for task in args.tasks.split(",")]
    sys.exit(0 if all(same) else 1)


if __name__ == "__main__":
    main()
