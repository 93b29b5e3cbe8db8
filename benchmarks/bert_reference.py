"""The reference text's BERT pretraining in plain PyTorch: what lexforge is measured against.

Examples are drawn and masked once and padded to `max_len`; attention is a masked softmax between
two batched products; every linear layer is an nn.Linear; the masked-LM head makes the logits of all
predictions, padded ones too. Parameters have the names of the text's checkpoints. The one thing
that differs from the text is the loss: its masked-LM part is averaged by the weights.
"""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

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


# -- data --------------------------------------------------------------------------------------


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


# -- model -------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, hidden: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(hidden, hidden) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden_keys: Tensor | None) -> Tensor:
        q, k, v = (self.split(linear(x)) for linear in (self.W_q, self.W_k, self.W_v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if hidden_keys is not None:
            scores = scores.masked_fill(hidden_keys, torch.finfo(scores.dtype).min)
        out = self.dropout(scores.softmax(-1)) @ v
        return self.W_o(out.transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """[B, S, H] as [B, heads, S, H / heads]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class AddNorm(nn.Module):
    def __init__(self, hidden: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.ln = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.ln(self.dropout(y) + x)


class FeedForward(nn.Module):
    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.dense1, self.dense2 = nn.Linear(hidden, inner), nn.Linear(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense2(self.dense1(x).relu())


class Block(nn.Module):
    def __init__(self, hidden: int, inner: int, heads: int, dropout: float):
        super().__init__()
        self.attention = Attention(hidden, heads, dropout)
        self.addnorm1 = AddNorm(hidden, dropout)
        self.ffn = FeedForward(hidden, inner)
        self.addnorm2 = AddNorm(hidden, dropout)

    def forward(self, x: Tensor, hidden_keys: Tensor | None) -> Tensor:
        y = self.addnorm1(x, self.attention(x, hidden_keys))
        return self.addnorm2(y, self.ffn(y))


class Encoder(nn.Module):
    def __init__(
        self,
        vocab_size: int,
        hidden: int,
        inner: int,
        heads: int,
        blocks: int,
        dropout: float,
        max_len: int,
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, hidden)
        self.segment_embedding = nn.Embedding(2, hidden)
        self.pos_embedding = nn.Parameter(torch.randn(1, max_len, hidden))
        self.blks = nn.ModuleList(Block(hidden, inner, heads, dropout) for _ in range(blocks))

    def forward(self, tokens: Tensor, segments: Tensor, valid_lens: Tensor | None) -> Tensor:
        x = self.token_embedding(tokens) + self.segment_embedding(segments)
        x = x + self.pos_embedding[:, : tokens.shape[1]]
        hidden_keys = None
        if valid_lens is not None:
            at = torch.arange(tokens.shape[1], device=tokens.device)
            hidden_keys = (at >= valid_lens[:, None])[:, None, None, :]
        for block in self.blks:
            x = block(x, hidden_keys)
        return x


class MaskLM(nn.Module):
    def __init__(self, vocab_size: int, hidden: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, vocab_size),
        )

    def forward(self, encoded: Tensor, pred_positions: Tensor) -> Tensor:
        rows = torch.arange(len(encoded), device=encoded.device)[:, None]
        return self.mlp(encoded[rows, pred_positions])


class NextSentencePred(nn.Module):
    def __init__(self, hidden: int):
        super().__init__()
        self.output = nn.Linear(hidden, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.output(pooled)


class ReferenceBert(nn.Module):
    """The text's BERTModel; both heads."""

    def __init__(
        self,
        vocab_size: int,
        hidden: int = 128,
        inner: int = 256,
        heads: int = 2,
        blocks: int = 2,
        dropout: float = 0.2,
        max_len: int = 1000,
    ):
        super().__init__()
        self.encoder = Encoder(vocab_size, hidden, inner, heads, blocks, dropout, max_len)
        self.hidden = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.mlm = MaskLM(vocab_size, hidden)
        self.nsp = NextSentencePred(hidden)

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        valid_lens: Tensor | None = None,
        pred_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        encoded = self.encoder(tokens, segments, valid_lens)
        logits = None if pred_positions is None else self.mlm(encoded, pred_positions)
        return encoded, logits, self.nsp(self.hidden(encoded[:, 0]))

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Masked-LM loss, weighted, and next-sentence loss."""
        _, mlm_logits, nsp_logits = self(
            batch.tokens, batch.segments, batch.valid_lens, batch.pred_positions
        )
        each = cross_entropy(mlm_logits.flatten(0, 1), batch.mlm_labels.flatten(), reduction="none")
        weights = batch.mlm_weights.flatten()
        mlm_loss = (each * weights).sum() / weights.sum().clamp(min=1e-8)
        return mlm_loss, cross_entropy(nsp_logits, batch.is_next)
