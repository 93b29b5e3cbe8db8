"""A tokenizer whose tokens are characters."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lexforge._display import printable
from lexforge._files import part, replacing
from lexforge.text.lines import numbered_words, read_json
from lexforge.text.tokenizers.words import CLASS_KEY

_NAMED = 10  # characters that a message lists


class CharacterTokenizer:
    """Characters, each a token; there are no special ones.

    Args:
        tokens: distinct characters, in the order of their numbers.

    Attributes:
        index: dict from character to number.
        tokens, ordinary_ids: see `Tokenizer`. unk_id, pad_id, mask_id, cls_id, sep_id: -1.

    Raises:
        ValueError: a token that is no single character, or comes twice.

    Example:
        >>> tokenizer = CharacterTokenizer.build("to be or not to be")
        >>> tokenizer.decode(tokenizer.encode("brent"))
        'brent'
    """

    unk_id = pad_id = mask_id = cls_id = sep_id = -1

    def __init__(self, tokens: Iterable[str]):
        self.tokens = list(tokens)
        self.index = {token: number for number, token in enumerate(self.tokens)}
        if wrong := [token for token in self.tokens if len(token) != 1]:
            raise ValueError(f"CharacterTokenizer: tokens must be characters, got {wrong[0]!r}")
        if len(self.index) != len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self.index[t] != i)
            raise ValueError(f"CharacterTokenizer: tokens must be distinct, got {twice!r} twice")
        self.ordinary_ids = np.arange(len(self.tokens), dtype=np.int32)
        points = np.array([ord(token) for token in self.tokens], np.uint32)
        self._order = np.argsort(points)
        self._points = points[self._order]

    @classmethod
    def build(cls, text: str) -> CharacterTokenizer:
        """The characters of a text, ascending.

        Raises:
            ValueError: there are none.
        """
        if not text:
            raise ValueError("CharacterTokenizer.build: text must have characters, got none")
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"CharacterTokenizer({len(self):,} characters)"

    def encode_array(self, text: str) -> np.ndarray:
        """The numbers of a text's characters, int32 [n].

        Raises:
            ValueError: characters that are not in the vocabulary, named.
        """
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        if not len(self):
            found, known = np.zeros(len(points), np.int64), np.zeros(len(points), bool)
        else:
            found = np.searchsorted(self._points, points).clip(max=len(self) - 1)
            known = self._points[found] == points
        if not known.all():
            wrong = list(dict.fromkeys(map(chr, points[~known].tolist())))
            shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in wrong[:_NAMED])
            rest = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise ValueError(
                f"characters must be of the {len(self)} in the vocabulary, got "
                f"{printable(shown)}{rest}"
            )
        return self._order[found].astype(np.int32)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's characters.

        Raises:
            ValueError: characters that are not in the vocabulary, named.
        """
        return self.encode_array(text).tolist()

    def tokenize(self, text: str) -> list[str]:
        """The characters of a text."""
        return list(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of numbers.

        Raises:
            IndexError: a number is not in 0..V-1.
        """
        return "".join(self.convert_ids_to_tokens(ids))

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of characters; -1 for unknown ones."""
        return [self.index.get(token, -1) for token in tokens]

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The characters of numbers.

        Raises:
            IndexError: a number is not in 0..V-1.
        """
        ids = [int(number) for number in ids]
        for number in ids:
            if not 0 <= number < len(self):
                raise IndexError(f"ids must be in 0..{len(self) - 1}, got {number}")
        return [self.tokens[number] for number in ids]

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.json and tokenizer_config.json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "vocab.json") as file:
            file.write(json.dumps(self.tokens).encode())
        with replacing(folder / "tokenizer_config.json") as file:
            file.write(json.dumps({CLASS_KEY: type(self).__name__}, indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> CharacterTokenizer:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no vocabulary. ValueError: it is damaged.
        """
        path = part(folder, "vocab.json")
        try:
            return cls(numbered_words(read_json(path, list), path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
