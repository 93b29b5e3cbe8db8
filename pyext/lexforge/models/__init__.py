"""The models, and what is imported beside them, at the places where gensim has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.fasttext.model import FastText
    from lexforge.models.glove.model import GloVe
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.text.phrases import FrozenPhrases, Phraser, Phrases
    from lexforge.vectors import KeyedVectors

__all__ = ["FastText", "FrozenPhrases", "GloVe", "KeyedVectors", "Phraser", "Phrases", "Word2Vec"]

_HOME = {
    "FastText": "lexforge.models.fasttext.model",
    "FrozenPhrases": "lexforge.text.phrases",
    "GloVe": "lexforge.models.glove.model",
    "KeyedVectors": "lexforge.vectors",
    "Phraser": "lexforge.text.phrases",
    "Phrases": "lexforge.text.phrases",
    "Word2Vec": "lexforge.models.word2vec.model",
}

__getattr__, __dir__ = attach(
    __name__, _HOME, ("callbacks", "fasttext", "keyedvectors", "phrases", "word2vec")
)
