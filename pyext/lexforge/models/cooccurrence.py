"""Co-occurrence counts of a corpus: how often words stand near each other."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from lexforge._arguments import MAX_THREADS, either, whole
from lexforge._files import flush, replacing
from lexforge._library import kernel_threads, resolve_device
from lexforge.models.cooccurrence_settings import CooccurrenceSettings
from lexforge.models.counting import (
    CountSettings,
    RunStore,
    check_space,
    count_corpus,
    plan_memory,
)
from lexforge.models.triplets import (
    TRIPLET,
    TripletCheck,
    count_triplets,
    map_triplets,
    read_triplets,
    write_all,
)
from lexforge.text import (
    Corpus,
    EncodedCorpus,
    Vocabulary,
    build_vocabulary,
    encode_corpus,
    resolve_corpus,
)
from lexforge.training.corpus_identity import corpus_identity
from lexforge.training.memory import parse_bytes
from lexforge.training.progress import Progress
from lexforge.vectors.similarity import close_spellings

FORMAT_VERSION = 1
TRIPLETS, VOCABULARY, META = "triplets.bin", "vocab.txt", "meta.json"
UNFINISHED = ".runs"  # folder of everything that is not part of the result yet


class Cooccurrence:
    """Co-occurrence counts X[i, j] of a vocabulary, mapped from a file of sorted triplets.

    Made by :func:`cooccurrence`, :meth:`load` and :meth:`load_stanford`. The tensors are strided
    views of the file's 16-byte records; entries are read from the disk when they are looked at, so
    counts may be larger than the memory. Changes of the tensors stay in this process and are not
    saved.

    Attributes:
        rows, cols: int32 [nnz], word numbers from 0; entries ascend by (row, column).
        values: float64 [nnz], finite and above 0.
        row_begin: int64 [V + 1]; the entries of row i are row_begin[i] to row_begin[i + 1].
        vocab: the words that rows and columns stand for.
        nnz: number of entries.
        window, symmetric, distance_weighting, cross_sentences: what was counted; None when a file
            of the original tool does not tell.
        corpus: identity of the encoded corpus (``training.corpus_identity``), or None.
    """

    def __init__(
        self, path: Path, vocab: Vocabulary, row_begin: np.ndarray, meta: dict[str, Any]
    ) -> None:
        self._file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115
        self.rows, self.cols, self.values = map_triplets(path)
        self.row_begin = torch.from_numpy(row_begin)
        self.vocab, self.nnz = vocab, self.rows.numel()
        self.window: int | None = meta.get("window")
        self.symmetric: bool | None = meta.get("symmetric")
        self.distance_weighting: bool | None = meta.get("distance_weighting")
        self.cross_sentences: bool | None = meta.get("cross_sentences")
        self.corpus: dict[str, Any] | None = meta.get("corpus")

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # open() may have failed
            self._file.close()

    def __repr__(self) -> str:
        window = "" if self.window is None else f", window {self.window}"
        return f"Cooccurrence({self.nnz:,} entries, {len(self.vocab):,} words{window})"

    # -- looking things up --------------------------------------------------------------------

    def count(self, word: str, probe: str) -> float:
        """X[word, probe], 0 for words that never meet.

        Raises:
            KeyError: A word is not in the vocabulary.
        """
        first, last = self._row(word)
        col = self._number(probe)
        at = first + int(torch.searchsorted(self.cols[first:last].contiguous(), col))
        return float(self.values[at]) if at < last and int(self.cols[at]) == col else 0.0

    def probability(self, word: str, probe: str) -> float:
        """P(probe | word) = X[word, probe] / sum over k of X[word, k] (Pennington et al. 2014, §3).

        nan when the word has no neighbours at all.

        Raises:
            KeyError: A word is not in the vocabulary.
        """
        first, last = self._row(word)
        total = float(self.values[first:last].sum())
        return self.count(word, probe) / total if total else math.nan

    def ratio_table(self, words: tuple[str, str], probes: Sequence[str]) -> RatioTable:
        """How much more probable probe words are near one word than near another.

        This is table 1 of Pennington et al. 2014: large ratios mark words that belong to the first
        word, small ones words of the second, those near 1 words of both or of neither.

        Args:
            words: two words, "ice" and "steam" in the paper.
            probes: any number, "solid", "gas", "water" and "fashion" in the paper.

        Raises:
            KeyError: A word is not in the vocabulary.
        """
        if isinstance(words, str) or len(words) != 2:
            raise ValueError(f"ratio_table: words must be two words, got {words!r}")
        first, second = words
        table = [[self.probability(word, probe) for probe in probes] for word in (first, second)]
        return RatioTable((first, second), list(probes), np.array(table).reshape(2, len(probes)))

    def _number(self, word: str) -> int:
        try:
            return self.vocab[word]
        except KeyError:
            close = close_spellings(word, self.vocab.words)
            hint = f" (did you mean {', '.join(close)}?)" if close else ""
            raise KeyError(f"{word!r} is not among the {len(self.vocab):,} words{hint}") from None

    def _row(self, word: str) -> tuple[int, int]:
        number = self._number(word)
        return int(self.row_begin[number]), int(self.row_begin[number + 1])

    def to_torch_sparse(self) -> torch.Tensor:
        """A coalesced sparse COO tensor, float64 [V, V], in memory: 24 bytes per entry."""
        indices = torch.stack([self.rows, self.cols]).long()
        size = (len(self.vocab),) * 2
        return torch.sparse_coo_tensor(
            indices, self.values.contiguous(), size, is_coalesced=True, check_invariants=False
        )

    # -- storage ------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike) -> None:
        """Write ``triplets.bin``, ``vocab.txt`` and ``meta.json`` into a folder.

        Args:
            folder: Made when missing; counts in it are replaced when the new ones are complete.

        Raises:
            OSError: They cannot be written; what the folder held stays.
            ValueError: A word is empty or holds a line feed.
        """
        with _target(folder) as folder:
            check_space(folder, self.nnz * TRIPLET.itemsize)
            with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as partial:
                with open(Path(partial) / TRIPLETS, "wb", buffering=0) as file:
                    for records in read_triplets(self._file, self.nnz):
                        write_all(file, records)
                self.vocab.save(Path(partial) / VOCABULARY)
                _publish(Path(partial), folder, self._meta())

    def _meta(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "symmetric": self.symmetric,
            "distance_weighting": self.distance_weighting,
            "cross_sentences": self.cross_sentences,
            "entries": self.nnz,
            "vocabulary_size": len(self.vocab),
            "vocabulary_sha1": self.vocab.sha1(),
            "corpus": self.corpus,
        }

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Cooccurrence:
        """Map what :meth:`save` or :func:`cooccurrence` wrote, after reading it through once.

        Raises:
            FileNotFoundError: The folder holds no counts, or they are not complete yet.
            ValueError: A file is damaged, truncated, unsorted or of another version, or the
                vocabulary is not that of the counts.
        """
        folder = Path(folder)
        meta = _read_meta(folder)
        vocab = Vocabulary.load(folder / VOCABULARY)
        if vocab.sha1() != meta["vocabulary_sha1"]:
            raise ValueError(
                f"{folder / VOCABULARY} is damaged: its words and counts are not those that {META} "
                f"names ({len(vocab)} words, {meta['vocabulary_size']} expected)"
            )
        path, expected = folder / TRIPLETS, int(meta["entries"])
        nnz = count_triplets(path)
        if nnz != expected:
            raise ValueError(
                f"{path} must hold {expected} records of {TRIPLET.itemsize} bytes, got {nnz}: "
                "truncated or overwritten"
            )
        check = TripletCheck(path, len(vocab))
        with open(path, "rb", buffering=0) as file:
            for records in read_triplets(file, nnz):
                check.look(records)
        return cls(path, vocab, check.row_begin, meta)

    def save_stanford(self, path: str | os.PathLike) -> None:
        """Write the ``cooccurrence.bin`` of Stanford's GloVe: the same records, words from 1.

        Its ``shuffle`` and ``glove`` read it together with ``vocab.save("vocab.txt")``.

        Raises:
            OSError: The file cannot be written; what was there stays.
        """
        with replacing(path) as file:
            for records in read_triplets(self._file, self.nnz):
                _shift(records, 1)
                file.write(records)

    @classmethod
    def load_stanford(
        cls,
        path: str | os.PathLike,
        vocabulary: Vocabulary | str | os.PathLike,
        *,
        folder: str | os.PathLike | None = None,
    ) -> Cooccurrence:
        """Convert a ``cooccurrence.bin`` of Stanford's GloVe.

        Args:
            path: As ``cooccur`` writes it, sorted. ``cooccurrence.shuf.bin`` holds the same records
                in random order and is refused.
            vocabulary: The vocabulary that was counted with, or its file (``vocab.txt``).
            folder: Where to keep the result, as by :meth:`save`; a temporary file otherwise.

        Raises:
            ValueError: The file is truncated or unsorted, a word is 0 or beyond the vocabulary, a
                value is not finite or not above 0.
        """
        path = Path(path)
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = Vocabulary.load(vocabulary, as_numbered=True)
        nnz = count_triplets(path)
        check = TripletCheck(
            path,
            len(vocabulary),
            base=1,
            hint="; give cooccurrence.bin as cooccur writes it, not cooccurrence.shuf.bin",
        )
        with _target(folder) as target:
            check_space(target, nnz * TRIPLET.itemsize)
            with tempfile.TemporaryDirectory(prefix=".converting-", dir=target) as partial:
                converted = Path(partial) / TRIPLETS
                with (
                    open(path, "rb", buffering=0) as file,
                    open(converted, "wb", buffering=0) as out,
                ):
                    for records in read_triplets(file, nnz):
                        check.look(records)
                        _shift(records, -1)
                        write_all(out, records)
                result = cls(converted, vocabulary, check.row_begin, {})
                if folder is not None:
                    vocabulary.save(Path(partial) / VOCABULARY)
                    _publish(Path(partial), target, result._meta())
        return result


def _shift(records: np.ndarray, by: int) -> None:
    records["row"] += by
    records["col"] += by


@dataclass
class RatioTable:
    """Probabilities of probe words near two words, and their ratios; prints as a table.

    Attributes:
        words: the two words.
        probes: the probe words, K of them.
        probabilities: float64 [2, K], P(probe | word).
    """

    words: tuple[str, str]
    probes: list[str]
    probabilities: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """float64 [K], the first row over the second: inf or nan where that is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.probabilities[0] / self.probabilities[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; None for a ratio that is no number."""
        return {
            "words": list(self.words),
            "probes": {
                probe: {
                    "probabilities": [float(first), float(second)],
                    "ratio": float(ratio) if math.isfinite(ratio) else None,
                }
                for probe, first, second, ratio in zip(
                    self.probes, *self.probabilities, self.ratios, strict=True
                )
            },
        }

    def __str__(self) -> str:
        first, second = (f"P(k | {word})" for word in self.words)
        lines = [
            ["k", *self.probes],
            [first, *map(_short, self.probabilities[0])],
            [second, *map(_short, self.probabilities[1])],
            [f"{first} / {second}", *map(_short, self.ratios)],
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                [line[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            )
            for line in lines
        )


def _short(number: float) -> str:
    """Two digits that matter, without an exponent."""
    return np.format_float_positional(number, precision=2, unique=False, fractional=False, trim="-")


# -- counting -------------------------------------------------------------------------------------


def cooccurrence(
    corpus: Any,
    *,
    window: int = 15,
    symmetric: bool = True,
    distance_weighting: bool = True,
    min_count: int = 5,
    max_vocab_size: int | None = None,
    vocabulary: Vocabulary | None = None,
    memory: int | str = "2GB",
    cross_sentences: bool = False,
    max_sentence_length: int = 10_000,
    lowercase: bool = False,
    workers: int | None = None,
    device: str | torch.device = "auto",
    folder: str | os.PathLike | None = None,
    progress: Progress | bool | None = None,
    threads: int | None = None,
) -> Cooccurrence:
    """Count how often words stand within a window of each other (Pennington et al. 2014).

    X[i, j] is the sum, over all places where word j stands d = 1..window words to the right of
    word i (and, when symmetric, to the left), of 1/d, or of 1 without distance weighting. Words
    outside the vocabulary are dropped before, and do not count as distance.

    Counts are exact: sums of whole multiples of 1/lcm(1..window), divided once at the end. They are
    the same to the last bit for any number of threads, any memory, and on CPU and GPU.

    Args:
        corpus: Anything ``text.resolve_corpus`` takes: path, folder, name of a data set, sentences;
            or an :class:`~lexforge.text.EncodedCorpus` together with its ``vocabulary``.
        window: Largest distance, in words: 1 to 42 with distance weighting, else 1 to 1000.
        symmetric: Count in both directions; otherwise rows are left words and columns right words.
        distance_weighting: Add 1/distance instead of 1.
        min_count, max_vocab_size: Of the vocabulary, see ``text.build_vocabulary``.
        vocabulary: Use this one instead of building it.
        memory: What counting may take on top of the process and its vocabulary: bytes, or a text
            like "512MB" or "2GB". Larger counts go through the disk. On a GPU this is the host's
            side; the device's free memory is a further limit.
        cross_sentences: Windows reach over the ends of sentences.
        max_sentence_length: Longer sentences are split there.
        lowercase: Turn words to lower case while reading.
        workers: CPU threads, ``torch.get_num_threads()`` by default.
        device: ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.
        folder: Keep the result there (:meth:`Cooccurrence.load`). An interrupted call with the same
            arguments goes on where it was. By default the result is in a temporary file that goes
            with the object.
        progress: Where to show it; True shows it on standard error.
        threads: Earlier name of ``workers``.

    Returns:
        :class:`Cooccurrence`.

    Raises:
        ValueError: An argument out of range; ``memory`` below the minimum, which it tells; no word
            of the corpus in the vocabulary; no two words near each other.
        OverflowError: A count of 2^63 units.
        OSError: The disk is full; everything partial is removed.
        RuntimeError: Another process is counting into the folder.

    Notes:
        Disk: 4 bytes a word for the encoded corpus, 16 an entry for the result, and where the
        memory does not hold the index of the whole corpus (about 12 bytes a word) 12 for each entry
        of each part, twice that while parts are merged.
    """
    checked = CooccurrenceSettings(
        window=window,
        symmetric=symmetric,
        distance_weighting=distance_weighting,
        cross_sentences=cross_sentences,
        min_count=min_count,
        max_vocab_size=max_vocab_size,
        max_sentence_length=max_sentence_length,
        lowercase=lowercase,
    )
    settings = CountSettings(
        checked.window, checked.symmetric, checked.distance_weighting, checked.cross_sentences
    )
    memory = parse_bytes("cooccurrence: memory", memory)
    workers = either("cooccurrence", workers, threads=threads)
    if workers is not None:
        workers = whole("cooccurrence", "workers", workers, high=MAX_THREADS)
    threads = kernel_threads(workers)
    device = resolve_device("cooccurrence", device)
    # More may be needed once the words are known; less never is.
    plan_memory(memory, vocab_size=0, window=settings.window, threads=threads)
    if not isinstance(corpus, EncodedCorpus):
        corpus = resolve_corpus(corpus, lowercase=checked.lowercase)
    elif vocabulary is None:
        raise TypeError("cooccurrence: an EncodedCorpus needs its vocabulary")

    keep = folder is not None
    shown = progress if isinstance(progress, Progress) else Progress(bool(progress))
    with (
        nullcontext() if progress is shown else shown,
        _target(folder) as target,
        _unfinished(target) as work,
    ):
        preparation = _Preparation(
            work,
            corpus,
            {
                "min_count": max(checked.min_count, 1),
                "max_vocab_size": checked.max_vocab_size,
                "vocabulary_sha1": None if vocabulary is None else vocabulary.sha1(),
                "max_sentence_length": checked.max_sentence_length,
            },
        )
        vocab = preparation.vocabulary(threads, shown) if vocabulary is None else vocabulary
        # What these refuse is refused before the work of encoding.
        plan = plan_memory(memory, vocab_size=len(vocab), window=settings.window, threads=threads)
        if device.type == "cuda":
            plan = plan.on_device(torch.cuda.mem_get_info(device)[0], len(vocab))
        if keep:
            vocab.save(work / VOCABULARY)
        encoded = preparation.encoded(vocab, threads, shown)
        if encoded.num_tokens == 0:
            raise ValueError("cooccurrence: no word of the corpus is in the vocabulary")
        identity = corpus_identity(encoded, vocab)
        store = RunStore(work, len(vocab), {**asdict(settings), "corpus": identity}, sync=keep)
        if store.done:
            shown.say(
                f"going on after {store.done:,} of {encoded.num_tokens:,} words counted before"
            )
        row_begin = count_corpus(
            encoded,
            work / TRIPLETS,
            len(vocab),
            settings,
            plan,
            store,
            threads=threads,
            device=device,
            counting=shown.phase("counting", "words") or _silent,
            merging=shown.phase("merging", "entries") or _silent,
        )
        if row_begin[-1] == 0:
            raise ValueError(
                "cooccurrence: nothing to count: each of the "
                f"{encoded.num_sentences:,} sentences has one word of the vocabulary only "
                "(cross_sentences=True counts over their ends)"
            )
        result = Cooccurrence(
            work / TRIPLETS, vocab, row_begin, {**asdict(settings), "corpus": identity}
        )
        if keep:
            _publish(work, target, result._meta())
    return result


def _silent(done: int, total: int) -> None:
    pass


class _Preparation:
    """Vocabulary and encoded corpus of a count, kept in its folder until it is complete.

    Args:
        work: Folder of what is unfinished.
        corpus: What is counted.
        options: What else vocabulary and encoding depend on.
    """

    def __init__(self, work: Path, corpus: Corpus | EncodedCorpus, options: dict[str, Any]) -> None:
        self._work, self._corpus, self._options = work, corpus, options
        self._record = work / "prepared.json"
        self._request, found = None, None
        # Sentences of Python have no sources that would tell whether they changed.
        if isinstance(corpus, Corpus) and corpus.paths:
            sources = corpus.sources()
            self._request = {**options, "sources": sources, "lowercase": corpus.lowercase}
            with suppress(OSError, ValueError):
                found = json.loads(self._record.read_bytes())
        self._found = found is not None and found == self._request
        if not self._found:
            self._record.unlink(missing_ok=True)

    def vocabulary(self, threads: int, progress: Progress) -> Vocabulary:
        """Built, or that of the interrupted call."""
        if self._found:
            return Vocabulary.load(self._work / VOCABULARY)
        vocab = build_vocabulary(
            self._corpus,
            min_count=self._options["min_count"],
            max_vocab_size=self._options["max_vocab_size"],
            threads=threads,
            progress=progress.phase("counting words"),
        )
        progress.say(
            f"{len(vocab):,} words seen {self._options['min_count']} times or more make up "
            f"{vocab.total:,} of {vocab.tokens_read:,} words of the corpus"
        )
        return vocab

    def encoded(self, vocab: Vocabulary, threads: int, progress: Progress) -> EncodedCorpus:
        """Encoded, or that of the interrupted call."""
        if isinstance(self._corpus, EncodedCorpus):
            return self._corpus
        folder = self._work / "encoded"
        if self._found:
            return EncodedCorpus.open(folder)
        check_space(self._work, 4 * vocab.total)
        encoded = encode_corpus(
            self._corpus,
            vocab,
            folder,
            max_sentence_length=self._options["max_sentence_length"],
            threads=threads,
            progress=progress.phase("encoding"),
        )
        if self._request is not None:
            with replacing(self._record) as file:
                file.write(json.dumps(self._request).encode())
        return encoded


# -- the folder of a result -----------------------------------------------------------------------


@contextmanager
def _target(folder: str | os.PathLike | None) -> Iterator[Path]:
    """The folder, made when missing; without one a temporary folder.

    On Linux a mapped file lives on when its folder is gone.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lexforge-") as temporary:
            yield Path(temporary)
        return
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        if made:
            with suppress(OSError):  # it is not empty when there is something to go on with
                folder.rmdir()
        raise


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """The folder for what is unfinished, which stays when the process is stopped or killed."""
    work = target / UNFINISHED
    made = not work.exists()
    work.mkdir(exist_ok=True)
    with open(work / "lock", "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{target}: another process is counting there") from None
        try:
            yield work
        except Exception as error:
            # A wrong argument is no reason to lose what an interrupted call has done.
            if made or isinstance(error, OSError):
                shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work)


def _publish(partial: Path, folder: Path, meta: dict[str, Any]) -> None:
    """Moves a complete result up; a folder with a meta.json is complete at any moment."""
    for name in (TRIPLETS, VOCABULARY):
        flush(partial / name)
    (folder / META).unlink(missing_ok=True)
    for name in (TRIPLETS, VOCABULARY):
        os.replace(partial / name, folder / name)
    with replacing(folder / META) as file:
        file.write(json.dumps({"version": FORMAT_VERSION, **meta}, indent=2).encode() + b"\n")
    flush(folder)


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / META
    try:
        meta = json.loads(path.read_bytes())
        version, _, _ = meta["version"], meta["vocabulary_sha1"], int(meta["entries"])
    except FileNotFoundError:
        unfinished = (folder / UNFINISHED).is_dir()
        reason = "they are not complete yet" if unfinished else f"{META} is missing"
        raise FileNotFoundError(f"{folder} holds no co-occurrence counts: {reason}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is truncated or damaged: count again") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: version must be {FORMAT_VERSION}, got {version!r}: count again")
    return meta
