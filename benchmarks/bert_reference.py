"""The reference text's examples for BERT in plain Python: drawn and masked once, and padded.

With the model of lexforge.reference.bert they are the recipe that lexforge is measured against.
Attention there is a masked softmax between two batched products; every linear layer is an
nn.Linear; the masked-LM head makes the logits of all predictions, padded ones too. The one thing
that differs from the text is the loss: its masked-LM part is averaged by the weights.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lexforge import d2l

RESERVED = ["<pad>", "<mask>", "<cls>", "<sep>"]


class Batch(NamedTuple):
    """The seven arrays of the text: B examples of S tokens with P predictions each."""

    tokens: Tensor  # int64 [B, S]
    segments: Tensor  # int64 [B, S]
    valid_lens: Tensor  # int64 [B]
    pred_positions: Tensor  # int64 [B, P]
    mlm_weights: Tensor  # float32 [B, P], 0 where there is no prediction
    mlm_labels: Tensor  # int64 [B, P]
    is_next: Tensor  # int64 [B]


def read_paragraphs(path: Path) -> list[list[list[str]]]:
    """Lower-cased paragraphs of at least two sentences, as lists of words."""
    with path.open(encoding="utf-8") as lines:
        # Of a line "only one . \n" the text sees two sentences, and takes it in.
        paragraphs = [line.strip().lower() for line in lines if " . " in line]
    return [[sentence.split() for sentence in p.split(" . ")] for p in paragraphs]


def make_vocab(paragraphs: list[list[list[str]]]) -> d2l.Vocab:
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    return d2l.Vocab(sentences, min_freq=5, reserved_tokens=RESERVED)


def static_examples(
    paragraphs: list[list[list[str]]], vocab: d2l.Vocab, max_len: int, seed: int
) -> Batch:
    """All examples of the corpus, drawn once, as one large batch."""
    rng = random.Random(seed)
    indices = [[vocab[sentence] for sentence in paragraph] for paragraph in paragraphs]
    examples = []
    for paragraph in indices:
        for first, second in itertools.pairwise(paragraph):
            is_next = rng.random() < 0.5
            follower = second
            while not is_next and follower is second:
                follower = rng.choice(rng.choice(indices))
            if len(first) + len(follower) + 3 <= max_len:
                examples.append(_example(first, follower, is_next, vocab, rng))
    return _pad(examples, vocab, max_len)


def _example(
    first: list[int], second: list[int], is_next: bool, vocab: d2l.Vocab, rng: random.Random
) -> tuple:
    cls, sep, mask = vocab["<cls>"], vocab["<sep>"], vocab["<mask>"]
    tokens = [cls, *first, sep, *second, sep]
    segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
    candidates = [i for i, token in enumerate(tokens) if token not in (cls, sep)]
    count = max(1, round(0.15 * len(tokens)))
    positions = sorted(rng.sample(candidates, min(count, len(candidates))))
    labels = [tokens[i] for i in positions]
    for i in positions:
        draw = rng.random()
        if draw < 0.8:
            tokens[i] = mask
        elif draw < 0.9:
            tokens[i] = rng.randrange(1 + len(RESERVED), len(vocab))
    return tokens, segments, positions, labels, is_next


def _pad(examples: list[tuple], vocab: d2l.Vocab, max_len: int) -> Batch:
    count, predictions = len(examples), round(0.15 * max_len)
    tokens = torch.full((count, max_len), vocab["<pad>"])
    segments = torch.zeros(count, max_len, dtype=torch.int64)
    positions = torch.zeros(count, predictions, dtype=torch.int64)
    weights, labels = torch.zeros(count, predictions), torch.zeros_like(positions)
    for row, (ids, segment, position, label, _) in enumerate(examples):
        tokens[row, : len(ids)] = torch.tensor(ids)
        segments[row, : len(ids)] = torch.tensor(segment)
        positions[row, : len(position)] = torch.tensor(position)
        labels[row, : len(position)] = torch.tensor(label)
        weights[row, : len(position)] = 1
    lengths = torch.tensor([len(example[0]) for example in examples])
    is_next = torch.tensor([int(example[4]) for example in examples])
    return Batch(tokens, segments, lengths, positions, weights, labels, is_next)
