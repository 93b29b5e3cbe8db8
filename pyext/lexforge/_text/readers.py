"""Readers of documents: what is counted, and a corpus as numbers."""

from __future__ import annotations

import array
import os
from collections.abc import Iterable, Sequence
from ctypes import c_bool, c_char, c_char_p, c_int, c_int64, c_uint64, c_void_p
from functools import partial
from typing import Any

import numpy as np

from lexforge._text.library import SPAN, Buffer, Handle, checked, plain, span, thread_count, whole
from lexforge._text.words import framed, word_lists, words_with

READER = (c_int, c_int64, c_int, *SPAN)  # threads, chunk_bytes, errors, lowercase

reader_free = plain(None, "reader_free", c_void_p)
_reader_begin = checked("reader_begin", c_void_p, *SPAN, c_bool)
_reader_feed = checked("reader_feed", c_void_p, *SPAN)
_reader_end = checked("reader_end", c_void_p)
_reader_finish = checked("reader_finish", c_void_p)
_reader_tokens = plain(c_uint64, "reader_tokens", c_void_p)
_counter_new = checked("counter_new", *READER, c_void_p)
_counter_types = plain(c_uint64, "counter_types", c_void_p)
_counter_largest = plain(c_uint64, "counter_largest", c_void_p)
_counter_words = checked("counter_words", c_void_p, c_int64, c_int64, c_char, c_void_p, c_void_p)
_encoder_new = checked(
    "encoder_new", *SPAN, c_int64, c_int64, c_char_p, c_char_p, *READER, c_void_p
)
_encoder_sentences = plain(c_uint64, "encoder_sentences", c_void_p)
_encoder_unknown = plain(c_uint64, "encoder_unknown", c_void_p)

_POLICIES = ("replace", "strict", "skip")  # by the numbers of BadUtf8


def reader_options(
    threads: int, chunk_bytes: int, errors: str, lowercase: Sequence[int]
) -> tuple[int, int, int, Any, int]:
    if errors not in _POLICIES:
        raise ValueError(f"errors must be 'replace', 'strict' or 'skip', got {errors!r}")
    table = np.frombuffer(array.array("I", lowercase or [0]), np.uint32)[: len(lowercase)]
    return (
        thread_count(threads),
        whole("chunk_bytes", chunk_bytes, 1),
        _POLICIES.index(errors),
        table.ctypes,
        table.size,
    )


class Reader(Handle):
    """What documents are fed to, in order."""

    def begin_document(self, name: str, framed: bool = False) -> None:
        """Start a document, of text or `framed` (for `feed_sentences`); `name` is for messages."""
        self._call(_reader_begin, *span(name.encode()), framed)

    def feed(self, bytes: Buffer) -> None:
        """Take the next bytes of the document. Waits while the threads are behind."""
        self._call(_reader_feed, *span(bytes))

    def feed_sentences(self, sentences: Iterable[Iterable[str]]) -> None:
        """Lists of str, into a document begun with framed=True."""
        self._call(_reader_feed, *span(framed(word_lists(sentences))))

    def end_document(self) -> None:
        self._call(_reader_end)

    def finish(self) -> None:
        """Wait for the threads; nothing more may be fed."""
        self._call(_reader_finish)

    @property
    def tokens(self) -> int:
        return self._call(_reader_tokens)


class WordCounter(Reader):
    """Counts the words of documents fed in order."""

    def __init__(self, *, threads: int, chunk_bytes: int, errors: str, lowercase: Sequence[int]):
        options = reader_options(threads, chunk_bytes, errors, lowercase)
        super().__init__(reader_free, _counter_new, *options)

    @property
    def types(self) -> int:
        return self._call(_counter_types)

    @property
    def largest_count(self) -> int:
        return self._call(_counter_largest)

    def words(self, min_count: int, max_words: int) -> tuple[list[str], bytes]:
        """(list of str, their counts as the bytes of an int64 array), by descending count."""
        limits = whole("min_count", min_count, 0), whole("max_words", max_words, 0)
        words, (counts,) = words_with(partial(self._call, _counter_words, *limits), 1)
        return words, counts


class CorpusEncoder(Reader):
    """Writes the word ids of documents fed in order."""

    def __init__(
        self,
        *,
        words: list[str],
        max_sentence_length: int,
        tokens_path: str | bytes,
        offsets_path: str | bytes,
        threads: int,
        chunk_bytes: int,
        errors: str,
        lowercase: Sequence[int],
    ):
        super().__init__(
            reader_free,
            _encoder_new,
            *span(framed([words])),
            len(words),
            whole("max_sentence_length", max_sentence_length, 1),
            os.fsencode(tokens_path),
            os.fsencode(offsets_path),
            *reader_options(threads, chunk_bytes, errors, lowercase),
        )

    @property
    def sentences(self) -> int:
        return self._call(_encoder_sentences)

    @property
    def unknown(self) -> int:
        return self._call(_encoder_unknown)
