"""Classifiers of texts and of pairs of texts: ``import lexforge.classification``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.classification.birnn import BiRNN
    from lexforge.models.classification.classifier import Predictions, TextClassifier
    from lexforge.models.classification.decomposable_attention import DecomposableAttention
    from lexforge.models.classification.settings import (
        BiRNNConfig,
        DecomposableConfig,
        TextCNNConfig,
        TrainingSettings,
    )
    from lexforge.models.classification.textcnn import TextCNN
    from lexforge.models.classification.trainer import TrainingResult, train_classifier
    from lexforge.text.classification import LabelledTexts, read_labelled, read_texts
    from lexforge.training.metrics import ClassScores

__all__ = [
    "BiRNN",
    "BiRNNConfig",
    "ClassScores",
    "DecomposableAttention",
    "DecomposableConfig",
    "LabelledTexts",
    "Predictions",
    "TextCNN",
    "TextCNNConfig",
    "TextClassifier",
    "TrainingResult",
    "TrainingSettings",
    "read_labelled",
    "read_texts",
    "train_classifier",
]

# Where each public name lives; imported on first use.
_HOME = {
    "BiRNN": "lexforge.models.classification.birnn",
    "BiRNNConfig": "lexforge.models.classification.settings",
    "ClassScores": "lexforge.training.metrics",
    "DecomposableAttention": "lexforge.models.classification.decomposable_attention",
    "DecomposableConfig": "lexforge.models.classification.settings",
    "LabelledTexts": "lexforge.text.classification",
    "Predictions": "lexforge.models.classification.classifier",
    "TextCNN": "lexforge.models.classification.textcnn",
    "TextCNNConfig": "lexforge.models.classification.settings",
    "TextClassifier": "lexforge.models.classification.classifier",
    "TrainingResult": "lexforge.models.classification.trainer",
    "TrainingSettings": "lexforge.models.classification.settings",
    "read_labelled": "lexforge.text.classification",
    "read_texts": "lexforge.text.classification",
    "train_classifier": "lexforge.models.classification.trainer",
}

__getattr__, __dir__ = attach(__name__, _HOME)
