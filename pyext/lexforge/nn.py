"""Layers in place of torch's: ``import lexforge; lexforge.nn.Embedding``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.layers.embedding import Embedding, EmbeddingBag
    from lexforge.layers.lstm import LSTM

__all__ = ["LSTM", "Embedding", "EmbeddingBag"]

# Where each public name lives; imported on first use.
_HOME = {
    "Embedding": "lexforge.layers.embedding",
    "EmbeddingBag": "lexforge.layers.embedding",
    "LSTM": "lexforge.layers.lstm",
}

__getattr__, __dir__ = attach(__name__, _HOME)
