"""``lexforge fasttext test-label``."""

from __future__ import annotations

import math

from lexforge.cli.fasttext._verbs import NOTHING, Data, K, ModelFile, Threshold, load, opened, say


def test_label(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """Precision and recall of each label.

    Examples:

    - `lexforge fasttext test-label model.bin test.txt`
    """
    loaded = load(model)
    with opened(data) as stream:
        meter = loaded.meter(stream, k, th)
    for number, label in enumerate(loaded.get_labels(on_unicode_error="surrogateescape")):
        shares = {
            "F1-Score": meter.f1(number),
            "Precision": meter.precision(number),
            "Recall": meter.recall(number),
        }
        told = (
            f"{name} : {NOTHING if math.isnan(value) else f'{value:.6f}'}  "
            for name, value in shares.items()
        )
        say("".join(told) + f" {label}")
    say(f"N\t{meter.examples}", f"P@{k}\t{meter.precision():.3f}", f"R@{k}\t{meter.recall():.3f}")
