"""What a model of fastText consists of beside that of word2vec: rows of n-grams, bags of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from lexforge.models.fasttext.settings import FastTextSettings
from lexforge.models.word2vec.parts import LOCKS, Built, TrainedVectors, Word2VecParts
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.ops import embedding_bag
from lexforge.ops.word2vec.word2vec_train import Bags
from lexforge.text import Vocabulary
from lexforge.text.subwords import SubwordIndex
from lexforge.vectors.growing import moved
from lexforge.vectors.subword_vectors import SubwordVectors
from lexforge.vectors.word_vectors import WordVectors

NGRAM_LOCKS = "ngrams_lockf"  # the tensor of wv.vectors_ngrams_lockf in a checkpoint
USUAL_NGRAMS = 20  # of a word


class TrainedSubwords(SubwordVectors, TrainedVectors):  # type: ignore[misc]  # its own rebase
    """Vectors of a model of fastText, composed of the rows of its input table.

    Rows may be set, in place (call ``refresh()`` then) or all at once: ``wv.vectors_vocab`` and
    ``wv.vectors_ngrams``, views of the table. ``wv.vectors`` is made of them, and cannot be set.
    Copies and pickles are a :class:`~lexforge.vectors.SubwordVectors` of their own.

    Args:
        words, subwords, counts, composition: As of :meth:`SubwordVectors.of`.
        table: The model's input table, float32 [rows, stride].
        dim: D.
        bags: The rows of each word; None where there are no words.
        owner: What the model is called, for messages.
    """

    _own_rows: np.ndarray
    _ngram_rows: np.ndarray

    def __init__(
        self,
        words: Iterable[str],
        table: torch.Tensor,
        dim: int,
        subwords: SubwordIndex,
        bags: Bags | None,
        counts: Any,
        composition: str,
        *,
        owner: str,
    ) -> None:
        self._owner = owner
        self._computed = "made of wv.vectors_vocab and wv.vectors_ngrams"
        self.composition = composition
        self.expandos, self.mapfile_path, self._composed = {}, None, None
        self._put(list(words), table, dim, subwords, bags, counts)

    def _put(
        self,
        words: list[str],
        table: torch.Tensor,
        dim: int,
        subwords: SubwordIndex,
        bags: Bags | None,
        counts: Any,
    ) -> None:
        self._table, self._bags, self._mine = table, bags, False
        rows = table[:, :dim].numpy()
        self.rebase(words, rows[: len(words)], rows[len(words) :], subwords, counts)
        self._mine = True

    @property
    def vectors_vocab(self) -> np.ndarray:
        """Own rows of the words, float32 [V, D]: a view of the table."""
        return self._own_rows

    @vectors_vocab.setter
    def vectors_vocab(self, matrix: Any) -> None:
        if self._mine:
            self._fill("vectors_vocab", self._own_rows, matrix)
        else:
            self._own_rows = matrix

    @property
    def vectors_ngrams(self) -> np.ndarray:
        """Rows of n-grams, float32 [n, D]: a view of the table."""
        return self._ngram_rows

    @vectors_ngrams.setter
    def vectors_ngrams(self, matrix: Any) -> None:
        if self._mine:
            self._fill("vectors_ngrams", self._ngram_rows, matrix)
        else:
            self._ngram_rows = matrix

    def _fill(self, name: str, rows: np.ndarray, matrix: Any) -> None:
        matrix = np.asarray(matrix)
        if matrix.shape != rows.shape:
            raise ValueError(
                f"{self.owner}: wv.{name} must be {list(rows.shape)}, got {list(matrix.shape)}"
            )
        rows[:] = matrix
        self.refresh()

    @property
    def vectors_lockf(self) -> np.ndarray:
        """Another name of ``vectors_vocab_lockf``: float32 [V] or [1]."""
        return self.vectors_vocab_lockf

    @vectors_lockf.setter
    def vectors_lockf(self, factors: Any) -> None:
        self.vectors_vocab_lockf = _factors("vectors_lockf", factors, len(self))

    def become(self, other: TrainedVectors, counts: np.ndarray) -> None:
        """The model's: what another one of it is; attributes go with their words."""
        assert isinstance(other, TrainedSubwords)
        old = np.array([self.key_to_index.get(word, -1) for word in other.index_to_key], np.int64)
        self.expandos = {name: moved(values, old) for name, values in self.expandos.items()}
        self.composition = other.composition
        self._put(
            other.index_to_key, other._table, other.vector_size, other.subwords, other._bags, counts
        )
        self.tree = other.tree
        self.set_locks(other.locks())

    def locks(self) -> dict[str, np.ndarray]:
        """What steps of training are multiplied by, as a checkpoint has it: by names of tensors."""
        own, ngrams = self._checked_factors()
        return {LOCKS: own, NGRAM_LOCKS: ngrams}

    def set_locks(self, locks: Mapping[str, np.ndarray]) -> None:
        """Take over what :meth:`locks` gave; ValueError for other shapes or wrong numbers."""
        self.vectors_vocab_lockf = locks.get(LOCKS, np.ones(1, np.float32))
        self.vectors_ngrams_lockf = locks.get(NGRAM_LOCKS, np.ones(1, np.float32))
        self._checked_factors()

    def keep_locks(self, old: TrainedVectors, rows: np.ndarray) -> None:
        """Take over those of other words, where `rows` says which rows these have now."""
        assert isinstance(old, TrainedSubwords)
        own, ngrams = old._checked_factors()
        ngram_rows = np.arange(old.subwords.rows)
        self.vectors_vocab_lockf = _spread(own, rows, len(self))
        self.vectors_ngrams_lockf = _spread(ngrams, ngram_rows, self.subwords.rows)

    def row_factors(self) -> np.ndarray:
        """That of the rows of the input table, float32 [rows], or [1] for all alike."""
        both = self._checked_factors()
        if all(len(each) == 1 for each in both) and both[0][0] == both[1][0]:
            return both[0]
        sizes = len(self), len(self.vectors_ngrams)
        return np.concatenate([np.broadcast_to(*each) for each in zip(both, sizes, strict=True)])

    def _checked_factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of words and of n-grams; scripts set them as plain attributes."""
        own = _factors("vectors_vocab_lockf", self.vectors_vocab_lockf, len(self))
        ngrams = self.vectors_ngrams_lockf
        return own, _factors("vectors_ngrams_lockf", ngrams, len(self.vectors_ngrams))

    def context(self, words: Sequence[str | int], mean: bool) -> torch.Tensor | None:
        """The mean or the sum of all rows of these words, float32 [D]; None where none is known."""
        assert self._bags is not None
        table, total, number = self._table.numpy(), np.zeros(self._table.shape[1], np.float32), 0
        for word in words:
            if (row := self.get_index(word, -1)) >= 0:
                first, last = self._bags.offsets[row : row + 2].tolist()
                rows = self._bags.rows[first:last].numpy()
            elif isinstance(word, str) and word in self:
                rows = self.subwords.ngram_rows(word)
                rows = np.where(rows < 0, -1, rows + len(self))  # -1: one of zeros
            else:
                continue
            total += table[rows[rows >= 0]].sum(0)
            number += len(rows)
        if not number:
            return None
        total = total[: self.vector_size]
        return torch.from_numpy(total / np.float32(number) if mean else total)

    def sums(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each word the sum of its rows, float32 [V, D], and how many these are, [V]."""
        assert self._bags is not None
        offsets, rows, *_ = self._bags
        return self._pooled(rows, offsets, "sum"), offsets.diff()

    def _compose(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of words by number, from their bags."""
        if self._bags is None:
            return super()._compose(rows)
        offsets, members, *_ = self._bags
        if len(rows) < len(self):
            parts = [members[offsets[row] : offsets[row + 1]] for row in rows.tolist()]
            members = torch.cat([members[:0], *parts])
            offsets = torch.tensor([0, *map(len, parts)]).cumsum(0)
        return self._pooled(members, offsets, self.composition).numpy()

    def _pooled(self, rows: torch.Tensor, offsets: torch.Tensor, mode: str) -> torch.Tensor:
        pooled = embedding_bag(rows, self._table, offsets, mode=mode, include_last_offset=True)
        return pooled[:, : self.vector_size].contiguous()

    def _take_over(self, found: WordVectors, lockf: float) -> int:
        """Set the rows of words that are here to their vectors found; returns how many.

        Where those found have rows of n-grams of the same kind too, rows are taken over.
        """
        if found.vector_size != self.vector_size:
            raise ValueError(
                f"the vectors must have {self.vector_size} numbers each, got {found.vector_size}"
            )
        words = [word for word in self.index_to_key if word in found.key_to_index]
        rows = [self.key_to_index[word] for word in words]
        theirs = [found.key_to_index[word] for word in words]
        own = found.vectors
        if isinstance(found, SubwordVectors) and self._same_ngrams(found.subwords):
            own = found.vectors_vocab
            place = np.full(self.bucket, -1, np.int64)
            place[found.subwords.bucket_of_rows()] = np.arange(found.subwords.rows)
            place = place[self.subwords.bucket_of_rows()]
            self.vectors_ngrams[place >= 0] = found.vectors_ngrams[place[place >= 0]]
        if words:
            self.vectors_vocab[rows] = own[theirs]
            factors = np.broadcast_to(self.vectors_lockf, len(self)).copy()
            factors[rows] = lockf
            self.vectors_lockf = factors
        self.refresh()
        return len(words)

    def _same_ngrams(self, other: SubwordIndex) -> bool:
        """Whether buckets mean the same n-grams in both."""
        mine = self.subwords
        names = ("min_n", "max_n", "bucket", "encoding")
        return mine.rows > 0 and all(
            index.kind in ("held", "every") and getattr(index, name) == getattr(mine, name)
            for index in (mine, other)
            for name in names
        )

    def __reduce__(self):
        rows = np.array(self.vectors_vocab), np.array(self.vectors_ngrams)
        index = self.subwords.record(), self.subwords.arrays()
        return _free, (
            *(list(self.index_to_key), *rows, *index),
            *(self.composition, dict(self.expandos), self.locks()),
        )


def _free(
    words: list[str],
    own: np.ndarray,
    ngrams: np.ndarray,
    record: dict[str, Any],
    arrays: dict[str, np.ndarray],
    composition: str,
    expandos: dict[str, np.ndarray],
    locks: dict[str, np.ndarray],
) -> SubwordVectors:
    """Vectors that belong to no model."""
    index = SubwordIndex.restored(record, arrays)
    free = SubwordVectors.of(words, own, ngrams, index, composition=composition)
    free.expandos = {name: values.copy() for name, values in expandos.items()}
    free.vectors_vocab_lockf = locks[LOCKS].copy()
    free.vectors_ngrams_lockf = locks[NGRAM_LOCKS].copy()
    return free


def _spread(factors: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Factors at some rows of `size`, and 1 at the others."""
    found = np.ones(size, np.float32)
    found[rows] = factors
    return found if (found != 1).any() else np.ones(1, np.float32)


def _factors(name: str, factors: Any, rows: int) -> np.ndarray:
    """What steps are multiplied by, float32 [rows] or [1]; ValueError for anything else."""
    found = np.atleast_1d(np.asarray(factors, dtype=np.float32))
    if found.shape not in ((1,), (rows,)):
        raise ValueError(f"{name} must be [{rows}] or [1], got {list(found.shape)}")
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError(f"{name} must be finite and >= 0")
    return found


class FastTextParts(Word2VecParts):
    """A base of :class:`~lexforge.FastText`: its rooms, where they are not those of Word2Vec."""

    SETTINGS: ClassVar[type[Word2VecSettings]] = FastTextSettings
    KIND: ClassVar[str] = "fasttext"

    @property
    def settings(self) -> FastTextSettings:
        """What the result depends on, as the attributes have it now."""
        return FastTextSettings.of(self)

    def _subwords_of(self, vocabulary: Vocabulary) -> SubwordIndex:
        words, counts, settings = vocabulary.words, vocabulary.counts, self.settings
        lengths = settings.min_n, settings.max_n
        if not settings.max_n:
            return SubwordIndex.every(settings.min_n, 0, 0)
        if settings.subwords == "explicit":
            return SubwordIndex.explicit(words, counts, *lengths)
        return SubwordIndex.of_vocabulary(words, counts, *lengths, settings.bucket)

    def _bags_of(self, vocabulary: Vocabulary, subwords: SubwordIndex) -> Bags:
        offsets, rows = subwords.bags(vocabulary.words)
        longest = int(np.diff(offsets).max(initial=1))
        return Bags(torch.from_numpy(offsets), torch.from_numpy(rows), longest)

    def _no_vectors(self) -> TrainedVectors:
        none = Vocabulary([], [])
        subwords = self._subwords_of(none)
        table = torch.zeros(subwords.rows, self.vector_size)
        return self._vectors_on(table, none, subwords, None)

    def _vectors_on(
        self,
        table: torch.Tensor,
        vocabulary: Vocabulary,
        subwords: SubwordIndex | None,
        bags: Bags | None,
    ) -> TrainedVectors:
        assert subwords is not None
        return TrainedSubwords(
            vocabulary.words,
            table,
            self.vector_size,
            subwords,
            bags,
            vocabulary.counts,
            self.settings.composition,
            owner=self._name,
        )

    def _ngrams_of(self, words: int) -> int:
        if self._built is not None and words == len(self._built.vocabulary):
            assert self._built.subwords is not None
            return self._built.subwords.rows
        settings = self.settings
        if not settings.max_n:
            return 0
        most = words * USUAL_NGRAMS
        return most if settings.subwords == "explicit" else min(most, settings.bucket)

    def _memory(self, words: int, ngrams: int) -> dict[str, int]:
        found = super()._memory(words, ngrams)
        if ngrams:
            found["ngrams"] = ngrams * (-(-self.vector_size // 16) * 64 + 8)
            found["bags"] = words * (8 + 4 * USUAL_NGRAMS)
        return {**found, "composed": words * self.vector_size * 4}

    def _needed(self, function: str) -> Built:
        built = super()._needed(function)
        assert built.subwords is not None and built.bags is not None
        index, settings = built.subwords, self.settings
        explicit = index.kind == "explicit"
        assert isinstance(built.wv, TrainedSubwords)
        had: dict[str, Any] = {"max_n": index.max_n, "composition": built.wv.composition}
        if index.max_n:
            had |= {"min_n": index.min_n, "subwords": "explicit" if explicit else "hashed"}
        if index.bucket:
            had["bucket"] = index.bucket
        if wrong := [
            f"{name} is {getattr(settings, name)}, and was {then}"
            for name, then in had.items()
            if getattr(settings, name) != then
        ]:
            raise ValueError(
                f"{function}: {'; '.join(wrong)} when the vocabulary was built: build it again"
            )
        return built._replace(bags=built.bags._replace(mean=settings.pooled_mean))
