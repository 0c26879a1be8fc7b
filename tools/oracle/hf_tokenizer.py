# SPDX-License-Identifier: Apache-2.0
"""Hugging Face `tokenizers` objects made from the tokenizer metadata of a GGUF file.

The pre-tokenizer is the one the model was published with, chosen by
`tokenizer.ggml.pre`. A tokenizer that transformers converts from a GGUF loses it
and splits text differently, so it is no reference.
"""

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre

# Values of tokenizer.ggml.token_type.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# The patterns published in the tokenizer.json of Llama 3 and Qwen 2; they differ in \p{N}.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def fields(path):
    """The metadata of the GGUF file at `path` as a dict of Python values."""
    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}


def split_then_bytes(pattern):
    return pre.Sequence(
        [
            pre.Split(Regex(pattern), behavior="isolated", invert=False),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def byte_level_pre_tokenizer(name):
    """The pre-tokenizer that `tokenizer.ggml.pre` = `name` stands for."""
    if name in ("gpt-2", "gpt2", "default"):
        return pre.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "smollm":
        return pre.Sequence(
            [
                pre.Digits(individual_digits=True),
                pre.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    if name == "qwen2":
        return split_then_bytes(SPLIT % r"\p{N}")
    if name in ("llama-bpe", "llama3", "llama-v3"):
        return split_then_bytes(SPLIT % r"\p{N}{1,3}")
    raise ValueError(f"no published pre-tokenizer known for tokenizer.ggml.pre = {name!r}")


def byte_level_bpe(meta, pre_name):
    tokens = meta["tokenizer.ggml.tokens"]
    kinds = meta["tokenizer.ggml.token_type"]
    vocab = {t: i for i, (t, k) in enumerate(zip(tokens, kinds)) if k != UNUSED}
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    whole_words_first = pre_name in ("llama-bpe", "llama3", "llama-v3")
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=whole_words_first))
    if pre_name == "qwen2":
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = byte_level_pre_tokenizer(pre_name)
    tok.decoder = decoders.ByteLevel()
    return tok


def merges_from_scores(vocab, scores):
    """Merge list of a SentencePiece BPE model, which stores scores only.

    Every split of a piece into two known pieces is a merge; the piece's score is its rank.
    """
    merges = []
    for piece, index in vocab.items():
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        pairs = [p for p in pairs if p[0] in vocab and p[1] in vocab]
        pairs.sort(key=lambda p: (vocab[p[0]], vocab[p[1]]))
        merges += [(scores[index], p) for p in pairs]
    merges.sort(key=lambda m: m[0], reverse=True)
    return [p for _, p in merges]


def sentencepiece_bpe(meta):
    tokens = meta["tokenizer.ggml.tokens"]
    scores = meta["tokenizer.ggml.scores"]
    kinds = meta["tokenizer.ggml.token_type"]
    vocab = {t: i for i, t in enumerate(tokens)}
    normal = {t: i for t, i in vocab.items() if kinds[i] == NORMAL}
    unknown = tokens[meta.get("tokenizer.ggml.unknown_token_id", 0)]
    tok = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges_from_scores(normal, scores),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    steps = [normalizers.Replace(" ", "\u2581")]
    if meta.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend("\u2581"))
    tok.normalizer = normalizers.Sequence(steps)
    tok.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tok


def from_meta(meta, pre_name=None):
    """The tokenizer described by GGUF metadata; `pre_name` replaces tokenizer.ggml.pre.

    Control tokens become special and user-defined ones plain added tokens. No start or
    end token is ever put around a text.
    """
    model = meta["tokenizer.ggml.model"]
    if model == "gpt2":
        tok = byte_level_bpe(meta, pre_name or meta.get("tokenizer.ggml.pre", "default"))
    elif model == "llama":
        tok = sentencepiece_bpe(meta)
    else:
        raise ValueError(f"no reference tokenizer for tokenizer.ggml.model = {model!r}")
    for token, kind in zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]):
        if kind in (CONTROL, UNKNOWN):
            tok.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == USER_DEFINED:
            tok.add_tokens([AddedToken(token, special=False, normalized=False)])
    return tok


def from_gguf(path, pre_name=None):
    return from_meta(fields(path), pre_name)
