"""Text with labels in numbers, for classification (csrc/text/labelled.h)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lexforge import _text
from lexforge._text import WordBytes
from lexforge.text.corpus import Corpus, Progress, reader_options

LABEL = "__label__"
_PIECE = 1 << 20  # numbers at a time
_NAMES = ("words", "word_ends", "labels", "label_ends")
NONE = WordBytes.of([])


@dataclass(frozen=True, eq=False)
class LabelledCorpus:
    """Lines of words and labels, as numbers.

    The type of a word is its number where the vocabulary has it, by descending count; others, which
    are rarer, come behind. Lines may lack words, or labels.

    Attributes:
        words, word_counts: the vocabulary, V words and int64 [V]; the end of a line is "</s>".
        labels, label_counts: L labels with their prefix, int64 [L].
        unknown: words that are in no vocabulary, types V and on.
        hashes: int32 [T] of all types.
        tokens: int32 [N], types.
        offsets: int64 [S + 1]; line s is tokens[offsets[s]:offsets[s + 1]].
        label_ids, label_offsets: int32, int64 [S + 1]; its labels.
        read: words and labels of the text.
    """

    words: WordBytes
    word_counts: np.ndarray
    labels: WordBytes
    label_counts: np.ndarray
    unknown: WordBytes
    hashes: np.ndarray
    tokens: np.ndarray
    offsets: np.ndarray
    label_ids: np.ndarray
    label_offsets: np.ndarray
    read: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def trained(self) -> int:
        """Lines that have a label."""
        return int(np.count_nonzero(np.diff(self.label_offsets)))

    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to see the same lines and vocabulary."""
        digest = hashlib.sha1(usedforsecurity=False)
        parts = (self.tokens, self.offsets, self.label_ids, self.label_offsets, self.hashes)
        for part in parts:
            for first in range(0, len(part), _PIECE):
                digest.update(np.ascontiguousarray(part[first : first + _PIECE]).data)
        for words in (self.words, self.labels):
            digest.update(words.data.data)
        return {"tokens": len(self.tokens), "lines": len(self), "sha1": digest.hexdigest()}


@contextmanager
def labelled_corpus(
    corpus: Corpus,
    *,
    label: str = LABEL,
    min_count: int = 1,
    min_count_label: int = 0,
    more_words: WordBytes = NONE,
    vocabulary: tuple[WordBytes, WordBytes] | None = None,
    memory: int = 1 << 62,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[LabelledCorpus]:
    """Reads a corpus once. Nothing depends on the number of threads.

    Args:
        corpus: files, or lists of words and labels.
        label: with which labels begin.
        min_count, min_count_label: rarer words, and labels, are not in the vocabulary.
        more_words: distinct words that are in it all the same; each counts once more.
        vocabulary: words and labels that are given instead of found: then none is rare.
        memory: bytes up to which the numbers are held there; more stay in a file until the end of
            the block.
        threads, progress: as of ``build_vocabulary``.

    Raises:
        ValueError: more_words, or a vocabulary, with a word that comes twice.
        OSError: the disk is full, or a file cannot be read.
    """
    options = reader_options(corpus, threads)
    known = more_words
    if vocabulary is not None:
        known = _joined(*vocabulary)
    with TemporaryDirectory(prefix="lexforge-") as folder:
        paths = [Path(folder, name) for name in _NAMES]
        encoder = _text.LabelledEncoder(
            prefix=os.fsencode(label),
            known=known,
            paths=paths,
            threads=options["threads"],
            chunk_bytes=options["chunk_bytes"],
        )
        corpus.feed(encoder, progress)
        types, counts, is_label = encoder.types()
        if vocabulary is None:
            word_order, label_order, word_counts = _order(
                counts, is_label, min_count, min_count_label, len(more_words)
            )
        else:
            first, last = len(vocabulary[0]), len(known)
            word_order, label_order = np.arange(first), np.arange(first, last)
            is_label = is_label.copy()
            is_label[:first], is_label[first:last] = False, True
            word_counts = counts[:first]
        is_rare = ~is_label
        is_rare[word_order] = False
        is_rare[label_order] = False
        rare = np.flatnonzero(is_rare)
        number = np.full(len(counts), -1, np.int32)
        for order in (np.concatenate([word_order, rare]), label_order):
            number[order] = np.arange(len(order), dtype=np.int32)
        held = sum(path.stat().st_size for path in paths) <= memory
        tokens = _renumbered(paths[0], number, held)
        offsets, label_offsets = (_mapped(path, np.int64, held) for path in paths[1::2])
        label_ids = number[_mapped(paths[2], np.int32, held=True)]
        if len(label_ids) and label_ids.min() < 0:
            kept = label_ids >= 0
            label_offsets = np.concatenate([[0], np.cumsum(kept)])[label_offsets]
            label_ids = label_ids[kept]
        yield LabelledCorpus(
            words=types.take(word_order),
            word_counts=word_counts,
            labels=types.take(label_order),
            label_counts=counts[label_order],
            unknown=types.take(rare),
            hashes=_text.word_hashes(types.take(np.concatenate([word_order, rare]))),
            tokens=tokens,
            offsets=offsets,
            label_ids=label_ids,
            label_offsets=label_offsets,
            read=encoder.tokens,
        )


def _order(
    counts: np.ndarray, is_label: np.ndarray, min_count: int, min_count_label: int, more: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The words and labels that are kept, by descending count, and the counts of those words.

    Those of equal counts come in the order of their first appearance; so many `more` are first.
    """
    kept = counts >= np.where(is_label, max(min_count_label, 1), max(min_count, 1))
    counts = np.where(kept, counts, 0)
    counts[:more] += ~is_label[:more]
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    words, labels = order[~is_label[order]], order[is_label[order]]
    return words, labels, counts[words]


def _joined(first: WordBytes, second: WordBytes) -> WordBytes:
    offsets = np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]])
    return WordBytes(np.concatenate([first.data, second.data]), offsets)


def _mapped(path: Path, dtype: Any, held: bool, mode: Any = "r") -> np.ndarray:
    if held or path.stat().st_size == 0:
        return np.fromfile(path, dtype)
    return np.memmap(path, dtype, mode)


def _renumbered(path: Path, number: np.ndarray, held: bool) -> np.ndarray:
    """The numbers of a file, each in place of another."""
    tokens = _mapped(path, np.int32, held, "r+")
    for first in range(0, len(tokens), _PIECE):
        tokens[first : first + _PIECE] = number[tokens[first : first + _PIECE]]
    return tokens
