"""gensim's ``Word2Vec`` models: what is in one, and making one of the same numbers."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.text import Vocabulary

# Settings of the same name and meaning; gensim's max_vocab_size is a limit while counting.
SAME = (
    "vector_size",
    "alpha",
    "min_alpha",
    "window",
    "shrink_windows",
    "negative",
    "ns_exponent",
    "sample",
    "min_count",
    "max_final_vocab",
    "epochs",
    "seed",
)


class GensimParts(NamedTuple):
    """Settings, vocabulary by falling count, and the two tables in its order, float32 [V, D]."""

    settings: dict[str, Any]
    vocabulary: Vocabulary
    vectors: np.ndarray
    syn1neg: np.ndarray


def parts_of(model: Any) -> GensimParts:
    """What a model of gensim 4 consists of.

    Raises:
        TypeError: Not a ``gensim.models.Word2Vec`` itself (FastText composes its vectors).
        ValueError: Not skip-gram with negative sampling alone, or no vocabulary yet.
    """
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind != "gensim.models.word2vec.Word2Vec":
        raise TypeError(f"from_gensim: model must be a gensim.models.Word2Vec, got {kind}")
    if not model.sg or model.hs or not model.negative:
        raise ValueError(
            "from_gensim: model must be skip-gram with negative sampling alone (sg=1, hs=0, "
            f"negative >= 1), got sg={model.sg}, hs={model.hs}, negative={model.negative}"
        )
    if len(model.wv) == 0:
        raise ValueError("from_gensim: model has no vocabulary yet")
    counts = np.asarray(model.wv.expandos["count"], np.int64)
    order = np.argsort(-counts, kind="stable")
    words = [model.wv.index_to_key[row] for row in order]
    return GensimParts(
        {name: getattr(model, name) for name in SAME},
        Vocabulary(words, counts[order]),
        np.asarray(model.wv.vectors, np.float32)[order],
        np.asarray(model.syn1neg, np.float32)[order],
    )


def gensim_model(
    settings: Word2VecSettings,
    vocabulary: Vocabulary,
    vectors: np.ndarray,
    syn1neg: np.ndarray,
    *,
    workers: int | None,
) -> Any:
    """A ``gensim.models.Word2Vec`` of these parts.

    Raises:
        ModuleNotFoundError: gensim is not installed.
    """
    from gensim.models import Word2Vec

    same = {name: getattr(settings, name) for name in SAME}
    # The vocabulary is counted and cut already; gensim's generators take 32 bits.
    whole = {**same, "min_count": 1, "max_final_vocab": None, "seed": settings.seed % 2**32}
    model = Word2Vec(**whole, sg=1, hs=0, workers=workers or os.cpu_count() or 1)
    counts = vocabulary.counts.tolist()
    model.build_vocab_from_freq(dict(zip(vocabulary.words, counts, strict=True)))
    model.min_count, model.max_final_vocab = settings.min_count, settings.max_final_vocab
    order = [vocabulary[word] for word in model.wv.index_to_key]
    model.wv.vectors[:], model.syn1neg[:] = vectors[order], syn1neg[order]
    return model
