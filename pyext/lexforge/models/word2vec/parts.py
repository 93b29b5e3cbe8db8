"""What a model of word2vec consists of: settings, vocabulary, tables, the vectors on them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch

from lexforge._errors import NotReadyError
from lexforge._version import __version__
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.ops._tables import padded_table
from lexforge.ops.word2vec.word2vec_train import Bags
from lexforge.text import Vocabulary
from lexforge.text.huffman import HuffmanTree, huffman_tree
from lexforge.text.subwords import SubwordIndex
from lexforge.training.memory import available_memory
from lexforge.training.stream_job import StreamState, model_html
from lexforge.vectors import KeyedVectors
from lexforge.vectors.keyed_vectors import OwnedVectors

LOGGER = logging.getLogger("lexforge")
LOCKS = "input_lockf"  # the tensor of wv.vectors_lockf in a checkpoint


class TrainedVectors(OwnedVectors):
    """Vectors of a model, with the paths of its words through the tree, if there is one.

    They are the attributes ``code`` (uint8, which way at each node) and ``point`` (uint32, the
    nodes from the root on, rows of ``syn1``), as in gensim, and made when they are asked for.
    """

    tree: HuffmanTree | None = None

    def get_vecattr(self, key: str | int, attr: str) -> Any:
        """The value of an attribute of a word; see :meth:`KeyedVectors.get_vecattr`."""
        if self.tree is None or attr not in ("code", "point"):
            return super().get_vecattr(key, attr)
        row = self.get_index(key)
        path = self.tree.nodes[self.tree.offsets[row] : self.tree.offsets[row + 1]]
        return (path & 1).astype(np.uint8) if attr == "code" else (path >> 1).astype(np.uint32)

    def become(self, other: TrainedVectors, counts: np.ndarray) -> None:
        """The model's: what another one of it is; attributes go with their words."""
        self.rebase(other.index_to_key, other._vectors, counts)
        self.tree = other.tree
        self.set_locks(other.locks())

    def locks(self) -> dict[str, np.ndarray]:
        """What steps of training are multiplied by, as a checkpoint has it: by names of tensors."""
        return {LOCKS: self._lockf}

    def set_locks(self, locks: Mapping[str, np.ndarray]) -> None:
        """Take over what :meth:`locks` gave; ValueError for other shapes or wrong numbers."""
        self.vectors_lockf = locks.get(LOCKS, 1)

    def keep_locks(self, old: TrainedVectors, rows: np.ndarray) -> None:
        """Take over those of other words, where `rows` says which rows these have now."""
        lockf = np.broadcast_to(self._lockf, len(self)).copy()
        lockf[rows] = old._lockf
        self.vectors_lockf = lockf if (lockf != 1).any() else 1

    def row_factors(self) -> np.ndarray:
        """That of the rows of the input table, float32 [rows], or [1] for all alike."""
        return self._lockf


class Built(NamedTuple):
    """What a vocabulary brings with it.

    Attributes:
        tables: By the names of ``Word2VecSettings.tables``, [V, stride], of inner nodes one less,
            and of ``input`` the rows of n-grams more.
        syn1: The table of inner nodes with the row more that gensim's has.
        tree: With the table of that name.
        foreign: The tree is not the one that the counts give here.
        wv: On the table ``input``.
        subwords, bags: With n-grams, which rows those of words are; the bags of words, and of them.
    """

    vocabulary: Vocabulary
    tables: dict[str, torch.Tensor]
    syn1: torch.Tensor | None
    tree: HuffmanTree | None
    foreign: bool
    wv: TrainedVectors
    subwords: SubwordIndex | None = None
    bags: Bags | None = None


