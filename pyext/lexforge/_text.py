"""The text side, without torch: corpora, vocabularies, trees, BERT's examples, vector files.

The work is done by a library with a plain C interface (csrc/text), which holds no symbol of Python:
one build serves every version. ctypes lets other threads run during a call, and no call lasts
longer than a few chunks of text take, so that Ctrl-C is answered at once.
"""

from __future__ import annotations

import array
import operator
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import (
    CDLL,
    POINTER,
    PyDLL,
    Structure,
    byref,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_ssize_t,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
    pythonapi,
    sizeof,
    string_at,
)
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lexforge._errors import NotInEncodingError

_Buffer: TypeAlias = bytes | bytearray | memoryview | np.ndarray
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)  # known at once

# -- the library ---------------------------------------------------------------------------------


def _load() -> CDLL:
    found = sorted(Path(__file__).parent.glob("_text_native*.so"))
    if not found:
        raise ImportError(
            "lexforge's text library is not built: run `pip install --no-build-isolation .` "
            "(or `-e .`) in the source folder"
        )
    return CDLL(str(found[0]))


_native = _load()
_native.lexforge_error_message.restype = c_char_p

# Python's own functions that take no copy: these calls hold its lock.
_utf8 = pythonapi.PyUnicode_AsUTF8AndSize
_utf8.argtypes, _utf8.restype = (py_object, POINTER(c_ssize_t)), c_void_p
_new_list = pythonapi.PyList_New
_new_list.argtypes, _new_list.restype = (c_ssize_t,), py_object
_fill_list = PyDLL(_native._name).lexforge_fill_list
_fill_list.argtypes = (c_void_p, c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_bool)
_fill_list.restype = None


def _items(made: list) -> int:
    """Where a list's items are: behind its count, type and size."""
    return c_void_p.from_address(id(made) + 3 * sizeof(c_void_p)).value or 0


# What an object begins with is how many references there are; since Python 3.12 in 32 bits.
_NARROW_COUNTS = sys.version_info >= (3, 12)


def _lists_are_known() -> bool:
    """Whether a list and an object are laid out so; other Pythons, such as those without a lock,
    may differ."""
    if list.__basicsize__ != 5 * sizeof(c_void_p):
        return False
    probe = [object(), object()]
    if list((c_void_p * 2).from_address(_items(probe))) != [*map(id, probe)]:
        return False
    references = (c_uint32 if _NARROW_COUNTS else c_int64).from_address(id(probe[0]))
    before = references.value
    more = [probe[0]] * 5
    return references.value == before + len(more)


_LISTS_ARE_KNOWN = _lists_are_known()

# By the numbers of Status in csrc/text/c_interface.h; the first means that all went well.
_EXCEPTIONS = (None, ValueError, IndexError, OSError, MemoryError, RuntimeError)


def _check(status: int, function: object, arguments: object) -> None:
    exception = _EXCEPTIONS[status]
    if exception is None:
        return
    message = _native.lexforge_error_message()
    if exception is OSError:
        number = _native.lexforge_error_errno()
        reason = os.strerror(number)
        path = os.fsdecode(message).removesuffix(f": {reason}")
        raise OSError(number, reason, path)  # picks its own subclass
    raise exception(message.decode(errors="replace"))  # it may quote a file, cut anywhere


_Address = type(np.empty(0).ctypes)  # of an array, which it keeps


def _plain(
    returns: Any,
    name: str,
    *parameters: Any,
    check: Callable[..., None] | None = None,
    quick: bool = False,
) -> Callable[..., Any]:
    """A function of the library; `returns` is None where nothing comes back.

    `quick`: no argument is the address of an array.
    """
    function = getattr(_native, f"lexforge_{name}")
    function.argtypes, function.restype = parameters, returns
    if check is not None:
        function.errcheck = check
    if quick:
        return function

    def call(*arguments: Any) -> Any:
        # Not left to ctypes: if Ctrl-C came while it asks an array for its address, it would make
        # an ArgumentError of it.
        return function(*[each.data if type(each) is _Address else each for each in arguments])

    return call


def _checked(name: str, *parameters: Any, quick: bool = False) -> Callable[..., Any]:
    """A function of the library whose status is raised as an exception."""
    return _plain(c_int, name, *parameters, check=_check, quick=quick)


_SPAN = (c_void_p, c_int64)  # where something begins, and its size
_READER = (c_int, c_int64, c_int, *_SPAN)  # threads, chunk_bytes, errors, lowercase
_SCORING = (c_int, c_double, c_double, c_uint64)  # kind, threshold, min_count, words of the corpus
_MATRIX = (c_void_p, c_int64, c_int64)

