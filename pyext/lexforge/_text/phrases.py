"""Phrases: counting, scoring and joining words that come together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import byref, c_char, c_double, c_int, c_int64, c_uint64, c_void_p
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lexforge._text.library import SPAN, Buffer, Handle, checked, plain, span, take, whole
from lexforge._text.readers import READER, Reader, reader_free, reader_options
from lexforge._text.words import framed, words_with

_SCORING = (c_int, c_double, c_double, c_uint64)  # kind, threshold, min_count, words of the corpus

_phrases_new = checked("phrases_new", *SPAN, *SPAN, c_int64, c_void_p)
_phrases_free = plain(None, "phrases_free", c_void_p)
_phrases_size = plain(c_int64, "phrases_size", c_void_p)
_phrases_add = checked("phrases_add", c_void_p, *SPAN, c_int64, c_void_p)
_phrases_value = checked("phrases_value", c_void_p, *SPAN, c_void_p)
_phrases_texts = checked("phrases_texts", c_void_p, c_char, *2 * (c_void_p,))
_phrases_merge = checked("phrases_merge", *2 * (c_void_p,))
_phrases_prune = checked("phrases_prune", c_void_p, c_uint64)
_phrases_scored = checked("phrases_scored", c_void_p, *_SCORING, c_char, *3 * (c_void_p,))
_phrases_match = checked("phrases_match", c_void_p, *_SCORING, *SPAN, *3 * (c_void_p,))
_phrase_counter_new = checked("phrase_counter_new", c_void_p, c_uint64, *READER, c_void_p)
_phrase_counter_least = plain(c_uint64, "phrase_counter_least", c_void_p)
_phrase_joiner_new = checked("phrase_joiner_new", c_void_p, *_SCORING, *READER, c_void_p)
_phrase_joiner_take = checked("phrase_joiner_take", c_void_p, c_void_p)
_phrase_joiner_phrases = checked("phrase_joiner_phrases", c_void_p, c_char, *3 * (c_void_p,))

_SCORERS = ("default", "npmi", "stored", "unknown")  # by the numbers of Scoring::Kind


class Scoring(NamedTuple):
    """How candidates are scored, and above what they are phrases; see csrc/text/phrases.h."""

    kind: str
    threshold: float
    min_count: float = 0.0
    corpus_words: int = 0

    @property
    def native(self) -> tuple[int, float, float, int]:
        """As the library takes it."""
        return (_SCORERS.index(self.kind), *self[1:])


class PhraseTable(Handle):
    """Texts and their values, which are counts or scores.

    Args:
        delimiter: between the words of a text, not empty.
        connectors: words that neither begin nor end a phrase.
    """

    def __init__(self, delimiter: str, connectors: Sequence[str] = ()):
        super().__init__(
            _phrases_free,
            _phrases_new,
            *span(delimiter.encode()),
            *span(framed([connectors])),
            len(connectors),
        )
        self._readers = 0

    def __len__(self) -> int:
        return self._call(_phrases_size)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this lasts it cannot be changed: other threads wait, this one may not."""
        with self._lock:
            self._readers += 1
            try:
                yield
            finally:
                self._readers -= 1

    def _change(self, function: Callable[..., Any], *arguments: Any) -> None:
        with self._lock:
            if self._readers:
                raise RuntimeError("Phrases cannot be changed while they are being joined")
            function(self, *arguments)

    def add(self, texts: Sequence[str], values: np.ndarray) -> None:
        """Give texts, which are not empty, their values: contiguous int64 or float64 [n]."""
        assert values.shape == (len(texts),) and values.itemsize == 8
        self._change(_phrases_add, *span(framed([texts])), len(texts), values.ctypes)

    def count(self, text: str) -> int:
        """How often it was counted; 0 for one that is not there."""
        found = c_uint64()
        self._call(_phrases_value, *span(text.encode()), byref(found))
        return found.value

    def counts(self) -> tuple[list[str], np.ndarray]:
        """All texts in the order of their first appearance, and their counts, int64 [n]."""
        texts, (counts,) = words_with(partial(self._call, _phrases_texts), 1)
        return texts, np.frombuffer(counts, np.int64)

    def merge(self, other: PhraseTable) -> None:
        """Add the values of another table with the same delimiter and connectors."""
        self._change(_phrases_merge, other)

    def prune(self, least: int) -> None:
        """Leave out what has a smaller value."""
        self._change(_phrases_prune, least)

    def scored(self, scoring: Scoring) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The phrases in order, their scores, float64 [n], and counts, int64 [n, 3].

        Counts are of the first word, of the last and of the whole. What is of kind "unknown" has no
        score, and is all that could be a phrase.
        """
        give = partial(self._call, _phrases_scored, *scoring.native)
        texts, (scores, counts) = words_with(give, 2)
        return texts, np.frombuffer(scores), np.frombuffer(counts, np.int64).reshape(-1, 3)

    def match(
        self, sentences: Sequence[Sequence[str]], scoring: Scoring
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Where phrases are: int32 [n, 3] of sentence, first word and behind the last; the scores.

        Empty words are no words; the third result says how many there were, of which one may be an
        empty sentence's.
        """
        spans, scores, empty = c_void_p(), c_void_p(), c_int64()
        block = framed(sentences)
        results = byref(spans), byref(scores), byref(empty)
        self._call(_phrases_match, *scoring.native, *span(block), *results)
        places, numbers = np.frombuffer(take(spans), np.int32), np.frombuffer(take(scores))
        return places.reshape(-1, 3), numbers, empty.value


