"""Tokens and vocabulary, as the text has them."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from lexforge._arguments import whole
from lexforge.text.classification.encoded import EncodedTexts, word_numbers
from lexforge.text.classification.texts import LabelledTexts


def tokenize(lines: Iterable[str], token: str = "word") -> list[list[str]]:
    """Each line split into words (at white space) or characters."""
    if token == "word":
        return [line.split() for line in lines]
    if token == "char":
        return [list(line) for line in lines]
    raise ValueError(f"tokenize: token must be 'word' or 'char', got {token!r}")


def truncate_pad(line: Sequence, num_steps: int, padding_token) -> list:
    """`line` cut, or filled up at the right with `padding_token`, to `num_steps` entries."""
    line = list(line)[:num_steps]
    return line + [padding_token] * (num_steps - len(line))


class Vocab:
    """Tokens and their indices.

    Index 0 is ``<unk>``, then come the reserved tokens, then all tokens of at least `min_freq`
    occurrences by descending count, ties by first appearance.

    Args:
        tokens: list of tokens, or list of lists of them. min_freq: smallest count.
        reserved_tokens: tokens that are in the vocabulary whatever their count.
        order: the tokens after the reserved ones, in this order (``sorted(...)`` for the
            alphabetical order of newer editions); tokens below `min_freq` are left out.
    """

    def __init__(
        self,
        tokens: Sequence = (),
        min_freq: int = 0,
        reserved_tokens: Sequence[str] = (),
        *,
        order: Iterable[str] | None = None,
    ):
        if tokens and isinstance(tokens[0], (list, tuple)):
            tokens = [token for line in tokens for token in line]
        counter = collections.Counter(tokens)
        # most_common sorts stably, and a Counter keeps the order of first appearance.
        self.token_freqs: list[tuple[str, int]] = counter.most_common()
        ranked = [token for token, _ in self.token_freqs] if order is None else order
        first = ["<unk>", *reserved_tokens]
        wanted = (token for token in ranked if counter[token] >= max(min_freq, 1))
        self.idx_to_token: list[str] = list(dict.fromkeys([*first, *wanted]))
        self.token_to_idx = {token: index for index, token in enumerate(self.idx_to_token)}

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __getitem__(self, tokens):
        """The index of a token (that of ``<unk>`` for unknown ones), or a list of them."""
        if isinstance(tokens, (list, tuple)):
            return [self[token] for token in tokens]
        return self.token_to_idx.get(tokens, self.unk)

    def to_tokens(self, indices):
        """The token at an index, or a list of them."""
        if hasattr(indices, "__len__"):
            return [self.idx_to_token[int(index)] for index in indices]
        return self.idx_to_token[indices]

    @property
    def unk(self) -> int:
        """Index of the unknown token."""
        return self.token_to_idx["<unk>"]


def padded_numbers(lines: Sequence[str], vocab: Vocab, num_steps: int) -> Tensor:
    """int64 [N, num_steps]: the indices of each line's words, cut or padded.

    Padded with ``<pad>``, or ``<unk>`` where the vocabulary has none; the same as `truncate_pad` of
    each line, and without lists.
    """
    num_steps = whole("padded_numbers", "num_steps", num_steps)
    numbers = word_numbers(vocab.token_to_idx, vocab.unk)
    encoded = EncodedTexts.by(LabelledTexts(lines), numbers, num_steps)
    lengths = encoded.lengths
    padded = np.full((len(lines), num_steps), vocab["<pad>"], np.int64)
    padded[np.arange(num_steps) < lengths[:, None]] = encoded.tokens
    return torch.from_numpy(padded)