_block_data = _plain(c_void_p, "block_data", c_void_p, quick=True)
_block_size = _plain(c_int64, "block_size", c_void_p, quick=True)
_block_free = _plain(None, "block_free", c_void_p, quick=True)
_frame = _plain(None, "frame", *_SPAN, c_void_p, c_void_p)
_reader_free = _plain(None, "reader_free", c_void_p)
_reader_begin = _checked("reader_begin", c_void_p, *_SPAN, c_bool)
_reader_feed = _checked("reader_feed", c_void_p, *_SPAN)
_reader_end = _checked("reader_end", c_void_p)
_reader_finish = _checked("reader_finish", c_void_p)
_reader_tokens = _plain(c_uint64, "reader_tokens", c_void_p)
_counter_new = _checked("counter_new", *_READER, c_void_p)
_counter_types = _plain(c_uint64, "counter_types", c_void_p)
_counter_largest = _plain(c_uint64, "counter_largest", c_void_p)
_counter_words = _checked("counter_words", c_void_p, c_int64, c_int64, c_char, c_void_p, c_void_p)
_encoder_new = _checked(
    "encoder_new", *_SPAN, c_int64, c_int64, c_char_p, c_char_p, *_READER, c_void_p
)
_encoder_sentences = _plain(c_uint64, "encoder_sentences", c_void_p)
_encoder_unknown = _plain(c_uint64, "encoder_unknown", c_void_p)
_phrases_new = _checked("phrases_new", *_SPAN, *_SPAN, c_int64, c_void_p)
_phrases_free = _plain(None, "phrases_free", c_void_p)
_phrases_size = _plain(c_int64, "phrases_size", c_void_p)
_phrases_add = _checked("phrases_add", c_void_p, *_SPAN, c_int64, c_void_p)
_phrases_value = _checked("phrases_value", c_void_p, *_SPAN, c_void_p)
_phrases_texts = _checked("phrases_texts", c_void_p, c_char, *2 * (c_void_p,))
_phrases_merge = _checked("phrases_merge", *2 * (c_void_p,))
_phrases_prune = _checked("phrases_prune", c_void_p, c_uint64)
_phrases_scored = _checked("phrases_scored", c_void_p, *_SCORING, c_char, *3 * (c_void_p,))
_phrases_match = _checked("phrases_match", c_void_p, *_SCORING, *_SPAN, *3 * (c_void_p,))
_phrase_counter_new = _checked("phrase_counter_new", c_void_p, c_uint64, *_READER, c_void_p)
_phrase_counter_least = _plain(c_uint64, "phrase_counter_least", c_void_p)
_phrase_joiner_new = _checked("phrase_joiner_new", c_void_p, *_SCORING, *_READER, c_void_p)
_phrase_joiner_take = _checked("phrase_joiner_take", c_void_p, c_void_p)
_phrase_joiner_phrases = _checked("phrase_joiner_phrases", c_void_p, c_char, *3 * (c_void_p,))
_part_counter_new = _checked("part_counter_new", *_READER, c_void_p)
_bpe_trainer_new = _checked(
    "bpe_trainer_new",
    c_bool,
    c_void_p,
    *2 * (c_void_p,),
    *2 * (c_int64,),
    *4 * (c_void_p,),
    c_int64,
    c_void_p,
)
_bpe_trainer_free = _plain(None, "bpe_trainer_free", c_void_p)
_bpe_trainer_step = _checked("bpe_trainer_step", c_void_p, c_int64, c_void_p)
_bpe_trainer_symbols = _plain(c_int64, "bpe_trainer_symbols", c_void_p)
_bpe_trainer_result = _checked("bpe_trainer_result", *5 * (c_void_p,))
_bpe_new = _checked("bpe_new", c_void_p, c_int32, *2 * (c_void_p,), c_int64, *2 * _SPAN, c_void_p)
_bpe_free = _plain(None, "bpe_free", c_void_p)
_bpe_encode = _checked(
    "bpe_encode",
    *3 * (c_void_p,),
    c_int64,
    c_int,
    c_double,
    c_uint64,
    c_bool,
    *3 * (c_void_p,),
)
_bpe_decode = _checked("bpe_decode", c_void_p, *_SPAN, c_bool, c_void_p)
_rows_new = _checked("rows_new", c_int64, c_bool, c_bool, c_int64, c_bool, c_int, c_void_p)
_rows_free = _plain(None, "rows_free", c_void_p)
_rows_feed = _checked("rows_feed", c_void_p, *_SPAN, c_bool, c_void_p)
_rows_count = _plain(c_int64, "rows_count", c_void_p)
_rows_full = _plain(c_bool, "rows_full", c_void_p)
_rows_values = _plain(c_void_p, "rows_values", c_void_p)
_rows_tokens = _plain(c_void_p, "rows_tokens", c_void_p)
_rows_drop_tokens = _plain(None, "rows_drop_tokens", c_void_p)
_count_numbers = _plain(c_int64, "count_numbers", *_SPAN)
_ends_in_number = _plain(c_bool, "ends_in_number", *_SPAN)
_format_text = _checked("format_text", *_SPAN, *_MATRIX, c_char, c_void_p, c_int)
_format_binary = _checked("format_binary", *_SPAN, *_MATRIX, c_void_p)
_huffman_links = _checked("huffman_links", *_SPAN, *3 * (c_void_p,))
_huffman_paths = _plain(None, "huffman_paths", c_int64, *3 * (c_void_p,))
_WORDS = (c_void_p, c_void_p, c_int64)  # bytes, where words begin, how many
_BYTES = (c_char_p, c_int64)  # which may hold NULs, and their number
_ngram_hash = _plain(c_uint32, "ngram_hash", *_BYTES, quick=True)
_ngram_spans = _checked("ngram_spans", *_BYTES, *2 * (c_int32,), c_void_p, quick=True)
_subwords_new = _checked("subwords_new", c_int, *3 * (c_int32,), c_void_p)
_subwords_free = _plain(None, "subwords_free", c_void_p)
_subwords_give = _checked("subwords_give", *3 * (c_void_p,), c_int64)
_subwords_give_ngrams = _checked("subwords_give_ngrams", c_void_p, *_WORDS)
_subwords_grow = _checked("subwords_grow", c_void_p, *_WORDS, c_void_p)
_subwords_rows = _plain(c_int64, "subwords_rows", c_void_p)
_subwords_buckets = _checked("subwords_buckets", *2 * (c_void_p,))
_subwords_ngrams = _checked("subwords_ngrams", *3 * (c_void_p,))
_subwords_word = _checked("subwords_word", c_void_p, *_BYTES, c_void_p, quick=True)
_subwords_measure = _checked("subwords_measure", c_void_p, *_WORDS, c_int64, c_int, c_void_p)
_subwords_fill = _checked(
    "subwords_fill", c_void_p, *_WORDS, c_void_p, c_int64, c_int32, c_bool, c_int, c_void_p
)
_labelled_new = _checked("labelled_new", *_SPAN, *_WORDS, c_void_p, c_int, c_int64, c_void_p)
_labelled_lines = _plain(c_uint64, "labelled_lines", c_void_p)
_labelled_types = _checked("labelled_types", *5 * (c_void_p,))
_word_hashes = _plain(None, "word_hashes", *_WORDS, c_void_p)
_features_new = _checked(
    "features_new", *2 * _WORDS, *_SPAN, *3 * (c_int32,), c_int64, *2 * (c_void_p,)
)
_features_free = _plain(None, "features_free", c_void_p)
_features_read = _checked("features_read", c_void_p, *_SPAN, c_bool, c_int, *5 * (c_void_p,))
_predictor_new = _checked(
    "predictor_new", *3 * (c_void_p,), c_int, *2 * (c_void_p,), c_bool, c_void_p
)
_predictor_free = _plain(None, "predictor_free", c_void_p)
_predictor_hidden = _checked("predictor_hidden", *2 * (c_void_p,), c_int64, *2 * (c_void_p,), c_int)
_predictor_predict = _checked(
    "predictor_predict",
    *2 * (c_void_p,),
    c_int64,
    *3 * (c_void_p,),
    c_int64,
    c_float,
    c_int,
    *3 * (c_void_p,),
)
_predictor_line = _plain(
    c_int, "predictor_line", c_void_p, c_char_p, *2 * (c_int64,), c_float, c_void_p, quick=True
)
_predictor_line_hidden = _checked(
    "predictor_line_hidden", c_void_p, c_char_p, c_int64, c_void_p, quick=True
)
_composer_new = _checked("composer_new", *4 * (c_void_p,), c_int64, c_bool, c_void_p)
_composer_free = _plain(None, "composer_free", c_void_p)
_composer_word = _checked("composer_word", c_void_p, *_BYTES, c_int64, c_void_p, quick=True)
_composer_line = _checked("composer_line", c_void_p, *_BYTES, c_void_p, quick=True)
_entries_measure = _checked("entries_measure", *_SPAN, c_int64, c_void_p)
_entries_split = _plain(c_int64, "entries_split", *_SPAN, c_int64, *3 * (c_void_p,))
_word_index_new = _checked("word_index_new", *_WORDS, c_void_p)
_word_index_free = _plain(None, "word_index_free", c_void_p)
_word_index_find = _plain(c_int64, "word_index_find", c_void_p, *_BYTES, quick=True)
_prediction_count = _plain(c_int64, "prediction_count", c_int64)
_examples_new = _checked(
    "examples_new", *5 * _SPAN, *3 * (c_int32,), c_int64, c_uint64, c_bool, c_void_p
)
_examples_free = _plain(None, "examples_free", c_void_p)
_examples_draw = _checked("examples_draw", c_void_p, c_uint32, c_int, c_void_p)
_epoch_free = _plain(None, "epoch_free", c_void_p)
_epoch_count = _plain(c_int64, "epoch_count", c_void_p)
_epoch_pair = _checked("epoch_pair", c_void_p, c_int64, c_void_p)
_epoch_measure = _checked("epoch_measure", c_void_p, c_int64, c_int64, c_void_p)
_epoch_fill = _checked("epoch_fill", c_void_p, c_int64, c_int64, c_void_p, c_int)


