"""What the checks of C sources share: the files, text without comments and strings, functions.

SPDX-License-Identifier: Apache-2.0
"""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def c_files(*folders):
    """The .c, .h and .def files under some folders of the tree, as paths relative to the root."""
    found = []
    for folder in folders:
        base = ROOT / folder
        if base.is_dir():
            found += [p for p in base.rglob("*") if p.suffix in (".c", ".h", ".def")]
    return sorted(p.relative_to(ROOT) for p in found)


TOKEN = re.compile(
    r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)


def blank(text):
    """The same text with comments and the inside of literals turned to spaces, lines kept."""

    def replace(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token[0] + " " * (len(token) - 2) + token[-1]
        return re.sub(r"[^\n]", " ", token)

    return TOKEN.sub(replace, text)


def join_continued(text):
    """Preprocessor lines blanked, continued ones as a whole, lines kept."""
    lines = text.split("\n")
    in_directive = False
    for i, line in enumerate(lines):
        if in_directive or line.lstrip().startswith("#"):
            in_directive = line.endswith("\\")
            lines[i] = ""
    return "\n".join(lines)


class Function:
    def __init__(self, name, parameters, line, body, n_lines):
        self.name = name
        self.parameters = parameters
        self.line = line  # of the opening brace
        self.body = body
        self.n_lines = n_lines


HEAD = re.compile(r"([A-Za-z_]\w*)\s*\(([^;{}]*)\)\s*$")


def functions(code):
    """Every function definition in code that blank() has seen.

    The style puts a function's brace at the start of a line, which no other brace has.
    """
    code = join_continued(code)
    at = 0
    while True:
        begin = code.find("\n{", at)
        if begin < 0:
            return
        end = code.find("\n}", begin + 1)
        if end < 0:
            return
        head = HEAD.search(code[max(0, begin - 2000):begin])
        if head:
            line = code.count("\n", 0, begin) + 2
            body = code[begin + 2:end]
            yield Function(head.group(1), head.group(2), line, body, body.count("\n") + 2)
        at = end


def run(command):
    """Runs a command; returns its exit code and what it wrote to both streams."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
