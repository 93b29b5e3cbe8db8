"""Text with labels: as numbers to learn from, and its lines as rows of a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import byref, c_bool, c_char_p, c_int, c_int32, c_int64, c_uint64, c_void_p
from typing import NamedTuple

import numpy as np

from lexforge._text.library import (
    SPAN,
    Buffer,
    Handle,
    block_free,
    bytes_of,
    checked,
    plain,
    span,
    take,
    thread_count,
    whole,
)
from lexforge._text.readers import Reader, reader_free
from lexforge._text.subwords import SubwordRows
from lexforge._text.words import WORDS, WordBytes

_labelled_new = checked("labelled_new", *SPAN, *WORDS, c_void_p, c_int, c_int64, c_void_p)
_labelled_lines = plain(c_uint64, "labelled_lines", c_void_p)
_labelled_types = checked("labelled_types", *5 * (c_void_p,))
_features_new = checked(
    "features_new", *2 * WORDS, *SPAN, *3 * (c_int32,), c_int64, *2 * (c_void_p,)
)
_features_free = plain(None, "features_free", c_void_p)
_features_read = checked("features_read", c_void_p, *SPAN, c_bool, c_int, *5 * (c_void_p,))


class LabelledEncoder(Reader):
    """Writes the words and labels of documents as numbers; see csrc/text/labelled.h.

    Args:
        prefix: of labels.
        known: words and labels that have the first numbers.
        paths: of the files of words, word ends, labels and label ends.
    """

    def __init__(
        self,
        *,
        prefix: bytes,
        known: WordBytes,
        paths: Sequence[str | os.PathLike],
        threads: int,
        chunk_bytes: int,
    ):
        super().__init__(
            reader_free,
            _labelled_new,
            *span(prefix),
            *known.native,
            (c_char_p * 4)(*map(os.fsencode, paths)),
            thread_count(threads),
            whole("chunk_bytes", chunk_bytes, 1),
        )

    @property
    def lines(self) -> int:
        return self._call(_labelled_lines)

    def types(self) -> tuple[WordBytes, np.ndarray, np.ndarray]:
        """All by number; their counts, int64 [P]; whether each is a label, bool [P]."""
        data, offsets, counts, flags = blocks = [c_void_p() for _ in range(4)]
        self._call(_labelled_types, *map(byref, blocks))
        words = WordBytes(
            np.frombuffer(take(data), np.uint8), np.frombuffer(take(offsets), np.int64)
        )
        numbers = np.frombuffer(take(counts), np.int64)
        return words, numbers, np.frombuffer(take(flags), np.bool_)


class Lines(NamedTuple):
    """What lines of text are to a model.

    Attributes:
        row_ends: int64 [S + 1]; the input of line s is ``rows[row_ends[s]:row_ends[s + 1]]``.
        rows: int32, of the input matrix.
        label_ends: int64 [S + 1], likewise of labels.
        labels: int32; only those that are known.
        tokens: words and labels, the ends of lines among them.
    """

    row_ends: np.ndarray
    rows: np.ndarray
    label_ends: np.ndarray
    labels: np.ndarray
    tokens: int


class LineFeatures(Handle):
    """The rows of lines of text; see csrc/text/labelled.h. It never changes.

    Args:
        pruned: the rows of buckets in a pruned model, otherwise None.
    """

    def __init__(
        self,
        words: WordBytes,
        labels: WordBytes,
        prefix: bytes,
        *,
        min_n: int,
        max_n: int,
        word_ngrams: int,
        buckets: int,
        pruned: SubwordRows | None = None,
    ):
        self._borrowed = pruned
        super().__init__(
            _features_free,
            _features_new,
            *words.native,
            *labels.native,
            *span(prefix),
            min_n,
            max_n,
            word_ngrams,
            buckets,
            pruned,
        )

    def read(self, text: Buffer, *, whole: bool, threads: int) -> Lines:
        """Those of a text.

        Args:
            whole: what follows a ``</s>`` in a line is left out, not a line of its own.
        """
        blocks, tokens = [c_void_p() for _ in range(4)], c_int64()
        threads = thread_count(threads)
        _features_read(self, *span(text), whole, threads, *map(byref, blocks), byref(tokens))
        arrays = []
        for block, dtype in zip(blocks, 2 * (np.int64, np.int32), strict=True):
            arrays.append(bytes_of(block).copy().view(dtype))
            block_free(block)
        row_ends, rows, label_ends, labels = arrays
        return Lines(row_ends, rows, label_ends, labels, tokens.value)
