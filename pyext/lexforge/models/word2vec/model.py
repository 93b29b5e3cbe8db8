"""Word2Vec: word vectors by skip-gram or CBOW, behind gensim's interface."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lexforge._arguments import MAX_THREADS, either, existing, real, whole
from lexforge._errors import NotReadyError
from lexforge._library import resolve_device
from lexforge.models.word2vec.building import Word2VecVocabulary
from lexforge.models.word2vec.parts import LOGGER, Built
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.models.word2vec.storage import StoredWord2Vec
from lexforge.models.word2vec.trainer import encoded, rounds_of, word2vec_steps
from lexforge.models.word2vec.tree import log_likelihoods, word_log_probabilities
from lexforge.text import Corpus
from lexforge.training.lock import folder_of_run
from lexforge.training.progress import PLAIN_SECONDS, Progress, shown_by
from lexforge.training.stream_job import (
    StreamState,
    check_resume,
    check_words,
    run_steps,
)
from lexforge.vectors.word_vectors import WordVectors

if TYPE_CHECKING:
    from lexforge.training.signals import StopRequest

LARGEST_CUDA_SIZE = 1024  # of a vector: a warp's registers hold a row
# Arguments that a model has as attributes, beside its settings and what is checked.
KEPT = (
    "encoded_folder",
    "compute_loss",
    "callbacks",
    "comment",
    "hashfxn",
    "batch_words",
    "progress",
)


class Word2Vec(Word2VecVocabulary, StoredWord2Vec):
    """Word vectors from raw text, with the names, defaults and habits of gensim 4's ``Word2Vec``.

    The models of Mikolov et al. 2013 are trained as the original tool does: SGD over the corpus
    with linearly falling learning rate, frequent words sub-sampled, windows of random width. The
    words around a word predict it, each by itself (skip-gram, ``sg=1``) or all together (CBOW,
    ``sg=0``, the default), against a few noise words (negative sampling, ``negative >= 1``) or
    through a binary tree of the vocabulary (hierarchical softmax, ``hs=1``), or both.

    Every random decision is keyed by (seed, epoch, position), so a run samples the same stream with
    any number of threads. With ``workers=1`` its result is the same to the last bit, also after a
    resume; with ``deterministic=True`` it is so with any number of workers.

    Args:
        sentences: Re-iterable of sentences, each a list of words. With it (or ``corpus_file``)
            the vocabulary is built and the model trained at once.
        corpus_file: Instead of ``sentences``: a text file (may be compressed; one sentence a line,
            words between white space), a folder of such files, a list of paths, or the name of a
            data set.
        vector_size: Dimension D of the vectors.
        alpha, min_alpha: First and last learning rate; linear in between. ``alpha`` is 0.025, and
            0.075 for CBOW's mean, whose gradient is divided by the number of context words too
            (gensim leaves that out, and scores as much at 0.025).
        window: Largest distance between a word and its context words.
        min_count: Words seen less often are left out.
        max_vocab_size: Keep at most this many of the most frequent words.
        sample: Sub-sampling threshold; 0 keeps everything. From 1 on it is a count instead of a
            share, as in gensim.
        seed: Of the first vectors and of all sampling.
        workers: Threads; all cores by default.
        sg: 1: skip-gram, 0: CBOW.
        hs: 1: hierarchical softmax, over a Huffman tree of the counts.
        cbow_mean: CBOW predicts from the mean of the context's vectors (1) or their sum (0).
        negative: Noise words that a word is told apart from, for each pair of words or each window
            (``negative_sharing``); 0: no negative sampling.
        ns_exponent: Noise words are drawn in proportion to ``count ** ns_exponent``.
        epochs: Passes over the corpus.
        max_final_vocab: Raises the minimum count until at most this many words remain, so that
            words of equal count stay or go together.
        shrink_windows: Draw the window of each word from 1..window; otherwise always ``window``.
        compute_loss: Accepted; the loss is always known (:meth:`get_latest_training_loss`).
        callbacks: For this training: objects with any of ``on_train_begin``, ``on_epoch_begin``,
            ``on_epoch_end``, ``on_train_end``, each called with the model
            (:class:`~lexforge.CallbackAny2Vec`).
        comment: Kept with the model.
        hashfxn, batch_words: Accepted and without effect: the first vectors come from a seeded
            generator, and there are no batches.
        null_word: 1: the vocabulary has the word NUL too, with a count of 1.
        trim_rule: Which words to keep, as in :meth:`build_vocab`; not kept with the model.
        sorted_vocab: Must be 1: words are ordered by count.
        negative_sharing: Of skip-gram: ``"pair"`` draws noise words for each (word, context) pair;
            ``"window"`` draws once for all pairs of a window, which is faster. CBOW has one input
            and draws once.
        precision: Of the numbers in the tables while they are trained, on the CPU: ``"float32"``,
            or ``"bf16"``, which halves what is read and written: faster where the tables exceed the
            caches, slower for a few thousand words. Sums and products are float32 all the same, and
            what goes back to a table is rounded at random.
        deterministic: The result is the same to the last bit with any number of workers. It is
            another one than without: two parts of the text, a 128th of it each or less, are trained
            at a time, and what they changed comes together when both have ended (on a GPU, what
            some windows changed). On the CPU it takes up to two copies of the tables, and 2 threads
            help.
        device: ``"auto"`` (the GPU when it is usable, and ``precision`` float32), ``"cpu"`` or
            ``"cuda"``.
        encoded_folder: Keep the encoded corpus (4 bytes per word) there, and use it again for the
            same files and vocabulary; a temporary folder by default.
        max_sentence_length: Longer sentences are split there.
        lowercase: Turn words to lower case while reading.
        encoding: Of files; what is compressed or begins with a byte order mark is known without.
        errors: What to do with bytes that are not text: ``"replace"`` puts U+FFFD, ``"strict"``
            raises. By default they are replaced where they are few, and a file of other bytes is
            refused.
        progress: Show vocabulary building and training on standard error.
        init: Vectors to start from, as a file that :func:`~lexforge.load_vectors` reads, or loaded:
            words that they know begin with their vector instead of a random one.
        init_lockf: What steps of training are multiplied by for these words: 0 keeps their vectors
            as they are (``wv.vectors_lockf``, which says it for each word).
        corpus, learning_rate, min_learning_rate: What the other models call ``corpus_file``
            (sentences too), ``alpha`` and ``min_alpha``.

    Attributes:
        wv: :class:`~lexforge.KeyedVectors` on the same memory as the table being trained.
        initialised: Words that began with a vector of ``init``.
        syn1neg: float32 array [V, D], vectors of words as what is predicted and as noise: a view of
            the table, with ``negative >= 1``.
        syn1: float32 array [V, D], vectors of the tree's V - 1 inner nodes: likewise, with
            ``hs=1``.
        corpus_total_words: Words of the corpus last counted.
        corpus_count: Its sentences; for files, those with known words, and 0 before training.
        raw_vocab: Counts of all words, by :meth:`scan_vocab` or with ``keep_raw_vocab``.
        effective_min_count: The least count of the words that were kept.
        train_count: How often :meth:`train` came to its end.
        min_alpha_yet_reached: Learning rate where the last training ended.
        lifecycle_events: See :meth:`add_lifecycle_event`.
        epochs, alpha, window, ...: The arguments.

    Raises:
        ValueError: An argument out of range; ``hs=0`` and ``negative=0``.
        TypeError: A corpus or an argument of the wrong kind.

    Example:
        >>> from lexforge import Word2Vec
        >>> model = Word2Vec([["blue", "sky"], ["grey", "sky"]] * 50, vector_size=16, min_count=1)
        >>> len(model.wv)
        3
    """

    encoded_folder: str | os.PathLike | None
    compute_loss: bool
    callbacks: Sequence[Any]

    def __init__(
        self,
        sentences: Iterable[Sequence[str]] | None = None,
        corpus_file: Any = None,
        vector_size: int = 100,
        alpha: float | None = None,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int | None = None,
        min_alpha: float = 1e-4,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        hashfxn: Any = None,
        epochs: int = 5,
        null_word: int = 0,
        trim_rule: Any = None,
        sorted_vocab: int = 1,
        batch_words: int = 10_000,
        compute_loss: bool = False,
        callbacks: Sequence[Any] = (),
        comment: str | None = None,
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        *,
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
        self._start(Word2VecSettings, locals())

    def _start(self, kind: type[Word2VecSettings], given: Mapping[str, Any]) -> None:
        """The constructor's: a model of its arguments, trained if a corpus is among them."""
        name, call = self._name, SimpleNamespace(**given)
        if not call.sorted_vocab:
            raise ValueError(f"{name}: sorted_vocab must be 1: words are ordered by count")
        if call.learning_rate is not None:
            call.alpha = call.learning_rate
        if call.min_learning_rate is not None:
            call.min_alpha = call.min_learning_rate
        vars(self).update(kind.of(vars(call)).record())
        vars(self).update({each: getattr(call, each) for each in KEPT})
        if call.workers is not None:
            call.workers = whole(name, "workers", call.workers, high=MAX_THREADS)
        self.workers = call.workers
        self.null_word, self.sorted_vocab = whole(name, "null_word", call.null_word, 0, 1), 1
        if call.device == "auto" and self.precision != "float32":
            call.device = "cpu"
        self.device = resolve_device(name, call.device)
        if self.device.type == "cuda" and self.vector_size > LARGEST_CUDA_SIZE:
            raise ValueError(
                f"{name}: vector_size must be 1 to {LARGEST_CUDA_SIZE} on CUDA, got "
                f"{self.vector_size}"
            )
        if self.device.type == "cuda" and self.precision != "float32":
            raise ValueError(
                f"{name}: precision must be 'float32' on CUDA, got {self.precision!r}: "
                "device='cpu' has both"
            )
        self.corpus_count = self.corpus_total_words = self.train_count = 0
        self.raw_vocab, self.effective_min_count = {}, self.min_count
        self.lifecycle_events = []
        self.init, self.initialised = existing(f"{name}: init", call.init), 0
        self.init_lockf = real(name, "init_lockf", call.init_lockf)
        self._before = self._built = self._state = None
        self.add_lifecycle_event("created", params=str(self))

        sentences = call.sentences
        corpus_file = either(name, call.corpus, corpus_file=call.corpus_file)
        if sentences is not None or corpus_file is not None:
            self._corpus(name, sentences, corpus_file, passes=2)
            self.build_vocab(sentences, corpus_file, trim_rule=call.trim_rule)
            self.train(
                sentences,
                corpus_file,
                epochs=self.epochs,
                compute_loss=self.compute_loss,
                callbacks=self.callbacks,
            )
            return
        for what, later in (("trim_rule", "build_vocab"), ("callbacks", "train")):
            if getattr(call, what):
                LOGGER.warning("%s: %s without a corpus: give it to %s()", name, what, later)

    def train(
        self,
        corpus_iterable: Iterable[Sequence[str]] | None = None,
        corpus_file: Any = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        word_count: int = 0,
        queue_factor: int = 2,
        report_delay: float = PLAIN_SECONDS,
        compute_loss: bool = False,
        callbacks: Sequence[Any] = (),
        *,
        progress: Progress | bool | None = None,
        checkpoint_folder: str | os.PathLike | None = None,
        checkpoint_every: float | None = None,
        checkpoint_last: bool = True,
        stop: StopRequest | None = None,
        resume: bool = False,
    ) -> tuple[int, int]:
        """Train on a corpus with the vocabulary at hand.

        Args:
            corpus_iterable, corpus_file: As in the constructor; exactly one of them.
            total_examples, total_words, word_count, queue_factor: Accepted and without effect: the
                corpus is encoded first, and its true size sets the learning rate.
            epochs: Passes over this corpus; the model's ``epochs`` by default.
            start_alpha, end_alpha: Learning rates, the model's by default.
            report_delay: Seconds between two lines of progress.
            compute_loss: Accepted; the loss is always known.
            callbacks: As in the constructor.
            progress: Where to show and log it, instead of the constructor's ``progress``.
            checkpoint_folder: Save there every ``checkpoint_every`` minutes, when stopped, and at
                the end.
            checkpoint_every: Minutes; None for no checkpoints in between.
            checkpoint_last: Whether to save at the end, too.
            stop: When it is requested, training saves and returns early.
            resume: Continue the unfinished run of a loaded model, on the same corpus.

        Returns:
            Words trained (after sub-sampling) and words read (before) in this run.

        Raises:
            ValueError: No vocabulary; no word of the corpus is in it; a resume that is not one;
                words that a checkpoint cannot hold.
            TrainingDivergedError: The loss is no longer finite; no checkpoint was written since.
            CheckpointError: The last checkpoint could not be written.
            FolderInUseError: Another process is training in ``checkpoint_folder``.
        """
        built, settings, self.compute_loss = self._needed("train"), self.settings, compute_loss
        first_alpha = self.alpha if start_alpha is None else start_alpha
        if not resume:
            self._warn(first_alpha)
        check_words(built.vocabulary.words, checkpoint_folder)
        corpus = self._corpus("train", corpus_iterable, corpus_file)
        with (
            shown_by(progress, self.progress, report_delay) as shown,
            folder_of_run(checkpoint_folder),
            encoded(
                corpus,
                built.vocabulary,
                settings,
                self.encoded_folder,
                threads=self.workers,
                progress=shown,
            ) as text,
        ):
            if text.num_tokens == 0:
                raise ValueError("train: no word of the corpus is in the vocabulary")
            if text.num_tokens == text.num_sentences:
                raise ValueError(
                    "train: no word has a context: each of the "
                    f"{text.num_sentences:,} sentences has one word of the vocabulary only"
                )
            self.corpus_count = self.corpus_count or text.num_sentences
            identity = text.identity(built.vocabulary.sha1())
            if resume:
                given = {"epochs": epochs, "alpha": start_alpha, "min_alpha": end_alpha}
                state = check_resume(self._state, given, "corpus", identity)
                then = "windows_together" in state.corpus
                if settings.deterministic != then:
                    raise ValueError(
                        f"train: cannot resume: deterministic is {settings.deterministic} now, "
                        f"{then} in the interrupted run"
                    )
            else:
                passes = whole("train", "epochs", self.epochs if epochs is None else epochs)
                min_alpha = self.min_alpha if end_alpha is None else end_alpha
                rounds = rounds_of(settings, text.num_tokens) if settings.deterministic else {}
                state = StreamState(
                    epochs=passes,
                    total=text.num_tokens * passes,
                    alpha=real("train", "start_alpha", first_alpha),
                    min_alpha=real("train", "end_alpha", min_alpha),
                    first_epoch=self._next_epoch(),
                    corpus={**identity, **rounds},
                )
            self._state = state
            steps = word2vec_steps(
                text,
                built.vocabulary,
                settings,
                state,
                built.tables,
                built.tree,
                lambda: built.wv.row_factors(),
                built.bags,
                device=self.device,
                threads=self.workers,
                refresh=lambda: built.wv.refresh(),
            )
            run_steps(
                steps,
                state,
                self,
                callbacks=callbacks,
                progress=shown,
                checkpoint_folder=checkpoint_folder,
                checkpoint_every=checkpoint_every,
                checkpoint_last=checkpoint_last,
                stop=stop,
            )
        self.train_count += state.finished
        self.add_lifecycle_event("train", words=state.done, seconds=round(state.seconds, 1))
        return state.centers, state.done

    def _warn(self, alpha: float) -> None:
        """Log what may be a mistake."""
        if self.hs and self.negative:
            LOGGER.warning(
                "Both hierarchical softmax and negative sampling are activated. Each word trains "
                "both; negative=0 or hs=0 leaves one of them out."
            )
        if self.train_count and alpha > self.min_alpha_yet_reached:
            LOGGER.warning(
                "Effective 'alpha' higher than previous training cycles: it begins at %g, and "
                "had come down to %g",
                alpha,
                self.min_alpha_yet_reached,
            )

    def _next_epoch(self) -> int:
        """Key of the next run's first epoch: no two epochs of a model sample alike."""
        if self._state is None:
            return 0
        return self._state.first_epoch + min(self._state.epoch + 1, self._state.epochs)

    def predict_output_word(
        self, context_words_list: Sequence[str | int], topn: int = 10
    ) -> list[tuple[str, float]] | None:
        """The words most likely between the given context words.

        What is known of the context is the mean of its vectors (their sum with ``cbow_mean=0``), as
        in CBOW, whatever the model. Probabilities are the softmax over the whole vocabulary, or,
        without negative sampling, those of hierarchical softmax.

        Args:
            context_words_list: Words or row numbers; unknown ones are left out.
            topn: How many.

        Returns:
            (word, probability) by falling probability, the probabilities of the whole vocabulary
            summing to 1; None when no context word is known.
        """
        built = self._needed("predict_output_word")
        vocabulary, tables = built.vocabulary, self._views(built)
        context = self._context(built, context_words_list)
        if context is None:
            LOGGER.warning("predict_output_word: none of the context words is in the vocabulary")
            return None
        if "output" in tables:
            probability = torch.softmax(tables["output"] @ context, dim=0)
        else:
            assert built.tree is not None
            probability = word_log_probabilities(built.tree, tables["tree"], context).exp()
        best = probability.topk(min(topn, len(vocabulary)))
        return [
            (vocabulary.words[row], value)
            for value, row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def _context(self, built: Built, words: Sequence[str | int]) -> torch.Tensor | None:
        """CBOW's input of these words, float32 [D]; None where none of them is known."""
        known = [built.wv.get_index(word) for word in words if word in built.wv]
        if not known:
            return None
        context = self._views(built)["input"][known].sum(dim=0)
        return context / len(known) if self.cbow_mean else context

    def _inputs(self, built: Built) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Vectors of words as inputs, [V, D]; and of how many rows each is a sum, if of several."""
        return self._views(built)["input"], None

    def score(
        self,
        sentences: Iterable[Sequence[str]],
        total_sentences: int | None = None,
        chunksize: int = 100,
        queue_factor: int = 2,
        report_delay: float = 1,
    ) -> np.ndarray:
        """Log-likelihood of sentences under hierarchical softmax, as in gensim (Taddy 2015).

        That is the sum of log P(word | context) over the words of a sentence, in skip-gram for each
        context by itself. All known words count, in windows of the full size; a word without a
        context adds nothing.

        Args:
            sentences: Each a list of words, of which unknown ones are left out.
            total_sentences: Score at most so many; all by default.
            chunksize: Sentences that are scored at a time.
            queue_factor, report_delay: Accepted and without effect.

        Returns:
            float32 [sentences], natural logarithms.

        Raises:
            ValueError: ``hs=0``: noise words give no probabilities; no vocabulary yet.
            TypeError: Sentences that are not lists of words.
        """
        built = self._needed("score")
        if built.tree is None:
            raise NotReadyError(
                "score: hs must be 1: the probabilities of words are those of hierarchical softmax"
            )
        tables, index = self._views(built), built.vocabulary.index
        inputs, sizes = self._inputs(built)
        words = Corpus("sentences", sentences=map(_as_words, sentences), lowercase=self.lowercase)
        known = (
            [index[word] for word in sentence if word in index]
            for sentence in islice(words, total_sentences)
        )
        scores = []
        while chunk := list(islice(known, whole("score", "chunksize", chunksize))):
            scores.append(
                log_likelihoods(
                    chunk,
                    built.tree,
                    inputs,
                    tables["tree"],
                    sizes,
                    window=self.window,
                    skipgram=bool(self.sg),
                    mean=bool(self.cbow_mean),
                )
            )
        return torch.cat(scores).float().numpy() if scores else np.zeros(0, np.float32)


def _as_words(sentence: Sequence[str]) -> list[str]:
    """A sentence that is one; TypeError for a text."""
    if isinstance(sentence, str):
        raise TypeError("score: sentences must be lists of words, got a str: split it")
    return list(sentence)
