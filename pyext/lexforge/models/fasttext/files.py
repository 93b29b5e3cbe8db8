"""Models of the original fastText (.bin), both ways, under gensim's names."""

from __future__ import annotations

import codecs
import os
from typing import Any

import numpy as np
import torch

from lexforge._text import WordBytes
from lexforge.models.fasttext.model import FastText
from lexforge.models.word2vec.parts import LOGGER
from lexforge.models.word2vec.trainer import sample_share
from lexforge.text import Vocabulary
from lexforge.text.subwords import SubwordIndex
from lexforge.vectors.formats.fasttext import (
    LOSSES,
    MODELS,
    FastTextFile,
    read_fasttext,
    write_fasttext,
)
from lexforge.vectors.quantised import QuantizedMatrix
from lexforge.vectors.subword_vectors import SubwordVectors

# What bytes that are not in the encoding become, as in gensim: \xe6.
ESCAPED = "backslashreplace"
_HS, _NS = (number for name in ("hs", "ns") for number, each in LOSSES.items() if each == name)
_CBOW, _SG = (number for name in ("cbow", "sg") for number, each in MODELS.items() if each == name)


def load_facebook_model(
    path: str | os.PathLike,
    encoding: str = "utf-8",
    *,
    workers: int | None = None,
    device: str | torch.device = "auto",
    progress: bool = False,
) -> FastText:
    """A model of the original fastText (.bin), with a row for every bucket, to be trained on.

    Learning rate, seed and number of threads are not in the file: they are the defaults. Words of
    equal counts keep their order.

    Args:
        path: The file.
        encoding: Of its words; bytes that are not in it become ``\\xe6`` and the like, as in
            gensim. N-grams are those of the words in this encoding.
        workers, device, progress: As of :class:`~lexforge.FastText`.

    Raises:
        NotImplementedError: A classifier (``lexforge.fasttext.load_model`` reads it), or a model of
            a loss that words are not trained by here; :func:`load_facebook_vectors` reads the
            vectors of both.
        ValueError: With the path; the file is damaged, or no fastText model.
        FileNotFoundError: There is no such file.
    """
    file = read_fasttext(path, encoding=encoding)
    name = os.fspath(path)
    matrices = file.input, file.output
    if file.supervised or any(isinstance(each, QuantizedMatrix) for each in matrices):
        raise NotImplementedError(
            f"{name}: a classifier, which is no model of words to be trained on; its vectors: "
            "load_facebook_vectors; its labels: lexforge.fasttext.load_model"
        )
    if file.loss not in (_HS, _NS):
        raise NotImplementedError(
            f"{name}: a model with the loss {LOSSES[file.loss]} cannot be trained on here, only "
            "hs and ns; load_facebook_vectors reads its vectors"
        )
    hs, none = int(file.loss == _HS), file.minn > file.maxn
    try:
        model = FastText(
            vector_size=file.dim,
            window=file.ws,
            epochs=file.epoch,
            negative=0 if hs else file.neg,
            hs=hs,
            sg=int(file.model == _SG),
            bucket=file.bucket,
            min_count=max(file.minCount, 0),
            sample=file.t,
            min_n=max(file.minn, 0),
            max_n=0 if none else file.maxn,
            workers=workers,
            device=device,
            progress=progress,
        )
        order = np.argsort(-file.counts, kind="stable")
        decoded: list[Any] = file.decoded(ESCAPED)
        vocabulary = Vocabulary(
            [decoded[row] for row in order], file.counts[order], tokens_read=file.ntokens
        )
        built = model._built_for(vocabulary, subwords=file.subwords)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    views, words, ngrams = model._views(built), len(vocabulary), file.subwords.rows
    views["input"][:words] = _rows(file.input, order)
    views["input"][words:] = _rows(file.input, slice(words, words + ngrams))
    if hs:  # of inner nodes, which no order of words changes
        views["tree"].copy_(_rows(file.output, slice(words - 1)))
    else:
        views["output"].copy_(_rows(file.output, order))
    built.wv.refresh()
    model._built, model.corpus_total_words = built, file.ntokens
    return model


def load_facebook_vectors(path: str | os.PathLike, encoding: str = "utf-8") -> SubwordVectors:
    """The vectors of a fastText model (.bin, .ftz), of any word: mapped, as they are asked for.

    Args:
        path, encoding: As of :func:`load_facebook_model`.

    Raises:
        ValueError: With the path; the file is damaged, or no fastText model.
        FileNotFoundError: There is no such file.
    """
    file = read_fasttext(path, encoding=encoding)
    words: list[Any] = file.decoded(ESCAPED)
    rows = len(words)
    own, ngrams = np.asarray(file.input[:rows]), np.asarray(file.input[rows:])
    index = file.subwords
    return SubwordVectors.of(words, own, ngrams[: index.rows], index, file.counts)


