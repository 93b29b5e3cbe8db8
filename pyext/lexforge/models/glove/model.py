"""GloVe: word vectors from co-occurrence counts by weighted least squares."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from lexforge._arguments import MAX_THREADS, existing, one_of, whole
from lexforge._files import replacing
from lexforge._library import resolve_device
from lexforge.models.cooccurrence.count import cooccurrence
from lexforge.models.cooccurrence.counts import Cooccurrence
from lexforge.models.cooccurrence.settings import check_window
from lexforge.models.glove.files import (
    SUM,
    read_tables,
    vector_size_of,
    write_tables,
    write_vectors,
)
from lexforge.models.glove.settings import GloVeSettings
from lexforge.models.glove.tiles import tile_bytes
from lexforge.models.glove.trainer import glove_steps, tiles_of
from lexforge.ops.glove.glove_tiles import glove_default_parts
from lexforge.ops.glove.glove_train import RECORD_PARTS, glove_table
from lexforge.text import Vocabulary, resolve_corpus
from lexforge.text.lines import read_json
from lexforge.training.checkpoint import (
    CheckpointError,
    check_savable,
    fill_tensors,
    load_checkpoint,
    save_checkpoint,
)
from lexforge.training.lock import folder_of_run
from lexforge.training.memory import available_memory, parse_bytes
from lexforge.training.progress import Progress, shown_by
from lexforge.training.settings import knobs
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

COUNTS_REQUEST = "request.json"  # beside kept counts: the files and settings they come from


class _Built(NamedTuple):
    """What a vocabulary brings with it: two tables, records as in csrc/glove/glove_train.h."""

    vocabulary: Vocabulary
    words: torch.Tensor
    contexts: torch.Tensor


class GloVe:
    """Word vectors from how often words occur near each other, with gensim's habits.

    Pennington et al. 2014 ("GloVe: global vectors for word representation", eq. 8): the dot product
    of a word's vector and a context's, with a bias for each, is fitted to the logarithm of their
    co-occurrence count x, the squared error weighted by ``min(1, (x / x_max) ** alpha)``. Defaults
    are those of the original tool. The entries are trained in an order that any number of threads
    can share without meeting in a row (csrc/glove/glove_train.h), so a result depends on the counts
    and the seed alone: bit for bit, also after a resume.

    Args:
        corpus: With it counts are made and the model is trained at once. A text file (may be
            compressed; one sentence a line, words between white space), a folder of such files, a
            list of paths, the name of a data set, a re-iterable of sentences, each a list of words;
            or a :class:`~lexforge.Cooccurrence`, whose settings then replace those of counting.
            ``<unk>`` in a text is a word like others; counts over a vocabulary without it
            (``cooccurrence(..., vocabulary=...)``) leave it out.
        vector_size: Dimension D of the vectors.
        window: Largest distance between a word and a context word.
        x_max: Count from which on errors have full weight; 10 suits a small corpus.
        alpha: Exponent of the weight below ``x_max``.
        learning_rate: Constant; each parameter's own steps shrink with its gradients so far.
        bias_rate: The biases' learning rate as a multiple of ``learning_rate``. By default 20 with
            adagrad, the ratio that the original tool has at its default rate (there a bias's rate
            is 1 whatever the other); slow biases leave word frequency to the vectors, which costs
            quality on a small corpus. 1 with the other optimisers.
        epochs: Passes over the counts.
        min_count: Words seen less often are left out.
        max_vocab_size: Keep at most this many of the most frequent words.
        symmetric: Count context on both sides, rather than to the right of a word only.
        distance_weighting: Count a context word at distance d as 1/d rather than 1.
        optimizer: ``"adagrad"``, as in the original; ``"rowwise"``, AdaGrad with one sum per row
            (half the memory); or ``"adam"``.
        grad_clip: Limit of each gradient component.
        vectors: What :attr:`wv` holds: the ``"sum"`` of word and context vectors, as the paper
            advises, or either (``"word"``, ``"context"``).
        memory: Cap on the memory of counting and of the training order, as "2GB" or in bytes; what
            exceeds it goes to temporary, mapped files, whose pages are not counted. The tables come
            on top (:meth:`estimate_memory`).
        parts: Into which words are dealt for training; by default so many that what a thread works
            on fits its cache. Results depend on it.
        seed: Of the first vectors and of the order of training.
        workers: Threads; all cores by default.
        device: ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.
        lowercase: Turn words to lower case while reading.
        encoding, errors: Of files, as for :class:`~lexforge.Word2Vec`.
        counts_folder: Keep the counts there, and use them again for the same files and settings; a
            temporary folder by default.
        progress: Show counting and training on standard error.
        init: Vectors to start from, as a file that :func:`~lexforge.load_vectors` reads, or loaded:
            words that they know begin with their vector instead of a random one (with
            ``vectors="sum"`` half of it in either table).

    Attributes:
        initialised: Words that began with a vector of ``init``.
        counts: The :class:`~lexforge.Cooccurrence` trained on last; None after loading.
        epochs, alpha, window, ...: The arguments.

    Raises:
        ValueError: An argument out of range.
        TypeError: A corpus or an argument of the wrong kind.

    Example:
        >>> from lexforge import GloVe
        >>> corpus = [["blue", "sky"], ["grey", "sky"]] * 50
        >>> model = GloVe(corpus, vector_size=16, min_count=1)
        >>> len(model.wv), len(model.loss_history)
        (3, 25)
    """

    def __init__(
        self,
        corpus: Any = None,
        vector_size: int = 100,
        *,
        window: int = 15,
        x_max: float = 100.0,
        alpha: float = 0.75,
        learning_rate: float = 0.05,
        bias_rate: float | None = None,
        epochs: int = 25,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        symmetric: bool = True,
        distance_weighting: bool = True,
        optimizer: str = "adagrad",
        grad_clip: float = 100.0,
        vectors: str = "sum",
        memory: int | str = "2GB",
        parts: int | None = None,
        seed: int = 1,
        workers: int | None = None,
        device: str | torch.device = "auto",
        lowercase: bool = False,
        encoding: str = "utf-8",
        errors: str | None = None,
        counts_folder: str | os.PathLike | None = None,
        progress: bool = False,
        init: str | os.PathLike | WordVectors | None = None,
    ) -> None:
        vars(self).update(GloVeSettings.of(locals()).record())
        self.memory = parse_bytes("GloVe: memory", memory)
        if workers is not None:
            workers = whole("GloVe", "workers", workers, high=MAX_THREADS)
        self.workers = workers
        self.counts_folder = counts_folder
        self.progress = progress
        self.device = resolve_device("GloVe", device)
        self.init, self.initialised = existing("GloVe: init", init), 0
        self.counts: Cooccurrence | None = None
        self._built: _Built | None = None
        self._wv: OwnedVectors | None = None
        self._state: StreamState | None = None

        if corpus is not None:
            self.train(corpus)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The settings, by their names."""

    @property
    def settings(self) -> GloVeSettings:
        """What the result depends on, as the attributes have it now.

        Raises:
            TypeError, ValueError: One was set to a wrong value.
        """
        return GloVeSettings.of(self)

    # -- training -----------------------------------------------------------------------------

    def train(
        self,
        corpus: Any = None,
        *,
        epochs: int | None = None,
        progress: Progress | bool | None = None,
        checkpoint_folder: str | os.PathLike | None = None,
        checkpoint_every: float | None = None,
        stop: StopRequest | None = None,
        resume: bool = False,
        callbacks: Sequence[Any] = (),
    ) -> None:
        """Train on a corpus or on counts.

        More passes over the counts of the run before are its continuation: 20 passes and then 5
        are 25, to the last bit.

        Args:
            corpus: As in the constructor; by default the counts trained on last. A model that has a
                vocabulary keeps it.
            epochs: Passes; the model's ``epochs`` by default.
            progress: Where to show and log it, instead of the constructor's ``progress``.
            checkpoint_folder: Save there every ``checkpoint_every`` minutes, when stopped, and at
                the end. Where memory is short it also holds the training order for the time being.
            checkpoint_every: Minutes; None for no checkpoints in between.
            stop: When it is requested, training saves and returns early.
            resume: Continue the unfinished run of a loaded model, on the same corpus or counts.
            callbacks: Objects with any of ``on_train_begin``, ``on_epoch_begin``, ``on_epoch_end``,
                ``on_train_end``, each called with the model.

        Raises:
            ValueError: No counts; counts over other words than the model's; a resume that is not
                one; words that a checkpoint cannot hold.
            MemoryError: The tables do not fit into the free memory (:meth:`estimate_memory`).
            TrainingDivergedError: The loss is no longer finite; no checkpoint was written since.
            CheckpointError: The last checkpoint could not be written.
            FolderInUseError: Another process is training in ``checkpoint_folder``.
        """
        passes = whole("train", "epochs", self.epochs if epochs is None else epochs)
        with shown_by(progress, self.progress) as shown, folder_of_run(checkpoint_folder):
            counts = self._counted(corpus, shown)
            check_words(counts.vocab.words, checkpoint_folder)
            self._take_settings(counts)
            if self._built is None:
                self._set_vocabulary(counts.vocab, counts.nnz)
            built, settings = self._trained("train"), self.settings
            identity = counts.identity()
            if resume:
                state = check_resume(self._state, {"epochs": epochs}, "counts", identity)
            else:
                state = self._begin_run(identity, passes, counts.nnz)
            self._state = state
            with tiles_of(
                counts,
                checkpoint_folder,
                parts=state.corpus["parts"],
                seed=settings.seed,
                memory=self.memory,
                threads=self.workers,
                progress=shown,
            ) as tiles:
                steps = glove_steps(
                    tiles,
                    settings,
                    state,
                    {"word": built.words, "context": built.contexts},
                    device=self.device,
                    threads=self.workers,
                    refresh=self._refresh_wv,
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

    def _counted(self, corpus: Any, progress: Progress) -> Cooccurrence:
        """The counts that are meant, over the model's vocabulary if it has one."""
        if corpus is None:
            if self.counts is None:
                raise ValueError("train: give a corpus or counts; this model has none of its own")
            return self.counts
        if not isinstance(corpus, Cooccurrence):
            return self.count(corpus, progress=progress)
        vocabulary = self.vocabulary
        if vocabulary is not None and corpus.vocab != vocabulary:
            raise ValueError(
                f"train: counts must be over the {len(vocabulary):,} words of the model, got "
                f"those over {len(corpus.vocab):,} other words or with other numbers of occurrences"
            )
        return corpus

    def count(
        self,
        corpus: Any,
        *,
        vocabulary: Vocabulary | None = None,
        progress: Progress | bool | None = None,
    ) -> Cooccurrence:
        """Count the co-occurrences of a corpus by the model's settings, for :meth:`train`.

        Counts of the same files under the same settings that ``counts_folder`` holds are not made
        again, and an interrupted count goes on.

        Args:
            corpus: As in the constructor, counts excepted.
            vocabulary: Over these words; by default those of the model, or else what ``min_count``
                and ``max_vocab_size`` say.
            progress: Where to show it, instead of the constructor's ``progress``.

        Raises:
            As :func:`~lexforge.cooccurrence`.
        """
        check_window("GloVe", self.window, self.distance_weighting)
        corpus = resolve_corpus(
            corpus, lowercase=self.lowercase, encoding=self.encoding, errors=self.errors
        )
        vocabulary = vocabulary or self.vocabulary
        settings = {
            "window": self.window,
            "symmetric": self.symmetric,
            "distance_weighting": self.distance_weighting,
        }
        words = {"min_count": max(self.min_count, 1), "max_vocab_size": self.max_vocab_size}
        request = {
            **settings,
            "words": words if vocabulary is None else None,
            **corpus.reading,
            "sources": corpus.sources(),
        }
        record = None if self.counts_folder is None else Path(self.counts_folder) / COUNTS_REQUEST
        with shown_by(progress, self.progress) as shown:
            if record is not None:
                if _fits(record, request, vocabulary):
                    return Cooccurrence.load(record.parent)
                record.unlink(missing_ok=True)
            counts = cooccurrence(
                corpus,
                **settings,
                **words,
                vocabulary=vocabulary,
                memory=self.memory,
                workers=self.workers,
                device=self.device,
                folder=self.counts_folder,
                progress=shown,
            )
        # Sentences of Python have no sources that would tell whether they changed.
        if record is not None and corpus.paths:
            with replacing(record) as file:
                kept = {**request, "vocabulary_sha1": counts.vocab.sha1()}
                file.write(json.dumps(kept, indent=2).encode() + b"\n")
        return counts

    def _take_settings(self, counts: Cooccurrence) -> None:
        """What the counts say of themselves; files of the original tool say nothing."""
        self.counts = counts
        for name in ("window", "symmetric", "distance_weighting"):
            if (value := getattr(counts, name)) is not None:
                setattr(self, name, value)

    def _set_vocabulary(self, vocabulary: Vocabulary, nnz: int = 0) -> None:
        """Allocate the tables, with the first values of parameters in [-0.5, 0.5] / D."""
        found = None if self.init is None else self._found(self.init, vocabulary)
        self._allocate(vocabulary, nnz)
        generator = torch.Generator().manual_seed(self.seed % 2**63)
        bound = 0.5 / self.vector_size
        for table in self._parameters():
            table.uniform_(-bound, bound, generator=generator)
        if found is not None:
            self.initialised = self._start_from(found)

    def _found(self, init: str | os.PathLike | WordVectors, vocabulary: Vocabulary) -> WordVectors:
        """The vectors to start from; ValueError if they do not fit."""
        found = init if isinstance(init, WordVectors) else load_vectors(init)
        if found.vector_size != self.vector_size:
            raise ValueError(
                f"GloVe: init must have vectors of vector_size={self.vector_size}, "
                f"got {found.vector_size}"
            )
        if not any(word in found.key_to_index for word in vocabulary.words):
            raise ValueError("GloVe: init has none of the words of the corpus")
        return found

    def _start_from(self, found: WordVectors) -> int:
        """Let words begin with the vectors that are known for them; returns how many do."""
        built, size = self._trained("init"), self.vector_size
        words = [word for word in built.vocabulary.words if word in found.key_to_index]
        rows = torch.tensor([built.vocabulary[word] for word in words])
        # What wv holds is a sum of both tables: half of it in each.
        share = 0.5 if self.vectors == "sum" else 1.0
        values = torch.from_numpy(found[words].astype(np.float32)) * share
        for name, table in (("word", built.words), ("context", built.contexts)):
            if self.vectors in ("sum", name):
                table[rows, 0, :size] = values
        return len(words)

    def _allocate(self, vocabulary: Vocabulary, nnz: int = 0) -> None:
        """Tables for the vocabulary.

        Raises:
            MemoryError: Before anything is allocated, when they and the training order exceed the
                free memory. The system would grant them, and end the process once they are filled.
        """
        size = len(vocabulary)
        needed, free = self.estimate_memory(size, nnz)["total"], available_memory()
        if free is not None and needed > free:
            raise MemoryError(
                f"GloVe: {size:,} words x vector_size={self.vector_size} and "
                f"{nnz:,} counts need {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: "
                "lower vector_size or memory, raise min_count, or take optimizer='rowwise'"
            )
        words, contexts = (
            glove_table(size, self.vector_size, self.optimizer) for _ in ("words", "contexts")
        )
        self._built, self._wv = _Built(vocabulary, words, contexts), None

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words, numbered by falling count; None before training."""
        return None if self._built is None else self._built.vocabulary

    def _parameters(self, part: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Views [V, D + 1] of both tables: vectors and biases, or what part 1 holds for them."""
        built, size = self._trained("parameters"), self.vector_size + 1
        return built.words[:, part, :size], built.contexts[:, part, :size]

    def _begin_run(self, identity: dict[str, Any], passes: int, nnz: int) -> StreamState:
        state, size = self._state, len(self._trained("train").vocabulary)
        if state and state.finished and identity.items() <= state.corpus.items():
            state.alpha = state.min_alpha = self.learning_rate
            state.epochs += passes
            state.total += passes * nnz
            return state
        parts = self.parts or glove_default_parts(size, self.vector_size, self.optimizer)
        return StreamState(
            epochs=passes,
            total=passes * nnz,
            alpha=self.learning_rate,
            min_alpha=self.learning_rate,
            unit="entries",
            first_epoch=0 if state is None else state.first_epoch + state.epoch,
            # The default may be another one on the machine that resumes.
            corpus={**identity, "parts": min(parts, size)},
        )

    # -- results ------------------------------------------------------------------------------

    @property
    def state(self) -> StreamState | None:
        """Where the last run stands; None before the first."""
        return self._state

    @property
    def loss_history(self) -> list[float]:
        """Mean cost of an entry, h(x) e^2 / 2, in each complete pass of the last run."""
        return [] if self._state is None else self._state.epoch_losses

    @property
    def wv(self) -> KeyedVectors | None:
        """The vectors that ``vectors`` names, kept up to date; None before training.

        They are computed from the model's tables and cannot be set; a copy of them is a
        :class:`~lexforge.KeyedVectors` of its own.
        """
        if self._wv is None and self._built is not None:
            vocabulary = self._built.vocabulary
            computed = {
                "sum": "the sum of its word and context vectors",
                "word": "a copy of its word vectors",
                "context": "a copy of its context vectors",
            }[self.vectors]
            rows = np.array(self._rows(self.vectors))
            self._wv = OwnedVectors(
                vocabulary.words, rows, vocabulary.counts, owner="GloVe", computed=computed
            )
        return self._wv

    @wv.setter
    def wv(self, vectors: KeyedVectors) -> None:
        raise AttributeError(
            "GloVe: wv cannot be replaced, it is computed from the model's tables; start from "
            "vectors with GloVe(..., init=vectors)"
        )

    def keyed_vectors(self, vectors: str = "sum") -> KeyedVectors:
        """A copy of the ``"sum"`` of word and context vectors, or of either.

        Raises:
            ValueError: Another name; before training.
        """
        vocabulary = self._trained("keyed_vectors").vocabulary
        choices = knobs(GloVeSettings)["vectors"].choices
        rows = np.array(self._rows(one_of("keyed_vectors", "vectors", vectors, choices)))
        return KeyedVectors(vocabulary.words, rows, counts=vocabulary.counts)

    def _rows(self, vectors: str) -> np.ndarray:
        words, contexts = self.word_vectors, self.context_vectors
        if vectors == "sum":
            return words + contexts
        return np.ascontiguousarray(words if vectors == "word" else contexts)

    def _refresh_wv(self) -> None:
        if self._wv is not None:
            self._wv.refresh(self._rows(self.vectors))

    @property
    def word_vectors(self) -> np.ndarray:
        """float32 [V, D], a view of the table."""
        return self._trained("word_vectors").words[:, 0, : self.vector_size].numpy()

    @property
    def context_vectors(self) -> np.ndarray:
        """float32 [V, D], a view of the table."""
        return self._trained("context_vectors").contexts[:, 0, : self.vector_size].numpy()

    @property
    def word_biases(self) -> np.ndarray:
        """float32 [V], a view of the table."""
        return self._trained("word_biases").words[:, 0, self.vector_size].numpy()

    @property
    def context_biases(self) -> np.ndarray:
        """float32 [V], a view of the table."""
        return self._trained("context_biases").contexts[:, 0, self.vector_size].numpy()

    def _trained(self, what: str) -> _Built:
        if self._built is None:
            raise ValueError(f"{what}: train the model first")
        return self._built

    def estimate_memory(
        self, vocab_size: int | None = None, nnz: int | None = None
    ) -> dict[str, int]:
        """Bytes that training a model of this size takes.

        Args:
            vocab_size: Number of words V; that of the model by default.
            nnz: Entries of the counts; those of the last ones by default. The counts themselves
                take 16 bytes each on disk.

        Returns:
            ``vocab`` (words, counts, index), ``words`` and ``contexts`` (the two tables with
            their gradient sums), ``wv``, ``tiles`` (the entries in training order; at most
            ``memory``, the rest is on disk) and their sum ``total``.
        """
        if vocab_size is None:
            vocab_size = 0 if self._built is None else len(self._built.vocabulary)
        if nnz is None:
            nnz = 0 if self.counts is None else self.counts.nnz
        table = vocab_size * RECORD_PARTS[self.optimizer] * -(-(self.vector_size + 2) // 16) * 64
        parts = self.parts or glove_default_parts(
            max(vocab_size, 1), self.vector_size, self.optimizer
        )
        report = {
            "vocab": vocab_size * 200,  # a str, its slot in a list and in a dict, a count
            "words": table,
            "contexts": table,
            "wv": vocab_size * self.vector_size * 4,
            "tiles": min(tile_bytes(nnz, vocab_size, parts), self.memory),
        }
        return {**report, "total": sum(report.values())}

    # -- storage ------------------------------------------------------------------------------

    def _stored(self) -> dict[str, torch.Tensor]:
        """The tensors of a checkpoint, as views of the tables."""
        built, dim = self._trained("save"), self.vector_size
        views: dict[str, torch.Tensor] = {}
        for side, bias, table in (
            ("input", "word_bias", built.words),
            ("output", "context_bias", built.contexts),
        ):
            kept = {"adagrad": ["gradsq"], "adam": ["mean", "square"], "rowwise": []}
            for part, prefix in enumerate(["", *(f"{n}_" for n in kept[self.optimizer])]):
                views[f"{prefix}{side}"] = table[:, part, :dim]
                views[f"{prefix}{bias}"] = table[:, part, dim]
            if self.optimizer != "adagrad":
                name = "steps" if self.optimizer == "adam" else "gradsq"
                views[f"{name}_{side}"] = table[:, 0, dim + 1]
        return views

    def __copy__(self) -> GloVe:
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        twin.counts = self.counts
        return twin

    def __deepcopy__(self, memo: dict) -> GloVe:
        return self.__copy__()

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: everything but the counts, which are a file; copies share them."""
        left_out = ("counts", "_built", "_wv")
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        kept["_state"] = copy.deepcopy(self._state)
        if self._built is None:
            return {**kept, "built": None}
        vocabulary, *tables = self._built
        kept["init"] = None  # it has done its work
        expandos = None if self._wv is None else copy.deepcopy(self._wv.expandos)
        return {**kept, "built": (vocabulary, [table.clone() for table in tables], expandos)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.pop("built")
        vars(self).update(state)
        self.counts = self._built = self._wv = None
        if kept is not None:
            vocabulary, tables, expandos = kept
            self._allocate(vocabulary)
            built = self._trained("copy")
            for table, values in zip((built.words, built.contexts), tables, strict=True):
                table.copy_(values)
            if expandos is not None and (wv := self.wv) is not None:
                wv.expandos = expandos

    def save(self, folder: str | os.PathLike) -> None:
        """Save everything that further training needs (see ``training/checkpoint.py``).

        The tables are ``input`` and ``output`` [V, D], ``word_bias`` and ``context_bias`` [V], and
        what the optimizer keeps for each: ``gradsq_*``, or ``mean_*``, ``square_*`` and ``steps_*``
        of Adam.

        Args:
            folder: Replaced as a whole; a failing save leaves the previous content.

        Raises:
            CheckpointError: It could not be written, or the tables hold infinite values.
        """
        tensors = self._stored()
        check_savable(folder, tensors)
        save_checkpoint(
            folder,
            config={"model": "glove", **self.settings.record()},
            vocabulary=self._trained("save").vocabulary,
            tensors=tensors,
            state={} if self._state is None else self._state.to_json(),
        )

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        *,
        memory: int | str = "2GB",
        workers: int | None = None,
        device: str | torch.device = "auto",
        counts_folder: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> GloVe:
        """Load what :meth:`save` wrote, ready to be used, trained further, or resumed.

        Args:
            folder: Of the model.
            memory, workers, device, counts_folder, progress: As in the constructor; they are not
                part of a model.

        Raises:
            FileNotFoundError: No model there.
            CheckpointError: A file is missing, truncated, damaged, or of another kind of model.
        """
        found = load_checkpoint(folder, model="glove")
        machine: dict[str, Any] = {
            "memory": memory,
            "workers": workers,
            "device": device,
            "counts_folder": counts_folder,
            "progress": progress,
        }
        try:
            model = cls(**GloVeSettings.of(found.config).record(), **machine)
            state = StreamState.from_json(found.state) if found.state else None
            if state is not None:
                whole("corpus", "parts", state.corpus["parts"], 1, len(found.vocabulary))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}") from error
        model._state = state
        model._allocate(found.vocabulary)
        fill_tensors(folder, model._stored(), found.tensors)
        return model

    # -- files of the original tool -----------------------------------------------------------

    def save_stanford(
        self,
        path: str | os.PathLike,
        *,
        model: int = SUM,
        header: bool = False,
        unknown: bool = True,
    ) -> None:
        """Save vectors as Stanford's ``glove`` does in its ``vectors.txt``.

        Args:
            path: The file; .gz, .bz2 and .xz compress it.
            model: What a row holds: 0 word vector, bias, context vector and bias; 1 word vector; 2
                word + context vector.
            header: Begin with the numbers of rows (all of them) and columns.
            unknown: End with a row ``<unk>``, the mean of the last min(100, V), unless that is a
                word of the vocabulary.

        Raises:
            ValueError: ``model`` is none of these; a word that text cannot hold.
        """
        names = self._trained("save_stanford").vocabulary.words
        write_vectors(path, names, *self._parameters(), model=model, header=header, unknown=unknown)

    def save_stanford_binary(
        self, path: str | os.PathLike, gradsq_path: str | os.PathLike | None = None
    ) -> None:
        """Save ``vectors.bin`` (and ``gradsq.bin``), from which Stanford's ``glove`` goes on.

        It does with ``-load-init-param 1 -init-param-file PATH -load-init-gradsq 1
        -init-gradsq-file GRADSQ_PATH``.

        Raises:
            ValueError: Gradient sums of another optimizer than ``"adagrad"``.
        """
        self._trained("save_stanford_binary")
        if gradsq_path is not None:
            self._needs_adagrad("save_stanford_binary")
            write_tables(gradsq_path, *self._parameters(part=1))
        write_tables(path, *self._parameters())

    @classmethod
    def load_stanford(
        cls,
        path: str | os.PathLike,
        vocabulary: Vocabulary | str | os.PathLike,
        gradsq_path: str | os.PathLike | None,
        **options: Any,
    ) -> GloVe:
        """Go on from a ``vectors.bin`` of Stanford's ``glove``.

        Args:
            path: The file; 64-bit numbers become 32-bit ones.
            vocabulary: Its words, or the path of its ``vocab.txt``.
            gradsq_path: Its ``gradsq.bin``. None starts the gradient sums at 1, so that the first
                steps are as large as at the very beginning.
            **options: As in the constructor; ``vector_size`` is that of the file.

        Raises:
            ValueError: A file of another size than the vocabulary asks for, or with numbers that
                are not finite; gradient sums for another optimizer than ``"adagrad"``.
        """
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = Vocabulary.load(vocabulary, as_numbered=True)
        if len(vocabulary) == 0:
            raise ValueError("load_stanford: the vocabulary is empty")
        model = cls(**{"vector_size": vector_size_of(path, len(vocabulary)), **options})
        model._set_vocabulary(vocabulary)
        read_tables(path, *model._parameters(), least=-np.inf)
        if gradsq_path is not None:
            model._needs_adagrad("load_stanford")
            read_tables(gradsq_path, *model._parameters(part=1), least=1.0)
        return model

    def _needs_adagrad(self, function: str) -> None:
        if self.optimizer != "adagrad":
            raise ValueError(
                f"{function}: gradient sums are those of optimizer='adagrad', "
                f"this model has {self.optimizer!r}"
            )

    def __str__(self) -> str:
        size = 0 if self._built is None else len(self._built.vocabulary)
        return (
            f"GloVe<vocab={size}, vector_size={self.vector_size}, "
            f"learning_rate={self.learning_rate}>"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return model_html("GloVe", self)


def _fits(record: Path, request: dict[str, Any], vocabulary: Vocabulary | None) -> bool:
    """Whether the counts beside a record are those of a request, over a given vocabulary if any."""
    try:
        kept = read_json(record)
        words = kept.pop("vocabulary_sha1")
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    if vocabulary is not None:
        # However these words were chosen then.
        kept["words"] = None if words == vocabulary.sha1() else words
    return kept == request
