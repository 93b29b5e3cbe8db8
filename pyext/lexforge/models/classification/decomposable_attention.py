"""Decomposable attention over pairs of texts (Parikh et al. 2016): attend, compare, aggregate."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from lexforge.layers.activation import activated
from lexforge.layers.dropout import Dropout
from lexforge.layers.embedding import Embedding
from lexforge.layers.packing import reduce_rows
from lexforge.models.classification.network import WordNetwork
from lexforge.models.classification.settings import DROPOUT, DecomposableConfig
from lexforge.ops.alignment.soft_align import soft_align
from lexforge.ops.transformer.linear import linear
from lexforge.text.classification.batches import RaggedTexts
from lexforge.training.settings import Settings


class MLP(nn.Sequential):
    """Twice dropout, a linear layer and ReLU."""

    def __init__(self, num_inputs: int, num_hiddens: int, dropout: float = DROPOUT):
        layers: list[nn.Module] = []
        for inputs in (num_inputs, num_hiddens):
            layers += [Dropout(dropout), nn.Linear(inputs, num_hiddens), nn.ReLU()]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """[..., num_inputs] to [..., num_hiddens]."""
        for drop, layer in ((self[0], self[1]), (self[3], self[4])):
            x = activated(linear(drop(x), layer.weight), layer.bias, "relu")
        return x


class Attend(nn.Module):
    """Softly aligns two texts: for each word of one, what of the other belongs to it."""

    def __init__(self, num_inputs: int, num_hiddens: int, dropout: float = DROPOUT):
        super().__init__()
        self.f = MLP(num_inputs, num_hiddens, dropout)

    def forward(
        self, a: Tensor, b: Tensor, first: RaggedTexts, second: RaggedTexts
    ) -> tuple[Tensor, Tensor]:
        """(beta [T1, D], alpha [T2, D]) of words a [T1, D] and b [T2, D] of pairs of texts.

        The score of two words is the product of their ``f``. beta is, for each word of the first
        text, the mean of the second's words by the softmax of its scores; alpha the other way
        round. A text of a pair whose other one is empty has zeros.
        """
        return soft_align(
            self.f(a),
            self.f(b),
            a,
            b,
            first.cu_seqlens,
            second.cu_seqlens,
            first.max_seqlen,
            second.max_seqlen,
        )


class Compare(nn.Module):
    """Compares each word with what is aligned to it."""

    def __init__(self, num_inputs: int, num_hiddens: int, dropout: float = DROPOUT):
        super().__init__()
        self.g = MLP(num_inputs, num_hiddens, dropout)

    def forward(self, a: Tensor, b: Tensor, beta: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """[T1, H] and [T2, H]; arguments as :meth:`Attend.forward` has and gives them."""
        return self.g(torch.cat((a, beta), -1)), self.g(torch.cat((b, alpha), -1))


class Aggregate(nn.Module):
    """Sums up the comparisons of each text, and tells the class."""

    def __init__(
        self, num_inputs: int, num_hiddens: int, num_outputs: int, dropout: float = DROPOUT
    ):
        super().__init__()
        self.h = MLP(num_inputs, num_hiddens, dropout)
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
        a, b = self.embedding(first.tokens), self.embedding(second.tokens)
        beta, alpha = self.attend(a, b, first, second)
        compared_a, compared_b = self.compare(a, b, beta, alpha)
        return self.aggregate(
            *(
                reduce_rows(compared, texts.cu_seqlens, "sum")
                for compared, texts in ((compared_a, first), (compared_b, second))
            )
        )
