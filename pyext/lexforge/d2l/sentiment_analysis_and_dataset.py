"""The film reviews of IMDb."""

from __future__ import annotations

import os
from itertools import chain

import numpy as np
import torch

from lexforge.d2l.text import Vocab, padded_numbers, tokenize
from lexforge.d2l.tools import load_array
from lexforge.text.classification import LabelledTexts, read_labelled

_CLASSES = ("negative", "positive")


def read_imdb(data_dir: str | os.PathLike, is_train: bool) -> tuple[list[str], list[int]]:
    """Reviews, without their line breaks, and labels: 1 positive, 0 negative.

    Args:
        data_dir: folder with ``train`` and ``test``, as ``download_extract("aclImdb", "aclImdb")``
            gives; or the archive that such a folder comes in.
        is_train: the training split, else the test split.

    Returns:
        Positive reviews, then negative ones, each in the order of their files' names.
    """
    return _as_the_text(read_labelled(data_dir, _split(is_train), names=_CLASSES, empty="keep"))


def load_data_imdb(batch_size: int, num_steps: int = 500, *, compat: bool = False):
    """Minibatches of reviews, and the vocabulary of words with at least 5 occurrences.

    The reviews are found through LEXFORGE_DATA, in the cache, or by download.

    Args:
        batch_size: reviews in a minibatch. num_steps: words of each, cut or padded.
        compat: the text's vocabulary of 49,346 tokens, in which padding is ``<unk>``; by default
            ``<pad>`` is reserved: 49,347.

    Returns:
        Two iterables over (words int64 [B, num_steps], labels int64 [B]), the training one
        shuffled, and the vocabulary.
    """
    train, test = (
        _as_the_text(read_labelled("imdb", _split(is_train), names=_CLASSES, empty="keep"))
        for is_train in (True, False)
    )
    vocab = Vocab(
        list(chain.from_iterable(tokenize(train[0]))),
        min_freq=5,
        reserved_tokens=[] if compat else ["<pad>"],
    )
    iters = [
        load_array(
            (padded_numbers(texts, vocab, num_steps), torch.tensor(labels)),
            batch_size,
            is_train=is_train,
        )
        for (texts, labels), is_train in ((train, True), (test, False))
    ]
    return iters[0], iters[1], vocab


def _split(is_train: bool) -> str:
    return "train" if is_train else "test"


def _as_the_text(reviews: LabelledTexts) -> tuple[list[str], list[int]]:
    assert reviews.labels is not None
    order = np.argsort(-reviews.labels, kind="stable")
    texts = [reviews.first[row].replace("\n", "") for row in order]
    return texts, reviews.labels[order].tolist()
