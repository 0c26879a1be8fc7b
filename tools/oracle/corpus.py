# SPDX-License-Identifier: Apache-2.0
"""Text that is hard on a tokenizer: prose, code, many scripts, emoji, white space.

Sections are (name, text) pairs, the same on every run on one machine. Generated text uses
only code points that this Python's Unicode version assigns, since libraries of different
Unicode versions may rightly disagree about the others.
"""

import glob
import os
import random
import sysconfig
import unicodedata

SEED = 20260101
SEPARATORS = [" ", " ", " ", "  ", "\n", "\t", ", ", ". ", "-", "'", "\u00a0", "\u3000", "\r\n"]


def read(path):
    """The file as text, or "" where it is not UTF-8; line ends are kept."""
    try:
        with open(path, encoding="utf-8", newline="") as f:
            return f.read()
    except (UnicodeDecodeError, OSError):
        return ""


def files(patterns, limit, each=60_000):
    """Up to `limit` bytes of the files that match, at most `each` of one file."""
    rng = random.Random(SEED)
    paths = sorted({p for pattern in patterns for p in glob.glob(pattern, recursive=True)})
    rng.shuffle(paths)
    parts, size = [], 0
    for path in paths:
        if size >= limit:
            break
        part = read(path)[:each] if os.path.isfile(path) else ""
        parts.append(part)
        size += len(part.encode())
    return "".join(parts)


def assigned():
    """All assigned code points but surrogates and private use, by block of 128."""
    blocks = {}
    for c in range(0x110000):
        if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co"):
            blocks.setdefault(c >> 7, []).append(chr(c))
    return list(blocks.values())


def words(rng, alphabet, count):
    """Random words over an alphabet with random separators."""
    out = []
    for _ in range(count):
        out.append("".join(rng.choices(alphabet, k=rng.randint(1, 8))))
        out.append(rng.choice(SEPARATORS))
    return "".join(out)


def scripts():
    """Every assigned code point once in order, then random words of each block."""
    rng = random.Random(SEED + 1)
    blocks = assigned()
    small = [b for b in blocks if unicodedata.category(b[0]) != "Lo" or len(b) < 128]
    big = [b for b in blocks if b not in small]  # Han, Hangul and the like: many equal blocks
    out = ["".join(b) + "\n" for b in small + big[::8]]
    out += [words(rng, b, 60) for b in small]
    out += [words(rng, b, 8) for b in big]
    return "".join(out)


def soup():
    """Code points of all blocks mixed, with runs of combining marks and conjoining jamo."""
    rng = random.Random(SEED + 2)
    everything = [c for b in assigned() for c in b]
    marks = [c for c in everything if unicodedata.category(c).startswith("M")]
    numerals = [c for c in everything if unicodedata.category(c).startswith("N")]
    latin = [chr(c) for c in range(0x41, 0x250)]
    jamo = [chr(c) for c in range(0x1100, 0x1200)]
    out = []
    for _ in range(3000):
        out.append(words(rng, everything, 2))
        out.append(rng.choice(latin) + "".join(rng.choices(marks, k=rng.randint(1, 4))))
        out.append(words(rng, jamo, 1))
        out.append("".join(rng.choices(numerals, k=rng.randint(1, 5))) + " ")
    return "".join(out)


def emoji():
    """Faces, skin tones, joined families, flags, keycaps, variation selectors, half sequences."""
    rng = random.Random(SEED + 3)
    pictures = [chr(c) for c in [*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6D8)]]
    pictures += [chr(c) for c in [*range(0x1F90C, 0x1F9FF), *range(0x2600, 0x27C0)]]
    tones = [chr(c) for c in range(0x1F3FB, 0x1F400)]
    letters = [chr(c) for c in range(0x1F1E6, 0x1F200)]
    joiner, variation, keycap = "\u200d", "\ufe0f", "\u20e3"
    makers = [
        lambda: rng.choice(pictures),
        lambda: rng.choice(pictures) + rng.choice(tones),
        lambda: joiner.join(rng.choices(pictures, k=rng.randint(2, 4))),
        lambda: rng.choice(pictures) + variation + joiner + rng.choice(pictures),
        lambda: "".join(rng.choices(letters, k=rng.randint(1, 3))),
        lambda: rng.choice("0123456789#*") + variation + keycap,
        lambda: rng.choice(pictures) + rng.choice(["\ufe0e", variation, joiner]),
        lambda: "".join(rng.choices(pictures, k=rng.randint(2, 6))),
    ]
    glue = ["", "", " ", " ok ", "\n", "!", "1", "'s "]
    return "".join(rng.choice(makers)() + rng.choice(glue) for _ in range(20_000))


def spacing():
    """White space of every kind, contractions, digits, control characters, punctuation."""
    rng = random.Random(SEED + 4)
    spaces = [" ", " ", " ", "\t", "\n", "\r", "\r\n", "\v", "\f", "\u0085", "\u00a0", "\u1680"]
    spaces += [chr(c) for c in [*range(0x2000, 0x200D), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]]
    pieces = ["'s", "'S", "'ll", "'LL", "'Ve", "'re", "'d", "'m", "'T", "\u2019s", "'\u017f", "n't"]
    pieces += ["it", "Word", "\u00fcber", "\u00bd", "\u0663", "3.14", "1234567", "0x1F", "\u2460"]
    pieces += ["...", "?!", "(", ")", "_", "__init__", "--", "\u2014", "\u20ac", "{", "};", "//"]
    pieces += ["\u2581", "\u0120", "\u010a", "<", ">", "|", "\u0001", "\u001b[0m", "\u007f", "\ufeff"]
    out = []
    for _ in range(40_000):
        if rng.random() < 0.5:
            out.append("".join(rng.choices(spaces, k=rng.choice([1, 1, 1, 2, 3, 9]))))
        out.append(rng.choice(pieces))
    return "".join(out)


def sections(data):
    """All sections; `data` is the folder of evaluation text, whose files may be absent."""
    stdlib = sysconfig.get_paths()["stdlib"]
    return [
        ("wikitext", read(f"{data}/text/wikitext-2-raw/wiki.test.raw")),
        ("prose", files([f"{data}/text/calibration/[tw]*.utf8"], 500_000, 300_000)),
        ("code", files([f"{data}/text/calibration/code.utf8"], 250_000, 250_000)),
        ("python", files([f"{stdlib}/*.py", f"{stdlib}/test/*.py"], 700_000)),
        ("doc", files(["/usr/share/doc/**/*.txt", "/usr/share/doc/**/README*"], 300_000)),
        ("locales", files(["/usr/share/i18n/locales/*"], 700_000)),
        ("scripts", scripts()),
        ("soup", soup()),
        ("emoji", emoji()),
        ("spacing", spacing()),
    ]
