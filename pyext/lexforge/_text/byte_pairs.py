"""Byte pair encoding: counting, learning merges, ids of texts and back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from ctypes import (
    POINTER,
    PyDLL,
    byref,
    c_bool,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_ssize_t,
    c_uint32,
    c_uint64,
    c_void_p,
    cast,
    py_object,
    pythonapi,
    sizeof,
)
from typing import Any

import numpy as np

from lexforge._text.library import SPAN, Buffer, Handle, checked, native, plain, span, take
from lexforge._text.readers import READER, Reader, WordCounter, reader_free, reader_options
from lexforge._text.words import packed

_part_counter_new = checked("part_counter_new", *READER, c_void_p)
_bpe_trainer_new = checked(
    "bpe_trainer_new",
    c_bool,
    c_void_p,
    *2 * (c_void_p,),
    *2 * (c_int64,),
    *4 * (c_void_p,),
    c_int64,
    c_void_p,
)
_bpe_trainer_free = plain(None, "bpe_trainer_free", c_void_p)
_bpe_trainer_step = checked("bpe_trainer_step", c_void_p, c_int64, c_void_p)
_bpe_trainer_symbols = plain(c_int64, "bpe_trainer_symbols", c_void_p)
_bpe_trainer_result = checked("bpe_trainer_result", *5 * (c_void_p,))
_bpe_new = checked("bpe_new", c_void_p, c_int32, *2 * (c_void_p,), c_int64, *2 * SPAN, c_void_p)
_bpe_free = plain(None, "bpe_free", c_void_p)
_bpe_encode = checked(
    "bpe_encode",
    *3 * (c_void_p,),
    c_int64,
    c_int,
    c_double,
    c_uint64,
    c_bool,
    *4 * (c_void_p,),
)
_bpe_decode = checked("bpe_decode", c_void_p, *SPAN, c_bool, c_void_p)

# Python's own functions that take no copy: these calls hold its lock.
_utf8 = pythonapi.PyUnicode_AsUTF8AndSize
_utf8.argtypes, _utf8.restype = (py_object, POINTER(c_ssize_t)), c_void_p
_allocate = cast(pythonapi.PyMem_Malloc, c_void_p)
_reallocate = cast(pythonapi.PyMem_Realloc, c_void_p)
_list_room = PyDLL(native._name).lexforge_list_room
_list_room.argtypes, _list_room.restype = (c_void_p, c_int64, c_void_p), c_void_p
_list_filled = PyDLL(native._name).lexforge_list_filled
_list_filled.argtypes = (c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_bool, c_void_p)
_list_filled.restype = None

# What an object begins with is how many references there are; since Python 3.12 in 32 bits.
_NARROW_COUNTS = sys.version_info >= (3, 12)


def _lists_are_known() -> bool:
    """Whether a list and an object are laid out as csrc/text/bpe_c.cpp has it; other Pythons, such
    as those without a lock, may differ."""
    if list.__basicsize__ != 5 * sizeof(c_void_p):
        return False
    probe = [object(), object()]
    _, kind, size, items, room = (c_ssize_t * 5).from_address(id(probe))
    beside = (probe.__sizeof__() - list.__basicsize__) // sizeof(c_void_p)
    if (kind, size, room) != (id(list), len(probe), beside):
        return False
    if list((c_void_p * 2).from_address(items)) != [*map(id, probe)]:
        return False
    references = (c_uint32 if _NARROW_COUNTS else c_int64).from_address(id(probe[0]))
    before = references.value
    more = [probe[0]] * 5
    return references.value == before + len(more)


_LISTS_ARE_KNOWN = _lists_are_known()


def _text_span(text: str | Buffer) -> tuple[Any, int]:
    """Of a text, which is UTF-8 where it is a str; that keeps the bytes."""
    if not isinstance(text, str):
        return span(text)
    length = c_ssize_t()
    return _utf8(text, byref(length)), length.value


class PartCounter(WordCounter):
    """Counts what GPT-2's pattern finds in the lines of text documents, or in framed words."""

    def __init__(self, *, threads: int, chunk_bytes: int, errors: str, lowercase: Sequence[int]):
        options = reader_options(threads, chunk_bytes, errors, lowercase)
        Reader.__init__(self, reader_free, _part_counter_new, *options)

    def feed_texts(self, texts: Iterable[str | bytes]) -> None:
        """Texts of which each falls apart by itself, into a document begun with framed=True."""
        encoded = [text.encode() if isinstance(text, str) else text for text in texts]
        self.feed(b"\xff".join([*encoded, b""]))


