"""Word2Vec: word vectors by skip-gram or CBOW, behind gensim's interface."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from lexforge._arguments import MAX_THREADS, either, existing, real, whole
from lexforge._library import resolve_device
from lexforge.models.word2vec.gensim_model import gensim_model, parts_of
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.models.word2vec.trainer import encoded, group_of, word2vec_steps
from lexforge.models.word2vec.tree import log_likelihoods, tree_of_paths, word_log_probabilities
from lexforge.ops._tables import padded_table
from lexforge.text import Corpus, Vocabulary, build_vocabulary, resolve_corpus
from lexforge.text.huffman import HuffmanTree, huffman_tree
from lexforge.training.checkpoint import (
    CONFIG,
    STATE,
    CheckpointError,
    check_savable,
    fill_tensors,
    load_checkpoint,
    save_checkpoint,
)
from lexforge.training.lock import folder_of_run
from lexforge.training.memory import available_memory
from lexforge.training.progress import PLAIN_SECONDS, Progress, shown_by
from lexforge.training.stream_job import (
    StreamState,
    check_resume,
    check_words,
    model_html,
    run_steps,
)
from lexforge.vectors import KeyedVectors, load_vectors
from lexforge.vectors.keyed_vectors import OwnedVectors
from lexforge.vectors.word_vectors import WordVectors

if TYPE_CHECKING:
    from lexforge.training.signals import StopRequest

LARGEST_CUDA_SIZE = 1024  # of a vector: a warp's registers hold a row
PATHS = ("tree_lengths", "tree_paths")  # in a checkpoint, of a tree that is not of our making


class _Built(NamedTuple):
    """What a vocabulary brings with it.

    Attributes:
        tables: By the names of ``Word2VecSettings.tables``, [V, stride], of inner nodes one less.
        tree: With the table of that name.
        foreign: The tree is not the one that the counts give here.
        wv: On the table ``input``.
    """

    vocabulary: Vocabulary
    tables: dict[str, torch.Tensor]
    tree: HuffmanTree | None
    foreign: bool
    wv: OwnedVectors


class Word2Vec:
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
        callbacks: Objects with any of ``on_train_begin``, ``on_epoch_begin``, ``on_epoch_end``,
            ``on_train_end``, each called with the model.
        comment: Kept with the model.
        hashfxn, batch_words: Accepted and without effect: the first vectors come from a seeded
            generator, and there are no batches.
        null_word, trim_rule, sorted_vocab: Only their defaults are supported.
        negative_sharing: Of skip-gram: ``"pair"`` draws noise words for each (word, context) pair;
            ``"window"`` draws once for all pairs of a window, which is faster. CBOW has one input
            and draws once.
        deterministic: The result is the same to the last bit with any number of workers. It is
            another one than without: the errors of some successive windows come from the vectors
            as they are before all of them (on a GPU, all that some windows change). On the CPU it
            takes a second copy of the tables, and 2 threads help at size 100, 5 at 300.
        device: ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.
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
        corpus, learning_rate, min_learning_rate: What the other models call ``corpus_file``
            (sentences too), ``alpha`` and ``min_alpha``.

    Attributes:
        wv: :class:`~lexforge.KeyedVectors` on the same memory as the table being trained.
        initialised: Words that began with a vector of ``init``.
        syn1neg: float32 array [V, D], vectors of words as what is predicted and as noise: a view of
            the table, with ``negative >= 1``.
        syn1: float32 array [V - 1, D], vectors of the tree's inner nodes: likewise, with ``hs=1``.
        corpus_total_words: Words of the corpus last counted.
        corpus_count: Its sentences; for files, those with known words, and 0 before training.
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
    ) -> None:
        if trim_rule is not None:
            raise ValueError("Word2Vec: trim_rule is not supported; use min_count or filter words")
        if null_word:
            raise ValueError("Word2Vec: null_word is not supported")
        if not sorted_vocab:
            raise ValueError("Word2Vec: sorted_vocab must be 1: words are ordered by count")
        settings = Word2VecSettings(
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
        )
        vars(self).update(settings.record())
        if workers is not None:
            workers = whole("Word2Vec", "workers", workers, high=MAX_THREADS)
        self.workers = workers
        self.encoded_folder = encoded_folder
        self.compute_loss, self.callbacks, self.comment = compute_loss, callbacks, comment
        self.progress = progress
        self.device = resolve_device("Word2Vec", device)
        if self.device.type == "cuda" and self.vector_size > LARGEST_CUDA_SIZE:
            raise ValueError(
                f"Word2Vec: vector_size must be 1 to {LARGEST_CUDA_SIZE} on CUDA, got {vector_size}"
            )
        self.corpus_count = 0
        self.corpus_total_words = 0
        self.init, self.initialised = existing("Word2Vec: init", init), 0
        self._built: _Built | None = None
        self._state: StreamState | None = None

        corpus_file = either("Word2Vec", corpus, corpus_file=corpus_file)
        if sentences is not None or corpus_file is not None:
            self.build_vocab(sentences, corpus_file)
            self.train(sentences, corpus_file, epochs=epochs, callbacks=callbacks)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The settings, by their names."""

    @property
    def settings(self) -> Word2VecSettings:
        """What the result depends on, as the attributes have it now.

        Raises:
            TypeError, ValueError: One was set to a wrong value.
        """
        return Word2VecSettings.of(self)

    # -- vocabulary ---------------------------------------------------------------------------

    def build_vocab(
        self,
        corpus_iterable: Iterable[Sequence[str]] | None = None,
        corpus_file: Any = None,
        update: bool = False,
        progress_per: int = 10_000,
        keep_raw_vocab: bool = False,
        trim_rule: Any = None,
        *,
        progress: Progress | bool | None = None,
    ) -> None:
        """Count the words of a corpus and allocate the tables.

        Args:
            corpus_iterable, corpus_file: As in the constructor; exactly one of them.
            update: Add the words of this corpus to the vocabulary and its counts to theirs. The
                vectors trained so far stay, though words may move to other rows: they are ordered
                by count. With ``hs=1`` the tree is another one, whose inner nodes begin at zero.
                Otherwise the model starts afresh.
            progress_per, keep_raw_vocab: Accepted and without effect.
            trim_rule: Not supported.
            progress: Where to show it, instead of the constructor's ``progress``.

        Raises:
            ValueError: No word reaches ``min_count`` (with ``update`` nothing is added then), or
                one alone with ``hs=1``; ``update`` without a vocabulary; ``init`` that does not
                fit.
            MemoryError: The tables do not fit into the free memory (:meth:`estimate_memory`).
        """
        if trim_rule is not None:
            raise ValueError("build_vocab: trim_rule is not supported; use min_count")
        corpus = self._corpus("build_vocab", corpus_iterable, corpus_file)
        with shown_by(progress, self.progress) as shown:
            found = build_vocabulary(
                corpus,
                min_count=max(self.min_count, 1),
                max_vocab_size=self.max_vocab_size,
                threads=self.workers,
                progress=shown.phase("counting words"),
                allow_empty=update,
            )
        self.corpus_total_words = found.tokens_read
        self.corpus_count = len(corpus_iterable) if isinstance(corpus_iterable, Sized) else 0
        self._set_vocabulary(_at_most(found, self.max_final_vocab), update)

    def build_vocab_from_freq(
        self,
        word_freq: Mapping[str, int],
        keep_raw_vocab: bool = False,
        corpus_count: int | None = None,
        trim_rule: Any = None,
        update: bool = False,
    ) -> None:
        """Like :meth:`build_vocab`, from counts instead of a corpus.

        Args:
            word_freq: Count of each word; those below ``min_count`` are left out.
            keep_raw_vocab: Accepted and without effect.
            corpus_count: Number of sentences that the counts come from.
            trim_rule: Not supported.
            update: As in :meth:`build_vocab`.
        """
        if trim_rule is not None:
            raise ValueError("build_vocab_from_freq: trim_rule is not supported; use min_count")
        kept = sorted(
            ((word, count) for word, count in word_freq.items() if count >= self.min_count),
            key=lambda pair: -pair[1],
        )
        found = Vocabulary([word for word, _ in kept], [count for _, count in kept])
        self.corpus_count, self.corpus_total_words = corpus_count or 0, sum(word_freq.values())
        self._set_vocabulary(_at_most(found, self.max_final_vocab), update)

    def _set_vocabulary(self, found: Vocabulary, update: bool) -> None:
        if update and self._built is None:
            raise ValueError("build_vocab: update=True needs a vocabulary built before")
        if len(found) == 0 and update:
            return  # nothing new
        if len(found) == 0:
            raise ValueError(
                f"build_vocab: no word occurs min_count={self.min_count} times or more "
                f"(the corpus has {self.corpus_total_words:,} words)"
            )
        old = self._built if update else None
        built = self._built_for(found if old is None else _merged(old.vocabulary, found))
        # Each growth of the vocabulary has a seed of its own: new rows never repeat old ones.
        before = 0 if old is None else len(old.vocabulary)
        generator = torch.Generator().manual_seed((self.seed + before) % 2**63)
        bound = 1.0 / self.vector_size
        vectors = built.tables["input"][:, : self.vector_size]
        vectors.uniform_(-bound, bound, generator=generator)
        if self.init is not None:
            self.initialised = _start_from(built, self.init, needed=old is None)
        if old is None:
            self._state = None
        else:
            rows = torch.tensor([built.vocabulary[word] for word in old.vocabulary.words])
            for name in ("input", "output"):  # inner nodes are of this tree alone
                if name in built.tables and name in old.tables:
                    built.tables[name][rows] = old.tables[name]
        if self._built is not None:  # whoever holds the old wv goes on with the model
            wv = self._built.wv
            wv.rebase(built.wv.index_to_key, built.wv.vectors, built.vocabulary.counts)
            built = built._replace(wv=wv)
        self._built = built

    def _built_for(
        self,
        vocabulary: Vocabulary,
        foreign: HuffmanTree | None = None,
        tables: Collection[str] | None = None,
    ) -> _Built:
        """Zeroed tables for a vocabulary, and ``wv`` on top of the input table.

        Args:
            foreign: A tree in place of the one that the counts give.
            tables: Their names; by default what the settings say.

        Raises:
            MemoryError: Before anything is allocated, when the tables exceed the free memory. The
                system would grant them, and end the process once they are filled.
            ValueError: A tree over one word.
        """
        size, names = len(vocabulary), self.settings.tables if tables is None else tables
        needed, free = self.estimate_memory(size)["total"], available_memory()
        if free is not None and needed > free:
            raise MemoryError(
                f"Word2Vec: {size:,} words x vector_size={self.vector_size} need "
                f"{needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: lower vector_size, or "
                "raise min_count"
            )
        tree = None
        if "tree" in names:
            if size < 2:
                raise ValueError(
                    "Word2Vec: hs=1 needs a vocabulary of two words or more, for a tree, got "
                    f"{vocabulary.words}"
                )
            tree = foreign or huffman_tree(vocabulary.counts)
        made = {name: padded_table(size - (name == "tree"), self.vector_size) for name in names}
        vectors = made["input"][:, : self.vector_size].numpy()
        wv = OwnedVectors(vocabulary.words, vectors, vocabulary.counts, owner="Word2Vec")
        return _Built(vocabulary, made, tree, foreign is not None, wv)

    def _needed(self, function: str) -> _Built:
        if self._built is None:
            raise ValueError(f"{function}: build the vocabulary first, with build_vocab")
        had, wanted = self._built.tables.keys(), self.settings.tables
        if had != set(wanted):
            raise ValueError(
                f"{function}: hs={self.hs}, negative={self.negative} takes the tables "
                f"{', '.join(wanted)}, and the model was built with {', '.join(had)}: build the "
                "vocabulary again"
            )
        return self._built

    def _views(self, built: _Built) -> dict[str, torch.Tensor]:
        """The tables without padding."""
        return {name: table[:, : self.vector_size] for name, table in built.tables.items()}

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words and their counts; None before they are built."""
        return None if self._built is None else self._built.vocabulary

    @property
    def wv(self) -> KeyedVectors | None:
        """The vectors, on the memory of the table that is trained; None before it is built.

        Its words are the model's. Vectors may be set (``wv.vectors = matrix``, ``wv["word"] =
        vector``), and are then what is trained and saved; words are added by
        :meth:`build_vocab`. A copy of it is a :class:`~lexforge.KeyedVectors` of its own.
        """
        return None if self._built is None else self._built.wv

    @wv.setter
    def wv(self, vectors: KeyedVectors) -> None:
        raise AttributeError(
            "Word2Vec: wv cannot be replaced, it is the model's own table; set its numbers with "
            "model.wv.vectors = ..., or start from vectors with Word2Vec(..., init=vectors)"
        )

    # -- training -----------------------------------------------------------------------------

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
        built, settings = self._needed("train"), self.settings
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
                alpha = self.alpha if start_alpha is None else start_alpha
                min_alpha = self.min_alpha if end_alpha is None else end_alpha
                together = (
                    {"windows_together": group_of(settings)} if settings.deterministic else {}
                )
                state = StreamState(
                    epochs=passes,
                    total=text.num_tokens * passes,
                    alpha=real("train", "start_alpha", alpha),
                    min_alpha=real("train", "end_alpha", min_alpha),
                    first_epoch=self._next_epoch(),
                    corpus={**identity, **together},
                )
            self._state = state
            steps = word2vec_steps(
                text,
                built.vocabulary,
                settings,
                state,
                built.tables,
                built.tree,
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
                stop=stop,
            )
        return state.centers, state.done

    def _corpus(self, function: str, corpus_iterable: Any, corpus_file: Any) -> Corpus:
        """Whichever of the two was given, refused when it cannot be what it should."""
        if (corpus_iterable is None) == (corpus_file is None):
            raise TypeError(f"{function}: give either corpus_iterable or corpus_file")
        if corpus_file is not None:
            return resolve_corpus(
                corpus_file, lowercase=self.lowercase, encoding=self.encoding, errors=self.errors
            )
        what = f"{function}: the corpus must be a re-iterable of token lists"
        if isinstance(corpus_iterable, str | bytes | os.PathLike):
            raise TypeError(f"{what}, got {corpus_iterable!r}; a path goes into corpus_file")
        if iter(corpus_iterable) is corpus_iterable:
            raise TypeError(
                f"{what}, got a {type(corpus_iterable).__name__}: it is read more than once, "
                "and a generator can be read only once"
            )
        if isinstance(next(iter(corpus_iterable), None), str):
            raise TypeError(f"{what}, got strings: split each sentence into its words")
        return resolve_corpus(corpus_iterable, lowercase=self.lowercase)

    def _next_epoch(self) -> int:
        """Key of the next run's first epoch: no two epochs of a model sample alike."""
        if self._state is None:
            return 0
        return self._state.first_epoch + min(self._state.epoch + 1, self._state.epochs)

    # -- results ------------------------------------------------------------------------------

    @property
    def state(self) -> StreamState | None:
        """Where the last run stands; None before the first."""
        return self._state

    @property
    def syn1neg(self) -> np.ndarray:
        """float32 [V, D], vectors of words as what is predicted and as noise: a view of the table.

        Raises:
            AttributeError: Before the vocabulary is built, or with ``negative=0``.
        """
        return self._table("syn1neg", "output")

    @property
    def syn1(self) -> np.ndarray:
        """float32 [V - 1, D], vectors of the tree's inner nodes: a view of the table.

        gensim's array has a row more, which nothing uses.

        Raises:
            AttributeError: Before the vocabulary is built, or with ``hs=0``.
        """
        return self._table("syn1", "tree")

    def _table(self, attribute: str, name: str) -> np.ndarray:
        if self._built is None:
            raise AttributeError(f"{attribute}: build the vocabulary first")
        if name not in self._built.tables:
            lacking = "hs=0" if name == "tree" else "negative=0"
            raise AttributeError(f"{attribute}: a model of {lacking} has none")
        return self._views(self._built)[name].numpy()

    @property
    def running_training_loss(self) -> float:
        """Sum of the losses of the last run."""
        return 0.0 if self._state is None else self._state.loss_sum

    @property
    def total_train_time(self) -> float:
        """Seconds of the last run, without preparation."""
        return 0.0 if self._state is None else self._state.seconds

    def get_latest_training_loss(self) -> float:
        """Sum of the losses of the last run, of all pairs of words, or of CBOW all words.

        ``state.mean_loss`` is the mean. A loss is that of a word among its noise words, or on its
        path through the tree, or of both.
        """
        return self.running_training_loss

    def predict_output_word(
        self, context_words_list: Sequence[str | int], topn: int = 10
    ) -> list[tuple[str, float]] | None:
        """The words most likely between the given context words.

        What is known of the context is the mean of its vectors (their sum with ``cbow_mean=0``), as
        in CBOW, whatever the model. Probabilities are the softmax over the whole vocabulary, or,
        without negative sampling, those of hierarchical softmax.

        Args:
            context_words_list: Words or row numbers; unknown words are left out.
            topn: How many.

        Returns:
            (word, probability) by falling probability, the probabilities of the whole vocabulary
            summing to 1; None when no context word is known.
        """
        built = self._needed("predict_output_word")
        vocabulary, tables = built.vocabulary, self._views(built)
        known = [
            word if isinstance(word, int) else vocabulary[word]
            for word in context_words_list
            if isinstance(word, int) or word in vocabulary
        ]
        if not known:
            return None
        context = tables["input"][known].sum(dim=0)
        if self.cbow_mean:
            context /= len(known)
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
            raise ValueError(
                "score: hs must be 1: the probabilities of words are those of hierarchical softmax"
            )
        tables, index = self._views(built), built.vocabulary.index
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
                    tables["input"],
                    tables["tree"],
                    window=self.window,
                    skipgram=bool(self.sg),
                    mean=bool(self.cbow_mean),
                )
            )
        return torch.cat(scores).float().numpy() if scores else np.zeros(0, np.float32)

    def estimate_memory(self, vocab_size: int | None = None) -> dict[str, int]:
        """Bytes that a model of this size takes.

        Args:
            vocab_size: Number of words V; that of the model by default.

        Returns:
            ``vocab`` (words, counts, index), ``vectors``, ``syn1neg`` and ``syn1`` (the tables that
            there are), ``tree`` (paths), ``sampling`` (noise and sub-sampling tables) and their sum
            ``total``. The encoded corpus is memory-mapped and takes 4 bytes per word on disk.
        """
        if vocab_size is None:
            vocab_size = 0 if self._built is None else len(self._built.vocabulary)
        table = vocab_size * -(-self.vector_size // 16) * 64
        report = {
            "vocab": vocab_size * 200,  # a str, its slot in a list and in a dict, a count
            "vectors": table,
            "sampling": vocab_size * 4,
        }
        if self.negative:
            report |= {"syn1neg": table, "sampling": vocab_size * 12}
        if self.hs:  # in Zipf's texts a path is a few nodes longer than in a balanced tree
            report |= {"syn1": table, "tree": vocab_size * (8 + 4 * (vocab_size.bit_length() + 4))}
        return {**report, "total": sum(report.values())}

    # -- storage ------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: everything, the tables once and without padding."""
        kept = {name: value for name, value in vars(self).items() if name != "_built"}
        kept["_state"] = copy.deepcopy(self._state)
        if self._built is None:
            return {**kept, "built": None}
        built = self._built
        tables = {name: table.contiguous() for name, table in self._views(built).items()}
        tree = built.tree if built.foreign else None
        return {**kept, "built": (built.vocabulary, tables, tree, copy.deepcopy(built.wv.expandos))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.pop("built")
        vars(self).update(state)
        self._built = None
        if kept is not None:
            vocabulary, tables, tree, expandos = kept
            built = self._built = self._built_for(vocabulary, tree, tables)
            for name, view in self._views(built).items():
                view.copy_(tables[name])
            built.wv.expandos = expandos

    def save(self, folder: str | os.PathLike) -> None:
        """Save everything that further training needs (see ``training/checkpoint.py``).

        Args:
            folder: Replaced as a whole; a failing save leaves the previous content.

        Raises:
            CheckpointError: It could not be written, or the tables hold infinite values.
        """
        built = self._needed("save")
        tensors = self._views(built)
        check_savable(folder, tensors)
        if built.foreign and built.tree is not None:
            lengths, paths = np.diff(built.tree.offsets).astype(np.int32), built.tree.nodes
            tensors |= zip(PATHS, map(torch.from_numpy, (lengths, paths)), strict=True)
        save_checkpoint(
            folder,
            config={
                "model": "word2vec",
                **self.settings.record(),
                "corpus_count": self.corpus_count,
                "corpus_total_words": self.corpus_total_words,
                "comment": self.comment,
            },
            vocabulary=built.vocabulary,
            tensors=tensors,
            state={} if self._state is None else self._state.to_json(),
        )

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        *,
        workers: int | None = None,
        device: str | torch.device = "auto",
        progress: bool = False,
        mmap: str | None = None,
    ) -> Word2Vec:
        """Load what :meth:`save` wrote, ready to be used, trained further, or resumed.

        Args:
            folder: Of the model.
            workers, device, progress: As in the constructor; they are not part of a model.
            mmap: Accepted and without effect.

        Raises:
            FileNotFoundError: No model there.
            CheckpointError: A file is missing, truncated, damaged, or of another kind of model.
        """
        found = load_checkpoint(folder, model="word2vec", integers=PATHS)
        try:
            model = cls(
                **Word2VecSettings.of(found.config).record(),
                comment=found.config["comment"],
                workers=workers,
                device=device,
                progress=progress,
            )
            state = StreamState.from_json(found.state) if found.state else None
            for name in ("corpus_count", "corpus_total_words"):
                whole(CONFIG, name, found.config.get(name, 0), low=0)
            if state is not None and "windows_together" in state.corpus:
                whole(STATE, "windows_together", state.corpus["windows_together"], high=1000)
            paths = [found.tensors[name].numpy() for name in PATHS if name in found.tensors]
            tree = tree_of_paths(*paths) if paths else None
            if tree is not None and len(tree.offsets) != len(found.vocabulary) + 1:
                raise ValueError(f"the tree is not over {len(found.vocabulary)} words")
            built = model._built_for(found.vocabulary, tree)
        except (KeyError, TypeError, ValueError, NotImplementedError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}") from error
        model._state = state
        model.corpus_count = found.config.get("corpus_count", 0)
        model.corpus_total_words = found.config.get("corpus_total_words", 0)
        fill_tensors(folder, model._views(built), found.tensors)
        model._built = built
        return model

    @classmethod
    def from_gensim(
        cls, model: Any, *, workers: int | None = None, device: str | torch.device = "auto"
    ) -> Word2Vec:
        """The same model as a ``gensim.models.Word2Vec`` of gensim 4, to be used or trained on.

        Its tables are copied, with the words, their counts, the tree of hierarchical softmax, and
        the settings that both have; words are ordered by count. Where training stood is not known:
        it begins a run of its own.

        Args:
            model: Of any of the four models.
            workers, device: As in the constructor.

        Raises:
            TypeError: Not a model of gensim's ``Word2Vec``, or words that are no str.
            ValueError: No vocabulary yet, or settings beyond our limits.
        """
        found = parts_of(model)
        ours = cls(**found.settings, comment=model.comment, workers=workers, device=device)
        ours.corpus_count, ours.corpus_total_words = model.corpus_count, model.corpus_total_words
        built = ours._built = ours._built_for(found.vocabulary, found.tree)
        for name, view in ours._views(built).items():
            view.copy_(torch.from_numpy(found.tables[name]))
        return ours

    def to_gensim(self) -> Any:
        """The same model as a ``gensim.models.Word2Vec``: tables, tree, words, counts, settings.

        What gensim has no name for is lost: ``negative_sharing``, ``deterministic``,
        ``max_sentence_length``, ``lowercase``, and the state of the run. Rows of equal counts may
        be in another order. ``alpha`` comes along as it is: of CBOW's mean it takes steps in gensim
        that are longer by the number of context words.

        Raises:
            ModuleNotFoundError: gensim is not installed.
            ValueError: No vocabulary yet.
        """
        built = self._needed("to_gensim")
        tables = {name: view.numpy() for name, view in self._views(built).items()}
        model = gensim_model(
            self.settings, built.vocabulary, tables, built.tree, workers=self.workers
        )
        model.comment, model.corpus_count = self.comment, self.corpus_count
        model.corpus_total_words = self.corpus_total_words
        return model

    def __str__(self) -> str:
        size = 0 if self._built is None else len(self._built.vocabulary)
        return f"Word2Vec<vocab={size}, vector_size={self.vector_size}, alpha={self.alpha}>"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return model_html("Word2Vec", self)


def _start_from(built: _Built, init: str | os.PathLike | WordVectors, *, needed: bool) -> int:
    """Copy the vectors of known words into the input table; returns how many.

    Raises:
        ValueError: They are of another size; there is none, and one is needed.
    """
    vectors = init if isinstance(init, WordVectors) else load_vectors(init)
    try:
        taken = built.wv._take_over(vectors)
    except ValueError as error:
        raise ValueError(f"Word2Vec: init: {error}") from error
    if needed and not taken:
        raise ValueError("Word2Vec: init has none of the words of the corpus")
    return taken


def _as_words(sentence: Sequence[str]) -> list[str]:
    """A sentence that is one; TypeError for a text."""
    if isinstance(sentence, str):
        raise TypeError("score: sentences must be lists of words, got a str: split it")
    return list(sentence)


def _at_most(vocabulary: Vocabulary, size: int | None) -> Vocabulary:
    """The vocabulary cut to at most ``size`` words by raising the minimum count, as gensim does."""
    if size is None or len(vocabulary) <= size:
        return vocabulary
    return vocabulary.trim(min_count=int(vocabulary.counts[size]) + 1)


def _merged(old: Vocabulary, new: Vocabulary) -> Vocabulary:
    """The words of both with the sums of their counts, old words first among equals."""
    counts = dict(zip(old.words, old.counts.tolist(), strict=True))
    for word, count in zip(new.words, new.counts.tolist(), strict=True):
        counts[word] = counts.get(word, 0) + count
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return Vocabulary([word for word, _ in ordered], [count for _, count in ordered])
