"""A model on disk, and gensim's model of the same numbers."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lexforge._arguments import whole
from lexforge.models.word2vec.gensim_model import gensim_model, parts_of
from lexforge.models.word2vec.parts import Word2VecParts
from lexforge.models.word2vec.tree import tree_of_paths
from lexforge.text.files import PICKLE, foreign_kind
from lexforge.training.checkpoint import (
    CONFIG,
    STATE,
    CheckpointError,
    check_savable,
    fill_tensors,
    load_checkpoint,
    save_checkpoint,
)
from lexforge.training.stream_job import StreamState
from lexforge.vectors.formats.arrays import subwords_of

if TYPE_CHECKING:
    from typing_extensions import Self

COUNTS = ("corpus_count", "corpus_total_words", "train_count")  # in a checkpoint, or 0
PATHS = ("tree_lengths", "tree_paths")  # in a checkpoint, of a tree that is not of our making
# In a checkpoint, int32, which rows the n-grams of words have.
NGRAMS = ("subwords.buckets", "subwords.ngrams", "subwords.ends")
# Numbers of a deterministic run (rounds_of), and the most that they can be.
ROUNDS = {"windows_together": 1000, "shards": 64, "shard_tokens": 2**32}


class _ClassOnly:
    """A class method that instances do not have: it would leave them as they are.

    Args:
        method: As ``@classmethod`` makes it.
    """

    def __init__(self, method: Any) -> None:
        self._method, self.__doc__ = method, method.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is not None:
            name = self._method.__name__
            raise AttributeError(f"{name} makes another model: call {owner.__name__}.{name}(...)")
        return self._method.__get__(None, owner)


class StoredWord2Vec(Word2VecParts):
    """A base of :class:`~lexforge.Word2Vec`: how it is kept and exchanged."""

    def save(
        self,
        folder: str | os.PathLike,
        separately: Any = None,
        sep_limit: int | None = None,
        ignore: Collection[str] = (),
        pickle_protocol: int | None = None,
    ) -> None:
        """Save everything that further training needs (see ``training/checkpoint.py``).

        Args:
            folder: Replaced as a whole; a failing save leaves the previous content.
            separately, sep_limit, ignore, pickle_protocol: Accepted and without effect: gensim's,
                of how it pickles. Tables are in a file of their own here.

        Raises:
            CheckpointError: It could not be written, or the tables hold infinite values.
        """
        built = self._needed("save")
        tensors = self._views(built)
        for name, factors in built.wv.locks().items():
            if (factors != 1).any():
                tensors[name] = torch.from_numpy(factors)
        check_savable(folder, tensors)
        if built.foreign and built.tree is not None:
            lengths, paths = np.diff(built.tree.offsets).astype(np.int32), built.tree.nodes
            tensors |= zip(PATHS, map(torch.from_numpy, (lengths, paths)), strict=True)
        if built.subwords is not None:
            for name, values in built.subwords.arrays().items():
                tensors[f"subwords.{name}"] = torch.from_numpy(values.astype(np.int32))
        save_checkpoint(
            folder,
            config={
                "model": self.KIND,
                **self.settings.record(),
                **{name: getattr(self, name) for name in COUNTS},
                "comment": self.comment,
                **({} if built.subwords is None else {"ngrams": built.subwords.record()}),
            },
            vocabulary=built.vocabulary,
            tensors=tensors,
            state={} if self._state is None else self._state.to_json(),
        )

    @_ClassOnly
    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        mmap: str | None = None,
        rethrow: bool = False,
        *,
        workers: int | None = None,
        device: str | torch.device = "auto",
        progress: bool = False,
    ) -> Self:
        """Load what :meth:`save` wrote, ready to be used, trained further, or resumed.

        Args:
            folder: Of the model.
            mmap, rethrow: Accepted and without effect.
            workers, device, progress: As in the constructor; they are not part of a model.

        Raises:
            FileNotFoundError: No model there.
            CheckpointError: A file is missing, truncated, damaged, or of another kind of model; or
                this is gensim's, which is a pickle, and never opened here.
        """
        _refuse_pickle(folder, cls.SETTINGS.OWNER)
        found = load_checkpoint(folder, model=cls.KIND, integers=(*PATHS, *NGRAMS))
        try:
            model = cls(
                **cls.SETTINGS.of(found.config).record(),
                comment=found.config["comment"],
                workers=workers,
                device=device,
                progress=progress,
            )
            state = StreamState.from_json(found.state) if found.state else None
            for name in COUNTS:
                whole(CONFIG, name, found.config.get(name, 0), low=0)
            if state is not None and "windows_together" in state.corpus:
                for name, most in ROUNDS.items():
                    whole(STATE, name, state.corpus.get(name, 1), low=1, high=most)
            paths = [found.tensors[name].numpy() for name in PATHS if name in found.tensors]
            tree = tree_of_paths(*paths) if paths else None
            if tree is not None and len(tree.offsets) != len(found.vocabulary) + 1:
                raise ValueError(f"the tree is not over {len(found.vocabulary)} words")
            arrays = {name: tensor.numpy() for name, tensor in found.tensors.items()}
            subwords = subwords_of(found.config, arrays)
            built = model._built_for(found.vocabulary, tree, subwords=subwords)
            built.wv.set_locks(arrays)
        except (KeyError, TypeError, ValueError, NotImplementedError) as error:
            raise CheckpointError(f"{folder} is damaged: {error}") from error
        model._state = state
        for name in COUNTS:
            setattr(model, name, found.config.get(name, 0))
        fill_tensors(folder, model._views(built), found.tensors)
        built.wv.refresh()
        model._built = built
        return model

    @classmethod
    def from_gensim(
        cls, model: Any, *, workers: int | None = None, device: str | torch.device = "auto"
    ) -> Self:
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
        comment = getattr(model, "comment", None)  # not in what gensim 3 saved
        ours = cls(**found.settings, comment=comment, workers=workers, device=device)
        for name in COUNTS:
            setattr(ours, name, int(getattr(model, name) or 0))
        built = ours._built = ours._built_for(found.vocabulary, found.tree)
        for name, view in ours._views(built).items():
            view.copy_(torch.from_numpy(found.tables[name]))
        built.wv.vectors_lockf = found.lockf
        return ours

    def to_gensim(self) -> Any:
        """The same model as a ``gensim.models.Word2Vec``: tables, tree, words, counts, settings.

        What gensim has no name for is lost: ``negative_sharing``, ``precision``,
        ``deterministic``, ``max_sentence_length``, ``lowercase``, and the state of the run. Rows of
        equal counts may be in another order. ``alpha`` comes along as it is: of CBOW's mean it
        takes steps in gensim that are longer by the number of context words.

        Raises:
            ModuleNotFoundError: gensim is not installed.
            ValueError: No vocabulary yet.
        """
        built = self._needed("to_gensim")
        tables = {name: view.numpy() for name, view in self._views(built).items()}
        model = gensim_model(
            self.settings,
            built.vocabulary,
            tables,
            built.tree,
            built.wv.vectors_lockf,
            workers=self.workers,
        )
        for name in ("comment", *COUNTS):
            setattr(model, name, getattr(self, name))
        return model


def _refuse_pickle(path: str | os.PathLike, owner: str) -> None:
    """CheckpointError that says how gensim's file becomes one of ours."""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            kind = foreign_kind(file.read(16))
        if kind == PICKLE:
            name = os.fspath(path)
            raise CheckpointError(
                f"{name} is a pickle, which may run code and is never opened here; if it is "
                f"gensim's: {owner}.from_gensim(gensim.models.{owner}.load({name!r}))"
            )
