"""What models and training ask of a tokenizer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np


class Encoder(Protocol):
    """What encoding texts asks of a tokenizer; attributes as of :class:`Tokenizer`."""

    @property
    def tokens(self) -> Sequence[str]: ...
    @property
    def unk_id(self) -> int: ...
    @property
    def cls_id(self) -> int: ...
    @property
    def sep_id(self) -> int: ...

    def __len__(self) -> int:
        """V."""

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's tokens: ordinary ones and that of the unknown token."""

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens, special ones included."""

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of numbers."""


class Tokenizer(Encoder, Protocol):
    """What models and training ask of a tokenizer.

    Attributes:
        tokens: list of str [V], in the order of their numbers.
        unk_id, pad_id, mask_id, cls_id, sep_id: numbers of the special tokens; `unk_id` is -1
            where every text has tokens.
        ordinary_ids: int32 [n], ascending; the tokens that text consists of, all but special ones.
    """

    @property
    def pad_id(self) -> int: ...
    @property
    def mask_id(self) -> int: ...
    @property
    def ordinary_ids(self) -> np.ndarray: ...

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text, also such as have no number."""

    def save(self, folder: str | os.PathLike) -> None:
        """Writes what the class's ``load(folder)`` reads."""


def encode_corpus(tokenizer: Encoder, texts: Sequence[str]) -> list[Sequence[int]]:
    """The numbers of many texts: those of ``encode``, or of the tokenizer's faster way."""
    faster = getattr(tokenizer, "encode_corpus", None)
    return [tokenizer.encode(text) for text in texts] if faster is None else faster(texts)
