"""FastTextClassifier: text classification as fastText does it, and its files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from lexforge import _text
from lexforge._arguments import MAX_THREADS, existing, whole
from lexforge._errors import NotReadyError
from lexforge._text import WordBytes
from lexforge.models.fasttext.classifier_settings import ClassifierSettings
from lexforge.models.fasttext.classifier_trainer import (
    ClassifierParts,
    classifier_steps,
    new_parts,
)
from lexforge.models.fasttext.meter import Meter
from lexforge.models.fasttext.prediction import Predictor
from lexforge.ops._tables import padded_table
from lexforge.text.corpus import Corpus, resolve_corpus
from lexforge.text.files import open_text
from lexforge.text.labelled import LABEL, NONE, LabelledCorpus, labelled_corpus
from lexforge.training.checkpoint import (
    CONFIG,
    STATE,
    CheckpointError,
    read_json,
    read_parts,
    replacing_parts,
    write_json,
)
from lexforge.training.lock import folder_of_run
from lexforge.training.memory import available_memory
from lexforge.training.progress import Progress, shown_by
from lexforge.training.stream_job import StreamState, check_resume, run_steps
from lexforge.vectors.formats.fasttext import (
    LOSSES,
    VERSION,
    FastTextFile,
    read_fasttext,
    write_fasttext,
)
from lexforge.vectors.quantised import QuantizedMatrix

if TYPE_CHECKING:
    from typing_extensions import Self

    from lexforge.training.signals import StopRequest

MODEL = "model.bin"  # in a checkpoint
_KIND = "fasttext_classifier"
_FORMAT_VERSION = 1
_SUPERVISED = 3
_NUMBERS = {name: number for number, name in LOSSES.items()}
_BLOCK_BYTES = 1 << 22  # of text, predicted at a time
_BATCH = 4096  # texts of a list, likewise


class Scores(NamedTuple):
    """Of all labels, or of one; NaN where nothing was predicted, or nothing was there."""

    precision: float
    recall: float
    f1score: float


class FastTextClassifier:
    """Text classification by a linear model over bags of words and n-grams (Joulin et al. 2017).

    The names, defaults and arithmetic of fastText's ``supervised``: a line of text is words and
    labels, labels are words that begin with ``label``. The input of a line is the mean of the
    vectors of its words, of their n-grams of ``minn`` to ``maxn`` characters and of its n-grams of
    up to ``word_ngrams`` words, and of "</s>" for its end. Words are bytes between white space:
    nothing is lower-cased, nothing is decoded.

    Args:
        lr: First learning rate; it falls to 0.
        dim: Numbers per vector.
        epoch: Passes over the corpus.
        min_count, min_count_label: Rarer words, or labels, are left out.
        word_ngrams: Longest n-gram of words.
        minn, maxn: Characters of an n-gram; 0 for ``maxn``: none.
        bucket: Rows for n-grams of both kinds, which are hashed.
        loss: "softmax"; "hs", hierarchical softmax, for many labels; "ns", negative sampling; or
            "ova", a logistic regression for each label, for lines with several. The others train
            one label of a line, drawn at random.
        neg: Noise labels, with "ns".
        label: With which labels begin. It is not part of a model file.
        seed: Of all randomness.
        workers: Threads, default torch's. With one, a run gives the same bits again.
        device: "cpu" or "auto": there is no kernel for others.
        progress: Whether to show progress.

    Raises:
        TypeError, ValueError: A setting out of its limits; n-grams without ``bucket``.

    Example:
        >>> model = FastTextClassifier(epoch=25, lr=1.0)
        >>> model.train([["__label__dog", "barks"], ["__label__cat", "purrs"]] * 50)
        >>> model.predict("it barks")[0]
        ('__label__dog',)
    """

    def __init__(
        self,
        *,
        lr: float = 0.1,
        dim: int = 100,
        epoch: int = 5,
        min_count: int = 1,
        min_count_label: int = 0,
        word_ngrams: int = 1,
        minn: int = 0,
        maxn: int = 0,
        bucket: int = 2_000_000,
        loss: str = "softmax",
        neg: int = 5,
        label: str = LABEL,
        seed: int = 1,
        workers: int | None = None,
        device: str | torch.device = "auto",
        progress: bool = False,
    ) -> None:
        self.settings = ClassifierSettings.of(locals())
        if workers is not None:
            workers = whole("FastTextClassifier", "workers", workers, high=MAX_THREADS)
        if str(device) not in ("cpu", "auto"):
            raise ValueError(
                f"FastTextClassifier: device must be 'cpu' or 'auto', got {str(device)!r}: "
                "classifiers are trained and asked on the CPU"
            )
        self.workers, self.progress = workers, progress
        self._parts: ClassifierParts | None = None
        self._state: StreamState | None = None
        self._asked: tuple[ClassifierParts, Predictor, list[str]] | None = None
        self._kept: dict[str, Any] = {"ws": 5, "lrUpdateRate": 100, "t": 1e-4}  # of a file

    def __repr__(self) -> str:
        if self._parts is None:
            return "FastTextClassifier(not trained)"
        return (
            f"FastTextClassifier({len(self._parts.labels):,} labels, "
            f"{len(self._parts.words):,} words, dim={self.dim})"
        )

    # ---- what it consists of

    @property
    def parts(self) -> ClassifierParts:
        """Words, labels and tables.

        Raises:
            NotReadyError: It has not been trained.
        """
        if self._parts is None:
            raise NotReadyError("FastTextClassifier: train it first, or load one")
        return self._parts

    @property
    def state(self) -> StreamState | None:
        """Where its last run stands; None before, and of a model file."""
        return self._state

    @property
    def dim(self) -> int:
        return self.settings.dim

    @property
    def words(self) -> list[str]:
        """By descending count. Bytes that are no UTF-8 stand as ``surrogateescape`` writes them."""
        return list(self.parts.word_texts)

    @property
    def labels(self) -> list[str]:
        """With their prefix, by descending count."""
        return list(self.parts.label_texts)

    @property
    def quantised(self) -> bool:
        """Whether its vectors are: then it can be asked, and not be trained."""
        return isinstance(self.parts.input, QuantizedMatrix)

    @property
    def _threads(self) -> int:
        return min(self.workers or torch.get_num_threads(), MAX_THREADS)

    # ---- training

    def train(
        self,
        corpus: Any,
        *,
        pretrained_vectors: Any = None,
        callbacks: Sequence[Any] = (),
        progress: Progress | bool | None = None,
        checkpoint_folder: str | os.PathLike | None = None,
        checkpoint_every: float | None = None,
        checkpoint_last: bool = True,
        stop: StopRequest | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on lines of text with labels.

        The first run finds words and labels. Later ones, and those of a model that was loaded, keep
        them, and train on.

        Args:
            corpus: A path, a list of paths, or what else ``resolve_corpus`` takes: lines of words
                and labels. Lines without a known label train nothing.
            pretrained_vectors: A file of vectors, or vectors, that words begin with; words that
                are not in the corpus become known.
            callbacks: As of ``Word2Vec``.
            progress: Where to show and log it, instead of the constructor's ``progress``.
            checkpoint_folder: Save there every ``checkpoint_every`` minutes, when stopped, and at
                the end.
            checkpoint_every: Minutes; None for no checkpoints in between.
            checkpoint_last: Whether to save at the end, too.
            stop: When it is requested, training saves and returns early.
            resume: Continue the unfinished run of a loaded model, on the same corpus.

        Returns:
            The model.

        Raises:
            ValueError: A corpus without labels, or without any line that has both a label and a
                word; one label with "hs" or "ns"; pretrained vectors of another size than ``dim``,
                or for a model that has its own; a quantised model; a resume that is not one.
            TrainingDivergedError: The loss is no longer finite; no checkpoint was written since.
            CheckpointError: The last checkpoint could not be written.
            FolderInUseError: Another process is training in ``checkpoint_folder``.
        """
        found = resolve_corpus(corpus)
        parts, settings = self._parts, self.settings
        if resume and parts is None:
            raise ValueError("train: there is nothing to resume, load the checkpoint first")
        vectors = None
        if pretrained_vectors is not None:
            if parts is not None:
                raise ValueError("train: pretrained_vectors are for a first run: it has vectors")
            vectors = _pretrained(pretrained_vectors, settings)
        if parts is not None and self.quantised:
            raise ValueError("train: a quantised model cannot be trained")
        with (
            shown_by(progress, self.progress) as shown,
            folder_of_run(checkpoint_folder),
            labelled_corpus(
                found,
                label=settings.label,
                min_count=settings.min_count,
                min_count_label=settings.min_count_label,
                more_words=NONE if vectors is None else vectors[0],
                vocabulary=None if parts is None else (parts.words, parts.labels),
                memory=(available_memory() or 1 << 40) // 4,
                threads=self.workers,
                progress=shown.phase("reading"),
            ) as text,
        ):
            _check(text, settings, found)
            identity = text.identity()
            if resume:
                state = check_resume(self._state, {}, "corpus", identity)
            else:
                state = StreamState(
                    epochs=settings.epoch,
                    total=len(text.tokens) * settings.epoch,
                    alpha=settings.lr,
                    min_alpha=0.0,
                    first_epoch=self._next_epoch(),
                    corpus=identity,
                )
            if parts is None:
                parts = new_parts(text, settings, self._threads)
                if vectors is not None:
                    _begin_with(parts, *vectors)
            self._parts, self._state = parts, state
            run_steps(
                classifier_steps(text, parts, state, threads=self.workers),
                state,
                self,
                callbacks=callbacks,
                progress=shown,
                checkpoint_folder=checkpoint_folder,
                checkpoint_every=checkpoint_every,
                checkpoint_last=checkpoint_last,
                stop=stop,
            )
        return self

    def _next_epoch(self) -> int:
        """Key of the next run's first epoch: no two epochs of a model draw alike."""
        if self._state is None:
            return 0
        return self._state.first_epoch + min(self._state.epoch + 1, self._state.epochs)

    # ---- prediction

    def predict(
        self, text: str | Sequence[str], k: int = 1, threshold: float = 0.0
    ) -> tuple[Any, Any]:
        """The likeliest labels of a line of text, or of each of several.

        Args:
            text: One line, or a list of lines, without line feeds.
            k: How many labels; -1 for all.
            threshold: Labels of smaller probability are left out.

        Returns:
            A tuple of labels with their prefix, by descending probability, and these as float32
            [labels]; of a list, a list of such tuples and one of such arrays. A line without any
            feature has no labels.

        Raises:
            ValueError: A line feed in a line; k is neither -1 nor at least 1.
        """
        predictor, names = self._predictor, self._names
        if isinstance(text, str):
            found, shares = predictor.line(_line(text), names, k, threshold)
            return found, shares.astype(np.float32)
        labels: list[tuple[str, ...]] = []
        likely: list[np.ndarray] = []
        for first in range(0, len(text), _BATCH):
            block = b"".join(map(_line, text[first : first + _BATCH]))
            lines = predictor.lines(block, whole=True)
            for of_line, probabilities in self._told(lines, k, threshold):
                labels.append(of_line)
                likely.append(probabilities)
        return labels, likely

    def predict_file(
        self, corpus: Any, k: int = 1, threshold: float = 0.0
    ) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        """What :meth:`predict` gives of a line, for each line of a corpus, labels in it aside."""
        for block in _blocks(resolve_corpus(corpus)):
            yield from self._told(self._predictor.lines(block), k, threshold)

    def _told(
        self, lines: _text.Lines, k: int, threshold: float
    ) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        names, found = self._names, self._predictor.predict(lines, k, threshold)
        labels = found.labels.tolist()
        for begin, end in pairwise(found.offsets.tolist()):
            yield (
                tuple([names[label] for label in labels[begin:end]]),
                found.probabilities[begin:end],
            )

    def test(self, corpus: Any, k: int = 1, threshold: float = 0.0) -> tuple[int, float, float]:
        """Precision and recall on lines with labels.

        Args:
            corpus: As for :meth:`train`. Lines without a known label, or without features, do not
                count.
            k, threshold: As for :meth:`predict`.

        Returns:
            Number of lines; precision at k, the share of right ones among the labels predicted;
            recall at k, the share of the lines' labels that were predicted.
        """
        meter = self._measured(corpus, k, threshold)
        return meter.examples, meter.precision(), meter.recall()

    def test_label(self, corpus: Any, k: int = 1, threshold: float = 0.0) -> dict[str, Scores]:
        """Precision, recall and F1 of each label; arguments as for :meth:`test`."""
        meter = self._measured(corpus, k, threshold)
        return {
            label: Scores(meter.precision(number), meter.recall(number), meter.f1(number))
            for number, label in enumerate(self.labels)
        }

    def _measured(self, corpus: Any, k: int, threshold: float) -> Meter:
        return self._predictor.measured(_blocks(resolve_corpus(corpus)), k, threshold)

    def get_sentence_vector(self, text: str) -> np.ndarray:
        """The input of a line: the mean of the vectors of its features, float32 [dim].

        Raises:
            ValueError: A line feed in it.
        """
        return self._predictor.line_hidden(_line(text))

    def get_word_vector(self, word: str) -> np.ndarray:
        """The mean of a word's own vector and those of its n-grams, float32 [dim].

        Zeros for an unknown word without n-grams.
        """
        return self.parts.composer.word(word.encode(errors="surrogateescape"))

    @property
    def _predictor(self) -> Predictor:
        parts = self.parts
        if self._asked is None or self._asked[0] is not parts:
            self._asked = parts, parts.predictor(self._threads), self.labels
        return self._asked[1]

    @property
    def _names(self) -> list[str]:
        _ = self._predictor
        assert self._asked is not None
        return self._asked[2]

    # ---- files

    def save(self, path: str | os.PathLike) -> None:
        """Save a model file of fastText, or all that a run needs.

        Args:
            path: Ending in .bin or .ftz, a file that fastText reads. Otherwise a folder, with that
                file (model.bin), all settings, and where training stands.

        Raises:
            CheckpointError: The folder could not be written; the previous content is intact.
            ValueError, OSError: The file could not.
        """
        if Path(path).suffix in (".bin", ".ftz"):
            write_fasttext(path, self._file())
            return
        parts, state = self.parts, self._state
        if isinstance(parts.input, torch.Tensor) and not parts.input[:1].isfinite().all():
            raise CheckpointError(f"checkpoint {path} was not written: the tables are not finite")
        with replacing_parts(path) as partial:
            config = {"format_version": _FORMAT_VERSION, "model": _KIND}
            write_json(partial / CONFIG, {**config, **self.settings.record()})
            write_fasttext(partial / MODEL, self._file())
            write_json(partial / STATE, {} if state is None else state.to_json())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        *,
        label: str = LABEL,
        workers: int | None = None,
        progress: bool = False,
    ) -> Self:
        """Load what :meth:`save` or fastText wrote: a folder, or a model file, quantised or not.

        Args:
            path: Of it.
            label: With which labels begin; a folder knows its own.
            workers, progress: As in the constructor.

        Raises:
            FileNotFoundError: Nothing there.
            ValueError: A damaged file, or a model without labels. CheckpointError: A damaged
                folder.
        """
        if not Path(path).is_dir():
            return cls._of_file(read_fasttext(path, mmap=False), label, workers, progress)

        def read(part: Any) -> FastTextClassifier:
            config, kept = read_json(part(CONFIG)), read_json(part(STATE))
            if config.get("model") != _KIND or config.get("format_version") != _FORMAT_VERSION:
                raise CheckpointError(
                    f"{part(CONFIG)}: model must be {_KIND!r} of version {_FORMAT_VERSION}, "
                    f"got {config.get('model')!r} of {config.get('format_version')!r}"
                )
            try:
                settings = ClassifierSettings.of(config)
                file = read_fasttext(part(MODEL), mmap=False)
                model = cls._of_file(file, settings.label, workers, progress, settings)
                model._state = StreamState.from_json(kept) if kept else None
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(f"{path} is damaged: {error}") from error
            return model

        return cast("Self", read_parts(path, (CONFIG, MODEL, STATE), read))

    @classmethod
    def _of_file(
        cls,
        file: FastTextFile,
        label: str,
        workers: int | None,
        progress: bool,
        settings: ClassifierSettings | None = None,
    ) -> Self:
        if not file.supervised:
            raise ValueError("FastTextClassifier: the model has no labels, it is of word vectors")
        if len(file.labels) == 0:
            raise ValueError("FastTextClassifier: the model has no labels")
        record: dict[str, Any] = {
            "dim": file.dim,
            "epoch": max(file.epoch, 1),
            "min_count": max(file.minCount, 0),
            "word_ngrams": max(file.wordNgrams, 1),
            "minn": file.minn if file.minn <= file.maxn else 0,
            "maxn": file.maxn if file.minn <= file.maxn else 0,
            "loss": LOSSES[file.loss],
            "neg": min(max(file.neg, 1), 1000),
        }
        if file.bucket or record["maxn"] or record["word_ngrams"] > 1:
            record["bucket"] = file.bucket
        if settings is not None:
            record["buckets"] = file.bucket
            for name in ("dim", "loss", "word_ngrams", "minn", "maxn", "buckets"):
                if record[name] != getattr(settings, name):
                    raise ValueError(
                        f"{name} must be {getattr(settings, name)} in {MODEL}, as {CONFIG} says, "
                        f"got {record[name]}"
                    )
            record = settings.record()
        model = cls(**{"label": label, **record}, workers=workers, progress=progress)
        model._kept = {name: getattr(file, name) for name in model._kept}
        table = file.input
        model._parts = ClassifierParts(
            model.settings,
            file.words,
            file.counts,
            file.labels,
            file.label_counts,
            file.ntokens,
            table if isinstance(table, QuantizedMatrix) else _padded(table),
            _padded(np.asarray(file.output)),
            file.pruneidx,
        )
        _ = model._parts.tree  # the counts of labels make one, with hierarchical softmax
        return model

    def _file(self) -> FastTextFile:
        parts, s = self.parts, self.settings
        table: np.ndarray | QuantizedMatrix
        if isinstance(parts.input, torch.Tensor):
            table = parts.input[: len(parts.words) + s.buckets, : s.dim].numpy()
        else:
            table = parts.input
        return FastTextFile(
            dim=s.dim,
            epoch=s.epoch,
            minCount=s.min_count,
            neg=s.neg,
            wordNgrams=s.word_ngrams,
            loss=_NUMBERS[s.loss],
            model=_SUPERVISED,
            bucket=s.buckets,
            minn=s.minn,
            maxn=s.maxn,
            words=parts.words,
            counts=parts.word_counts,
            ntokens=parts.tokens,
            input=table,
            output=parts.output[:, : s.dim].numpy(),
            labels=parts.labels,
            label_counts=parts.label_counts,
            pruneidx=parts.pruneidx,
            version=VERSION,
            **self._kept,
        )


