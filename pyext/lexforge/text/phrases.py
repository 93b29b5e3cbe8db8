"""Phrases: words that come together more often than by chance become one, with gensim's interface.

Counting and finding are done by csrc/text/phrases.h, whose head says what is counted and scored.
"""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lexforge import _text
from lexforge._arguments import real, whole
from lexforge._compressed import SUFFIXES
from lexforge._files import replacing
from lexforge.text.corpus import Corpus, Progress, reader_options, resolve_corpus
from lexforge.text.files import PICKLE, foreign_kind
from lexforge.text.lines import read_json

_FORMAT, _VERSION = "lexforge.phrases", 1
_BATCH_SENTENCES = 1000  # looked through at a time
_LOGGER = logging.getLogger(__name__)

# Articles, prepositions and conjunctions, which may stand inside a phrase: gensim's list.
ENGLISH_CONNECTOR_WORDS = frozenset(
    "a an the for of with without at from to in on by and or".split(" ")  # noqa: SIM905
)


def original_scorer(
    worda_count: float,
    wordb_count: float,
    bigram_count: float,
    len_vocab: float,
    min_count: float,
    corpus_word_count: float,
) -> float:
    """(bigram_count - min_count) / (worda_count * wordb_count) * len_vocab (Mikolov et al. 2013).

    -inf where a word was not counted.
    """
    product = worda_count * wordb_count
    return (bigram_count - min_count) / float(product) * len_vocab if product else -math.inf


def npmi_scorer(
    worda_count: float,
    wordb_count: float,
    bigram_count: float,
    len_vocab: float,
    min_count: float,
    corpus_word_count: float,
) -> float:
    """Normalised pointwise mutual information, -1 to 1 (Bouma 2009).

    -inf where the words were counted together less than min_count times.
    """
    if bigram_count < min_count:
        return -math.inf
    words = float(corpus_word_count)
    p_a, p_b, p = worda_count / words, wordb_count / words, bigram_count / words
    try:
        return math.log(p / (p_a * p_b)) / -math.log(p)
    except (ValueError, ZeroDivisionError):  # something was not counted, or nothing else
        return -math.inf


_SCORERS: dict[str, Callable[..., float]] = {"default": original_scorer, "npmi": npmi_scorer}


class Joined(NamedTuple):
    """What became of a text.

    Attributes:
        words: read.
        phrases: that were joined, in the order of their first appearance: score, and how often.
    """

    words: int
    phrases: dict[str, tuple[float, int]]

    @property
    def times(self) -> int:
        """How often phrases were joined."""
        return sum(times for _, times in self.phrases.values())

    def __repr__(self) -> str:
        return f"Joined({self.words:,} words, {len(self.phrases):,} phrases {self.times:,} times)"


