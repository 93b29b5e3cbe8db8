"""Binary files of Stanford's GloVe: float64, little-endian, without a header.

V rows of words, then V rows of contexts, each D weights and the bias. The words are in a
``vocab.txt`` beside it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lexforge.text.files import foreign_kind
from lexforge.vectors.formats.arrays import Table, words_beside, words_place
from lexforge.vectors.formats.rows import header_of, is_text

NUMBER = np.dtype("<f8")
_BLOCK_ROWS = 4096


def vector_size_of(path: str | os.PathLike, vocab_size: int) -> int:
    """D of a ``vectors.bin`` or ``gradsq.bin`` for V words.

    Raises:
        ValueError: No D makes a file of that size: it is truncated, or for other words.
    """
    try:
        return _dim(os.stat(path).st_size, vocab_size)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def _dim(size: int, vocab_size: int) -> int:
    columns, rest = divmod(size, 2 * max(vocab_size, 1) * NUMBER.itemsize)
    if rest or columns < 2:
        raise ValueError(
            f"must hold 2 x {vocab_size:,} rows of vector size + 1 float64 numbers for the "
            f"{vocab_size:,} words of the vocabulary, and has {size:,} bytes: it is truncated, or "
            "of another vocabulary"
        )
    return columns - 1


def is_stanford(path: Path, head: bytes) -> bool:
    """Whether a file that begins so can be GloVe's binary: nothing else, with words beside it."""
    if header_of(head.partition(b"\n")[0]) or foreign_kind(head) or is_text(head):
        return False
    return len(head) >= 4 * NUMBER.itemsize and words_place(path) is not None


def read_stanford(
    path: Path, *, limit: int | None, mmap: bool, encoding: str = "utf-8", errors: str = "strict"
) -> Table:
    """The sums of word and context vectors, float64: what the tool writes as text by default."""
    if mmap:
        raise ValueError("mmap=True needs safetensors, npy or fasttext, this is stanford")
    words, counts = words_beside(path, encoding, errors)
    dim = _dim(os.stat(path).st_size, len(words))
    numbers = np.memmap(path, NUMBER, mode="r", shape=(2, len(words), dim + 1))[:, :limit, :dim]
    vectors = np.empty(numbers.shape[1:])
    for first in range(0, len(vectors), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        np.add(numbers[0, block], numbers[1, block], out=vectors[block])
    return Table(words[:limit], vectors, None if counts is None else counts[:limit])
