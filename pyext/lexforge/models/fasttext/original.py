"""Models as the fasttext package has them: its functions and methods over a model file's contents.

Words are bytes in a file; here they are text of UTF-8, and `on_unicode_error` says what becomes of
words that are not ("strict", "replace", "ignore", as of ``bytes.decode``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np

from lexforge._arguments import existing, real
from lexforge._arguments import whole as whole_number
from lexforge._text import WordBytes
from lexforge.models.fasttext.meter import Meter
from lexforge.models.fasttext.prediction import Predictions, Predictor
from lexforge.text.files import BYTES, text_of
from lexforge.text.subwords import ngram_hash, ngrams_of
from lexforge.vectors.formats.fasttext import LOSSES, FastTextFile, read_fasttext, write_fasttext
from lexforge.vectors.quantised import QuantizedMatrix, longest_rows
from lexforge.vectors.similarity import nearest

EOS, BOW, EOW = "</s>", "<", ">"
LABEL = "__label__"
_EOS = EOS.encode()
_ONE_LINE = "{} processes one line at a time (remove '\\n')"
_MAX_K = 2**31 - 1
_BLOCK_WORDS = 4096
_BLOCK_LINES = 4096
_TOLD = frozenset(
    (
        *("dim", "ws", "epoch", "minCount", "neg", "wordNgrams"),
        *("bucket", "minn", "maxn", "lrUpdateRate", "t"),
    )
)


def tokenize(text: str) -> list[str]:
    """The words of a text: what stands between spaces, tabs, NULs, ...; ``</s>`` for a line's end.

    Example:
        >>> tokenize("to be\\nor not")
        ['to', 'be', '</s>', 'or', 'not']
    """
    return [token.decode(errors="surrogateescape") for token in _tokens(_encoded(text))]


def load_model(path: str | os.PathLike) -> Model:
    """The model of a .bin or .ftz file, whose matrices stay in the file until they are looked at.

    Raises:
        ValueError: The file is no such model, or damaged; FileNotFoundError: there is none.
    """
    return Model(read_fasttext(path))


class Model:
    """A model of fastText; made by `load_model`, `train_unsupervised` or `train_supervised`.

    Args:
        file: what it is made of.
        label: with which labels begin; files do not tell it.
        told: further settings of its training, which become attributes: ``lr``, ``thread``, ...,
            and ``state``, where it stands.

    Attributes:
        file: as above.
        dim, ws, epoch, minCount, neg, wordNgrams, bucket, minn, maxn, lrUpdateRate, t: settings of
            its training, and `loss`: "hs", "ns", "softmax" or "ova".
    """

    def __init__(self, file: FastTextFile, label: str = LABEL, **told: Any):
        self.file, self.label = file, label
        vars(self).update(told)

    def __getattr__(self, name: str) -> Any:
        """Settings of the training that the file tells."""
        if name in _TOLD:
            return getattr(self.file, name)
        hint = ": it wraps nothing; its own methods have all that there is" if name == "f" else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    @property
    def loss(self) -> str:
        """Of the training: hs, ns, softmax or ova."""
        return LOSSES[self.file.loss]

    def __repr__(self) -> str:
        file = self.file
        kind = "supervised" if file.supervised else ("cbow", "skipgram")[file.model - 1]
        labels = f", {len(file.labels):,} labels" if file.supervised else ""
        quantized = ", quantized" if self.is_quantized() else ""
        return f"<fastText {kind}, {len(file.words):,} words{labels}, dim {file.dim}{quantized}>"

    # -- what it is made of

    def is_quantized(self) -> bool:
        """Whether vectors are kept as codes."""
        return self.file.quantised

    def get_dimension(self) -> int:
        """Numbers in a vector."""
        return self.file.dim

    @cached_property
    def words(self) -> list[str]:
        """All words, by descending count."""
        return self.get_words()

    @cached_property
    def labels(self) -> list[str]:
        """All labels, by descending count; the words of an unsupervised model."""
        return self.get_labels()

    def get_words(self, include_freq: bool = False, on_unicode_error: str = "strict") -> Any:
        """All words, by descending count.

        Returns:
            list[str]; or that and counts int64 [V] with `include_freq`.

        Raises:
            UnicodeDecodeError: A word is not UTF-8.
        """
        words = self.file.decoded(on_unicode_error)
        return (words, np.array(self.file.counts)) if include_freq else words

    def get_labels(self, include_freq: bool = False, on_unicode_error: str = "strict") -> Any:
        """All labels, as `get_words` has words; the words of an unsupervised model."""
        if not self.file.supervised:
            return self.get_words(include_freq, on_unicode_error)
        labels = [label.decode(errors=on_unicode_error) for label in _each(self.file.labels)]
        return (labels, np.array(self.file.label_counts)) if include_freq else labels

    def get_word_id(self, word: str) -> int:
        """The row of a word, -1 for one that the model does not have.

        Labels have the numbers behind those of words.
        """
        token = _encoded(word)
        row = self.file.index.find(token)
        if row < 0 and (label := self._labels.get(token, -1)) >= 0:
            return len(self.file.words) + label
        return row

    def get_label_id(self, label: str) -> int:
        """The number of a label, -1 for one that the model does not have."""
        return self._labels.get(_encoded(label), -1)

    def get_subword_id(self, subword: str) -> int:
        """The row of the input matrix that an n-gram falls in, without regard to pruning.

        Raises:
            ValueError: The model has no n-grams.
        """
        if not self.file.bucket:
            raise ValueError("get_subword_id: the model has no n-grams (bucket is 0)")
        return len(self.file.words) + ngram_hash(subword) % self.file.bucket

    def get_subwords(
        self, word: str, on_unicode_error: str = "strict"
    ) -> tuple[list[str], np.ndarray]:
        """The word itself, if the model has it, and its n-grams; and the rows of both.

        Rows are int64 [n]; n-grams that a pruned model lacks have none.
        """
        token, file = _encoded(word), self.file
        rows, ngrams = file.subwords.native.parts(
            token, row := file.index.find(token), len(file.words)
        )
        if b"\0" not in token:
            return ngrams.decode(errors=on_unicode_error).split("\0")[:-1], rows
        own = [token] if row >= 0 else []
        texts = [text.decode(errors=on_unicode_error) for text in own + self._ngrams(token)]
        return texts, rows

    def get_input_vector(self, ind: int) -> np.ndarray:
        """Row `ind` of the input matrix, float32 [dim].

        Raises:
            IndexError: There is none.
        """
        rows = len(self.file.input)
        if not 0 <= ind < rows:
            raise IndexError(f"get_input_vector: ind must be 0 to {rows - 1}, got {ind}")
        return np.array(self.file.input[ind], np.float32)

    def get_input_matrix(self) -> np.ndarray:
        """A copy of the input matrix, float32 [words + buckets, dim]. ValueError: quantized."""
        return self._dense(self.file.input)

    def get_output_matrix(self) -> np.ndarray:
        """A copy of the output matrix, float32 [words or labels, dim]. ValueError: quantized."""
        return self._dense(self.file.output)

    def _dense(self, matrix: np.ndarray | QuantizedMatrix) -> np.ndarray:
        if self.is_quantized():
            raise ValueError("Can't get quantized Matrix")
        return np.array(matrix, np.float32)

    def set_matrices(self, input_matrix: np.ndarray, output_matrix: np.ndarray) -> None:
        """Puts other matrices in place of both, with as many rows; `dim` may be another.

        Raises:
            ValueError: Another number of rows, or of columns in one than in the other.
        """
        file = self.file
        behind = file.bucket if file.pruneidx is None else len(file.pruneidx)
        rows = len(file.words) + behind, len(file.labels if file.supervised else file.words)
        given = [np.array(each, np.float32, order="C") for each in (input_matrix, output_matrix)]
        dim = given[0].shape[-1] if given[0].ndim else 0
        for name, count, each in zip(("input", "output"), rows, given, strict=True):
            if each.shape != (count, dim) or not dim:
                raise ValueError(
                    f"set_matrices: {name}_matrix must be [{count}, {dim or 'dim'}], "
                    f"got {[*each.shape]}"
                )
        if file.pruneidx is not None:
            raise ValueError("set_matrices: a pruned model's matrices cannot be replaced")
        self._become(replace(file, dim=dim, input=given[0], output=given[1]))

    def save_model(self, path: str | os.PathLike) -> None:
        """Writes a file that `load_model` and fastText read: .bin, or .ftz if quantized."""
        write_fasttext(path, self.file)

    # -- vectors

    def get_word_vector(self, word: str) -> np.ndarray:
        """The vector of any word, float32 [dim]: the mean of its own row and of its n-grams'."""
        return self.file.word_vector(_encoded(word))

    def __getitem__(self, word: str) -> np.ndarray:
        return self.get_word_vector(word)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self.file.row(_encoded(word)) >= 0

    def get_sentence_vector(self, text: str) -> np.ndarray:
        """One vector for a line, float32 [dim].

        Of a supervised model the mean of all rows that it predicts from; of others, that of the
        words' vectors, each at length 1.

        Raises:
            ValueError: The text has a line break.
        """
        if "\n" in text:
            raise ValueError(_ONE_LINE.format("predict"))
        line = _encoded(text) + b"\n"
        if self.file.supervised:
            return self._predictor.line_hidden(line)
        return self.file.line_vector(line)

    def sentence_vectors(self, text: bytes) -> Iterator[np.ndarray]:
        """Those of all lines of a text; of the last one, too, where it has no line break."""
        if self.file.supervised:
            lines = self._predictor.lines(text)
            for start in range(0, len(lines.row_ends) - 1, _BLOCK_LINES):
                yield from self._predictor.hidden(lines, start, start + _BLOCK_LINES)
            return
        yield from map(self.file.line_vector, text.removesuffix(b"\n").split(b"\n"))

    def ngram_vectors(self, word: str) -> Iterator[tuple[str, np.ndarray]]:
        """A word itself, if the model has it, and its n-grams, each with its row, float32 [dim].

        N-grams that a pruned model lacks are left out.
        """
        file = self.file
        if (row := file.row(_encoded(word))) >= 0:
            yield word, self.get_input_vector(row)
        kept = None if file.pruneidx is None else dict(file.pruneidx.tolist())
        for ngram in self._ngrams(_encoded(word)):
            text = ngram.decode(errors="surrogateescape")
            bucket = ngram_hash(text) % file.bucket
            number = bucket if kept is None else kept.get(bucket)
            if number is not None:
                yield text, self.get_input_vector(len(file.words) + number)

    def _ngrams(self, word: bytes) -> list[bytes]:
        subwords = self.file.subwords
        return ngrams_of(word, subwords.min_n, subwords.max_n) if subwords.max_n else []

    def get_nearest_neighbors(
        self, word: str, k: int = 10, on_unicode_error: str = "strict"
    ) -> list[tuple[float, str]]:
        """The words whose vectors are nearest to that of a word, which need not be known.

        Returns:
            Up to k of (cosine, word), without the word itself.
        """
        return self._nearest(self.get_word_vector(word), k, (word,), on_unicode_error)

    def get_analogies(
        self, wordA: str, wordB: str, wordC: str, k: int = 10, on_unicode_error: str = "strict"
    ) -> list[tuple[float, str]]:  # fmt: skip
        """The words nearest to A - B + C, of vectors of length 1, without these three.

        Returns:
            Up to k of (cosine, word).
        """
        query = np.zeros(self.file.dim, np.float32)
        for word, sign in ((wordA, 1), (wordB, -1), (wordC, 1)):
            vector = self.get_word_vector(word)
            query += vector * np.float32(sign / (np.linalg.norm(vector) + 1e-8))
        return self._nearest(query, k, (wordA, wordB, wordC), on_unicode_error)

    def _nearest(
        self, query: np.ndarray, k: int, without: Sequence[str], on_unicode_error: str
    ) -> list[tuple[float, str]]:
        k = whole_number("fasttext", "k", k, 1, _MAX_K)
        norm = np.linalg.norm(query)
        scores = self._unit_vectors @ (query / (norm if norm >= 1e-8 else 1))
        rows, scores = nearest(scores, k, [self.file.row(_encoded(word)) for word in without])
        words = [self.file.words[row].decode(errors=on_unicode_error) for row in rows.tolist()]
        return list(zip(scores.tolist(), words, strict=True))

    @cached_property
    def _unit_vectors(self) -> np.ndarray:
        """Vectors of all words at length 1, float32 [V, dim]; zeros stay zeros."""
        vectors = np.concatenate([np.empty((0, self.file.dim), np.float32), *self.word_vectors()])
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        vectors /= np.where(norms > 0, norms, 1)[:, None]
        return vectors

    def word_vectors(self) -> Iterator[np.ndarray]:
        """The vectors of all words, float32, some rows at a time."""
        file = self.file
        offsets, rows = file.subwords.bags(file.words)
        for start in range(0, len(file.words), _BLOCK_WORDS):
            ends = offsets[start : start + _BLOCK_WORDS + 1]
            of_block = np.asarray(file.input[rows[ends[0] : ends[-1]]], np.float32)
            yield np.add.reduceat(of_block, ends[:-1] - ends[0]) / np.diff(ends)[:, None].astype(
                np.float32
            )

    # -- predictions

    def predict(
        self,
        text: str | list[str],
        k: int = 1,
        threshold: float = 0.0,
        on_unicode_error: str = "strict",
    ) -> Any:
        """The most probable labels of a line, or of each of a list of lines.

        Args:
            text: a line, without a line break.
            k: labels at most; -1 for all.
            threshold: the least probability.

        Returns:
            Labels and float64 probabilities [n] of a line, by descending probability, n <= k; of a
            list, a list of lists of labels, and one of float32 arrays.

        Raises:
            ValueError: The model is not supervised, or the text has a line break.
        """
        k = whole_number("predict", "k", k, -1, _MAX_K)
        threshold = real("predict", "threshold", threshold, -math.inf)
        predictor, strict = self._predictor, on_unicode_error == "strict"
        names = self.labels if strict else self.get_labels(on_unicode_error=on_unicode_error)
        if isinstance(text, str):
            if "\n" in text:
                raise ValueError(_ONE_LINE.format("predict"))
            return predictor.line(_encoded(text) + b"\n", names, k, threshold)
        if not isinstance(text, list | tuple) or not all(isinstance(line, str) for line in text):
            raise TypeError(f"predict: text must be a str or a list of str, got {text!r:.60}")
        if any("\n" in line for line in text):
            raise ValueError(_ONE_LINE.format("predict"))
        told = self.predictions("".join(f"{line}\n" for line in text), k, threshold, whole=True)
        ends, labels = told.offsets.tolist(), [names[label] for label in told.labels.tolist()]
        return (
            [labels[begin:end] for begin, end in pairwise(ends)],
            [told.probabilities[begin:end] for begin, end in pairwise(ends)],
        )

    def predictions(
        self, text: str | bytes, k: int = 1, threshold: float = 0.0, whole: bool = False
    ) -> Predictions:
        """The most probable labels of each line of a text, as numbers; see `predict`.

        Args:
            whole: what follows a ``</s>`` in a line is left out, not a line of its own.
        """
        k = whole_number("predict", "k", k, -1, _MAX_K)
        threshold = real("predict", "threshold", threshold, -math.inf)
        text = text if isinstance(text, bytes) else _encoded(text)
        predictor = self._predictor
        return predictor.predict(predictor.lines(text, whole), k, threshold)

    def get_line(self, text: str | list[str], on_unicode_error: str = "strict") -> Any:
        """The words of a line, ``</s>`` last, and its labels, those that the model has.

        Returns:
            Two list[str]; of a list of lines, two lists of those.

        Raises:
            ValueError: The text has a line break.
        """
        if isinstance(text, str):
            return self._line(text, on_unicode_error)
        told = [self._line(line, on_unicode_error) for line in text]
        return [words for words, _ in told], [labels for _, labels in told]

    def _line(self, line: str, on_unicode_error: str) -> tuple[list[str], list[str]]:
        if "\n" in line:
            raise ValueError(_ONE_LINE.format("get_line"))
        tokens = _tokens(_encoded(line) + b"\n")
        tokens = tokens[: tokens.index(_EOS) + 1]
        prefix, known, row = _encoded(self.label), self._labels, self.file.index.find
        labels = [token for token in tokens if token in known]
        words = [
            token
            for token in tokens
            if not (token.startswith(prefix) and row(token) < 0) and token not in known
        ]
        return _decoded(words, on_unicode_error), _decoded(labels, on_unicode_error)

    def test(
        self, path: str | os.PathLike, k: int = 1, threshold: float = 0.0
    ) -> tuple[int, float, float]:
        """How good predictions are for a file of lines with labels.

        Lines without a label that the model has, or without words, do not count.

        Returns:
            Their number, precision and recall; NaN where there is nothing to be right about.

        Raises:
            ValueError: The model is not supervised. OSError: the file cannot be read.
        """
        meter = self.meter(path, k, threshold)
        return meter.examples, meter.precision(), meter.recall()

    def test_label(
        self, path: str | os.PathLike, k: int = 1, threshold: float = 0.0
    ) -> dict[str, dict[str, float]]:
        """The same by label: ``{label: {"precision": ..., "recall": ..., "f1score": ...}}``."""
        meter = self.meter(path, k, threshold)
        return {
            label: {
                "precision": meter.precision(number),
                "recall": meter.recall(number),
                "f1score": meter.f1(number),
            }
            for number, label in enumerate(self.labels)
        }

    def get_meter(self, path: str | os.PathLike, k: int = -1) -> ModelMeter:
        """What tells of precision and recall at any threshold, for a file as of `test`."""
        return ModelMeter(self, self.meter(path, k, 0.0, missed=True))

    def meter(
        self,
        lines: str | os.PathLike | Iterable[bytes],
        k: int = 1,
        threshold: float = 0.0,
        missed: bool = False,
    ) -> Meter:
        """Predictions for the lines of a file, or for some; see `test`."""
        if isinstance(lines, str | os.PathLike):
            with open(lines, "rb") as raw, text_of(raw, lines, errors=BYTES) as stream:
                return self.meter(stream, k, threshold, missed)
        k = whole_number("test", "k", k, -1, _MAX_K)
        threshold = real("test", "threshold", threshold, -math.inf)
        return self._predictor.measured(_blocks(lines), k, threshold, missed)

    # -- less room

    def quantize(
        self,
        input: str | os.PathLike | None = None,
        qout: bool = False,
        cutoff: int = 0,
        retrain: bool = False,
        epoch: int | None = None,
        lr: float | None = None,
        thread: int | None = None,
        verbose: int | None = None,
        dsub: int = 2,
        qnorm: bool = False,
        seed: int = 1,
    ) -> None:
        """Keeps the vectors as codes, by product quantisation: a model of a tenth of the size.

        Args:
            input: the training text, for `retrain`.
            qout: code the output matrix, too; it makes sense for very many labels.
            cutoff: keep so many words and n-grams only, those with the longest vectors; 0: all.
            retrain: after the cut, train what is left once more: `epoch` times over the text, from
                the learning rate `lr`, on `thread` threads; as the model was trained by default.
            verbose: 0: show nothing of that.
            dsub: numbers in a sub-vector: each becomes a byte.
            qnorm: code lengths of vectors apart from their directions.
            seed: of the codes.

        Raises:
            ValueError: The model is not supervised, or quantized already; `retrain` without
                `input`; numbers out of range.
        """
        file = self.file
        if not file.supervised:
            raise ValueError("For now we only support quantization of supervised models")
        if self.is_quantized():
            raise ValueError("quantize: the model is quantized already")
        if retrain and input is None:
            raise ValueError("Need input file path if retraining")
        cutoff = whole_number("quantize", "cutoff", cutoff, 0, _MAX_K)
        dsub = whole_number("quantize", "dsub", dsub, 1, _MAX_K)
        if 0 < cutoff < len(file.input):
            file = _cut(file, cutoff)
            if retrain:
                file = self._retrained(file, input, epoch, lr, thread, verbose)
        quantized = QuantizedMatrix.quantize(np.asarray(file.input), dsub, qnorm, seed)
        output = file.output
        if qout:
            output = QuantizedMatrix.quantize(np.asarray(output), 2, qnorm, seed)
        self._become(replace(file, input=quantized, output=output))

    def _retrained(
        self,
        file: FastTextFile,
        input: Any,
        epoch: int | None,
        lr: float | None,
        thread: int | None,
        verbose: int | None,
    ) -> FastTextFile:
        """The file after some more training, with its words and n-grams as they are."""
        from lexforge.models.fasttext.classifier import FastTextClassifier

        told = vars(self)
        thread = thread or told.get("thread")
        classifier = FastTextClassifier._of_file(
            replace(file, epoch=epoch or file.epoch),
            self.label,
            thread,
            bool(told.get("verbose", 2) if verbose is None else verbose),
        )
        classifier.settings = replace(classifier.settings, lr=lr or told.get("lr", 0.05))
        classifier.train(existing("quantize: input", input))
        return replace(classifier._file(), epoch=file.epoch)

    def _become(self, file: FastTextFile) -> None:
        self.file = file
        for name in ("words", "labels", "_labels", "_predictor", "_unit_vectors"):
            self.__dict__.pop(name, None)

    @cached_property
    def _labels(self) -> dict[bytes, int]:
        return {label: number for number, label in enumerate(_each(self.file.labels))}

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor.of_file(self.file, self.label)


