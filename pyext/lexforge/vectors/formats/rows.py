"""Vector files made of rows: word2vec text and binary, GloVe. The rows themselves are C++."""

from __future__ import annotations

import codecs
import re
import warnings
from contextlib import suppress
from typing import IO, BinaryIO

import numpy as np
import torch

from lexforge import _text
from lexforge._arguments import MAX_THREADS, whole
from lexforge._display import printable
from lexforge._errors import CutShortError
from lexforge.text.lines import wide_encoding

_HEADER = re.compile(rb"[ \t]*([0-9]+)[ \t]+([0-9]+)[ \t\r]*\Z")
NUMBER_CHARACTERS = re.compile(rb"[-+0-9.eE]+|[-+]?(?i:nan|inf|infinity)")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f]")
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NUMBER_FIELD = re.compile(
    rb"[ \t][-+]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?[ \t\r\n]"
)
_ROWS_LOOKED_AT = 16
_MAX_TOKEN_BYTES = 1 << 16  # as in csrc/text/vector_file.cpp
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
        and NUMBER_CHARACTERS.fullmatch(fields[-1]) is not None
    )


def is_text(rows: bytes) -> bool:
    """Whether the rows of a file, cut anywhere, can be text: UTF-8, or with fields of digits."""
    if _NOT_TEXT.search(rows):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(rows)
        return True
    except UnicodeDecodeError:
        return _has_numbers(rows)


def fits_binary(rows: bytes, dim: int) -> bool:
    """Whether word2vec binary of `dim` numbers can begin so; the bytes may be cut anywhere."""
    at = 0
    for _ in range(_ROWS_LOOKED_AT):
        at += rows[at : at + 1] == b"\n"
        space = rows.find(b" ", at, at + _MAX_TOKEN_BYTES)
        if space < 0:
            return at > 0 or _NOT_TEXT.search(rows) is not None
        if b"\0" in rows[at:space] or b"\n" in rows[at:space]:
            return False
        at = space + 1 + 4 * dim
        if at >= len(rows):
            break
    return True


def format_after_header(rows: bytes, dim: int) -> str:
    """Whether the rows behind a header are "text" or "binary".

    Text that is not understood is text all the same: binary rows fit their size, and hold bytes
    that text cannot.

    Raises:
        ValueError: they are neither.
    """
    first = rows.partition(b"\n")[0]
    if not first.strip() or is_text_row(first) or is_text(rows):
        return "text"
    if _text.count_numbers(first) >= dim:  # a token may hold anything
        return "text"
    if fits_binary(rows, dim):
        return "binary"
    raise ValueError(
        f"behind the header are neither rows of text nor of {dim} numbers in word2vec binary: "
        f"{rows[:40]!r}"
    )


def check_separators(row: bytes) -> None:
    """ValueError where other marks than spaces and tabs part the fields of the first row."""
    if not re.search(rb"[ \t]", row.strip()) and (mark := re.search(rb"[,;|]", row)):
        raise ValueError(
            "row 1: fields must be separated by spaces or tabs, "
            f"got {mark[0].decode()!r} between them: {_shown(row)}"
        )


def check_first_row(row: bytes) -> None:
    """ValueError where the first row of a file is text, but is not a token and numbers."""
    if _NOT_TEXT.search(row):
        return
    check_separators(row)
    if _has_numbers(row + b"\n"):
        raise ValueError(f"row 1: {_shown(row.split()[-1])} is not a number")


def _shown(text: bytes) -> str:
    return f'"{printable(text.strip()[:60].decode(errors="replace"))}"'


def _has_numbers(rows: bytes) -> bool:
    return _NOT_TEXT.search(rows) is None and _NUMBER_FIELD.search(rows) is not None


def _check_rows(rows: bytes, format: str, dim: int) -> None:
    """ValueError when the rows behind a header are of the other kind than `format` says."""
    first = rows.partition(b"\n")[0]
    if format == "binary":
        if _has_numbers(rows):
            raise ValueError(
                'the rows are text, not word2vec binary: format="text" (binary=False) reads them'
            )
    elif not _text.count_numbers(first) and not is_text(rows) and fits_binary(rows, dim):
        raise ValueError(
            'the rows are word2vec binary, not text: format="binary" (binary=True) reads them'
        )
    else:
        check_separators(first)


def read_rows(
    stream: IO[bytes],
    head: bytes,
    format: str,
    *,
    limit: int | None,
    errors: str,
    encoding: str,
    allow_nonfinite: bool,
    threads: int,
) -> tuple[list[str | None], np.ndarray]:
    """Words and vectors of a "text", "binary" or "glove" file; None for a word to be skipped.

    Args:
        stream: the file behind `head`.
        head: its first bytes; at least two lines of text unless the file is shorter.
    """
    if wide := wide_encoding(head):
        raise ValueError(f"{wide.upper()} text: convert it to UTF-8")
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
        if rest:
            _check_rows(rest, format, dim)
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
    wanted = min(stop, _NO_LIMIT if limit is None else limit, _NO_LIMIT)
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
        raise CutShortError(f"unexpected end of file at row {len(rows) + 1} of {promised}")
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
    return rows.take_words(errors, encoding), np.asarray(rows)


def as_doubles(stream: IO[bytes], vectors: np.ndarray) -> np.ndarray:
    """The numbers of a text file once more, in float64.

    Args:
        stream: the file from its beginning.
        vectors: [V, D], what `read_rows` made of it; a first line without these is a header.
    """
    rows, dim = vectors.shape
    doubles = np.empty((rows, dim))
    done = skipped = 0
    for line in stream:
        if done == rows:
            break
        fields = line.split()[-dim:]
        if not fields:
            continue
        with suppress(ValueError):  # of a header, whose numbers may be fewer
            with np.errstate(over="ignore"):
                numbers = np.array(fields, np.bytes_).astype(np.float64)
                same = numbers.astype(np.float32)
            # Not always the same bits: these are rounded twice.
            if np.allclose(same, vectors[done], rtol=1e-6, atol=1e-44, equal_nan=True):
                doubles[done] = numbers
                done += 1
                continue
        skipped += 1
        if done or skipped > 1:
            break
    if done < rows:
        raise ValueError(f"row {done + 1}: its numbers were others when they were read before")
    return doubles


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
        raise CutShortError(f"unexpected end of file at row {row}{of}: {cause}") from None
    warnings.warn(
        f"row {row}, the last one, does not end in a line break; the file may be cut short",
        stacklevel=5,
    )
    return pending


def write_rows(
    file: BinaryIO,
    words: list[str],
    vectors: np.ndarray,
    *,
    binary: bool,
    total: int | None,
    threads: int,
) -> None:
    """Write word2vec text or binary; numbers as the shortest that read back equal.

    Args:
        total: the number of rows for the header; None for no header, as GloVe files have none.

    Raises:
        ValueError: naming the first word that the format cannot hold.
    """
    if total is not None:
        file.write(b"%d %d\n" % (total, vectors.shape[1]))
    elif words and words[0].startswith("\ufeff"):
        file.write(codecs.BOM_UTF8)  # or the word's own would be taken for it
    check = check_binary_word if binary else check_text_word
    step = max(1, _BLOCK_NUMBERS // vectors.shape[1])
    for start in range(0, len(words), step):
        some = words[start : start + step]
        for word in some:
            check(word)
        block = np.ascontiguousarray(vectors[start : start + step], dtype=np.float32)
        if binary:
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
