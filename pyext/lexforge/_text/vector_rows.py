"""Rows of vector files, read and written."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref, c_bool, c_char, c_int, c_int64, c_void_p

import numpy as np

from lexforge._text.library import (
    SPAN,
    Buffer,
    Handle,
    Memory,
    as_array,
    bytes_of,
    checked,
    plain,
    span,
    take,
    thread_count,
    whole,
)
from lexforge._text.words import decoded_word, framed, pieces

_MATRIX = (c_void_p, c_int64, c_int64)

_rows_new = checked("rows_new", c_int64, c_bool, c_bool, c_int64, c_bool, c_int, c_void_p)
_rows_free = plain(None, "rows_free", c_void_p)
_rows_feed = checked("rows_feed", c_void_p, *SPAN, c_bool, c_void_p)
_rows_count = plain(c_int64, "rows_count", c_void_p)
_rows_full = plain(c_bool, "rows_full", c_void_p)
_rows_values = plain(c_void_p, "rows_values", c_void_p)
_rows_tokens = plain(c_void_p, "rows_tokens", c_void_p)
_rows_drop_tokens = plain(None, "rows_drop_tokens", c_void_p)
_count_numbers = plain(c_int64, "count_numbers", *SPAN)
_ends_in_number = plain(c_bool, "ends_in_number", *SPAN)
_format_text = checked("format_text", *SPAN, *_MATRIX, c_char, c_void_p, c_int)
_format_binary = checked("format_binary", *SPAN, *_MATRIX, c_void_p)


class VectorRows(Handle):
    """Rows of a vector file, collected block by block; `dim` stands in its `header` or was counted.

    Once everything was fed, ``np.asarray`` shows them as float32 [rows, dim], without a copy.
    """

    def __init__(
        self,
        *,
        dim: int,
        binary: bool,
        max_rows: int,
        allow_nonfinite: bool,
        threads: int,
        header: bool = False,
    ):
        self._dim = whole("vector_size", dim, 1)
        self._separator = b" " if binary else b"\n"
        self._shown = False
        super().__init__(
            _rows_free,
            _rows_new,
            self._dim,
            header,
            binary,
            whole("max_rows", max_rows, 0),
            allow_nonfinite,
            thread_count(max(threads, 1)),
        )

    def feed(self, block: bytes, last: bool) -> int:
        """Take the complete rows at the start of `block`; returns the bytes they fill.

        Raises:
            ValueError: "row 3: expected ...". RuntimeError: An array shows the rows, which a block
                more may move.
        """
        consumed = c_int64()
        with self._lock:
            if self._shown:
                raise RuntimeError("VectorRows: no block may be fed after the rows were shown")
            _rows_feed(self, *span(block), last, byref(consumed))
        return consumed.value

    def __len__(self) -> int:
        return self._call(_rows_count)

    @property
    def full(self) -> bool:
        return self._call(_rows_full)

    def take_words(self, errors: str, encoding: str = "utf-8") -> list[str | None]:
        """The words of all rows; None for a token not in the encoding when errors is "skip".

        Args:
            errors: "strict", "skip", or what ``bytes.decode`` takes.
            encoding: Of the tokens.

        Raises:
            UnicodeDecodeError: Naming the row of a token that is not in it, if errors is "strict".
        """
        with self._lock:
            words: list[str | None] = []
            for piece in pieces(bytes_of(_rows_tokens(self)), self._separator):
                try:
                    words += piece.decode(encoding).split(self._separator.decode())
                except UnicodeDecodeError:
                    for token in piece.split(self._separator):
                        words.append(decoded_word(token, len(words) + 1, errors, encoding))
            _rows_drop_tokens(self)
        return words

    @property
    def __array_interface__(self) -> dict[str, object]:
        with self._lock:
            self._shown = True
            # Before the first row there is no memory: numpy wants an address all the same.
            address = _rows_values(self) or self._as_parameter_.value
            return Memory(address, "<f4", len(self), self._dim).__array_interface__


def count_numbers(row: bytes) -> int:
    """How many numbers end this text row, leaving a token in front of them."""
    return _count_numbers(*span(row))


def ends_in_number(token: str) -> bool:
    """Whether the last of several space-separated parts of this token is a number."""
    return _ends_in_number(*span(token.encode()))


def _checked_matrix(vectors: Buffer, rows: int) -> np.ndarray:
    matrix = as_array(vectors)
    if matrix.dtype != np.float32 or matrix.ndim != 2 or not matrix.flags.c_contiguous:
        raise ValueError("format_rows: vectors must be contiguous float32 [V, D]")
    if len(matrix) != rows:
        raise ValueError(f"format_rows: vectors must have {rows} rows, got {len(matrix)}")
    return matrix


def format_text_rows(
    words: Sequence[str],
    vectors: Buffer,
    *,
    separator: str = " ",
    with_words: bool = True,
    threads: int = 1,
) -> list[bytes]:
    """Rows of text in parts, to be written in order; one for each thread."""
    matrix = _checked_matrix(vectors, len(words))
    block = span(framed([words])) if with_words else (None, 0)
    parts = (c_void_p * max(1, min(len(words) // 64, threads)))()
    _format_text(*block, matrix.ctypes, *matrix.shape, separator.encode(), parts, len(parts))
    return [take(part) for part in parts]


def format_binary_rows(words: Sequence[str], vectors: Buffer) -> bytes:
    """Rows of a word2vec binary file."""
    matrix = _checked_matrix(vectors, len(words))
    made = c_void_p()
    _format_binary(*span(framed([words])), matrix.ctypes, *matrix.shape, byref(made))
    return take(made)
