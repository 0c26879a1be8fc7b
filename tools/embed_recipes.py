#!/usr/bin/env python3
"""Writes the recipes that come with Kerf as one C file.

usage: embed_recipes.py OUTPUT.c RECIPE.json...

SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import sys


def c_string(text):
    """One C string literal a line."""
    lines = []
    for line in text.splitlines(keepends=True):
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        if not escaped.isascii():
            sys.exit("embed_recipes.py: a recipe holds more than ASCII: " + line.strip())
        lines.append('     "%s"' % escaped)
    return "\n".join(lines)


def main():
    output, *recipes = sys.argv[1:]
    rows = []
    for path in map(pathlib.Path, recipes):
        text = path.read_text(encoding="utf-8")
        description = json.loads(text)["description"]
        rows.append('    {"%s",\n%s,\n%s},\n' % (path.stem, c_string(description), c_string(text)))
    pathlib.Path(output).write_text(
        "/* Made by tools/embed_recipes.py. */\n"
        '#include "quantize/recipe.h"\n\n'
        "const kfi_recipe_file kfi_recipe_files[] = {\n" + "".join(rows) +
        "    {NULL, NULL, NULL},\n};\n", encoding="utf-8")


main()
