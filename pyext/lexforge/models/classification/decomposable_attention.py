"""Decomposable attention over pairs of texts (Parikh et al. 2016): attend, compare, aggregate."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from lexforge.layers.dropout import Dropout
from lexforge.layers.embedding import Embedding
from lexforge.layers.packing import reduce_rows
from lexforge.models.classification.network import WordNetwork
from lexforge.models.classification.settings import DROPOUT, DecomposableConfig
from lexforge.ops.alignment.soft_align import soft_align
from lexforge.text.classification.batches import RaggedTexts
from lexforge.training.settings import Settings


def mlp(num_inputs: int, num_hiddens: int, dropout: float = DROPOUT) -> nn.Sequential:
    """Twice dropout, a linear layer and ReLU."""
    layers: list[nn.Module] = []
    for inputs in (num_inputs, num_hiddens):
        layers += [Dropout(dropout), nn.Linear(inputs, num_hiddens), nn.ReLU()]
    return nn.Sequential(*layers)


class Attend(nn.Module):
    """Softly aligns two texts: for each word of one, what of the other belongs to it."""

    def __init__(self, num_inputs: int, num_hiddens: int, dropout: float = DROPOUT):
        super().__init__()
        self.f = mlp(num_inputs, num_hiddens, dropout)

    def forward(self, words: Tensor, first: RaggedTexts, second: RaggedTexts) -> Tensor:
        """[T1 + T2, D] of the words [T1 + T2, D] of pairs, those of the first texts on top.

        The score of two words is the product of their ``f``. What belongs to a word of the first
        text is the mean of the second's words by the softmax of its scores, and the other way
        round; zeros where the other text is empty.
        """
        sizes = [len(first.tokens), len(second.tokens)]
        f_a, f_b = self.f(words).split(sizes)
        a, b = words.split(sizes)
        bounds = first.cu_seqlens, second.cu_seqlens
        aligned = soft_align(
            f_a, f_b, a, b, *bounds, max_a=first.max_seqlen, max_b=second.max_seqlen
        )
        return torch.cat(aligned)


class Compare(nn.Module):
    """Compares each word with what is aligned to it."""

    def __init__(self, num_inputs: int, num_hiddens: int, dropout: float = DROPOUT):
        super().__init__()
        self.g = mlp(num_inputs, num_hiddens, dropout)

    def forward(self, words: Tensor, aligned: Tensor) -> Tensor:
        """[T, H] of [T, D] both."""
        return self.g(torch.cat((words, aligned), -1))


class Aggregate(nn.Module):
    """Sums up the comparisons of each text, and tells the class."""

    def __init__(
        self, num_inputs: int, num_hiddens: int, num_outputs: int, dropout: float = DROPOUT
    ):
        super().__init__()
        self.h = mlp(num_inputs, num_hiddens, dropout)
        self.linear = nn.Linear(num_hiddens, num_outputs)

    def forward(self, sum_a: Tensor, sum_b: Tensor) -> Tensor:
        """Logits [B, C] of the sums [B, H] over the words of both texts."""
        return self.linear(self.h(torch.cat((sum_a, sum_b), 1)))


class DecomposableAttention(WordNetwork):
    """Word by word: align, compare, and sum up; the order of the words plays no part."""

    KIND: ClassVar[str] = "decomposable"
    PAIRS: ClassVar[bool | None] = True
    CONFIG: ClassVar[type[Settings]] = DecomposableConfig

    def _build(self) -> None:
        config = self.config
        size, hidden, dropout = config.embed_size, config.hidden_size, config.dropout
        self.embedding = Embedding(config.vocab_size, size)
        self.attend = Attend(size, hidden, dropout)
        self.compare = Compare(2 * size, hidden, dropout)
        self.aggregate = Aggregate(2 * hidden, hidden, config.num_classes, dropout)

    def tables(self) -> list[tuple[nn.Embedding, bool]]:
        """The word vectors, which are trained."""
        return [(self.embedding, True)]

    def forward(self, first: RaggedTexts, second: RaggedTexts | None = None) -> Tensor:
        """Logits [B, C] of B pairs of texts."""
        if second is None:
            raise ValueError("DecomposableAttention: second must be given: it is of pairs of texts")
        if len(second.cu_seqlens) != len(first.cu_seqlens):
            raise ValueError(
                f"DecomposableAttention: second must be {len(first.cu_seqlens) - 1} texts like "
                f"first, got {len(second.cu_seqlens) - 1}"
            )
        words = self.embedding(torch.cat((first.tokens, second.tokens)))
        compared = self.compare(words, self.attend(words, first, second))
        parts = compared.split([len(first.tokens), len(second.tokens)])
        return self.aggregate(
            *(
                reduce_rows(part, texts.cu_seqlens, "sum")
                for part, texts in zip(parts, (first, second), strict=True)
            )
        )