def _free_before(table: PhraseTable, reader: Any) -> None:
    """Frees a reader, whose threads may be busy with the table; this keeps the table until then."""
    reader_free(reader)


class PhraseCounter(Reader):
    """Counts words and candidates of documents into an empty table; see csrc/text/phrases.h."""

    def __init__(
        self,
        table: PhraseTable,
        max_texts: int,
        *,
        threads: int,
        chunk_bytes: int,
        errors: str,
        lowercase: Sequence[int],
    ):
        options = reader_options(threads, chunk_bytes, errors, lowercase)
        limit = whole("max_vocab_size", max_texts, 1)
        free = partial(_free_before, table)
        super().__init__(free, _phrase_counter_new, table, limit, *options)

    @property
    def least(self) -> int:
        """What the next pruning would leave out has come less often."""
        return self._call(_phrase_counter_least)


class PhraseJoiner(Reader):
    """Writes documents with phrases joined, one space between words, a line feed after each line.

    The table must not change meanwhile: see `PhraseTable.held`.

    Args:
        write: called with the bytes, in order.
    """

    def __init__(
        self,
        table: PhraseTable,
        scoring: Scoring,
        write: Callable[[bytes], object],
        *,
        threads: int,
        chunk_bytes: int,
        errors: str,
        lowercase: Sequence[int],
    ):
        self._write = write
        options = reader_options(threads, chunk_bytes, errors, lowercase)
        free = partial(_free_before, table)
        super().__init__(free, _phrase_joiner_new, table, *scoring.native, *options)

    def feed(self, bytes: Buffer) -> None:
        """Take the next bytes of the document, and write what is ready."""
        super().feed(bytes)
        self._write_ready()

    def finish(self) -> None:
        """Wait for the threads, and write the rest."""
        super().finish()
        self._write_ready()

    def _write_ready(self) -> None:
        block = c_void_p()
        self._call(_phrase_joiner_take, byref(block))
        if text := take(block):
            self._write(text)

    def phrases(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Those that were joined, in order; their scores, float64 [n], and how often, int64 [n]."""
        texts, (scores, counts) = words_with(partial(self._call, _phrase_joiner_phrases), 2)
        return texts, np.frombuffer(scores), np.frombuffer(counts, np.int64)
