"""``lexforge fasttext predict-prob``."""

from __future__ import annotations

from lexforge.cli.fasttext._verbs import Data, K, ModelFile, Threshold, predict_lines


def predict_prob(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """The most probable labels with their probabilities.

    Examples:

    - `lexforge fasttext predict-prob model.bin lines.txt 3 0.1`
    """
    predict_lines(model, data, k, th, probabilities=True)