class _Handle:
    """An object of the library, freed with this one.

    Args:
        free: what frees it.
        make: a function of the library; its last parameter is where the object's address goes.
        arguments: the others.
    """

    def __init__(self, free: Callable[..., Any], make: Callable[..., Any], *arguments: Any):
        self._as_parameter_ = c_void_p()
        self._lock = threading.RLock()
        make(*arguments, byref(self._as_parameter_))
        # At exit all is left as it is: arrays may still show the object's memory.
        self._free = weakref.finalize(self, free, self._as_parameter_)
        self._free.atexit = False

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """For what changes the object or reads what changes: one thread at a time."""
        with self._lock:
            return function(self, *arguments)

    def close(self) -> None:
        """Free it now; nothing may be asked of it any more."""
        with self._lock:
            self._free()

    def __reduce__(self):
        raise TypeError(f"cannot pickle or copy a {type(self).__name__}")


class _Memory:
    """Memory of the library, for numpy to look at."""

    def __init__(self, address: int | None, typestr: str, *shape: int):
        self.__array_interface__ = {
            "data": (address, False),
            "typestr": typestr,
            "shape": shape,
            "version": 3,
        }


def _bytes_of(block: c_void_p | int | None) -> np.ndarray:
    return np.asarray(_Memory(_block_data(block), "|u1", _block_size(block)))


def _take(block: c_void_p | int | None) -> bytes:
    """The content of a result, which is freed."""
    try:
        return string_at(_block_data(block), _block_size(block))
    finally:
        _block_free(block)


def _span(buffer: _Buffer) -> tuple[Any, int]:
    """Where the bytes are, as an object that keeps them there, and how many."""
    view = np.frombuffer(buffer, np.uint8)
    return view.ctypes, view.size


def _array(buffer: _Buffer) -> np.ndarray:
    return buffer if isinstance(buffer, np.ndarray) else np.asarray(memoryview(buffer))


def _whole(name: str, value: int, least: int, most: int = 2**63 - 1) -> int:
    value = operator.index(value)
    if not least <= value <= most:
        bound = f">= {least}" if value < least else f"<= {most}"
        raise ValueError(f"{name} must be {bound}, got {value}")
    return value


def _threads(threads: int) -> int:
    return _whole("threads", threads, 1, 2**31 - 1)


# -- words ---------------------------------------------------------------------------------------

_PIECE_BYTES = 1 << 16  # decoded at a time


def _framed(sentences: Sequence[Sequence[str]]) -> np.ndarray:
    """Each word followed by 0xFF, each sentence by 0xFE, as csrc/text/corpus.h wants them.

    Raises:
        TypeError: A word is no str. UnicodeEncodeError: It holds a lone surrogate.
    """
    try:
        # All in one go, with characters for those bytes that words hardly ever hold.
        block = "\0\n".join([*map("\0".join, sentences), ""]).encode()
        framed, seen = np.empty(len(block), np.uint8), (c_int64 * 2)()
        _frame(*_span(block), framed.ctypes, seen)
        if seen[:] == [sum([len(words) or 1 for words in sentences]), len(sentences)]:
            return framed
    except (TypeError, UnicodeEncodeError):
        pass  # raised again below, for the word at fault
    parts = []
    for words in sentences:
        for word in words:
            if not isinstance(word, str):
                kind = type(word).__name__
                raise TypeError(f"a sentence must be a list of str, got an element of type {kind}")
            parts += [word.encode(), b"\xff"]
        parts.append(b"\xfe")
    return np.frombuffer(b"".join(parts), np.uint8)


def word_lists(sentences: Iterable[Iterable[str]]) -> list[Sequence[str]]:
    """Sentences as sequences; their words are not looked at.

    Raises:
        TypeError: One is no iterable, or a str.
    """
    lists: list[Sequence[str]] = []
    for sentence in sentences:
        if isinstance(sentence, (list, tuple)):
            lists.append(sentence)
            continue
        if isinstance(sentence, str) or not isinstance(sentence, Iterable):
            raise TypeError(
                f"a sentence must be a list of str, got {type(sentence).__name__} "
                "(split lines into words first)"
            )
        lists.append(list(sentence))
    return lists


def _pieces(block: np.ndarray, separator: bytes) -> Iterator[bytes]:
    """A block of words, each followed by the separator, in pieces that end before one."""
    begin, width = 0, _PIECE_BYTES
    while begin < block.size:
        piece = block[begin : begin + width].tobytes()
        end = piece.rfind(separator)
        if end < 0:
            width *= 2
            continue
        yield piece[:end]
        begin, width = begin + end + 1, _PIECE_BYTES


def _words_with(give: Callable[..., Any], numbers: int) -> tuple[list[str], list[bytes]]:
    """Words of the library, and so many arrays of numbers that come with them.

    Args:
        give: called with the separator that is to follow each word, and where the results' blocks
            go; 8 bytes of the first array are a word's.
    """
    # Words of a framed document may hold a line feed; no word holds the byte 0xFF.
    for separator, errors in ((b"\n", "strict"), (b"\xff", "surrogateescape")):
        block, *others = (c_void_p() for _ in range(1 + numbers))
        give(separator, byref(block), *map(byref, others))
        arrays = [_take(other) for other in others]
        words: list[str] = []
        try:
            for piece in _pieces(_bytes_of(block), separator):
                words += piece.decode(errors=errors).split(separator.decode(errors=errors))
        finally:
            _block_free(block)
        if len(words) == len(arrays[0]) // 8:
            break
    return words, arrays


# -- corpora -------------------------------------------------------------------------------------

_POLICIES = ("replace", "strict", "skip")  # by the numbers of BadUtf8


def _options(
    threads: int, chunk_bytes: int, errors: str, lowercase: Sequence[int]
) -> tuple[int, int, int, Any, int]:
    if errors not in _POLICIES:
        raise ValueError(f"errors must be 'replace', 'strict' or 'skip', got {errors!r}")
    table = np.frombuffer(array.array("I", lowercase or [0]), np.uint32)[: len(lowercase)]
    return (
        _threads(threads),
        _whole("chunk_bytes", chunk_bytes, 1),
        _POLICIES.index(errors),
        table.ctypes,
        table.size,
    )


class _Reader(_Handle):
    """What documents are fed to, in order."""

    def begin_document(self, name: str, framed: bool = False) -> None:
        """Start a document, of text or `framed` (for `feed_sentences`); `name` is for messages."""
        self._call(_reader_begin, *_span(name.encode()), framed)

    def feed(self, bytes: _Buffer) -> None:
        """Take the next bytes of the document. Waits while the threads are behind."""
        self._call(_reader_feed, *_span(bytes))

    def feed_sentences(self, sentences: Iterable[Iterable[str]]) -> None:
        """Lists of str, into a document begun with framed=True."""
        self._call(_reader_feed, *_span(_framed(word_lists(sentences))))

    def end_document(self) -> None:
        self._call(_reader_end)

    def finish(self) -> None:
        """Wait for the threads; nothing more may be fed."""
        self._call(_reader_finish)

    @property
    def tokens(self) -> int:
        return self._call(_reader_tokens)


