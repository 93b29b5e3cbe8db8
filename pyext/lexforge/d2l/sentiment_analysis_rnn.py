"""Sentiment analysis by a recurrent network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lexforge.d2l.padding import PADDING, texts_of
from lexforge.d2l.text import Vocab
from lexforge.models.classification import birnn
from lexforge.models.classification.settings import BiRNNConfig
from lexforge.training.network_job import evaluating


class BiRNN(birnn.BiRNN):
    """The text's network: word vectors, a bidirectional LSTM, and a linear layer to two logits.

    What is classified are the states of the last layer at a text's first and last word, both
    directions of each. Padding is never computed.

    Args:
        vocab_size, embed_size, num_hiddens, num_layers: as in the text.
        padding: the number of ``<pad>``; what a row ends with of it is no text. None: there is no
            padding.
        compat: padding is text, as in the reference, where the last state has often seen nothing
            else.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int,
        num_hiddens: int,
        num_layers: int,
        *,
        padding: int | None = PADDING,
        compat: bool = False,
    ):
        super().__init__(
            BiRNNConfig(
                vocab_size=vocab_size,
                embed_size=embed_size,
                hidden_size=num_hiddens,
                num_layers=num_layers,
                pool="ends",
            )
        )
        self.padding = None if compat else padding

    def forward(self, inputs: Tensor) -> Tensor:  # type: ignore[override]  # the text's
        """Logits [B, 2] of tokens [B, S]."""
        return super().forward(texts_of("BiRNN", inputs, self.padding))


def predict_sentiment(net: nn.Module, vocab: Vocab, sequence: str | Sequence[str]) -> str:
    """``"positive"`` or ``"negative"``: what a net says of a text's words.

    It is asked in evaluation mode, without gradients, on its own device, and is left in the mode
    that it was in.

    Raises:
        ValueError: the text has no words.
    """
    words = sequence.split() if isinstance(sequence, str) else list(sequence)
    if not words:
        raise ValueError("predict_sentiment: sequence must have words, got none")
    device = next(net.parameters()).device
    with torch.no_grad(), evaluating(net):
        logits = net(torch.tensor([vocab[words]], device=device))
    return "positive" if int(logits.argmax(1)) == 1 else "negative"
