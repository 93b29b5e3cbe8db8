"""Pretrained word vectors in the tables of a network."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lexforge.text import datasets
from lexforge.vectors import load_vectors
from lexforge.vectors.word_vectors import WordVectors

_OWNER = "train_classifier"


def read_word_vectors(source: str | os.PathLike | WordVectors) -> WordVectors:
    """Vectors as they are, of a model that has them, of a file of any known format, or by the name
    of a data set.

    Raises:
        TypeError, ValueError, OSError: there are none, or some number of theirs is not finite.
    """
    if isinstance(source, WordVectors):
        found = source
    elif isinstance(own := getattr(source, "wv", None), WordVectors):
        found = own
    elif isinstance(source, str | os.PathLike):
        named = source in datasets.names("vectors") and not os.path.exists(source)
        found = load_vectors(datasets.dataset_path(os.fspath(source)) if named else source)
    else:
        raise TypeError(
            f"{_OWNER}: vectors must be word vectors, a model that has them, a file or the name of "
            f"a data set, got {type(source).__name__}"
        )
    if not found.index_to_key:
        raise ValueError(f"{_OWNER}: vectors must have words, got none")
    return found


def fill_tables(tables: Sequence[nn.Embedding], tokens: Sequence[str], vectors: WordVectors) -> int:
    """Copy the vectors of tokens into the rows of tables; returns how many tokens have one.

    The others get zeros, as in the reference text. Vectors that are composed of n-grams are there
    for every token.

    Raises:
        ValueError: the vectors have another size than the tables, no token has one, or a number is
            not finite.
    """
    size = tables[0].embedding_dim
    if vectors.vector_size != size:
        raise ValueError(
            f"{_OWNER}: vectors must have embed_size = {size} numbers, got {vectors.vector_size}"
        )
    rows = [row for row, token in enumerate(tokens) if token and token in vectors]
    if not rows:
        raise ValueError(f"{_OWNER}: vectors must have words of the vocabulary, and have none")
    found = np.asarray(vectors[[tokens[row] for row in rows]], dtype=np.float32)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        word = tokens[rows[int(np.argmin(finite))]]
        raise ValueError(
            f"{_OWNER}: vectors must be finite, and that of {word!r} holds nan or infinity"
        )
    with torch.no_grad():
        for table in tables:
            table.weight.zero_()
            table.weight[torch.tensor(rows)] = torch.from_numpy(found)
    return len(rows)
