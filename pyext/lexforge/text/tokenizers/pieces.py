"""Vocabularies of word pieces, whose texts other libraries split."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from lexforge._files import part
from lexforge.text.lines import numbered_words, read_json, read_lines
from lexforge.text.tokenizers.base import Tokenizer
from lexforge.text.tokenizers.words import WordTokenizer


class PieceVocabulary:
    """The tokens of a WordPiece vocabulary and their numbers. It splits no text.

    Args:
        tokens: distinct tokens in the order of their numbers, ``[UNK]``, ``[CLS]`` and ``[SEP]``
            among them.
        source: where they are from, for messages.

    Attributes:
        tokens, unk_id, cls_id, sep_id: see :class:`lexforge.text.tokenizers.base.Tokenizer`.

    Raises:
        ValueError: a special token is missing.
    """

    def __init__(self, tokens: Iterable[str], *, source: str | os.PathLike = "the vocabulary"):
        self.tokens, self.source = list(tokens), source
        self._index = {token: number for number, token in enumerate(self.tokens)}
        special = ("[UNK]", "[CLS]", "[SEP]")
        if missing := [token for token in special if token not in self._index]:
            raise ValueError(f"{source} must hold {', '.join(special)}, and lacks {missing}")
        self.unk_id, self.cls_id, self.sep_id = (self._index[token] for token in special)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> NoReturn:
        """ValueError: whole words are not what the vocabulary is made of."""
        raise ValueError(
            f"{self.source} holds word pieces (##...), and texts are split into whole words only: "
            f"give token ids instead"
        )

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens; that of ``[UNK]`` for unknown ones."""
        return [self._index.get(token, self.unk_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of numbers from 0 to V - 1."""
        return [self.tokens[number] for number in ids]


def load_tokenizer(folder: str | os.PathLike) -> Tokenizer | PieceVocabulary:
    """The tokenizer of a model's folder.

    Returns:
        :class:`PieceVocabulary` if vocab.txt (or tokenizer.json, where there is none) holds word
        pieces, else :class:`lexforge.text.tokenizers.words.WordTokenizer`.

    Raises:
        FileNotFoundError: there is no vocabulary. ValueError: it is damaged.
    """
    folder = Path(folder)
    if (path := part(folder, "vocab.txt")).is_file():
        tokens = read_lines(path)
    elif (path := folder / "tokenizer.json").is_file():
        tokens = _tokens_of_json(path)
    else:
        tokens = []
    if "[CLS]" in tokens or any(token.startswith("##") for token in tokens):
        return PieceVocabulary(tokens, source=path)
    return WordTokenizer.load(folder)


def _tokens_of_json(path: Path) -> list[str]:
    """The tokens of a tokenizer.json by their numbers; none if it is not of word pieces."""
    try:
        model = read_json(path)["model"]
        if model["type"] != "WordPiece":
            return []
        vocabulary = model["vocab"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: is truncated or damaged: {error!r}") from error
    return numbered_words(vocabulary, path)
