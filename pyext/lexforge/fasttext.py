"""The fasttext package's functions: ``import lexforge.fasttext as fasttext``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.fasttext.original import BOW, EOS, EOW, load_model, tokenize
    from lexforge.models.fasttext.original_training import train_supervised, train_unsupervised

__all__ = [
    "BOW",
    "EOS",
    "EOW",
    "load_model",
    "tokenize",
    "train_supervised",
    "train_unsupervised",
]

# Where each public name lives; imported on first use.
_HOME = {
    "BOW": "lexforge.models.fasttext.original",
    "EOS": "lexforge.models.fasttext.original",
    "EOW": "lexforge.models.fasttext.original",
    "load_model": "lexforge.models.fasttext.original",
    "tokenize": "lexforge.models.fasttext.original",
    "train_supervised": "lexforge.models.fasttext.original_training",
    "train_unsupervised": "lexforge.models.fasttext.original_training",
}

__getattr__, __dir__ = attach(__name__, _HOME)
