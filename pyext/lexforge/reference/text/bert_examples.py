"""BERT's sentence pairs and masks in plain Python, draw for draw (csrc/text/bert_examples.h)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from lexforge.reference.sampling.sampling import philox_at

EXAMPLES, MASKING = 10, 11  # csrc/common/philox.h, RandomStream

Paragraphs = Sequence[Sequence[Sequence[int]]]  # token numbers; no empty sentence or paragraph


class Example(NamedTuple):
    """One sequence and what is to be predicted in it."""

    tokens: list[int]
    segments: list[int]
    positions: list[int]  # of the predictions, ascending
    labels: list[int]  # the tokens that stood there
    is_next: bool


def _quad(seed: int, epoch: int, position: int, stream: int, slot: int) -> list[int]:
    return philox_at(seed, epoch, np.array([position]), stream, slot)[0].tolist()


def _bounded(word: int, n: int) -> int:
    return word * n >> 32


def prediction_count(tokens: int) -> int:
    """15 % of the tokens, rounded half to even, and at least one."""
    return max(1, round(Fraction(15 * tokens, 100)))


def second_sentence(paragraphs: Paragraphs, seed: int, epoch: int, first: int) -> int:
    """Number of the sentence that sentence `first` is paired with, over all paragraphs."""
    begins = np.cumsum([0, *map(len, paragraphs)]).tolist()
    slot = 1
    while True:
        is_next, paragraph, sentence, _ = _quad(seed, epoch, first, EXAMPLES, slot)
        if slot == 1 and is_next < 2**31:
            return first + 1
        q = _bounded(paragraph, len(paragraphs))
        second = begins[q] + _bounded(sentence, len(paragraphs[q]))
        if second != first + 1:
            return second
        slot += 1


def pairs(
    paragraphs: Paragraphs, *, max_len: int, seed: int, epoch: int, static_masks: bool = False
) -> list[tuple[int, int]]:
    """The sentence numbers of an epoch's examples, in its order."""
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    kept, first = [], 0
    for paragraph in paragraphs:
        for _ in paragraph[:-1]:
            second = second_sentence(paragraphs, seed, 0 if static_masks else epoch, first)
            if len(sentences[first]) + len(sentences[second]) <= max_len - 3:
                kept.append((first, second))
            first += 1
        first += 1
    for j in range(len(kept) - 1, 0, -1):
        other = _bounded(_quad(seed, epoch, j >> 2, EXAMPLES, 0)[j & 3], j + 1)
        kept[j], kept[other] = kept[other], kept[j]
    return kept


def example(
    sentences: Sequence[Sequence[int]],
    pair: tuple[int, int],
    *,
    seed: int,
    epoch: int,
    mask: int,
    cls: int,
    sep: int,
    ordinary: Sequence[int],
    continues: Sequence[bool] | None = None,
) -> Example:
    """The masked sequence of a pair of sentences; with static masks `epoch` is 0.

    With `continues`, by token, whole words are masked.
    """
    a, b = (list(sentences[sentence]) for sentence in pair)
    tokens = [cls, *a, sep, *b, sep]
    segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    count, candidates = prediction_count(len(tokens)), len(a) + len(b)
    quads = [_quad(seed, epoch, pair[0], MASKING, slot) for slot in range(count)]
    taken: set[int] = set()
    if continues is not None:
        begins = [c for c, token in enumerate(a + b) if c in (0, len(a)) or not continues[token]]
        words = [range(*ends) for ends in zip(begins, [*begins[1:], candidates], strict=True)]
        for i in range(len(words)):
            draw = _quad(seed, epoch, pair[0], MASKING, i)[0]
            other = i + _bounded(draw, len(words) - i)
            words[i], words[other] = words[other], words[i]
            if len(taken) + len(words[i]) <= count:
                taken.update(words[i])
    else:
        for i, quad in enumerate(quads):
            last = candidates - count + i
            drawn = _bounded(quad[0], last + 1)
            taken.add(last if drawn in taken else drawn)
    positions = sorted(1 + c if c < len(a) else 2 + c for c in taken)
    labels = [tokens[position] for position in positions]
    for position, (_, what, word, _) in zip(positions, quads, strict=False):
        tenth = _bounded(what, 10)
        if tenth < 8:
            tokens[position] = mask
        elif tenth == 9:
            tokens[position] = ordinary[_bounded(word, len(ordinary))]
    return Example(tokens, segments, positions, labels, pair[1] == pair[0] + 1)