class Word2VecParts:
    """A base of :class:`~lexforge.Word2Vec`: what there is of it, to be looked at and copied.

    Attributes:
        SETTINGS: The class of the settings, whose owner messages name.
        KIND: In checkpoints, what kind of model this is.
    """

    SETTINGS: ClassVar[type[Word2VecSettings]] = Word2VecSettings
    KIND: ClassVar[str] = "word2vec"

    comment: str | None
    corpus_count: int
    corpus_total_words: int
    effective_min_count: int
    lifecycle_events: list[dict[str, Any]] | None
    raw_vocab: Mapping[str, int]
    train_count: int
    workers: int | None
    _before: KeyedVectors | None  # wv, as long as there is no vocabulary
    _built: Built | None
    _state: StreamState | None

    if TYPE_CHECKING:

        def __init__(self, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            """The settings, by their names."""

    @property
    def settings(self) -> Word2VecSettings:
        """What the result depends on, as the attributes have it now.

        Raises:
            TypeError, ValueError: One was set to a wrong value.
        """
        return self.SETTINGS.of(self)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words and their counts; None before they are built."""
        return None if self._built is None else self._built.vocabulary

    @property
    def wv(self) -> KeyedVectors:
        """The vectors, on the memory of the table that is trained; none before it is built.

        Its words are the model's. Vectors may be set (``wv.vectors = matrix``, ``wv["word"] =
        vector``), and are then what is trained and saved; words are added by
        :meth:`build_vocab`. A copy of it is a :class:`~lexforge.KeyedVectors` of its own.

        Before the vocabulary is built any other vectors may be put here. They can be looked at, and
        are not trained: :meth:`build_vocab` puts the model's own in their place.
        """
        if self._built is not None:
            return self._built.wv
        if self._before is None:
            self._before = self._no_vectors()
        return self._before

    @wv.setter
    def wv(self, vectors: KeyedVectors) -> None:
        if self._built is not None:
            raise AttributeError(
                f"{self._name}: wv cannot be replaced, it is the model's own table; set its "
                "numbers with model.wv.vectors = ..., or start from vectors with "
                f"{self._name}(..., init=vectors)"
            )
        if not isinstance(vectors, KeyedVectors):
            found = type(vectors).__name__
            raise TypeError(f"{self._name}: wv must be KeyedVectors, got {found}")
        self._before = vectors

    @property
    def state(self) -> StreamState | None:
        """Where the last run stands; None before the first."""
        return self._state

    @property
    def syn1neg(self) -> np.ndarray:
        """float32 [V, D], vectors of words as what is predicted and as noise: a view of the table.

        Other numbers may be put into it, in place or all at once.

        Raises:
            AttributeError: Before the vocabulary is built, or with ``negative=0``.
        """
        return self._table("syn1neg", "output")

    @syn1neg.setter
    def syn1neg(self, matrix: np.ndarray) -> None:
        self._set_table("syn1neg", matrix)

    @property
    def syn1(self) -> np.ndarray:
        """float32 [V, D], vectors of the tree's inner nodes: a view of the table.

        There are V - 1 of them; nothing uses the last row.

        Raises:
            AttributeError: Before the vocabulary is built, or with ``hs=0``.
        """
        return self._table("syn1", "tree")

    @syn1.setter
    def syn1(self, matrix: np.ndarray) -> None:
        self._set_table("syn1", matrix)

    def _set_table(self, attribute: str, matrix: np.ndarray) -> None:
        table, matrix = getattr(self, attribute), np.asarray(matrix)
        if matrix.shape != table.shape:
            raise ValueError(
                f"{self._name}: {attribute} must be {list(table.shape)}, got {list(matrix.shape)}"
            )
        table[:] = matrix

    def _table(self, attribute: str, name: str) -> np.ndarray:
        if self._built is None:
            raise AttributeError(f"{attribute}: build the vocabulary first")
        if name not in self._built.tables:
            lacking = "hs=0" if name == "tree" else "negative=0"
            raise AttributeError(f"{attribute}: a model of {lacking} has none")
        table = self._built.syn1 if name == "tree" else self._built.tables[name]
        assert table is not None
        return table[:, : self.vector_size].numpy()

    @property
    def layer1_size(self) -> int:
        """D, under gensim's other name."""
        return self.vector_size

    @property
    def min_alpha_yet_reached(self) -> float:
        """Learning rate where the last training ended; the first one before any."""
        return self.alpha if self._state is None else self._state.learning_rate

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

    def add_lifecycle_event(
        self, event_name: str, log_level: int = logging.INFO, **event: Any
    ) -> None:
        """Add an event to the list ``lifecycle_events``, and log it.

        Args:
            event_name: Such as ``"created"`` and ``"train"``, which come by themselves.
            log_level: Of the logger ``lexforge``; 0 logs nothing.
            event: What else is known of it. With ``lifecycle_events = None`` none are kept. They
                go into copies and pickles, and not into checkpoints.
        """
        now = datetime.now().isoformat()
        event = {**event, "datetime": now, "lexforge": __version__, "event": event_name}
        if log_level:
            LOGGER.log(log_level, "%s lifecycle event %s", type(self).__name__, event)
        if self.lifecycle_events is not None:
            self.lifecycle_events.append(event)

    def estimate_memory(
        self, vocab_size: int | None = None, report: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """Bytes that a model of this size takes.

        Args:
            vocab_size: Number of words V; that of the model by default.
            report: More of them, which come into the sum.

        Returns:
            ``vocab`` (words, counts, index), ``vectors``, ``syn1neg`` and ``syn1`` (the tables that
            there are), ``tree`` (paths), ``sampling`` (noise and sub-sampling tables) and their sum
            ``total``. The encoded corpus is memory-mapped and takes 4 bytes per word on disk.
        """
        if vocab_size is None:
            vocab_size = 0 if self._built is None else len(self._built.vocabulary)
        found = {**(report or {}), **self._memory(vocab_size, self._ngrams_of(vocab_size))}
        return {**found, "total": sum(found.values())}

    def _ngrams_of(self, words: int) -> int:
        """The rows that n-grams of so many words have, or at most have."""
        return 0

    def _memory(self, words: int, ngrams: int) -> dict[str, int]:
        """Bytes by what they are for, where n-grams have so many rows."""
        table = words * -(-self.vector_size // 16) * 64
        found = {
            "vocab": words * 200,  # a str, its slot in a list and in a dict, a count
            "vectors": table,
            "sampling": words * 4,
        }
        if self.negative:
            found |= {"syn1neg": table, "sampling": words * 12}
        if self.hs:  # in Zipf's texts a path is a few nodes longer than in a balanced tree
            found |= {"syn1": table, "tree": words * (8 + 4 * (words.bit_length() + 4))}
        return found

    def _built_for(
        self,
        vocabulary: Vocabulary,
        foreign: HuffmanTree | None = None,
        tables: Collection[str] | None = None,
        subwords: SubwordIndex | None = None,
    ) -> Built:
        """Zeroed tables for a vocabulary, and ``wv`` on top of the input table.

        Args:
            foreign: A tree in place of the one that the counts give.
            tables: Their names; by default what the settings say.
            subwords: The rows of n-grams; by default what the settings say.

        Raises:
            MemoryError: Before anything is allocated, when the tables exceed the free memory. The
                system would grant them, and end the process once they are filled.
            ValueError: A tree over one word.
        """
        size, names = len(vocabulary), self.settings.tables if tables is None else tables
        subwords = subwords or self._subwords_of(vocabulary)
        rows = size if subwords is None else size + subwords.rows
        needed, free = sum(self._memory(size, rows - size).values()), available_memory()
        if free is not None and needed > free:
            raise MemoryError(
                f"{self._name}: {size:,} words x vector_size={self.vector_size} need "
                f"{needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: lower vector_size, or "
                "raise min_count"
            )
        tree = None
        if "tree" in names:
            if size < 2:
                raise ValueError(
                    f"{self._name}: hs=1 needs a vocabulary of two words or more, for a tree, got "
                    f"{vocabulary.words}"
                )
            tree = foreign or huffman_tree(vocabulary.counts)
        made = {
            name: padded_table(rows if name == "input" else size, self.vector_size)
            for name in names
        }
        if (syn1 := made.get("tree")) is not None:
            made["tree"] = syn1[:-1]
        bags = None if subwords is None else self._bags_of(vocabulary, subwords)
        wv = self._vectors_on(made["input"], vocabulary, subwords, bags)
        wv.tree = tree
        return Built(vocabulary, made, syn1, tree, foreign is not None, wv, subwords, bags)

    @property
    def _name(self) -> str:
        """What messages call it."""
        return self.SETTINGS.OWNER

    def _no_vectors(self) -> TrainedVectors:
        """``wv`` before there is a vocabulary."""
        none = np.zeros((0, self.vector_size), np.float32)
        return TrainedVectors((), none, (), owner=self._name)

    def _subwords_of(self, vocabulary: Vocabulary) -> SubwordIndex | None:
        """The rows of its words' n-grams; None where words have rows of their own alone."""
        return None

    def _bags_of(self, vocabulary: Vocabulary, subwords: SubwordIndex) -> Bags:
        """The rows of each word."""
        raise NotImplementedError

    def _vectors_on(
        self,
        table: torch.Tensor,
        vocabulary: Vocabulary,
        subwords: SubwordIndex | None,
        bags: Bags | None,
    ) -> TrainedVectors:
        """``wv`` on the input table, float32 [rows, stride]."""
        vectors = table[:, : self.vector_size].numpy()
        return TrainedVectors(vocabulary.words, vectors, vocabulary.counts, owner=self._name)

    def _needed(self, function: str) -> Built:
        if self._built is None:
            raise NotReadyError(f"{function}: build the vocabulary first, with build_vocab")
        had, wanted = self._built.tables.keys(), self.settings.tables
        if had != set(wanted):
            raise ValueError(
                f"{function}: hs={self.hs}, negative={self.negative} takes the tables "
                f"{', '.join(wanted)}, and the model was built with {', '.join(had)}: build the "
                "vocabulary again"
            )
        return self._built

    def _views(self, built: Built) -> dict[str, torch.Tensor]:
        """The tables without padding."""
        return {name: table[:, : self.vector_size] for name, table in built.tables.items()}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: everything, the tables once and without padding."""
        kept = {name: value for name, value in vars(self).items() if name != "_built"}
        for name in ("_state", "lifecycle_events"):
            kept[name] = copy.deepcopy(kept[name])
        if isinstance(self._before, TrainedVectors):
            kept["_before"] = None
        if self._built is None:
            return {**kept, "built": None}
        built = self._built
        tables = {name: table.contiguous() for name, table in self._views(built).items()}
        tree = built.tree if built.foreign else None
        of_words = copy.deepcopy((built.wv.expandos, built.wv.locks()))
        subwords = built.subwords
        index = None if subwords is None else (subwords.record(), subwords.arrays())
        return {**kept, "built": (built.vocabulary, tables, tree, index, of_words)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.pop("built")
        vars(self).update(state)
        self._built = None
        if kept is not None:
            vocabulary, tables, tree, index, (expandos, locks) = kept
            subwords = None if index is None else SubwordIndex.restored(*index)
            built = self._built = self._built_for(vocabulary, tree, tables, subwords)
            for name, view in self._views(built).items():
                view.copy_(tables[name])
            built.wv.expandos = expandos
            built.wv.set_locks(locks)
            built.wv.refresh()

    def __str__(self) -> str:
        size = 0 if self._built is None else len(self._built.vocabulary)
        return f"{self._name}<vocab={size}, vector_size={self.vector_size}, alpha={self.alpha}>"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return model_html(self._name, self)
