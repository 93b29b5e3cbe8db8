"""Sentiment analysis by a convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lexforge.d2l.padding import PADDING, texts_of
from lexforge.models.classification import textcnn
from lexforge.models.classification.settings import TextCNNConfig


class TextCNN(textcnn.TextCNN):
    """The text's network: two tables of word vectors, convolutions, maximum over time, and a linear
    layer to two logits.

    Args:
        vocab_size, embed_size, kernel_sizes, num_channels: as in the text.
        pool: ``"max"``, which the text speaks of; or ``"avg"``, what its code does: the mean over
            all places, those of padding too, and ReLU after it.
        padding: the number of ``<pad>``; what a row ends with of it is no text. None: there is no
            padding.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int,
        kernel_sizes: Sequence[int],
        num_channels: Sequence[int],
        *,
        pool: str = "max",
        padding: int | None = PADDING,
    ):
        super().__init__(
            TextCNNConfig(
                vocab_size=vocab_size,
                embed_size=embed_size,
                kernel_sizes=kernel_sizes,  # type: ignore[arg-type]  # numbers become text
                num_channels=num_channels,  # type: ignore[arg-type]
                pool=pool,
            )
        )
        self.padding = None if pool == "avg" else padding

    def forward(self, inputs: Tensor) -> Tensor:  # type: ignore[override]  # the text's
        """Logits [B, 2] of tokens [B, S]."""
        return super().forward(texts_of("TextCNN", inputs, self.padding))
