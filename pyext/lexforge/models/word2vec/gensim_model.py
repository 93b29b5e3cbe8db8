"""gensim's ``Word2Vec`` models: what is in one, and making one of the same numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.models.word2vec.tree import tree_of_paths
from lexforge.text import Vocabulary
from lexforge.text.huffman import HuffmanTree

# Settings of the same name and meaning; gensim's max_vocab_size is a limit while counting.
SAME = (
    "vector_size",
    "alpha",
    "min_alpha",
    "window",
    "shrink_windows",
    "sg",
    "hs",
    "cbow_mean",
    "negative",
    "ns_exponent",
    "sample",
    "min_count",
    "max_final_vocab",
    "epochs",
    "seed",
)


class GensimParts(NamedTuple):
    """What a model consists of.

    Attributes:
        settings: By name.
        vocabulary: By falling count.
        tables: float32, by the names of ``Word2VecSettings.tables``; rows of words in its order.
        tree: Of hierarchical softmax. Ours may differ where counts are equal.
        lockf: float32, what steps of the input's rows are multiplied by, [V] or [1].
    """

    settings: dict[str, Any]
    vocabulary: Vocabulary
    tables: dict[str, np.ndarray]
    tree: HuffmanTree | None
    lockf: np.ndarray


def parts_of(model: Any, wanted: str = "Word2Vec") -> GensimParts:
    """What a model of gensim 4 consists of; of FastText the own rows of words, without n-grams.

    Args:
        wanted: The class, ``Word2Vec`` or ``FastText``.

    Raises:
        TypeError: Not of this class itself.
        ValueError: No vocabulary yet, or one that cannot be trained.
    """
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind != f"gensim.models.{wanted.lower()}.{wanted}":
        raise TypeError(f"from_gensim: model must be a gensim.models.{wanted}, got {kind}")
    if len(model.wv) == 0:
        raise ValueError("from_gensim: model has no vocabulary yet")
    counts = np.asarray(model.wv.expandos["count"], np.int64)
    order = np.argsort(-counts, kind="stable")
    words = [model.wv.index_to_key[row] for row in order]
    of_words = "vectors_vocab" if wanted == "FastText" else "vectors"
    tables = {"input": np.asarray(getattr(model.wv, of_words), np.float32)[order]}
    tree = None
    if model.negative:
        tables["output"] = np.asarray(model.syn1neg, np.float32)[order]
    if model.hs and len(words) > 1:
        tables["tree"] = np.asarray(model.syn1[: len(words) - 1], np.float32)
        codes, points = (
            [np.asarray(model.wv.expandos[name][row], np.int64) for row in order]
            for name in ("code", "point")
        )
        lengths = np.array([len(code) for code in codes])
        tree = tree_of_paths(lengths, 2 * np.concatenate(points) + np.concatenate(codes))
    settings = {name: getattr(model, name) for name in SAME}
    locks = "vectors_vocab_lockf" if wanted == "FastText" else "vectors_lockf"
    lockf = np.asarray(getattr(model.wv, locks), np.float32)
    lockf = lockf[order] if len(lockf) == len(words) else lockf
    return GensimParts(settings, Vocabulary(words, counts[order]), tables, tree, lockf)


def gensim_model(
    settings: Word2VecSettings,
    vocabulary: Vocabulary,
    tables: Mapping[str, np.ndarray],
    tree: HuffmanTree | None,
    lockf: np.ndarray,
    *,
    workers: int | None,
    kind: Any = None,
    **more: Any,
) -> Any:
    """A ``gensim.models.Word2Vec`` of these parts.

    Args:
        kind, more: A class of gensim's with this base, whose ``wv`` is filled in by the caller, and
            what it takes beside.

    Raises:
        ModuleNotFoundError: gensim is not installed.
    """
    from gensim.models import Word2Vec

    same = {name: getattr(settings, name) for name in SAME}
    # The vocabulary is counted and cut already; gensim's generators take 32 bits.
    whole = {**same, "min_count": 1, "max_final_vocab": None, "seed": settings.seed % 2**32}
    model = (kind or Word2Vec)(**whole, **more, workers=workers or os.cpu_count() or 1)
    counts = vocabulary.counts.tolist()
    model.build_vocab_from_freq(dict(zip(vocabulary.words, counts, strict=True)))
    model.min_count, model.max_final_vocab = settings.min_count, settings.max_final_vocab
    order = [vocabulary[word] for word in model.wv.index_to_key]
    lockf = lockf[order] if len(lockf) == len(order) else lockf.copy()
    if kind is None:
        model.wv.vectors[:] = tables["input"][order]
        model.wv.vectors_lockf = lockf
    else:
        model.wv.vectors_vocab[:] = tables["input"][order]
        model.wv.vectors_vocab_lockf = lockf
    if "output" in tables:
        model.syn1neg[:] = tables["output"][order]
    if tree is not None:
        model.syn1[:-1] = tables["tree"]
        for row, word in enumerate(order):
            path = tree.nodes[tree.offsets[word] : tree.offsets[word + 1]]
            model.wv.set_vecattr(row, "code", (path & 1).astype(np.uint8))
            model.wv.set_vecattr(row, "point", (path >> 1).astype(np.uint32))
    return model
