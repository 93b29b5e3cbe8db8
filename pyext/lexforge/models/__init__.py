"""The models, and what is imported beside them, at the places where gensim has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.glove.model import GloVe
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.vectors import KeyedVectors

__all__ = ["GloVe", "KeyedVectors", "Word2Vec"]

_HOME = {
    "GloVe": "lexforge.models.glove.model",
    "KeyedVectors": "lexforge.vectors",
    "Word2Vec": "lexforge.models.word2vec.model",
}

__getattr__, __dir__ = attach(__name__, _HOME, ("callbacks", "word2vec"))