class WordCounter(_Reader):
    """Counts the words of documents fed in order."""

    def __init__(self, *, threads: int, chunk_bytes: int, errors: str, lowercase: Sequence[int]):
        options = _options(threads, chunk_bytes, errors, lowercase)
        super().__init__(_reader_free, _counter_new, *options)

    @property
    def types(self) -> int:
        return self._call(_counter_types)

    @property
    def largest_count(self) -> int:
        return self._call(_counter_largest)

    def words(self, min_count: int, max_words: int) -> tuple[list[str], bytes]:
        """(list of str, their counts as the bytes of an int64 array), by descending count."""
        limits = _whole("min_count", min_count, 0), _whole("max_words", max_words, 0)
        words, (counts,) = _words_with(partial(self._call, _counter_words, *limits), 1)
        return words, counts


class CorpusEncoder(_Reader):
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
            _reader_free,
            _encoder_new,
            *_span(_framed([words])),
            len(words),
            _whole("max_sentence_length", max_sentence_length, 1),
            os.fsencode(tokens_path),
            os.fsencode(offsets_path),
            *_options(threads, chunk_bytes, errors, lowercase),
        )

    @property
    def sentences(self) -> int:
        return self._call(_encoder_sentences)

    @property
    def unknown(self) -> int:
        return self._call(_encoder_unknown)


# -- byte pair encoding ---------------------------------------------------------------------------


