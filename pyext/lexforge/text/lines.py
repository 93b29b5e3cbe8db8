"""Small files of text: lines, words with their counts, and JSON. One reader for all of them."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lexforge._arguments import LARGEST
from lexforge._errors import NotInEncodingError

_MARK = "\ufeff"  # that the text is Unicode; some editors put it first
_MOST_DIGITS = 1000  # of a count, zeros in front and all
_WIDE = {  # the longer marks first: one of UTF-16 begins one of UTF-32
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def wide_encoding(head: bytes) -> str | None:
    """ "utf-16" or "utf-32" when text that begins so is in it, by its mark."""
    return next((name for mark, name in _WIDE.items() if head.startswith(mark)), None)


def known_encoding(name: str) -> str:
    """The usual name of an encoding; of UTF-8 too where a byte order mark is expected.

    Raises:
        ValueError: no such encoding.
    """
    try:
        return codecs.lookup(name).name.removesuffix("-sig")
    except (LookupError, TypeError):
        raise ValueError(f"encoding must be one that Python knows, got {name!r}") from None


def read_lines(
    path: str | os.PathLike,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    kind: str = "text",
) -> list[str]:
    r"""The lines of a file, without ``\n`` or ``\r\n`` and without a byte order mark.

    Args:
        encoding: any that Python knows.
        errors: for bytes that are not text: "strict" raises, "replace" puts U+FFFD, "ignore" leaves
            them out, "skip" their lines.
        kind: what a line must be, for the message.

    Raises:
        ValueError: naming the file and the line (from 1) that is not in the encoding; it is a
            UnicodeDecodeError too.
    """
    data = Path(path).read_bytes()
    encoding = known_encoding(encoding)
    if errors == "skip":
        _refuse_wide(data, path, encoding)
        lines = [
            text for line in data.split(b"\n") if (text := _decoded(line, encoding)) is not None
        ]
        lines[:1] = [line.removeprefix(_MARK) for line in lines[:1]]
    else:
        text = decode_text(data, path, encoding=encoding, errors=errors, kind=kind)
        lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def decode_text(
    data: bytes,
    source: str | os.PathLike,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    kind: str = "text",
) -> str:
    """The text that the bytes of a file are, without a byte order mark.

    Args:
        source: the file, for messages.
        encoding, errors, kind: as of :func:`read_lines`, but for "skip".

    Raises:
        ValueError: as of :func:`read_lines`.
    """
    encoding = known_encoding(encoding)
    _refuse_wide(data, source, encoding)
    try:
        return data.decode(encoding, errors).removeprefix(_MARK)
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        line = data.split(b"\n", number)[number - 1]
        raise NotInEncodingError(
            f"{os.fspath(source)}: line {number} must be {kind} in {encoding.upper()}, "
            f"got {line[:80]!r}",
            encoding,
            line,
        ) from None


def _refuse_wide(data: bytes, source: str | os.PathLike, encoding: str) -> None:
    wide = wide_encoding(data)
    if wide and encoding == "utf-8":
        raise ValueError(f"{os.fspath(source)} must be UTF-8, and is {wide.upper()}: convert it")


def join_lines(lines: Iterable[str]) -> bytes:
    """UTF-8 from which :func:`read_lines` gives the same lines."""
    lines = list(lines)
    end = "\r\n" if any(line.endswith("\r") for line in lines) else "\n"
    mark = _MARK if lines and lines[0].startswith(_MARK) else ""
    return (mark + "".join(f"{line}{end}" for line in lines)).encode()


def split_count(line: str) -> tuple[str, str] | None:
    """Word and digits of a line; None if it does not end in one space or tab and a count."""
    text = line.rstrip(" \t")
    split = max(text.rfind(" "), text.rfind("\t"))
    count = text[split + 1 :]
    if split < 0 or not (count.isascii() and count.isdigit()):
        return None
    return text[:split], count


def read_counts(
    path: str | os.PathLike, *, encoding: str = "utf-8", errors: str = "strict"
) -> tuple[list[str], list[int]]:
    """The words and counts of a file of "<word> <count>" lines.

    Raises:
        ValueError: naming the file and the line that is no word with its count, or from which on
            the counts add up to more than 2^63 - 1.
    """
    kind = "'<word> <count>'"
    words, digits = [], []
    for number, line in enumerate(read_lines(path, encoding=encoding, errors=errors, kind=kind), 1):
        found = split_count(line)
        if found is None or not found[0]:
            name = known_encoding(encoding).upper()
            raise ValueError(
                f"{os.fspath(path)}: line {number} must be {kind} in {name}, got {line[:80]!r}"
            )
        words.append(found[0])
        digits.append(found[1])
    return words, _counts(path, digits)


def read_words(
    path: str | os.PathLike,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    columns: bool = False,
) -> tuple[list[str], list[int] | None]:
    """Words of a file of "<word> <count>" lines, or of "<word>" lines (counts are None).

    Args:
        columns: all blanks before a count part it from the word, of which else all but the last
            are the word's.
    """
    lines = read_lines(path, encoding=encoding, errors=errors)
    pairs = [pair for line in lines if (pair := split_count(line)) is not None]
    if not pairs or len(pairs) != len(lines):
        return lines, None
    counts = _counts(path, [digits for _, digits in pairs])
    return [word.rstrip(" \t") if columns else word for word, _ in pairs], counts


def read_json(path: str | os.PathLike, kind: type = dict) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: there is none. ValueError: as :func:`parse_json`.
    """
    return parse_json(Path(path).read_bytes(), path, kind)


