"""FastText, its classifier, its vectors, and the original's files, where gensim has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.fasttext.classifier import FastTextClassifier
    from lexforge.models.fasttext.files import (
        load_facebook_model,
        load_facebook_vectors,
        save_facebook_model,
    )
    from lexforge.models.fasttext.model import FastText, FastTextKeyedVectors

__all__ = [
    "FastText",
    "FastTextClassifier",
    "FastTextKeyedVectors",
    "load_facebook_model",
    "load_facebook_vectors",
    "save_facebook_model",
]

_HOME = {
    "FastText": "lexforge.models.fasttext.model",
    "FastTextClassifier": "lexforge.models.fasttext.classifier",
    "FastTextKeyedVectors": "lexforge.models.fasttext.model",
    "load_facebook_model": "lexforge.models.fasttext.files",
    "load_facebook_vectors": "lexforge.models.fasttext.files",
    "save_facebook_model": "lexforge.models.fasttext.files",
}

__getattr__, __dir__ = attach(__name__, _HOME)
