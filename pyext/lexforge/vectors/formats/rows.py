"""Vector files made of rows: word2vec text and binary, GloVe. The rows themselves are C++."""

from __future__ import annotations

import re
import warnings
from typing import IO, BinaryIO

import numpy as np
import torch

from lexforge import _text
from lexforge._arguments import MAX_THREADS, whole

_HEADER = re.compile(rb"[ \t]*([0-9]+)[ \t]+([0-9]+)[ \t\r]*\Z")
_NUMBER_CHARACTERS = re.compile(rb"[-+0-9.eE]+|[-+]?(?i:nan|inf|infinity)")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f]")
_BLOCK_BYTES = 1 << 24
_BLOCK_NUMBERS = 1 << 20
_MAX_DIM = 1 << 24
MAX_FIRST_LINE = 1 << 26  # bytes
_NO_LIMIT = np.iinfo(np.int64).max


def header_of(line: bytes) -> tuple[int, int] | None:
    """(V, D) when the line is a word2vec header."""
    match = _HEADER.match(line.removesuffix(b"\n"))
    return (int(match[1]), int(match[2])) if match and len(line) < 64 else None


def is_text_row(line: bytes) -> bool:
    """Whether the line, maybe cut short, can be a token and numbers in text."""
    line = line.removesuffix(b"\n")
    fields = line.split()
    return (
        _CONTROL.search(line) is None
        and (len(fields) > 1 or (len(fields) == 1 and line[:1] in b" \t"))
        and _NUMBER_CHARACTERS.fullmatch(fields[-1]) is not None
    )


def read_rows(
    stream: IO[bytes],
    head: bytes,
    format: str,
    *,
    limit: int | None,
    errors: str,
    allow_nonfinite: bool,
    threads: int,
) -> tuple[list[str | None], np.ndarray]:
    """Words and vectors of a "text", "binary" or "glove" file; None for a word to be skipped.

    Args:
        stream: the file behind `head`.
        head: its first bytes; at least two lines of text unless the file is shorter.
    """
    first, line_break, rest = head.partition(b"\n")
    header = header_of(first)
    if header and format == "glove":
        # In a file of one-dimensional rows a numeric token and its number look like a header.
        second = rest.partition(b"\n")[0]
        if header[1] < 2 or _text.count_numbers(second) != header[1]:
            header = None
    if header is None and format != "glove":
        raise ValueError(
            f'the first line must be "<rows> <dimensions>", got {first[:60]!r}; '
            'format="glove" reads text without that line'
        )
    if header:
        promised, dim = header
        pending = rest
        if promised > _NO_LIMIT - 2:
            raise ValueError(f"the header promises {promised} rows, more than a file can hold")
    elif not line_break and len(first) >= MAX_FIRST_LINE:
        raise ValueError(f"row 1: no end of the line in the first {len(first)} bytes")
    else:
        promised, dim = None, _text.count_numbers(first)
        pending = head
        if dim == 0:
            raise ValueError(f"row 1: expected a token and numbers, got {first[:60]!r}")
    if not 1 <= dim <= _MAX_DIM:
        raise ValueError(f"dimensions must be 1 to {_MAX_DIM}, got {dim} in the header")

    # GloVe files may end in a row for unknown words that their header does not count. One more
    # row than that is read to notice a header that is too small.
    binary = format == "binary"
    stop = _NO_LIMIT if promised is None else promised if binary else promised + 2
    wanted = stop if limit is None else min(stop, limit)
    rows = _text.VectorRows(
        dim=dim,
        header=header is not None,
        binary=binary,
        max_rows=wanted,
        allow_nonfinite=allow_nonfinite,
        threads=threads,
    )
    last = False
    while not rows.full and not last:
        # What is left of a long row is looked at again: twice as much each time.
        block = stream.read(max(_BLOCK_BYTES, len(pending)))
        last = not block
        pending += block
        if last and not binary and not pending.endswith(b"\n"):
            pending = _feed_open_end(rows, pending, promised)
        pending = pending[rows.feed(pending, last) :]

    least = 0 if promised is None else promised if limit is None else min(promised, limit)
    if len(rows) < least:
        raise ValueError(f"unexpected end of file at row {len(rows) + 1} of {promised}")
    if limit is None or (promised is not None and limit > promised):
        too_long = (
            pending.lstrip(b"\n") or stream.read(2).lstrip(b"\n")
            if binary
            else promised is not None and len(rows) > promised + 1
        )
        if too_long:
            raise ValueError(
                f"the header promises {promised} rows and the file goes on after them; "
                f"limit={promised} reads these"
            )
    return rows.take_words(errors), np.asarray(rows)


def _feed_open_end(rows: _text.VectorRows, pending: bytes, promised: int | None) -> bytes:
    """Feed the end of a text file whose last row has no line break: it may be cut short."""
    pending = pending[rows.feed(pending, False) :]
    if rows.full or not pending.strip():
        return b""
    row = len(rows) + 1
    try:
        pending = pending[rows.feed(pending, True) :]
    except ValueError as error:
        of = "" if promised is None else f" of {promised}"
        cause = str(error).removeprefix(f"row {row}: ")
        raise ValueError(f"unexpected end of file at row {row}{of}: {cause}") from None
    warnings.warn(
        f"row {row}, the last one, does not end in a line break; the file may be cut short",
        stacklevel=5,
    )
    return pending


def write_rows(
    file: BinaryIO, words: list[str], vectors: np.ndarray, format: str, *, threads: int
) -> None:
    """Write a "text", "binary" or "glove" file; numbers as the shortest that read back equal.

    Raises:
        ValueError: naming the first word that the format cannot hold.
    """
    if format != "glove":
        file.write(b"%d %d\n" % vectors.shape)
    check = check_binary_word if format == "binary" else check_text_word
    step = max(1, _BLOCK_NUMBERS // vectors.shape[1])
    for start in range(0, len(words), step):
        some = words[start : start + step]
        for word in some:
            check(word)
        block = np.ascontiguousarray(vectors[start : start + step], dtype=np.float32)
        if format == "binary":
            file.write(_text.format_binary_rows(some, block))
        else:
            for part in _text.format_text_rows(some, block, threads=threads):
                file.write(part)


def check_text_word(word: str) -> None:
    """ValueError when the word could not be told from the numbers and spaces or rows around it."""
    if "\n" in word:
        raise ValueError(f"word {word!r} holds a line break, which text files cannot")
    if word.strip(" \t") not in ("", word):
        raise ValueError(
            f"word {word!r} begins or ends in a space, which text files cannot tell from those "
            "between columns; write safetensors, or strip it"
        )
    if (" " in word or "\t" in word) and _text.ends_in_number(word):
        raise ValueError(
            f"word {word!r} ends in a number after a space and would be read as one more "
            "dimension; write safetensors, or replace the space"
        )


def check_binary_word(word: str) -> None:
    """ValueError when the word would not end at the space after it."""
    if " " in word or "\n" in word or "\0" in word:
        raise ValueError(
            f"word {word!r} holds a space, line break or NUL, which word2vec binary cannot; "
            "write safetensors, or replace it"
        )


def checked_threads(function: str, threads: int | None) -> int:
    """The number of threads, by default `default_threads`."""
    return whole(function, "threads", threads or 0, 0, MAX_THREADS) or default_threads()


def default_threads() -> int:
    """Torch's number of threads, at most 8: reading the file then takes longer than parsing it."""
    return min(torch.get_num_threads(), 8)