class ModelMeter:
    """What `Model.get_meter` gives."""

    def __init__(self, model: Model, meter: Meter):
        self.f, self.m = model, meter

    def score_vs_true(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the predictions of a label, and 1 for those that are right: float64 [n] each.

        By ascending score; -1 is that of a line which has the label, and it was not predicted.
        """
        return self.m.scored(self._id(label))

    def precision_recall_curve(self, label: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall at each threshold, from the highest on: float64 [n] each."""
        return self.m.curve(self._id(label))

    def precision_at_recall(self, recall: float, label: str | None = None) -> float:
        """The best precision where the recall is at least that."""
        return self.m.precision_at_recall(recall, self._id(label))

    def recall_at_precision(self, precision: float, label: str | None = None) -> float:
        """The best recall where the precision is at least that."""
        return self.m.recall_at_precision(precision, self._id(label))

    def _id(self, label: str | None) -> int | None:
        if not label:
            return None
        number = self.f.get_label_id(label)
        if number < 0:
            raise ValueError(f"get_meter: the model has no label {label!r}")
        return number


def _cut(file: FastTextFile, cutoff: int) -> FastTextFile:
    """The file with the longest `cutoff` rows of its input; the end of a line always stays."""
    eos = file.row(_EOS)
    kept = longest_rows(np.asarray(file.input), len(file.words), cutoff, eos if eos >= 0 else None)
    rows = np.concatenate((kept.words, len(file.words) + kept.buckets))
    pairs = np.stack((kept.buckets, np.arange(len(kept.buckets))), 1)
    return replace(
        file,
        words=WordBytes.of(file.words[row] for row in kept.words.tolist()),
        counts=np.asarray(file.counts)[kept.words],
        pruneidx=pairs.astype(np.int32),
        input=np.asarray(file.input[rows], np.float32),
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(tokens: list[bytes], errors: str) -> list[str]:
    """Tokens without spaces as text."""
    return b" ".join(tokens).decode(errors=errors).split(" ") if tokens else []


def _each(words: WordBytes) -> Iterator[bytes]:
    data = words.data.tobytes()
    return (data[begin:end] for begin, end in pairwise(words.offsets.tolist()))


def _tokens(text: bytes) -> list[bytes]:
    """Words, and the end of a line for each line break."""
    lines = text.replace(b"\0", b" ").split(b"\n")
    return [token for line in lines for token in (*line.split(), _EOS)][:-1]


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Some lines at a time."""
    stream = iter(lines)
    while block := b"".join(islice(stream, _BLOCK_LINES)):
        yield block
