"""Pretrained word vectors in the tables of a network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from lexforge.models.word2vec.model import Word2Vec
from lexforge.text import datasets
from lexforge.text.tokenizers.base import encode_corpus
from lexforge.vectors import load_vectors
from lexforge.vectors.word_vectors import WordVectors

if TYPE_CHECKING:
    from lexforge.text.classification.texts import LabelledTexts
    from lexforge.text.tokenizers.base import Tokenizer
    from lexforge.training.progress import Progress

_OWNER = "train_classifier"
_PIECE = 1024  # texts that are encoded together
# Of word2vec on texts of one kind, as many as make a classifier.
WINDOW, EPOCHS, SAMPLE = 8, 5, 1e-4


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


def train_word_vectors(
    texts: Sequence[LabelledTexts],
    tokenizer: Tokenizer,
    size: int,
    seed: int,
    progress: Progress,
) -> WordVectors:
    """Vectors of the tokens of texts, by word2vec's skip-gram; unknown words count for nothing.

    Args:
        size: numbers of a vector. seed: of the run.

    Raises:
        ValueError: no text has a known word.
    """
    count = sum(len(each) for each in texts)
    progress.say(f"word vectors from {count:,} texts:")
    with tempfile.TemporaryDirectory(prefix="lexforge-") as folder:
        path = Path(folder, "tokens.txt")
        with open(path, "w", encoding="utf-8") as file:
            for each in texts:
                for side in (each.first, each.second or ()):
                    file.writelines(_lines(side, tokenizer))
        model = Word2Vec(
            vector_size=size, sg=1, window=WINDOW, epochs=EPOCHS, min_count=1, sample=SAMPLE,
            seed=seed, workers=torch.get_num_threads(),
        )  # fmt: skip
        model.build_vocab(corpus_file=path)
        model.train(corpus_file=path, progress=progress)
    return model.wv


def _lines(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
    """Known tokens of each text, with spaces between them."""
    tokens, unknown = tokenizer.tokens, tokenizer.unk_id
    for first in range(0, len(texts), _PIECE):
        for numbers in encode_corpus(tokenizer, texts[first : first + _PIECE]):
            yield " ".join(tokens[number] for number in numbers if number != unknown) + "\n"


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