class BpeTrainer(Handle):
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
        texts, places = packed([*marks, *special, *alphabet])
        reader = words if isinstance(words, WordCounter) else None
        listed, counted = ([], []) if isinstance(words, WordCounter) else words
        block, offsets = packed(listed)
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
        text, *others = map(take, blocks)
        sizes, merges, counts = (
            np.frombuffer(other, kind)
            for other, kind in zip(others, (np.int64, np.int32, np.int64), strict=True)
        )
        ends = np.cumsum(sizes).tolist()
        symbols = [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        return symbols, merges.reshape(-1, 3), counts


class BpeEncoder(Handle):
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
        texts, offsets = packed([*marks, *tokens])
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
        if not flags[0] or flags[3]:
            self._most *= 2  # the end of a word, or the space before a text
        self._size = len(tokens)
        self._numbers: tuple[list[int], np.ndarray] | None = None  # as objects, and where they are

    def _run(
        self,
        address: Any,
        offsets: np.ndarray,
        threads: int,
        *,
        dropout: float = 0.0,
        seed: int = 0,
        special: bool = True,
        ids: np.ndarray | None = None,
        spans: np.ndarray | None = None,
        objects: np.ndarray | None = None,
    ) -> np.ndarray:
        """Fills what is given, which has `_room`; where each text's begin."""
        ends = np.empty(len(offsets), np.int64)
        given = [None if one is None else one.ctypes for one in (ids, ends, spans, objects)]
        rules = (dropout, seed, special)
        _bpe_encode(self, address, offsets.ctypes, len(offsets) - 1, threads, *rules, *given)
        return ends

    def _room(self, size: int, threads: int) -> int:
        return self._most * size + 16 * (threads + 1)

    def encode(
        self,
        text: str | Buffer,
        offsets: np.ndarray | None = None,
        *,
        threads: int,
        spans: bool = False,
        **rules: Any,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The ids of texts that lie one behind the other (without offsets: of one), int32; where
        each text's begin, int64; and with `spans` the bytes of its text that each id is for,
        int64 [n, 2].

        Args:
            rules: dropout, seed and special.
        """
        address, size = _text_span(text)
        if offsets is None:
            offsets = np.array([0, size], np.int64)
        room = self._room(size, threads)
        ids = np.empty(room, np.int32)
        places = np.empty((room, 2), np.int64) if spans else None
        ends = self._run(address, offsets, threads, **rules, ids=ids, spans=places)
        ids.resize(int(ends[-1]), refcheck=False)
        if places is not None:
            places.resize((int(ends[-1]), 2), refcheck=False)
        return ids, ends, places

    def encode_list(self, text: str | Buffer, *, threads: int, **rules: Any) -> list[int]:
        """The ids of a text as a list, whose numbers are the same objects again and again."""
        address, size = _text_span(text)
        if size < self._size or not _LISTS_ARE_KNOWN:
            return self.encode(text, threads=threads, **rules)[0].tolist()
        if self._numbers is None:
            made = list(range(self._size))
            self._numbers = made, np.fromiter(map(id, made), np.uintp)
        numbers, places = self._numbers  # held, whatever another thread does
        uses = np.zeros(self._size, np.int64)
        made = []
        items = _list_room(id(made), self._room(size, threads), _allocate)
        if items is None:
            raise MemoryError("there is not as much memory as a list of the ids may need")
        objects = np.array([items, places.ctypes.data, uses.ctypes.data], np.uintp)
        offsets = np.array([0, size], np.int64)
        ends = self._run(address, offsets, threads, **rules, objects=objects)
        _list_filled(
            id(made),
            int(ends[-1]),
            places.ctypes.data,
            uses.ctypes.data,
            len(numbers),
            _NARROW_COUNTS,
            _reallocate,
        )
        return made

    def decode(self, ids: np.ndarray, skip_special: bool) -> bytes:
        """The bytes of int32 ids. IndexError: one is none of a token."""
        block = c_void_p()
        _bpe_decode(self, ids.ctypes, ids.size, skip_special, byref(block))
        return take(block)
