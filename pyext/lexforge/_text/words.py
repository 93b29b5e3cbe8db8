"""Words between Python and the library: framed, cut into pieces, one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ctypes import byref, c_int64, c_void_p
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lexforge._errors import NotInEncodingError
from lexforge._text.library import SPAN, block_free, bytes_of, plain, span, take

_PIECE_BYTES = 1 << 16  # decoded at a time
_frame = plain(None, "frame", *SPAN, c_void_p, c_void_p)


def framed(sentences: Sequence[Sequence[str]]) -> np.ndarray:
    """Each word followed by 0xFF, each sentence by 0xFE, as csrc/text/corpus.h wants them.

    Raises:
        TypeError: A word is no str. UnicodeEncodeError: It holds a lone surrogate.
    """
    try:
        # All in one go, with characters for those bytes that words hardly ever hold.
        block = "\0\n".join([*map("\0".join, sentences), ""]).encode()
        found, seen = np.empty(len(block), np.uint8), (c_int64 * 2)()
        _frame(*span(block), found.ctypes, seen)
        if seen[:] == [sum([len(words) or 1 for words in sentences]), len(sentences)]:
            return found
    except (TypeError, UnicodeEncodeError):
        pass  # raised again below, for the word at fault
    parts = []
    for words in sentences:
        for word in words:
            if not isinstance(word, str):
                kind = type(word).__name__
                raise TypeError(f"a sentence must be a list of str, got an element of type {kind}")
            parts += [word.encode(), b"\xff"]
        parts.append(b"\xfe")
    return np.frombuffer(b"".join(parts), np.uint8)


def word_lists(sentences: Iterable[Iterable[str]]) -> list[Sequence[str]]:
    """Sentences as sequences; their words are not looked at.

    Raises:
        TypeError: One is no iterable, or a str.
    """
    lists: list[Sequence[str]] = []
    for sentence in sentences:
        if isinstance(sentence, (list, tuple)):
            lists.append(sentence)
            continue
        if isinstance(sentence, str) or not isinstance(sentence, Iterable):
            raise TypeError(
                f"a sentence must be a list of str, got {type(sentence).__name__} "
                "(split lines into words first)"
            )
        lists.append(list(sentence))
    return lists


def pieces(block: np.ndarray, separator: bytes) -> Iterator[bytes]:
    """A block of words, each followed by the separator, in pieces that end before one."""
    begin, width = 0, _PIECE_BYTES
    while begin < block.size:
        piece = block[begin : begin + width].tobytes()
        end = piece.rfind(separator)
        if end < 0:
            width *= 2
            continue
        yield piece[:end]
        begin, width = begin + end + 1, _PIECE_BYTES


def words_with(give: Callable[..., Any], numbers: int) -> tuple[list[str], list[bytes]]:
    """Words of the library, and so many arrays of numbers that come with them.

    Args:
        give: called with the separator that is to follow each word, and where the results' blocks
            go; 8 bytes of the first array are a word's.
    """
    # Words of a framed document may hold a line feed; no word holds the byte 0xFF.
    for separator, errors in ((b"\n", "strict"), (b"\xff", "surrogateescape")):
        block, *others = (c_void_p() for _ in range(1 + numbers))
        give(separator, byref(block), *map(byref, others))
        arrays = [take(other) for other in others]
        words: list[str] = []
        try:
            for piece in pieces(bytes_of(block), separator):
                words += piece.decode(errors=errors).split(separator.decode(errors=errors))
        finally:
            block_free(block)
        if len(words) == len(arrays[0]) // 8:
            break
    return words, arrays


WORDS = (c_void_p, c_void_p, c_int64)  # bytes, where words begin, how many


@dataclass(frozen=True, eq=False)
class WordBytes:
    """Words as bytes, one behind the other: word i is ``data[offsets[i]:offsets[i + 1]]``.

    Attributes:
        data: uint8 [B].
        offsets: int64 [V + 1], from 0 on, not descending, the last one B.
    """

    data: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        data, offsets = self.data, self.offsets
        if not data.flags.c_contiguous or not offsets.flags.c_contiguous:
            raise ValueError("WordBytes: data and offsets must be contiguous")
        if (data.dtype, offsets.dtype) != (np.uint8, np.int64) or not offsets.size:
            raise ValueError("WordBytes: data must be uint8 [B], offsets int64 [V + 1]")
        if offsets[0] or offsets[-1] != data.size or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("WordBytes: offsets must go from 0 to B, not descending")

    @classmethod
    def of(cls, words: Iterable[bytes]) -> WordBytes:
        words = list(words)
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, words), np.int64, len(words)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(words), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, word: int) -> bytes:
        return self.data[self.offsets[word] : self.offsets[word + 1]].tobytes()

    def decoded(self, encoding: str, errors: str = "strict") -> list[str | None]:
        """The words as str; None for one not in the encoding when errors is "skip".

        Args:
            errors: "strict", "skip", or what ``bytes.decode`` takes.

        Raises:
            UnicodeDecodeError: Naming the row of a word that is not in it, if errors is "strict".
        """
        data = self.data.tobytes()
        spans = pairwise(self.offsets.tolist())
        if data.isascii() and encoding in ("utf-8", "ascii", "latin-1"):
            text = data.decode("ascii")
            return [text[begin:end] for begin, end in spans]
        return [
            decoded_word(data[begin:end], row, errors, encoding)
            for row, (begin, end) in enumerate(spans, 1)
        ]

    def part(self, begin: int, end: int) -> WordBytes:
        """Words begin .. end, a copy."""
        offsets = self.offsets[begin : end + 1]
        return WordBytes(self.data[offsets[0] : offsets[-1]].copy(), offsets - offsets[0])

    @property
    def native(self) -> tuple[Any, Any, int]:
        """As the library takes them."""
        return self.data.ctypes, self.offsets.ctypes, len(self)

    def take(self, order: np.ndarray) -> WordBytes:
        """Those of these numbers, in their order."""
        sizes = np.diff(self.offsets)[order]
        offsets = np.zeros(len(order) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        places = np.repeat(self.offsets[:-1][order] - offsets[:-1], sizes)
        places += np.arange(offsets[-1])
        return WordBytes(self.data[places], offsets)


def decoded_word(token: bytes, row: int, errors: str, encoding: str) -> str | None:
    try:
        return token.decode(encoding, "strict" if errors == "skip" else errors)
    except UnicodeDecodeError:
        if errors == "skip":
            return None
        raise NotInEncodingError(
            f"row {row}: token {token!r} is not {encoding.upper()}; "
            'encoding= names another, and errors="replace" or "skip" reads on',
            encoding,
            token,
        ) from None


def packed(strings: Iterable[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of strings, uint8, and where each begins, int64 [n + 1]."""
    strings = list(strings)
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(string) for string in strings], out=offsets[1:])
    return np.frombuffer(b"".join(strings), np.uint8), offsets
