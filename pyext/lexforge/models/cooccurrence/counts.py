"""Co-occurrence counts of a corpus: how often words stand near each other."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from lexforge._arguments import whole
from lexforge._display import html_table, printable
from lexforge._files import flush, replacing
from lexforge.models.cooccurrence.triplets import (
    TRIPLET,
    TripletCheck,
    count_triplets,
    map_triplets,
    read_records,
    read_triplets,
    sort_triplets,
    write_all,
)
from lexforge.text import Vocabulary
from lexforge.text.lines import parse_json
from lexforge.training.disk import check_space
from lexforge.training.lock import folder_of_run
from lexforge.training.memory import parse_bytes
from lexforge.vectors.similarity import unknown_word

FORMAT_VERSION = 1
TRIPLETS, VOCABULARY, META = "triplets.bin", "vocab.txt", "meta.json"
# What META says of the counting, or null.
_FLAGS = ("symmetric", "distance_weighting", "cross_sentences")
_KINDS = {"window": int, "corpus": dict, **dict.fromkeys(_FLAGS, bool)}
UNFINISHED = ".runs"  # folder of everything that is not part of the result yet
_HASHED = 1 << 18  # entries at a time: they are on disk and may exceed memory


class Cooccurrence:
    """Co-occurrence counts X[i, j] of a vocabulary, mapped from a file of sorted triplets.

    Made by :func:`cooccurrence`, :meth:`load` and :meth:`load_stanford`. The tensors are strided
    views of the file's 16-byte records; entries are read from the disk when they are looked at, so
    counts may be larger than the memory. Changes of the tensors stay in this process and are not
    saved; the file itself must not be changed while it is used.

    Attributes:
        rows, cols: int32 [nnz], word numbers from 0; entries ascend by (row, column).
        values: float64 [nnz], finite and above 0.
        row_begin: int64 [V + 1]; the entries of row i are row_begin[i] to row_begin[i + 1].
        vocab: the words that rows and columns stand for.
        nnz: number of entries.
        window, symmetric, distance_weighting, cross_sentences: what was counted; None when a file
            of the original tool does not tell.
        corpus: identity of the encoded corpus (``EncodedCorpus.identity``), or None.
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

    def __copy__(self) -> Cooccurrence:
        return self  # it does not change

    def __deepcopy__(self, memo: dict) -> Cooccurrence:
        return self

    def __reduce__(self):
        raise TypeError("counts are a file and cannot be pickled: use save(folder), and load there")

    def __repr__(self) -> str:
        window = "" if self.window is None else f", window {self.window}"
        return f"Cooccurrence({self.nnz:,} entries, {len(self.vocab):,} words{window})"

    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to train on the same entries.

        Returns:
            ``entries``, ``sha1`` of rows, columns and values, ``vocabulary_sha1``.
        """
        digest = hashlib.sha1(usedforsecurity=False)
        for first in range(0, self.nnz, _HASHED):
            records = self.read(first, min(first + _HASHED, self.nnz))
            for name in ("row", "col", "value"):
                digest.update(np.ascontiguousarray(records[name]).data)
        return {
            "entries": self.nnz,
            "sha1": digest.hexdigest(),
            "vocabulary_sha1": self.vocab.sha1(),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        counted = ("window", "symmetric", "distance_weighting", "cross_sentences")
        rows = [
            ("words", f"{len(self.vocab):,}"),
            ("entries", f"{self.nnz:,}"),
            *((name.replace("_", " "), getattr(self, name)) for name in counted),
        ]
        known = [row for row in rows if row[1] is not None]
        return html_table(known, caption="co-occurrence counts")

    def read(self, first: int, last: int) -> np.ndarray:
        """Entries [first, last) in memory of their own, as records of row, col and value.

        Raises:
            ValueError: The file was cut short since it was opened.
        """
        return read_records(self._file, first, last)

    def refuse_cut(self) -> None:
        """ValueError if the file was cut short since it was opened."""
        size = os.fstat(self._file.fileno()).st_size
        if size < self.nnz * TRIPLET.itemsize:
            raise ValueError(f"{self._file.name} was cut short: count again")

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
            raise KeyError(unknown_word(word, self.vocab.words, self.vocab)) from None

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
        with target_folder(folder) as folder:
            check_space(folder, self.nnz * TRIPLET.itemsize)
            with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as partial:
                with open(Path(partial) / TRIPLETS, "wb", buffering=0) as file:
                    for records in read_triplets(self._file, self.nnz):
                        write_all(file, records)
                self.vocab.save(Path(partial) / VOCABULARY)
                publish(Path(partial), folder, self._meta())

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
        while True:
            meta = _read_meta(folder)
            try:
                found = cls._load(folder, meta)
            except (ValueError, OSError):
                if _read_meta(folder) == meta:
                    raise
            else:
                if _read_meta(folder) == meta:  # else others took their place meanwhile
                    return found

    @classmethod
    def _load(cls, folder: Path, meta: dict[str, Any]) -> Cooccurrence:
        vocab = Vocabulary.load(folder / VOCABULARY)
        if vocab.sha1() != meta["vocabulary_sha1"]:
            raise ValueError(
                f"{folder / VOCABULARY} is damaged: its words and counts are not those that {META} "
                f"names ({len(vocab)} words, {meta.get('vocabulary_size')} expected)"
            )
        path, expected = folder / TRIPLETS, meta["entries"]
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
                write_all(file, records)

    @classmethod
    def load_stanford(
        cls,
        path: str | os.PathLike,
        vocabulary: Vocabulary | str | os.PathLike,
        *,
        folder: str | os.PathLike | None = None,
        memory: int | str = "2GB",
    ) -> Cooccurrence:
        """Convert a ``cooccurrence.bin`` or ``cooccurrence.shuf.bin`` of Stanford's GloVe.

        Args:
            path: As ``cooccur`` writes it, or in any order, as ``shuffle`` does: then it is sorted.
            vocabulary: The vocabulary that was counted with, or its file (``vocab.txt``).
            folder: Where to keep the result, as by :meth:`save`; a temporary file otherwise.
            memory: What sorting may take; as much as the file goes to the disk beside the result.

        Raises:
            ValueError: The file is truncated, a word is 0 or beyond the vocabulary, a value is not
                finite or not above 0, a pair of words comes twice.
        """
        path = Path(path)
        memory = parse_bytes("load_stanford: memory", memory)
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = Vocabulary.load(vocabulary, as_numbered=True)
        nnz = count_triplets(path)
        check = TripletCheck(path, len(vocabulary), base=1, any_order=True)
        with target_folder(folder) as target:
            check_space(target, nnz * TRIPLET.itemsize)
            with tempfile.TemporaryDirectory(prefix=".converting-", dir=target) as partial:
                converted = Path(partial) / TRIPLETS
                with (
                    open(path, "rb", buffering=0) as file,
                    open(converted, "wb", buffering=0) as out,
                ):
                    for records in read_triplets(file, nnz):
                        check.look(records)
                        if check.ascending:
                            _shift(records, -1)
                            write_all(out, records)
                    if not check.ascending:
                        check_space(target, 2 * nnz * TRIPLET.itemsize)
                        out.seek(0)
                        out.truncate()
                        sort_triplets(file, out, check.row_begin, Path(partial), memory, base=1)
                result = cls(converted, vocabulary, check.row_begin, {})
                if folder is not None:
                    vocabulary.save(Path(partial) / VOCABULARY)
                    publish(Path(partial), target, result._meta())
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

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        first, second = (f"P(k | {word})" for word in self.words)
        columns = (map(_short, column) for column in (*self.probabilities, self.ratios))
        rows = zip(self.probes, *columns, strict=True)
        return html_table(rows, ["k", first, second, f"{first} / {second}"])

    def __str__(self) -> str:
        first, second = (f"P(k | {printable(word)})" for word in self.words)
        lines = [
            ["k", *map(printable, self.probes)],
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


# -- the folder of a result -----------------------------------------------------------------------


@contextmanager
def target_folder(folder: str | os.PathLike | None) -> Iterator[Path]:
    """The folder, made when missing, and locked; without one a temporary folder.

    On Linux a mapped file lives on when its folder is gone.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lexforge-") as temporary:
            yield Path(temporary)
        return
    with folder_of_run(folder, "counting"):
        yield Path(folder)


def publish(partial: Path, folder: Path, meta: dict[str, Any]) -> None:
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
        meta = parse_json(path.read_bytes(), META)
        version, _ = meta["version"], meta["vocabulary_sha1"]
        whole(META, "entries", meta["entries"])
        for name, kind in _KINDS.items():
            if not isinstance(meta.get(name), kind | None):
                raise TypeError(f"{name} must be {kind.__name__} or null, got {meta[name]!r:.80}")
    except FileNotFoundError:
        unfinished = (folder / UNFINISHED).is_dir()
        reason = "they are not complete yet" if unfinished else f"{META} is missing"
        raise FileNotFoundError(f"{folder} holds no co-occurrence counts: {reason}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}: count again") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: version must be {FORMAT_VERSION}, got {version!r}: count again")
    return meta
