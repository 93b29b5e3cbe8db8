"""Predictions and vectors of fastText's models, and their dictionary."""

from __future__ import annotations

from ctypes import Structure, byref, c_bool, c_char_p, c_float, c_int, c_int64, c_void_p

import numpy as np

from lexforge._text.labelled import LineFeatures
from lexforge._text.library import BYTES, SPAN, Handle, check, checked, plain, take, thread_count
from lexforge._text.subwords import SubwordRows
from lexforge._text.words import WORDS, WordBytes

_predictor_new = checked(
    "predictor_new", *3 * (c_void_p,), c_int, *2 * (c_void_p,), c_bool, c_void_p
)
_predictor_free = plain(None, "predictor_free", c_void_p)
_predictor_hidden = checked("predictor_hidden", *2 * (c_void_p,), c_int64, *2 * (c_void_p,), c_int)
_predictor_predict = checked(
    "predictor_predict",
    *2 * (c_void_p,),
    c_int64,
    *3 * (c_void_p,),
    c_int64,
    c_float,
    c_int,
    *3 * (c_void_p,),
)
_predictor_line = plain(
    c_int, "predictor_line", c_void_p, c_char_p, *2 * (c_int64,), c_float, c_void_p, quick=True
)
_predictor_line_hidden = checked(
    "predictor_line_hidden", c_void_p, c_char_p, c_int64, c_void_p, quick=True
)
_composer_new = checked("composer_new", *4 * (c_void_p,), c_int64, c_bool, c_void_p)
_composer_free = plain(None, "composer_free", c_void_p)
_composer_word = plain(c_int, "composer_word", c_void_p, *BYTES, c_int64, c_void_p, quick=True)
_composer_line = plain(c_int, "composer_line", c_void_p, *BYTES, c_void_p, quick=True)
_entries_measure = checked("entries_measure", *SPAN, c_int64, c_void_p)
_entries_split = plain(c_int64, "entries_split", *SPAN, c_int64, *3 * (c_void_p,))
_word_index_new = checked("word_index_new", *WORDS, c_void_p)
_word_index_free = plain(None, "word_index_free", c_void_p)
_word_index_find = plain(c_int64, "word_index_find", c_void_p, *BYTES, quick=True)

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)  # known at once


