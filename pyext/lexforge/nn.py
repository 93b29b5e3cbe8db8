"""Layers in place of torch's: ``import lexforge; lexforge.nn.Embedding``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.layers.embedding import Embedding, EmbeddingBag

__all__ = ["Embedding", "EmbeddingBag"]

# Where each public name lives; imported on first use.
_HOME = {
    "Embedding": "lexforge.layers.embedding",
    "EmbeddingBag": "lexforge.layers.embedding",
}

__getattr__, __dir__ = attach(__name__, _HOME)