def _check(text: LabelledCorpus, settings: ClassifierSettings, corpus: Corpus) -> None:
    """ValueError for a corpus that nothing can be learnt from."""
    if text.read == 0:
        raise ValueError(f"train: the corpus {corpus.name} is empty")
    labels = len(text.labels)
    if labels == 0:
        raise ValueError(
            f"train: the corpus {corpus.name} has no labels: none of its words begins with "
            f"{settings.label!r} (and comes min_count_label={settings.min_count_label} times)"
        )
    if labels == 1 and settings.loss in ("hs", "ns"):
        raise ValueError(
            f"train: loss {settings.loss!r} needs two labels or more, and there is one, "
            f"{text.labels[0].decode(errors='replace')}"
        )
    both = (np.diff(text.offsets) > 0) & (np.diff(text.label_offsets) > 0)
    if not both.any():
        raise ValueError(f"train: no line of the corpus {corpus.name} has a label and a word")
    if len(text.words) == 0 and not settings.has_ngrams:
        raise ValueError(
            f"train: no word comes min_count={settings.min_count} times in {corpus.name}"
        )


def _pretrained(vectors: Any, settings: ClassifierSettings) -> tuple[WordBytes, np.ndarray]:
    """Words that come once, and their vectors, float32 [n, dim]."""
    from lexforge.vectors import load_vectors

    if isinstance(vectors, (str, os.PathLike)):
        vectors = load_vectors(existing("train: pretrained_vectors", vectors))
    table = np.asarray(vectors.vectors, np.float32)
    if table.shape[1] != settings.dim:
        raise ValueError(
            f"train: pretrained_vectors must have dim={settings.dim} numbers each, "
            f"got {table.shape[1]}"
        )
    words = getattr(vectors, "index_to_key", None)
    words = vectors.words if words is None else words
    first = {word.encode(errors="surrogateescape"): row for row, word in enumerate(words)}
    prefix = settings.label.encode(errors="surrogateescape")
    kept = {word: row for word, row in first.items() if not word.startswith(prefix)}
    return WordBytes.of(kept), table[list(kept.values())]


