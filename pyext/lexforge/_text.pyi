"""Types of the extension module made of csrc/text."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from typing_extensions import Buffer

_Buffer: TypeAlias = Buffer | np.ndarray  # numpy says that it is one from Python 3.12 on

class _Reader:
    def begin_document(self, name: str, framed: bool = False) -> None: ...
    def feed(self, bytes: _Buffer) -> None: ...
    def feed_sentences(self, sentences: Iterable[Iterable[str]]) -> None: ...
    def end_document(self) -> None: ...
    def finish(self) -> None: ...
    @property
    def tokens(self) -> int: ...

class WordCounter(_Reader):
    def __init__(
        self, *, threads: int, chunk_bytes: int, errors: str, lowercase: Sequence[int]
    ) -> None: ...
    @property
    def types(self) -> int: ...
    @property
    def largest_count(self) -> int: ...
    def words(self, min_count: int, max_words: int) -> tuple[list[str], bytes]: ...

class CorpusEncoder(_Reader):
    def __init__(
        self,
        *,
        words: list[str],
        max_sentence_length: int,
        tokens_path: bytes,
        offsets_path: bytes,
        threads: int,
        chunk_bytes: int,
        errors: str,
        lowercase: Sequence[int],
    ) -> None: ...
    @property
    def sentences(self) -> int: ...
    @property
    def unknown(self) -> int: ...

class VectorRows:
    def __init__(
        self, *, dim: int, binary: bool, max_rows: int, allow_nonfinite: bool, threads: int
    ) -> None: ...
    def feed(self, block: bytes, last: bool) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    @property
    def full(self) -> bool: ...
    def take_words(self, errors: str) -> list[str | None]: ...

def count_numbers(row: bytes) -> int: ...
def ends_in_number(token: str) -> bool: ...
def format_text_rows(
    words: Sequence[str],
    vectors: _Buffer,
    *,
    separator: str = " ",
    with_words: bool = True,
    threads: int = 1,
) -> list[bytes]: ...
def format_binary_rows(words: Sequence[str], vectors: _Buffer) -> bytes: ...
def prediction_count(tokens: int) -> int: ...

class BertExamples:
    def __init__(
        self,
        *,
        tokens: _Buffer,
        sentences: _Buffer,
        paragraphs: _Buffer,
        ordinary: _Buffer,
        mask: int,
        cls: int,
        sep: int,
        max_len: int,
        seed: int,
        static_masks: bool,
    ) -> None: ...
    def draw(self, epoch: int, *, threads: int) -> BertEpoch: ...

class BertEpoch:
    def __len__(self) -> int: ...
    def pair(self, example: int) -> tuple[int, int]: ...
    def measure(self, first: int, last: int) -> tuple[int, int, int]: ...
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
    ) -> None: ...
