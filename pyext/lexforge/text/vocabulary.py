"""Vocabulary: the words of a corpus, their numbers and their counts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from lexforge import _text
from lexforge._arguments import LARGEST
from lexforge._errors import NotReadyError
from lexforge._files import replacing
from lexforge.text.corpus import reader_options, resolve_corpus
from lexforge.text.lines import join_lines, read_counts

# What a rule says of a word, by gensim's numbers: what min_count says, leave it out, keep it.
RULE_DEFAULT, RULE_DISCARD, RULE_KEEP = 0, 1, 2
TrimRule = Callable[[str, int, int], "int | None"]


class Vocabulary:
    """Words numbered from 0 by descending count.

    Args:
        words: distinct words, in the order of their numbers.
        counts: occurrences of each word in the corpus, int64 [V], none negative, not ascending.
        tokens_read, types_read: words of the corpus and distinct words among them before any were
            left out; by default what `counts` holds.

    Attributes:
        words: list of str [V].
        counts: int64 array [V].
        index: dict from word to number.
        total: sum of `counts`.
        tokens_read, types_read: as above.

    Raises:
        ValueError: lengths differ, a word comes twice, or counts are negative, ascend, or add up to
            more than 2^63 - 1.

    Example:
        >>> vocab = Vocabulary(["the", "cat"], [5, 2])
        >>> vocab["cat"], "dog" in vocab, vocab.total
        (1, False, 7)
    """

    def __init__(
        self,
        words: Iterable[str],
        counts: Sequence[int] | np.ndarray,
        *,
        tokens_read: int | None = None,
        types_read: int | None = None,
    ):
        self.words = list(words)
        try:
            self.counts = np.array(counts, dtype=np.int64)
        except OverflowError:
            raise ValueError("Vocabulary: counts must be at most 2^63 - 1") from None
        if self.counts.shape != (len(self.words),):
            raise ValueError(
                f"Vocabulary: counts must be [{len(self.words)}] like words, "
                f"got {list(self.counts.shape)}"
            )
        if (self.counts < 0).any() or (np.diff(self.counts) > 0).any():
            raise ValueError("Vocabulary: counts must be >= 0 and must not ascend")
        self.index = {word: number for number, word in enumerate(self.words)}
        if len(self.index) != len(self.words):
            twice = next(word for i, word in enumerate(self.words) if self.index[word] != i)
            raise ValueError(f"Vocabulary: words must be distinct, got {twice!r} twice")
        self.total = sum(self.counts.tolist())  # which no number of bits limits
        if self.total > LARGEST:
            raise ValueError(f"Vocabulary: counts must add up to <= 2^63 - 1, got {self.total}")
        self.tokens_read = self.total if tokens_read is None else tokens_read
        self.types_read = len(self.words) if types_read is None else types_read

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> int:
        return self.index[word]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.words == other.words and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # equal ones may differ later: not hashable

    def __repr__(self) -> str:
        return f"Vocabulary({len(self):,} words, {self.total:,} occurrences)"

    def trim(self, *, min_count: int = 1, max_size: int | None = None) -> Vocabulary:
        """The words with at least `min_count` occurrences, the `max_size` most frequent of them.

        Words keep their order, so theirs are the first numbers of this vocabulary.

        Raises:
            ValueError: no word remains.
        """
        size = int((self.counts >= min_count).sum())
        size = size if max_size is None else min(size, max_size)
        if size == 0:
            raise ValueError(
                f"trim: no word remains with min_count={min_count}, max_size={max_size}; "
                f"the largest count is {self.counts.max(initial=0)}"
            )
        return Vocabulary(
            self.words[:size],
            self.counts[:size],
            tokens_read=self.tokens_read,
            types_read=self.types_read,
        )

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Vocabulary:
        """Words with their counts, in any order; of equal counts the first comes first."""
        ordered = sorted(counts.items(), key=lambda pair: -pair[1])
        return cls([word for word, _ in ordered], [count for _, count in ordered])

    def kept(
        self, min_count: int, rule: TrimRule | None = None, max_size: int | None = None
    ) -> Vocabulary:
        """The words that a rule keeps, in this order; there may be none.

        Args:
            min_count: Words need so many occurrences where the rule says nothing else.
            rule: Called as ``rule(word, count, min_count)``; gives `RULE_KEEP`, `RULE_DISCARD`, or
                `RULE_DEFAULT` (or None).
            max_size: At most so many: those that the rule says are to be kept, and of the others
                the most frequent.

        Raises:
            ValueError: the rule gives something else, or keeps more than `max_size`.
        """
        limit = len(self) if max_size is None else max_size
        if rule is None:
            size = min(int((self.counts >= min_count).sum()), limit)
            chosen = [True] * size
        else:
            counted = zip(self.words, self.counts.tolist(), strict=True)
            said = [_said(rule, word, count, min_count) for word, count in counted]
            others = limit - said.count(RULE_KEEP)
            if others < 0:
                raise ValueError(f"trim_rule keeps {limit - others:,} words, of {limit:,} at most")
            chosen = []
            for word_said, count in zip(said, self.counts.tolist(), strict=True):
                free = word_said == RULE_DEFAULT and count >= min_count and others > 0
                others -= free
                chosen.append(free or word_said == RULE_KEEP)
        rows = [row for row, is_kept in enumerate(chosen) if is_kept]
        return Vocabulary(
            [self.words[row] for row in rows],
            self.counts[rows],
            tokens_read=self.tokens_read,
            types_read=self.types_read,
        )

    def _lines(self) -> Iterable[bytes]:
        for row, (word, count) in enumerate(zip(self.words, self.counts.tolist(), strict=True)):
            line = f"{word} {count}"
            yield f"{line}\n".encode() if row else join_lines([line])

    def sha1(self) -> str:
        """Hexadecimal SHA-1 of words and counts: that of the file save() writes."""
        digest = hashlib.sha1()
        for line in self._lines():
            digest.update(line)
        return digest.hexdigest()

    def save(self, path: str | os.PathLike) -> None:
        r"""Writes "<word> <count>\n" per word, in UTF-8, as word2vec's -save-vocab does.

        Raises:
            ValueError: a word is empty or holds a line feed and could not be read back.
        """
        for word in self.words:
            if not word or "\n" in word:
                raise ValueError(f"save: words must be non-empty lines of text, got {word!r}")
        with replacing(path) as file:
            file.writelines(self._lines())

    @classmethod
    def load(cls, path: str | os.PathLike, *, as_numbered: bool = False) -> Vocabulary:
        """Reads a file of save(), or of word2vec's -save-vocab.

        Lines may come in any order: words are numbered by descending count, ties as in the file.

        Args:
            path: the file.
            as_numbered: refuse another order, because other files go by the numbers of the lines.

        Raises:
            ValueError: a line is not "<word> <count>" in UTF-8 or its count is too large (named by
                its number), or a word comes twice; a count ascends, if the lines are to be as
                numbered.
        """
        words, counts = read_counts(path)
        order = sorted(range(len(words)), key=lambda i: -counts[i])
        if as_numbered and order != list(range(len(words))):
            ascends = next(i for i in range(1, len(counts)) if counts[i] > counts[i - 1])
            raise ValueError(
                f"{os.fspath(path)}: counts must not ascend, since other files go by the numbers "
                f"of the lines; line {ascends + 1} has more than the one before"
            )
        try:
            return cls([words[i] for i in order], [counts[i] for i in order])
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error


def _said(rule: TrimRule, word: str, count: int, min_count: int) -> int:
    """What a rule says of a word."""
    said = rule(word, count, min_count)
    if said not in (None, RULE_DEFAULT, RULE_DISCARD, RULE_KEEP):
        raise ValueError(
            f"trim_rule must give RULE_DEFAULT, RULE_DISCARD or RULE_KEEP (0, 1, 2), got {said!r} "
            f"for {word!r}"
        )
    return int(said or RULE_DEFAULT)


def build_vocabulary(
    corpus,
    *,
    min_count: int = 5,
    max_vocab_size: int | None = None,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    allow_empty: bool = False,
) -> Vocabulary:
    """Counts the words of a corpus.

    Words are numbered by descending count, ties by first appearance in the corpus; the result does
    not depend on the number of threads. One pass; memory holds the distinct words (once per thread
    at worst) and a few MB of text, whatever the size of the corpus.

    Args:
        corpus: anything `resolve_corpus` takes.
        min_count: words with fewer occurrences are left out.
        max_vocab_size: of the rest, only so many of the most frequent are kept; None keeps all.
        threads: worker threads; None is torch.get_num_threads().
        encoding, errors: as for `resolve_corpus`.
        progress: called now and then with (bytes read, bytes in all), for an iterable with
            (sentences read, None).
        allow_empty: whether no word may remain.

    Raises:
        ValueError: no word remains; a file is no text; or bad UTF-8 under "strict", with file,
            byte and line.
    """
    if min_count < 1:
        raise ValueError(f"build_vocabulary: min_count must be >= 1, got {min_count}")
    if max_vocab_size is not None and max_vocab_size < 1:
        raise ValueError(f"build_vocabulary: max_vocab_size must be >= 1, got {max_vocab_size}")
    corpus = resolve_corpus(corpus, encoding=encoding, errors=errors)
    counter = _text.WordCounter(**reader_options(corpus, threads))
    corpus.feed(counter, progress)
    limit = np.iinfo(np.int32).max  # word numbers are int32
    words, counts = counter.words(min_count, min(max_vocab_size or limit, limit))
    if not words and not allow_empty:
        raise NotReadyError(
            f"build_vocabulary: no word of {corpus.name} has min_count={min_count} occurrences; "
            f"the largest count seen is {counter.largest_count} "
            f"(of {counter.types:,} distinct words)"
        )
    return Vocabulary(
        words,
        np.frombuffer(counts, np.int64),
        tokens_read=counter.tokens,
        types_read=counter.types,
    )
