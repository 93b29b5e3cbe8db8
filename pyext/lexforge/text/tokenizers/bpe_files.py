"""tokenizer.json of the library tokenizers, for byte pair encoding: what of it is known here."""

from __future__ import annotations

from typing import Any, NamedTuple

from lexforge.text.lines import numbered_words


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


def _read(content: dict[str, Any]) -> Described:
    model = content["model"]
    if (kind := model.get("type", "BPE")) != "BPE":
        raise _unknown("the model's type", repr(kind))
    if model.get("byte_fallback"):
        raise _unknown("byte_fallback of the model", True)
    if content.get("normalizer") is not None:
        raise _unknown("normalizer", repr(content["normalizer"].get("type")))
    splitter = content.get("pre_tokenizer") or {"type": None}
    options: dict[str, Any] = {}
    if splitter["type"] == "ByteLevel":
        if not splitter.get("use_regex", True):
            raise _unknown("use_regex of the pre_tokenizer", False)
        options |= {"mode": "bytes", "add_prefix_space": splitter.get("add_prefix_space", True)}
    elif splitter["type"] == "WhitespaceSplit":
        options["mode"] = "words"
    else:
        raise _unknown("pre_tokenizer", repr(splitter["type"]))
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
