"""Texts as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from lexforge._arguments import whole
from lexforge.text.classification.texts import LabelledTexts
from lexforge.text.tokenizers.base import Encoder, encode_corpus
from lexforge.text.vocabulary import Vocabulary

_PIECE = 1024  # texts whose numbers are Python's at a time
Numbers = Callable[[Sequence[str]], Sequence[Sequence[int]]]


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """Texts, or pairs of texts, as the numbers of their tokens; without padding.

    Text n is ``tokens[offsets[n]:offsets[n + 1]]``; an empty one has no tokens.

    Attributes:
        tokens: int32 [T].
        offsets: int64 [N + 1], ascending, from 0 to T.
        second: the second texts of pairs, likewise; None where there are none.
        labels: int64 [N], or None where they are not known.
        names: of the classes, () without labels.
        cut: texts, first and second, that were longer than what was kept of them.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    second: EncodedTexts | None = None
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    cut: int = 0

    @classmethod
    def of(
        cls,
        texts: LabelledTexts,
        tokenizer: Encoder | Vocabulary,
        max_len: int | None = None,
        *,
        lowercase: bool = False,
    ) -> EncodedTexts:
        """Numbers of texts; special tokens are left to the model.

        Args:
            texts: N of them.
            tokenizer: any tokenizer; or a vocabulary, whose words white space separates in a text,
                and whose unknown words are left out.
            max_len: tokens that are kept of each text, of each of a pair; None keeps all.
            lowercase: for a vocabulary: texts are turned to lower case first. Tokenizers know
                themselves what to do.
        """
        if not isinstance(tokenizer, Vocabulary):
            numbers: Numbers = lambda piece: encode_corpus(tokenizer, piece)  # noqa: E731
        else:
            numbers = word_numbers(tokenizer.index, None, lowercase=lowercase)
        return cls.by(texts, numbers, max_len)

    @classmethod
    def by(cls, texts: LabelledTexts, numbers: Numbers, max_len: int | None = None) -> EncodedTexts:
        """The same by any function from some texts to the numbers of each."""
        if max_len is not None:
            max_len = whole("EncodedTexts", "max_len", max_len)
        tokens, offsets, cut = _encoded(texts.first, numbers, max_len)
        second = None
        if texts.second is not None:
            second_tokens, second_offsets, second_cut = _encoded(texts.second, numbers, max_len)
            second, cut = cls(second_tokens, second_offsets, cut=second_cut), cut + second_cut
        return cls(tokens, offsets, second, texts.labels, texts.names, cut)

    def __len__(self) -> int:
        """N."""
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        kind = "texts" if self.second is None else "pairs"
        size = len(self.tokens) + (0 if self.second is None else len(self.second.tokens))
        return f"EncodedTexts({len(self):,} {kind}, {size:,} tokens, {self.cut:,} cut)"

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]: tokens of each text; of both in a pair."""
        lengths = np.diff(self.offsets)
        return lengths if self.second is None else lengths + self.second.lengths

    def cut_pairs(self, max_len: int) -> EncodedTexts:
        """Pairs of at most so many tokens together, as BERT takes them.

        Tokens are taken from the end of the longer text, of equal ones from the second, until the
        pair fits.

        Raises:
            ValueError: these are no pairs.
        """
        if self.second is None:
            raise ValueError("cut_pairs: texts must be pairs, got single ones")
        max_len = whole("cut_pairs", "max_len", max_len, 0)
        first, second = np.diff(self.offsets), np.diff(self.second.offsets)
        kept_second = np.minimum(second, np.maximum(max_len - first, max_len // 2))
        kept_first = np.minimum(first, max_len - kept_second)
        cut = int(((kept_first < first) | (kept_second < second)).sum())
        return replace(
            self._shortened(kept_first),
            second=self.second._shortened(kept_second),
            cut=self.cut + cut,
        )

    def _shortened(self, lengths: np.ndarray) -> EncodedTexts:
        tokens, offsets = take_ragged(self.tokens, self.offsets[:-1], lengths)
        return replace(self, tokens=tokens, offsets=offsets)


def word_numbers(
    index: Mapping[str, int], unknown: int | None, *, lowercase: bool = False
) -> Numbers:
    """How words that white space separates become numbers.

    Args:
        index: from a word to its number.
        unknown: the number of all other words; None leaves them out.
        lowercase: whether texts are turned to lower case first.
    """

    def numbers(texts: Sequence[str]) -> list[list[int]]:
        if lowercase:
            texts = [text.lower() for text in texts]
        if unknown is None:
            return [[index[word] for word in text.split() if word in index] for text in texts]
        get = index.get
        return [[get(word, unknown) for word in text.split()] for text in texts]

    return numbers


def take_ragged(
    values: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of an array one after the other.

    Args:
        values: [T]. starts, lengths: int64 [n], of the pieces.

    Returns:
        Their values, [sum of lengths], and int64 [n + 1], where each begins among them.
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return values[places], offsets


def _encoded(
    texts: Sequence[str], numbers: Numbers, max_len: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """int32 tokens and int64 offsets of texts, and how many of them were cut."""
    lengths = np.zeros(len(texts) + 1, np.int64)
    pieces, cut = [np.empty(0, np.int32)], 0
    for first in range(0, len(texts), _PIECE):
        found = numbers(texts[first : first + _PIECE])
        if max_len is not None:
            cut += sum(len(ids) > max_len for ids in found)
            found = [ids[:max_len] for ids in found]
        sizes = [len(ids) for ids in found]
        lengths[first + 1 : first + 1 + len(found)] = sizes
        pieces.append(np.fromiter(_flat(found), np.int32, sum(sizes)))
    return np.concatenate(pieces), np.cumsum(lengths), cut


def _flat(lists: Sequence[Sequence[int]]) -> Iterator[int]:
    return chain.from_iterable(lists)