def _begin_with(parts: ClassifierParts, words: WordBytes, vectors: np.ndarray) -> None:
    index, table = _text.WordIndex(parts.words), parts.input
    assert isinstance(table, torch.Tensor)
    rows = torch.tensor([index.find(words[i]) for i in range(len(words))], dtype=torch.int64)
    known = rows >= 0
    table[rows[known], : vectors.shape[1]] = torch.from_numpy(vectors)[known]


def _padded(matrix: np.ndarray) -> torch.Tensor:
    table = padded_table(max(len(matrix), 1), matrix.shape[1])
    table[: len(matrix), : matrix.shape[1]] = torch.from_numpy(
        np.require(matrix, np.float32, ["A", "W"])
    )
    return table


def _line(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"predict: text must be str, got {type(text).__name__}")
    if "\n" in text:
        raise ValueError("predict: one line at a time (remove '\\n')")
    return text.encode(errors="surrogateescape") + b"\n"


def _blocks(corpus: Corpus) -> Iterator[bytes]:
    """The text of a corpus in pieces that end with lines."""
    corpus.check()
    if corpus.sentences is not None:
        lines = []
        for words in corpus.sentences:
            line = " ".join(words).encode(errors="surrogateescape")
            if len(line.replace(b"\0", b" ").split()) != len(words):
                raise ValueError(f"test: words must be without white space, got {words!r:.80}")
            lines.append(line + b"\n")
            if len(lines) == _BATCH:
                yield b"".join(lines)
                lines = []
        yield b"".join(lines)
        return
    for path in corpus.paths:
        with open_text(path, corpus.encoding, corpus.errors) as (file, _):
            rest = b""
            while block := file.read(_BLOCK_BYTES):
                text = rest + block
                end = text.rfind(b"\n") + 1
                rest = text[end:]
                if end:
                    yield text[:end]
            if rest:
                yield rest
