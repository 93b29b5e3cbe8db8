"""Labels of lines by a supervised model of fastText, also by one whose matrices are codes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from lexforge._text import LineFeatures, Lines
from lexforge.ops.embedding.embedding_bag import embedding_bag
from lexforge.text.huffman import huffman_tree
from lexforge.vectors.formats.fasttext import LOSSES, FastTextFile
from lexforge.vectors.formats.rows import default_threads
from lexforge.vectors.quantised import QuantizedMatrix

_ROWS = 1 << 20  # looked at together
_MANY = 1 << 12  # of rows, from which on the kernel is worth its call
_SCORES = 1 << 22
_SHORT = 1 << 16  # bytes of text that one thread reads as soon as several
_FLOOR = 1e-5  # is added to probabilities, of which logarithms are taken


class Predictions(NamedTuple):
    """Labels of some lines, by descending probability.

    Attributes:
        offsets: int64 [S + 1]; those of line s are ``labels[offsets[s]:offsets[s + 1]]``.
        labels: int64.
        probabilities: float32, as fastText tells them: 0.00001 more than they are.
    """

    offsets: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


class Predictor:
    """Predicts labels as the original does.

    Args:
        file: of a supervised model.
        prefix: with which labels begin.

    Raises:
        ValueError: The model is not supervised, or it has no labels.
    """

    def __init__(self, file: FastTextFile, prefix: str):
        if not file.supervised:
            raise ValueError("Model needs to be supervised for prediction!")
        if not len(file.labels):
            raise ValueError("predict: the model has no labels")
        bucket_rows = None
        if file.pruneidx is not None:
            bucket_rows = np.full(file.bucket, -1, np.int32)
            bucket_rows[file.pruneidx[:, 0]] = file.pruneidx[:, 1]
        self._features = LineFeatures(
            file.words,
            file.labels,
            prefix.encode(errors="surrogateescape"),
            min_n=file.subwords.min_n,
            max_n=file.subwords.max_n,
            word_ngrams=max(file.wordNgrams, 1),
            buckets=file.bucket,
            bucket_rows=bucket_rows,
        )
        self._input, self._loss = file.input, LOSSES[file.loss]
        self._output, self._label_counts = file.output, file.label_counts

    def lines(self, text: bytes, whole: bool = False) -> Lines:
        """Rows of the input and labels of each line.

        Args:
            text: lines, each with its line break.
            whole: what follows a ``</s>`` in a line is left out, not a line of its own.
        """
        threads = 1 if len(text) < _SHORT else default_threads()
        return self._features.read(text, whole=whole, threads=threads)

    def hidden(self, lines: Lines, begin: int = 0, end: int | None = None) -> np.ndarray:
        """The means of the input's rows for lines begin .. end, float32 [end - begin, D].

        Zeros for a line without any.
        """
        ends = lines.row_ends[begin : None if end is None else end + 1]
        if ends[-1] - ends[0] >= _MANY and not isinstance(self._input, QuantizedMatrix):
            ids = torch.from_numpy(lines.rows[ends[0] : ends[-1]])
            bags = torch.from_numpy(ends - ends[0])
            with torch.no_grad():
                return embedding_bag(
                    ids, self._table, bags, mode="mean", include_last_offset=True
                ).numpy()
        counts = np.diff(ends)
        means = np.zeros((len(counts), self._input.shape[1]), np.float32)
        if some := np.flatnonzero(counts).tolist():
            rows = np.asarray(self._input[lines.rows[ends[0] : ends[-1]]], np.float32)
            sums = np.add.reduceat(rows, ends[some] - ends[0])
            means[some] = sums * (1 / counts[some, None]).astype(np.float32)
        return means

    def predict(self, lines: Lines, k: int = 1, threshold: float = 0.0) -> Predictions:
        """Up to k labels of each line (-1: all), of those with a probability of `threshold`.

        Of equal ones the last comes first. A line without any rows has none.
        """
        count = len(self._label_counts)
        k = count if k < 0 else min(k, count)
        counts, labels, probabilities = [], [], []
        for begin, end in self._blocks(lines):
            scores = self._probabilities(self.hidden(lines, begin, end))
            backwards = scores[:, ::-1]
            if k == 1:
                best = backwards.argmax(1)[:, None]
            else:
                best = np.argsort(-backwards, axis=1, kind="stable")[:, :k]
            best = count - 1 - best
            found = np.take_along_axis(scores, best, 1)
            kept = (found >= threshold) & (np.diff(lines.row_ends)[begin:end, None] > 0)
            counts.append(kept.sum(1))
            labels.append(best[kept])
            probabilities.append(found[kept])
        offsets = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
        logs = np.log(_joined(probabilities, np.float32).astype(np.float64) + self._floor)
        return Predictions(offsets, _joined(labels, np.int64), np.exp(logs.astype(np.float32)))

    @property
    def _floor(self) -> float:
        return 0.0 if self._loss == "hs" else _FLOOR  # the tree has it at each node

    def _blocks(self, lines: Lines) -> Iterator[tuple[int, int]]:
        """Ranges of lines with so many rows, and scores, that they fit into memory."""
        begin, total = 0, len(lines.row_ends) - 1
        most = max(1, _SCORES // len(self._label_counts))
        while begin < total:
            within = np.searchsorted(lines.row_ends, lines.row_ends[begin] + _ROWS, "right") - 1
            end = min(max(int(within), begin + 1), begin + most, total)
            yield begin, end
            begin = end

    def _probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Of all labels, float32 [S, L]."""
        if isinstance(self._output, QuantizedMatrix):
            scores = np.stack([self._output.scores(each) for each in hidden])
        else:
            scores = hidden @ self._dense_output.T
        if self._loss == "softmax":
            scores = np.exp(scores - scores.max(1, keepdims=True))
            return scores / scores.sum(1, keepdims=True)
        if self._loss == "hs":
            return self._of_tree(scores)
        sigmoid = _TABLE[np.clip((scores + 8) * 32, 0, 512).astype(np.int64)]
        return np.where(scores < -8, np.float32(0), np.where(scores > 8, np.float32(1), sigmoid))

    def _of_tree(self, scores: np.ndarray) -> np.ndarray:
        if len(self._label_counts) == 1:
            return np.ones((len(scores), 1), np.float32)
        right = 1 / (1 + np.exp(-scores.astype(np.float64)))
        turns = np.log(np.stack((1 - right, right), 2).astype(np.float32) + _FLOOR)
        turns = turns.reshape(len(scores), -1)[:, self._tree.nodes]  # node 2 k + code
        return np.exp(np.add.reduceat(turns, self._tree.offsets[:-1], axis=1)).astype(np.float32)

    @cached_property
    def _tree(self):
        return huffman_tree(self._label_counts)

    @cached_property
    def _table(self) -> torch.Tensor:
        """The input in memory: what is mapped may lie at any byte."""
        return torch.from_numpy(np.require(self._input, np.float32, ["A", "W", "C"]))

    @cached_property
    def _dense_output(self) -> np.ndarray:
        return np.ascontiguousarray(self._output, np.float32)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


# Of a sigmoid, at 513 places from -8 to 8; beyond them it is 0 and 1.
_TABLE = (1 / (1 + np.exp(-np.linspace(-8, 8, 513)))).astype(np.float32)
