"""``lexforge fasttext test``."""

from __future__ import annotations

from lexforge.cli.fasttext._verbs import Data, K, ModelFile, Threshold, load, opened, say


def test(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """Number of lines, precision and recall of a classifier.

    Examples:

    - `lexforge fasttext test model.bin test.txt`
    """
    with opened(data) as stream:
        meter = load(model).meter(stream, k, th)
    say(f"N\t{meter.examples}", f"P@{k}\t{meter.precision():.3g}", f"R@{k}\t{meter.recall():.3g}")
