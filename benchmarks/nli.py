"""Decomposable attention on SNLI beside the reference text's code in plain PyTorch.

LEXFORGE_DATA=FOLDER python benchmarks/nli.py [--vectors FILE] [--only speed accuracy]
    [--threads 2] [--texts N] [--steps 20] [--rounds 5] [--seeds 1 2 3] [--json F]

In the text's code padding takes part, in lexforge's it does not: the side "Masked" is the text's
without its padding, the same model as ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import classifiers
from lexforge.models.classification.decomposable_attention import DecomposableAttention

NEVER = -1e9  # a score; of texts that are all padding the softmax stays a number


def mlp(num_inputs: int, num_hiddens: int) -> nn.Sequential:
    """The text's, on the last axis."""
    return nn.Sequential(
        nn.Dropout(0.2), nn.Linear(num_inputs, num_hiddens), nn.ReLU(),
        nn.Dropout(0.2), nn.Linear(num_hiddens, num_hiddens), nn.ReLU(),
    )  # fmt: skip


class PlainAttention(nn.Module):
    """The text's: padding takes part in the softmax and in the sums, unless its number is told."""

    padding: int | None = None

    def __init__(self, ours: DecomposableAttention):
        super().__init__()
        config = ours.config
        size, hidden = config.embed_size, config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, size)
        self.f, self.g, self.h = mlp(size, hidden), mlp(2 * size, hidden), mlp(2 * hidden, hidden)
        self.linear = nn.Linear(hidden, config.num_classes)
        self.embedding.weight.data.copy_(ours.embedding.weight.detach())

    def forward(self, premises: Tensor, hypotheses: Tensor) -> Tensor:
        A, B = self.embedding(premises), self.embedding(hypotheses)
        e = torch.bmm(self.f(A), self.f(B).permute(0, 2, 1))
        of_a, of_b = e, e.permute(0, 2, 1)
        if self.padding is not None:
            words_a, words_b = premises != self.padding, hypotheses != self.padding
            of_a = of_a.masked_fill(~words_b[:, None], NEVER)
            of_b = of_b.masked_fill(~words_a[:, None], NEVER)
        beta = torch.bmm(functional.softmax(of_a, dim=-1), B)
        alpha = torch.bmm(functional.softmax(of_b, dim=-1), A)
        compared_a = self.g(torch.cat([A, beta], dim=2))
        compared_b = self.g(torch.cat([B, alpha], dim=2))
        if self.padding is not None:
            compared_a, compared_b = (
                compared_a * words_a[..., None],
                compared_b * words_b[..., None],
            )
        V_A, V_B = compared_a.sum(dim=1), compared_b.sum(dim=1)
        return self.linear(self.h(torch.cat([V_A, V_B], dim=1)))


if __name__ == "__main__":
    setting = classifiers.word_setting({"decomposable": PlainAttention}, "snli", "snli:test")
    classifiers.main(__doc__, setting)