def save_facebook_model(
    model: FastText,
    path: str | os.PathLike,
    encoding: str = "utf-8",
    lr_update_rate: int = 100,
    word_ngrams: int = 1,
) -> None:
    """Write a model as the original fastText does (.bin, version 12), for it and for gensim.

    Buckets without a row are written as zeros, so that all words have the vectors there that they
    have here. With ``hs=1`` and noise words the file, which has one output matrix, holds that of
    ``hs``.

    Args:
        model: With a vocabulary.
        path: The file; it appears once it is complete.
        encoding: Of words; that of the file for a model which was loaded from one.
        lr_update_rate, word_ngrams: Written as they are.

    Raises:
        ValueError: What such files do not know: sums of rows, n-grams without buckets; another
            encoding than n-grams are told in; no vocabulary yet; a word with a NUL.
    """
    write_fasttext(path, facebook_file(model, encoding, lr_update_rate, word_ngrams))


def facebook_file(
    model: FastText, encoding: str = "utf-8", lr_update_rate: int = 100, word_ngrams: int = 1
) -> FastTextFile:
    """What :func:`save_facebook_model` writes; its matrices are those of the model.

    Arguments and errors are those of it.
    """
    built, settings = model._needed("save_facebook_model"), model.settings
    index = built.subwords
    assert index is not None
    if settings.composition != "mean" or index.kind not in ("every", "held"):
        raise ValueError(
            "save_facebook_model: such files hold means of hashed n-grams, and this model has "
            f"composition={settings.composition!r}, subwords={settings.subwords!r}"
        )
    if index.max_n and _same(encoding) != _same(index.encoding):
        raise ValueError(
            f"save_facebook_model: encoding must be {index.encoding!r}, in which the n-grams of "
            f"this model are told, got {encoding!r}"
        )
    if settings.hs and settings.negative:
        LOGGER.warning(
            "save_facebook_model: the file has one output matrix: that of hs, and none of "
            "negative=%d",
            settings.negative,
        )
    words, rows = built.vocabulary, model._views(built)["input"].numpy()
    every: Any = rows if index.kind == "every" else _EveryBucket(rows, len(words), index)
    return FastTextFile(
        dim=settings.vector_size,
        ws=settings.window,
        epoch=settings.epochs,
        minCount=settings.min_count,
        neg=settings.negative,
        wordNgrams=word_ngrams,
        loss=_HS if settings.hs else _NS,
        model=_SG if settings.sg else _CBOW,
        bucket=index.bucket,
        minn=settings.min_n,
        maxn=index.max_n,
        lrUpdateRate=lr_update_rate,
        t=sample_share(settings.sample, words.total),
        words=WordBytes.of(word.encode(encoding) for word in words.words),
        counts=words.counts,
        ntokens=model.corpus_total_words or words.total,
        input=every,
        output=model.syn1 if settings.hs else model.syn1neg,
        encoding=encoding,
    )


class _EveryBucket:
    """Rows of words, then one for each bucket, most of them zeros, as a matrix.

    Args:
        rows: float32 [V + n, D], of the words and of what `index` has.
        words: V.
    """

    def __init__(self, rows: np.ndarray, words: int, index: SubwordIndex) -> None:
        self.rows, self.subwords = rows, index
        places = words + index.bucket_of_rows()
        order = np.argsort(places)
        self._places = np.concatenate([np.arange(words), places[order]])
        self._sources = np.concatenate([np.arange(words), words + order])
        self.shape = words + index.bucket, rows.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """One row, those of some numbers, or of a slice."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows)
        found = np.minimum(np.searchsorted(self._places, rows), len(self._places) - 1)
        there = (self._places[found] == rows)[..., None]
        return np.where(there, self.rows[self._sources[found]], np.float32(0))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)


def _rows(matrix: np.ndarray | QuantizedMatrix, rows: np.ndarray | slice) -> torch.Tensor:
    """Some rows of a mapped matrix."""
    return torch.from_numpy(np.ascontiguousarray(matrix[rows], np.float32))


def _same(encoding: str) -> str:
    return codecs.lookup(encoding).name
