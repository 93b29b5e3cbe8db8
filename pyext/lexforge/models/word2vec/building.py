"""The vocabulary of a model: counted, cut, added to; and the tables that it takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import torch

from lexforge.models.word2vec.parts import Built, Word2VecParts
from lexforge.text import Corpus, Vocabulary, build_vocabulary, resolve_corpus
from lexforge.training.progress import Progress, shown_by
from lexforge.vectors import load_vectors
from lexforge.vectors.word_vectors import WordVectors


class Word2VecVocabulary(Word2VecParts):
    """A base of :class:`~lexforge.Word2Vec`: how it gets its words."""

    init: str | os.PathLike | WordVectors | None
    initialised: int
    progress: bool

    def build_vocab(
        self,
        corpus_iterable: Iterable[Sequence[str]] | None = None,
        corpus_file: Any = None,
        update: bool = False,
        progress_per: int = 10_000,
        keep_raw_vocab: bool = False,
        trim_rule: Any = None,
        *,
        progress: Progress | bool | None = None,
    ) -> None:
        """Count the words of a corpus and allocate the tables.

        Args:
            corpus_iterable, corpus_file: As in the constructor; exactly one of them.
            update: Add the words of this corpus to the vocabulary and its counts to theirs. The
                vectors trained so far stay, though words may move to other rows: they are ordered
                by count. With ``hs=1`` the tree is another one, whose inner nodes begin at zero.
                Otherwise the model starts afresh.
            progress_per, keep_raw_vocab: Accepted and without effect.
            trim_rule: Not supported.
            progress: Where to show it, instead of the constructor's ``progress``.

        Raises:
            ValueError: No word reaches ``min_count`` (with ``update`` nothing is added then), or
                one alone with ``hs=1``; ``update`` without a vocabulary; ``init`` that does not
                fit.
            MemoryError: The tables do not fit into the free memory (:meth:`estimate_memory`).
        """
        if trim_rule is not None:
            raise ValueError("build_vocab: trim_rule is not supported; use min_count")
        corpus = self._corpus("build_vocab", corpus_iterable, corpus_file)
        with shown_by(progress, self.progress) as shown:
            found = build_vocabulary(
                corpus,
                min_count=max(self.min_count, 1),
                max_vocab_size=self.max_vocab_size,
                threads=self.workers,
                progress=shown.phase("counting words"),
                allow_empty=update,
            )
        self.corpus_total_words = found.tokens_read
        self.corpus_count = len(corpus_iterable) if isinstance(corpus_iterable, Sized) else 0
        self._set_vocabulary(_at_most(found, self.max_final_vocab), update)

    def build_vocab_from_freq(
        self,
        word_freq: Mapping[str, int],
        keep_raw_vocab: bool = False,
        corpus_count: int | None = None,
        trim_rule: Any = None,
        update: bool = False,
    ) -> None:
        """Like :meth:`build_vocab`, from counts instead of a corpus.

        Args:
            word_freq: Count of each word; those below ``min_count`` are left out.
            keep_raw_vocab: Accepted and without effect.
            corpus_count: Number of sentences that the counts come from.
            trim_rule: Not supported.
            update: As in :meth:`build_vocab`.
        """
        if trim_rule is not None:
            raise ValueError("build_vocab_from_freq: trim_rule is not supported; use min_count")
        kept = sorted(
            ((word, count) for word, count in word_freq.items() if count >= self.min_count),
            key=lambda pair: -pair[1],
        )
        found = Vocabulary([word for word, _ in kept], [count for _, count in kept])
        self.corpus_count, self.corpus_total_words = corpus_count or 0, sum(word_freq.values())
        self._set_vocabulary(_at_most(found, self.max_final_vocab), update)

    def _set_vocabulary(self, found: Vocabulary, update: bool) -> None:
        if update and self._built is None:
            raise ValueError("build_vocab: update=True needs a vocabulary built before")
        if len(found) == 0 and update:
            return  # nothing new
        if len(found) == 0:
            raise ValueError(
                f"build_vocab: no word occurs min_count={self.min_count} times or more "
                f"(the corpus has {self.corpus_total_words:,} words)"
            )
        old = self._built if update else None
        built = self._built_for(found if old is None else _merged(old.vocabulary, found))
        # Each growth of the vocabulary has a seed of its own: new rows never repeat old ones.
        before = 0 if old is None else len(old.vocabulary)
        generator = torch.Generator().manual_seed((self.seed + before) % 2**63)
        bound = 1.0 / self.vector_size
        vectors = built.tables["input"][:, : self.vector_size]
        vectors.uniform_(-bound, bound, generator=generator)
        if self.init is not None:
            self.initialised = _start_from(built, self.init, needed=old is None)
        if old is None:
            self._state = None
        else:
            rows = torch.tensor([built.vocabulary[word] for word in old.vocabulary.words])
            for name in ("input", "output"):  # inner nodes are of this tree alone
                if name in built.tables and name in old.tables:
                    built.tables[name][rows] = old.tables[name]
        if self._built is not None:  # whoever holds the old wv goes on with the model
            wv = self._built.wv
            wv.rebase(built.wv.index_to_key, built.wv.vectors, built.vocabulary.counts)
            built = built._replace(wv=wv)
        self._built = built

    def _corpus(self, function: str, corpus_iterable: Any, corpus_file: Any) -> Corpus:
        """Whichever of the two was given, refused when it cannot be what it should."""
        if (corpus_iterable is None) == (corpus_file is None):
            raise TypeError(f"{function}: give either corpus_iterable or corpus_file")
        if corpus_file is not None:
            return resolve_corpus(
                corpus_file, lowercase=self.lowercase, encoding=self.encoding, errors=self.errors
            )
        what = f"{function}: the corpus must be a re-iterable of token lists"
        if isinstance(corpus_iterable, str | bytes | os.PathLike):
            raise TypeError(f"{what}, got {corpus_iterable!r}; a path goes into corpus_file")
        if iter(corpus_iterable) is corpus_iterable:
            raise TypeError(
                f"{what}, got a {type(corpus_iterable).__name__}: it is read more than once, "
                "and a generator can be read only once"
            )
        if isinstance(next(iter(corpus_iterable), None), str):
            raise TypeError(f"{what}, got strings: split each sentence into its words")
        return resolve_corpus(corpus_iterable, lowercase=self.lowercase)


def _start_from(built: Built, init: str | os.PathLike | WordVectors, *, needed: bool) -> int:
    """Copy the vectors of known words into the input table; returns how many.

    Raises:
        ValueError: They are of another size; there is none, and one is needed.
    """
    vectors = init if isinstance(init, WordVectors) else load_vectors(init)
    try:
        taken = built.wv._take_over(vectors)
    except ValueError as error:
        raise ValueError(f"Word2Vec: init: {error}") from error
    if needed and not taken:
        raise ValueError("Word2Vec: init has none of the words of the corpus")
    return taken


def _at_most(vocabulary: Vocabulary, size: int | None) -> Vocabulary:
    """The vocabulary cut to at most ``size`` words by raising the minimum count, as gensim does."""
    if size is None or len(vocabulary) <= size:
        return vocabulary
    return vocabulary.trim(min_count=int(vocabulary.counts[size]) + 1)


def _merged(old: Vocabulary, new: Vocabulary) -> Vocabulary:
    """The words of both with the sums of their counts, old words first among equals."""
    counts = dict(zip(old.words, old.counts.tolist(), strict=True))
    for word, count in zip(new.words, new.counts.tolist(), strict=True):
        counts[word] = counts.get(word, 0) + count
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return Vocabulary([word for word, _ in ordered], [count for _, count in ordered])
