"""``lexforge fasttext predict``."""

from __future__ import annotations

from lexforge.cli.fasttext._verbs import Data, K, ModelFile, Threshold, predict_lines


def predict(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """The most probable labels of each line.

    Examples:

    - `echo "a film without a plot" | lexforge fasttext predict model.bin - 2`
    """
    predict_lines(model, data, k, th, probabilities=False)