class MatrixRows(Structure):
    """A matrix [N, D] for a `LinePredictor`, which must keep it: of floats, or of codes.

    See csrc/text/line_predictor.h. Floats may lie at any byte, as in a file that is mapped.
    """

    _fields_ = (
        *((name, c_int64) for name in ("rows", "dim", "stride")),
        ("values", c_void_p),
        ("sub_dim", c_int64),
        *((name, c_void_p) for name in ("codes", "centroids", "norm_codes", "norm_centroids")),
    )

    @classmethod
    def of(cls, matrix: np.ndarray) -> MatrixRows:
        """Of numbers, whose rows may be apart; a copy is made of what is not float32."""
        if matrix.dtype != np.float32 or (matrix.size and matrix.strides[1] != 4):
            matrix = np.ascontiguousarray(matrix, np.float32)
        made = cls(*matrix.shape, matrix.strides[0] // 4, matrix.ctypes.data)
        made._arrays = matrix
        return made

    @classmethod
    def of_codes(
        cls,
        codes: np.ndarray,
        centroids: np.ndarray,
        sub_dim: int,
        norm_codes: np.ndarray | None,
        norm_centroids: np.ndarray | None,
    ) -> MatrixRows:
        """Of codes uint8 [N, parts] and [N], and centroids float32 [256 * D] and [256]."""
        arrays = [
            array if array is None else np.ascontiguousarray(array)
            for array in (codes, centroids, norm_codes, norm_centroids)
        ]
        places = [None if array is None else array.ctypes.data for array in arrays]
        made = cls(len(codes), centroids.size // 256, 0, None, sub_dim, *places)
        made._arrays = arrays
        return made


class LinePredictor(Handle):
    """Labels of lines by a supervised model; see csrc/text/line_predictor.h. It never changes.

    Args:
        input: rows of words and of buckets, as `features` number them.
        output: [L, D], a row for each label, or for each inner node of a tree.
        loss: 0 softmax, 1 sigmoids, 2 a tree, with the paths of its leaves.
        exact: without what the original adds to probabilities, and its table of sigmoids.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        features: LineFeatures,
        input: MatrixRows,
        output: MatrixRows,
        *,
        loss: int,
        tree: tuple[np.ndarray, np.ndarray] | None = None,
        exact: bool = False,
    ):
        self._borrowed = features, input, output
        paths = (None, None) if tree is None else [array.ctypes for array in tree]
        super().__init__(
            *(_predictor_free, _predictor_new, features, byref(input), byref(output)),
            *(loss, *paths, exact),
        )
        self.labels, self.dim = output.rows, input.dim
        self._address = self._as_parameter_.value

    def hidden(self, row_ends: np.ndarray, rows: np.ndarray, threads: int) -> np.ndarray:
        """The means of the rows of lines, float32 [S, D], zeros for a line without any.

        Args:
            row_ends, rows: as of `Lines`.
        """
        found = np.empty((len(row_ends) - 1, self.dim), np.float32)
        _predictor_hidden(
            self, row_ends.ctypes, len(found), rows.ctypes, found.ctypes, thread_count(threads)
        )
        return found

    def predict(
        self,
        row_ends: np.ndarray,
        rows: np.ndarray,
        inputs: np.ndarray | None,
        scores: np.ndarray | None,
        k: int,
        threshold: float,
        threads: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Up to k labels of each line, the likeliest first.

        Args:
            row_ends, rows: as of `Lines`.
            inputs: None, or contiguous float32 [S, D], what `hidden` gives.
            scores: None, or contiguous float32 [S, L], of inputs and labels, not of a tree.

        Returns:
            Where those of each line end, int64 [S + 1], the labels, int32, and their
            probabilities, float32.
        """
        blocks = [c_void_p() for _ in range(3)]
        _predictor_predict(
            *(self, row_ends.ctypes, len(row_ends) - 1, rows.ctypes),
            *(None if each is None else each.ctypes for each in (inputs, scores)),
            *(k, threshold, thread_count(threads)),
            *map(byref, blocks),
        )
        ends, labels, probabilities = map(take, blocks)
        return (
            np.frombuffer(ends, np.int64),
            np.frombuffer(labels, np.int32),
            np.frombuffer(probabilities, np.float32),
        )

    def line(self, text: bytes, k: int, threshold: float) -> tuple[list[int], np.ndarray]:
        """Up to k <= L labels of the first line of a text, and float64 probabilities."""
        found = (c_int64 * (1 + 2 * k))()
        if status := _predictor_line(self._address, text, len(text), k, threshold, found):
            check(status, None, None)
        count = found[0]
        return found[1 : 1 + count], np.frombuffer(memoryview(found), _FLOAT64, count, 8 + 8 * k)

    def line_hidden(self, text: bytes) -> np.ndarray:
        """The mean of the rows of the first line of a text, float32 [D]."""
        found = (c_float * self.dim)()
        _predictor_line_hidden(self._address, text, len(text), found)
        return np.frombuffer(found, _FLOAT32)


class WordIndex(Handle):
    """Finds words among many, by their bytes.

    Raises:
        ValueError: a word that comes twice.
    """

    def __init__(self, words: WordBytes):
        self.words = words  # borrowed there
        super().__init__(_word_index_free, _word_index_new, *words.native)
        self._address = self._as_parameter_.value

    def find(self, word: bytes) -> int:
        """Its number, or -1."""
        return _word_index_find(self._address, word, len(word))


class WordComposer(Handle):
    """Vectors of words, known or not; see csrc/text/word_composer.h. It never changes.

    Args:
        index: finds the rows of words, where they are not told.
        subwords: the rows of n-grams, in `ngrams` from row `first` on.
        own: rows of words.
        mean: or the sum.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        index: WordIndex | None,
        subwords: SubwordRows,
        own: MatrixRows,
        ngrams: MatrixRows,
        *,
        first: int = 0,
        mean: bool = True,
    ):
        self._borrowed = index, subwords, own, ngrams
        super().__init__(
            *(_composer_free, _composer_new, index, subwords, byref(own), byref(ngrams)),
            *(first, mean),
        )
        self._room = c_float * own.dim
        self._address = self._as_parameter_.value

    def word(self, word: bytes, row: int = -2) -> np.ndarray:
        """The vector of a word, float32 [D]; `row`: its own, -1 for none, -2 to look it up."""
        found = self._room()
        if status := _composer_word(self._address, word, len(word), row, found):
            check(status, None, None)
        return np.frombuffer(found, _FLOAT32)

    def line(self, line: bytes) -> np.ndarray:
        """The mean of the words' vectors at length 1, float32 [D]; they are looked up."""
        found = self._room()
        if status := _composer_line(self._address, line, len(line), found):
            check(status, None, None)
        return np.frombuffer(found, _FLOAT32)


def read_entries(block: np.ndarray, count: int) -> tuple[WordBytes, np.ndarray, int, int]:
    """The dictionary of a fastText model; see csrc/text/word_entries.h.

    Returns:
        The tokens, their counts, int64 [count], how many of them are words, and how many bytes
        they take at the start of the block.

    Raises:
        ValueError: it is damaged.
    """
    sizes = (c_int64 * 2)()
    _entries_measure(block.ctypes, block.size, count, sizes)
    used, size = sizes[:]
    data, offsets = np.empty(size, np.uint8), np.empty(count + 1, np.int64)
    counts = np.empty(count, np.int64)
    words = _entries_split(block.ctypes, used, count, data.ctypes, offsets.ctypes, counts.ctypes)
    return WordBytes(data, offsets), counts, words, used
