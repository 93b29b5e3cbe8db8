"""tokenizer.json of the library tokenizers, for byte pair encoding: what of it is known here."""

from __future__ import annotations

from typing import Any, NamedTuple

from lexforge.text.lines import numbered_words

# GPT-2's pattern as it is written in files; the parts are the same.
_REST = r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_PATTERNS = ("'s|'t|'re|'ve|'m|'ll|'d" + _REST, "'(?:[sdmt]|ll|ve|re)" + _REST)


class Described(NamedTuple):
    """The arguments of a tokenizer."""

    tokens: list[str]
    merges: list[tuple[str, str]]
    settings: dict[str, Any]


def tokenizer_json(tokenizer: Any, *, legacy_merges: bool = False) -> dict[str, Any]:
    """What the file says of a BPETokenizer.

    Raises:
        ValueError: a setting that it has no place for.
    """
    if tokenizer.separate_end or tokenizer.algorithm != "merges":
        what = "separate_end" if tokenizer.separate_end else "algorithm='greedy'"
        raise ValueError(f"save: tokenizer.json has no place for {what}")
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": tokenizer.add_prefix_space,
        "trim_offsets": True,
        "use_regex": True,
    }
    in_words: dict[str, Any] | None = None
    if tokenizer.end_of_word:
        in_words = {"type": "BPEDecoder", "suffix": tokenizer.end_of_word}
    pairs: list[Any] = [list(pair) for pair in tokenizer.merges]
    is_bytes = tokenizer.mode == "bytes"
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": tokenizer.index[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in sorted(tokenizer.special_tokens, key=tokenizer.index.__getitem__)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level if is_bytes else {"type": "WhitespaceSplit"},
        "post_processor": byte_level if is_bytes else None,
        "decoder": byte_level if is_bytes else in_words,
        "model": {
            "type": "BPE",
            "dropout": tokenizer.dropout or None,
            "unk_token": tokenizer.unk_token,
            "continuing_subword_prefix": tokenizer.continuing_prefix or None,
            "end_of_word_suffix": tokenizer.end_of_word or None,
            "fuse_unk": tokenizer.fuse_unk,
            "byte_fallback": False,
            "ignore_merges": tokenizer.ignore_merges,
            "vocab": tokenizer.index,
            "merges": [" ".join(pair) for pair in pairs] if legacy_merges else pairs,
        },
    }


def read_tokenizer_json(content: dict[str, Any]) -> Described:
    """The tokenizer that the file describes.

    Raises:
        ValueError: it is damaged, or has a part, which is named, that is not known here.
    """
    try:
        return _read(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is truncated or damaged: {error!r}") from error


def _unknown(part: str, found: object) -> ValueError:
    return ValueError(f"{part} is not known to BPETokenizer, got {found}")


def _splitting(splitter: dict[str, Any]) -> dict[str, Any]:
    """What a pre_tokenizer says; several may be GPT-2's pattern and then its bytes."""
    parts = splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter]
    kinds = [part["type"] for part in parts]
    if kinds == ["WhitespaceSplit"]:
        return {"mode": "words"}
    if kinds == ["ByteLevel"]:
        if not parts[0].get("use_regex", True):
            raise _unknown("use_regex of the pre_tokenizer", False)
        return {"mode": "bytes", "add_prefix_space": parts[0].get("add_prefix_space", True)}
    if kinds == ["Split", "ByteLevel"]:
        split, level = parts
        pattern = split["pattern"].get("Regex")
        kept = (split["behavior"], bool(split.get("invert")))
        if pattern not in _PATTERNS:
            raise _unknown("the pattern of the pre_tokenizer 'Split'", repr(pattern))
        if kept not in (("Isolated", False), ("Removed", True)):
            raise _unknown("the behavior of the pre_tokenizer 'Split'", repr(kept[0]))
        for flag, default in (("use_regex", True), ("add_prefix_space", True)):
            if level.get(flag, default):
                raise _unknown(f"{flag} of the pre_tokenizer 'ByteLevel' behind 'Split'", True)
        return {"mode": "bytes", "add_prefix_space": False}
    raise _unknown("pre_tokenizer", " + ".join(map(repr, kinds)))


def _read(content: dict[str, Any]) -> Described:
    model = content["model"]
    if (kind := model.get("type", "BPE")) != "BPE":
        raise _unknown("the model's type", repr(kind))
    if model.get("byte_fallback"):
        raise _unknown("byte_fallback of the model", True)
    if content.get("normalizer") is not None:
        raise _unknown("normalizer", repr(content["normalizer"].get("type")))
    options = _splitting(content.get("pre_tokenizer") or {"type": None})
    decoder = (content.get("decoder") or {}).get("type")
    if decoder not in (None, "ByteLevel", "BPEDecoder"):
        raise _unknown("decoder", repr(decoder))
    processor = (content.get("post_processor") or {}).get("type")
    if processor not in (None, "ByteLevel"):
        raise _unknown("post_processor", repr(processor))
    numbers = dict(model["vocab"])
    special = []
    for added in content.get("added_tokens") or ():
        for flag in ("single_word", "lstrip", "rstrip"):
            if added.get(flag):
                raise _unknown(f"{flag} of the added token {added['content']!r}", True)
        numbers.setdefault(added["content"], added["id"])
        if numbers[added["content"]] != added["id"]:
            raise ValueError(
                f"added token {added['content']!r} must have the id of the vocabulary, "
                f"{numbers[added['content']]}, got {added['id']}"
            )
        special.append(added["content"])
    merges = []
    for rank, pair in enumerate(model["merges"], 1):
        parts = pair.split(" ") if isinstance(pair, str) else list(pair)
        if len(parts) != 2:
            raise ValueError(f"merge {rank} must be a pair of tokens, got {pair!r}")
        merges.append((parts[0], parts[1]))
    options |= {
        "special_tokens": special,
        "unk_token": model.get("unk_token"),
        "end_of_word": model.get("end_of_word_suffix") or "",
        "continuing_prefix": model.get("continuing_subword_prefix") or "",
        "dropout": model.get("dropout") or 0.0,
        "fuse_unk": model.get("fuse_unk", False),
        "ignore_merges": model.get("ignore_merges", False),
    }
    return Described(numbered_words(numbers, "vocab"), merges, options)
