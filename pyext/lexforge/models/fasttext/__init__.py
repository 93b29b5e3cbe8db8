"""fastText's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.fasttext.classifier import FastTextClassifier

__all__ = ["FastTextClassifier"]

_HOME = {"FastTextClassifier": "lexforge.models.fasttext.classifier"}

__getattr__, __dir__ = attach(__name__, _HOME)
