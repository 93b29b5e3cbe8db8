"""TextCNN: convolutions of several widths over the words of a text (Kim 2014)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lexforge.layers.dropout import Dropout
from lexforge.layers.embedding import Embedding
from lexforge.models.classification.network import WordNetwork, distinct, no_pairs
from lexforge.models.classification.settings import TextCNNConfig
from lexforge.ops.convolution.conv_max_pool import conv_max_pool
from lexforge.ops.embedding.embedding_bag import embedding_bag
from lexforge.text.classification.batches import RaggedTexts
from lexforge.training.settings import Settings


class TextCNN(WordNetwork):
    """Convolutions over the words, the largest output of each channel over the text, ReLU, dropout
    and a linear layer.

    A convolution looks at all places where its width lies within the text, and at one where the
    text is shorter: there zeros follow the words. ``config.pool`` ``"avg"`` takes the mean over the
    places instead, as the reference text's code does.
    """

    KIND: ClassVar[str] = "textcnn"
    PAIRS: ClassVar[bool | None] = False
    CONFIG: ClassVar[type[Settings]] = TextCNNConfig
    XAVIER: ClassVar[bool] = True

    def _build(self) -> None:
        config = self.config
        self.embedding = Embedding(config.vocab_size, config.embed_size)
        inputs = config.embed_size
        if config.constant_table:
            self.constant_embedding = Embedding(config.vocab_size, config.embed_size)
            inputs *= 2
        self.dropout = Dropout(config.dropout)
        self.decoder = nn.Linear(sum(config.channels), config.num_classes)
        self.convs = nn.ModuleList(
            nn.Conv1d(inputs, channels, width)
            for channels, width in zip(config.channels, config.widths, strict=True)
        )

    def tables(self) -> list[tuple[nn.Embedding, bool]]:
        """The vectors that are trained, and those that stay as they are."""
        constant = [(self.constant_embedding, False)] if self.config.constant_table else []
        return [(self.embedding, True), *constant]

    def forward(self, first: RaggedTexts, second: RaggedTexts | None = None) -> Tensor:
        """Logits [B, C] of B texts."""
        no_pairs("TextCNN", second)
        return self.decoder(self.dropout(self._encode(first)))

    def _encode(self, texts: RaggedTexts) -> Tensor:
        """[B, all channels]."""
        tokens, index = distinct(texts)
        words = self.embedding(tokens)
        if self.config.constant_table:
            words = torch.cat((words, self.constant_embedding(tokens)), 1)
        if self.config.pool == "avg":
            found = self._means(words, index, texts)
        else:
            bounds = texts.cu_seqlens
            found = []
            for conv in self.convs:
                weight, bias = conv.parameters()
                found.append(conv_max_pool(words, bounds, weight, bias, index=index))
        return functional.relu(torch.cat(found, 1))

    def _means(self, words: Tensor, index: Tensor | None, texts: RaggedTexts) -> list[Tensor]:
        """[B, channels] of each convolution: the mean over its places.

        As a mean commutes with what is linear, each tap has the sum of the tokens that it sees.
        """
        bounds = texts.cu_seqlens.long()
        lengths, widths = bounds.diff(), self.config.widths
        places = [(lengths - width + 1).clamp(min=1) for width in widths]
        begins, seen = [], []  # of each tap of each convolution: its tokens
        for width, count in zip(widths, places, strict=True):
            for tap in range(width):
                begins.append(bounds[:-1] + tap)
                seen.append(torch.minimum(count, (lengths - tap).clamp(min=0)))
        offsets = functional.pad(torch.cat(seen).cumsum(0), (1, 0))
        size = int(offsets[-1])
        rows = torch.arange(size, device=bounds.device) + (
            torch.cat(begins) - offsets[:-1]
        ).repeat_interleave(offsets.diff(), output_size=size)
        sums = embedding_bag(
            rows if index is None else index[rows],
            words,
            offsets,
            mode="sum",
            include_last_offset=True,
            check_indices=False,
        ).unflatten(0, (-1, len(lengths)))
        means = []
        for conv, count, bags in zip(self.convs, places, sums.split(widths), strict=True):
            mean = (bags / count[:, None]).transpose(0, 1).flatten(1)  # [B, K D]
            weight, bias = conv.parameters()
            means.append(functional.linear(mean, weight.transpose(1, 2).flatten(1), bias))
        return means
