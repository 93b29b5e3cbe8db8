"""FastText: word vectors with sub-words, behind gensim's interface."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from lexforge._arguments import either
from lexforge.models.fasttext.parts import FastTextParts, TrainedSubwords
from lexforge.models.fasttext.settings import FastTextSettings
from lexforge.models.word2vec.model import Word2Vec
from lexforge.models.word2vec.parts import Built
from lexforge.vectors.subword_vectors import SubwordVectors
from lexforge.vectors.word_vectors import WordVectors

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
        settings = FastTextSettings(
            vector_size=vector_size,
            alpha=alpha if learning_rate is None else learning_rate,
            min_alpha=min_alpha if min_learning_rate is None else min_learning_rate,
            window=window,
            shrink_windows=shrink_windows,
            negative=negative,
            negative_sharing=negative_sharing,
            deterministic=deterministic,
            ns_exponent=ns_exponent,
            sample=sample,
            min_count=min_count,
            max_vocab_size=max_vocab_size,
            max_final_vocab=max_final_vocab,
            max_sentence_length=max_sentence_length,
            lowercase=lowercase,
            encoding=encoding,
            errors=errors,
            epochs=epochs,
            seed=seed,
            sg=sg,
            hs=hs,
            cbow_mean=cbow_mean,
            min_n=min_n,
            max_n=max_n,
            bucket=bucket,
            subwords=subwords,
            composition=composition,
        )
        self._take(
            settings,
            workers=workers,
            device=device,
            sorted_vocab=sorted_vocab,
            null_word=null_word,
            init=init,
            init_lockf=init_lockf,
            encoded_folder=encoded_folder,
            compute_loss=compute_loss,
            callbacks=callbacks,
            comment=comment,
            hashfxn=hashfxn,
            batch_words=batch_words,
            progress=progress,
            word_ngrams=1,
        )
        corpus_file = either("FastText", corpus, corpus_file=corpus_file)
        self._begin(sentences, corpus_file, trim_rule)

    def _context(self, built: Built, words: Sequence[str | int]) -> torch.Tensor | None:
        assert isinstance(built.wv, TrainedSubwords) and built.bags is not None
        return built.wv.context(words, built.bags.mean)

    def _inputs(self, built: Built) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of CBOW, whose mean is over the rows of all contexts, sums; else the words' vectors."""
        assert isinstance(built.wv, TrainedSubwords) and built.bags is not None
        if self.sg or not built.bags.mean:
            return torch.from_numpy(built.wv._vectors), None
        return built.wv.sums()
