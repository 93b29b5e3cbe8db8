"""The vocabulary of a model: counted, cut, added to; and the tables that it takes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch

from lexforge._errors import NotReadyError
from lexforge.models.word2vec.parts import Built, TrainedVectors, Word2VecParts
from lexforge.models.word2vec.trainer import sample_share
from lexforge.ops.sampling.sampling import keep_probability
from lexforge.text import Corpus, Vocabulary, build_vocabulary, resolve_corpus
from lexforge.text.sentences import FileSentences
from lexforge.text.vocabulary import TrimRule
from lexforge.training.progress import Progress, shown_by
from lexforge.vectors import load_vectors
from lexforge.vectors.word_vectors import WordVectors

NULL_WORD = "\0"


class Word2VecVocabulary(Word2VecParts):
    """A base of :class:`~lexforge.Word2Vec`: how it gets its words."""

    init: str | os.PathLike | WordVectors | None
    init_lockf: float
    initialised: int
    min_count: int
    null_word: int
    sample: float
    progress: bool

    def build_vocab(
        self,
        corpus_iterable: Iterable[Sequence[str]] | None = None,
        corpus_file: Any = None,
        update: bool = False,
        progress_per: int = 10_000,
        keep_raw_vocab: bool = False,
        trim_rule: TrimRule | None = None,
        *,
        min_count: int | None = None,
        sample: float | None = None,
        progress: Progress | bool | None = None,
    ) -> None:
        """Count the words of a corpus and allocate the tables.

        Args:
            corpus_iterable, corpus_file: As in the constructor; exactly one of them. Sentences are
                read once, so they may come from a generator.
            update: Add the words of this corpus to the vocabulary and its counts to theirs. The
                vectors trained so far stay, though words may move to other rows: they are ordered
                by count. With ``hs=1`` the inner nodes begin at zero unless the tree stays as it
                is. Otherwise the model starts afresh.
            progress_per: Accepted and without effect.
            keep_raw_vocab: Keep the counts of all words as ``raw_vocab``.
            trim_rule: Called with each word, its count, and the least count that is wanted; it says
                :data:`~lexforge.RULE_KEEP`, :data:`~lexforge.RULE_DISCARD`, or
                :data:`~lexforge.RULE_DEFAULT` to leave it to that count.
            min_count, sample: The model's from now on, in place of the constructor's.
            progress: Where to show it, instead of the constructor's ``progress``.

        Raises:
            ValueError: No word reaches ``min_count`` (with ``update`` nothing is added then; a
                RuntimeError too, as in gensim), or one alone with ``hs=1``; ``update`` without a
                vocabulary; ``init`` that does not fit; a ``trim_rule`` that says something else.
            MemoryError: The tables do not fit into the free memory (:meth:`estimate_memory`).
        """
        least = self.min_count if min_count is None else min_count
        everything = update or keep_raw_vocab or trim_rule is not None
        found, self.corpus_count = self._counted(
            "build_vocab",
            corpus_iterable,
            corpus_file,
            1 if everything else least,
            progress,
            empty=update,
        )
        self.raw_vocab = _counts(found) if keep_raw_vocab else {}
        self._prepare(found, update, trim_rule, min_count, sample)

    def build_vocab_from_freq(
        self,
        word_freq: Mapping[str, int],
        keep_raw_vocab: bool = False,
        corpus_count: int | None = None,
        trim_rule: TrimRule | None = None,
        update: bool = False,
    ) -> None:
        """Like :meth:`build_vocab`, from counts instead of a corpus.

        Args:
            word_freq: Count of each word; those below ``min_count`` are left out.
            corpus_count: Number of sentences that the counts come from.
            keep_raw_vocab, trim_rule, update: As in :meth:`build_vocab`.
        """
        found, self.corpus_count = Vocabulary.of(word_freq), corpus_count or 0
        self.raw_vocab = _counts(found) if keep_raw_vocab else {}
        self._prepare(found, update, trim_rule)

    def scan_vocab(
        self,
        corpus_iterable: Iterable[Sequence[str]] | None = None,
        corpus_file: Any = None,
        progress_per: int = 10_000,
        workers: int | None = None,
        trim_rule: TrimRule | None = None,
        *,
        progress: Progress | bool | None = None,
    ) -> tuple[int, int]:
        """The first half of :meth:`build_vocab`: count all words of a corpus into ``raw_vocab``.

        Args:
            corpus_iterable, corpus_file, progress: As in :meth:`build_vocab`.
            progress_per, workers, trim_rule: Accepted and without effect; the rule is for
                :meth:`prepare_vocab`.

        Returns:
            The number of words, and of sentences (0 for files).
        """
        found, sentences = self._counted("scan_vocab", corpus_iterable, corpus_file, 1, progress)
        self.raw_vocab = _counts(found)
        return found.tokens_read, sentences

    def prepare_vocab(
        self,
        update: bool = False,
        keep_raw_vocab: bool = False,
        trim_rule: TrimRule | None = None,
        min_count: int | None = None,
        sample: float | None = None,
        dry_run: bool = False,
    ) -> dict[str, int]:
        """The second half of :meth:`build_vocab`: choose words of ``raw_vocab``, make the tables.

        Args:
            update, keep_raw_vocab, trim_rule, min_count, sample: As in :meth:`build_vocab`.
            dry_run: Only say what would be kept.

        Returns:
            ``drop_unique``, words that are left out; ``num_retained_words``; ``retain_total``, how
            often these occur; ``downsample_unique``, how many of them sub-sampling thins out, and
            ``downsample_total``, the occurrences expected after it.

        Raises:
            ValueError: As :meth:`build_vocab`; nothing was counted.
        """
        if not self.raw_vocab:
            raise NotReadyError("prepare_vocab: count words first, with scan_vocab")
        found = Vocabulary.of(self.raw_vocab)
        report = self._prepare(found, update, trim_rule, min_count, sample, dry_run=dry_run)
        if not (dry_run or keep_raw_vocab):
            self.raw_vocab = {}
        return report

    def prepare_weights(self, update: bool = False) -> None:
        """Make the first vectors of all words again; with ``update`` nothing is left to do."""
        if update:
            self.update_weights()
        else:
            self.init_weights()

    def init_weights(self) -> None:
        """Start afresh with the same words: first vectors, and the state before any training."""
        built = self._needed("init_weights")
        for table in built.tables.values():
            table.zero_()
        self._state = None
        self._draw(built, 0)
        built.wv.refresh()

    def update_weights(self) -> None:
        """Nothing: :meth:`prepare_vocab` gives new words their vectors.

        Raises:
            ValueError: No vocabulary yet; a RuntimeError too, as in gensim.
        """
        self._needed("update_weights")

    def reset_from(self, other_model: Word2VecParts) -> None:
        """Start afresh with the words and counts of another model.

        Raises:
            ValueError: It has none; a RuntimeError too.
        """
        words = other_model._needed("reset_from").vocabulary
        self.corpus_count = other_model.corpus_count
        self.corpus_total_words = other_model.corpus_total_words
        self._set_vocabulary(words)

    def add_null_word(self) -> None:
        """Add the word NUL, as the constructor's ``null_word=1`` does.

        Raises:
            ValueError: No vocabulary yet; a RuntimeError too.
        """
        words = self._needed("add_null_word").vocabulary
        self._set_vocabulary(_with_null_word(words), self._built)

    def init_sims(self, replace: bool = False) -> None:
        """Deprecated, as in gensim: there is nothing to be prepared.

        Args:
            replace: Scale all vectors to length 1, as ``wv.unit_normalize_all()`` does.
        """
        warnings.warn(
            "init_sims is not needed; wv.unit_normalize_all() scales vectors",
            DeprecationWarning,
            stacklevel=2,
        )
        if replace:
            self.wv.unit_normalize_all()

    def _counted(
        self,
        function: str,
        corpus_iterable: Any,
        corpus_file: Any,
        min_count: int,
        progress: Progress | bool | None,
        empty: bool = True,
    ) -> tuple[Vocabulary, int]:
        """The words of a corpus that occur so often, and the number of sentences if it is known.

        NotReadyError for a corpus without any, unless it may be empty.
        """
        corpus = self._corpus(function, corpus_iterable, corpus_file)
        with shown_by(progress, self.progress) as shown:
            found = build_vocabulary(
                corpus,
                min_count=max(min_count, 1),
                threads=self.workers,
                progress=shown.phase("counting words"),
                allow_empty=True,
            )
        if not found.types_read and not empty:
            raise NotReadyError(f"{function}: no word occurs in {corpus.name}")
        numbered = corpus if isinstance(corpus, FileSentences) else corpus.sentences
        return found, getattr(numbered, "number", 0)

    def _prepare(
        self,
        found: Vocabulary,
        update: bool,
        trim_rule: TrimRule | None,
        min_count: int | None = None,
        sample: float | None = None,
        *,
        dry_run: bool = False,
    ) -> dict[str, int]:
        """Choose words of what was counted, and go on with them; the report of prepare_vocab."""
        if update and self._built is None:
            raise NotReadyError("build_vocab: update=True needs a vocabulary built before")
        least = self.min_count if min_count is None else min_count
        thin = self.sample if sample is None else sample
        self.effective_min_count, size = least, self.max_final_vocab
        if size is not None and len(found) > size:
            self.effective_min_count = max(least, int(found.counts[size]) + 1)
        kept = found.kept(self.effective_min_count, trim_rule, self.max_vocab_size)
        counts = torch.from_numpy(kept.counts)
        left = keep_probability(counts, sample_share(thin, kept.total)).double()
        report = {
            "drop_unique": found.types_read - len(kept),
            "retain_total": kept.total,
            "downsample_unique": int((left < 1).sum()),
            "downsample_total": int((left * counts).sum()),
            "num_retained_words": len(kept),
        }
        if dry_run:
            return report
        self.corpus_total_words = found.tokens_read
        old = self._built if update else None
        if old is not None:
            words = _merged(old.vocabulary, found, kept)
            if words == old.vocabulary:
                return report  # nothing new
        elif len(kept) == 0:
            raise NotReadyError(
                f"build_vocab: no word occurs min_count={self.effective_min_count} times or more "
                f"(the corpus has {found.tokens_read:,} words, {found.types_read:,} of them "
                f"distinct){', or trim_rule leaves it out' if trim_rule is not None else ''}"
            )
        else:
            words = kept
            self.min_count, self.sample = least, thin
        self._set_vocabulary(_with_null_word(words) if self.null_word else words, old)
        return report

    def _set_vocabulary(self, words: Vocabulary, old: Built | None = None) -> None:
        """Tables for these words; with ``old``, whose words are among them, its vectors stay."""
        subwords = None if old is None or old.subwords is None else old.subwords
        if subwords is not None:
            subwords = subwords.extended(words.words, words.counts)
        built = self._built_for(words, subwords=subwords)
        # Each growth of the vocabulary has a seed of its own: new rows never repeat old ones.
        self._draw(built, 0 if old is None else len(old.vocabulary), needed=old is None)
        if old is None:
            self._state = None
        else:
            rows = torch.tensor([words[word] for word in old.vocabulary.words])
            for name in ("input", "output"):
                if name in built.tables and name in old.tables:
                    built.tables[name][rows] = old.tables[name][: len(rows)]
            ngrams = old.tables["input"][len(rows) :]
            built.tables["input"][len(words) :][: len(ngrams)] = ngrams
            if _same_tree(built, old):  # inner nodes are of their tree alone
                built.tables["tree"].copy_(old.tables["tree"])
            built.wv.keep_locks(old.wv, rows.numpy())
        if isinstance(self.wv, TrainedVectors):  # whoever holds the old wv goes on with the model
            wv = self.wv
            wv.become(built.wv, words.counts)
            built = built._replace(wv=wv)
        self._built, self._before = built, None

    def _draw(self, built: Built, before: int, *, needed: bool = True) -> None:
        """First vectors of the words, random or those of ``init``.

        Args:
            before: Words that the model had.
            needed: Whether ``init`` must have one of the words.
        """
        generator = torch.Generator().manual_seed((self.seed + before) % 2**63)
        bound = 1.0 / self.vector_size
        vectors = built.tables["input"][:, : self.vector_size]
        vectors.uniform_(-bound, bound, generator=generator)
        if self.init is not None:
            self.initialised = _start_from(built, self.init, self.init_lockf, needed=needed)

    def _corpus(
        self, function: str, corpus_iterable: Any, corpus_file: Any, passes: int = 1
    ) -> Corpus:
        """Whichever of the two was given, refused when it cannot be what it should.

        Args:
            passes: How often it will be read.
        """
        if (corpus_iterable is None) == (corpus_file is None):
            raise TypeError(f"{function}: give either corpus_iterable or corpus_file")
        if corpus_file is not None:
            return resolve_corpus(
                corpus_file, lowercase=self.lowercase, encoding=self.encoding, errors=self.errors
            )
        what = f"{function}: the corpus must be a re-iterable of token lists"
        if isinstance(corpus_iterable, str | bytes | os.PathLike):
            raise TypeError(f"{what}, got {corpus_iterable!r}; a path goes into corpus_file")
        if (files := FileSentences.of(corpus_iterable, lowercase=self.lowercase)) is not None:
            return files
        sentences = iter(corpus_iterable)
        if sentences is corpus_iterable and passes > 1:
            raise TypeError(
                f"{what}, got a {type(corpus_iterable).__name__}: it is read more than once, "
                "and a generator can be read only once"
            )
        first = list(islice(sentences, 1))
        if first and isinstance(first[0], str):
            raise TypeError(f"{what}, got strings: split each sentence into its words")
        if sentences is corpus_iterable:
            corpus_iterable = chain(first, sentences)
        return Corpus("sentences", sentences=_Numbered(corpus_iterable), lowercase=self.lowercase)


class _Numbered:
    """Sentences, and how many there were."""

    def __init__(self, sentences: Iterable[list[str]]) -> None:
        self._sentences, self.number = sentences, 0

    def __iter__(self) -> Iterator[list[str]]:
        self.number = 0
        for sentence in self._sentences:
            self.number += 1
            yield sentence


def _start_from(
    built: Built, init: str | os.PathLike | WordVectors, lockf: float, *, needed: bool
) -> int:
    """Copy the vectors of known words into the input table; returns how many.

    Raises:
        ValueError: They are of another size; there is none, and one is needed.
    """
    vectors = init if isinstance(init, WordVectors) else load_vectors(init)
    try:
        taken = built.wv._take_over(vectors, lockf)
    except ValueError as error:
        raise ValueError(f"{built.wv.owner}: init: {error}") from error
    if needed and not taken:
        raise ValueError(f"{built.wv.owner}: init has none of the words of the corpus")
    return taken


def _counts(found: Vocabulary) -> dict[str, int]:
    """Words with their counts."""
    return dict(zip(found.words, found.counts.tolist(), strict=True))


def _with_null_word(words: Vocabulary) -> Vocabulary:
    """The same with NUL, which occurs once, unless it is there."""
    return words if NULL_WORD in words else Vocabulary.of({**_counts(words), NULL_WORD: 1})


def _merged(old: Vocabulary, found: Vocabulary, kept: Vocabulary) -> Vocabulary:
    """The old words and those that are kept, by the sums of their counts; old ones first."""
    counts = _counts(old)
    for word, count in _counts(found).items():
        if word in counts:
            counts[word] += count
        elif word in kept:
            counts[word] = count
    return Vocabulary.of(counts)


def _same_tree(built: Built, old: Built) -> bool:
    """Whether inner nodes mean the same in both."""
    return (
        built.tree is not None
        and old.tree is not None
        and built.vocabulary.words == old.vocabulary.words
        and np.array_equal(built.tree.nodes, old.tree.nodes)
    )
