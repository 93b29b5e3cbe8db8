"""Small models of fastText, of random numbers."""

from __future__ import annotations

import numpy as np

from lexforge._text import WordBytes
from lexforge.vectors.formats.fasttext import FastTextFile
from lexforge.vectors.quantised import QuantizedMatrix

WORDS = [b"the", b"cat", "é".encode(), "東京".encode(), b"</s>", b"\xff\x80bad"]


def model(**changed) -> FastTextFile:
    rng = np.random.default_rng(3)
    words = changed.get("words", WordBytes.of(WORDS))
    counts = np.array([200, 90, 40, 40, 7, 1][: len(words)])
    fields = {
        **{"dim": 4, "ws": 5, "epoch": 3, "minCount": 1, "neg": 5, "wordNgrams": 1, "loss": 2},
        **{"model": 2, "bucket": 30, "minn": 2, "maxn": 4, "lrUpdateRate": 100, "t": 1e-4},
        **{"words": words, "counts": counts, "ntokens": 900},
        "input": rng.standard_normal((len(words) + changed.get("bucket", 30), 4)).astype("f4"),
        "output": rng.standard_normal((len(words), 4)).astype("f4"),
    }
    return FastTextFile(**fields | changed)


def supervised(**changed) -> FastTextFile:
    rng = np.random.default_rng(4)
    return model(
        model=3,
        loss=3,
        labels=WordBytes.of([b"__label__a", b"__label__b"]),
        label_counts=np.array([5, 4]),
        output=changed.pop("output", rng.standard_normal((2, 4)).astype("f4")),
        **changed,
    )


def quantised(rows: int = 36, **changed) -> FastTextFile:
    matrix = np.random.default_rng(5).standard_normal((rows, 4)).astype("f4")
    return supervised(input=QuantizedMatrix.quantize(matrix, norms=True), **changed)