class _PhraseTransformation:
    """What finds phrases in sentences; a subclass says what is one, by :meth:`score_candidate`.

    Empty strings are no words: they are left out.
    """

    connector_words: frozenset[str]

    def __init__(self, connector_words: Iterable[str]):
        if isinstance(connector_words, str):
            raise TypeError(
                f"connector_words must be a set of str, got the str {connector_words!r}"
            )
        self.connector_words = frozenset(connector_words)
        for word in self.connector_words:
            if not isinstance(word, str):
                raise TypeError(f"connector_words must be a set of str, with {word!r} in it")

    def score_candidate(
        self, word_a: str, word_b: str, in_between: list[str]
    ) -> tuple[str, float] | tuple[None, None]:
        """(text of the phrase, score) of a word, connectors and a word; (None, None) if none."""
        raise NotImplementedError

    def _matcher(self) -> tuple[_text.PhraseTable, _text.Scoring] | None:
        """What finds the same phrases as :meth:`score_candidate` would; None: only that does."""
        return None

    def analyze_sentence(self, sentence: Iterable[str]) -> Iterator[tuple[str, float | None]]:
        """The tokens of a sentence: (text, score) of a phrase, (word, None) of another word."""
        start, between = "", []
        for word in _words(sentence):
            if not word:
                continue
            if word in self.connector_words:
                if start:
                    between.append(word)
                else:
                    yield word, None
                continue
            if start:
                phrase, score = self.score_candidate(start, word, between)
                if phrase is not None:
                    yield phrase, score
                    start, between = "", []
                    continue
                yield start, None
                for connector in between:
                    yield connector, None
            start, between = word, []
        if start:
            yield start, None
            for connector in between:
                yield connector, None

    def __getitem__(self, sentence: Iterable[Any]) -> Any:
        """A sentence, a list of str, with its phrases joined; or a corpus, iterable of sentences.

        Of a corpus it is an iterable of sentences, as often as the corpus is one.

        Raises:
            TypeError: A str stands where a sentence should, or what is no str where a word should.
        """
        if isinstance(sentence, (str, bytes)) or not isinstance(sentence, Iterable):
            raise TypeError(
                "must be a sentence, a list of str, or an iterable of sentences, got "
                f"{type(sentence).__name__}"
            )
        if isinstance(sentence, PhrasedCorpus):
            return PhrasedCorpus(self, sentence)
        items = iter(sentence)
        first = list(itertools.islice(items, 1))
        if first and not isinstance(first[0], str):
            again = itertools.chain(first, items) if items is sentence else sentence
            return PhrasedCorpus(self, again)
        return self._joined([[*first, *items]])[0]

    def find_phrases(self, sentences: Iterable[Iterable[str]]) -> dict[str, float]:
        """The phrases that come in sentences, and their scores."""
        found: dict[str, float] = {}
        for batch in _batches(sentences):
            for text, score in self._phrases_of(batch):
                found[text] = score
        return found

    def _phrases_of(self, sentences: list[Sequence[str]]) -> Iterator[tuple[str, float]]:
        matcher = self._matcher()
        if matcher is None:
            for sentence in sentences:
                for text, score in self.analyze_sentence(sentence):
                    if score is not None:
                        yield text, score
            return
        sentences, spans, scores = _matches(*matcher, sentences)
        delimiter = self.delimiter  # type: ignore[attr-defined]
        for number, begin, end, score in zip(*spans.T.tolist(), scores.tolist(), strict=True):
            yield delimiter.join(sentences[number][begin:end]), score

    def _joined(self, sentences: list[Sequence[str]]) -> list[list[str]]:
        matcher = self._matcher()
        if matcher is None:
            return [[text for text, _ in self.analyze_sentence(each)] for each in sentences]
        sentences, spans, _ = _matches(*matcher, sentences)
        joined = [list(sentence) for sentence in sentences]
        delimiter = self.delimiter  # type: ignore[attr-defined]
        # From the last on: places before a phrase stay what they are.
        for number, begin, end in zip(*spans[::-1].T.tolist(), strict=True):
            words = joined[number]
            words[begin:end] = [delimiter.join(words[begin:end])]
        return joined

    def transform_file(
        self,
        corpus_file: Any,
        out: str | os.PathLike | BinaryIO,
        *,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> Joined:
        """Write a corpus of files with its phrases joined, a line for each of its lines.

        A line of more than 10,000 words is looked through in parts of so many.

        Args:
            corpus_file: anything that `resolve_corpus` takes, such as a path.
            out: file, which is there when it is whole; compressed if its name ends in .gz, .bz2 or
                .xz. Or a binary stream.
            workers: threads; all by default. The result does not depend on them.
            progress: called now and then with (bytes read, bytes in all).

        Returns:
            How many words were read, and which phrases joined.
        """
        corpus = resolve_corpus(corpus_file)
        if not isinstance(out, (str, os.PathLike)):
            return self._write(corpus, out, workers, progress)
        opener = SUFFIXES.get(Path(out).suffix)
        with replacing(out) as file:
            if opener is None:
                return self._write(corpus, file, workers, progress)
            with opener(file, "wb") as packed:
                return self._write(corpus, packed, workers, progress)

    def _write(
        self, corpus: Corpus, file: BinaryIO, workers: int | None, progress: Progress | None
    ) -> Joined:
        matcher = self._matcher()
        if matcher is not None and corpus.sentences is None:
            table, scoring = matcher
            options = reader_options(corpus, workers)
            with table.held():
                joiner = _text.PhraseJoiner(table, scoring, file.write, **options)
                try:
                    corpus.feed(joiner, progress)
                except BaseException:
                    joiner.close()  # its threads read the table
                    raise
            texts, scores, times = joiner.phrases()
            found = zip(scores.tolist(), times.tolist(), strict=True)
            return Joined(joiner.tokens, dict(zip(texts, found, strict=True)))
        words, joined = 0, dict[str, tuple[float, int]]()
        for sentence in corpus:
            tokens = list(self.analyze_sentence(sentence))
            file.write(" ".join([text for text, _ in tokens]).encode() + b"\n")
            words += len(sentence)
            for text, score in tokens:
                if score is not None:
                    joined[text] = score, joined.get(text, (score, 0))[1] + 1
        return Joined(words, joined)

    # -- files

    def save(self, path: str | os.PathLike) -> None:
        """Write everything to a JSON file, which is there when it is whole.

        Of a scoring function of your own the name is kept, and `load` has to be given it.
        """
        record = self.__getstate__()
        if callable(scoring := record["scoring"]):
            name = getattr(scoring, "__qualname__", type(scoring).__qualname__)
            record["scoring"] = {"function": f"{getattr(scoring, '__module__', '')}.{name}"}
        head = {"format": _FORMAT, "version": _VERSION, "kind": _kind(type(self))}
        with replacing(path) as file:
            file.write(json.dumps({**head, **record}, ensure_ascii=False).encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike, *, scoring: Callable[..., float] | None = None) -> Any:
        """What :meth:`save` wrote: Phrases or FrozenPhrases, whichever it was.

        Args:
            path: the file.
            scoring: the function, where phrases were scored by one of your own. A file never
                decides what is run.

        Raises:
            ValueError: The file is another's (of gensim's the message says how to convert it), it
                is damaged, or `scoring` is missing.
        """
        with open(path, "rb") as file:
            head = file.read(64)
        name = os.fspath(path)
        if foreign_kind(head) == PICKLE:
            raise ValueError(
                f"{name}: a pickle, as gensim writes it, which could run code: convert it where "
                "gensim is installed, with lexforge.Phrases.from_gensim("
                f"gensim.models.phrases.Phrases.load({name!r})).save('phrases.json')"
            )
        record = read_json(path)
        kind, version = record.get("kind"), record.get("version")
        if record.get("format") != _FORMAT or not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f"{name}: must be a file of Phrases.save")
        if version != _VERSION:
            raise ValueError(f"{name}: version must be {_VERSION}, got {version!r}")
        made_by: Any = cls if issubclass(cls, _KINDS[kind]) else _KINDS[kind]
        made = made_by.__new__(made_by)
        try:
            if isinstance(record.get("scoring"), dict):
                function = record["scoring"].get("function")
                if scoring is None and kind == "phrases":
                    raise ValueError(f"scored by {function}: give it, load(path, scoring=...)")
                record["scoring"] = scoring
            made.__setstate__(record)
        except (TypeError, ValueError, KeyError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{name}: {reason}") from error
        return made

    @staticmethod
    def from_gensim(model: Any) -> Phrases | FrozenPhrases:
        """One of gensim's Phrases or FrozenPhrases as ours, with the same counts or scores."""
        scoring = {f"{name}_scorer": name for name in ("npmi",)} | {"original_scorer": "default"}
        record = dict(vars(model))
        found = record["scoring"]
        if getattr(found, "__module__", "") == "gensim.models.phrases":
            record["scoring"] = scoring.get(found.__name__, found)
        kind: Any = Phrases if "vocab" in record else FrozenPhrases
        made = kind.__new__(kind)
        made.__setstate__(record)
        return made

    def __getstate__(self) -> dict[str, Any]:
        raise NotImplementedError

    def __setstate__(self, record: Mapping[str, Any]) -> None:
        raise NotImplementedError


class Phrases(_PhraseTransformation):
    """Detects phrases by counts of words and pairs, as gensim's class does.

    Two words that follow each other, but for connectors, are a phrase if their score exceeds the
    threshold. Longer ones come from a second pass over what the first has joined::

        bigrams = Phrases(sentences)
        trigrams = Phrases(bigrams[sentences])
        trigrams[bigrams[["new", "york", "times"]]]

    The result does not depend on the number of threads. Memory holds each distinct text once, about
    40 bytes for a pair, and a few MB of the corpus.

    Args:
        sentences: iterable of lists of str, read once: a generator will do. None: see
            :meth:`add_vocab`.
        min_count: words and pairs that come less often are no phrases.
        threshold: on the score; a higher one means fewer phrases.
        max_vocab_size: after a sentence that leaves more texts than that, the rarest are forgotten:
            first those that came once, then those that came twice, and so on.
        delimiter: between the words of a phrase; not empty.
        progress_per: sentences after which the logger is told how far counting is.
        scoring: "default" (:func:`original_scorer`), "npmi" (:func:`npmi_scorer`, from -1 to 1), or
            a function of the arguments that those have.
        connector_words: may stand inside a phrase, but neither begin nor end it; for English
            :data:`ENGLISH_CONNECTOR_WORDS`.
        corpus_file: instead of sentences what `resolve_corpus` takes: a path, a list of paths, the
            name of a data set. Lines are sentences, cut behind 10,000 words.
        workers: threads; all by default.

    Attributes:
        vocab: mapping from texts, words and pairs, to their counts, in the order of their first
            appearance.
        corpus_word_count: words read.
        min_reduce: below how many occurrences the next pruning forgets.

    Raises:
        ValueError: An argument out of range, or a corpus without a word.
        TypeError: A str stands where a sentence should.

    Example:
        >>> sentences = [["new", "york", "is", "big"], ["in", "new", "york"], ["big", "and", "old"]]
        >>> Phrases(sentences, min_count=1, threshold=1)[["i", "love", "new", "york"]]
        ['i', 'love', 'new_york']
    """

    def __init__(
        self,
        sentences: Iterable[Iterable[str]] | None = None,
        min_count: float = 5,
        threshold: float = 10.0,
        max_vocab_size: int = 40000000,
        delimiter: str = "_",
        progress_per: int = 10000,
        scoring: str | Callable[..., float] = "default",
        connector_words: Collection[str] = frozenset(),
        *,
        corpus_file: Any = None,
        workers: int | None = None,
    ):
        super().__init__(connector_words)
        self._set(min_count, threshold, max_vocab_size, delimiter, progress_per, scoring)
        if sentences is not None or corpus_file is not None:
            self.add_vocab(sentences, corpus_file=corpus_file, workers=workers)

    def _set(
        self,
        min_count: Any,
        threshold: Any,
        max_vocab_size: Any,
        delimiter: Any,
        progress_per: Any,
        scoring: Any,
    ) -> None:
        """Checks and keeps what is not counted."""
        real("Phrases", "min_count", min_count, above=0)
        real("Phrases", "threshold", threshold, -math.inf)
        if isinstance(scoring, str):
            if scoring not in _SCORERS:
                names = ", ".join(map(repr, _SCORERS))
                raise ValueError(f"Phrases: scoring must be {names} or a function, got {scoring!r}")
            scoring = _SCORERS[scoring]
        if not callable(scoring):
            raise TypeError(f"Phrases: scoring must be a name or a function, got {scoring!r}")
        if scoring is original_scorer and threshold <= 0:
            raise ValueError(
                f"Phrases: threshold must be above 0 with default scoring, got {threshold}"
            )
        if scoring is npmi_scorer and not -1 <= threshold <= 1:
            raise ValueError(f"Phrases: threshold must be -1 to 1 with npmi, got {threshold}")
        wanted = inspect.signature(original_scorer).parameters
        if missing := wanted.keys() - inspect.signature(scoring).parameters.keys():
            raise ValueError(f"Phrases: scoring must take the arguments {', '.join(missing)}")
        self.min_count, self.threshold, self.scoring = min_count, threshold, scoring
        self.max_vocab_size = whole("Phrases", "max_vocab_size", max_vocab_size)
        self.progress_per = whole("Phrases", "progress_per", progress_per)
        self.delimiter = _delimiter("Phrases", delimiter)
        self.corpus_word_count, self.min_reduce = 0, 1
        self._table = self._new_table()

    def _new_table(self) -> _text.PhraseTable:
        return _text.PhraseTable(self.delimiter, sorted(self.connector_words))

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}<{len(self._table)} vocab, min_count={self.min_count}, "
            f"threshold={self.threshold}, max_vocab_size={self.max_vocab_size}>"
        )

    __repr__ = __str__

    @property
    def vocab(self) -> Mapping[str, int]:
        """Texts and their counts; look at it, it cannot be changed."""
        return PhraseCounts(self._table)

    def add_vocab(
        self,
        sentences: Iterable[Iterable[str]] | None = None,
        *,
        corpus_file: Any = None,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Count more sentences.

        They are counted by themselves, and then added: what is rare in all that was counted before
        is not forgotten before it was seen often.

        Args:
            sentences, corpus_file, workers: as for the class.
            progress: called now and then with (bytes read, bytes in all), or (sentences, None).

        Raises:
            ValueError: There is no word in them.
        """
        corpus = _corpus_of(sentences, corpus_file)
        table = self._new_table()
        options = reader_options(corpus, workers)
        counter = _text.PhraseCounter(table, self.max_vocab_size, **options)
        corpus.feed(counter, self._logging(progress))
        if not counter.tokens:
            raise ValueError(
                f"Phrases: there is no word in {corpus.name}"
                + (" (a generator can be read once)" if corpus.sentences is not None else "")
            )
        self.corpus_word_count += counter.tokens
        if not len(self._table):
            self._table = table
        else:
            self.min_reduce = max(self.min_reduce, counter.least)
            self._table.merge(table)
            if len(self._table) > self.max_vocab_size:
                self._table.prune(self.min_reduce)
                self.min_reduce += 1
        _LOGGER.info("%s has counted %d words", self, self.corpus_word_count)

    def _logging(self, progress: Progress | None) -> Progress:
        """The callback, which also tells the logger of sentences."""
        told = 0

        def report(done: int, total: int | None) -> None:
            nonlocal told
            if progress is not None:
                progress(done, total)
            if total is None and done - told >= self.progress_per:
                told = done
                _LOGGER.info("%d sentences counted", done)

        return report

    def _scoring(self) -> _text.Scoring:
        kind = next((name for name, known in _SCORERS.items() if known is self.scoring), "unknown")
        return _text.Scoring(
            kind, float(self.threshold), float(self.min_count), self.corpus_word_count
        )

    def _matcher(self) -> tuple[_text.PhraseTable, _text.Scoring] | None:
        scoring = self._scoring()
        if scoring.kind == "unknown" or not _is_plain(self, Phrases):
            return None
        return self._table, scoring

    def score_candidate(
        self, word_a: str, word_b: str, in_between: list[str]
    ) -> tuple[str, float] | tuple[None, None]:
        """(text of the phrase, score) of a word, connectors and a word; (None, None) if none."""
        text = self.delimiter.join([word_a, *in_between, word_b])
        counts = [self._table.count(each) for each in (word_a, word_b, text)]
        if min(counts) <= 0:
            return None, None
        score = self._score(*counts)
        return (None, None) if score <= self.threshold else (text, score)

    def _score(self, count_a: int, count_b: int, count: int) -> float:
        return self.scoring(
            worda_count=count_a,
            wordb_count=count_b,
            bigram_count=count,
            len_vocab=len(self._table),
            min_count=self.min_count,
            corpus_word_count=self.corpus_word_count,
        )

    def export_phrases(self) -> dict[str, float]:
        """All phrases among the counted texts, and their scores.

        The first and the last word of a text are told by the delimiter, wherever it stands: what
        holds it as one word counts as several.
        """
        scoring = self._scoring()
        texts, scores, counts = self._table.scored(scoring)
        if scoring.kind != "unknown":
            return dict(zip(texts, scores.tolist(), strict=True))
        scored = ((text, self._score(*row)) for text, row in zip(texts, counts.tolist()))  # noqa: B905
        return {text: score for text, score in scored if not score <= self.threshold}

    def freeze(self) -> FrozenPhrases:
        """The phrases alone, with their scores: smaller, and nothing can be added."""
        return FrozenPhrases(self)

    def __getstate__(self) -> dict[str, Any]:
        texts, counts = self._table.counts()
        return {
            "min_count": self.min_count,
            "threshold": self.threshold,
            "max_vocab_size": self.max_vocab_size,
            "delimiter": self.delimiter,
            "progress_per": self.progress_per,
            "scoring": _name_of(self.scoring),
            "connector_words": sorted(self.connector_words),
            "corpus_word_count": self.corpus_word_count,
            "min_reduce": self.min_reduce,
            "vocab": dict(zip(texts, counts.tolist(), strict=True)),
        }

    def __setstate__(self, record: Mapping[str, Any]) -> None:
        _PhraseTransformation.__init__(self, record["connector_words"])
        given = ("min_count", "threshold", "max_vocab_size", "delimiter", "progress_per", "scoring")
        self._set(*(record[name] for name in given))
        for name in ("corpus_word_count", "min_reduce"):
            setattr(self, name, whole("Phrases", name, record[name], 0))
        texts, counts = _entries("vocab", record["vocab"])
        if not all(type(count) is int and 1 <= count < 2**63 for count in counts):
            raise ValueError("vocab must have counts of 1 to 2^63 - 1")
        _fill(self._table, texts, np.array(counts, np.int64))


class FrozenPhrases(_PhraseTransformation):
    """The phrases of a :class:`Phrases`, without the counts; also called Phraser.

    Args:
        phrases_model: whose phrases are taken.

    Attributes:
        phrasegrams: mapping from the texts of the phrases to their scores. It cannot be changed,
            but another can be put in its place.
        threshold, min_count, delimiter, scoring, connector_words: those of the model.
    """

    def __init__(self, phrases_model: Phrases):
        super().__init__(phrases_model.connector_words)
        self.threshold, self.min_count = phrases_model.threshold, phrases_model.min_count
        self.delimiter, self.scoring = phrases_model.delimiter, phrases_model.scoring
        self.phrasegrams = phrases_model.export_phrases()

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}<{len(self.phrasegrams)} phrases, min_count={self.min_count}, "
            f"threshold={self.threshold}>"
        )

    __repr__ = __str__

    @property
    def phrasegrams(self) -> Mapping[str, float]:
        return MappingProxyType(self._phrasegrams)

    @phrasegrams.setter
    def phrasegrams(self, scores: Mapping[str, float]) -> None:
        texts, values = _entries("phrasegrams", scores)
        numbers = [real("phrasegrams", repr(text), x, -math.inf) for text, x in scores.items()]
        self._table = _text.PhraseTable(self.delimiter, sorted(self.connector_words))
        _fill(self._table, texts, np.array(numbers, np.float64))
        self._phrasegrams = dict(zip(texts, values, strict=True))

    def _matcher(self) -> tuple[_text.PhraseTable, _text.Scoring] | None:
        if not _is_plain(self, FrozenPhrases):
            return None
        return self._table, _text.Scoring("stored", float(self.threshold))

    def score_candidate(
        self, word_a: str, word_b: str, in_between: list[str]
    ) -> tuple[str, float] | tuple[None, None]:
        """(text of the phrase, score) of a word, connectors and a word; (None, None) if none."""
        text = self.delimiter.join([word_a, *in_between, word_b])
        score = self._phrasegrams.get(text, -math.inf)
        return (text, score) if score > self.threshold else (None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "min_count": self.min_count,
            "threshold": self.threshold,
            "delimiter": self.delimiter,
            "scoring": _name_of(self.scoring),
            "connector_words": sorted(self.connector_words),
            "phrasegrams": self._phrasegrams,
        }

    def __setstate__(self, record: Mapping[str, Any]) -> None:
        super().__init__(record["connector_words"])
        scoring = record["scoring"]
        if isinstance(scoring, str) and scoring not in _SCORERS:
            raise ValueError(f"scoring must be one of {', '.join(_SCORERS)}, got {scoring!r}")
        self.scoring = _SCORERS[scoring] if isinstance(scoring, str) else scoring
        real("Phrases", "min_count", record["min_count"], above=0)
        real("Phrases", "threshold", record["threshold"], -math.inf)
        self.threshold, self.min_count = record["threshold"], record["min_count"]
        self.delimiter = _delimiter("Phrases", record["delimiter"])
        self.phrasegrams = record["phrasegrams"]


Phraser = FrozenPhrases

_KINDS: dict[str, Any] = {"phrases": Phrases, "frozen": FrozenPhrases}


class PhraseCounts(Mapping):
    """Texts and their counts: a look into the table of a :class:`Phrases`."""

    def __init__(self, table: _text.PhraseTable):
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.counts()[0])

    def __getitem__(self, text: str) -> int:
        try:
            count = self._table.count(text)
        except (AttributeError, UnicodeEncodeError):  # no str, or half a character
            count = 0
        if not count:
            raise KeyError(text)
        return count

    def items(self) -> Any:
        """All at once, which is faster than one by one."""
        texts, counts = self._table.counts()
        return dict(zip(texts, counts.tolist(), strict=True)).items()

    def values(self) -> Any:
        """The counts in the order of the texts."""
        return self._table.counts()[1].tolist()

    def __repr__(self) -> str:
        return f"PhraseCounts({len(self):,} texts)"


class PhrasedCorpus:
    """The sentences of a corpus with phrases joined on the way, as often as the corpus is read."""

    def __init__(self, phrases: _PhraseTransformation, corpus: Iterable[Iterable[str]]):
        self._phrases, self._corpus = phrases, corpus
        self._spent = False

    def __iter__(self) -> Iterator[list[str]]:
        if self._spent:
            raise TypeError(
                "these sentences came from a generator, which can be read once: give a list, or an "
                "object whose __iter__ starts anew"
            )
        self._spent = iter(self._corpus) is self._corpus
        for batch in _batches(self._corpus):
            yield from self._phrases._joined(batch)

    def __len__(self) -> int:
        return len(self._corpus)  # type: ignore[arg-type]

    def __getitem__(self, number: int) -> list[str]:
        """One sentence of a corpus that has numbers for them."""
        return self._phrases[self._corpus[number]]  # type: ignore[index]


def _is_plain(found: _PhraseTransformation, kind: type) -> bool:
    """Whether no subclass says otherwise what a phrase is."""
    names = ("score_candidate", "analyze_sentence")
    return all(getattr(type(found), name) is getattr(kind, name) for name in names)


def _kind(kind: type) -> str:
    return next(name for name, known in _KINDS.items() if issubclass(kind, known))


def _name_of(scoring: Any) -> Any:
    return next((name for name, known in _SCORERS.items() if known is scoring), scoring)


def _delimiter(owner: str, delimiter: Any) -> str:
    if not isinstance(delimiter, str):
        raise TypeError(f"{owner}: delimiter must be a str, got {delimiter!r}")
    if not delimiter:
        raise ValueError(f"{owner}: delimiter must not be empty")
    return delimiter


def _entries(name: str, found: Any) -> tuple[list[str], list[Any]]:
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for text in found):
        raise TypeError(f"{name} must be a mapping from str to numbers, got {type(found).__name__}")
    return list(found), list(found.values())


def _fill(table: _text.PhraseTable, texts: list[str], values: np.ndarray) -> None:
    try:
        table.add(texts, values)
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object!r} holds half a character") from None


def _words(sentence: Iterable[str]) -> Iterable[str]:
    """A sentence, which is none if it is a str."""
    (words,) = _text.word_lists([sentence])
    return words


def _batches(sentences: Iterable[Iterable[str]]) -> Iterator[list[Sequence[str]]]:
    if isinstance(sentences, (str, bytes)) or not isinstance(sentences, Iterable):
        raise TypeError(
            f"sentences must be an iterable of lists of str, got {type(sentences).__name__}"
        )
    left = iter(sentences)
    while batch := list(itertools.islice(left, _BATCH_SENTENCES)):
        yield _text.word_lists(batch)


def _matches(
    table: _text.PhraseTable, scoring: _text.Scoring, sentences: list[Sequence[str]]
) -> tuple[list[Sequence[str]], np.ndarray, np.ndarray]:
    """Sentences without empty words, what `PhraseTable.match` finds in them, and the scores."""
    spans, scores, empty = table.match(sentences, scoring)
    if empty > sum(not sentence for sentence in sentences):
        sentences = [[word for word in sentence if word] for sentence in sentences]
        spans, scores, _ = table.match(sentences, scoring)
    return sentences, spans, scores


def _corpus_of(sentences: Any, corpus_file: Any) -> Corpus:
    """What is to be counted.

    Raises:
        TypeError: Nothing, both, or a str in place of sentences.
    """
    if (sentences is None) == (corpus_file is None):
        raise TypeError("Phrases: give sentences or corpus_file, one of them")
    if corpus_file is not None:
        return resolve_corpus(corpus_file)
    if isinstance(sentences, Corpus):
        return sentences
    first = sentences[:1] if isinstance(sentences, (list, tuple)) else ()
    if isinstance(sentences, (str, bytes, os.PathLike)) or any(isinstance(x, str) for x in first):
        raise TypeError(
            "Phrases: sentences must be an iterable of lists of str, got "
            + (f"{type(sentences).__name__} of str" if first else type(sentences).__name__)
            + " (a file is named by corpus_file=)"
        )
    if not isinstance(sentences, Iterable):
        got = type(sentences).__name__
        raise TypeError(f"Phrases: sentences must be an iterable of lists of str, got {got}")
    return Corpus("sentences", sentences=sentences)
