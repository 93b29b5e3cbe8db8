"""Labels of lines by a supervised model of fastText, also by one whose matrices are codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lexforge._text import LineFeatures, LinePredictor, Lines
from lexforge.models.fasttext.meter import Meter
from lexforge.text.huffman import HuffmanTree, huffman_tree
from lexforge.vectors.formats.fasttext import LOSSES, FastTextFile
from lexforge.vectors.formats.rows import default_threads
from lexforge.vectors.quantised import QuantizedMatrix, native_rows

if TYPE_CHECKING:
    import torch

_SHORT = 1 << 16  # bytes of text that one thread reads as soon as several
_SCORES = 1 << 22  # held at a time
_CACHED = 1 << 18  # numbers of an output that stays near for all lines
_MANY = 1 << 12  # of rows, from which on the kernel is worth its call
_ROWS = 1 << 20  # looked at together
_KINDS = {"softmax": 0, "hs": 2}  # others are sigmoids


class Predictions(NamedTuple):
    """Labels of some lines, by descending probability.

    Attributes:
        offsets: int64 [S + 1]; those of line s are ``labels[offsets[s]:offsets[s + 1]]``.
        labels: int32.
        probabilities: float32.
    """

    offsets: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


class Predictor:
    """Predicts labels as the original does. Of equal ones the last comes first.

    Args:
        features: what finds the rows of lines.
        input: float32 or quantised [R, D], of words and of buckets.
        output: likewise [L, D], of labels.
        loss: "softmax", "hs", "ns" or "ova".
        tree: that of the labels, for "hs" where there are several.
        exact: without what the original adds to probabilities (0.00001, of a tree at each node),
            and without its table of sigmoids.
        threads: default one for each core.
        table: what `input` is a view of, float32 [R, stride], for many lines.

    Raises:
        ValueError: The sizes do not go together.
    """

    def __init__(
        self,
        features: LineFeatures,
        input: np.ndarray | QuantizedMatrix,
        output: np.ndarray | QuantizedMatrix,
        loss: str,
        tree: HuffmanTree | None = None,
        *,
        exact: bool = False,
        threads: int | None = None,
        table: torch.Tensor | None = None,
    ):
        self._features, self._input, self._output = features, input, output
        self._table = table
        self._tree, self._threads = loss == "hs", threads
        self._native = LinePredictor(
            features,
            native_rows(input),
            native_rows(output),
            loss=_KINDS.get(loss, 1),
            tree=None if tree is None else (tree.offsets, tree.nodes),
            exact=exact,
        )

    @classmethod
    def of_file(cls, file: FastTextFile, prefix: str) -> Predictor:
        """That of a supervised model, whose labels begin with `prefix`.

        Raises:
            ValueError: The model is not supervised, or it has no labels.
        """
        if not file.supervised:
            raise ValueError("Model needs to be supervised for prediction!")
        if not len(file.labels):
            raise ValueError("predict: the model has no labels")
        features = LineFeatures(
            file.words,
            file.labels,
            prefix.encode(errors="surrogateescape"),
            min_n=file.subwords.min_n,
            max_n=file.subwords.max_n,
            word_ngrams=max(file.wordNgrams, 1),
            buckets=file.bucket,
            pruned=file.pruned,
        )
        loss = LOSSES[file.loss]
        several = loss == "hs" and len(file.labels) > 1
        tree = huffman_tree(file.label_counts) if several else None
        return cls(features, file.input, file.output, loss, tree)

    def lines(self, text: bytes, whole: bool = False) -> Lines:
        """Rows of the input and labels of each line.

        Args:
            text: lines, each with its line break.
            whole: what follows a ``</s>`` in a line is left out, not a line of its own.
        """
        threads = 1 if len(text) < _SHORT else self.threads
        return self._features.read(text, whole=whole, threads=threads)

    @property
    def threads(self) -> int:
        return self._threads or default_threads()

    def hidden(self, lines: Lines, begin: int = 0, end: int | None = None) -> np.ndarray:
        """The means of the input's rows for lines begin .. end, float32 [end - begin, D].

        Zeros for a line without any.
        """
        ends = lines.row_ends[begin : None if end is None else end + 1]
        if ends[-1] - ends[0] < _MANY or isinstance(self._input, QuantizedMatrix):
            return self._native.hidden(ends, lines.rows, self.threads)
        import torch

        from lexforge.ops.embedding.embedding_bag import embedding_bag

        if self._table is None:  # what is mapped may lie at any byte
            self._table = torch.from_numpy(np.require(self._input, np.float32, ["A", "W", "C"]))
        ids, bags = torch.from_numpy(lines.rows[ends[0] : ends[-1]]), torch.from_numpy(ends)
        with torch.no_grad():
            means = embedding_bag(
                ids, self._table, bags - bags[0], mode="mean", include_last_offset=True
            )
        return np.ascontiguousarray(means.numpy()[:, : self._native.dim])

    def line_hidden(self, text: bytes) -> np.ndarray:
        """What `hidden` says of one line, that ends with its line break: float32 [D]."""
        return self._native.line_hidden(text)

    def line(
        self, text: bytes, names: list[str], k: int = 1, threshold: float = 0.0
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """What `predict` says of one line that ends with its line break: names, and float64."""
        found, probabilities = self._native.line(text, k if k == 1 else self._most(k), threshold)
        if len(found) == 1:  # as a rule, and quicker
            return (names[found[0]],), probabilities
        return tuple([names[label] for label in found]), probabilities

    def predict(self, lines: Lines, k: int = 1, threshold: float = 0.0) -> Predictions:
        """Up to k labels of each line (-1: all), of those with a probability of `threshold`.

        A line without any rows has none.
        """
        k, found = self._most(k), []
        for begin, end in self._blocks(lines):
            ends = lines.row_ends[begin : end + 1]
            inputs = scores = None
            if not isinstance(self._input, QuantizedMatrix) and ends[-1] - ends[0] >= _MANY:
                inputs = self.hidden(lines, begin, end)
                if self._product:
                    scores = inputs @ self._dense_output.T
            found.append(
                self._native.predict(ends, lines.rows, inputs, scores, k, threshold, self.threads)
            )
        if len(found) == 1:
            return Predictions(*found[0])
        return Predictions(
            joined_ends([ends for ends, *_ in found]),
            np.concatenate([np.empty(0, np.int32), *(labels for _, labels, _ in found)]),
            np.concatenate([np.empty(0, np.float32), *(shares for *_, shares in found)]),
        )

    def measured(
        self, blocks: Iterable[bytes], k: int = 1, threshold: float = 0.0, missed: bool = False
    ) -> Meter:
        """How good predictions are for lines with labels.

        Lines without a label that the model has, or without words, do not count.

        Args:
            blocks: of text, each of whole lines.
            missed: as of `Meter`.
        """
        true, predicted = [], []
        for text in blocks:
            known = _labelled(self.lines(text))
            true.append((known.label_ends, known.labels))
            predicted.append(self.predict(known, k, threshold))
        return Meter(
            self._native.labels,
            joined_ends([ends for ends, _ in true]),
            np.concatenate([np.empty(0, np.int64), *(labels for _, labels in true)]),
            joined_ends([each.offsets for each in predicted]),
            np.concatenate([np.empty(0, np.int64), *(each.labels for each in predicted)]),
            np.concatenate([np.empty(0, np.float32), *(each.probabilities for each in predicted)]),
            missed,
        )

    def _most(self, k: int) -> int:
        if k < 1 and k != -1:
            raise ValueError(f"predict: k must be -1 or at least 1, got {k}")
        return self._native.labels if k == -1 else min(k, self._native.labels)

    def _blocks(self, lines: Lines) -> Iterator[tuple[int, int]]:
        """Ranges of lines with so many rows, and scores, that they fit into memory."""
        begin, total = 0, len(lines.row_ends) - 1
        most = max(1, _SCORES // self._native.labels) if self._product else total
        while begin < total:
            within = np.searchsorted(lines.row_ends, lines.row_ends[begin] + _ROWS, "right") - 1
            end = min(max(int(within), begin + 1), begin + most, total)
            yield begin, end
            begin = end

    @property
    def _product(self) -> bool:
        """Whether there are so many labels that scores of several lines are worth a product."""
        large = self._native.labels * self._native.dim > _CACHED
        return large and not self._tree and not isinstance(self._output, QuantizedMatrix)

    @cached_property
    def _dense_output(self) -> np.ndarray:
        """The output in memory: what is mapped may lie at any byte."""
        return np.require(self._output, np.float32, ["A"])


def joined_ends(parts: list[np.ndarray]) -> np.ndarray:
    """Offsets of what stands in several parts, each with offsets of its own."""
    return np.append(0, np.cumsum(np.concatenate([np.empty(0, int), *map(np.diff, parts)])))


def _labelled(lines: Lines) -> Lines:
    """The lines that have a label, and something to predict it from."""
    rows, labels = np.diff(lines.row_ends), np.diff(lines.label_ends)
    kept = (rows > 0) & (labels > 0)
    return Lines(
        np.append(0, np.cumsum(rows[kept])),
        lines.rows[np.repeat(kept, rows)],
        np.append(0, np.cumsum(labels[kept])),
        lines.labels[np.repeat(kept, labels)],
        lines.tokens,
    )