def _packed(strings: Iterable[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of strings, uint8, and where each begins, int64 [n + 1]."""
    strings = list(strings)
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(string) for string in strings], out=offsets[1:])
    return np.frombuffer(b"".join(strings), np.uint8), offsets


class PartCounter(WordCounter):
    """Counts what GPT-2's pattern finds in the lines of text documents, or in framed words."""

    def __init__(self, *, threads: int, chunk_bytes: int, errors: str, lowercase: Sequence[int]):
        options = _options(threads, chunk_bytes, errors, lowercase)
        _Reader.__init__(self, _reader_free, _part_counter_new, *options)

    def feed_texts(self, texts: Iterable[str | bytes]) -> None:
        """Texts of which each falls apart by itself, into a document begun with framed=True."""
        encoded = [text.encode() if isinstance(text, str) else text for text in texts]
        self.feed(b"\xff".join([*encoded, b""]))


class BpeTrainer(_Handle):
    """Learns merges from the words of a counter that is finished, or from words with counts.

    Args: see csrc/text/bpe_train.h.
    """

    TIES = ("first", "smallest_ids", "lexical", "lexical_last")  # by the numbers of TieRule

    def __init__(
        self,
        *,
        bytes: bool,
        vocab_size: int,
        max_merges: int,
        min_frequency: int,
        ties: str,
        max_token_length: int,
        limit_alphabet: int,
        marks: Sequence[bytes],
        special: Sequence[bytes],
        alphabet: Sequence[bytes],
        words: WordCounter | tuple[Sequence[bytes], Sequence[int]],
    ):
        numbers = np.array(
            [
                vocab_size,
                max_merges,
                min_frequency,
                self.TIES.index(ties),
                max_token_length,
                limit_alphabet,
            ],
            np.int64,
        )
        texts, places = _packed([*marks, *special, *alphabet])
        reader = words if isinstance(words, WordCounter) else None
        listed, counted = ([], []) if isinstance(words, WordCounter) else words
        block, offsets = _packed(listed)
        counts = np.asarray(counted, np.int64)
        super().__init__(
            _bpe_trainer_free,
            _bpe_trainer_new,
            bytes,
            numbers.ctypes,
            texts.ctypes,
            places.ctypes,
            len(special),
            len(alphabet),
            reader,
            block.ctypes,
            offsets.ctypes,
            counts.ctypes,
            len(listed),
        )

    def step(self, merges: int) -> bool:
        """Make at most so many more; whether there may be more to make."""
        more = c_bool()
        self._call(_bpe_trainer_step, merges, byref(more))
        return more.value

    @property
    def size(self) -> int:
        """Symbols so far."""
        return self._call(_bpe_trainer_symbols)

    def result(self) -> tuple[list[bytes], np.ndarray, np.ndarray]:
        """The symbols, merges as int32 [M, 3] of two symbols and what they become, and counts."""
        blocks = [c_void_p() for _ in range(4)]
        self._call(_bpe_trainer_result, *map(byref, blocks))
        text, *others = map(_take, blocks)
        sizes, merges, counts = (
            np.frombuffer(other, kind)
            for other, kind in zip(others, (np.int64, np.int32, np.int64), strict=True)
        )
        ends = np.cumsum(sizes).tolist()
        symbols = [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        return symbols, merges.reshape(-1, 3), counts


class BpeEncoder(_Handle):
    """Texts as ids and back; see csrc/text/bpe_encode.h. Any number of threads may call it."""

    def __init__(
        self,
        *,
        flags: Sequence[bool],
        unknown: int,
        marks: Sequence[bytes],
        tokens: Sequence[bytes],
        merges: np.ndarray,
        special: Sequence[int],
    ):
        texts, offsets = _packed([*marks, *tokens])
        triples = np.ascontiguousarray(merges, np.int32)
        special_ids = np.asarray(special, np.int32)
        super().__init__(
            _bpe_free,
            _bpe_new,
            np.asarray(flags, np.bool_).ctypes,
            unknown,
            texts.ctypes,
            offsets.ctypes,
            len(tokens),
            triples.ctypes,
            len(triples),
            special_ids.ctypes,
            len(special_ids),
        )
        self._most = 1 + sum(map(len, marks[1:])) if flags[1] else 1
        self._size = len(tokens)
        # As objects, where they are, and zeros.
        self._numbers: tuple[list[int], np.ndarray, np.ndarray] | None = None

    def encode(
        self,
        text: str | _Buffer,
        offsets: np.ndarray | None = None,
        *,
        threads: int,
        dropout: float = 0.0,
        seed: int = 0,
        special: bool = True,
        spans: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The ids of texts that lie one behind the other (without offsets: of one), int32; where
        each text's begin, int64; and with `spans` the bytes of its text that each id is for,
        int64 [n, 2]."""
        address: Any
        if isinstance(text, str):
            length = c_ssize_t()
            address = _utf8(text, byref(length))
            size = length.value
        else:
            address, size = _span(text)
        if offsets is None:
            offsets = np.array([0, size], np.int64)
        room = 2 * self._most * size + 16 * (threads + 1)
        ids, ends = np.empty(room, np.int32), np.empty(len(offsets), np.int64)
        places = np.empty((room, 2), np.int64) if spans else None
        _bpe_encode(
            self,
            address,
            offsets.ctypes,
            len(offsets) - 1,
            threads,
            dropout,
            seed,
            special,
            ids.ctypes,
            ends.ctypes,
            places.ctypes if places is not None else None,
        )
        ids.resize(int(ends[-1]), refcheck=False)
        if places is not None:
            places.resize((int(ends[-1]), 2), refcheck=False)
        return ids, ends, places

    def listed(self, ids: np.ndarray) -> list[int]:
        """Int32 ids as a list, whose numbers are the same objects again and again."""
        if ids.size < self._size or not _LISTS_ARE_KNOWN:
            return ids.tolist()
        if self._numbers is None:
            numbers = list(range(self._size))
            places = np.fromiter(map(id, numbers), np.uintp)
            self._numbers = numbers, places, np.zeros(self._size, np.uint32)
        _, places, counts = self._numbers
        made = _new_list(ids.size)
        _fill_list(
            _items(made),
            ids.ctypes.data,
            ids.size,
            places.ctypes.data,
            counts.ctypes.data,
            self._size,
            _NARROW_COUNTS,
        )
        return made

    def decode(self, ids: np.ndarray, skip_special: bool) -> bytes:
        """The bytes of int32 ids. IndexError: one is none of a token."""
        block = c_void_p()
        _bpe_decode(self, ids.ctypes, ids.size, skip_special, byref(block))
        return _take(block)


# -- phrases -------------------------------------------------------------------------------------

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


class PhraseTable(_Handle):
    """Texts and their values, which are counts or scores.

    Args:
        delimiter: between the words of a text, not empty.
        connectors: words that neither begin nor end a phrase.
    """

    def __init__(self, delimiter: str, connectors: Sequence[str] = ()):
        super().__init__(
            _phrases_free,
            _phrases_new,
            *_span(delimiter.encode()),
            *_span(_framed([connectors])),
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
        self._change(_phrases_add, *_span(_framed([texts])), len(texts), values.ctypes)

    def count(self, text: str) -> int:
        """How often it was counted; 0 for one that is not there."""
        found = c_uint64()
        self._call(_phrases_value, *_span(text.encode()), byref(found))
        return found.value

    def counts(self) -> tuple[list[str], np.ndarray]:
        """All texts in the order of their first appearance, and their counts, int64 [n]."""
        texts, (counts,) = _words_with(partial(self._call, _phrases_texts), 1)
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
        texts, (scores, counts) = _words_with(give, 2)
        return texts, np.frombuffer(scores), np.frombuffer(counts, np.int64).reshape(-1, 3)

    def match(
        self, sentences: Sequence[Sequence[str]], scoring: Scoring
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Where phrases are: int32 [n, 3] of sentence, first word and behind the last; the scores.

        Empty words are no words; the third result says how many there were, of which one may be an
        empty sentence's.
        """
        spans, scores, empty = c_void_p(), c_void_p(), c_int64()
        block = _framed(sentences)
        results = byref(spans), byref(scores), byref(empty)
        self._call(_phrases_match, *scoring.native, *_span(block), *results)
        places, numbers = np.frombuffer(_take(spans), np.int32), np.frombuffer(_take(scores))
        return places.reshape(-1, 3), numbers, empty.value


def _free_before(table: PhraseTable, reader: Any) -> None:
    """Frees a reader, whose threads may be busy with the table; this keeps the table until then."""
    _reader_free(reader)


class PhraseCounter(_Reader):
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
        options = _options(threads, chunk_bytes, errors, lowercase)
        limit = _whole("max_vocab_size", max_texts, 1)
        free = partial(_free_before, table)
        super().__init__(free, _phrase_counter_new, table, limit, *options)

    @property
    def least(self) -> int:
        """What the next pruning would leave out has come less often."""
        return self._call(_phrase_counter_least)


class PhraseJoiner(_Reader):
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
        options = _options(threads, chunk_bytes, errors, lowercase)
        free = partial(_free_before, table)
        super().__init__(free, _phrase_joiner_new, table, *scoring.native, *options)

    def feed(self, bytes: _Buffer) -> None:
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
        if text := _take(block):
            self._write(text)

    def phrases(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Those that were joined, in order; their scores, float64 [n], and how often, int64 [n]."""
        texts, (scores, counts) = _words_with(partial(self._call, _phrase_joiner_phrases), 2)
        return texts, np.frombuffer(scores), np.frombuffer(counts, np.int64)


# -- trees ---------------------------------------------------------------------------------------


def huffman_tree(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Where each word's path begins, int64 [V + 1], all paths, int32 [P], and the longest's length.

    Args:
        counts: contiguous int64 [V], not rising; see csrc/text/huffman.h.

    Raises:
        ValueError: counts of which no tree is made.
    """
    words, longest = counts.size, c_int64()
    links, offsets = np.empty(max(2 * words - 1, 0), np.int32), np.empty(words + 1, np.int64)
    _huffman_links(counts.ctypes, words, links.ctypes, offsets.ctypes, byref(longest))
    nodes = np.empty(offsets[-1], np.int32)
    _huffman_paths(words, links.ctypes, offsets.ctypes, nodes.ctypes)
    return offsets, nodes, longest.value


# -- n-grams -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class WordBytes:
    """Words as bytes, one behind the other: word i is ``data[offsets[i]:offsets[i + 1]]``.

    Attributes:
        data: uint8 [B].
        offsets: int64 [V + 1], from 0 on, not descending, the last one B.
    """

    data: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        data, offsets = self.data, self.offsets
        if not data.flags.c_contiguous or not offsets.flags.c_contiguous:
            raise ValueError("WordBytes: data and offsets must be contiguous")
        if (data.dtype, offsets.dtype) != (np.uint8, np.int64) or not offsets.size:
            raise ValueError("WordBytes: data must be uint8 [B], offsets int64 [V + 1]")
        if offsets[0] or offsets[-1] != data.size or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("WordBytes: offsets must go from 0 to B, not descending")

    @classmethod
    def of(cls, words: Iterable[bytes]) -> WordBytes:
        words = list(words)
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, words), np.int64, len(words)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(words), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, word: int) -> bytes:
        return self.data[self.offsets[word] : self.offsets[word + 1]].tobytes()

    def decoded(self, encoding: str, errors: str = "strict") -> list[str | None]:
        """The words as str; None for one not in the encoding when errors is "skip".

        Args:
            errors: "strict", "skip", or what ``bytes.decode`` takes.

        Raises:
            UnicodeDecodeError: Naming the row of a word that is not in it, if errors is "strict".
        """
        data = self.data.tobytes()
        spans = pairwise(self.offsets.tolist())
        if data.isascii() and encoding in ("utf-8", "ascii", "latin-1"):
            text = data.decode("ascii")
            return [text[begin:end] for begin, end in spans]
        return [
            _decoded(data[begin:end], row, errors, encoding)
            for row, (begin, end) in enumerate(spans, 1)
        ]

    def part(self, begin: int, end: int) -> WordBytes:
        """Words begin .. end, a copy."""
        offsets = self.offsets[begin : end + 1]
        return WordBytes(self.data[offsets[0] : offsets[-1]].copy(), offsets - offsets[0])

    @property
    def native(self) -> tuple[Any, Any, int]:
        """As the library takes them."""
        return self.data.ctypes, self.offsets.ctypes, len(self)

    def take(self, order: np.ndarray) -> WordBytes:
        """Those of these numbers, in their order."""
        sizes = np.diff(self.offsets)[order]
        offsets = np.zeros(len(order) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        places = np.repeat(self.offsets[:-1][order] - offsets[:-1], sizes)
        places += np.arange(offsets[-1])
        return WordBytes(self.data[places], offsets)


def ngram_hash(ngram: bytes) -> int:
    """Its hash, 32 bits; see csrc/text/subwords.h."""
    return _ngram_hash(ngram, len(ngram))


def ngrams(wrapped: bytes, min_n: int, max_n: int) -> list[bytes]:
    """The n-grams of a wrapped word, in order; see csrc/text/subwords.h."""
    spans = c_void_p()
    _ngram_spans(wrapped, len(wrapped), min_n, max_n, byref(spans))
    ends = memoryview(_take(spans)).cast("q").tolist()
    return [wrapped[begin:end] for begin, end in zip(ends[::2], ends[1::2], strict=True)]


SUBWORD_KINDS = ("every", "held", "pruned", "explicit")  # by the numbers of SubwordRows::Kind


class SubwordRows(_Handle):
    """Which n-grams have rows, and which rows; see csrc/text/subwords.h.

    What changes it is for those who make it: readers of it take no lock.
    """

    def __init__(self, kind: str, min_n: int, max_n: int, buckets: int):
        number = SUBWORD_KINDS.index(kind)
        super().__init__(_subwords_free, _subwords_new, number, min_n, max_n, buckets)

    def give(self, buckets: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Contiguous int32 [n]: buckets, and the row of each; by default the next ones."""
        address = None if rows is None else rows.ctypes
        _subwords_give(self, buckets.ctypes, address, buckets.size)

    def give_ngrams(self, ngrams: WordBytes) -> None:
        _subwords_give_ngrams(self, *ngrams.native)

    def grow(self, words: WordBytes, counts: np.ndarray) -> None:
        """Rows for the n-grams of words that have none; counts are contiguous int64 [V]."""
        _subwords_grow(self, *words.native, counts.ctypes)

    def __len__(self) -> int:
        return _subwords_rows(self)

    def buckets(self) -> np.ndarray:
        """int32 [n], the bucket of each row."""
        block = c_void_p()
        _subwords_buckets(self, byref(block))
        return np.frombuffer(_take(block), np.int32)

    def ngrams(self) -> WordBytes:
        """The n-gram of each row."""
        data, offsets = c_void_p(), c_void_p()
        _subwords_ngrams(self, byref(data), byref(offsets))
        return WordBytes(
            np.frombuffer(_take(data), np.uint8), np.frombuffer(_take(offsets), np.int64)
        )

    def of_word(self, word: bytes) -> np.ndarray:
        """The rows of one word, int32."""
        rows = c_void_p()
        _subwords_word(self, word, len(word), byref(rows))
        return np.frombuffer(_take(rows), np.int32)

    def rows(
        self, words: WordBytes, *, own: bool, first: int, zeros_allowed: bool, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the rows of each word begin, int64 [V + 1], and the rows of all, int32.

        Args:
            own: whether a word's number comes first.
            first: what is added to the others, but to -1, which means zeros.
            zeros_allowed: ValueError otherwise.
        """
        offsets = np.empty(len(words) + 1, np.int64)
        threads = _threads(threads)
        _subwords_measure(self, *words.native, own, threads, offsets.ctypes)
        rows = np.empty(offsets[-1], np.int32)
        _subwords_fill(
            self,
            *words.native,
            offsets.ctypes,
            own,
            first,
            zeros_allowed,
            threads,
            rows.ctypes,
        )
        return offsets, rows


# -- text with labels ----------------------------------------------------------------------------


class LabelledEncoder(_Reader):
    """Writes the words and labels of documents as numbers; see csrc/text/labelled.h.

    Args:
        prefix: of labels.
        known: words and labels that have the first numbers.
        paths: of the files of words, word ends, labels and label ends.
    """

    def __init__(
        self,
        *,
        prefix: bytes,
        known: WordBytes,
        paths: Sequence[str | os.PathLike],
        threads: int,
        chunk_bytes: int,
    ):
        super().__init__(
            _reader_free,
            _labelled_new,
            *_span(prefix),
            *known.native,
            (c_char_p * 4)(*map(os.fsencode, paths)),
            _threads(threads),
            _whole("chunk_bytes", chunk_bytes, 1),
        )

    @property
    def lines(self) -> int:
        return self._call(_labelled_lines)

    def types(self) -> tuple[WordBytes, np.ndarray, np.ndarray]:
        """All by number; their counts, int64 [P]; whether each is a label, bool [P]."""
        data, offsets, counts, flags = blocks = [c_void_p() for _ in range(4)]
        self._call(_labelled_types, *map(byref, blocks))
        words = WordBytes(
            np.frombuffer(_take(data), np.uint8), np.frombuffer(_take(offsets), np.int64)
        )
        numbers = np.frombuffer(_take(counts), np.int64)
        return words, numbers, np.frombuffer(_take(flags), np.bool_)


def word_hashes(words: WordBytes) -> np.ndarray:
    """The hash of each, int32 [V], of 32 bits with a sign; see csrc/text/subwords.h."""
    hashes = np.empty(len(words), np.int32)
    _word_hashes(*words.native, hashes.ctypes)
    return hashes


class Lines(NamedTuple):
    """What lines of text are to a model.

    Attributes:
        row_ends: int64 [S + 1]; the input of line s is ``rows[row_ends[s]:row_ends[s + 1]]``.
        rows: int32, of the input matrix.
        label_ends: int64 [S + 1], likewise of labels.
        labels: int32; only those that are known.
        tokens: words and labels, the ends of lines among them.
    """

    row_ends: np.ndarray
    rows: np.ndarray
    label_ends: np.ndarray
    labels: np.ndarray
    tokens: int


class LineFeatures(_Handle):
    """The rows of lines of text; see csrc/text/labelled.h. It never changes.

    Args:
        pruned: the rows of buckets in a pruned model, otherwise None.
    """

    def __init__(
        self,
        words: WordBytes,
        labels: WordBytes,
        prefix: bytes,
        *,
        min_n: int,
        max_n: int,
        word_ngrams: int,
        buckets: int,
        pruned: SubwordRows | None = None,
    ):
        self._borrowed = pruned
        super().__init__(
            _features_free,
            _features_new,
            *words.native,
            *labels.native,
            *_span(prefix),
            min_n,
            max_n,
            word_ngrams,
            buckets,
            pruned,
        )

    def read(self, text: _Buffer, *, whole: bool, threads: int) -> Lines:
        """Those of a text.

        Args:
            whole: what follows a ``</s>`` in a line is left out, not a line of its own.
        """
        blocks, tokens = [c_void_p() for _ in range(4)], c_int64()
        threads = _threads(threads)
        _features_read(self, *_span(text), whole, threads, *map(byref, blocks), byref(tokens))
        arrays = []
        for block, dtype in zip(blocks, 2 * (np.int64, np.int32), strict=True):
            arrays.append(_bytes_of(block).copy().view(dtype))
            _block_free(block)
        row_ends, rows, label_ends, labels = arrays
        return Lines(row_ends, rows, label_ends, labels, tokens.value)


class MatrixRows(Structure):
    """A matrix [N, D] for a `LinePredictor`, which must keep it: of floats, or of codes.

    See csrc/text/line_predictor.h. Floats may lie at any byte, as in a file that is mapped.
    """

    _fields_ = (
        *((name, c_int64) for name in ("rows", "dim", "stride")),
        ("values", c_void_p),
        ("sub_dim", c_int64),
        *((name, c_void_p) for name in ("codes", "centroids", "norm_codes", "norm_centroids")),
    )

    @classmethod
    def of(cls, matrix: np.ndarray) -> MatrixRows:
        """Of numbers, whose rows may be apart; a copy is made of what is not float32."""
        if matrix.dtype != np.float32 or (matrix.size and matrix.strides[1] != 4):
            matrix = np.ascontiguousarray(matrix, np.float32)
        made = cls(*matrix.shape, matrix.strides[0] // 4, matrix.ctypes.data)
        made._arrays = matrix
        return made

    @classmethod
    def of_codes(
        cls,
        codes: np.ndarray,
        centroids: np.ndarray,
        sub_dim: int,
        norm_codes: np.ndarray | None,
        norm_centroids: np.ndarray | None,
    ) -> MatrixRows:
        """Of codes uint8 [N, parts] and [N], and centroids float32 [256 * D] and [256]."""
        arrays = [
            array if array is None else np.ascontiguousarray(array)
            for array in (codes, centroids, norm_codes, norm_centroids)
        ]
        places = [None if array is None else array.ctypes.data for array in arrays]
        made = cls(len(codes), centroids.size // 256, 0, None, sub_dim, *places)
        made._arrays = arrays
        return made


class LinePredictor(_Handle):
    """Labels of lines by a supervised model; see csrc/text/line_predictor.h. It never changes.

    Args:
        input: rows of words and of buckets, as `features` number them.
        output: [L, D], a row for each label, or for each inner node of a tree.
        loss: 0 softmax, 1 sigmoids, 2 a tree, with the paths of its leaves.
        exact: without what the original adds to probabilities, and its table of sigmoids.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        features: LineFeatures,
        input: MatrixRows,
        output: MatrixRows,
        *,
        loss: int,
        tree: tuple[np.ndarray, np.ndarray] | None = None,
        exact: bool = False,
    ):
        self._borrowed = features, input, output
        paths = (None, None) if tree is None else [array.ctypes for array in tree]
        super().__init__(
            *(_predictor_free, _predictor_new, features, byref(input), byref(output)),
            *(loss, *paths, exact),
        )
        self.labels, self.dim = output.rows, input.dim
        self._address = self._as_parameter_.value

    def hidden(self, row_ends: np.ndarray, rows: np.ndarray, threads: int) -> np.ndarray:
        """The means of the rows of lines, float32 [S, D], zeros for a line without any.

        Args:
            row_ends, rows: as of `Lines`.
        """
        found = np.empty((len(row_ends) - 1, self.dim), np.float32)
        _predictor_hidden(
            self, row_ends.ctypes, len(found), rows.ctypes, found.ctypes, _threads(threads)
        )
        return found

    def predict(
        self,
        row_ends: np.ndarray,
        rows: np.ndarray,
        inputs: np.ndarray | None,
        scores: np.ndarray | None,
        k: int,
        threshold: float,
        threads: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Up to k labels of each line, the likeliest first.

        Args:
            row_ends, rows: as of `Lines`.
            inputs: None, or contiguous float32 [S, D], what `hidden` gives.
            scores: None, or contiguous float32 [S, L], of inputs and labels, not of a tree.

        Returns:
            Where those of each line end, int64 [S + 1], the labels, int32, and their
            probabilities, float32.
        """
        blocks = [c_void_p() for _ in range(3)]
        _predictor_predict(
            *(self, row_ends.ctypes, len(row_ends) - 1, rows.ctypes),
            *(None if each is None else each.ctypes for each in (inputs, scores)),
            *(k, threshold, _threads(threads)),
            *map(byref, blocks),
        )
        ends, labels, probabilities = map(_take, blocks)
        return (
            np.frombuffer(ends, np.int64),
            np.frombuffer(labels, np.int32),
            np.frombuffer(probabilities, np.float32),
        )

    def line(self, text: bytes, k: int, threshold: float) -> tuple[list[int], np.ndarray]:
        """Up to k <= L labels of the first line of a text, and float64 probabilities."""
        found = (c_int64 * (1 + 2 * k))()
        if status := _predictor_line(self._address, text, len(text), k, threshold, found):
            _check(status, None, None)
        count = found[0]
        return found[1 : 1 + count], np.frombuffer(memoryview(found), _FLOAT64, count, 8 + 8 * k)

    def line_hidden(self, text: bytes) -> np.ndarray:
        """The mean of the rows of the first line of a text, float32 [D]."""
        found = (c_float * self.dim)()
        _predictor_line_hidden(self._address, text, len(text), found)
        return np.frombuffer(found, _FLOAT32)


class WordIndex(_Handle):
    """Finds words among many, by their bytes.

    Raises:
        ValueError: a word that comes twice.
    """

    def __init__(self, words: WordBytes):
        self.words = words  # borrowed there
        super().__init__(_word_index_free, _word_index_new, *words.native)

    def find(self, word: bytes) -> int:
        """Its number, or -1."""
        return _word_index_find(self, word, len(word))


class WordComposer(_Handle):
    """Vectors of words, known or not; see csrc/text/word_composer.h. It never changes.

    Args:
        index: finds the rows of words, where they are not told.
        subwords: the rows of n-grams, in `ngrams` from row `first` on.
        own: rows of words.
        mean: or the sum.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        index: WordIndex | None,
        subwords: SubwordRows,
        own: MatrixRows,
        ngrams: MatrixRows,
        *,
        first: int = 0,
        mean: bool = True,
    ):
        self._borrowed = index, subwords, own, ngrams
        super().__init__(
            *(_composer_free, _composer_new, index, subwords, byref(own), byref(ngrams)),
            *(first, mean),
        )
        self._room = c_float * own.dim

    def word(self, word: bytes, row: int = -2) -> np.ndarray:
        """The vector of a word, float32 [D]; `row`: its own, -1 for none, -2 to look it up."""
        found = self._room()
        _composer_word(self, word, len(word), row, found)
        return np.frombuffer(found, _FLOAT32)

    def line(self, line: bytes) -> np.ndarray:
        """The mean of the words' vectors at length 1, float32 [D]; they are looked up."""
        found = self._room()
        _composer_line(self, line, len(line), found)
        return np.frombuffer(found, _FLOAT32)


def read_entries(block: np.ndarray, count: int) -> tuple[WordBytes, np.ndarray, int, int]:
    """The dictionary of a fastText model; see csrc/text/word_entries.h.

    Returns:
        The tokens, their counts, int64 [count], how many of them are words, and how many bytes
        they take at the start of the block.

    Raises:
        ValueError: it is damaged.
    """
    sizes = (c_int64 * 2)()
    _entries_measure(block.ctypes, block.size, count, sizes)
    used, size = sizes[:]
    data, offsets = np.empty(size, np.uint8), np.empty(count + 1, np.int64)
    counts = np.empty(count, np.int64)
    words = _entries_split(block.ctypes, used, count, data.ctypes, offsets.ctypes, counts.ctypes)
    return WordBytes(data, offsets), counts, words, used


# -- vector files --------------------------------------------------------------------------------


class VectorRows(_Handle):
    """Rows of a vector file, collected block by block; `dim` stands in its `header` or was counted.

    Once everything was fed, ``np.asarray`` shows them as float32 [rows, dim], without a copy.
    """

    def __init__(
        self,
        *,
        dim: int,
        binary: bool,
        max_rows: int,
        allow_nonfinite: bool,
        threads: int,
        header: bool = False,
    ):
        self._dim = _whole("vector_size", dim, 1)
        self._separator = b" " if binary else b"\n"
        self._shown = False
        super().__init__(
            _rows_free,
            _rows_new,
            self._dim,
            header,
            binary,
            _whole("max_rows", max_rows, 0),
            allow_nonfinite,
            _threads(max(threads, 1)),
        )

    def feed(self, block: bytes, last: bool) -> int:
        """Take the complete rows at the start of `block`; returns the bytes they fill.

        Raises:
            ValueError: "row 3: expected ...". RuntimeError: An array shows the rows, which a block
                more may move.
        """
        consumed = c_int64()
        with self._lock:
            if self._shown:
                raise RuntimeError("VectorRows: no block may be fed after the rows were shown")
            _rows_feed(self, *_span(block), last, byref(consumed))
        return consumed.value

    def __len__(self) -> int:
        return self._call(_rows_count)

    @property
    def full(self) -> bool:
        return self._call(_rows_full)

    def take_words(self, errors: str, encoding: str = "utf-8") -> list[str | None]:
        """The words of all rows; None for a token not in the encoding when errors is "skip".

        Args:
            errors: "strict", "skip", or what ``bytes.decode`` takes.
            encoding: Of the tokens.

        Raises:
            UnicodeDecodeError: Naming the row of a token that is not in it, if errors is "strict".
        """
        with self._lock:
            words: list[str | None] = []
            for piece in _pieces(_bytes_of(_rows_tokens(self)), self._separator):
                try:
                    words += piece.decode(encoding).split(self._separator.decode())
                except UnicodeDecodeError:
                    for token in piece.split(self._separator):
                        words.append(_decoded(token, len(words) + 1, errors, encoding))
            _rows_drop_tokens(self)
        return words

    @property
    def __array_interface__(self) -> dict[str, object]:
        with self._lock:
            self._shown = True
            # Before the first row there is no memory: numpy wants an address all the same.
            address = _rows_values(self) or self._as_parameter_.value
            return _Memory(address, "<f4", len(self), self._dim).__array_interface__


def _decoded(token: bytes, row: int, errors: str, encoding: str) -> str | None:
    try:
        return token.decode(encoding, "strict" if errors == "skip" else errors)
    except UnicodeDecodeError:
        if errors == "skip":
            return None
        raise NotInEncodingError(
            f"row {row}: token {token!r} is not {encoding.upper()}; "
            'encoding= names another, and errors="replace" or "skip" reads on',
            encoding,
            token,
        ) from None


def count_numbers(row: bytes) -> int:
    """How many numbers end this text row, leaving a token in front of them."""
    return _count_numbers(*_span(row))


def ends_in_number(token: str) -> bool:
    """Whether the last of several space-separated parts of this token is a number."""
    return _ends_in_number(*_span(token.encode()))


def _checked_matrix(vectors: _Buffer, rows: int) -> np.ndarray:
    matrix = _array(vectors)
    if matrix.dtype != np.float32 or matrix.ndim != 2 or not matrix.flags.c_contiguous:
        raise ValueError("format_rows: vectors must be contiguous float32 [V, D]")
    if len(matrix) != rows:
        raise ValueError(f"format_rows: vectors must have {rows} rows, got {len(matrix)}")
    return matrix


def format_text_rows(
    words: Sequence[str],
    vectors: _Buffer,
    *,
    separator: str = " ",
    with_words: bool = True,
    threads: int = 1,
) -> list[bytes]:
    """Rows of text in parts, to be written in order; one for each thread."""
    matrix = _checked_matrix(vectors, len(words))
    block = _span(_framed([words])) if with_words else (None, 0)
    parts = (c_void_p * max(1, min(len(words) // 64, threads)))()
    _format_text(*block, matrix.ctypes, *matrix.shape, separator.encode(), parts, len(parts))
    return [_take(part) for part in parts]


def format_binary_rows(words: Sequence[str], vectors: _Buffer) -> bytes:
    """Rows of a word2vec binary file."""
    matrix = _checked_matrix(vectors, len(words))
    made = c_void_p()
    _format_binary(*_span(_framed([words])), matrix.ctypes, *matrix.shape, byref(made))
    return _take(made)


# -- BERT's examples -----------------------------------------------------------------------------


def prediction_count(tokens: int) -> int:
    """Predicted tokens of an example of so many."""
    return _prediction_count(operator.index(tokens))


def _integers(name: str, buffer: _Buffer, dtype: type[np.integer]) -> np.ndarray:
    values = _array(buffer)
    if values.dtype != dtype or values.ndim != 1 or not values.flags.c_contiguous:
        raise TypeError(
            f"BertExamples: {name} must be a contiguous array of "
            f"{8 * np.dtype(dtype).itemsize}-bit integers"
        )
    return values


class BertExamples(_Handle):
    """Draws sentence pairs and masks them; see csrc/text/bert_examples.h."""

    def __init__(
        self,
        *,
        tokens: _Buffer,
        sentences: _Buffer,
        paragraphs: _Buffer,
        ordinary: _Buffer,
        continues: _Buffer,
        mask: int,
        cls: int,
        sep: int,
        max_len: int,
        seed: int,
        static_masks: bool,
    ):
        arrays = [
            _integers("tokens", tokens, np.int32),
            _integers("sentences", sentences, np.int64),
            _integers("paragraphs", paragraphs, np.int64),
            _integers("ordinary", ordinary, np.int32),
            _integers("continues", continues, np.uint8),
        ]
        least, most = -(2**31), 2**31 - 1
        super().__init__(
            _examples_free,
            _examples_new,
            *[part for values in arrays for part in (values.ctypes, values.size)],
            _whole("mask", mask, least, most),
            _whole("cls", cls, least, most),
            _whole("sep", sep, least, most),
            _whole("max_len", max_len, 0),
            _whole("seed", seed, 0, 2**64 - 1),
            static_masks,
        )

    def draw(self, epoch: int, *, threads: int) -> BertEpoch:
        """The examples of an epoch, 0 .. 2^32 - 1."""
        return BertEpoch(self, _whole("epoch", epoch, 0, 2**32 - 1), _threads(threads))


class BertEpoch(_Handle):
    """The examples of one epoch, in order; made by `BertExamples.draw`."""

    def __init__(self, examples: BertExamples, epoch: int, threads: int):
        self._examples = examples  # the library looks at them
        super().__init__(_epoch_free, _examples_draw, examples, epoch, threads)

    def __len__(self) -> int:
        return _epoch_count(self)

    def pair(self, example: int) -> tuple[int, int]:
        """The numbers of an example's two sentences in the corpus."""
        sentences = (c_int64 * 2)()
        _epoch_pair(self, operator.index(example), sentences)
        return sentences[0], sentences[1]

    def measure(self, first: int, last: int) -> tuple[int, int, int]:
        """Tokens, predictions and longest example of examples first .. last - 1."""
        size = (c_int64 * 3)()
        _epoch_measure(self, operator.index(first), operator.index(last), size)
        return size[0], size[1], size[2]

    def fill(
        self,
        first: int,
        last: int,
        tokens: _Buffer,
        segments: _Buffer,
        positions: _Buffer,
        cu_seqlens: _Buffer,
        prediction_index: _Buffer,
        labels: _Buffer,
        next_labels: _Buffer,
        *,
        threads: int,
    ) -> None:
        """Writes examples first .. last - 1 into arrays of the right sizes."""
        total, predictions, _ = self.measure(first, last)

        def target(
            name: str, buffer: _Buffer, dtype: type[np.signedinteger], size: int
        ) -> np.ndarray:
            values = _integers(name, buffer, dtype)
            if values.size != size:
                raise ValueError(f"BertEpoch: {name} must hold {size} elements, got {values.size}")
            if not values.flags.writeable:
                raise ValueError(f"BertEpoch: {name} must be writable")
            return values

        targets = [
            target("tokens", tokens, np.int32, total),
            target("segments", segments, np.int32, total),
            target("positions", positions, np.int32, total),
            target("cu_seqlens", cu_seqlens, np.int32, last - first + 1),
            target("prediction_index", prediction_index, np.int64, predictions),
            target("labels", labels, np.int64, predictions),
            target("next_labels", next_labels, np.int64, last - first),
        ]
        batch = (c_void_p * len(targets))(*[values.ctypes.data for values in targets])
        _epoch_fill(self, first, last, batch, _threads(threads))
