"""FastText: word vectors with sub-words, behind gensim's interface."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lexforge.models.fasttext.parts import NGRAM_LOCKS, FastTextParts, TrainedSubwords
from lexforge.models.fasttext.settings import FastTextSettings
from lexforge.models.word2vec.gensim_model import gensim_model, parts_of
from lexforge.models.word2vec.model import Word2Vec
from lexforge.models.word2vec.parts import LOCKS, Built
from lexforge.models.word2vec.storage import COUNTS
from lexforge.text.subwords import SubwordIndex
from lexforge.vectors.subword_vectors import SubwordVectors
from lexforge.vectors.word_vectors import WordVectors

if TYPE_CHECKING:
    from typing_extensions import Self

FastTextKeyedVectors = SubwordVectors  # gensim's name


class FastText(FastTextParts, Word2Vec):
    """Word vectors with sub-words, with the names and habits of gensim 4's ``FastText``.

    The models of Bojanowski et al. 2017 ("Enriching word vectors with subword information"),
    trained as the original tool does: a word's vector is the mean of a row of its own and of one
    for each of its character n-grams, so that words of few occurrences learn from words that look
    like them, and words out of the vocabulary have vectors too. A word predicts the words around it
    (skip-gram, ``sg=1``), or they predict it all together (CBOW, ``sg=0``, the default); for the
    rest it is a :class:`~lexforge.Word2Vec`, with its methods, and its promises on seeds, threads,
    checkpoints and resuming.

    N-grams share ``bucket`` rows by their hashes, fastText's own. Rows are kept for those buckets
    only that n-grams of the vocabulary fall into, those of frequent words first, so that the table
    is as large as the text asks for; a bucket that no word of the vocabulary uses is one of zeros.

    Args:
        sentences, corpus_file, vector_size, window, min_count, max_vocab_size, sample, seed,
            workers, sg, hs, negative, ns_exponent, epochs, null_word, trim_rule, sorted_vocab,
            callbacks, max_final_vocab, shrink_windows, compute_loss, comment, hashfxn, batch_words,
            device, encoded_folder, max_sentence_length, lowercase, encoding, errors, progress,
            corpus, learning_rate, min_learning_rate: As of :class:`~lexforge.Word2Vec`.
        alpha, min_alpha: First and last learning rate; linear in between. ``alpha`` is 0.05 for
            skip-gram, as in the original tool, 0.1 for CBOW, and 0.01 where inputs are sums; the
            original has 0.05 for all, gensim 0.025. Each row of a mean takes the whole step, as in
            both of them.
        word_ngrams: Must be 1: n-grams of words are for classifiers.
        cbow_mean: CBOW predicts from the mean (1) or the sum (0) of all rows of its context.
        min_n, max_n: Characters of n-grams, of the word between ``<`` and ``>``; ``max_n=0`` is
            without any.
        bucket: How many rows n-grams may share.
        subwords: ``"hashed"``, or ``"explicit"``: a row for each n-gram of the vocabulary's words,
            no two of which share one; others are left out.
        composition: ``"mean"``, or ``"sum"``: a word's vector is the sum of its rows, as in some
            textbooks.
        negative_sharing: Of skip-gram: noise words for each pair of words, or for all pairs of a
            window together.
        precision: Of the numbers in the tables while they are trained, as of
            :class:`~lexforge.Word2Vec`; with n-grams there is little to gain.
        deterministic: The result is the same to the last bit with any number of workers, as of
            :class:`~lexforge.Word2Vec`.
        init: Vectors to start from, as of :class:`~lexforge.Word2Vec`: they are the own rows of
            words that they know. Those of a model with the same kind of n-grams bring its rows of
            words and n-grams.
        init_lockf: What steps of own rows are multiplied by for these words.

    Attributes:
        wv: :class:`~lexforge.vectors.SubwordVectors`, made of rows of the table being trained:
            ``wv.vectors_vocab`` float32 [V, D] of words and ``wv.vectors_ngrams`` float32 [n, D] of
            n-grams, views of it. ``wv.vectors_vocab_lockf`` (also ``wv.vectors_lockf``) and
            ``wv.vectors_ngrams_lockf`` say what steps of these rows are multiplied by.
        syn1neg, syn1, ...: As of :class:`~lexforge.Word2Vec`.

    Raises:
        ValueError: An argument out of range; ``min_n`` above ``max_n``; ``bucket=0`` with n-grams
            that are hashed; ``hs=0`` and ``negative=0``.
        TypeError: A corpus or an argument of the wrong kind.

    Example:
        >>> from lexforge import FastText
        >>> model = FastText([["blue", "sky"], ["grey", "sky"]] * 50, vector_size=16, min_count=1)
        >>> len(model.wv), model.wv["greyish"].shape
        (3, (16,))
    """

    def __init__(
        self,
        sentences: Iterable[Sequence[str]] | None = None,
        corpus_file: Any = None,
        sg: int = 0,
        hs: int = 0,
        vector_size: int = 100,
        alpha: float | None = None,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        word_ngrams: int = 1,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int | None = None,
        min_alpha: float = 1e-4,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        hashfxn: Any = None,
        epochs: int = 5,
        null_word: int = 0,
        min_n: int = 3,
        max_n: int = 6,
        sorted_vocab: int = 1,
        bucket: int = 2_000_000,
        trim_rule: Any = None,
        batch_words: int = 10_000,
        callbacks: Sequence[Any] = (),
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        *,
        subwords: str = "hashed",
        composition: str = "mean",
        compute_loss: bool = False,
        comment: str | None = None,
        negative_sharing: str = "pair",
        precision: str = "float32",
        deterministic: bool = False,
        device: str | torch.device = "auto",
        encoded_folder: str | os.PathLike | None = None,
        max_sentence_length: int = 10_000,
        lowercase: bool = False,
        encoding: str = "utf-8",
        errors: str | None = None,
        progress: bool = False,
        corpus: Any = None,
        learning_rate: float | None = None,
        min_learning_rate: float | None = None,
        init: str | os.PathLike | WordVectors | None = None,
        init_lockf: float = 1.0,
    ) -> None:
        if word_ngrams != 1:
            raise NotImplementedError(
                f"FastText: word_ngrams must be 1, got {word_ngrams!r}: n-grams of words are for "
                "classifiers"
            )
        self.word_ngrams = 1
        self._start(FastTextSettings, locals())

    @classmethod
    def from_gensim(
        cls, model: Any, *, workers: int | None = None, device: str | torch.device = "auto"
    ) -> Self:
        """The same model as a ``gensim.models.FastText`` of gensim 4, to be used or trained on.

        As :meth:`Word2Vec.from_gensim`; with a row for every bucket, as gensim has it.

        Raises:
            TypeError: Not a model of gensim's ``FastText``, or words that are no str.
            ValueError: No vocabulary yet, or settings beyond our limits.
        """
        found, wv = parts_of(model, "FastText"), model.wv
        none = not wv.bucket or wv.max_n < wv.min_n
        lengths = {"min_n": wv.min_n, "max_n": 0 if none else wv.max_n, "bucket": wv.bucket}
        ours = cls(**found.settings, **lengths, workers=workers, device=device)
        for name in COUNTS:
            setattr(ours, name, int(getattr(model, name) or 0))
        index = SubwordIndex.every(ours.min_n, ours.max_n, 0 if none else wv.bucket)
        built = ours._built = ours._built_for(found.vocabulary, found.tree, subwords=index)
        ngrams = np.asarray(wv.vectors_ngrams[: index.rows], np.float32)
        tables = {**found.tables, "input": np.concatenate([found.tables["input"], ngrams])}
        for name, view in ours._views(built).items():
            view.copy_(torch.from_numpy(tables[name]))
        built.wv.set_locks({LOCKS: found.lockf, NGRAM_LOCKS: wv.vectors_ngrams_lockf})
        built.wv.refresh()
        return ours

    def to_gensim(self) -> Any:
        """The same model as a ``gensim.models.FastText``; buckets without a row are zeros there.

        What gensim has no name for is lost, as with :meth:`Word2Vec.to_gensim`.

        Raises:
            ModuleNotFoundError: gensim is not installed.
            ValueError: No vocabulary yet; sums of rows, or n-grams without buckets.
        """
        from gensim.models import FastText as GensimFastText

        built = self._needed("to_gensim")
        assert isinstance(built.wv, TrainedSubwords)
        of_wv = built.wv.to_gensim()  # refuses what gensim has no class for
        tables = {name: view.numpy() for name, view in self._views(built).items()}
        locks = built.wv.locks()
        model = gensim_model(
            self.settings,
            built.vocabulary,
            {**tables, "input": tables["input"][: len(built.wv)]},
            built.tree,
            locks[LOCKS],
            workers=self.workers,
            kind=GensimFastText,
            min_n=of_wv.min_n,
            max_n=of_wv.max_n,
            bucket=of_wv.bucket,
        )
        model.wv.vectors_ngrams = of_wv.vectors_ngrams
        ngrams = locks[NGRAM_LOCKS].copy()
        if len(ngrams) > 1:
            of_buckets = np.ones(of_wv.bucket, np.float32)
            of_buckets[built.wv.subwords.bucket_of_rows()] = ngrams
            ngrams = of_buckets
        model.wv.vectors_ngrams_lockf = ngrams
        model.wv.adjust_vectors()
        for name in ("comment", *COUNTS):
            setattr(model, name, getattr(self, name))
        return model

    def _context(self, built: Built, words: Sequence[str | int]) -> torch.Tensor | None:
        assert isinstance(built.wv, TrainedSubwords) and built.bags is not None
        return built.wv.context(words, built.bags.mean)

    def _inputs(self, built: Built) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of CBOW, whose mean is over the rows of all contexts, sums; else the words' vectors."""
        assert isinstance(built.wv, TrainedSubwords) and built.bags is not None
        if self.sg or not built.bags.mean:
            return torch.from_numpy(built.wv._vectors), None
        return built.wv.sums()
