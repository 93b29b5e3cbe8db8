"""BiRNN: a bidirectional LSTM over the words of a text."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from lexforge.layers.embedding import Embedding
from lexforge.layers.lstm import packed_lstm
from lexforge.layers.packing import reduce_rows
from lexforge.models.classification.network import WordNetwork, distinct, no_pairs
from lexforge.models.classification.settings import BiRNNConfig
from lexforge.text.classification.batches import RaggedTexts
from lexforge.training.settings import Settings


class BiRNN(WordNetwork):
    """A bidirectional LSTM, and a linear layer on what it has of a text.

    By ``config.pool`` that is, of the last layer: ``"final"``, the state of each direction after
    its last word; ``"ends"``, the states of both directions at the first and at the last word, of
    which one of each has seen a single word (the text's four); ``"mean"`` or ``"max"`` of the
    states at all words. A text without words has zeros.
    """

    KIND: ClassVar[str] = "birnn"
    PAIRS: ClassVar[bool | None] = False
    CONFIG: ClassVar[type[Settings]] = BiRNNConfig
    XAVIER: ClassVar[bool] = True

    def _build(self) -> None:
        config = self.config
        self.embedding = Embedding(config.vocab_size, config.embed_size)
        self.encoder = nn.LSTM(
            config.embed_size,
            config.hidden_size,
            num_layers=config.num_layers,
            bidirectional=True,
        )
        states = 4 if config.pool == "ends" else 2
        self.decoder = nn.Linear(states * config.hidden_size, config.num_classes)

    def tables(self) -> list[tuple[nn.Embedding, bool]]:
        """The word vectors, which stay as they are."""
        return [(self.embedding, False)]

    def forward(self, first: RaggedTexts, second: RaggedTexts | None = None) -> Tensor:
        """Logits [B, C] of B texts."""
        no_pairs("BiRNN", second)
        return self.decoder(self._encode(first))

    def _encode(self, texts: RaggedTexts) -> Tensor:
        """[B, 2 hidden_size], or [B, 4 hidden_size] for ``"ends"``."""
        words, index = distinct(texts)
        outputs, (final, _) = packed_lstm(
            self.encoder, self.embedding(words), texts.cu_seqlens, index
        )
        pool = self.config.pool
        if pool == "final":
            return torch.cat((final[-2], final[-1]), 1)
        if pool == "ends":
            return _ends(outputs, texts.cu_seqlens)
        return reduce_rows(outputs, texts.cu_seqlens, pool)


def _ends(outputs: Tensor, cu_seqlens: Tensor) -> Tensor:
    """[B, 4 H]: the states [T, 2 H] at the first and the last word of each text."""
    bounds = cu_seqlens.long()
    rows = torch.stack((bounds[:-1], bounds[1:] - 1), 1)
    empty = bounds.diff() == 0
    # An empty text has a neighbour's rows, and drops them; there may be none at all.
    outputs = torch.cat((outputs, outputs.new_zeros(1, outputs.shape[1])))
    return outputs[rows.clamp(min=0)].flatten(1).masked_fill(empty[:, None], 0)
