"""Names that gensim's `KeyedVectors` has for its own sake: old ones, and those of its log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from lexforge._version import __version__
from lexforge.vectors.growing import GrowingVectors

_LOGGER = logging.getLogger("lexforge")


class GensimNames(GrowingVectors):
    """Forwards of old names, refusals of those that gensim refuses, and lines in the log."""

    closer_than: Callable[..., list[str]]
    lifecycle_events: list[dict[str, Any]] | None

    def init_sims(self, replace: bool = False) -> None:
        """Deprecated: `fill_norms`, and `unit_normalize_all` with `replace`."""
        _deprecated("init_sims", "fill_norms() or unit_normalize_all()")
        self.fill_norms()
        if replace:
            self.unit_normalize_all()

    def word_vec(self, *args: Any, **kwargs: Any):
        """Deprecated: `get_vector`."""
        _deprecated("word_vec", "get_vector()")
        return self.get_vector(*args, **kwargs)

    def words_closer_than(self, word1: str | int, word2: str | int) -> list[str]:
        """Deprecated: `closer_than`."""
        _deprecated("words_closer_than", "closer_than()")
        return self.closer_than(word1, word2)

    def similarity_unseen_docs(self, *args: Any, **kwargs: Any) -> NoReturn:
        """NotImplementedError, as in gensim: it is of Doc2Vec."""
        raise NotImplementedError("similarity_unseen_docs: a method of gensim's Doc2Vec models")

    @property
    def vocab(self) -> NoReturn:
        """AttributeError: what took its place."""
        raise AttributeError(
            "vocab: gone since gensim 4; there are key_to_index, index_to_key, get_vecattr() and "
            "set_vecattr()"
        )

    @property
    def index2word(self) -> NoReturn:
        """AttributeError: what took its place."""
        raise AttributeError("index2word: index_to_key since gensim 4")

    @property
    def index2entity(self) -> NoReturn:
        """AttributeError: what took its place."""
        raise AttributeError("index2entity: index_to_key since gensim 4")

    @property
    def vectors_norm(self) -> NoReturn:
        """AttributeError: what took its place."""
        raise AttributeError("vectors_norm: get_normed_vectors() since gensim 4")

    def add_lifecycle_event(
        self, event_name: str, log_level: int | None = logging.INFO, **event: Any
    ) -> None:
        """Append to the list ``lifecycle_events`` what happened, when, and by which version.

        Args:
            event_name: what happened.
            log_level: of the line in the log; none with a false one.
            event: details, which JSON can hold.
        """
        details = {
            **event,
            "datetime": datetime.now().isoformat(),
            "lexforge": __version__,
            "event": event_name,
        }
        if log_level:
            _LOGGER.log(log_level, "%s: %s", type(self).__name__, details)
        self.__dict__.setdefault("lifecycle_events", [])
        if self.lifecycle_events is not None:  # gensim's way to have none
            self.lifecycle_events.append(details)

    @staticmethod
    def log_accuracy(section: dict[str, Any]) -> None:
        """Log the accuracy on a section of `evaluate_word_analogies`."""
        correct, wrong = len(section["correct"]), len(section["incorrect"])
        if correct + wrong:
            share = correct / (correct + wrong)
            name = section["section"]
            _LOGGER.info("%s: %.1f%% (%i/%i)", name, 100 * share, correct, correct + wrong)

    @staticmethod
    def log_evaluate_word_pairs(pearson: Any, spearman: Any, oov: float, pairs: Any) -> None:
        """Log what `evaluate_word_pairs` returned for a file of pairs."""
        _LOGGER.info("Pearson correlation coefficient against %s: %.4f", pairs, pearson[0])
        _LOGGER.info(
            "Spearman rank-order correlation coefficient against %s: %.4f", pairs, spearman[0]
        )
        _LOGGER.info("Pairs with unknown words ratio: %.1f%%", oov)


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"{name} is deprecated: use {instead}", DeprecationWarning, stacklevel=3)