def parse_json(content: bytes | str, source: object, kind: type = dict) -> Any:
    """What JSON says; bytes may begin with a byte order mark.

    Args:
        source: where it is from, for messages.
        kind: of the whole: dict, list or object (anything).

    Raises:
        ValueError: it is no JSON, nested too deep, or of another kind.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise ValueError(f"{source} is truncated or damaged: must be JSON: {reason}") from error
    if not isinstance(found, kind):
        wanted = "object" if kind is dict else "array"
        got = type(found).__name__
        raise ValueError(f"{source} is truncated or damaged: must be a JSON {wanted}, got {got}")
    return found


def numbered_words(found: Any, source: object) -> list[str]:
    """The words that JSON numbers: an array of strings, or an object from strings to 0 .. V - 1.

    Raises:
        ValueError: naming the source and what is there instead.
    """
    if isinstance(found, dict):
        rows = list(found.values())
        if not all(type(row) is int for row in rows) or sorted(rows) != list(range(len(rows))):
            raise ValueError(f"{source}: rows must be 0 to {len(rows) - 1}, each once")
        found = sorted(found, key=found.__getitem__)
    if not isinstance(found, list):
        raise ValueError(f"{source}: must be an array of strings, got {type(found).__name__}")
    for row, word in enumerate(found):
        if not isinstance(word, str):
            got = type(word).__name__
            raise ValueError(f"{source}: must be an array of strings, got {got} at {row}")
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ValueError(f"{source}: {word!r} at {row} holds half a character")
    return found


def _decoded(line: bytes, encoding: str) -> str | None:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return None


def _counts(path: str | os.PathLike, written: Iterable[str]) -> list[int]:
    """The numbers that the lines of a file have; their sum is one of 63 bits."""
    counts, total = [], 0
    for line, digits in enumerate(written, 1):
        # Python refuses to turn very long ones into a number.
        count = int(digits) if len(digits) <= _MOST_DIGITS else LARGEST + 1
        total += count
        if total > LARGEST:
            raise ValueError(
                f"{os.fspath(path)}: line {line}: counts must add up to <= 2^63 - 1, "
                f"got {digits[:40]}"
            )
        counts.append(count)
    return counts
