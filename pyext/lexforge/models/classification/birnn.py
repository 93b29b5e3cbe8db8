"""BiRNN: a bidirectional LSTM over the words of a text."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lexforge.layers.embedding import Embedding
from lexforge.layers.packing import pad_rows
from lexforge.models.classification.network import WordNetwork, no_pairs
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
        length = max(texts.max_seqlen, 1)
        words, there = pad_rows(self.embedding(texts.tokens), texts.cu_seqlens, length)
        counts = there.sum(1)
        # torch knows no text without words: one of zeros instead, whose states are dropped.
        lengths = counts.clamp(min=1).cpu()
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        states, (final, _) = self.encoder(packed)
        if self.config.pool == "final":
            found = torch.cat((final[-2], final[-1]), 1)
            return found.masked_fill(~there[:, :1], 0)
        outputs, _ = pad_packed_sequence(states, batch_first=True, total_length=length)
        outputs = outputs.masked_fill(~there[:, :, None], 0)
        if self.config.pool == "ends":
            last = (counts - 1).clamp(min=0)
            ends = outputs[torch.arange(len(last), device=last.device), last]
            return torch.cat((outputs[:, 0], ends), 1)
        if self.config.pool == "mean":
            return outputs.sum(1) / counts.clamp(min=1)[:, None]
        lowest = torch.finfo(outputs.dtype).min
        return outputs.masked_fill(~there[:, :, None], lowest).amax(1).masked_fill(~there[:, :1], 0)
